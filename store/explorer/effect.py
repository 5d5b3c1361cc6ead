"""What the ratings would be without some votes, or with them again: looked at before it is done."""

from __future__ import annotations

from collections.abc import Sequence

from store.explorer.counted import counted
from store.explorer.table import VoteRow
from store.records import Record
from store.statistics.bradley_terry import Rating, board
from store.statistics.judged import JudgedDuel


class RatingChange(Record):
    """A version whose duels are other ones afterwards. A rating is None where it has none."""

    number: int
    before: float | None
    after: float | None
    n_before: int
    n_after: int


def rating_changes(
    rows: Sequence[VoteRow], before: Sequence[VoteRow], after: Sequence[VoteRow]
) -> list[RatingChange]:
    """Bradley-Terry's ratings (`store/statistics/bradley_terry.py`), fitted with the votes as they are and as
    they would be.

    Args:
        rows: every vote.
        before: those of them that change, as they are.
        after: the same, as they would be.
    """
    ids = {row.vote.id for row in before}
    rest = counted(row for row in rows if row.vote.id not in ids).duels
    old = _ratings([*rest, *counted(before).duels])
    new = _ratings([*rest, *counted(after).duels])
    changed = [number for number in sorted({*old, *new}) if _n(old, number) != _n(new, number)]
    return [
        RatingChange(
            number=number,
            before=old[number].rating if number in old else None,
            after=new[number].rating if number in new else None,
            n_before=_n(old, number),
            n_after=_n(new, number),
        )
        for number in changed
    ]


def _ratings(duels: list[JudgedDuel]) -> dict[int, Rating]:
    return {one.number: one for one in board(duels, rounds=1).ratings}  # no interval is shown


def _n(ratings: dict[int, Rating], number: int) -> int:
    return ratings[number].n if number in ratings else 0
