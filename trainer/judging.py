"""Judging: which of two answers is better, asked in both orders; how far the judge itself can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from store.records import Record
from trainer.data import Prompt
from trainer.pair_report import Share
from trainer.seeds import DrawnAnswer
from trainer.win_rates import share

Verdict = Literal["a", "b", "tie"]
MIRRORED: dict[Verdict | None, Verdict | None] = {"a": "b", "b": "a", "tie": "tie", None: None}
CHUNK = 32
"""Duels between two looks at whether the run was cancelled."""


@dataclass(frozen=True)
class Case:
    """One prompt and two answers. A judge sees `a` first."""

    prompt: Prompt
    a: DrawnAnswer
    b: DrawnAnswer

    def swapped(self) -> Case:
        """The same with the answers in the other order."""
        return Case(self.prompt, self.b, self.a)


class Judge(Protocol):
    """Says which answer of each case is better."""

    @property
    def name(self) -> str: ...

    def verdicts(self, cases: Sequence[Case]) -> list[Verdict | None]:
        """One verdict a case, in its own letters; None where the judge's reply cannot be read."""
        ...


class Decision(NamedTuple):
    """What a judge said of one case in both orders, both times in the letters of the case."""

    a_first: Verdict | None
    b_first: Verdict | None
    asked: bool = True
    """False for two equal answers, which are a tie without a question."""

    @property
    def outcome(self) -> Verdict | None:
        """The verdict that holds in both orders; a tie where they differ; None where one is unreadable."""
        if self.a_first is None or self.b_first is None:
            return None
        return self.a_first if self.a_first == self.b_first else "tie"


def decide(judge: Judge, cases: Sequence[Case], pause: Callable[[], None] = lambda: None) -> list[Decision]:
    """Asks the judge about every case in both orders. `pause` is called now and then and may raise."""
    decisions = [Decision("tie", "tie", asked=False)] * len(cases)
    asked = [index for index, case in enumerate(cases) if case.a.text.strip() != case.b.text.strip()]
    for start in range(0, len(asked), CHUNK):
        pause()
        part = asked[start : start + CHUNK]
        shown = [cases[index] for index in part]
        said = judge.verdicts([*shown, *(case.swapped() for case in shown)])
        for index, a_first, b_first in zip(part, said[: len(part)], said[len(part) :], strict=True):
            decisions[index] = Decision(a_first, MIRRORED[b_first])
    return decisions


class JudgeBias(Record):
    """What in a judge's verdicts is not about the answers."""

    duels: int
    """Asked about, in two orders each; pairs of equal answers are not."""
    unreadable: int
    """Replies without a verdict, of 2 x duels."""
    inconsistent: Share | None
    """Duels whose verdict changed with the order. They count as ties."""
    first_both_times: int
    second_both_times: int
    """Of these, how often the same place won both times; the rest said tie in one order."""
    first_place: Share | None
    """Verdicts for the answer shown first, of all verdicts for one; 0.5 is a judge who does not mind. The two
    verdicts of a duel are not independent, so the interval is a guide."""
    longer: Share | None
    """Duels decided for the answer of more characters, of all decided ones with unequal lengths."""


def judge_bias(cases: Sequence[Case], decisions: Sequence[Decision]) -> JudgeBias:
    """Position and length bias, over the duels that the judge was asked about."""
    asked = [(case, said) for case, said in zip(cases, decisions, strict=True) if said.asked]
    said = [decision for _, decision in asked]
    readable = [decision for decision in said if None not in decision[:2]]
    first = sum((one.a_first == "a") + (one.b_first == "b") for one in said)
    second = sum((one.a_first == "b") + (one.b_first == "a") for one in said)
    longer = [
        (len(case.a.text) > len(case.b.text)) == (decision.outcome == "a")
        for case, decision in asked
        if decision.outcome in ("a", "b") and len(case.a.text) != len(case.b.text)
    ]
    return JudgeBias(
        duels=len(said),
        unreadable=sum(decision[:2].count(None) for decision in said),
        inconsistent=share(sum(one.a_first != one.b_first for one in readable), len(readable)),
        first_both_times=sum(decision[:2] == ("a", "b") for decision in said),
        second_both_times=sum(decision[:2] == ("b", "a") for decision in said),
        first_place=share(first, first + second),
        longer=share(sum(longer), len(longer)),
    )


class Agreement(Record):
    """How often the judge says what a person said (the two set-ups of arXiv 2306.05685, section 4)."""

    all: Share | None
    """Of all pairs: the same of `a`, `b` and `tie`. A coin of three sides gets a third."""
    decided: Share | None
    """Of the pairs that both decided. A coin gets a half."""
    unreadable: int
    """Pairs left out of both."""


def agreement(people: Sequence[Verdict], decisions: Sequence[Decision]) -> Agreement:
    """Compares the judge's outcomes with people's verdicts on the same cases."""
    outcomes = [(person, said.outcome) for person, said in zip(people, decisions, strict=True)]
    readable = [(person, judge) for person, judge in outcomes if judge is not None]
    decided = [(person, judge) for person, judge in readable if "tie" not in (person, judge)]
    return Agreement(
        all=share(sum(person == judge for person, judge in readable), len(readable)),
        decided=share(sum(person == judge for person, judge in decided), len(decided)),
        unreadable=len(outcomes) - len(readable),
    )
