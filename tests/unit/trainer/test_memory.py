"""The memory plan: what it counts on tensors without data is what real ones take."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from trainer import headroom
from trainer.backend import bf16_copy
from trainer.config import PPOConfig, RewardConfig, RolloutConfig, ScaleConfig, TrainerConfig
from trainer.headroom import announce
from trainer.learner import make_learner
from trainer.live_bytes import LiveBytes, stored_bytes
from trainer.memory import GIB, PLANNERS, Plan, plan_ppo, plan_reward
from trainer.models import (
    cast_to_bf16,
    load_critic,
    load_policy,
    reward_model_from_policy,
    save_reward_model,
)
from trainer.passes import activation_bytes, critic_pass, policy_pass, ranking_pass
from trainer.ranks import ALONE
from trainer.reporting import Reporter
from trainer.trainable import trainable

CPU = torch.device("cpu")
SMALL = TrainerConfig(
    ppo=PPOConfig(micro_batch_tokens=1024, minibatch=4),
    reward=RewardConfig(micro_batch_tokens=256, max_tokens=64),
    rollout=RolloutConfig(engine="transformers", max_prompt_tokens=32, max_new_tokens=32),
)
SCALES = {
    "full": ScaleConfig(),
    "lora": ScaleConfig(lora_rank=4),
    "checkpointing": ScaleConfig(gradient_checkpointing=True),
    "lora, checkpointing": ScaleConfig(lora_rank=4, gradient_checkpointing=True),
}


def sizes(plan: Plan) -> dict[str, int]:
    return {part.name: part.size for part in plan.parts}


def test_live_bytes_counts_tensors_while_they_live() -> None:
    weight = torch.ones(10, requires_grad=True)
    with LiveBytes([weight]) as live:
        first = torch.ones(100)  # 400 bytes
        view = first[:50]
        second = first * 2  # 400 more
        assert (live.now, live.peak) == (800, 800)
        del first, second
        assert live.now == 400  # the view holds the first one
        del view
        weight.detach().add_(1)
    assert (live.now, live.peak) == (0, 800)


@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES.keys())
def test_the_plan_of_ppo_is_what_a_real_learner_takes(
    tiny_policy: Path, tmp_path: Path, scale: ScaleConfig
) -> None:
    config = SMALL.model_copy(update={"scale": scale})
    planned = sizes(plan_ppo(tiny_policy, config, 1, CPU))

    save_reward_model(reward_model_from_policy(tiny_policy, seed=0, pad_token_id=0), tmp_path)
    learner = make_learner(tiny_policy, tiny_policy, tmp_path, config.ppo, scale=scale)

    def held(*models: torch.nn.Module) -> int:
        return sum(stored_bytes([*model.parameters(), *model.buffers()]) for model in models)

    assert planned["weights"] == held(learner.policy, learner.critic)
    assert planned["reference and reward model"] == held(learner.reference, learner.reward_model)
    assert planned["last good weights"] == stored_bytes(bf16_copy(learner.trained_policy, ALONE).values())

    gradients, masters, moments, heights = [], 0, 0, []
    for model, optimizer, one_pass in (
        (learner.policy, learner.policy_optimizer, policy_pass(learner.policy, config, CPU)),
        (learner.critic, learner.critic_optimizer, critic_pass(learner.critic, config, CPU)),
    ):
        one_pass().backward()
        learned = [weight for group in optimizer.param_groups for weight in group["params"]]
        gradients.append(stored_bytes(weight.grad for weight in learned if weight.grad is not None))
        masters += stored_bytes([*learned, *model.parameters()]) - stored_bytes(model.parameters())
        optimizer.step()
        states = [value for state in optimizer.state.values() for value in state.values() if value.dim() > 0]
        moments += stored_bytes(states)
        optimizer.zero_grad(set_to_none=True)
    # Those of the learner hand each gradient on, which the plan counts with the gradients.
    policy = trainable(load_policy(tiny_policy), scale, 0)
    critic = trainable(load_critic(tmp_path), scale, 0)
    for twin, one_pass in (
        (policy, policy_pass(policy, config, CPU)),
        (critic, critic_pass(critic, config, CPU)),
    ):
        cast_to_bf16(twin)
        heights.append(activation_bytes(twin, one_pass, scale))
    assert planned["gradients"] == max(gradients)
    assert planned["master weights"] == masters > 0
    assert planned["optimiser"] == moments
    # But for 256 bytes: transformers looks whether the mask is all True where there is one to look at.
    assert planned["activations"] == pytest.approx(max(heights), abs=256)


def test_the_activations_are_what_a_pass_keeps_and_a_little_more(tiny_policy: Path) -> None:
    policy = load_policy(tiny_policy)
    one_pass = policy_pass(policy, SMALL, CPU)
    kept: dict[int, int] = {weight.untyped_storage()._cdata: 0 for weight in policy.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage()._cdata, tensor.untyped_storage().nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = one_pass()
    saved = sum(kept.values())
    del loss
    assert saved < activation_bytes(policy, one_pass, ScaleConfig()) < 1.5 * saved


def test_the_plan_of_a_reward_model_is_what_a_real_one_takes(tiny_policy: Path) -> None:
    planned = sizes(plan_reward(tiny_policy, SMALL, 1, CPU))
    model = reward_model_from_policy(tiny_policy, seed=0, pad_token_id=0)
    cast_to_bf16(model)
    assert planned["weights"] == stored_bytes([*model.parameters(), *model.buffers()])
    assert planned["activations"] == activation_bytes(model, ranking_pass(model, SMALL, CPU), ScaleConfig())


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """config.json, and nothing else, of a Llama 7B with 2 of its 32 layers."""
    folder = tmp_path_factory.mktemp("llama")
    shape = {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "pad_token_id": 0, "vocab_size": 32000,
        "hidden_size": 4096, "num_hidden_layers": 2, "num_attention_heads": 32, "intermediate_size": 11008,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(shape))
    return folder


def test_eight_processes_of_zero_3_share_weights_gradients_and_moments(wide: Path) -> None:
    config = SMALL.model_copy(update={"scale": ScaleConfig(zero_stage=3, gradient_checkpointing=True)})
    plan = plan_ppo(wide, config, 8, CPU)
    planned = sizes(plan)
    # Two embeddings of 32,000 x 4,096; 2 layers of 4 x 4,096^2 + 3 x 4,096 x 11,008 + 2 x 4,096; a norm.
    policy = 2 * 131_072_000 + 2 * (67_108_864 + 135_266_304 + 8_192) + 4_096
    # The critic has a head of one number in place of the LM head.
    both = policy + (policy - 131_072_000 + 4_096)
    assert planned["weights"] == pytest.approx(4 * both / 8, rel=1e-3)
    assert planned["gradients"] == pytest.approx(4 * both / 8, rel=1e-3)
    assert planned["optimiser"] == pytest.approx(8 * both / 8, rel=1e-3)
    assert str(plan).startswith("full, ZeRO-3 on 8 processes: about ")


def test_lora_takes_less_than_all_weights(wide: Path) -> None:
    lora = plan_reward(wide, SMALL.model_copy(update={"scale": ScaleConfig(lora_rank=16)}), 1, CPU)
    full = plan_reward(wide, SMALL, 1, CPU)
    # 16 bytes a weight against 2 and what the adapters take.
    assert sizes(lora)["optimiser"] < 0.01 * sizes(full)["optimiser"]
    assert lora.gib("device") < 0.3 * full.gib("device")


class Said(Reporter):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def log(self, text: str) -> None:
        self.lines.append(text)


def test_a_machine_with_less_is_warned_of_with_what_would_help(
    tiny_policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = Said()
    announce("ppo", tiny_policy, SMALL, said)
    assert len(said.lines) == 1
    assert said.lines[0].startswith("memory of ppo, full on 1 process: about ")
    monkeypatch.setattr(headroom, "free_gib", lambda device: {"device": 0.01})
    monkeypatch.setattr("trainer.memory.LIBRARIES", 0)
    monkeypatch.setattr("trainer.memory.VLLM_LIBRARIES", 0)
    large = SMALL.model_copy(update={"ppo": PPOConfig(micro_batch_tokens=8192, minibatch=64)})
    announce("ppo", tiny_policy, large, said)
    assert said.lines[-1].startswith("warning: ppo needs about ")
    assert "scale.gradient_checkpointing = true (" in said.lines[-1]
    assert "ppo.micro_batch_tokens = 4096 (" in said.lines[-1]


def test_what_cannot_be_planned_does_not_stop_a_training(
    tiny_policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def data_dependent(*arguments: object) -> Plan:
        raise RuntimeError("aten.nonzero.default\nand more")

    monkeypatch.setitem(PLANNERS, "ppo", data_dependent)
    said = Said()
    assert announce("ppo", tiny_policy, SMALL, said) is None
    assert said.lines == ["memory of ppo: not known before it runs (aten.nonzero.default)"]


def test_gib_adds_up_one_place(tiny_policy: Path) -> None:
    plan = plan_reward(tiny_policy, SMALL, 1, CPU)
    assert plan.gib("device") == pytest.approx(sum(sizes(plan).values()) / GIB)
    assert plan.gib("host") == 0
