"""Models: load a policy, a reward model or a critic from a folder; write one that can be served."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedModel,
)

from trainer.attention import use_products
from trainer.errors import ModelError
from trainer.folders import copy_licence, copy_tokenizer, read_config, written_aside
from trainer.norms import use_norms

SHARD_SIZE = "5GB"
Precision = Literal["bf16", "fp32"]
Model = TypeVar("Model", bound=nn.Module)


def default_device() -> torch.device:
    """The GPU when there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_of(model: nn.Module) -> torch.device:
    """Where a model is that is on one device."""
    return next(model.parameters()).device


def autocast(device: torch.device | str, precision: Precision) -> torch.autocast:
    """bf16 matrix products where weights are fp32 (ZeRO's, a model that is only looked at); with bf16 weights
    it changes nothing. With `fp32` everything inside is fp32.

    Never round an optimiser's step: autocast keeps the bf16 copies of weights until the outermost context
    ends.
    """
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=precision == "bf16")


def load_policy(folder: Path, device: torch.device | str = "cpu") -> PreTrainedModel:
    """Loads a policy (or a reference model) with fp32 weights, in eval mode, so that dropout is off.

    Raises:
        ModelError: the folder holds no causal language model.
    """
    model = _load(AutoModelForCausalLM, folder)
    model.config.use_cache = False
    return nn.Module.to(model, device)


class RewardModel(nn.Module):
    """A transformer with one number per token; the number of the last real token is the score.

    The same module is the critic: `forward` gives every token's number. The head is applied in fp32, because
    a bf16 score would have eight bits and near answers would tie.
    """

    def __init__(self, classifier: PreTrainedModel) -> None:
        super().__init__()
        self.classifier = classifier

    @property
    def backbone(self) -> PreTrainedModel:
        backbone = getattr(self.classifier, self.classifier.base_model_prefix)
        assert isinstance(backbone, PreTrainedModel)
        return backbone

    @property
    def head(self) -> nn.Linear:
        head = self.classifier.get_submodule("score")
        assert isinstance(head, nn.Linear)
        return head

    def hidden(self, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor) -> Tensor:
        """Last hidden states (B, T, H), fp32."""
        hidden: Tensor = self.backbone(
            input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids, use_cache=False
        ).last_hidden_state
        return hidden.float()

    def value(self, hidden: Tensor) -> Tensor:
        """Head over hidden states (..., H) -> (...), fp32 whatever autocast says."""
        with autocast(hidden.device, "fp32"):
            value: Tensor = self.head(hidden)
            return value.squeeze(-1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor) -> Tensor:
        """Values of every token, (B, T) fp32; what stands at padding means nothing."""
        return self.value(self.hidden(input_ids, attention_mask, position_ids))

    def scores(self, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor) -> Tensor:
        """Score of each sequence, (B,) fp32: the value of its last token that the mask counts.

        The mask decides, not the pad id: in many tokenizers padding and end of answer are the same token.
        Of a flat pass the mask is the spans of its answers.
        """
        return self.value(last_states(self.hidden(input_ids, attention_mask, position_ids), attention_mask))


def cast_to_bf16(model: nn.Module) -> None:
    """Gives a model bf16 weights, in place: half the memory, and residual stream and products are bf16.

    A reward model's scalar head stays fp32, and so do buffers: a rotation's frequencies in bf16 would put far
    tokens in wrong places.
    """
    transformer = model.backbone if isinstance(model, RewardModel) else model
    for weight in transformer.parameters():
        weight.data = weight.data.to(torch.bfloat16)


def frozen(model: Model, precision: Precision = "bf16") -> Model:
    """The model without gradients, for reading only; with bf16 weights, in which it was published."""
    model.requires_grad_(False)
    if precision == "bf16":
        cast_to_bf16(model)
    return model


