"""Rollouts: answers drawn from the policy as it is now, as token ids with the engine's log-probabilities."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import torch

from trainer.errors import ModelError


class Rollout(NamedTuple):
    """One answer: the ids as the engine drew them, never text that was tokenised again."""

    prompt_ids: list[int]
    response_ids: list[int]
    """With the end token when it ended by itself."""
    engine_logprobs: list[float]
    """At the rollouts' temperature, one per response token."""
    ended: bool


Weights = Iterable[tuple[str, torch.Tensor]]
"""Names and tensors of a policy's state, its head among them even where it is tied."""


class Sampler(Protocol):
    """Draws answers, and takes new weights between two draws."""

    def update(self, weights: Weights) -> None: ...

    def sample(
        self,
        prompts: Sequence[list[int]],
        seed: int,
        *,
        first: int = 0,
        greedy: bool = False,
        max_new_tokens: int | None = None,
    ) -> list[Rollout]: ...


def check_rollouts(rollouts: Sequence[Rollout]) -> None:
    """Raises ModelError when the engine drew nothing that can be learned from."""
    for rollout in rollouts:
        if not rollout.response_ids:
            raise ModelError("the engine drew an empty answer; the policy's weights are damaged.")
