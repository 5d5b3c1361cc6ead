"""What the hardware could do: the rate of its matrix products, and the FLOPs that a training needs.

Model FLOPs count the matrix products of weights once for each token that has to be read or learned from (2 a
weight forward, 4 backward); attention, norms and optimisers are left out, so a share of the limit is a lower
bound.
"""

from __future__ import annotations

import time
from statistics import median

import torch
from transformers import PretrainedConfig

SHAPES = ((2048, 576, 1536), (2048, 1536, 576), (2048, 576, 576), (1024, 576, 8192))
"""Rows, inner and outer width: what SmolLM2-135M multiplies over 2,048 tokens, and a piece of its head."""


def gemm_rate(rounds: int = 7) -> float:
    """bf16 FLOP/s of the best of the shapes, median of the rounds, on the threads that torch uses."""
    rates = []
    for rows, inner, outer in SHAPES:
        left = torch.randn(rows, inner, dtype=torch.bfloat16)
        right = torch.randn(outer, inner, dtype=torch.bfloat16)
        seconds = []
        for _ in range(rounds + 1):
            began = time.perf_counter()
            for _ in range(8):
                torch.nn.functional.linear(left, right)
            seconds.append((time.perf_counter() - began) / 8)
        rates.append(2 * rows * inner * outer / median(seconds[1:]))
    return max(rates)


def backbone_flops(config: PretrainedConfig) -> float:
    """Of one token forward through a Llama without its head."""
    hidden, heads = config.hidden_size, config.num_attention_heads
    size = getattr(config, "head_dim", None) or hidden // heads
    attention = hidden * size * (2 * heads + 2 * config.num_key_value_heads)
    return float(2 * config.num_hidden_layers * (attention + 3 * hidden * config.intermediate_size))


def head_flops(config: PretrainedConfig) -> float:
    """Of one token through the language model's head."""
    return float(2 * config.hidden_size * config.vocab_size)


def ppo_flops(config: PretrainedConfig, prompt_tokens: float, answer_tokens: float) -> float:
    """Of one answer: drawn, read by policy, reference, critic and reward model, learned by policy and critic.

    One pass over the buffer; the head only over answer tokens.
    """
    backbone = (prompt_tokens + answer_tokens) * backbone_flops(config)
    head = answer_tokens * head_flops(config)
    drawn, read, learned = backbone + head, 4 * backbone + 2 * head, 3 * (2 * backbone + head)
    return drawn + read + learned


def pair_flops(config: PretrainedConfig, tokens: float) -> float:
    """Of one preference pair learned from: `tokens` of its prompt once and of both answers."""
    return 3 * tokens * backbone_flops(config)
