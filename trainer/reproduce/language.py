"""The toy language: three topics of seven words, prompts that name a topic, and a source that answers them.

The source is what a supervised policy imitates: it keeps to the topic about half the time and ends an answer
with the same small chance after every word.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from trainer.rollout import Rollout

PAD, END, ASK, FIRST_WORD = 0, 1, 2, 3
TOPICS, VOCABULARY = 3, 24
WORDS = range(FIRST_WORD, VOCABULARY)
ANSWER_TOKENS = 32
"""Longest answer, end token included."""
END_CHANCE = 0.09


def topic(word: int) -> int:
    """0, 1 or 2."""
    return (word - FIRST_WORD) % TOPICS


@dataclass(frozen=True)
class Language:
    """A source of prompts and answers."""

    loyalty: tuple[float, float, float] = (0.45, 0.45, 0.45)
    """Chance, per topic, that a word is drawn from the prompt's topic; else it is any word."""

    def prompts(
        self, count: int, seed: int | str, topics: Collection[int] = range(TOPICS)
    ) -> list[list[int]]:
        """Prompts of three tokens: a word of one of the topics, any word, ASK."""
        chance = random.Random(f"prompts-{seed}")
        first = [word for word in WORDS if topic(word) in topics]
        return [[chance.choice(first), chance.choice(WORDS), ASK] for _ in range(count)]

    def texts(self, count: int, seed: int | str) -> list[Rollout]:
        """Prompts with the source's answers, as rollouts of which nobody knows the log-probabilities."""
        chance = random.Random(f"answers-{seed}")
        return [self._text(prompt, chance) for prompt in self.prompts(count, f"texts-{seed}")]

    def _text(self, prompt: list[int], chance: random.Random) -> Rollout:
        subject = topic(prompt[0])
        own = [word for word in WORDS if topic(word) == subject]
        answer: list[int] = []
        while len(answer) < ANSWER_TOKENS:
            if answer and chance.random() < END_CHANCE:
                answer.append(END)
                break
            answer.append(chance.choice(own if chance.random() < self.loyalty[subject] else WORDS))
        return Rollout(prompt, answer, [0.0] * len(answer), answer[-1] == END)


def words(response: Sequence[int]) -> list[int]:
    """An answer without its end token."""
    return [token for token in response if token != END]
