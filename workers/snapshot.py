"""Freeze: the votes that count become an immutable, hashed data set in the run's folder."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel

from store.conversations import Conversations
from store.records import ChatTurn, PreferencePair, Record, Snapshot, Vote, now
from store.votes import VoteLog
from workers.settings import Schedule

MANIFEST = "manifest.json"

Prompt = tuple[ChatTurn, ...]


class NotEnoughData(Exception):
    """Too few votes or prompts to train and judge on; the message says what is missing."""


class SnapshotChanged(Exception):
    """A frozen file is not what was frozen; the message names it."""


class Frozen(Record):
    """A snapshot's manifest."""

    snapshot: Snapshot
    parent: int
    """The policy version that was active: training starts from it, the gate compares with it."""
    files: dict[str, str]
    """File name -> SHA-256."""
    skipped: dict[str, int]
    """Why votes for a or b made no pair -> how many."""


class _PromptLine(BaseModel):
    prompt: Prompt


@dataclass
class _Found:
    """What the votes came to."""

    pairs: list[PreferencePair] = field(default_factory=list)  # oldest first
    skipped: Counter[str] = field(default_factory=Counter)
    conversations: dict[str, None] = field(default_factory=dict)  # with any vote, newest vote first
    through: str = "0"


async def freeze(
    folder: Path,
    *,
    run_id: str,
    parent: int,
    votes: VoteLog,
    conversations: Conversations,
    bundled_prompts: Path,
    schedule: Schedule,
) -> Frozen:
    """Write the run's data set into `folder`; a second freeze returns the first one unchanged.

    Every vote up to now counts, not only the new ones: the reward model is trained from scratch each time.
    Raises NotEnoughData, or SnapshotChanged when the first one was tampered with.
    """
    if (folder / MANIFEST).exists():
        return read(folder)
    found = await _find_pairs(votes, conversations, schedule.max_pairs)
    train, held_out, held_out_conversations = _split_pairs(found, schedule.held_out_share)
    asked, asked_held_out = await _platform_prompts(
        conversations, found.conversations, held_out_conversations, schedule
    )
    lines = bundled_prompts.read_text(encoding="utf-8").splitlines()
    bundled = [_PromptLine.model_validate_json(line).prompt for line in lines]
    prompts, held_out_prompts = _fill_up(asked, asked_held_out, bundled, schedule)
    aside = folder.parent / f".tmp-{secrets.token_hex(6)}"
    aside.mkdir(parents=True)
    try:
        files = {
            "train.jsonl": _write(aside / "train.jsonl", train),
            "held_out.jsonl": _write(aside / "held_out.jsonl", held_out),
            "prompts.jsonl": _write(aside / "prompts.jsonl", map(_line, prompts)),
            "held_out_prompts.jsonl": _write(aside / "held_out_prompts.jsonl", map(_line, held_out_prompts)),
        }
        snapshot = Snapshot(
            run_id=run_id,
            votes=len(found.pairs),
            new_votes=sum(pair.new for pair in found.pairs),
            train_pairs=len(train),
            held_out_pairs=len(held_out),
            prompts=len(prompts),
            through=found.through,
            sha256=_digest(files),
            created_at=now(),
        )
        frozen = Frozen(snapshot=snapshot, parent=parent, files=files, skipped=dict(found.skipped))
        _write(aside / MANIFEST, [frozen])
        _publish(aside, folder)
    finally:
        await asyncio.to_thread(shutil.rmtree, aside, ignore_errors=True)
    return read(folder)


def read(folder: Path) -> Frozen:
    """A frozen data set, each file compared with the manifest. Raises SnapshotChanged."""
    frozen = Frozen.model_validate_json((folder / MANIFEST).read_text())
    for name, digest in frozen.files.items():
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
            raise SnapshotChanged(f"{folder / name} is not what was frozen: cancel this run, start another")
    return frozen


async def _find_pairs(votes: VoteLog, conversations: Conversations, max_pairs: int) -> _Found:
    """Pairs of the newest votes, at most `max_pairs`."""
    rows = await votes.read()
    trained_through = _position(await votes.mark("trained_through"))
    found = _Found(through=rows[-1][0] if rows else "0")
    for entry, vote in reversed(rows):
        found.conversations[vote.conversation_id] = None
        if vote.kind != "duel" or vote.choice not in ("a", "b"):
            continue
        if len(found.pairs) == max_pairs:
            found.skipped["beyond max_pairs"] += 1
            continue
        pair = await _pair(conversations, vote, new=_position(entry) > trained_through)
        if isinstance(pair, str):
            found.skipped[pair] += 1
        else:
            found.pairs.append(pair)
    found.pairs.reverse()
    return found


