"""Spans: the rests of a flat row as padded rows of their own, for attention alone, and back."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor


class Places(NamedTuple):
    """Where the tokens of a flat row stand when each rest has a padded row of its own."""

    opening: int
    rests: int
    longest: int
    taken: Tensor
    """(rests x longest,) which token of the flat row stands there; at padding any."""
    back: Tensor
    """(N - opening,) where each token of the rests stands."""

    @classmethod
    def of(cls, spans: Tensor) -> Places:
        """(1, 1, b, 2), as `flat_batch` makes them."""
        starts, counts = spans[0, 0].unbind(1)
        steps = torch.arange(int(counts.max()))
        taken = torch.minimum(starts[:, None] + steps, (starts + counts - 1)[:, None])
        back = (steps < counts[:, None]).flatten().nonzero().squeeze(1)
        return cls(int(starts[0]), len(starts), len(steps), taken.flatten(), back)


class Apart(torch.autograd.Function):
    """(1, heads, N, D) of a flat row -> the opening's (1, heads, P, D) and the rests' (b, heads, S, D)."""

    @staticmethod
    def forward(ctx: Any, row: Tensor, places: Places) -> tuple[Tensor, Tensor]:
        ctx.places = places
        tokens = row.transpose(1, 2)[0]  # (N, heads, D)
        opening = tokens[: places.opening].transpose(0, 1)[None].contiguous()
        return opening, _rows(tokens.index_select(0, places.taken), places)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        of_opening, of_rests = gradients
        return _together(of_opening, of_rests, ctx.places), None


class Together(torch.autograd.Function):
    """The way back from `Apart`; what stands at padding is left out."""

    @staticmethod
    def forward(ctx: Any, opening: Tensor, rests: Tensor, places: Places) -> Tensor:
        ctx.places = places
        return _together(opening, rests, places)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        places, given = ctx.places, gradients[0].transpose(1, 2)[0]
        rests = given.new_zeros(places.rests * places.longest, *given.shape[1:])
        rests.index_copy_(0, places.back, given[places.opening :])
        return given[: places.opening].transpose(0, 1)[None], _rows(rests, places), None


def _rows(padded: Tensor, places: Places) -> Tensor:
    """(b x S, heads, D) -> (b, heads, S, D)"""
    return padded.view(places.rests, places.longest, *padded.shape[1:]).transpose(1, 2)


def _together(opening: Tensor, rests: Tensor, places: Places) -> Tensor:
    """-> (1, heads, N, D)"""
    rows = rests.transpose(1, 2).flatten(0, 1).index_select(0, places.back)
    return torch.cat([opening[0].transpose(0, 1), rows]).transpose(0, 1)[None]
