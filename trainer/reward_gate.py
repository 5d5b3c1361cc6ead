"""The reward model's gate: may a policy be trained towards it? PPO would believe whatever it says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import ValidationError

from store.records import GateCheck, GateReport
from trainer.config import RewardGateConfig, RolloutConfig
from trainer.contenders import Question
from trainer.data import load_tokenizer
from trainer.errors import ModelError
from trainer.gate import fitting, score_rollouts, written
from trainer.held_back import held_back
from trainer.models import default_device, frozen, load_reward_model
from trainer.reporting import Reporter
from trainer.reward import RewardReport
from trainer.reward_checks import choice_checks, choices, report_checks
from trainer.samplers import make_sampler


def judge_reward_model(
    *,
    policy: Path,
    reward_model: Path,
    questions: Sequence[Question],
    out: Path,
    config: RewardGateConfig,
    rollout: RolloutConfig,
    reporter: Reporter,
) -> GateReport:
    """Judge a reward model by its report, and its choices by the held-back one. Writes the report to `out`.

    Args:
        policy: the version that PPO would start from: it gives the answers to choose from.
        questions: prompts that neither reward model has learned from.

    Raises:
        ModelError: the folder has no report.
        DataError: no prompt fits.
    """
    path = reward_model / "report.json"
    try:
        report = RewardReport.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise ModelError(f"{path} is not a reward model's report: {error}") from None
    checks = report_checks(report.held_out, report.agreement, config)
    judge = held_back(reward_model, reporter)
    if judge is None:
        reporter.log("no held-back reward model to judge its choices by")
    else:
        checks += _choice_checks(policy, reward_model, judge, questions, config, rollout, reporter)
    return written(out, checks)


def _choice_checks(
    policy: Path,
    reward_model: Path,
    judge: Path,
    questions: Sequence[Question],
    config: RewardGateConfig,
    rollout: RolloutConfig,
    reporter: Reporter,
) -> list[GateCheck]:
    asked = fitting(load_tokenizer(policy), questions[: config.best_of_prompts], rollout.max_prompt_tokens)
    drawn = make_sampler(policy, rollout).sample(
        [ids for _, ids in asked for _ in range(config.best_of)], seed=11
    )
    shape = (len(asked), config.best_of)
    scores = []
    for step, folder in enumerate((reward_model, judge), start=1):
        scores.append(score_rollouts(frozen(load_reward_model(folder, default_device())), drawn).view(shape))
        reporter.metric(step, 2, {"score_mean": float(scores[-1].mean())})
    lengths = torch.tensor([len(one.response_ids) for one in drawn]).view(shape)
    first, second = scores
    return choice_checks(choices(first, second, lengths), config)
