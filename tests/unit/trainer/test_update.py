"""One update of PPO-max: it goes the right way, starts on-policy, and refuses what is not a number."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from trainer.config import PPOConfig
from trainer.errors import DivergedError, ModelError
from trainer.experience import Experience, gather
from trainer.learner import Learner, frozen, make_learner
from trainer.models import load_policy, reward_model_from_policy, save_reward_model
from trainer.rollout import Rollout
from trainer.update import adapted, learn

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


def make(tiny_policy: Path, reward_folder: Path, config: PPOConfig) -> Learner:
    return make_learner(tiny_policy, tiny_policy, reward_folder, config)


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
    with torch.no_grad():  # the policy has moved towards the answer; its score says nothing either way
        learner.policy.get_output_embeddings().weight[40:44] += 0.2
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


def test_the_entropy_bonus_widens_the_distribution(tiny_policy: Path, reward_folder: Path) -> None:
    moved = {}
    for coef in (0.0, 1.0):
        config = CONFIG.model_copy(update={"entropy_coef": coef})
        learner = make(tiny_policy, reward_folder, config)
        with torch.no_grad():  # sharper than random, so that there is room
            learner.policy.get_output_embeddings().weight.mul_(3.0)
        before = read(learner, [BETTER, WORSE], [0.0, 0.0])
        learn(learner, before, 0, config, 1.0)
        moved[coef] = float((read(learner, [BETTER, WORSE], [0.0, 0.0]).entropy - before.entropy).sum())
    assert moved[1.0] > moved[0.0] + 0.01


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


def test_a_frozen_model_takes_less_memory_and_says_exactly_the_same(tiny_policy: Path) -> None:
    model = load_policy(tiny_policy)
    ids = torch.arange(12)[None]
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        before = model(input_ids=ids).logits
        after = frozen(model)(input_ids=ids).logits
    assert torch.equal(before, after)
    assert model.get_submodule("model.layers.0.mlp.up_proj").weight.dtype == torch.bfloat16
    assert model.get_input_embeddings().weight.dtype == torch.float32  # the head is tied to it
    assert not any(parameter.requires_grad for parameter in model.parameters())
