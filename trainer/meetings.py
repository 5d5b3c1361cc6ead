"""Meetings: two policies' answers to the same prompts, judged; what they come to in each domain."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from store.records import PreferencePair, Record
from trainer.data import Prompt
from trainer.judging import (
    Agreement,
    Case,
    Decision,
    Judge,
    JudgeBias,
    Verdict,
    agreement,
    decide,
    judge_bias,
)
from trainer.pairs import TIE
from trainer.seeds import DrawnAnswer
from trainer.win_rates import POINTS, Outcome, WinRate, domains, points_interval, win_rate

OUTCOMES: Mapping[Verdict | None, Outcome | None] = {"a": "win", "b": "loss", "tie": "tie", None: None}


@dataclass(frozen=True)
class Meeting:
    """One duel a prompt: `policy` gave the cases' a, `against` their b."""

    policy: str
    against: str
    cases: list[Case]
    decisions: list[Decision]

    @property
    def outcomes(self) -> list[Outcome | None]:
        """For `policy`."""
        return [OUTCOMES[decision.outcome] for decision in self.decisions]

    def points(self, name: str) -> list[float | None]:
        """What `policy` or `against` got from each prompt; None where no verdict could be read."""
        own = [None if outcome is None else POINTS[outcome] for outcome in self.outcomes]
        return own if name == self.policy else [None if point is None else 1.0 - point for point in own]

    def lines(self) -> Iterator[dict[str, Any]]:
        """Every duel with its answers and both verdicts, for a person to check."""
        for case, decision in zip(self.cases, self.decisions, strict=True):
            yield {
                "prompt": [turn.model_dump() for turn in case.prompt],
                "a": {"policy": self.policy, "answer": case.a.text},
                "b": {"policy": self.against, "answer": case.b.text},
                "asked": decision.asked,
                "verdict_a_first": decision.a_first,
                "verdict_b_first": decision.b_first,
                "outcome": decision.outcome,
            }


class Duels(Record):
    """How one policy did against another."""

    policy: str
    against: str
    equal_answers: int
    """Ties without a question to the judge."""
    by_domain: dict[str, WinRate]


class Standing(Record):
    """How a policy did against all others together."""

    rate: float
    low: float
    high: float
    """Mean points of a prompt over its duels; 95 % bootstrap interval over the prompts."""


class HumanReport(Record):
    """The judge on pairs that people judged."""

    pairs: int
    by_domain: dict[str, Agreement]


def meet(
    prompts: Sequence[Prompt],
    policy: tuple[str, Sequence[DrawnAnswer]],
    against: tuple[str, Sequence[DrawnAnswer]],
    judge: Judge,
    pause: Callable[[], None],
) -> Meeting:
    """Lets the judge compare the answers of two (name, answers), prompt by prompt."""
    cases = [Case(*three) for three in zip(prompts, policy[1], against[1], strict=True)]
    return Meeting(policy[0], against[0], cases, decide(judge, cases, pause))


def duels(meeting: Meeting, tags: Sequence[Sequence[str]], seed: int) -> Duels:
    """Win, tie and loss of a meeting for each domain."""
    outcomes = meeting.outcomes
    return Duels(
        policy=meeting.policy,
        against=meeting.against,
        equal_answers=sum(not decision.asked for decision in meeting.decisions),
        by_domain={
            name: win_rate([outcomes[index] for index in inside], seed)
            for name, inside in domains(tags).items()
        },
    )


def standing(name: str, meetings: Sequence[Meeting], seed: int) -> Standing | None:
    """A policy over all its meetings; None without one, or without a verdict that could be read."""
    own = [meeting.points(name) for meeting in meetings if name in (meeting.policy, meeting.against)]
    prompts = [[point for point in points if point is not None] for points in zip(*own, strict=True)]
    means = [fmean(points) for points in prompts if points]
    if not means:
        return None
    low, high = points_interval(means, seed)
    return Standing(rate=fmean(means), low=low, high=high)


def bias(meetings: Sequence[Meeting], tags: Sequence[Sequence[str]]) -> dict[str, JudgeBias]:
    """The judge's bias over all duels of all meetings, for each domain."""
    cases = [case for meeting in meetings for case in meeting.cases]
    decisions = [decision for meeting in meetings for decision in meeting.decisions]
    return {
        name: judge_bias([cases[index] for index in inside], [decisions[index] for index in inside])
        for name, inside in domains([names for _ in meetings for names in tags]).items()
    }


def ask_about_people(
    pairs: Sequence[PreferencePair], judge: Judge, pause: Callable[[], None]
) -> HumanReport | None:
    """The judge's agreement with people, ties among them; thumbs are no pairs. None without pairs."""
    pairs = [pair for pair in pairs if pair.source != "thumb"]
    if not pairs:
        return None
    cases = [
        Case(
            pair.prompt,
            DrawnAnswer(pair.chosen[0].content, pair.chosen_ended),
            DrawnAnswer(pair.rejected[0].content, pair.rejected_ended),
        )
        for pair in pairs
    ]
    decisions = decide(judge, cases, pause)
    people: list[Verdict] = ["tie" if pair.preference == TIE else "a" for pair in pairs]
    by_domain = {
        name: agreement([people[index] for index in inside], [decisions[index] for index in inside])
        for name, inside in domains([pair.tags for pair in pairs]).items()
    }
    return HumanReport(pairs=len(pairs), by_domain=by_domain)
