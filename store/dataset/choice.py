"""The choice: which of all votes train, and why the others do not. Pure functions of the votes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from store.dataset.evidence import NAMED_ITSELF
from store.dataset.flags import FLAG_REASONS
from store.dataset.rules import VoteRules
from store.dataset.trust import ENOUGH
from store.records import Record, Vote
from store.stream_ids import position

OVER_CAP = "over the annotator's cap"
DISTRUSTED = "contradicts everybody"
PLATFORM = "heed"

Cast = tuple[str, Vote]
"""A vote as it is, and the stream id of its cast."""


class AnnotatorPart(Record):
    """What one annotator brings to a data set."""

    annotator_id: str
    votes: int
    """Votes that make a pair and may train."""
    over_cap: int = 0
    """Those of them that the cap leaves out."""
    weight: float = 1.0
    """Of each of the others in the loss; 0 leaves all of them out."""
    checks: int = 0
    """How often it was known whether they are right: known verdicts, the others' verdicts, predictions."""


KNOWN = 10
"""Checks from which on something is known of somebody."""


@dataclass
class Choice:
    """The votes that may train, and what became of the rest."""

    chosen: list[Cast] = field(default_factory=list)  # newest first
    left_out: Counter[str] = field(default_factory=Counter)  # why -> votes
    annotators: list[AnnotatorPart] = field(default_factory=list)  # most votes first
    cap: int = 0


def choose(casts: Sequence[Cast], *, trust: Mapping[str, float], rules: VoteRules, max_pairs: int) -> Choice:
    """Of the casts, oldest first, those that may train; whether their texts can be used is seen later."""
    choice = Choice()
    usable = _usable(casts, choice.left_out)
    trusted = [cast for cast in usable if trust.get(cast[1].annotator_id, 1.0) > 0]
    choice.left_out[DISTRUSTED] += len(usable) - len(trusted)
    for makes_pair in (True, False):  # ties and thumbs are capped by themselves: they cannot crowd out a pair
        of_kind = [cast for cast in trusted if cast[1].makes_pair == makes_pair]
        counts = Counter(vote.annotator_id for _, vote in of_kind)
        cap = cap_of(counts.values(), max_pairs=max_pairs, rules=rules)
        kept = under_cap([vote for _, vote in of_kind], cap)
        choice.chosen += [cast for cast in of_kind if cast[1].id in kept]
        choice.left_out[OVER_CAP] += len(of_kind) - len(kept)
        if makes_pair:
            choice.cap = cap
    choice.chosen.sort(key=lambda cast: position(cast[0]), reverse=True)
    makes = Counter(vote.annotator_id for _, vote in usable if vote.makes_pair)
    choice.annotators = [
        AnnotatorPart(
            annotator_id=name,
            votes=votes,
            over_cap=max(0, votes - choice.cap) if trust.get(name, 1.0) else 0,
            weight=trust.get(name, 1.0),
        )
        for name, votes in sorted(makes.items(), key=lambda one: (-one[1], one[0]))
    ]
    choice.left_out = +choice.left_out
    return choice


def unknown(parts: Sequence[AnnotatorPart], share: float) -> list[AnnotatorPart]:
    """Of whom nothing is known yet, who bring at least this share of the votes, beside enough of others."""
    bring = {part.annotator_id: part.votes - part.over_cap for part in parts if part.weight}
    total = sum(bring.values())
    return [
        part
        for part in parts
        if part.checks < KNOWN and share * total <= bring.get(part.annotator_id, 0) <= total - ENOUGH
    ]


def cap_of(counts: Iterable[int], *, max_pairs: int, rules: VoteRules) -> int:
    """How many votes one annotator may have, of annotators with `counts` votes each.

    `annotator_share` of the pairs, or an even share of them if that is more: five people who vote alike may
    have a fifth each. Whoever has fewer than `annotator_pairs` votes counts as that part of a person, so an
    even share is never below `annotator_pairs`, and neither a flood of votes nor a crowd of one-vote
    visitors moves it far.
    """
    given = list(counts)
    if not given:
        return rules.annotator_pairs
    total = min(max_pairs, sum(given))
    people = sum(min(1.0, count / rules.annotator_pairs) for count in given)
    return max(rules.annotator_pairs, int(rules.annotator_share * total), int(total / max(1.0, people)))


def under_cap(votes: Sequence[Vote], cap: int) -> set[str]:
    """Ids of the votes that stay, newest first given: of each annotator at most `cap`.

    Of each conversation its newest vote before any second one, the newer conversation first: ten turns of
    one chat say less than ten chats.
    """
    by_annotator: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
    turns: Counter[tuple[str, str]] = Counter()
    for place, vote in enumerate(votes):
        chat = (vote.annotator_id, vote.conversation_id)
        by_annotator[vote.annotator_id].append((turns[chat], place, vote.id))
        turns[chat] += 1
    return {name for own in by_annotator.values() for _, _, name in sorted(own)[:cap]}


def _usable(casts: Sequence[Cast], left_out: Counter[str]) -> list[Cast]:
    """Newest first, without what is left out whoever cast it."""
    usable = []
    thumbed: set[tuple[str, str | None]] = set()
    for entry, vote in reversed(casts):
        if vote.kind == "thumb":  # people change their mind: the newest thumb counts, or its undoing
            if (vote.annotator_id, vote.answer_id) in thumbed:
                continue
            thumbed.add((vote.annotator_id, vote.answer_id))
        reason = _why_not(vote)
        if reason is None:
            usable.append((entry, vote))
        else:
            left_out[reason] += 1
    return usable


def _why_not(vote: Vote) -> str | None:
    """Why a vote is not looked at, whatever it says."""
    if vote.status == "excluded" and vote.exclusion is not None and vote.exclusion.by == PLATFORM:
        if vote.leaked:
            return NAMED_ITSELF
        if vote.flags:
            return FLAG_REASONS[vote.flags[0]]
    if vote.status != "active":
        return vote.status
    if vote.check is not None:
        return "measures the annotator"
    return "skipped by the annotator" if vote.choice == "skip" else None
