"""What a vote says in TRL's formats: preference, unpaired preference (KTO), demonstrations (SFT)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any, Literal

from store.explorer.table import VoteRow
from store.records import Answer, ChatTurn, Vote

Format = Literal["preference", "unpaired", "sft"]
Row = dict[str, Any]
TEST_SHARE = 0.1


def why_nothing(row: VoteRow) -> str | None:
    """Why a vote is in no export, whatever the format; None when it may be."""
    vote = row.vote
    if vote.status != "active":
        return vote.status
    if vote.check is not None:
        return "check"
    return "conversation deleted" if row.deleted else None


def rows_of(vote: Vote, thread: Sequence[ChatTurn], answers: Sequence[Answer], form: Format) -> list[Row]:
    """The vote's rows in this format; none when it says nothing in it (a tie prefers neither answer)."""
    prompt = [turn.model_dump() for turn in thread]
    if form == "preference":
        return list(_preferences(vote, prompt, answers))
    if form == "unpaired":
        return list(_judged(vote, prompt, answers))
    if vote.kind != "edit":
        return []
    edited = answers[-1]
    return [{"messages": [*prompt, *_said(edited)], **_lineage(vote), "version": edited.policy_version}]


def _preferences(vote: Vote, prompt: list[Row], answers: Sequence[Answer]) -> Iterator[Row]:
    if vote.kind == "ranking":
        ranked = {one.answer_id: one.rank for one in vote.answers}
        weight = 2 / (len(answers) * (len(answers) - 1))
        for one, other in combinations(range(len(answers)), 2):
            first, second = ranked.get(answers[one].id), ranked.get(answers[other].id)
            if first is None or second is None or first == second:
                continue
            better, worse = (one, other) if first < second else (other, one)
            yield _pair(vote, prompt, answers, better, worse, weight)
    elif vote.choice in ("a", "b"):
        yield _pair(vote, prompt, answers, *((0, 1) if vote.choice == "a" else (1, 0)), 1.0)
    elif vote.kind == "edit":
        yield _pair(vote, prompt, answers, 1, 0, 1.0)


def _pair(
    vote: Vote, prompt: list[Row], answers: Sequence[Answer], better: int, worse: int, weight: float
) -> Row:
    return {
        "prompt": prompt,
        "chosen": _said(answers[better]),
        "rejected": _said(answers[worse]),
        "weight": weight,
        **_lineage(vote),
        "version_chosen": answers[better].policy_version,
        "version_rejected": answers[worse].policy_version,
        "position_chosen": better + 1,
    }


def _judged(vote: Vote, prompt: list[Row], answers: Sequence[Answer]) -> Iterator[Row]:
    if vote.kind != "thumb" and vote.choice != "both_bad":
        return
    for answer in answers:
        yield {
            "prompt": prompt,
            "completion": _said(answer),
            "label": vote.choice == "up",
            **_lineage(vote),
            "version": answer.policy_version,
        }


def _said(answer: Answer) -> list[Row]:
    return [{"role": "assistant", "content": answer.text}]


def _lineage(vote: Vote) -> Row:
    """What every row says of its vote, beside TRL's columns."""
    return {
        "vote_id": vote.id,
        "conversation_id": vote.conversation_id,
        "annotator": vote.annotator_id,
        "kind": vote.kind,
        "strength": vote.strength,
        "tags": list(vote.tags),
        "blind": vote.blind,
        "early": vote.early,
        "leaked": vote.leaked,
        "flags": list(vote.flags),
        "guideline_version": vote.guideline_version,
        "created_at": vote.created_at.isoformat(),
    }


def in_test(conversation_id: str) -> bool:
    """By conversation, never by row: the turns of one conversation repeat each other."""
    digest = hashlib.sha256(conversation_id.encode()).digest()
    return int.from_bytes(digest[:6], "big") / (1 << 48) < TEST_SHARE
