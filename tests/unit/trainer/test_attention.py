"""Attention by plain products: the numbers of PyTorch's kernel, its gradients, and who goes where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from trainer import attention as products
from trainer.models import load_policy


def heads(dtype: torch.dtype = torch.float32, length: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    """Four query heads on two key heads."""
    chance = torch.Generator().manual_seed(1)

    def drawn(count: int) -> Tensor:
        values = torch.randn(3, count, length, 8, generator=chance, dtype=torch.float64)
        return values.to(dtype).requires_grad_()

    return drawn(4), drawn(2), drawn(2)


def masks(length: int = 7) -> dict[str, Tensor | None]:
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    padded = causal.repeat(3, 1, 1, 1)
    padded[1, :, :, 5:] = False
    tree = padded.clone()
    tree[2, :, 5:, 2:4] = False
    return {"causal": None, "padded": padded, "tree": tree}


@pytest.mark.parametrize("mask", masks().values(), ids=masks())
def test_values_and_gradients_are_those_of_the_kernel(mask: Tensor | None) -> None:
    q, k, v = heads()
    mine, _ = products.attention(nn.Module(), q, k, v, mask)
    wide_k, wide_v = (one.repeat_interleave(2, dim=1) for one in (k, v))
    out = scaled_dot_product_attention(q, wide_k, wide_v, attn_mask=mask, is_causal=mask is None)
    theirs = out.transpose(1, 2)
    torch.testing.assert_close(mine, theirs)
    direction = torch.randn(mine.shape, generator=torch.Generator().manual_seed(2))
    for one, other in zip(
        torch.autograd.grad(mine, (q, k, v), direction),
        torch.autograd.grad(theirs, (q, k, v), direction),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_a_batch_is_read_in_pieces_without_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = heads()
    mask = masks()["tree"]
    whole, _ = products.attention(nn.Module(), q, k, v, mask)
    gradients = torch.autograd.grad(whole.square().sum(), (q, k, v))
    monkeypatch.setattr(products, "PIECE", 2 * 4 * 7 * 7)  # two of the three rows
    pieces, _ = products.attention(nn.Module(), q, k, v, mask)
    torch.testing.assert_close(pieces, whole)
    torch.testing.assert_close(torch.autograd.grad(pieces.square().sum(), (q, k, v)), gradients)


def test_under_autocast_all_is_in_the_values_precision() -> None:
    """Rotations leave queries and keys in fp32; the projection of the values is bf16."""
    q, k, v = heads()
    with torch.autocast("cpu", torch.bfloat16):
        out, _ = products.attention(nn.Module(), q, k, v.bfloat16(), None)
    assert out.dtype == torch.bfloat16
    to_q, to_k = torch.autograd.grad(out.float().sum(), (q, k))
    assert to_q.dtype == to_k.dtype == torch.float32


def test_gradients_are_those_of_finite_differences() -> None:
    q, k, v = heads(torch.float64, length=4)
    bias = torch.randn(3, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))

    def run(*heads: Tensor) -> Any:
        return products.ProductAttention.apply(*heads, bias, 0.3)

    assert torch.autograd.gradcheck(run, (q, k, v))


def test_a_row_that_sees_nothing_is_finite() -> None:
    q, k, v = heads()
    out, _ = products.attention(nn.Module(), q, k, v, torch.zeros(3, 1, 7, 7, dtype=torch.bool))
    assert bool(torch.isfinite(out).all())


@pytest.mark.parametrize(
    "case", ["cache", "long", "dropout", "sees all by the call", "sees all by the layer"]
)
def test_other_cases_go_to_the_kernel(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def kernel(*tensors: Any, **_: Any) -> tuple[None, None]:
        given.append(tensors)
        return None, None

    monkeypatch.setattr(products, "sdpa_attention_forward", kernel)
    if case == "long":
        monkeypatch.setattr(products, "LONGEST", 6)
    q, k, v = heads()
    if case == "cache":
        q = q[:, :, -1:]
    layer, options = nn.Module(), {"is_causal": False} if case == "sees all by the call" else {}
    if case == "sees all by the layer":
        vars(layer)["is_causal"] = False
    products.attention(layer, q, k, v, None, dropout=0.1 if case == "dropout" else 0.0, **options)
    assert len(given) == 1


def test_a_call_that_says_causal_wins_over_its_layer() -> None:
    q, k, v = heads()
    layer = nn.Module()
    vars(layer).update(is_causal=False, num_key_value_groups=2)
    out, _ = products.attention(layer, q, k, v, None, is_causal=True)
    torch.testing.assert_close(out, products.attention(nn.Module(), q, k, v, None)[0], rtol=0, atol=0)
    everything = torch.ones(3, 1, 7, 7, dtype=torch.bool)
    alike = products.attention(layer, q, k, v, None)[0], products.attention(layer, q, k, v, everything)[0]
    torch.testing.assert_close(*alike)


def test_a_loaded_model_uses_it_and_reads_the_same(tiny_policy: Path) -> None:
    policy = load_policy(tiny_policy)
    assert policy.config._attn_implementation == products.NAME
    ids = torch.arange(5, 29).view(2, 12)
    mask = torch.ones_like(ids)
    mask[1, 9:] = 0
    with torch.no_grad():
        mine = policy(input_ids=ids, attention_mask=mask).logits[mask.bool()]
        policy.set_attn_implementation("sdpa")
        theirs = policy(input_ids=ids, attention_mask=mask).logits[mask.bool()]
    torch.testing.assert_close(mine, theirs)
    assert products.NAME not in policy.config.to_json_string()
