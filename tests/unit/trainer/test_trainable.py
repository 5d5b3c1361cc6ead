"""Gradient checkpointing: the same gradients to the bit, from fewer activations, and dropout stays off."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, OPTConfig, OPTForCausalLM, PreTrainedModel

from trainer.config import ScaleConfig
from trainer.data import pad_right
from trainer.errors import ModelError
from trainer.models import RewardModel, autocast, load_policy, reward_model_from_policy
from trainer.trainable import recompute_activations, trainable

AGAIN = ScaleConfig(gradient_checkpointing=True)
ROWS = [[5, 6, 7, 8, 9, 10, 11, 12], [3, 4, 5]]


def backward(model: nn.Module) -> tuple[dict[str, Tensor], int]:
    """Gradients of a pass, and the bytes that it kept for them, weights left out."""
    kept: dict[int, int] = {parameter.untyped_storage()._cdata: 0 for parameter in model.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage()._cdata, tensor.untyped_storage().nbytes())
        return tensor

    batch = pad_right(ROWS, 0)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), autocast("cpu", "bf16"):
        if isinstance(model, RewardModel):
            loss = model(**batch.inputs()).square().sum()
        else:
            loss = model(**batch.inputs()).logits.float().square().mean()
    loss.backward()
    gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    return gradients, sum(kept.values())


@pytest.mark.parametrize("rank", [0, 4])
@pytest.mark.parametrize("kind", ["policy", "reward model"])
def test_gradients_are_the_same_to_the_bit_from_fewer_activations(
    tiny_policy: Path, kind: str, rank: int
) -> None:
    def run(again: bool) -> tuple[dict[str, Tensor], int]:
        scale = ScaleConfig(gradient_checkpointing=again, lora_rank=rank)
        if kind == "policy":
            return backward(trainable(load_policy(tiny_policy), scale, 0))
        return backward(trainable(reward_model_from_policy(tiny_policy, seed=0, pad_token_id=0), scale, 0))

    (kept, bytes_kept), (again, bytes_again) = run(False), run(True)
    assert len(again) == len(kept) > 10
    assert all(torch.equal(kept[name], again[name]) for name in kept)
    assert bytes_again < 0.5 * bytes_kept


def test_dropout_stays_off_in_the_layers_that_run_again() -> None:
    config = LlamaConfig(
        vocab_size=16, hidden_size=8, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, attention_dropout=0.5, use_cache=False,
    )  # fmt: skip
    model: PreTrainedModel = LlamaForCausalLM(config).train(False)
    kept, _ = backward(model)
    kept = {name: gradient.clone() for name, gradient in kept.items()}
    model.zero_grad()
    again, _ = backward(trainable(model, AGAIN, 0))
    assert all(torch.equal(kept[name], again[name]) for name in kept)


def test_a_layer_with_a_dropout_of_its_own_is_refused() -> None:
    config = OPTConfig(
        vocab_size=16, hidden_size=8, ffn_dim=16, num_hidden_layers=1, num_attention_heads=2,
        word_embed_proj_dim=8, dropout=0.1,
    )  # fmt: skip
    with pytest.raises(ModelError, match=r"OPTDecoderLayer has a dropout of 0\.1"):
        recompute_activations(OPTForCausalLM(config).train(False))
