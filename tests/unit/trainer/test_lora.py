"""LoRA: it starts as the base, trains adapters only, and what is published is plain and the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from store.records import ChatTurn
from tests.unit.trainer.reward_toys import FAST, toy_pairs, trained
from trainer.config import PPOConfig, RolloutConfig, ScaleConfig
from trainer.data import Prompt, load_tokenizer
from trainer.errors import Cancelled, ModelError
from trainer.experience import Part, parts, read_critic, read_policy
from trainer.learner import make_learner
from trainer.lora import adapted_layers, add_adapters, merge, merged_weights
from trainer.models import (
    frozen,
    load_critic,
    load_policy,
    load_reward_model,
    reward_model_from_policy,
    save_policy,
)
from trainer.pairs import token_pairs
from trainer.ppo import train_policy
from trainer.ranking import answers, score_sequences
from trainer.reporting import Reporter
from trainer.rollout import Rollout
from trainer.trainable import trainable

LORA = ScaleConfig(lora_rank=4, lora_alpha=8.0)
PROMPTS: list[Prompt] = [(ChatTurn(role="user", content=f"Say {number}."),) for number in range(6)]


def one_part() -> Part:
    rollouts = [
        Rollout([1, 2, 3], [4, 5, 6, 7], [0.0] * 4, True),
        Rollout([9] * 5, [8] * 3, [0.0] * 3, False),
    ]
    return next(parts(rollouts, range(2), 4, 999, torch.device("cpu")))


def stirred(model: nn.Module) -> None:
    """Gives each adapter something to say."""
    chance = torch.Generator().manual_seed(5)
    for _, layer in adapted_layers(model):
        weight = layer.get_parameter("lora_B.default.weight")
        weight.data = torch.randn(weight.shape, generator=chance) * 0.05


@torch.no_grad()
def test_before_its_first_step_it_is_the_base_to_the_bit(tiny_policy: Path, reward_folder: Path) -> None:
    part = one_part()
    policy, critic = load_policy(tiny_policy), load_critic(reward_folder)
    before = *read_policy(policy, part, 1.0, "bf16"), *read_critic(critic, part, "bf16")
    after = (
        *read_policy(trainable(policy, LORA, 0), part, 1.0, "bf16"),
        *read_critic(trainable(critic, LORA, 0), part, "bf16"),
    )
    assert (
        len(list(adapted_layers(policy))) == len(list(adapted_layers(critic))) == 14
    )  # 7 in each of 2 layers
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_an_adapter_adds_alpha_over_rank_times_its_product(tiny_policy: Path) -> None:
    policy = trainable(load_policy(tiny_policy), LORA, 0)
    before = dict(load_policy(tiny_policy).named_parameters())
    layer = policy.get_submodule("model.layers.0.self_attn.q_proj")
    nn.init.constant_(layer.get_parameter("lora_A.default.weight"), 1.0)
    nn.init.constant_(layer.get_parameter("lora_B.default.weight"), 0.25)
    merged = dict(merged_weights(policy))
    name = "model.layers.0.self_attn.q_proj.weight"
    # 8 / 4 times the sum over 4 ranks of 0.25 x 1: 2 everywhere, then rounded to bf16.
    assert torch.equal(merged[name], (before[name] + 2.0).bfloat16())
    assert merged.keys() == load_policy(tiny_policy).state_dict().keys()
    assert all(torch.equal(merged[other].float(), before[other]) for other in before.keys() - {name})


def test_only_adapters_and_the_head_get_gradients_and_optimiser_state(
    tiny_policy: Path, reward_folder: Path
) -> None:
    learner = make_learner(tiny_policy, tiny_policy, reward_folder, PPOConfig(), scale=LORA)
    part = one_part()
    (
        read_policy(learner.policy, part, 1.0, "bf16")[0].sum()
        + read_critic(learner.critic, part, "bf16")[0].sum()
    ).backward()
    for model, optimizer, head in (
        (learner.policy, learner.policy_optimizer, set()),
        (learner.critic, learner.critic_optimizer, {"classifier.score.weight"}),
    ):
        learned = {name for name, weight in model.named_parameters() if weight.requires_grad}
        assert {name for name in learned if "lora_" not in name} == head
        assert len(learned) == 2 * 14 + len(head)
        assert sum(len(group["params"]) for group in optimizer.param_groups) == len(learned)
        assert all(weight.grad is not None for group in optimizer.param_groups for weight in group["params"])
        optimizer.step()
        assert len(optimizer.state) == len(learned)
        assert all(weight.dtype == torch.float32 for weight in optimizer.state)


@torch.no_grad()
def test_the_merged_folder_reads_as_the_adapted_model_does(tiny_policy: Path, tmp_path: Path) -> None:
    policy, part = trainable(load_policy(tiny_policy), LORA, 0), one_part()
    start, _ = read_policy(policy, part, 1.0, "bf16")
    stirred(policy)
    save_policy(policy, tiny_policy, tmp_path / "merged", dict(merged_weights(policy)))
    adapted, _ = read_policy(policy, part, 1.0, "bf16")
    merged, _ = read_policy(load_policy(tmp_path / "merged"), part, 1.0, "bf16")
    assert (adapted - start).abs().max() > 0.2
    torch.testing.assert_close(merged, adapted, atol=0.02, rtol=0.0)  # bf16 has 8 bits


@torch.no_grad()
def test_layers_that_hold_their_weights_transposed_are_merged_too() -> None:
    config = GPT2Config(n_layer=1, n_head=2, n_embd=16, vocab_size=20, n_positions=8)
    model = GPT2LMHeadModel(config).train(False)
    ids = torch.arange(8)[None]
    start = model(ids).logits
    add_adapters(model, 2, 8.0, seed=0, base_dtype=torch.float32)
    stirred(model)
    adapted = model(ids).logits
    merge(model)
    assert (adapted - start).abs().max() > 1e-3
    torch.testing.assert_close(model(ids).logits, adapted)
    assert not list(adapted_layers(model))


def test_a_model_without_linear_layers_is_refused() -> None:
    with pytest.raises(ModelError, match="lora_rank"):
        add_adapters(load_nothing(), 2, 8.0, seed=0, base_dtype=torch.float32)


def load_nothing() -> nn.Module:
    """A policy whose transformer is an embedding."""
    model = GPT2LMHeadModel(GPT2Config(n_layer=0, n_head=1, n_embd=4, vocab_size=5, n_positions=2))
    return model


class Rows(Reporter):
    """Remembers the metrics, and stops like SIGTERM after some update."""

    def __init__(self, stop_after: int | None = None) -> None:
        super().__init__()
        self.rows: list[dict[str, float]] = []
        self.stop_after = stop_after

    def metric(self, step: int, of: int | None, values: object) -> None:
        assert isinstance(values, dict)
        self.rows.append({name: value for name, value in values.items() if name != "samples_per_second"})
        if step == self.stop_after:
            raise Cancelled


def ppo(
    policy: Path, reward: Path, work: Path, reporter: Rows, scale: ScaleConfig = LORA, **changes: object
) -> Path:
    settings = {
        "updates": 3,
        "rollouts": 4,
        "minibatch": 4,
        "lr": 1e-2,
        "critic_lr": 1e-2,
        "checkpoint_every": 1,
        "fixed_every": 0,
    }
    train_policy(
        policy=policy, reference=policy, reward_model=reward, prompts=PROMPTS,
        work=work, out=work / "candidate",
        config=PPOConfig.model_validate(settings | {"critic_pretrain_updates": 0} | changes),
        rollout=RolloutConfig(engine="transformers", max_new_tokens=8, max_prompt_tokens=256),
        reporter=reporter, scale=scale,
    )  # fmt: skip
    return work / "candidate"


def test_ppo_moves_the_policy_and_publishes_plain_weights(
    tiny_policy: Path, reward_folder: Path, tmp_path: Path
) -> None:
    reporter = Rows()
    folder = ppo(tiny_policy, reward_folder, tmp_path, reporter)
    # Every update meets the engine with the weights that it was given: they are the merged ones.
    assert all(row["on_policy_gap"] < 1e-3 and row["engine_logprob_gap"] < 0.05 for row in reporter.rows)
    before, after = load_file(tiny_policy / "model.safetensors"), load_file(folder / "model.safetensors")
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if "_proj" in name}
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert torch.equal(plain.state_dict()["model.layers.1.mlp.up_proj.weight"].bfloat16(),
                       after["model.layers.1.mlp.up_proj.weight"])  # fmt: skip


def test_a_checkpoint_holds_adapters_only_and_resumes_to_the_same_weights(
    tiny_policy: Path, reward_folder: Path, tmp_path: Path
) -> None:
    whole = ppo(tiny_policy, reward_folder, tmp_path / "whole", Rows())
    with pytest.raises(Cancelled):
        ppo(tiny_policy, reward_folder, tmp_path / "cut", Rows(stop_after=2))
    (state,) = (tmp_path / "cut" / "checkpoints").glob("*/state.pt")
    held = torch.load(state, weights_only=True)
    assert all("lora_" in name for name in held["policy"]["model"])
    assert {name for name in held["critic"]["model"] if "lora_" not in name} == {"classifier.score.weight"}
    with pytest.raises(ModelError, match=r"Set scale\.lora_rank back"):
        ppo(tiny_policy, reward_folder, tmp_path / "cut", Rows(), ScaleConfig())
    cut = ppo(tiny_policy, reward_folder, tmp_path / "cut", Rows())
    weights = [load_file(folder / "model.safetensors") for folder in (whole, cut)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_collapse_goes_back_to_the_last_good_adapters(
    tiny_policy: Path, reward_folder: Path, tmp_path: Path
) -> None:
    folder = ppo(
        tiny_policy, reward_folder, tmp_path, Rows(), updates=9, lr=1.0, max_grad_norm=0.0, kl_stop=0.1
    )
    assert json.loads((tmp_path / "report.json").read_text())["updates"] == 0
    before, after = load_file(tiny_policy / "model.safetensors"), load_file(folder / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_reward_model_learns_and_scores_the_same_after_saving(tiny_policy: Path, tmp_path: Path) -> None:
    fast = FAST.model_copy(update={"lr": 2e-2})
    report = trained(tiny_policy, tmp_path / "rm", config=fast, scale=LORA)
    assert report.held_out.accuracy > 0.9
    saved = load_file(tmp_path / "rm" / "model.safetensors")
    full = reward_model_from_policy(tiny_policy, seed=0, pad_token_id=0).classifier.state_dict()
    assert saved.keys() == full.keys()
    pairs = token_pairs(toy_pairs(32, 2), load_tokenizer(tiny_policy), 999)
    scores = score_sequences(frozen(load_reward_model(tmp_path / "rm")), answers(pairs), 0, 4096)
    assert float(scores.mean()) == report.score_mean
    assert float(scores.std(correction=0)) == report.score_std


def test_frozen_layers_keep_their_weights_under_adapters_too(tiny_policy: Path, tmp_path: Path) -> None:
    config = FAST.model_copy(update={"lr": 2e-2, "epochs": 1, "frozen_layers": 1})
    trained(tiny_policy, tmp_path / "rm", config=config, scale=LORA)
    before, after = (
        load_file(tiny_policy / "model.safetensors"),
        load_file(tmp_path / "rm" / "model.safetensors"),
    )

    def moved(layer: int) -> int:
        names = [name for name in after if f".layers.{layer}." in name and "_proj" in name]
        return sum(not torch.equal(before[name], after[name]) for name in names)

    assert (moved(0), moved(1)) == (0, 7)


def test_the_same_seed_gives_the_same_adapters(tiny_policy: Path) -> None:
    def first(seed: int) -> Tensor:
        _, layer = next(adapted_layers(trainable(load_policy(tiny_policy), LORA, seed)))
        return layer.get_parameter("lora_A.default.weight")

    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))
