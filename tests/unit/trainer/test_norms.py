"""RMS norms: the numbers and gradients of the plain form, from less that is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import Gemma2Config, Gemma2ForCausalLM
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from trainer.models import load_policy
from trainer.norms import Norm, RootMeanSquare, use_norms


def both(dtype: torch.dtype) -> tuple[nn.Module, Norm]:
    plain = LlamaRMSNorm(24, eps=1e-3)
    nn.init.uniform_(plain.weight, 0.5, 1.5)
    plain.to(dtype)
    return plain, Norm(nn.Parameter(plain.weight.detach().clone()), 1e-3)


def read(norm: nn.Module, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Output and both gradients, in fp32."""
    chance = torch.Generator().manual_seed(1)
    x, gradient = (torch.randn(3, 7, 24, generator=chance).to(dtype) for _ in range(2))
    x.requires_grad_()
    out = norm(x)
    out.backward(gradient)
    weight = norm.get_parameter("weight").grad
    assert out.dtype == dtype
    assert x.grad is not None
    assert weight is not None
    return out.detach().float(), x.grad.float(), weight.float()


@pytest.mark.parametrize(("dtype", "off"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_numbers_and_gradients_are_those_of_the_plain_form(dtype: torch.dtype, off: float) -> None:
    torch.manual_seed(0)
    plain, norm = both(dtype)
    for one, other in zip(read(plain, dtype), read(norm, dtype), strict=True):
        assert torch.allclose(one, other, rtol=off, atol=off * float(one.abs().max()))


def test_the_gradient_is_the_derivative() -> None:
    chance = torch.Generator().manual_seed(1)
    x, weight = (torch.randn(size, generator=chance).double().requires_grad_() for size in ((2, 3, 5), (5,)))

    def run(x: Tensor, weight: Tensor) -> Tensor:
        out: Tensor = RootMeanSquare.apply(x, weight, 1e-3)
        return out

    # fp32 inside: steps of 1e-2 are large against its rounding.
    assert torch.autograd.gradcheck(run, (x, weight), eps=1e-2, atol=1e-3, rtol=1e-3)


def test_a_loaded_model_has_them_under_the_same_names(tiny_policy: Path) -> None:
    policy = load_policy(tiny_policy)
    norms = [name for name, part in policy.named_modules() if isinstance(part, Norm)]
    assert len(norms) == 5  # two in each of 2 layers and one behind them
    assert "model.layers.0.input_layernorm.weight" in policy.state_dict()


def test_a_norm_that_computes_something_else_stays() -> None:
    config = Gemma2Config(
        vocab_size=20, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8,
    )  # fmt: skip
    model = Gemma2ForCausalLM(config)
    for part in model.modules():
        if type(part).__name__ == "Gemma2RMSNorm":
            part.variance_epsilon = part.eps  # as if it went by Llama's names; its weight is added to 1
    use_norms(model)
    assert not any(isinstance(part, Norm) for part in model.modules())


def test_it_keeps_its_input_and_a_number_a_token() -> None:
    _, norm = both(torch.bfloat16)
    kept: dict[int, int] = {norm.weight.untyped_storage()._cdata: 0}

    def keep(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage()._cdata, tensor.untyped_storage().nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        norm(torch.randn(6, 24, dtype=torch.bfloat16, requires_grad=True))
    assert sum(kept.values()) == 6 * 24 * 2 + 6 * 4
