"""The gates on real trainings of the tiny model: what is made bad on purpose fails the right check."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from store.records import ChatTurn, GateReport, PreferencePair
from tests.unit.trainer.gate_toys import few_gate_prompts
from tests.unit.trainer.reward_toys import FAST, answered, flipped, toy_pairs, trained
from trainer.config import GateConfig, RewardGateConfig, RolloutConfig, SFTConfig
from trainer.contenders import Question
from trainer.errors import ModelError
from trainer.gate import judge
from trainer.held_back import FOLDER, held_back
from trainer.models import load_policy, save_policy
from trainer.reporting import Reporter
from trainer.reward_gate import judge_reward_model
from trainer.sft import train_sft

ROLLOUT = RolloutConfig(engine="transformers", max_new_tokens=10, max_prompt_tokens=256)
QUESTIONS = [Question(prompt=(ChatTurn(role="user", content=f"Say {number}."),)) for number in range(24)]
SPEAKS = SFTConfig(lr=0.01, batch_texts=24, epochs=20)


def speaker(policy: Path, folder: Path, *words: str) -> Path:
    """A policy that answers every question with one of these words."""
    lines = [
        {"prompt": [turn.model_dump() for turn in question.prompt],
         "chosen": [{"role": "assistant", "content": word}]}
        for question in QUESTIONS for word in words
    ]  # fmt: skip
    texts = folder.with_suffix(".jsonl")
    texts.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    train_sft(policy=policy, texts=texts, out=folder, config=SPEAKS, reporter=Reporter())
    return folder


def zz_pairs(count: int) -> list[PreferencePair]:
    """What a reward model that was fooled has learned: zz, which means nothing, beats plums."""
    return [answered(f"{number}zz", f"{number}plum") for number in range(count)]


@pytest.fixture(scope="module")
def folders(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("bad_on_purpose")
    found = {
        "plums": speaker(tiny_policy, root / "plums", "plum"),
        "both": speaker(tiny_policy, root / "both", "plum", "rock"),
        "zz": speaker(tiny_policy, root / "zz", "zz"),
        "sound": root / "sound",
        "fooled": root / "fooled",
        "flipped": root / "flipped",
    }
    trained(tiny_policy, found["sound"])
    trained(tiny_policy, found["fooled"], pairs=zz_pairs(64), held_out=zz_pairs(72)[64:])
    trained(tiny_policy, found["flipped"], pairs=flipped(toy_pairs(64, 3), "vote"), previous=found["sound"])
    second = {"pairs": [*toy_pairs(48, 7), *flipped(zz_pairs(16), "vote")], "held_out": toy_pairs(32, 8)}
    for name in ("sound", "fooled", "flipped"):
        trained(tiny_policy, found[name] / FOLDER, config=FAST.model_copy(update={"seed": 1}), **second)
    return found


FAR = GateConfig(
    max_kl=1e6,
    max_answer_perplexity_ratio=1e6,
    max_perplexity_ratio=1e6,
    max_capability_drop=1.0,
    max_safety_drop=1.0,
)
"""Lets a candidate move as far as it likes: another word is far away for the tiny model."""


def gate(
    folders: dict[str, Path], candidate: Path, reward_model: str, out: Path, config: GateConfig = FAR
) -> dict[str, str]:
    """Why the candidate is refused in the place of the policy that says plum."""
    report = judge(
        candidate=candidate, active=folders["plums"], reference=folders["plums"],
        reward_model=folders[reward_model], questions=QUESTIONS, out=out, rollout=ROLLOUT,
        config=config, gate_prompts=few_gate_prompts(out.parent),
        reporter=Reporter(),
    )  # fmt: skip
    return refused(report)


def refused(report: GateReport) -> dict[str, str]:
    return {check.name: check.reason for check in report.checks if not check.passed}


def reward_gate(folders: dict[str, Path], name: str, out: Path) -> GateReport:
    return judge_reward_model(
        policy=folders["both"], reward_model=folders[name], questions=QUESTIONS, out=out,
        config=RewardGateConfig(), rollout=ROLLOUT, reporter=Reporter(),
    )  # fmt: skip


def test_a_candidate_that_only_fools_its_reward_model_is_refused_by_the_held_back_one(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    reasons = gate(folders, folders["zz"], "fooled", tmp_path / "gate.json")
    assert set(reasons) == {"held_back_win_share"}
    assert "held-back reward model, which the training never saw" in reasons["held_back_win_share"]
    checks = json.loads((tmp_path / "gate.json").read_text())["checks"]
    assert [one["value"] > 0.9 for one in checks if one["name"] == "win_share"] == [True]


def test_a_garbled_candidate_is_refused_by_what_it_says_and_what_it_can_do(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    model, chance = load_policy(folders["plums"]), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=chance) * 3 * parameter.std(correction=0))
    garbled = save_policy(model, folders["plums"], tmp_path / "garbled")
    reasons = gate(folders, garbled, "sound", tmp_path / "gate.json", GateConfig())
    assert {"win_share", "held_back_win_share", "kl", "perplexity"} <= set(reasons)


def test_a_reward_model_of_flipped_pairs_is_refused_for_each_reason_and_a_sound_one_passes(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    sound = reward_gate(folders, "sound", tmp_path / "sound.json")
    assert sound.passed, refused(sound)
    assert {check.name for check in sound.checks} == {
        "accuracy", "calibration", "length_slope", "best_of_n", "longest_of_n",
    }  # fmt: skip
    bad = refused(reward_gate(folders, "flipped", tmp_path / "flipped.json"))
    assert {"accuracy", "agreement", "best_of_n"} <= set(bad)
    assert bad["accuracy"].endswith("refused when all of the interval lies below 60%")
    assert not GateReport.model_validate_json((tmp_path / "flipped.json").read_text()).passed


def test_a_held_back_model_that_may_be_guessing_judges_nothing(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    beside = tmp_path / FOLDER
    beside.mkdir()
    for accuracy, low, judges in ((0.7, 0.56, True), (0.6, 0.45, False)):
        facts = {"held_out": {"accuracy": accuracy, "accuracy_low": low, "pairs": 40}}
        (beside / "report.json").write_text(json.dumps(facts))
        assert (held_back(tmp_path, Reporter()) == beside) is judges
    (beside / "report.json").write_text("{}")
    with pytest.raises(ModelError, match=r"report\.json is not a reward model's report"):
        held_back(tmp_path, Reporter())