def backbone_of(model: nn.Module) -> PreTrainedModel:
    """The transformer of a policy or of a reward model, without its head."""
    if isinstance(model, RewardModel):
        return model.backbone
    backbone = getattr(model, str(model.base_model_prefix))
    assert isinstance(backbone, PreTrainedModel)
    return backbone


def last_states(hidden: Tensor, attention_mask: Tensor) -> Tensor:
    """State of each sequence's last counted token, (B, H), or of each answer's of a flat pass, (b, H)."""
    if attention_mask.dim() == 4:
        starts, counts = attention_mask[0, 0].unbind(1)
        return hidden[0, starts + counts - 1]
    return hidden[torch.arange(len(hidden), device=hidden.device), last_token(attention_mask)]


def last_token(attention_mask: Tensor) -> Tensor:
    """Index of the last counted token of each row: (B, T) -> (B,), right for either side of padding."""
    positions = torch.arange(attention_mask.shape[1], device=attention_mask.device)
    return (attention_mask.long() * positions).argmax(dim=1)


def load_reward_model(folder: Path, device: torch.device | str = "cpu") -> RewardModel:
    """Loads a trained reward model with fp32 weights, in eval mode.

    Raises:
        ModelError: the folder holds no sequence classifier with one label.
    """
    if read_config(folder).get("architectures", [""])[0].endswith("ForCausalLM"):
        raise ModelError(f"{folder} is a policy, not a reward model. Give a folder that `reward` wrote.")
    model = _load(AutoModelForSequenceClassification, folder)
    if model.config.num_labels != 1:
        raise ModelError(f"{folder}: num_labels is {model.config.num_labels}, a reward model has 1.")
    return RewardModel(model).to(device)


def load_critic(reward_model: Path, device: torch.device | str = "cpu") -> RewardModel:
    """A critic that starts as the reward model: per-token values (B, T) from `forward`."""
    return load_reward_model(reward_model, device)


