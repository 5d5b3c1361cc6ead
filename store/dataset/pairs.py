"""Votes become preference pairs: the chosen ones, with their texts, as far as these can be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from store.conversations import Conversations
from store.dataset.choice import AnnotatorPart, Choice
from store.dataset.evidence import demonstration, evidence_of, group_of
from store.records import Demonstration, PreferencePair
from store.stream_ids import position


@dataclass
class Found:
    """What the votes came to."""

    pairs: list[PreferencePair] = field(default_factory=list)  # one answer preferred; oldest first
    hints: list[PreferencePair] = field(default_factory=list)  # ties and thumbs: they teach, they never judge
    demonstrations: list[Demonstration] = field(default_factory=list)  # ideal answers; oldest first
    skipped: Counter[str] = field(default_factory=Counter)
    conversations: dict[str, str] = field(default_factory=dict)  # -> its group; newest vote first
    taught_only: set[str | None] = field(default_factory=set)
    """Groups that were asked about because reward models were unsure: no measure of how good one is."""
    annotators: list[AnnotatorPart] = field(default_factory=list)  # most votes first
    cap: int = 0
    annotator_of: dict[str, str] = field(default_factory=dict)
    """Vote id -> who cast it; of votes that prefer one of a duel's answers."""

    @property
    def votes(self) -> set[str | None]:
        """The votes that made a pair."""
        return {pair.vote_id for pair in self.pairs if pair.vote_id}

    def add_imported(self, pairs: Iterable[PreferencePair], max_pairs: int) -> None:
        """Imported data beside the votes, at most as many: pairs train and judge, single answers train."""
        given = list(pairs)[-max_pairs:] if max_pairs else []
        self.pairs[:0] = [pair for pair in given if pair.source == "import"]
        self.hints[:0] = [pair for pair in given if pair.source == "thumb"]


async def find_pairs(
    choice: Choice,
    conversations: Conversations,
    *,
    trust: Mapping[str, float],
    trained_through: str,
    max_pairs: int,
) -> Found:
    """Pairs of the newest chosen votes, about `max_pairs` at most, and as many ties and thumbs at most.

    A vote for a or b is a pair, a tie is a pair of which neither is preferred, a thumb stands alone, and
    `both_bad` is a thumb down for each answer. A ranking is all its pairs, which together weigh as much as
    one; an ideal answer is a pair (better than what it was written from) and a demonstration. Each weighs
    what its annotator is trusted. Votes cast after `trained_through` are new.
    """
    found = Found(skipped=Counter(choice.left_out), annotators=choice.annotators, cap=choice.cap)
    edge = position(trained_through)
    for entry, vote in choice.chosen:
        found.conversations.setdefault(vote.conversation_id, group_of(vote))
        if vote.asked == "uncertain":
            found.taught_only.add(group_of(vote))
        if len(found.pairs if vote.makes_pair else found.hints) >= max_pairs:
            found.skipped["beyond max_pairs"] += 1
            continue
        evidence = await evidence_of(conversations, vote, new=position(entry) > edge)
        if isinstance(evidence, str):
            found.skipped[evidence] += 1
            continue
        for pair in reversed(evidence):
            weighed = pair.model_copy(update={"weight": pair.weight * trust.get(vote.annotator_id, 1.0)})
            decided = pair.source == "vote" and pair.preference == 1.0
            (found.pairs if decided else found.hints).append(weighed)
        if vote.kind == "duel" and vote.makes_pair:
            found.annotator_of[vote.id] = vote.annotator_id
        if vote.kind == "edit":
            found.demonstrations.append(demonstration(evidence[0], vote))
    for kind in (found.pairs, found.hints, found.demonstrations):
        kind.reverse()
    return found
