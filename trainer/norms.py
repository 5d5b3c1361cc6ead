"""RMS norms in few operations: a pass keeps their input and one number a token, not copies in fp32.

The norm of arXiv 1910.07467 as transformers computes it, in fp32 inside.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


def use_norms(model: PreTrainedModel) -> None:
    """Puts `Norm` in the place of each module that computes the same. What differs stays as it is."""
    for name, part in list(model.named_modules()):
        if type(part).__name__.endswith("RMSNorm") and hasattr(part, "variance_epsilon"):
            norm = Norm(part.weight, part.variance_epsilon)
            if _agree(part, norm):
                model.set_submodule(name, norm)


class Norm(nn.Module):
    """x / sqrt(mean(x^2) + epsilon) * weight over the last dimension."""

    def __init__(self, weight: nn.Parameter, epsilon: float) -> None:
        super().__init__()
        self.weight = weight
        self.variance_epsilon = epsilon

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., H) -> (..., H)"""
        normed: Tensor = RootMeanSquare.apply(hidden, self.weight, self.variance_epsilon)
        return normed


class RootMeanSquare(torch.autograd.Function):
    """y = w n with n = x r and r = 1 / sqrt(mean(x^2) + epsilon), in fp32 but for the roundings of n and y.

    dx = r (w dy - n mean(w dy n)), dw = sum(dy n).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        normed = x.float()
        norm = torch.linalg.vector_norm(normed, dim=-1, keepdim=True)
        scale = norm.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        out: Tensor = weight * (normed * scale).to(x.dtype)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight, scale), (gradient,) = ctx.saved_tensors, gradients
        normed, to_x, exact = x.float() * scale, gradient.float(), weight.float()
        product = to_x * normed
        to_weight = product.flatten(0, -2).sum(0).to(weight.dtype) if ctx.needs_input_grad[1] else None
        mean = (product @ exact).div_(x.shape[-1]).unsqueeze(-1)
        to_x = (to_x * exact).addcmul_(normed, mean, value=-1.0).mul_(scale)
        return to_x.to(x.dtype), to_weight, None


@torch.no_grad()
def _agree(one: nn.Module, other: Norm) -> bool:
    """Whether two norms say the same of a row; a weight that is added to 1, as in Gemma, does not."""
    size = other.weight.shape[0]
    row = torch.linspace(-2.0, 3.0, size, dtype=other.weight.dtype, device=other.weight.device)[None]
    if row.is_meta:
        return True
    return torch.allclose(one(row), other(row), rtol=1e-5)
