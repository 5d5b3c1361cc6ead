"""Attention on the CPU by plain matrix products: for short rows much faster than PyTorch's fused kernel.

The kernel is made for long rows; its backward pass costs most at a hundred tokens. The products keep no more
than it does: probabilities are computed again in the backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "heed_products"
LARGEST = 2**27
"""Probabilities in one layer's pass, about 1 GiB while it runs; beyond it the fused kernel is used."""


def use_products(model: PreTrainedModel) -> None:
    """Switches a model that would use PyTorch's fused attention; others stay as they are."""
    if model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(NAME)


class ProductAttention(torch.autograd.Function):
    """softmax(scale Q K^T + bias) V, with G query heads to each of the K key heads.

    Q is (B, K G, T, D), K and V are (B, K, T, D), bias is (B or 1, 1, T, T) in their precision. Softmax is in
    fp32 or better.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(q, k, v, bias)
        ctx.scale = scale
        probabilities = _probabilities(q, k, bias, scale).to(v.dtype)
        return torch.bmm(probabilities, _flat(v, 1)).view(q.shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, bias = ctx.saved_tensors
        groups = q.shape[1] // k.shape[1]
        exact = _probabilities(q, k, bias, ctx.scale)
        probabilities, out = exact.to(v.dtype), _flat(gradients[0], groups)
        to_v = torch.bmm(probabilities.transpose(1, 2), out)
        to_p = torch.bmm(out, _flat(v, 1).transpose(1, 2)).to(exact.dtype)
        to_s = (exact * (to_p - (to_p * exact).sum(-1, keepdim=True))).to(q.dtype)
        to_q = torch.bmm(to_s, _flat(k, 1)) * ctx.scale
        to_k = torch.bmm(to_s.transpose(1, 2), _flat(q, groups)) * ctx.scale
        return to_q.view(q.shape), to_k.view(k.shape), to_v.view(v.shape), None, None


def _probabilities(q: Tensor, k: Tensor, bias: Tensor, scale: float) -> Tensor:
    """(B K, G T, T), at least fp32."""
    batch, heads, length, _ = q.shape
    groups = heads // k.shape[1]
    every = bias.expand(batch, heads, length, length).reshape(-1, groups * length, length)
    scores = torch.baddbmm(every, _flat(q, groups), _flat(k, 1).transpose(1, 2), alpha=scale)
    return torch.softmax(scores, -1, dtype=torch.promote_types(q.dtype, torch.float32))


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

    `attention_mask` is (B, 1, T, T) bool, True = seen, or None for a causal one. What is not on the CPU,
    continues a cache, has dropout, is too large or sees all with no mask goes to PyTorch's kernel.
    """
    batch, heads, length, size = query.shape
    plain = query.device.type == "cpu" and key.shape[2] == length and value.shape[3] == size and dropout == 0
    plain = plain and (attention_mask is not None or _causal(module, options.get("is_causal")))
    if not plain or batch * heads * length * length > LARGEST or "position_bias" in options:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **options
        )
    if attention_mask is None:
        attention_mask = torch.ones(length, length, dtype=torch.bool).tril()[None, None]
    bias = attention_mask
    if bias.dtype == torch.bool:
        # The smallest number, not -infinity: a row that sees nothing is padding, and must not become NaN.
        bias = torch.zeros(bias.shape, dtype=query.dtype).masked_fill(~bias, torch.finfo(query.dtype).min)
    scale = size**-0.5 if scaling is None else scaling
    out: Tensor = ProductAttention.apply(query, key, value, bias, scale)
    return out.transpose(1, 2).contiguous(), None


def _causal(module: nn.Module, asked: bool | None) -> bool:
    """Whether no mask means a causal one, as transformers decides it: the call says so, else the layer."""
    return bool(getattr(module, "is_causal", True) if asked is None else asked)


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
