"""The action space of a training: what shows a collapse before the reward does.

Section 5.2 of arXiv 2307.04964.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from trainer.errors import DivergedError
from trainer.experience import Experience
from trainer.tensors import masked_mean

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


class CollapseAlarm:
    """Says when a training has gone: the same sign for three updates running.

    Signs: sequence KL beyond `kl_stop`; entropy below a quarter of the start's; answers of which more than
    half is said again. KL is the plain estimate: the mean of k3 is carried by single improbable tokens, so it
    can leap in a healthy training.
    """

    def __init__(self, kl_stop: float, first_entropy: float | None = None, bad: int = 0) -> None:
        self.kl_stop = kl_stop
        self.first_entropy = first_entropy
        self.bad = bad
        """Updates running that showed a sign."""

    def look(self, metrics: dict[str, float]) -> str | None:
        """The reason to stop, or None."""
        if self.first_entropy is None:
            self.first_entropy = metrics["entropy"]
        signs = []
        if self.kl_stop > 0 and metrics["ref_kl"] > self.kl_stop:
            signs.append(f"KL {metrics['ref_kl']:.1f} nats per answer is above {self.kl_stop:g}")
        if metrics["entropy"] < 0.25 * self.first_entropy:
            signs.append(f"entropy {metrics['entropy']:.2f} is below a quarter of {self.first_entropy:.2f}")
        if metrics["repeat_share"] > 0.5:
            signs.append(f"answers repeat themselves ({metrics['repeat_share']:.0%} of their 4-grams)")
        self.bad = self.bad + 1 if signs else 0
        return "; ".join(signs) if self.bad >= PATIENCE else None


def finite(tensor: torch.Tensor, name: str) -> torch.Tensor:
    """The tensor. Raises DivergedError naming it when it holds NaN or infinity."""
    if not bool(torch.isfinite(tensor).all()):
        raise DivergedError(f"{name} became NaN or infinite; lower ppo.lr or look at the reward model.")
    return tensor
