"""Master weights: a model computes with bf16 weights, its optimiser steps on fp32 copies of them.

Mixed precision as in arXiv 1710.03740: bf16 has eight bits, so a step of a thousandth of a weight would be
rounded away. The masters keep it, and take over each gradient in fp32 as soon as it is there.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainer.models import cast_to_bf16


class Masters:
    """The fp32 weights and gradients behind a model whose weights become bf16.

    What stays fp32 in the model, such as a scalar head, is its own master. With `precision` fp32 all is.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, *, bf16: bool) -> None:
        """Changes model and optimiser in place. The optimiser has not stepped yet."""
        self._rounded: list[Tensor] = []
        self._exact: list[Tensor] = []
        self._of: dict[int, Tensor] = {}
        if not bf16:
            return
        exact = {id(weight): weight.detach() for weight in model.parameters() if weight.requires_grad}
        cast_to_bf16(model)
        for weight in model.parameters():
            if weight.requires_grad and weight.dtype == torch.bfloat16:
                master = exact[id(weight)].float()
                self._rounded.append(weight)
                self._exact.append(master)
                self._of[id(weight)] = master
                weight.register_post_accumulate_grad_hook(self._collect)
        for group in optimizer.param_groups:
            group["params"] = [self._of.get(id(weight), weight) for weight in group["params"]]

    def of(self, weight: Tensor) -> Tensor:
        """The fp32 weights behind these."""
        return self._of.get(id(weight), weight.detach())

    def publish(self) -> None:
        """Rounds the masters into the model, after a step on them or a load of them."""
        if self._rounded:
            with torch.no_grad():
                torch._foreach_copy_(self._rounded, self._exact)

    @torch.no_grad()
    def _collect(self, weight: Tensor) -> None:
        """Adds the gradient of a backward pass in fp32: a sum in bf16 would lose what the last passes add."""
        master = self._of[id(weight)]
        assert weight.grad is not None
        if master.grad is None:
            master.grad = weight.grad.float()
        else:
            master.grad.add_(weight.grad)
        weight.grad = None