def reward_model_from_policy(
    folder: Path, *, seed: int, pad_token_id: int, device: torch.device | str = "cpu"
) -> RewardModel:
    """The policy's transformer with a new scalar head, weights N(0, 1 / (H + 1)), no bias.

    Head as in "The N Implementation Details of RLHF with PPO".

    Args:
        seed: of the head's weights.
        pad_token_id: a token that no text holds, so that plain transformers finds the last real token.

    Raises:
        ModelError: the folder holds no language model, or a weight of it is not finite.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    config.num_labels = 1
    config.pad_token_id = pad_token_id
    model = _load(
        AutoModelForSequenceClassification, folder, new=("score.weight", "score.bias"), config=config
    )
    reward_model = RewardModel(model)
    for name, parameter in reward_model.backbone.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise ModelError(f"{folder}: {name} holds NaN or infinity. Make the folder again.")
    weight = reward_model.head.weight
    deviation = 1.0 / math.sqrt(weight.shape[1] + 1)
    with torch.no_grad():
        weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed)) * deviation)
        if reward_model.head.bias is not None:
            reward_model.head.bias.zero_()
    return reward_model.to(device)


def read_lm_head(policy: Path) -> Tensor:
    """The output embedding of a policy folder, (V, H) fp32. Raises ModelError when there is none."""
    for path in sorted(policy.glob("*.safetensors")):
        with safe_open(path, framework="pt") as tensors:
            if "lm_head.weight" in tensors.keys():  # noqa: SIM118 - not a dict
                head: Tensor = tensors.get_tensor("lm_head.weight")
                return head.float()
    raise ModelError(f"{policy} has no lm_head.weight. Give a folder that `base` or `ppo` wrote.")


def save_policy(
    model: PreTrainedModel,
    tokenizer_from: Path,
    out: Path,
    weights: Mapping[str, Tensor] | None = None,
    *,
    card: str = "",
) -> Path:
    """Writes a policy that vLLM can serve and reload: bf16 safetensors, tokenizer, config.

    `weights` are the whole model's where its own state dict is not: adapters merged, shards gathered.
    `lm_head.weight` is written even where it is tied to the embedding: vLLM's reload keeps the old head
    for a checkpoint without it. The config's tie flag stays as it is. `card` becomes README.md, and a licence
    that stands beside the tokenizer goes along.

    Raises:
        ModelError: `out` exists, or a weight is not finite.
    """
    state = {name: tensor.detach() for name, tensor in (weights or model.state_dict()).items()}
    head = model.get_output_embeddings()
    if head is None:
        raise ModelError(f"{type(model).__name__} has no output embedding: it is not a policy.")
    names = {id(tensor): name for name, tensor in model.state_dict(keep_vars=True).items()}
    state["lm_head.weight"] = state[names[id(head.weight)]]
    with written_aside(out) as folder:
        save_weights(model, state, folder)
        copy_tokenizer(tokenizer_from, folder)
        generation = tokenizer_from / "generation_config.json"
        if generation.exists():
            shutil.copy(generation, folder)
        copy_licence(tokenizer_from, folder)
        if card:
            (folder / "README.md").write_text(card, encoding="utf-8")
    return out


def save_reward_model(model: RewardModel, folder: Path, weights: Mapping[str, Tensor] | None = None) -> None:
    """Writes weights and config that AutoModelForSequenceClassification loads (bf16 safetensors).

    `weights` go in place of the model's own, under the names of its state.
    """
    prefix = "classifier."
    state = {
        name.removeprefix(prefix): tensor
        for name, tensor in (weights or model.state_dict()).items()
        if name.startswith(prefix)
    }
    save_weights(model.classifier, state, folder)


def save_weights(model: PreTrainedModel, state: dict[str, Tensor], folder: Path) -> None:
    """Writes config.json and the state in bf16 safetensors, in shards when it is large.

    Raises:
        ModelError: a weight is not finite.
    """
    from huggingface_hub import save_torch_state_dict

    for name, tensor in state.items():
        if not torch.isfinite(tensor).all():
            raise ModelError(f"{name} holds NaN or infinity: the training diverged; lower the learning rate.")
    weights, storages = {}, set()
    for name, tensor in state.items():
        weight = _as_bf16(tensor).cpu().contiguous()
        if weight.untyped_storage()._cdata in storages:
            weight = weight.clone()  # a tied one would be left out
        storages.add(weight.untyped_storage()._cdata)
        weights[name] = weight
    save_torch_state_dict(weights, folder, max_shard_size=SHARD_SIZE, metadata={"format": "pt"})
    model.config.save_pretrained(folder)
    config = read_config(folder) | {
        "architectures": [type(model).__name__],
        "dtype": "bfloat16",
        "use_cache": True,
    }
    for name in ("_name_or_path", "_model_name_or_path"):
        config.pop(name, None)
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def round_to_bf16(weights: Iterable[Tensor]) -> None:
    """Gives weights the values that the bf16 file will hold, so that what is judged is what is saved."""
    with torch.no_grad():
        for weight in weights:
            weight.copy_(_as_bf16(weight))


def _load(kind: Any, folder: Path, *, new: tuple[str, ...] = (), **options: Any) -> PreTrainedModel:
    """Loads a model, refusing one with weights missing: transformers would make them up and go on.

    Args:
        new: weights that may be missing, because the caller fills them in.
    """
    read_config(folder)
    try:
        model, info = kind.from_pretrained(
            folder, local_files_only=True, dtype=torch.float32, output_loading_info=True, **options
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"{folder} cannot be loaded: {error}") from error
    if missing := sorted(set(info["missing_keys"]) - set(new)):
        raise ModelError(f"{folder} lacks the weights {', '.join(missing[:5])}. Make the folder again.")
    assert isinstance(model, PreTrainedModel)
    model.train(False)
    use_products(model)
    use_norms(model)
    return model


def _as_bf16(tensor: Tensor) -> Tensor:
    return tensor.to(torch.bfloat16) if tensor.is_floating_point() else tensor
