"""PPO-max on the tiny model: it learns what is scored, resumes exactly, and stops when it must."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from store.records import ChatTurn
from trainer.config import GroupsConfig, PPOConfig, RolloutConfig
from trainer.data import Prompt
from trainer.errors import Cancelled, ConfigError, DataError, DivergedError, ModelError
from trainer.experience import Experience, gather
from trainer.models import (
    load_critic,
    load_policy,
    load_reward_model,
    reward_model_from_policy,
    save_reward_model,
)
from trainer.monitor import CollapseAlarm, action_space, repeats, reward_distribution
from trainer.ppo import train_policy
from trainer.reporting import Reporter
from trainer.rollout import Rollout
from trainer.tensors import response_mask

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
    groups: GroupsConfig | None = None,
    ptx: Path | None = None,
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
        groups=groups or GroupsConfig(),
        ptx=ptx,
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


EVERYTHING: dict[str, object] = {
    "kl_target": 1.0, "kl_horizon": 10.0, "penalty_coef": 0.5, "warmup_share": 0.5,
    "lr_decay": "inverse-sqrt", "entropy_coef": 0.01, "entropy_target": 9.0, "ptx_coef": 0.1, "ptx_batch": 2,
    "advantage_whiten": True, "critic_pretrain_updates": 3, "epochs": 2, "minibatch": 2,
    "brake_notches": 3,
}  # fmt: skip


@pytest.mark.parametrize("stop_after", [3, 5])
@pytest.mark.parametrize("changes", [{}, EVERYTHING], ids=["ppo-max", "everything"])
def test_a_resumed_training_continues_with_the_same_numbers(
    tiny_policy: Path,
    reward_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stop_after: int,
    changes: dict[str, object],
) -> None:
    monkeypatch.setattr("trainer.monitor.repeats", lambda ids: 0.3)  # a warning, so the brake is pulled
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(f'{{"text": "{word} and more"}}\n' for word in ("one", "two", "three", "four")))
    extra = {"groups": GroupsConfig(source="learned", head_lr=0.1), "ptx": texts} if changes else {}
    settings: dict[str, object] = {"updates": 5, "checkpoint_every": 2} | changes

    def run(folder: str, reporter: Remembering | None = None) -> Remembering:
        return train(tiny_policy, reward_folder, tmp_path / folder, reporter, **extra, **settings)

    whole = run("whole")
    with pytest.raises(Cancelled):  # what came after the last checkpoint is lost
        run("cut", Remembering(stop_after))
    assert not (tmp_path / "cut" / "candidate").exists()
    resumed = run("cut")
    done = stop_after - 1
    assert resumed.said[0] == f"resumed after update {done}"
    assert [timeless(row) for row in resumed.rows] == [timeless(row) for row in whole.rows[done:]]
    weights = [load_file(tmp_path / name / "candidate" / "model.safetensors") for name in ("whole", "cut")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def timeless(row: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in row.items() if name != "samples_per_second"}


def test_a_weight_without_texts_and_texts_without_a_weight_are_refused(
    tiny_policy: Path, reward_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"ptx_coef is 0\.1 and --ptx is missing"):
        train(tiny_policy, reward_folder, tmp_path, ptx_coef=0.1)
    with pytest.raises(ConfigError, match="ptx_coef is 0 and --ptx was given"):
        train(tiny_policy, reward_folder, tmp_path, ptx=tmp_path / "texts.jsonl")


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
    assert action_space(experience_of_two(short, long))["truncated_share"] == 0.5


def experience_of_two(short: Rollout, long: Rollout) -> Experience:
    mask = response_mask(torch.tensor([2, 7]), 7)
    zeros = torch.zeros(2, 7)
    ended = torch.tensor([True, False])
    return Experience([short, long], mask, ended, zeros, zeros, zeros, zeros + 1.0, zeros, zeros[:, 0])


def test_repeats_counts_4_grams_said_before() -> None:
    # 1 2 1 2 1 2: 4-grams 1212, 2121, 1212 -> one of three was there before.
    assert repeats([1, 2, 1, 2, 1, 2]) == pytest.approx(1 / 3)
    assert repeats([1, 2]) == 0.0


CALM = {
    "ref_kl": 1.0, "entropy": 4.0, "repeat_share": 0.0, "response_length_mean": 50.0, "truncated_share": 0.1,
    "perplexity": 10.0,
}  # fmt: skip


def test_the_alarm_waits_for_three_updates_and_names_the_reason() -> None:
    alarm = CollapseAlarm(kl_stop=10.0)
    gone = CALM | {"ref_kl": 50.0}
    assert [alarm.look(row) for row in (CALM, gone, gone, CALM, gone, gone)] == [None] * 6
    assert alarm.level == 2
    assert "KL 50.0 nats per answer is above 10" in str(alarm.look(gone))


@pytest.mark.parametrize(
    ("sign", "word"), [({"entropy": 0.9}, "entropy 0.90"), ({"repeat_share": 0.6}, "repeat themselves (60%")]
)
def test_entropy_and_repeats_are_signs_of_their_own(sign: dict[str, float], word: str) -> None:
    alarm = CollapseAlarm(kl_stop=0.0)
    assert alarm.look(CALM | {"ref_kl": 1e6}) is None  # kl_stop 0 is off
    said = [alarm.look(CALM | sign) for _ in range(3)]
    assert word in str(said[-1])


@pytest.mark.parametrize(
    ("sign", "words"),
    [
        ({"ref_kl": 6.0}, "KL 6.0 nats per answer is above 5"),
        ({"entropy": 1.9}, "entropy 1.90 is below half of 4.00"),
        ({"repeat_share": 0.3}, "repeat themselves (30%"),
        ({"response_length_mean": 80.0}, "80 tokens, 50 at the start"),
        ({"response_length_mean": 10.0}, "10 tokens, 50 at the start"),
        ({"truncated_share": 0.25}, "25% of the answers run into the limit, 10% at the start"),
        ({"perplexity": 5.0}, "perplexity of the answers is 5.0, 10.0 at the start"),
        ({"perplexity": 21.0}, "perplexity of the answers is 21.0"),
    ],
)
def test_the_alarm_warns_before_anything_has_to_stop(sign: dict[str, float], words: str) -> None:
    alarm = CollapseAlarm(kl_stop=10.0)
    alarm.look(CALM)
    assert (alarm.warnings, alarm.level) == ([], 0)
    assert [alarm.look(CALM | sign) for _ in range(5)] == [None] * 5
    assert len(alarm.warnings) == alarm.level == 1
    assert words in alarm.warnings[0]


def test_a_resumed_alarm_measures_from_the_first_start() -> None:
    alarm = CollapseAlarm(kl_stop=10.0)
    alarm.look(CALM)
    again = CollapseAlarm(10.0, *alarm.state())
    again.look(CALM | {"response_length_mean": 90.0})
    assert "90 tokens, 50 at the start" in again.warnings[0]


def test_the_brake_goes_a_notch_further_for_each_warning_and_back_without_one() -> None:
    alarm = CollapseAlarm(kl_stop=10.0, notches=2)
    warns = CALM | {"ref_kl": 6.0}
    pulled = []
    for row in (CALM, warns, warns, warns, CALM, CALM, CALM):
        alarm.look(row)
        pulled.append(alarm.brake)
    assert pulled == [1, 2, 4, 4, 2, 1, 1]  # two notches at most


def test_without_notches_a_warning_only_warns() -> None:
    alarm = CollapseAlarm(kl_stop=10.0)
    alarm.look(CALM | {"ref_kl": 6.0})
    assert (alarm.level, alarm.brake) == (1, 1)


def test_a_resumed_alarm_holds_the_brake_where_it_was() -> None:
    alarm = CollapseAlarm(kl_stop=10.0, notches=3)
    alarm.look(CALM)
    alarm.look(CALM | {"ref_kl": 6.0})
    again = CollapseAlarm(10.0, *alarm.state(), notches=3)
    assert again.brake == 2
    again.look(CALM)
    assert again.brake == 1


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


def test_the_distribution_of_the_scores_by_hand() -> None:
    # Scores 0 and 1 for 2 and 7 tokens: quantiles on the line between, correlation 1.
    short = Rollout([1, 2, 3], [4, 5], [0.0, 0.0], True)
    long = Rollout([1] * 9, [6] * 7, [0.0] * 7, False)
    experience = experience_of_two(short, long)
    experience.scores = torch.tensor([0.0, 1.0])
    found = reward_distribution(experience)
    assert found == pytest.approx(
        {
            "reward_mean": 0.5, "reward_std": 0.5, "reward_p5": 0.05, "reward_p50": 0.5, "reward_p95": 0.95,
            "reward_length_correlation": 1.0,
        }
    )  # fmt: skip
