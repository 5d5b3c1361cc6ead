"""Judges for tests: each with one taste, and no idea of the order unless that is the taste."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from store.records import ChatTurn
from trainer.data import Prompt
from trainer.judging import Case, Verdict
from trainer.seeds import DrawnAnswer


class TasteJudge:
    """Gives the verdict of one function of the case."""

    def __init__(self, taste: Callable[[Case], Verdict | None]) -> None:
        self.name = "taste"
        self.seen: list[Case] = []
        self._taste = taste

    def verdicts(self, cases: Sequence[Case]) -> list[Verdict | None]:
        self.seen += cases
        return [self._taste(case) for case in cases]


def longer(case: Case) -> Verdict:
    """The answer of more characters."""
    a, b = len(case.a.text), len(case.b.text)
    return "tie" if a == b else "a" if a > b else "b"


def prompt(text: str = "hm") -> Prompt:
    return (ChatTurn(role="user", content=text),)


def case(a: str, b: str) -> Case:
    return Case(prompt(), DrawnAnswer(a, ended=True), DrawnAnswer(b, ended=True))
