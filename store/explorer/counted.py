"""Which votes the statistics count, and how many each reason leaves out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from store.explorer.table import VoteRow
from store.records import Canary, Record
from store.statistics.agreement import Judgement
from store.statistics.judged import JudgedDuel


class LeftOut(Record):
    """Votes on duels that are in no win rate and no rating; each is counted under its first reason."""

    undone: int = 0
    flagged: int = 0
    """The platform doubts them: repeated, too quick, always the same side."""
    excluded: int = 0
    checks: int = 0
    """Gold and repeated items: they measure annotators."""
    asked: int = 0
    """The platform asked because the reward models were unsure: no sample of what people ask."""
    leaked: int = 0
    """An answer named its model."""
    open: int = 0
    """The versions were known: not blind."""
    deleted: int = 0
    """The conversation was deleted."""
    skipped: int = 0


class Counted(NamedTuple):
    duels: list[JudgedDuel]
    left_out: LeftOut
    judgements: list[Judgement]
    """For agreement: of active votes on duels, checks among them, oldest first."""


def counted(rows: Iterable[VoteRow]) -> Counted:
    """Only duels: a thumb or an edit compares no two versions."""
    duels: list[JudgedDuel] = []
    judgements: list[Judgement] = []
    left_out: Counter[str] = Counter()
    for row in rows:
        vote = row.vote
        if vote.kind != "duel":
            continue
        unsure = vote.asked == "uncertain"  # people are of different minds more often, too
        if vote.status == "active" and vote.choice != "skip" and not row.deleted and not unsure:
            judgements.append(Judgement(row.unit, row.annotator, row.label))
        reason = _why_not(row)
        if reason is not None:
            left_out[reason] += 1
        elif vote.choice in ("a", "b", "tie", "both_bad"):
            a, b = row.versions
            style_a, style_b = row.styles if len(row.styles) == 2 else (None, None)
            duels.append(JudgedDuel(a, b, vote.choice, row.annotator, style_a, style_b))
    return Counted(duels, LeftOut(**left_out), judgements)


def canary_counts(rows: Iterable[VoteRow], canary: Canary, active: int) -> tuple[int, int]:
    """(wins, losses) of the canary against the active version, of votes that were cast since it began."""
    met = {canary.number, active}
    since = [row for row in rows if set(row.versions) == met and row.vote.created_at >= canary.started_at]
    decisive = [duel for duel in counted(since).duels if duel.choice in ("a", "b")]
    wins = sum(canary.number == (duel.version_a, duel.version_b)[duel.choice == "b"] for duel in decisive)
    return wins, len(decisive) - wins


def counts(row: VoteRow) -> bool:
    """Whether the vote is among those that the statistics count."""
    return row.vote.kind == "duel" and row.vote.choice in ("a", "b", "tie", "both_bad") and not _why_not(row)


def _why_not(row: VoteRow) -> str | None:
    vote = row.vote
    reasons = {
        "undone": vote.status == "undone",
        "leaked": vote.leaked,  # the platform excludes these by itself
        "flagged": vote.status == "excluded" and bool(vote.flags),
        "excluded": vote.status == "excluded",
        "checks": vote.check is not None,
        "asked": vote.asked == "uncertain",
        "open": not vote.blind,
        "deleted": row.deleted or len(row.versions) != 2,
        "skipped": vote.choice == "skip",
    }
    return next((name for name, holds in reasons.items() if holds), None)
