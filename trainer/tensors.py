"""Tensor arithmetic of PPO, and the legend of its shapes.

B answers in a batch, P prompt tokens, R response tokens, T = P + R, V vocabulary, H hidden size, N tokens
picked out of a batch. A mask is True where something counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

LOGIT_CHUNK = 256
"""Tokens whose logits stand in memory at once: 50 MB in fp32 for a vocabulary of 49,152."""


def masked_mean(values: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """Mean over what the mask counts."""
    return (values * mask).sum() / mask.sum()


def whiten(values: Float[Tensor, "B R"], mask: Bool[Tensor, "B R"]) -> Float[Tensor, "B R"]:
    """Mean 0 and variance 1 over what the mask counts (population variance); 0 elsewhere."""
    mean = masked_mean(values, mask)
    variance = masked_mean((values - mean) ** 2, mask)
    return (values - mean) * torch.rsqrt(variance + 1e-6) * mask


def explained_variance(
    values: Float[Tensor, "B R"], returns: Float[Tensor, "B R"], mask: Bool[Tensor, "B R"]
) -> float:
    """1 - Var(returns - values) / Var(returns): 1 is a perfect critic, 0 no better than a constant."""
    target, error = returns[mask], (returns - values)[mask]
    return float(1.0 - error.var(correction=0) / target.var(correction=0).clamp_min(1e-8))


def correlation(one: Float[Tensor, " B"], other: Float[Tensor, " B"]) -> float:
    """Pearson's correlation; 0 where one of them does not vary."""
    one, other = one.double() - one.double().mean(), other.double() - other.double().mean()
    scale = float(one.norm() * other.norm())
    return float(one @ other) / scale if scale > 0 else 0.0


def response_mask(lengths: Int[Tensor, " B"], width: int) -> Bool[Tensor, "B R"]:
    """True at the first `lengths` positions of each row."""
    return torch.arange(width, device=lengths.device) < lengths[:, None]


def before_response(first: Int[Tensor, " B"], mask: Bool[Tensor, "B R"]) -> Int[Tensor, " N"]:
    """Which states each response token is predicted from: the one before it. `first`: those of first tokens.

    Only they meet the LM head or the value head: on CPU the head on unneeded tokens is the largest
    avoidable cost.
    """
    rows, columns = mask.nonzero(as_tuple=True)
    return first[rows] + columns


def scatter(picked: Float[Tensor, " N"], mask: Bool[Tensor, "B R"]) -> Float[Tensor, "B R"]:
    """Put one number per counted position back into its place; 0 elsewhere."""
    return torch.zeros(mask.shape, dtype=picked.dtype, device=picked.device).masked_scatter(mask, picked)


def logprobs_and_entropy(
    hidden: Float[Tensor, "N H"],
    head: Callable[[Tensor], Tensor],
    tokens: Int[Tensor, " N"],
    temperature: float,
    *,
    entropy_gradient: bool = False,
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    """Log-probability of each token and entropy of its distribution, at the rollouts' temperature, in fp32.

    In chunks, so that the logits (N, V) never stand in memory at once. Without `entropy_gradient` the entropy
    is only a number: its gradient would keep two more (N, V) tensors.
    """
    logprobs, entropies = [], []
    for part, chosen in zip(hidden.split(LOGIT_CHUNK), tokens.split(LOGIT_CHUNK), strict=True):
        distribution = torch.log_softmax(head(part).float() / temperature, dim=-1)
        logprobs.append(distribution.gather(-1, chosen[:, None]).squeeze(-1))
        with torch.set_grad_enabled(entropy_gradient and torch.is_grad_enabled()):
            entropies.append(-(distribution.exp() * distribution).sum(-1))
    return torch.cat(logprobs), torch.cat(entropies)


@dataclass
class RunningMoments:
    """Mean and deviation of every score of the run so far (Chan's parallel update)."""

    count: float = 0.0
    mean: float = 0.0
    m2: float = 0.0
    """Sum of squared distances from the mean."""

    def update(self, values: Float[Tensor, " B"]) -> None:
        """Merge a batch."""
        n, mean = values.numel(), float(values.mean())
        m2 = float(((values - mean) ** 2).sum())
        delta, total = mean - self.mean, self.count + n
        self.m2 += m2 + delta * delta * self.count * n / total
        self.mean += delta * n / total
        self.count = total

    @property
    def std(self) -> float:
        """Sample deviation; 1 until there are two different values."""
        variance = self.m2 / (self.count - 1) if self.count > 1 else 0.0
        return variance**0.5 if variance > 0 else 1.0
