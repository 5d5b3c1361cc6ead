"""One update of PPO-max: it goes the right way, starts on-policy, and refuses what is not a number."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from trainer.config import GroupsConfig, PPOConfig
from trainer.errors import DivergedError, ModelError
from trainer.experience import Experience, gather
from trainer.groups import HighGroup
from trainer.learner import Learner, make_learner
from trainer.models import (
    frozen,
    load_policy,
    load_reward_model,
    reward_model_from_policy,
    save_reward_model,
)
from trainer.rollout import Rollout
from trainer.tensors import RunningMoments
from trainer.update import adapted, learn, learning_rate_factor, set_learning_rates

BETTER = Rollout([1, 2, 3], [40, 41, 42, 43], [0.0] * 4, True)
WORSE = Rollout([1, 2, 3], [90, 91, 92], [0.0] * 3, True)
CONFIG = PPOConfig(
    minibatch=2, lr=1e-3, critic_lr=1e-3, kl_coef=0.0, importance_limit=0.0, critic_pretrain_updates=0
)


@pytest.fixture(scope="module")
def reward_folder(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reward")
    save_reward_model(reward_model_from_policy(tiny_policy, seed=3, pad_token_id=0), folder)
    return folder


def make(
    tiny_policy: Path, reward_folder: Path, config: PPOConfig, groups: GroupsConfig | None = None
) -> Learner:
    return make_learner(tiny_policy, tiny_policy, reward_folder, config, groups or GroupsConfig())


def weights_after(
    tiny_policy: Path, reward_folder: Path, config: PPOConfig, groups: GroupsConfig | None = None
) -> tuple[list[torch.Tensor], dict[str, float]]:
    """The policy's and the critic's weights after one update, and its metrics."""
    learner = make(tiny_policy, reward_folder, config, groups)
    metrics = learn(learner, read(learner, [BETTER, WORSE], [1.0, -1.0]), 0, config, 1.0)
    parameters = [*learner.policy.parameters(), *learner.critic.parameters()]
    return [parameter.detach().clone() for parameter in parameters], metrics


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(left, right) for left, right in zip(one, other, strict=True))


def read(learner: Learner, rollouts: list[Rollout], scores: list[float]) -> Experience:
    experience = gather(
        rollouts, policy=learner.policy, reference=learner.reference, critic=learner.critic,
        reward_model=learner.reward_model, temperature=1.0, max_tokens=4096, device=learner.device,
    )  # fmt: skip
    experience.scores = torch.tensor(scores)
    experience.values = experience.values * 0  # a critic that expects nothing: the score alone decides
    return experience


def test_one_update_makes_the_better_scored_answer_likelier(tiny_policy: Path, reward_folder: Path) -> None:
    learner = make(tiny_policy, reward_folder, CONFIG)
    before = read(learner, [BETTER, WORSE], [1.0, -1.0])
    learn(learner, before, 0, CONFIG, 1.0)
    after = read(learner, [BETTER, WORSE], [1.0, -1.0])
    change = (after.old_logprobs - before.old_logprobs).sum(1)
    assert change[0] > 0.1
    assert change[1] < -0.1


def test_the_kl_penalty_pulls_back_to_the_reference(tiny_policy: Path, reward_folder: Path) -> None:
    config = CONFIG.model_copy(update={"kl_coef": 1.0})
    learner = make(tiny_policy, reward_folder, config)
    state = learner.trained_policy.state()
    # The policy has moved towards the answer; its score says nothing either way.
    state["model"]["model.embed_tokens.weight"][40:44] += 0.2
    learner.trained_policy.load(state, None)
    before = read(learner, [BETTER, WORSE], [0.0, 0.0])
    learn(learner, before, 0, config, 1.0)
    after = read(learner, [BETTER, WORSE], [0.0, 0.0])
    ratio = [float((one.old_logprobs - one.ref_logprobs).sum(1)[0]) for one in (before, after)]
    assert 0 < ratio[1] < ratio[0]


def test_while_the_critic_is_pre_trained_it_learns_and_the_policy_stays(
    tiny_policy: Path, reward_folder: Path
) -> None:
    config = CONFIG.model_copy(update={"critic_pretrain_updates": 1, "critic_pretrain_epochs": 30})
    learner = make(tiny_policy, reward_folder, config)
    weights = [parameter.detach().clone() for parameter in learner.policy.parameters()]
    metrics = learn(learner, read(learner, [BETTER, WORSE], [1.0, -1.0]), 0, config, 1.0)
    assert metrics["explained_variance"] < 0.1
    assert metrics["critic_explained_variance"] >= config.critic_pretrain_target
    pairs = zip(weights, learner.policy.parameters(), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)


def test_a_policy_with_dropout_is_found_out_before_the_first_step(
    tiny_policy: Path, reward_folder: Path
) -> None:
    learner = make(tiny_policy, reward_folder, CONFIG)
    weights = [parameter.detach().clone() for parameter in learner.policy.parameters()]
    experience = read(learner, [BETTER, WORSE], [1.0, -1.0])
    learner.policy.get_submodule("model.norm").register_forward_hook(
        lambda *call: torch.nn.functional.dropout(call[2], 0.5)
    )
    with pytest.raises(ModelError, match="dropout"):
        learn(learner, experience, 0, CONFIG, 1.0)
    pairs = zip(weights, learner.policy.parameters(), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)


def test_a_loss_that_is_not_a_number_ends_the_update_before_a_step(
    tiny_policy: Path, reward_folder: Path
) -> None:
    learner = make(tiny_policy, reward_folder, CONFIG)
    weights = [parameter.detach().clone() for parameter in learner.policy.parameters()]
    experience = read(learner, [BETTER, WORSE], [1.0, -1.0])
    experience.ref_logprobs = experience.ref_logprobs * float("nan")
    with pytest.raises(DivergedError, match="lower ppo"):
        learn(learner, experience, 0, CONFIG.model_copy(update={"kl_coef": 0.1}), 1.0)
    pairs = zip(weights, learner.policy.parameters(), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)


@pytest.mark.parametrize(("target", "acts"), [(99.0, True), (0.1, False)])
def test_the_entropy_hinge_widens_the_distribution_below_its_target(
    tiny_policy: Path, reward_folder: Path, target: float, acts: bool
) -> None:
    moved = {}
    for coef in (0.0, 1.0):
        config = CONFIG.model_copy(update={"entropy_coef": coef, "entropy_target": target})
        learner = make(tiny_policy, reward_folder, config)
        with torch.no_grad():  # sharper than random, so that there is room
            learner.policy.get_output_embeddings().weight.mul_(3.0)
        before = read(learner, [BETTER, WORSE], [0.0, 0.0])
        learn(learner, before, 0, config, 1.0)
        moved[coef] = float((read(learner, [BETTER, WORSE], [0.0, 0.0]).entropy - before.entropy).sum())
    assert (moved[1.0] > moved[0.0] + 0.01) is acts


def test_ptx_makes_its_texts_likelier_in_the_same_step(tiny_policy: Path, reward_folder: Path) -> None:
    text = Rollout([5], [60, 61, 62, 63, 64], [0.0] * 5, True)
    change, steps = {}, {}
    for coef in (0.0, 1.0):
        config = CONFIG.model_copy(update={"ptx_coef": coef})
        learner = make(tiny_policy, reward_folder, config)
        before = read(learner, [text], [0.0]).old_logprobs.sum()
        metrics = learn(learner, read(learner, [BETTER, WORSE], [1.0, -1.0]), 0, config, 1.0, [text])
        change[coef] = float(read(learner, [text], [0.0]).old_logprobs.sum() - before)
        steps[coef] = int(next(iter(learner.policy_optimizer.state.values()))["step"])
        if coef:  # the token mean over the one text, before the step
            assert metrics["ptx_loss"] == pytest.approx(-float(before) / 5, abs=1e-3)
    assert change[1.0] > change[0.0] + 0.1
    assert steps == {0.0: 1, 1.0: 1}


def test_the_gradient_of_ptx_is_that_of_the_cross_entropy(tiny_policy: Path, reward_folder: Path) -> None:
    # The answers score the same and the critic expects that: nothing but the texts moves the policy.
    texts = [Rollout([5], [60, 61, 62, 63], [0.0] * 4, True), Rollout([7, 8], [9, 10], [0.0] * 2, True)]
    config = CONFIG.model_copy(
        update={"ptx_coef": 0.5, "score_clip": 0.0, "missing_eos_penalty": 0.0, "max_grad_norm": 0.0}
    )
    learner = make(tiny_policy, reward_folder, config)
    plain, losses = load_policy(tiny_policy), []
    for text in texts:
        ids = torch.tensor([text.prompt_ids + text.response_ids])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = plain(input_ids=ids).logits.float()[0]
        first = len(text.prompt_ids)
        answer = logits[first - 1 : -1].log_softmax(-1).gather(1, ids[0, first:, None])
        losses.append(-answer.sum())
    gradients = torch.autograd.grad(0.5 * torch.stack(losses).sum() / 6, list(plain.parameters()))
    wanted = float(torch.stack([gradient.norm() for gradient in gradients]).norm())
    metrics = learn(learner, read(learner, [BETTER, WORSE], [0.0, 0.0]), 0, config, 1.0, texts)
    assert metrics["grad_norm_policy"] == pytest.approx(wanted, rel=0.02)  # bf16 products


def test_ppo_penalty_adapts_its_weight_and_ppo_max_has_none(tiny_policy: Path, reward_folder: Path) -> None:
    # One step: the distance is that after it, before it was 0.
    config = CONFIG.model_copy(update={"penalty_coef": 1.0, "lr": 1e-2})
    learner = make(tiny_policy, reward_folder, config)
    metrics = learn(learner, read(learner, [BETTER, WORSE], [1.0, -1.0]), 0, config, 1.0)
    assert metrics["approx_kl"] == pytest.approx(0.0, abs=1e-5)
    assert metrics["penalty_kl"] > 1.5 * config.penalty_target
    assert (metrics["penalty_coef"], learner.penalty_coef) == (1.0, 2.0)
    assert metrics["clip_share"] == 0.0
    assert "penalty_coef" not in weights_after(tiny_policy, reward_folder, CONFIG)[1]


def test_the_ratio_against_the_reference_is_one_at_the_start_and_then_is_not(
    tiny_policy: Path, reward_folder: Path
) -> None:
    config = CONFIG.model_copy(update={"ratio_against": "reference"})
    plain, _ = weights_after(tiny_policy, reward_folder, CONFIG)
    against, metrics = weights_after(tiny_policy, reward_folder, config)
    assert same(plain, against)  # policy and reference are the same model
    assert metrics["on_policy_gap"] < 1e-3
    learner = make(tiny_policy, reward_folder, config)
    experience = read(learner, [BETTER, WORSE], [1.0, -1.0])
    experience.ref_logprobs = experience.old_logprobs - 1.0 * experience.mask  # ratio e: all of it clipped
    metrics = learn(learner, experience, 0, config, 1.0)
    assert metrics["on_policy_gap"] < 1e-3
    assert metrics["clip_share"] == pytest.approx(4 / 7)  # the tokens of the better answer


def test_a_policy_that_moved_far_ends_the_update_and_the_rest_is_counted(
    tiny_policy: Path, reward_folder: Path
) -> None:
    def counted(stop: float, epochs: int, lr: float = 1e-2) -> tuple[float, int]:
        changes = {"minibatch": 1, "epochs": epochs, "approx_kl_stop": stop, "lr": lr}
        config = CONFIG.model_copy(update=changes)
        learner = make_learner(tiny_policy, tiny_policy, reward_folder, config)
        steps: list[object] = []
        learner.policy_optimizer.register_step_post_hook(lambda *arguments: steps.append(arguments))
        four = read(learner, [BETTER, WORSE, BETTER, WORSE], [1.0, -1.0, 1.0, -1.0])
        return learn(learner, four, 0, config, 1.0)["minibatches_skipped"], len(steps)

    # The first minibatch is on-policy; after its step, which is far too long, the second one finds out.
    assert counted(1e-4, epochs=1) == (2, 2)
    assert counted(1e-4, epochs=3) == (10, 2)
    assert counted(0.0, epochs=1) == (0, 4)
    assert counted(0.03, epochs=1, lr=1e-6) == (0, 4)


def test_the_brake_slows_the_policy_and_not_the_critic(tiny_policy: Path, reward_folder: Path) -> None:
    config = PPOConfig(lr=8e-4, critic_lr=3e-4)
    learner = make_learner(tiny_policy, tiny_policy, reward_folder, config)
    learner.brake = 4.0

    assert set_learning_rates(learner, 0, config) == pytest.approx(2e-4)
    assert learner.policy_optimizer.param_groups[0]["lr"] == pytest.approx(2e-4)
    assert learner.critic_optimizer.param_groups[0]["lr"] == pytest.approx(3e-4)


def test_warm_up_rises_in_a_line_and_falls_with_the_root() -> None:
    config = PPOConfig(updates=100, warmup_share=0.1, lr_decay="inverse-sqrt")
    factors = [learning_rate_factor(update, config) for update in (0, 1, 5, 10, 40, 90)]
    assert factors == pytest.approx([0.1, 0.1, 0.5, 1.0, 0.5, 1 / 3])
    assert [learning_rate_factor(update, PPOConfig()) for update in (0, 1, 15)] == [1.0] * 3


def test_both_optimisers_follow_the_schedule(tiny_policy: Path, reward_folder: Path) -> None:
    config = CONFIG.model_copy(update={"updates": 10, "warmup_share": 0.4})
    learner = make(tiny_policy, reward_folder, config)
    metrics = learn(learner, read(learner, [BETTER, WORSE], [1.0, -1.0]), 2, config, 1.0)
    rates = [
        optimizer.param_groups[0]["lr"] for optimizer in (learner.policy_optimizer, learner.critic_optimizer)
    ]
    assert rates == pytest.approx([5e-4, 5e-4])
    assert metrics["lr"] == pytest.approx(5e-4)


def test_the_pre_training_of_the_critic_ends_when_it_explains_a_new_buffer(
    tiny_policy: Path, reward_folder: Path
) -> None:
    config = CONFIG.model_copy(update={"critic_pretrain_updates": 50})
    learner = make(tiny_policy, reward_folder, config)
    experience = read(learner, [BETTER, WORSE], [1.0, -1.0])
    assert "policy_loss" not in learn(learner, experience, 0, config, 1.0)
    assert learner.critic_updates_left == 49
    experience.values = torch.tensor([[1.0], [-1.0]]) * experience.mask  # what the scores will be
    assert "policy_loss" in learn(learner, experience, 1, config, 1.0)
    assert learner.critic_updates_left == 0


def test_a_new_reward_model_starts_moments_and_critic_again(
    tiny_policy: Path, reward_folder: Path, tmp_path: Path
) -> None:
    config = CONFIG.model_copy(update={"critic_pretrain_updates": 3})
    learner = make(tiny_policy, reward_folder, config)
    learn(learner, read(learner, [BETTER, WORSE], [1.0, -1.0]), 0, config, 1.0)
    assert (learner.moments.count, learner.critic_updates_left) == (2, 2)
    again = make(tiny_policy, reward_folder, config)
    assert again.load(learner.state())
    assert (again.moments, again.critic_updates_left) == (learner.moments, 2)
    save_reward_model(reward_model_from_policy(tiny_policy, seed=4, pad_token_id=0), tmp_path)
    other = make(tiny_policy, tmp_path, config)
    start = [parameter.detach().clone() for parameter in other.critic.parameters()]
    assert not other.load(learner.state())
    assert (other.moments, other.critic_updates_left) == (RunningMoments(), 3)
    assert same(start, [parameter.detach() for parameter in other.critic.parameters()])


def test_clipped_shares_are_counted(tiny_policy: Path, reward_folder: Path) -> None:
    config = CONFIG.model_copy(
        update={"score_clip": 0.5, "advantage_whiten": True, "advantage_clip": 0.9, "importance_limit": 2.0}
    )
    learner = make(tiny_policy, reward_folder, config)
    experience = read(learner, [BETTER, WORSE], [1.0, -1.0])
    experience.engine_logprobs = experience.old_logprobs.clone()
    experience.engine_logprobs[0, 0] -= 5.0  # the engine thought one token of seven far less likely
    metrics = learn(learner, experience, 0, config, 1.0)
    assert metrics["score_clip_share"] == 1.0  # 0.707 deviations each way
    assert metrics["importance_clip_share"] == pytest.approx(1 / 7)
    assert 0 < metrics["advantage_clip_share"] <= 1


@pytest.mark.parametrize("source", ["learned", "quantile", "random"])
def test_groups_that_change_nothing_leave_ppo_max_bit_for_bit(
    tiny_policy: Path, reward_folder: Path, source: str
) -> None:
    config = CONFIG.model_copy(update={"kl_coef": 0.05})
    groups = GroupsConfig.model_validate({"source": source, "policy_coef": 0.0, "kl_mode": "off"})
    plain, _ = weights_after(tiny_policy, reward_folder, config)
    grouped, metrics = weights_after(tiny_policy, reward_folder, config, groups)
    assert same(plain, grouped)
    assert metrics["group_kl_coef"] == pytest.approx(0.05)


@pytest.mark.parametrize(
    "changes",
    [{"policy_coef": 0.3, "kl_mode": "off"}, {"policy_coef": 0.0}, {"objective": "dro", "kl_mode": "off"}],
)
def test_each_part_of_the_groups_changes_the_policy(
    tiny_policy: Path, reward_folder: Path, changes: dict[str, object]
) -> None:
    config = CONFIG.model_copy(update={"kl_coef": 0.5})
    groups = GroupsConfig.model_validate({"source": "learned", "kl_mode": "mean-preserving"} | changes)
    outcomes = []
    for one in (None, groups):
        learner = make(tiny_policy, reward_folder, config, one)
        experience = read(learner, [BETTER, WORSE], [1.0, -1.0])
        experience.ref_logprobs = experience.old_logprobs - 0.5 * experience.mask
        learn(learner, experience, 0, config, 1.0)
        outcomes.append([parameter.detach().clone() for parameter in learner.policy.parameters()])
    assert not same(*outcomes)


def test_half_and_half_halves_the_coefficient_of_every_answer(tiny_policy: Path, reward_folder: Path) -> None:
    config = CONFIG.model_copy(update={"kl_coef": 0.05})
    groups = GroupsConfig(source="learned", kl_mode="published", policy_coef=0.0)
    learner = make(tiny_policy, reward_folder, config, groups)
    assert learner.grouping is not None
    with torch.no_grad():
        learner.grouping.head.weight.zero_()
    grouped = learner.grouping.apply(
        read(learner, [BETTER, WORSE], [1.0, -1.0]), torch.tensor([1.0, -1.0]), 0.05, 0
    )
    assert grouped.kl_coef.tolist() == pytest.approx([0.025, 0.025])


def test_the_groups_of_a_resume_are_those_that_were_left(tiny_policy: Path, reward_folder: Path) -> None:
    groups = GroupsConfig(source="learned", objective="dro", dro_rate=1.0)
    learner, again = (make(tiny_policy, reward_folder, CONFIG, groups) for _ in range(2))
    assert learner.grouping is not None
    assert again.grouping is not None
    experience, scores = read(learner, [BETTER, WORSE], [1.0, -1.0]), torch.tensor([1.0, -1.0])
    learner.grouping.apply(experience, scores, 0.05, 0)
    again.load(learner.state())
    assert again.grouping.high.state() == learner.grouping.high.state() != HighGroup().state()
    assert torch.equal(again.grouping.dro_weights, learner.grouping.dro_weights)
    assert learner.grouping.dro_weights[0] != 0.5


def test_the_group_head_learns_and_the_critic_does_not_feel_it(
    tiny_policy: Path, reward_folder: Path
) -> None:
    groups = GroupsConfig(source="learned", head_lr=0.1, head_steps=20)
    learner = make(tiny_policy, reward_folder, CONFIG, groups)
    assert learner.grouping is not None
    experience, scores = read(learner, [BETTER, WORSE], [1.0, -1.0]), torch.tensor([1.0, -1.0])
    before = learner.grouping.probabilities(experience, scores, 0).detach()
    metrics = learner.grouping.learn(experience, scores)
    after = learner.grouping.probabilities(experience, scores, 0).detach()
    gap = [float((p[0] - p[1]).abs().max()) for p in (before, after)]
    assert gap[1] > gap[0] + 0.1  # the better and the worse answer are put apart
    assert metrics["group_head_loss"] < 0
    assert all(parameter.grad is None for parameter in learner.critic.parameters())


def test_the_adaptive_controller_by_hand(tiny_policy: Path, reward_folder: Path) -> None:
    learner = make(tiny_policy, reward_folder, CONFIG)
    experience = read(learner, [BETTER, WORSE], [0.0, 0.0])
    experience.ref_logprobs = experience.old_logprobs - experience.mask * 1.0
    # KL: 4 and 3 nats, mean 3.5. Target 3.2: error 0.09375. Two answers, horizon 20: 1 + 0.09375 x 0.1.
    config = PPOConfig(kl_target=3.2, kl_horizon=20.0)
    assert adapted(0.05, experience, config) == pytest.approx(0.05 * 1.009375, rel=1e-5)
    # Far above the target the error counts as 0.2 at most.
    config = PPOConfig(kl_target=0.1, kl_horizon=20.0)
    assert adapted(0.05, experience, config) == pytest.approx(0.05 * 1.02, rel=1e-5)


def test_a_frozen_model_takes_half_the_memory_and_says_the_same(
    tiny_policy: Path, reward_folder: Path
) -> None:
    model, ids = load_policy(tiny_policy), torch.arange(12)[None]
    frequencies = model.get_buffer("model.rotary_emb.inv_freq").clone()
    with torch.no_grad():
        before = model(input_ids=ids).logits
        after = frozen(model)(input_ids=ids).logits
    assert 0 < (after - before).abs().max() < 0.05 * before.abs().max()
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert torch.equal(model.get_buffer("model.rotary_emb.inv_freq"), frequencies)  # not rounded
    assert not any(parameter.requires_grad for parameter in model.parameters())
    judge = frozen(load_reward_model(reward_folder))
    assert {parameter.dtype for parameter in judge.backbone.parameters()} == {torch.bfloat16}
    assert judge.head.weight.dtype == torch.float32
