"""The action space of a training: what shows a collapse before the reward does.

Section 5.2 of arXiv 2307.04964.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from trainer.errors import DivergedError
from trainer.experience import Experience
from trainer.tensors import correlation, masked_mean

PATIENCE = 3


def repeats(ids: Sequence[int], n: int = 4) -> float:
    """Share of n-grams of an answer that it has said before."""
    grams = [tuple(ids[at : at + n]) for at in range(len(ids) - n + 1)]
    return 1.0 - len(set(grams)) / len(grams) if grams else 0.0


def action_space(experience: Experience) -> dict[str, float]:
    """Length, KL, perplexity, entropy, repeats and the engine's gap, of one rollout batch."""
    mask, lengths = experience.mask, experience.lengths().float()
    log_ratio = (experience.old_logprobs - experience.ref_logprobs) * mask
    k3 = ((-log_ratio).exp() - 1 + log_ratio) * mask
    gap = (experience.old_logprobs - experience.engine_logprobs).abs()
    return {
        "ref_kl": float(log_ratio.sum(1).mean()),
        "ref_kl_k3": float(k3.sum(1).mean()),
        "response_length_mean": float(lengths.mean()),
        "response_length_p95": float(lengths.quantile(0.95)),
        "truncated_share": float((~experience.ended).float().mean()),
        "perplexity": math.exp(min(20.0, -float(masked_mean(experience.old_logprobs, mask)))),
        "ref_perplexity": math.exp(min(20.0, -float(masked_mean(experience.ref_logprobs, mask)))),
        "entropy": float(masked_mean(experience.entropy, mask)),
        "repeat_share": sum(repeats(one.response_ids) for one in experience.rollouts) / len(experience),
        "engine_logprob_gap": float(masked_mean(gap, mask)),
    }


def reward_distribution(experience: Experience) -> dict[str, float]:
    """Raw scores of a rollout batch: a long right tail or a score that follows the length is a hack."""
    scores = experience.scores.float()
    return {
        "reward_mean": float(scores.mean()),
        "reward_std": float(scores.std(correction=0)),
        "reward_p5": float(scores.quantile(0.05)),
        "reward_p50": float(scores.quantile(0.5)),
        "reward_p95": float(scores.quantile(0.95)),
        "reward_length_correlation": correlation(scores, experience.lengths().float()),
    }


class Sign(NamedTuple):
    """One sign of a collapse, and at which values it is a warning and a reason to stop."""

    text: str
    warns: bool
    stops: bool = False


class CollapseAlarm:
    """Says when a training goes wrong, and when it has gone: the same sign for three updates running.

    Warnings: half of `kl_stop`; entropy below half of the start's; a quarter of the answers' 4-grams said
    again; answers half as long again as at the start, or less than a third; a tenth more of them cut at the
    limit; their perplexity below 0.6 or above 2 times the start's. Stops: all of `kl_stop`, a quarter of the
    entropy, half of the 4-grams. Length, cuts and perplexity only warn: people may well vote for longer,
    shorter or plainer answers. KL is the plain estimate: the mean of k3 is carried by single improbable
    tokens, so it can leap in a healthy training.

    With notches it also brakes: one notch further for each look that warns, one back for each that does not.
    """

    def __init__(
        self,
        kl_stop: float,
        start: dict[str, float] | None = None,
        bad: int = 0,
        notch: int = 0,
        *,
        notches: int = 0,
    ) -> None:
        self.kl_stop = kl_stop
        self.start = start or {}
        """The metrics of the first update, when the policy is still the reference."""
        self.bad = bad
        """Updates running that showed a sign at which a training stops."""
        self.notch = notch
        """How far the brake is pulled now."""
        self.notches = notches
        """How far it can be pulled; 0 is no brake."""
        self.warnings: list[str] = []
        """What the last look found."""

    def look(self, metrics: dict[str, float]) -> str | None:
        """The reason to stop, or None; `warnings` and `level` say what else was seen."""
        self.start = self.start or dict(metrics)
        signs = self._signs(metrics)
        self.warnings = [sign.text for sign in signs if sign.warns]
        stops = [sign.text for sign in signs if sign.stops]
        self.bad = self.bad + 1 if stops else 0
        self.notch = min(max(self.notch + (1 if self.warnings else -1), 0), self.notches)
        return "; ".join(stops) if self.bad >= PATIENCE else None

    def state(self) -> list[Any]:
        """What a resume needs: the arguments between `kl_stop` and `notches`."""
        return [self.start, self.bad, self.notch]

    @property
    def brake(self) -> float:
        """What multiplies the KL coefficient and divides the policy's learning rate; 1 is not braked."""
        return 2.0**self.notch

    @property
    def level(self) -> float:
        """0 healthy, 1 a warning, 2 a sign at which a training stops when it stays."""
        return 2.0 if self.bad else float(bool(self.warnings))

    def _signs(self, metrics: dict[str, float]) -> list[Sign]:
        kl, repeated = metrics["ref_kl"], metrics["repeat_share"]
        entropy = metrics["entropy"], self.start["entropy"]
        length = metrics["response_length_mean"], self.start["response_length_mean"]
        cut = metrics["truncated_share"], self.start["truncated_share"]
        perplexity = metrics["perplexity"], self.start["perplexity"]
        return [
            Sign(
                f"KL {kl:.1f} nats per answer is above {self.kl_stop / (1 if kl > self.kl_stop else 2):g}",
                0 < self.kl_stop < 2 * kl,
                0 < self.kl_stop < kl,
            ),
            Sign(
                f"entropy {entropy[0]:.2f} is below "
                f"{'a quarter' if entropy[0] < 0.25 * entropy[1] else 'half'} of {entropy[1]:.2f}",
                entropy[0] < 0.5 * entropy[1],
                entropy[0] < 0.25 * entropy[1],
            ),
            Sign(
                f"answers repeat themselves ({repeated:.0%} of their 4-grams)",
                repeated > 0.25,
                repeated > 0.5,
            ),
            Sign(
                f"answers have {length[0]:.0f} tokens, {length[1]:.0f} at the start",
                not 0.3 * length[1] <= length[0] <= 1.5 * length[1],
            ),
            Sign(
                f"{cut[0]:.0%} of the answers run into the limit, {cut[1]:.0%} at the start",
                cut[0] > cut[1] + 0.1,
            ),
            Sign(
                f"perplexity of the answers is {perplexity[0]:.1f}, {perplexity[1]:.1f} at the start",
                not 0.6 * perplexity[1] <= perplexity[0] <= 2 * perplexity[1],
            ),
        ]


def finite(tensor: torch.Tensor, name: str) -> torch.Tensor:
    """The tensor. Raises DivergedError naming it when it holds NaN or infinity."""
    if not bool(torch.isfinite(tensor).all()):
        raise DivergedError(f"{name} became NaN or infinite; lower ppo.lr or look at the reward model.")
    return tensor
