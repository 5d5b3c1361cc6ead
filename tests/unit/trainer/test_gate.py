"""The gate passes an equal policy and holds back a damaged or a far one, in words."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import torch

from store.records import ChatTurn, GateReport
from tests.unit.trainer.gate_toys import few_gate_prompts
from trainer.config import GateConfig, RolloutConfig
from trainer.contenders import Question
from trainer.gate import judge
from trainer.gate_samples import PROMPTS
from trainer.models import load_policy, save_policy
from trainer.reporting import Reporter

ROLLOUT = RolloutConfig(engine="transformers", max_new_tokens=8, max_prompt_tokens=256)


def ask(candidate: Path, tiny_policy: Path, reward_folder: Path, out: Path, **changes: object) -> GateReport:
    questions = [
        Question(
            prompt=(ChatTurn(role="user", content=f"Say {number}."),), tags=("zh",) if number < 2 else ()
        )
        for number in range(4)
    ]
    return judge(
        candidate=candidate, active=tiny_policy, reference=tiny_policy, reward_model=reward_folder,
        questions=questions, out=out, config=GateConfig.model_validate(changes), rollout=ROLLOUT,
        reporter=Reporter(), gate_prompts=few_gate_prompts(out.parent),
    )  # fmt: skip


def noisy(tiny_policy: Path, out: Path, scale: float) -> Path:
    """The tiny policy with noise of `scale` deviations on every weight."""
    model = load_policy(tiny_policy)
    chance = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=chance)
            parameter.add_(noise * scale * parameter.std(correction=0))
    return save_policy(model, tiny_policy, out)


def failed(report: GateReport) -> set[str]:
    return {check.name for check in report.checks if not check.passed}


def test_the_same_policy_ties_and_passes(tiny_policy: Path, reward_folder: Path, tmp_path: Path) -> None:
    report = ask(tiny_policy, tiny_policy, reward_folder, tmp_path / "report.json")
    assert report.passed
    win = next(check for check in report.checks if check.name == "win_share")
    assert win.value == 0.5
    assert GateReport.model_validate_json((tmp_path / "report.json").read_text()) == report


def test_fingerprints_are_greedy_answers_to_fixed_prompts(
    tiny_policy: Path, reward_folder: Path, tmp_path: Path
) -> None:
    one, two = (ask(tiny_policy, tiny_policy, reward_folder, tmp_path / name) for name in ("1", "2"))
    assert len(one.fingerprints) == 4
    assert one.fingerprints == two.fingerprints
    assert all(fingerprint.token_ids for fingerprint in one.fingerprints)


def test_both_versions_answer_the_same_fixed_prompts(
    tiny_policy: Path, reward_folder: Path, tmp_path: Path
) -> None:
    other = noisy(tiny_policy, tmp_path / "other", scale=0.5)
    ask(other, tiny_policy, reward_folder, tmp_path / "report.json")
    samples = json.loads((tmp_path / "samples.json").read_text())
    assert samples["prompts"] == list(PROMPTS)
    active, candidate = samples["answers"]["active"], samples["answers"]["candidate"]
    assert len(active) == len(candidate) == len(PROMPTS)
    assert active != candidate


def test_a_policy_that_moved_too_far_is_held_back(
    tiny_policy: Path, reward_folder: Path, tmp_path: Path
) -> None:
    far = noisy(tiny_policy, tmp_path / "far", scale=3.0)
    report = ask(far, tiny_policy, reward_folder, tmp_path / "report.json", max_kl=1.0)
    assert not report.passed
    assert "kl" in failed(report)
    kl = next(check for check in report.checks if check.name == "kl")
    assert "nats per answer" in kl.reason


def test_one_that_does_not_win_is_held_back(tiny_policy: Path, reward_folder: Path, tmp_path: Path) -> None:
    report = ask(tiny_policy, tiny_policy, reward_folder, tmp_path / "report.json", min_win_share=0.6)
    assert failed(report) == {"win_share"}


def test_groups_of_prompts_are_compared_where_they_are_large_enough(
    tiny_policy: Path, reward_folder: Path, tmp_path: Path
) -> None:
    report = ask(tiny_policy, tiny_policy, reward_folder, tmp_path / "report.json", min_group_prompts=2)
    [gap] = [check for check in report.checks if check.name == "group_gap"]
    assert (gap.value, gap.n, gap.passed) == (0.0, 2, True)
    assert "untagged 50% of 2, zh 50% of 2" in gap.reason


def test_nan_weights_are_named_and_nothing_else_is_asked(
    tiny_policy: Path, reward_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = load_policy(tiny_policy)
    with torch.no_grad():
        damaged.get_parameter("model.embed_tokens.weight")[0, 0] = float("nan")
    candidate = tmp_path / "candidate"
    monkeypatch.setattr(
        "trainer.gate.load_policy",
        lambda folder, device="cpu": damaged if folder == candidate else load_policy(folder, device),
    )
    report = ask(candidate, tiny_policy, reward_folder, tmp_path / "report.json")
    assert failed(report) == {"finite_weights"}
    assert "NaN" in report.checks[0].reason


def test_a_candidate_that_scores_higher_and_stayed_near_passes(
    tiny_policy: Path, reward_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taste = itertools.count()  # what is read later, the candidate's answers, scores higher
    monkeypatch.setattr(
        "trainer.models.RewardModel.scores",
        lambda self, input_ids, **inputs: torch.full((len(input_ids),), float(next(taste))),
    )
    near = noisy(tiny_policy, tmp_path / "near", scale=0.1)
    report = ask(near, tiny_policy, reward_folder, tmp_path / "report.json")
    assert report.passed, failed(report)
    assert {check.name: check.value for check in report.checks}["win_share"] == 1.0
    assert {check.name for check in report.checks} == {
        "finite_weights", "win_share", "kl", "perplexity", "repeats", "truncated", "length", "shortness",
        "entropy", "language_skill", "capability", "safety",
    }  # fmt: skip
