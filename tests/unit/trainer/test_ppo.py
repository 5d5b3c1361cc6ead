"""PPO-max on the tiny model: it learns what is scored, says what it does, and stops when it must."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.unit.trainer.ppo_toys import PROMPTS, Remembering, experience_of_two, train
from trainer.config import PPOConfig, RolloutConfig
from trainer.errors import ConfigError, DataError, DivergedError, ModelError
from trainer.experience import gather
from trainer.fixed import FIXED_PROMPTS
from trainer.models import load_critic, load_policy, load_reward_model
from trainer.monitor import action_space
from trainer.ppo import train_policy
from trainer.reporting import Reporter
from trainer.rollout import Rollout


def test_the_first_minibatch_is_on_policy_and_the_reference_is_where_it_starts(
    tiny_policy: Path, reward_folder: Path, tmp_path: Path
) -> None:
    first = train(tiny_policy, reward_folder, tmp_path, updates=1, critic_pretrain_updates=0).rows[0]
    assert first["approx_kl"] == pytest.approx(0.0, abs=1e-5)
    assert first["on_policy_gap"] < 1e-3
    assert first["ref_kl"] == pytest.approx(0.0, abs=1e-5)
    assert first["engine_logprob_gap"] < 0.05


def test_while_only_the_critic_learns_the_policy_stays(
    tiny_policy: Path, reward_folder: Path, tmp_path: Path
) -> None:
    train(tiny_policy, reward_folder, tmp_path, updates=1, critic_pretrain_updates=1)
    before = load_file(tiny_policy / "model.safetensors")
    after = load_file(tmp_path / "candidate" / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_training_raises_the_score_of_what_is_scored(
    tiny_policy: Path, reward_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def low_ids(self: object, input_ids: torch.Tensor, **inputs: torch.Tensor) -> torch.Tensor:
        """A taste that is easy to learn: tokens with an id below 100 at the end of the sequence."""
        ends = inputs["attention_mask"][0, 0].sum(1).tolist()  # of the answers in a flat pass
        return torch.stack([(input_ids[0, end - 8 : end] < 100).float().mean() for end in ends])

    monkeypatch.setattr("trainer.models.RewardModel.scores", low_ids)
    rows = train(
        tiny_policy, reward_folder, tmp_path,
        updates=12, rollouts=16, minibatch=8, lr=3e-3, critic_lr=3e-3, kl_coef=0.0, checkpoint_every=0,
    ).rows  # fmt: skip
    early, late = (sum(row["reward_mean"] for row in part) / 3 for part in (rows[:3], rows[-3:]))
    # 48 answers of 8 tokens a side: the deviation of each mean is about 0.025.
    assert late > early + 0.1


def test_a_weight_without_texts_is_refused_and_texts_without_a_weight_are_not_used(
    tiny_policy: Path, reward_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"ptx_coef is 0\.1 and --ptx is missing"):
        train(tiny_policy, reward_folder, tmp_path, ptx_coef=0.1)
    said = train(tiny_policy, reward_folder, tmp_path, updates=1, ptx=tmp_path / "texts.jsonl").said
    assert "the texts of texts.jsonl are not used: ppo.ptx_coef is 0" in said


def test_the_metrics_say_how_the_scores_lie_and_what_was_clipped(
    tiny_policy: Path, reward_folder: Path, tmp_path: Path
) -> None:
    row = train(tiny_policy, reward_folder, tmp_path, updates=1, critic_pretrain_updates=0).rows[0]
    assert row["reward_p5"] <= row["reward_p50"] <= row["reward_p95"]
    assert {
        "reward_length_correlation", "score_clip_share", "clip_share", "value_clip_share",
        "importance_clip_share", "grad_norm_policy", "grad_norm_critic", "alarm",
    } <= row.keys()  # fmt: skip


def test_a_warning_reaches_the_log_and_the_metrics_and_stops_nothing(
    tiny_policy: Path, reward_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.monitor.repeats", lambda ids: 0.3)
    run = train(tiny_policy, reward_folder, tmp_path, updates=5, checkpoint_every=0)
    assert [row["alarm"] for row in run.rows] == [1.0] * 5
    assert "warning before update 5: answers repeat themselves (30% of their 4-grams)" in run.said


def test_the_candidate_carries_its_head_and_a_report(
    tiny_policy: Path, reward_folder: Path, tmp_path: Path
) -> None:
    train(tiny_policy, reward_folder, tmp_path)
    assert "lm_head.weight" in load_file(tmp_path / "candidate" / "model.safetensors")
    assert json.loads((tmp_path / "report.json").read_text())["updates"] == 2


def test_a_reward_model_that_gives_nan_is_refused(
    tiny_policy: Path, reward_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "trainer.models.RewardModel.scores",
        lambda self, **inputs: torch.full((len(inputs["input_ids"]),), float("nan")),
    )
    with pytest.raises(DivergedError, match="a score"):
        train(tiny_policy, reward_folder, tmp_path)
    assert not (tmp_path / "candidate").exists()


def test_a_collapse_stops_the_training_and_the_last_good_weights_are_kept(
    tiny_policy: Path, reward_folder: Path, tmp_path: Path
) -> None:
    # One step of this size throws the random policy far off; its answers then stay beyond 1 nat of KL.
    reporter = train(
        tiny_policy, reward_folder, tmp_path,
        updates=9, lr=0.3, max_grad_norm=0.0, kl_stop=1.0, critic_pretrain_updates=0, checkpoint_every=2,
    )  # fmt: skip
    report = json.loads((tmp_path / "report.json").read_text())
    assert len(reporter.rows) == 3  # update 1 threw it off; 2 and 3 still ran; the third sign stops it
    assert "above 1" in report["stopped_early"]
    assert report["updates"] == 0
    assert "back to the weights after 0" in reporter.said[-1]
    start = load_file(tiny_policy / "model.safetensors")
    candidate = load_file(tmp_path / "candidate" / "model.safetensors")
    assert all(torch.equal(start[name], candidate[name]) for name in start)


def test_each_update_shows_an_answer(tiny_policy: Path, reward_folder: Path, tmp_path: Path) -> None:
    said = train(tiny_policy, reward_folder, tmp_path, updates=1, fixed_every=0).said
    kind, _, text = said[0].partition(" ")
    shown = json.loads(text)
    assert kind == "sample"
    assert shown["prompt"] in {prompt[-1].content for prompt in PROMPTS}
    assert 1 <= shown["tokens"] <= 8


def test_the_fixed_prompts_are_answered_along_the_training_and_change_nothing(
    tiny_policy: Path, reward_folder: Path, tmp_path: Path
) -> None:
    watched = train(tiny_policy, reward_folder, tmp_path / "watched", updates=3, fixed_every=2)
    unwatched = train(tiny_policy, reward_folder, tmp_path / "unwatched", updates=3, fixed_every=0)

    looks = [json.loads(line.removeprefix("fixed ")) for line in watched.said if line.startswith("fixed ")]
    assert [look["update"] for look in looks] == [0, 2, 3]
    assert [[one["prompt"] for one in look["answers"]] for look in looks] == [list(FIXED_PROMPTS)] * 3
    assert looks[0]["answers"] != looks[-1]["answers"]  # the policy has moved, the prompts have not
    assert not any(line.startswith("fixed ") for line in unwatched.said)
    timed = {"samples_per_second"}
    for one, other in zip(watched.rows, unwatched.rows, strict=True):
        assert {k: v for k, v in one.items() if k not in timed} == {
            k: v for k, v in other.items() if k not in timed
        }


def test_a_candidate_that_is_there_is_refused_before_anything_is_trained(
    tiny_policy: Path, reward_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "candidate").mkdir()
    reporter = Remembering()
    with pytest.raises(ModelError, match="exists already"):
        train(tiny_policy, reward_folder, tmp_path, reporter)
    assert reporter.rows == []


def test_prompts_that_do_not_fit_are_named(tiny_policy: Path, reward_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"max_prompt_tokens = 8"):
        train_policy(
            policy=tiny_policy, reference=tiny_policy, reward_model=reward_folder, prompts=PROMPTS,
            work=tmp_path, out=tmp_path / "candidate", config=PPOConfig(),
            rollout=RolloutConfig(engine="transformers", max_prompt_tokens=8), reporter=Reporter(),
        )  # fmt: skip


def test_an_answer_reads_the_same_alone_and_beside_a_longer_one(
    tiny_policy: Path, reward_folder: Path
) -> None:
    short = Rollout([1, 2, 3], [4, 5], [0.0, 0.0], True)
    long = Rollout([1] * 9, [6] * 7, [0.0] * 7, False)
    policy, reward_model = load_policy(tiny_policy), load_reward_model(reward_folder)
    critic = load_critic(reward_folder)

    def read(rollouts: list[Rollout]) -> tuple[list[float], float, list[float]]:
        experience = gather(
            rollouts, policy=policy, reference=policy, critic=critic, reward_model=reward_model,
            temperature=1.0, max_tokens=10_000, device=torch.device("cpu"),
        )  # fmt: skip
        row = experience.old_logprobs[0, :2], experience.scores[0], experience.values[0, :2]
        return row[0].tolist(), row[1].item(), row[2].tolist()

    alone, beside = read([short]), read([short, long])
    assert alone[0] == pytest.approx(beside[0], abs=1e-2)  # bf16 products
    assert alone[1] == pytest.approx(beside[1], abs=1e-2)
    assert alone[2] == pytest.approx(beside[2], abs=1e-2)
    assert action_space(experience_of_two(short, long))["truncated_share"] == 0.5


def test_a_braked_update_has_twice_the_kl_coefficient_and_half_the_learning_rate(
    tiny_policy: Path, reward_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.monitor.repeats", lambda ids: 0.3)
    rows = train(
        tiny_policy, reward_folder, tmp_path,
        updates=3, checkpoint_every=0, brake_notches=2, kl_coef=0.05, lr=1e-3,
    ).rows  # fmt: skip
    assert [row["kl_coef"] for row in rows] == pytest.approx([0.1, 0.2, 0.2])
    assert [row["lr"] for row in rows] == pytest.approx([5e-4, 2.5e-4, 2.5e-4])
