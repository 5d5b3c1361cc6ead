"""Attention on the CPU: plain products where rows are short, PyTorch's fused kernel where they are long.

The fused CPU kernel was twice as slow as plain products at 140 to 250 tokens, and faster from 500 on.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "plain_when_short"
SHORT = 320
"""Tokens of a row up to which plain products are faster."""


def use_short_row_attention(model: PreTrainedModel) -> None:
    """Lets a model on the CPU choose its kernel by length; attention that is not `sdpa` stays as it is."""
    if model.config._attn_implementation == "sdpa" and model.device.type == "cpu":
        AttentionInterface.register(NAME, _attention)
        AttentionMaskInterface.register(NAME, sdpa_mask)
        model.set_attn_implementation(NAME)


def plain_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float) -> Tensor:
    """softmax(q k' scaling) v with causal order where there is no mask; softmax in fp32.

    Query heads that share a key head go through one product: nothing is repeated.

    Args:
        query: (R, H, T, D).
        key: (R, K, T, D) with H a multiple of K; value alike.
        mask: (R or 1, 1, T, T) bool, True = sees; None is causal.

    Returns:
        (R, T, H, D).
    """
    rows, heads, tokens, width = query.shape
    kinds = key.shape[1]
    together = query.reshape(rows, kinds, heads // kinds * tokens, width)
    logits = (together @ key.transpose(2, 3)).view(rows, heads, tokens, tokens) * scaling
    if mask is None:
        mask = torch.ones(tokens, tokens, dtype=torch.bool, device=query.device).tril()
    logits = logits.masked_fill(~mask, torch.finfo(logits.dtype).min)
    shares = torch.softmax(logits, dim=-1, dtype=torch.float32).to(query.dtype)
    out = shares.view(rows, kinds, heads // kinds * tokens, tokens) @ value
    return out.view(rows, heads, tokens, width).transpose(1, 2)


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    short = query.shape[2] == key.shape[2] <= SHORT
    plain = not dropout and options.get("position_bias") is None
    if short and plain and (attention_mask is None or attention_mask.dtype == torch.bool):
        scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
        return plain_attention(query, key, value, attention_mask, scaling).contiguous(), None
    out: Tensor = sdpa_attention_forward(
        module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **options
    )[0]
    return out, None
