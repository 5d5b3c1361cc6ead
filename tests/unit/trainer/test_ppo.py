"""PPO-max on the tiny model: it learns what is scored, resumes exactly, and stops when it must."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from store.records import ChatTurn
from trainer.config import PPOConfig, RolloutConfig
from trainer.data import Prompt
from trainer.errors import Cancelled, DataError, DivergedError, ModelError
from trainer.experience import gather
from trainer.models import (
    load_critic,
    load_policy,
    load_reward_model,
    reward_model_from_policy,
    save_reward_model,
)
from trainer.monitor import CollapseAlarm, action_space, repeats
from trainer.ppo import train_policy
from trainer.reporting import Reporter
from trainer.rollout import Rollout

ROLLOUT = RolloutConfig(engine="transformers", max_new_tokens=8, max_prompt_tokens=256)
PROMPTS: list[Prompt] = [(ChatTurn(role="user", content=f"Say {number}."),) for number in range(6)]


class Remembering(Reporter):
    """A reporter that remembers, and stops the training like SIGTERM after `stop_after` updates."""

    def __init__(self, stop_after: int | None = None) -> None:
        super().__init__()
        self.rows: list[dict[str, float]] = []
        self.said: list[str] = []
        self.stop_after = stop_after

    def metric(self, step: int, of: int | None, values: object) -> None:
        assert isinstance(values, dict)
        self.rows.append(dict(values))
        if step == self.stop_after:
            raise Cancelled

    def log(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture(scope="module")
def reward_folder(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model with a random head: a fixed, arbitrary taste."""
    folder = tmp_path_factory.mktemp("reward")
    save_reward_model(reward_model_from_policy(tiny_policy, seed=3, pad_token_id=0), folder)
    return folder


def train(
    tiny_policy: Path,
    reward_folder: Path,
    work: Path,
    reporter: Remembering | None = None,
    **changes: object,
) -> Remembering:
    settings = {
        "updates": 2,
        "rollouts": 4,
        "minibatch": 4,
        "lr": 1e-3,
        "critic_lr": 1e-3,
        "checkpoint_every": 1,
    }
    reporter = reporter or Remembering()
    train_policy(
        policy=tiny_policy,
        reference=tiny_policy,
        reward_model=reward_folder,
        prompts=PROMPTS,
        work=work,
        out=work / "candidate",
        config=PPOConfig.model_validate(settings | changes),
        rollout=ROLLOUT,
        reporter=reporter,
    )
    return reporter


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
        return (input_ids[:, -8:] < 100).float().mean(1)

    monkeypatch.setattr("trainer.models.RewardModel.scores", low_ids)
    rows = train(
        tiny_policy, reward_folder, tmp_path,
        updates=12, rollouts=16, minibatch=8, lr=3e-3, critic_lr=3e-3, kl_coef=0.0, checkpoint_every=0,
    ).rows  # fmt: skip
    early, late = (sum(row["reward_mean"] for row in part) / 3 for part in (rows[:3], rows[-3:]))
    # 48 answers of 8 tokens a side: the deviation of each mean is about 0.025.
    assert late > early + 0.1


def test_a_resumed_training_continues_to_the_same_weights(
    tiny_policy: Path, reward_folder: Path, tmp_path: Path
) -> None:
    train(tiny_policy, reward_folder, tmp_path / "whole", updates=4, checkpoint_every=2)
    with pytest.raises(Cancelled):  # in update 3, whose work is lost: the checkpoint is of update 2
        train(
            tiny_policy, reward_folder, tmp_path / "cut", Remembering(stop_after=3),
            updates=4, checkpoint_every=2,
        )  # fmt: skip
    assert not (tmp_path / "cut" / "candidate").exists()
    resumed = train(tiny_policy, reward_folder, tmp_path / "cut", updates=4, checkpoint_every=2)
    assert resumed.said[0] == "resumed after update 2"
    assert len(resumed.rows) == 2
    whole = load_file(tmp_path / "whole" / "candidate" / "model.safetensors")
    cut = load_file(tmp_path / "cut" / "candidate" / "model.safetensors")
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


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
        "trainer.models.RewardModel.scores", lambda self, **inputs: torch.full((4,), float("nan"))
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


def test_a_resume_remembers_the_signs_of_a_collapse(
    tiny_policy: Path, reward_folder: Path, tmp_path: Path
) -> None:
    broken = {
        "lr": 0.3, "max_grad_norm": 0.0, "kl_stop": 1.0, "critic_pretrain_updates": 0, "checkpoint_every": 1,
    }  # fmt: skip
    with pytest.raises(Cancelled):
        train(tiny_policy, reward_folder, tmp_path, Remembering(stop_after=3), updates=9, **broken)
    resumed = train(tiny_policy, reward_folder, tmp_path, updates=9, **broken)
    assert len(resumed.rows) == 1  # the sign of update 2 is remembered: 3 runs again, 4 is not begun
    assert "back to the weights after 0" in resumed.said[-1]


def test_each_update_shows_an_answer(tiny_policy: Path, reward_folder: Path, tmp_path: Path) -> None:
    said = train(tiny_policy, reward_folder, tmp_path, updates=1).said
    kind, _, text = said[0].partition(" ")
    shown = json.loads(text)
    assert kind == "sample"
    assert shown["prompt"] in {prompt[-1].content for prompt in PROMPTS}
    assert 1 <= shown["tokens"] <= 8


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
    assert action_space_of_two(short, long)["truncated_share"] == 0.5


def action_space_of_two(short: Rollout, long: Rollout) -> dict[str, float]:
    from trainer.experience import Experience
    from trainer.tensors import response_mask

    mask = response_mask(torch.tensor([2, 7]), 7)
    zeros = torch.zeros(2, 7)
    return action_space(
        Experience(
            [short, long],
            mask,
            torch.tensor([True, False]),
            zeros,
            zeros,
            zeros,
            zeros + 1.0,
            zeros,
            zeros[:, 0],
        )
    )


def test_repeats_counts_4_grams_said_before() -> None:
    # 1 2 1 2 1 2: 4-grams 1212, 2121, 1212 -> one of three was there before.
    assert repeats([1, 2, 1, 2, 1, 2]) == pytest.approx(1 / 3)
    assert repeats([1, 2]) == 0.0


def test_the_alarm_waits_for_three_updates_and_names_the_reason() -> None:
    alarm = CollapseAlarm(kl_stop=10.0)
    calm = {"ref_kl": 1.0, "entropy": 4.0, "repeat_share": 0.0}
    gone = calm | {"ref_kl": 50.0}
    assert [alarm.look(row) for row in (calm, gone, gone, calm, gone, gone)] == [None] * 6
    assert "KL 50.0" in str(alarm.look(gone))


@pytest.mark.parametrize(
    ("sign", "word"), [({"entropy": 0.9}, "entropy 0.90"), ({"repeat_share": 0.6}, "repeat themselves (60%")]
)
def test_entropy_and_repeats_are_signs_of_their_own(sign: dict[str, float], word: str) -> None:
    calm = {"ref_kl": 1.0, "entropy": 4.0, "repeat_share": 0.0}
    alarm = CollapseAlarm(kl_stop=0.0)
    assert alarm.look(calm | {"ref_kl": 1e6}) is None  # kl_stop 0 is off
    said = [alarm.look(calm | sign) for _ in range(3)]
    assert word in str(said[-1])