async def _pair(conversations: Conversations, vote: Vote, new: bool) -> PreferencePair | str:
    """The vote's preference pair, or why it makes none."""
    conversation = await conversations.get(vote.conversation_id)
    duel = await conversations.duel(vote.duel_id or "")
    if conversation is None or duel is None:
        return "conversation deleted"
    a, b = await conversations.answer(duel.answer_a), await conversations.answer(duel.answer_b)
    if a is None or b is None:
        return "conversation deleted"
    if a.state != "finished" or b.state != "finished":
        return "answer unfinished"
    if len(set(a.versions)) != 1 or len(set(b.versions)) != 1:
        return "answer spans versions"
    if a.text == b.text:
        return "answers equal"
    chosen, rejected = (a, b) if vote.choice == "a" else (b, a)
    return PreferencePair(
        prompt=await conversations.prompt(conversation, duel.parent_id),
        chosen=(ChatTurn(role="assistant", content=chosen.text),),
        rejected=(ChatTurn(role="assistant", content=rejected.text),),
        vote_id=vote.id,
        conversation_id=vote.conversation_id,
        new=new,
    )


def _split_pairs(
    found: _Found, share: float
) -> tuple[list[PreferencePair], list[PreferencePair], set[str | None]]:
    """Train pairs, held-out pairs, and the conversations that are held out.

    By conversation, because its turns repeat each other; with one conversation only, by vote.
    """
    if len(found.pairs) < 2:
        raise NotEnoughData(
            f"{len(found.pairs)} votes make a pair and at least 2 are needed, one to train and one to judge:"
            f" vote a or b on more duels. Votes that made none: {dict(found.skipped) or 'none'}"
        )
    by_vote = len({pair.conversation_id for pair in found.pairs}) == 1
    groups = [pair.vote_id if by_vote else pair.conversation_id for pair in found.pairs]
    held_out_groups = _held_out(groups, share)
    train = [pair for pair, group in zip(found.pairs, groups, strict=True) if group not in held_out_groups]
    held_out = [pair for pair, group in zip(found.pairs, groups, strict=True) if group in held_out_groups]
    if by_vote:
        return train, held_out, set()
    unpaired = found.conversations.keys() - set(groups)
    return train, held_out, held_out_groups | {name for name in unpaired if _fraction(name) < share}


def _held_out(groups: Iterable[str | None], share: float) -> set[str | None]:
    """The groups that are held out: at least one, never all; in each run the same ones, by their hash."""
    order = sorted(set(groups), key=_fraction)
    below = sum(_fraction(group) < share for group in order)
    return set(order[: min(max(below, 1), len(order) - 1)])


async def _platform_prompts(
    conversations: Conversations, names: Iterable[str], held_out: set[str | None], schedule: Schedule
) -> tuple[list[Prompt], list[Prompt]]:
    """What people asked, for rollouts and for the gate, each once; newest conversations first."""
    asked: dict[Prompt, None] = {}
    asked_held_out: dict[Prompt, None] = {}
    for name in names:
        if name in held_out:
            into, enough = asked_held_out, schedule.gate_prompts
        else:
            into, enough = asked, schedule.rollout_prompts
        conversation = await conversations.get(name) if len(into) < enough else None
        if conversation is None:
            continue
        for message in await conversations.messages(name):
            into[await conversations.prompt(conversation, message.id)] = None
    return list(asked), list(asked_held_out)


def _fill_up(
    asked: list[Prompt], asked_held_out: list[Prompt], bundled: list[Prompt], schedule: Schedule
) -> tuple[list[Prompt], list[Prompt]]:
    """Rollout prompts and the gate's, none in both; bundled ones fill up, from the two ends of one order."""
    order = sorted(dict.fromkeys(bundled), key=lambda prompt: _fraction(_line(prompt).model_dump_json()))
    for_gate = asked_held_out + order[: len(order) // 2]
    gate = list(dict.fromkeys(for_gate))[: schedule.gate_prompts]
    taken = set(gate)
    rollout = [prompt for prompt in dict.fromkeys(asked + order[::-1]) if prompt not in taken]
    if not gate or not rollout:
        raise NotEnoughData("HEED_PROMPTS: the file needs at least 2 prompts, one to train and one to judge")
    return rollout[: schedule.rollout_prompts], gate


def _fraction(name: str | None) -> float:
    """A number in [0, 1) that depends on the name only."""
    digest = hashlib.sha256(str(name).encode()).digest()
    return int.from_bytes(digest[:6], "big") / (1 << 48)


def _position(entry: str) -> tuple[int, int]:
    milliseconds, _, sequence = entry.partition("-")
    return int(milliseconds), int(sequence or 0)


def _line(prompt: Prompt) -> _PromptLine:
    return _PromptLine(prompt=prompt)


def _write(path: Path, rows: Iterable[BaseModel]) -> str:
    """One JSON object a line, fsynced; its SHA-256."""
    data = "".join(row.model_dump_json() + "\n" for row in rows).encode()
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(data).hexdigest()


def _digest(files: dict[str, str]) -> str:
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _publish(aside: Path, folder: Path) -> None:
    """All or nothing; when another attempt froze this run first, its snapshot stays."""
    try:
        os.rename(aside, folder)
    except OSError:
        if not (folder / MANIFEST).exists():
            raise
    parent = os.open(folder.parent, os.O_RDONLY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)
