"""Freeze: the votes that count become an immutable, hashed data set in the run's folder."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import secrets
import shutil
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel

from store.conversations import Conversations
from store.dataset.choice import AnnotatorPart
from store.dataset.evidence import domain
from store.dataset.gather import Position, gather
from store.dataset.pairs import Found
from store.dataset.split import NotEnoughData, fraction, split_pairs
from store.json_lines import read_lines
from store.opinions import Opinions
from store.queue import Queue
from store.records import AnnotatorVotes, ChatTurn, PreferencePair, Record, Snapshot, now
from store.stream_ids import when
from store.votes import VoteLog
from workers.settings import Schedule, WorkerSettings

MANIFEST = "manifest.json"

Prompt = tuple[ChatTurn, ...]


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
    """Why votes taught nothing -> how many."""
    position: Position | None = None
    """Where the log was cut; None in early snapshots."""
    annotators: tuple[AnnotatorPart, ...] = ()
    """What each brings, most votes first."""
    cap: int | None = None
    """Votes that one annotator could have at most."""


class _PromptLine(BaseModel):
    prompt: Prompt


class _GateLine(_PromptLine):
    """Of the gate's prompts the domain too, as its pairs have it: no group may fall behind."""

    tags: tuple[str, ...]


async def freeze(
    folder: Path,
    *,
    run_id: str,
    parent: int,
    at: Position,
    votes: VoteLog,
    conversations: Conversations,
    queue: Queue,
    opinions: Opinions,
    settings: WorkerSettings,
    imported: Sequence[PreferencePair] = (),
) -> Frozen:
    """Write the run's data set into `folder`; a second freeze returns the first one unchanged.

    Every vote up to the position counts, not only the new ones: the reward model is trained from scratch each
    time. The same position gives the same files, unless a conversation was deleted since.
    Raises NotEnoughData, or SnapshotChanged when the first one was tampered with.
    """
    if (folder / MANIFEST).exists():
        return read(folder)
    schedule = settings.schedule
    found = await gather(
        *(votes, conversations, queue, opinions, settings.data),
        at=at,
        rules=settings.votes,
        max_pairs=schedule.max_pairs,
    )
    found.add_imported(imported, schedule.max_pairs)
    train, held_out, held_out_conversations = split_pairs(found, schedule.held_out_share)
    asked, asked_held_out = await _platform_prompts(
        conversations, found.conversations, held_out_conversations, schedule, when(at.through)
    )
    bundled = await asyncio.to_thread(read_prompts, settings.prompts)
    judges = {pair.vote_id for pair in held_out}
    demonstrations = [
        one
        for one in found.demonstrations
        if one.vote_id not in judges and one.conversation_id not in held_out_conversations
    ]
    prompts, held_out_prompts = _fill_up(asked, asked_held_out, bundled, schedule)
    aside = folder.parent / f".tmp-{secrets.token_hex(6)}"
    aside.mkdir(parents=True)
    try:
        files = {
            "train.jsonl": _write(aside / "train.jsonl", train),
            "held_out.jsonl": _write(aside / "held_out.jsonl", held_out),
            "demonstrations.jsonl": _write(aside / "demonstrations.jsonl", demonstrations),
            "annotators.jsonl": _write(aside / "annotators.jsonl", _whose(found, [*train, *held_out])),
            "prompts.jsonl": _write(aside / "prompts.jsonl", map(_line, prompts)),
            "held_out_prompts.jsonl": _write(
                aside / "held_out_prompts.jsonl",
                [_GateLine(prompt=prompt, tags=domain(prompt)) for prompt in held_out_prompts],
            ),
        }
        snapshot = Snapshot(
            run_id=run_id,
            votes=len(found.votes),
            new_votes=len({pair.vote_id for pair in found.pairs if pair.new}),
            train_pairs=len(train),
            held_out_pairs=len(held_out),
            prompts=len(prompts),
            through=at.through,
            sha256=_digest(files),
            created_at=now(),
        )
        frozen = Frozen(
            snapshot=snapshot,
            parent=parent,
            files=files,
            skipped=dict(found.skipped),
            position=at,
            annotators=tuple(found.annotators),
            cap=found.cap,
        )
        _write(aside / MANIFEST, [frozen])
        publish(aside, folder)
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


def votes_used(folder: Path) -> set[str]:
    """Ids of the votes in a frozen data set, whether they train or judge."""
    lines = [line for name in ("train.jsonl", "held_out.jsonl") for line in read_lines(folder / name)]
    return {vote_id for line in lines if (vote_id := json.loads(line)["vote_id"])}


def _whose(found: Found, pairs: Sequence[PreferencePair]) -> list[AnnotatorVotes]:
    """The votes of each annotator that train or judge."""
    of: dict[str, list[str]] = defaultdict(list)
    for vote_id in dict.fromkeys(pair.vote_id for pair in pairs if pair.vote_id in found.annotator_of):
        of[found.annotator_of[vote_id]].append(vote_id)
    return [
        AnnotatorVotes(annotator_id=one.annotator_id, vote_ids=tuple(of[one.annotator_id]))
        for one in found.annotators
        if one.annotator_id in of
    ]


async def _platform_prompts(
    conversations: Conversations,
    groups: dict[str, str],
    held_out: set[str | None],
    schedule: Schedule,
    until: datetime,
) -> tuple[list[Prompt], list[Prompt]]:
    """What people had asked by then, for rollouts and for the gate, each once; newest conversations first."""
    asked: dict[Prompt, None] = {}
    asked_held_out: dict[Prompt, None] = {}
    for name, group in groups.items():
        if group in held_out:
            into, enough = asked_held_out, schedule.gate_prompts
        else:
            into, enough = asked, schedule.rollout_prompts
        conversation = await conversations.get(name) if len(into) < enough else None
        if conversation is None:
            continue
        for message in await conversations.messages(name):
            if message.created_at <= until:
                into[await conversations.prompt(conversation, message.id)] = None
    return list(asked), list(asked_held_out)


def _fill_up(
    asked: list[Prompt], asked_held_out: list[Prompt], bundled: list[Prompt], schedule: Schedule
) -> tuple[list[Prompt], list[Prompt]]:
    """Rollout prompts and the gate's, none in both; bundled ones fill up, from the two ends of one order."""
    order = sorted(dict.fromkeys(bundled), key=lambda prompt: fraction(_line(prompt).model_dump_json()))
    for_gate = asked_held_out + order[: len(order) // 2]
    gate = list(dict.fromkeys(for_gate))[: schedule.gate_prompts]
    taken = set(gate)
    rollout = [prompt for prompt in dict.fromkeys(asked + order[::-1]) if prompt not in taken]
    if not gate or not rollout:
        raise NotEnoughData("HEED_PROMPTS: the file needs at least 2 prompts, one to train and one to judge")
    return rollout[: schedule.rollout_prompts], gate


def read_prompts(path: Path) -> list[Prompt]:
    """The prompts of a file of `{"prompt": [turns]}` lines."""
    lines = read_lines(path)
    return [_PromptLine.model_validate_json(line).prompt for line in lines]


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


def publish(aside: Path, folder: Path) -> None:
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
