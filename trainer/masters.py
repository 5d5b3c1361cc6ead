"""Master weights: a model computes with bf16 weights, its optimiser steps on fp32 copies of them.

Mixed precision as in arXiv 1710.03740: bf16 has eight bits, so a step of a thousandth of a weight would be
rounded away. The masters keep it, and take over each gradient in fp32 as soon as it is there.
"""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import Tensor, nn

from trainer.lanes import lane
from trainer.models import cast_to_bf16


class Masters:
    """The fp32 weights and gradients behind a model whose weights become bf16.

    What stays fp32 in the model, such as a scalar head, shares its numbers with its master.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Changes model and optimiser in place. The optimiser has not stepped yet."""
        exact = {id(weight): weight.detach() for weight in model.parameters() if weight.requires_grad}
        cast_to_bf16(model)
        self._weights = [weight for weight in model.parameters() if weight.requires_grad]
        self._of = {id(weight): exact[id(weight)].float() for weight in self._weights}
        self._parked: dict[int, dict[int, Tensor]] = {id(weight): {} for weight in self._weights}
        self._lock = threading.Lock()
        for weight in self._weights:
            weight.register_post_accumulate_grad_hook(self._collect)
        for part in model.modules():
            if type(part) is nn.Embedding and part.weight.dtype == torch.bfloat16:
                part.register_forward_hook(_looked_up)
        for group in optimizer.param_groups:
            group["params"] = [self.of(weight) for weight in group["params"]]

    def of(self, weight: Tensor) -> Tensor:
        """The fp32 weights behind these."""
        return self._of[id(weight)]

    @torch.no_grad()
    def publish(self) -> None:
        """Rounds the masters into the model, after a step on them or a load of them."""
        torch._foreach_copy_([*self._weights], [self.of(weight) for weight in self._weights])

    @torch.no_grad()
    def _collect(self, weight: Tensor) -> None:
        """Adds the gradient of a backward pass in fp32: a sum in bf16 would lose what the last passes add.

        Those of lanes are added together and in their order, so that the sum does not depend on who is first.
        """
        (number, abreast), gradient, weight.grad = lane(), weight.grad, None
        assert gradient is not None
        with self._lock:
            parked = self._parked[id(weight)]
            parked[number] = gradient
            if len(parked) < abreast:
                return
            self._parked[id(weight)] = {}
        master = self.of(weight)
        for _, gradient in sorted(parked.items()):
            if master.grad is None:
                master.grad = gradient.float()
            else:
                master.grad.add_(gradient)


def _looked_up(part: nn.Embedding, given: tuple[Tensor], found: Tensor) -> Tensor:
    """A forward hook: the same rows of an embedding, with a gradient that is summed in fp32."""
    rows: Tensor = Lookup.apply(given[0], part.weight, part.padding_idx)
    return rows


class Lookup(torch.autograd.Function):
    """Rows of an embedding. A token that comes a hundred times has a hundred gradients, which PyTorch would
    add up in the weight's precision: in bf16 all but the first few would be lost."""

    @staticmethod
    def forward(ctx: Any, ids: Tensor, weight: Tensor, padding: int | None) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.shape, ctx.padding = weight.shape, padding
        return nn.functional.embedding(ids, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (ids,), (gradient,) = ctx.saved_tensors, gradients
        rows, places = ids.flatten().unique(return_inverse=True)
        sums = torch.zeros(len(rows), ctx.shape[1], device=ids.device)
        sums.index_add_(0, places, gradient.flatten(0, -2).float())
        if ctx.padding is not None:
            sums[rows == ctx.padding] = 0.0
        whole = gradient.new_zeros(ctx.shape)
        whole[rows] = sums.to(gradient.dtype)
        return None, whole, None
