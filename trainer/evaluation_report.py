"""Evaluation report: what an evaluation found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

from store.records import Record
from trainer.alignment_tax import Knowledge, Language
from trainer.intervals import bootstrap_mean
from trainer.judging import JudgeBias
from trainer.meetings import Duels, HumanReport, Standing
from trainer.seeds import DrawnAnswer
from trainer.win_rates import EVERYTHING, WinRate, domains


class Score(Record):
    """The reward model's mean score of a policy's answers; 95 % bootstrap interval over the prompts."""

    mean: float
    low: float
    high: float


class AnswerFigures(Record):
    """A policy's answers without a judge."""

    characters: float
    """Mean length."""
    ended_share: float
    """The others were cut at the length limit."""
    score: dict[str, Score] | None
    """For each domain; None without a reward model."""


class PolicyReport(Record):
    """One contender."""

    name: str
    standing: Standing | None
    itself: dict[str, WinRate] | None
    """First draw against second draw for each domain: 0.5 must lie inside the interval. None of a file."""
    answers: AnswerFigures
    language: Language | None
    knowledge: Knowledge | None


class EvaluationReport(Record):
    """What `report.json` holds."""

    judge: str
    independent: bool
    """Whether the judge is another than the reward model whose scores stand here."""
    prompts: int
    left_out_prompts: int
    greedy: bool
    rollout: dict[str, Any]
    seed: int
    duels: list[Duels]
    bias: dict[str, JudgeBias]
    human: HumanReport | None
    policies: list[PolicyReport]

    def best(self, figure: Callable[[PolicyReport], float | None]) -> str | None:
        """Name of the policy with the highest figure; None unless all have it."""
        figures = {policy.name: figure(policy) for policy in self.policies}
        known = {name: value for name, value in figures.items() if value is not None}
        return max(known, key=lambda name: known[name]) if known and len(known) == len(figures) else None


def answer_figures(
    answers: Sequence[DrawnAnswer], scores: Sequence[float] | None, tags: Sequence[Sequence[str]]
) -> AnswerFigures:
    """Length, ends and scores."""
    by_domain = None
    if scores is not None:
        by_domain = {
            name: _score([scores[index] for index in inside]) for name, inside in domains(tags).items()
        }
    return AnswerFigures(
        characters=fmean(len(answer.text) for answer in answers),
        ended_share=fmean(answer.ended for answer in answers),
        score=by_domain,
    )


def _score(values: Sequence[float]) -> Score:
    low, high = bootstrap_mean(values)
    return Score(mean=fmean(values), low=low, high=high)


def win_rate_of(policy: PolicyReport) -> float | None:
    """What the judge says."""
    return policy.standing.rate if policy.standing else None


def score_of(policy: PolicyReport) -> float | None:
    """What the reward model says."""
    return policy.answers.score[EVERYTHING].mean if policy.answers.score else None
