"""LoRA: low-rank adapters on every linear layer, trained in place of the weights and merged to be published.

arXiv 2106.09685: a layer W becomes W + (alpha / rank) B A, with W fixed and B starting at zero, so that the
model starts as it was. The adapters go into the model in place: hidden states and head stay where they were.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import Linear as AdaptedLinear
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from trainer.errors import ModelError
from trainer.models import RewardModel, backbone_of

ADAPTED = re.compile(r"(.+)\.(base_layer|lora_A|lora_B)\.(?:default\.)?(weight|bias)")
"""Name of a tensor in an adapted layer: the layer, the part of it, what it is there."""
ADAPTED_PARTS = ("base_layer", "lora_A.default", "lora_B.default")


def add_adapters(model: nn.Module, rank: int, alpha: float, *, seed: int, base_dtype: torch.dtype) -> None:
    """Adapters on every linear layer of the transformer; besides them only a reward model's head is trained.

    Args:
        model: a policy, or a RewardModel; changed in place.
        seed: of A, which is random.
        base_dtype: of the fixed matrices. bf16 halves them, and under autocast no number changes: published
            weights are bf16, and autocast multiplies in it.

    Raises:
        ModelError: the model has no linear layer.
    """
    model.requires_grad_(False)
    for part in model.modules():
        if isinstance(part, nn.Linear) and part.out_features > 1:
            # A new parameter: the matrix of a tied head becomes bf16, that of the embedding does not.
            part.weight = nn.Parameter(part.weight.to(base_dtype), requires_grad=False)
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]
        target_modules="all-linear",
        fan_in_fan_out=any(isinstance(part, Conv1D) for part in model.modules()),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            inject_adapter_in_model(config, backbone_of(model))
        except ValueError as error:
            raise ModelError(f"scale.lora_rank: no adapters for this model: {error}. Set it to 0.") from error
    for _, layer in adapted_layers(model):
        layer.lora_A.float()  # peft gives them the matrix's precision, in which small updates would be lost
        layer.lora_B.float()
    if isinstance(model, RewardModel):
        model.head.requires_grad_(True)


def adapted_layers(model: nn.Module) -> Iterator[tuple[str, AdaptedLinear]]:
    """Name and module of each layer that has an adapter."""
    return ((name, part) for name, part in model.named_modules() if isinstance(part, AdaptedLinear))


def merged_weights(
    model: nn.Module, state: Iterable[tuple[str, Tensor]] | None = None
) -> Iterator[tuple[str, Tensor]]:
    """All weights under the names that they have without adapters, one at a time; the model stays as it is.

    An adapter's product is added in fp32, and the sum rounded to the matrix's precision. What has no adapter
    comes as it is, not as a copy.

    Args:
        state: the model's state in the order of `state_dict`, where its tensors have to be gathered.
    """
    held: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items() if state is None else state:
        found = ADAPTED.fullmatch(name)
        if found is None:
            yield name, tensor
            continue
        layer, part, kind = found.groups()
        if kind == "bias":
            yield f"{layer}.bias", tensor
            continue
        held[part] = tensor.detach().clone()  # one that was gathered is whole only until the next
        if part == "lora_B":
            yield f"{layer}.weight", _sum(model.get_submodule(layer), **held)
            held.clear()


def merge(model: nn.Module) -> None:
    """Ends a training: the adapters go into the weights, which are plain again, as exact as they were.

    One layer after another, so that there are never two of all of them.
    """
    for name, layer in list(adapted_layers(model)):
        fold(layer)
        model.set_submodule(name, layer.get_base_layer())


@torch.no_grad()
def fold(layer: AdaptedLinear) -> None:
    """Puts an adapter's product into the weights that it stands beside; the adapter is at zero again."""
    weight, a, b = adapted_parameters(layer)
    weight.copy_(_sum(layer, base_layer=weight, lora_A=a, lora_B=b))
    b.zero_()


def adapted_parameters(layer: AdaptedLinear) -> tuple[nn.Parameter, nn.Parameter, nn.Parameter]:
    """W, A and B."""
    w, a, b = (layer.get_parameter(f"{name}.weight") for name in ADAPTED_PARTS)
    return w, a, b


def trained_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """What training changes: all weights, or adapters and a head. The rest is in the folder it came from."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


@torch.no_grad()
def load_trained(
    model: nn.Module, weights: Mapping[str, Tensor], into: Callable[[nn.Parameter], Tensor]
) -> None:
    """Takes back what a checkpoint holds of `trained_weights`, each into what stands behind it.

    Raises:
        ModelError: it is from a training of other weights.
    """
    learned = trained_weights(model)
    if weights.keys() != learned.keys():
        raise ModelError(
            "the checkpoint holds other weights than this training changes. "
            "Set scale.lora_rank back to what it was, or start with a new work folder."
        )
    for name, weight in learned.items():
        into(weight).copy_(weights[name])


def _sum(layer: nn.Module, *, base_layer: Tensor, lora_A: Tensor, lora_B: Tensor) -> Tensor:
    """W + (alpha / rank) B A."""
    assert isinstance(layer, AdaptedLinear)
    update: Tensor = layer.scaling["default"] * (lora_B.float() @ lora_A.float())
    return (base_layer.float() + (update.T if layer.fan_in_fan_out else update)).to(base_layer.dtype)
