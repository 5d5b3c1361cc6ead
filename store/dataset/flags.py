"""Flags: is a vote one that says nothing about the answers? Looked at as it comes, with the ones before it.

A flagged vote is kept and marked; [votes] says whether it trains. Every rule is about what an annotator who
reads and compares would hardly ever do, not about what they prefer.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence

from store.records import Answer, Vote, VoteFlag

LOOKED_BACK = 60
"""Of a person's votes, the one that comes among them."""
SAME_KEY = 16
"""Times the same side in a row: sides are drawn, so 1 in 32,768 whatever the answers are like."""
ONE_SIDE_N = 50
"""Newest votes for a side of which too many may be for the same one."""
ONE_SIDE_P = 1e-5
"""How likely that is by chance at most: 41 of 50."""
READ_CHARS = 500
"""Of each answer: whoever has read that much may have seen enough."""
LITTLE_CHARS = 200
"""Of both answers together: they can be taken in at a glance."""

WORDS: dict[VoteFlag, str] = {
    "duplicate": "voted on again",
    "too_quick": "quicker than anybody reads",
    "same_key": f"the same side {SAME_KEY} times in a row",
    "one_side": f"nearly always the same side in {ONE_SIDE_N} votes",
    "trial": "the account is on trial",
}
"""What a flag says to people."""
FLAG_REASONS: dict[VoteFlag, str] = {
    "duplicate": "duplicate",
    "too_quick": "too quick",
    "same_key": "same key",
    "one_side": "one side",
    "trial": "account on trial",
}
"""The same as the reason that a data set counts votes under."""


def judged_texts(prompt: str, answers: Iterable[Answer]) -> str:
    """What was judged, in whatever order it was shown: the same for the same message and answers."""
    texts = sorted(answer.text for answer in answers)
    return hashlib.sha256("\0".join([prompt, *texts]).encode()).hexdigest()[:16]


def reads_too_quickly(vote: Vote, answers: Sequence[Answer], chars_per_second: float) -> bool:
    """Whether nobody could have read the duel's answers in the time there was.

    That is the time they were shown whole, plus that in which they were written before everybody's eyes.
    Silent reading is about 25 characters a second (Brysbaert 2019, doi 10.1016/j.jml.2019.104047).
    """
    if vote.kind != "duel" or vote.shown_ms is None or vote.early or not vote.blind or not chars_per_second:
        return False
    if vote.choice == "skip" or vote.check is not None:
        return False
    chars = sum(min(len(answer.text), READ_CHARS) for answer in answers)
    written_s = max(
        ((answer.ended_at - answer.created_at).total_seconds() for answer in answers if answer.ended_at),
        default=0.0,
    )
    return chars >= LITTLE_CHARS and vote.shown_ms / 1000 + written_s < chars / chars_per_second


def flags_with(newest: Vote, before: Sequence[Vote]) -> dict[str, list[VoteFlag]]:
    """Vote id -> its new flags, of a person's newest vote and the ones before it, newest first.

    Of votes on the same texts the newest counts, as it does of thumbs. A run of the same side and a lean to
    one side flag the votes for that side: those for the other one were not given by habit.
    """
    counting = [vote for vote in [newest, *before][:LOOKED_BACK] if _counts(vote)]
    found: dict[str, list[VoteFlag]] = {}
    if not counting or counting[0].id != newest.id:
        return found
    for vote in counting[1:]:
        if newest.texts is not None and vote.texts == newest.texts:
            found.setdefault(vote.id, []).append("duplicate")
    sides = [vote for vote in counting if vote.kind == "duel" and vote.choice in ("a", "b")]
    if sides and sides[0].id == newest.id:
        for vote in _same_key(sides):
            found.setdefault(vote.id, []).append("same_key")
        for vote in _one_side(sides[:ONE_SIDE_N]):
            found.setdefault(vote.id, []).append("one_side")
    known = {vote.id: vote.flags for vote in counting}
    new = {name: [flag for flag in flags if flag not in known[name]] for name, flags in found.items()}
    return {name: flags for name, flags in new.items() if flags}


def _counts(vote: Vote) -> bool:
    """Taken-back votes and those that measure the annotator say nothing about habits."""
    return vote.status != "undone" and vote.check is None


def _same_key(sides: Sequence[Vote]) -> Sequence[Vote]:
    run = next((place for place, vote in enumerate(sides) if vote.choice != sides[0].choice), len(sides))
    return sides[:run] if run >= SAME_KEY else ()


def _one_side(sides: Sequence[Vote]) -> list[Vote]:
    """The votes for the favoured side; none while chance may have done it."""
    n, first = len(sides), sum(vote.choice == "a" for vote in sides)
    most = max(first, n - first)
    if 2 * binomial_tail(most, n) > ONE_SIDE_P:
        return []
    favoured = "a" if first == most else "b"
    return [vote for vote in sides if vote.choice == favoured]


def binomial_tail(hits: int, n: int) -> float:
    """How likely a fair coin shows heads `hits` times of `n` or more often."""
    return float(sum(math.comb(n, k) for k in range(hits, n + 1)) / 2**n)
