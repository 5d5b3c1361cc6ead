"""Attention on the CPU by plain matrix products: for short rows twice as fast as PyTorch's fused kernel.

The kernel is made for long rows; its backward pass costs most at a hundred tokens. The products keep no more
than it does: probabilities are computed again in the backward pass, a few rows of the batch at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from trainer.spans import Apart, Places, Together

NAME = "heed_products"
PIECE = 2**21
"""Probabilities at hand at once: 4 MiB in bf16 stay in the cache, and malloc gives the same pages again."""
LONGEST = 1024
"""Tokens in a row beyond which the fused kernel is used: it leaves out the half that a causal mask hides."""


def use_products(model: PreTrainedModel) -> None:
    """Switches a model that would use PyTorch's fused attention; others stay as they are."""
    if model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(NAME)


class ProductAttention(torch.autograd.Function):
    """softmax(scale Q K^T + bias) V, with G query heads to each of the K key heads.

    Q is (B, K G, T, D), K and V are (B, K, U, D), bias is (B or 1, 1, T, U) in their precision. Softmax and
    its gradient are computed in fp32 or better and rounded to that precision once.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(q, k, v, bias)
        ctx.scale = scale
        out = torch.empty_like(q)
        for q_, k_, v_, bias_, out_ in _pieces(q, k, v, bias, out):
            probabilities = _probabilities(q_, k_, bias_, scale)
            out_.copy_(torch.bmm(probabilities, _flat(v_, 1)).view(q_.shape))
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, bias = ctx.saved_tensors
        groups, scale = q.shape[1] // k.shape[1], ctx.scale
        to_q, to_k, to_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        for q_, k_, v_, bias_, gradient, to_q_, to_k_, to_v_ in _pieces(
            q, k, v, bias, gradients[0], to_q, to_k, to_v
        ):
            probabilities, out = _probabilities(q_, k_, bias_, scale), _flat(gradient, groups)
            to_v_.copy_(torch.bmm(probabilities.transpose(1, 2), out).view(v_.shape))
            to_p = torch.bmm(out, _flat(v_, 1).transpose(1, 2))
            to_s = torch._softmax_backward_data(to_p, probabilities, -1, to_p.dtype)
            to_q_.copy_(torch.bmm(to_s, _flat(k_, 1)).view(q_.shape))
            to_k_.copy_(torch.bmm(to_s.transpose(1, 2), _flat(q_, groups)).view(k_.shape))
        return to_q.mul_(scale), to_k.mul_(scale), to_v, None, None


def _pieces(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The same tensors, a few rows of the batch at a time."""
    batch, heads, length, _ = q.shape
    rows = max(1, PIECE // (heads * length * k.shape[2]))
    bias = bias.expand(batch, -1, -1, -1)
    yield from zip(*(tensor.split(rows) for tensor in (q, k, v, bias, *others)), strict=True)


def _probabilities(q: Tensor, k: Tensor, bias: Tensor, scale: float) -> Tensor:
    """(B K, G T, U)"""
    batch, heads, length, _ = q.shape
    nothing = q.new_zeros(()).expand(1, 1, 1)
    queries, keys = _flat(q, heads // k.shape[1]), _flat(k, 1).transpose(1, 2)
    scores = torch.baddbmm(nothing, queries, keys, beta=0, alpha=scale)
    scores.view(batch, heads, length, -1).add_(bias)
    return torch.softmax(scores, -1)


def _flat(heads: Tensor, groups: int) -> Tensor:
    """(B, K G, T, D) -> (B K, G T, D): the query heads of one key head stand below each other."""
    batch, count, length, size = heads.shape
    return heads.reshape(batch * count // groups, groups * length, size)


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """transformers' interface of an attention: (B, heads, T, D) -> (B, T, heads, D).

    `attention_mask` is (B, 1, T, T) bool, True = seen, or None for a causal one, or the spans of a flat pass.
    What is not on the CPU, continues a cache, has dropout, is too long or sees all with no mask goes to
    PyTorch's kernel.
    """
    if attention_mask is not None and attention_mask.dtype == torch.int64:
        return _flat_attention(module, query, key, value, attention_mask, scaling), None
    _, _, length, size = query.shape
    plain = query.device.type == "cpu" and key.shape[2] == length and value.shape[3] == size and dropout == 0
    plain = plain and (attention_mask is not None or _causal(module, options.get("is_causal")))
    if not plain or length > LONGEST or "position_bias" in options:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **options
        )
    if attention_mask is None:
        attention_mask = torch.ones(length, length, dtype=torch.bool).tril()[None, None]
    query, key = query.to(value.dtype), key.to(value.dtype)  # rotations leave fp32 under autocast
    bias = attention_mask
    if bias.dtype == torch.bool:
        bias = _bias(bias, query.dtype)
    scale = size**-0.5 if scaling is None else scaling
    out: Tensor = ProductAttention.apply(query, key, value, bias, scale)
    return out.transpose(1, 2).contiguous(), None


def _flat_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, spans: Tensor, scaling: float | None
) -> Tensor:
    """Of a flat pass: the opening by itself, then each rest with the opening's keys before its own."""
    places = Places.of(spans)
    scale = query.shape[3] ** -0.5 if scaling is None else scaling

    def seen(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Causal, the last query at the last key."""
        length, keys = q.shape[2], k.shape[2]
        bias = _bias(torch.ones(length, keys, dtype=torch.bool).tril(keys - length)[None, None], q.dtype)
        if keys > LONGEST:
            return sdpa_attention_forward(module, q, k, v, bias, scaling=scale)[0].transpose(1, 2)
        found: Tensor = ProductAttention.apply(q, k, v, bias, scale)
        return found

    apart = [Apart.apply(one.to(value.dtype), places) for one in (query, key, value)]
    (q, q_rest), (k, k_rest), (v, v_rest) = apart
    both = [
        torch.cat([one.expand(places.rests, -1, -1, -1), rest], dim=2)
        for one, rest in ((k, k_rest), (v, v_rest))
    ]
    opening = seen(q, k, v) if places.opening else q
    out: Tensor = Together.apply(opening, seen(q_rest, *both), places)
    return out.transpose(1, 2)


def _bias(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """Added to the scores. The smallest number, not -infinity: a row that sees nothing is padding, and must
    not become NaN."""
    return torch.zeros(seen.shape, dtype=dtype).masked_fill(~seen, torch.finfo(dtype).min)


def _causal(module: nn.Module, asked: bool | None) -> bool:
    """Whether no mask means a causal one, as transformers decides it: the call says so, else the layer."""
    return bool(getattr(module, "is_causal", True) if asked is None else asked)


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
