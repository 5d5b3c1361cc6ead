"""Attention: plain products give what PyTorch's kernel gives, and no file remembers which was used."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from trainer.attention import NAME, SHORT, plain_attention
from trainer.models import read_config, reward_model_from_policy, save_reward_model


def tensors(heads: int, kinds: int, tokens: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(tokens)
    query = torch.randn(2, heads, tokens, 8, generator=generator, requires_grad=True)
    key, value = (torch.randn(2, kinds, tokens, 8, generator=generator, requires_grad=True) for _ in "kv")
    return query, key, value


@pytest.mark.parametrize(("heads", "kinds"), [(4, 4), (6, 2), (3, 1)])
@pytest.mark.parametrize("masked", [True, False])
def test_it_is_pytorchs_attention(heads: int, kinds: int, masked: bool) -> None:
    query, key, value = tensors(heads, kinds, 7)
    mask = torch.rand(2, 1, 7, 7) > 0.5
    mask |= torch.eye(7, dtype=torch.bool)

    ours = plain_attention(query, key, value, mask if masked else None, 0.25)
    theirs = torch.nn.functional.scaled_dot_product_attention(
        query,
        key.repeat_interleave(heads // kinds, dim=1),
        value.repeat_interleave(heads // kinds, dim=1),
        attn_mask=mask if masked else None,
        is_causal=not masked,
        scale=0.25,
    ).transpose(1, 2)

    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    for one, other in zip(
        torch.autograd.grad(ours.sin().sum(), (query, key, value), retain_graph=True),
        torch.autograd.grad(theirs.sin().sum(), (query, key, value)),
        strict=True,
    ):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("tokens", [5, SHORT, SHORT + 1])
def test_a_model_says_the_same_with_either(tiny_policy: Path, tokens: int) -> None:
    model = reward_model_from_policy(tiny_policy, seed=0, pad_token_id=256)
    if model.head.weight.device.type == "cpu":
        assert model.classifier.config._attn_implementation == NAME
    ids = torch.arange(tokens).remainder(250).repeat(2, 1)
    mask = torch.ones_like(ids).bool()
    mask[1, tokens // 2 :] = False
    positions = torch.arange(tokens).expand(2, tokens)
    with torch.no_grad():
        plain = model.scores(ids, mask, positions)
        model.classifier.set_attn_implementation("sdpa")
        fused = model.scores(ids, mask, positions)
    torch.testing.assert_close(plain, fused, atol=1e-4, rtol=1e-4)


def test_the_saved_folder_names_no_kernel(tiny_policy: Path, tmp_path: Path) -> None:
    save_reward_model(reward_model_from_policy(tiny_policy, seed=0, pad_token_id=256), tmp_path)

    assert NAME not in str(read_config(tmp_path))
