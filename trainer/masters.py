"""Master weights: a model computes with bf16 weights, its optimiser steps on fp32 copies of them.

Mixed precision as in arXiv 1710.03740: bf16 has eight bits, so a step of a thousandth of a weight would be
rounded away. The masters keep it, and take over each gradient in fp32 as soon as it is there.
"""

from __future__ import annotations

import copy
import threading
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from trainer.lanes import lane
from trainer.models import Model, cast_to_bf16


class Rows(NamedTuple):
    """The gradient of an embedding that was looked up."""

    ids: Tensor
    """(N,)"""
    gradient: Tensor
    """(N, H)"""


class Masters:
    """The fp32 weights and gradients behind a model whose weights become bf16.

    What stays fp32 in the model, such as a scalar head, shares its numbers with its master.
    """

    twin: nn.Module
    """The model of the second lane. Two backward passes at once into the gradients of one model would lose
    some of them; here each lane has its own, and both bring theirs to the same masters."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Changes model and optimiser in place. The optimiser has not stepped yet."""
        exact = {id(weight): weight.detach() for weight in model.parameters() if weight.requires_grad}
        cast_to_bf16(model)
        self.twin = _twin(model)
        self._weights = [weight for weight in model.parameters() if weight.requires_grad]
        self._of = {id(weight): exact[id(weight)].float() for weight in self._weights}
        for weight, other in zip(model.parameters(), self.twin.parameters(), strict=True):
            if weight.requires_grad:
                self._of[id(other)] = self.of(weight)
        self._by_id = {id(master): master for master in self._of.values()}
        self._parked: dict[tuple[int, bool], dict[int, list[Tensor | Rows]]] = {}
        self._lock = threading.Lock()
        for one in (model, self.twin):
            self._listen(one)
        for group in optimizer.param_groups:
            group["params"] = [self.of(weight) for weight in group["params"]]

    def _listen(self, model: nn.Module) -> None:
        for weight in model.parameters():
            if weight.requires_grad:
                weight.register_post_accumulate_grad_hook(self._collect)
        for part in model.modules():
            if type(part) is nn.Embedding and part.weight.requires_grad:
                part.register_forward_hook(self._look_up)

    def of(self, weight: Tensor) -> Tensor:
        """The fp32 weights behind these."""
        return self._of[id(weight)]

    @torch.no_grad()
    def publish(self) -> None:
        """Rounds the masters into the model, after a step on them or a load of them."""
        torch._foreach_copy_([*self._weights], [self.of(weight) for weight in self._weights])

    @torch.no_grad()
    def settle(self) -> None:
        """Adds what only some lanes gave, such as gradients of an expert that the others did not ask."""
        for (of, _), parked in self._parked.items():
            _add(self._by_id[of], parked)
        self._parked.clear()

    def _collect(self, weight: Tensor) -> None:
        """A hook: takes a gradient as soon as a backward pass has it."""
        gradient, weight.grad = weight.grad, None
        if gradient is not None:  # an embedding's comes from `Lookup`
            self.take(weight, gradient)

    @torch.no_grad()
    def take(self, weight: Tensor, given: Tensor | Rows) -> None:
        """Adds a gradient in fp32: a sum in bf16 would lose what the last passes add.

        Those of lanes are added by the lane that comes last, in the order of lanes: the sum does not depend
        on who is first.
        """
        number, abreast = lane()
        master = self.of(weight)
        what = id(master), isinstance(given, Rows)
        with self._lock:
            parked = self._parked.setdefault(what, {})
            parked.setdefault(number, []).append(given)
            if len(parked) < abreast:
                return
            del self._parked[what]
        _add(master, parked)

    def _look_up(self, part: nn.Embedding, given: tuple[Tensor], found: Tensor) -> Tensor:
        """A forward hook: the same rows, with a gradient that goes to the master."""
        rows: Tensor = Lookup.apply(self, part, given[0], part.weight)
        return rows


def _twin(model: Model) -> Model:
    """The model again: the same numbers in the same memory, with gradients of its own."""
    shared: dict[int, Any] = {id(buffer): buffer for buffer in model.buffers()}
    for weight in model.parameters():
        shared[id(weight)] = nn.Parameter(weight.detach(), requires_grad=weight.requires_grad)
    return copy.deepcopy(model, shared)


def _add(master: Tensor, parked: dict[int, list[Tensor | Rows]]) -> None:
    for given in (one for _, of_lane in sorted(parked.items()) for one in of_lane):
        if isinstance(given, Rows):
            if master.grad is None:
                master.grad = torch.zeros_like(master)
            master.grad.index_add_(0, given.ids, given.gradient.float())
        elif master.grad is None:
            master.grad = given.float()
        else:
            master.grad.add_(given)


class Lookup(torch.autograd.Function):
    """Rows of an embedding.

    A token that comes a hundred times has a hundred gradients, which PyTorch would add up in bf16; and it
    would make a gradient of the whole vocabulary, nearly all of it zeros. Here the master takes the rows.
    """

    @staticmethod
    def forward(ctx: Any, masters: Masters, part: nn.Embedding, ids: Tensor, weight: Tensor) -> Tensor:
        ctx.masters, ctx.part = masters, part
        ctx.save_for_backward(ids)
        return nn.functional.embedding(ids, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, ...]:
        ids, gradient = ctx.saved_tensors[0].flatten(), gradients[0].flatten(0, -2)
        if ctx.part.padding_idx is not None:
            counted = ids != ctx.part.padding_idx
            ids, gradient = ids[counted], gradient[counted]
        ctx.masters.take(ctx.part.weight, Rows(ids, gradient))
        return None, None, None, None
