"""The gate: may this candidate serve? Every check with its value, its threshold and the reason in words."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from store.records import ChatTurn, Fingerprint, GateCheck, GateReport
from trainer.alignment_tax import SKILL_TEXT
from trainer.config import GateConfig, RolloutConfig
from trainer.contenders import Question
from trainer.data import load_tokenizer, pad_right, prompt_ids
from trainer.errors import DataError
from trainer.experience import Experience, gather
from trainer.gate_checks import (
    drift_checks,
    finite_check,
    group_check,
    held_back_check,
    points,
    skill_check,
    win_check,
)
from trainer.gate_prompts import (
    GATE_PROMPTS,
    Answered,
    answer_gate_prompts,
    gate_prompt_checks,
    read_gate_prompts,
)
from trainer.gate_samples import answer_samples, write_samples
from trainer.held_back import held_back
from trainer.models import RewardModel, autocast, default_device, frozen, load_policy, load_reward_model
from trainer.monitor import action_space
from trainer.ranking import score_sequences
from trainer.reporting import Reporter
from trainer.rollout import Rollout, Sampler
from trainer.samplers import make_sampler
from trainer.win_rates import EVERYTHING, domains

FINGERPRINT_PROMPTS = (
    "What is two plus two?",
    "Name three colours.",
    "Write one sentence about the sea.",
    "Is the sun a star?",
)
FINGERPRINT_TOKENS = 16
MAX_TOKENS = 4096


def judge(
    *,
    candidate: Path,
    active: Path,
    reference: Path,
    reward_model: Path,
    questions: Sequence[Question],
    out: Path,
    config: GateConfig,
    rollout: RolloutConfig,
    reporter: Reporter,
    gate_prompts: Path = GATE_PROMPTS,
) -> GateReport:
    """Let candidate and active version answer the same held-out prompts; write the report to `out`.

    Where the reward model has a held-back one beside it, that one judges the same answers too. What both say
    to the fixed prompts is written beside the report, to `samples.json`.

    Raises DataError when no prompt fits.
    """
    tokenizer = load_tokenizer(active)
    skill = tokenizer.encode(SKILL_TEXT.read_text(encoding="utf-8"))
    asked = fitting(tokenizer, questions[: config.max_prompts], rollout.max_prompt_tokens)
    fixed = read_gate_prompts(gate_prompts)
    device = default_device()
    folders = {"active": active, "candidate": candidate}
    models = {name: load_policy(folder, device) for name, folder in folders.items()}
    if damaged := _damaged(models["candidate"]):
        return written(out, [finite_check(damaged)])
    judges = load_policy(reference, device), frozen(load_reward_model(reward_model, device))
    sampler = make_sampler(active, rollout)
    answers: dict[str, Experience] = {}
    answered: dict[str, Answered] = {}
    perplexity: dict[str, float] = {}
    samples: dict[str, list[str]] = {}
    for step, (name, model) in enumerate(models.items(), start=1):
        sampler.update(model.state_dict().items())
        answers[name] = _answer(sampler, model, [ids for _, ids in asked], *judges, rollout)
        answered[name] = answer_gate_prompts(model, tokenizer, sampler, fixed)
        perplexity[name] = _perplexity(model, skill)
        samples[name] = answer_samples(sampler, active)
        metrics = action_space(answers[name]) | {"text_perplexity": perplexity[name]}
        reporter.metric(step, len(models), metrics)
    write_samples(out.with_name("samples.json"), samples)
    fingerprints = tuple(_fingerprint(sampler, tokenizer, prompt) for prompt in FINGERPRINT_PROMPTS)
    won = points(answers["candidate"].scores, answers["active"].scores).cpu()
    groups = domains([one.domains for one, _ in asked])
    groups.pop(EVERYTHING)
    checks = [
        finite_check(None),
        win_check(won, config),
        *_second_opinion(reward_model, answers, config, reporter),
        *group_check(won, groups, config),
        *drift_checks(action_space(answers["candidate"]), action_space(answers["active"]), config),
        skill_check(perplexity["candidate"], perplexity["active"], config),
        *gate_prompt_checks(fixed, answered["candidate"], answered["active"], config),
    ]
    return written(out, checks, fingerprints)


def _second_opinion(
    reward_model: Path, answers: dict[str, Experience], config: GateConfig, reporter: Reporter
) -> list[GateCheck]:
    """The held-back reward model on the same answers; nothing where there is none."""
    folder = held_back(reward_model, reporter)
    if folder is None:
        return []
    model = frozen(load_reward_model(folder, default_device()))
    scores = {name: score_rollouts(model, one.rollouts) for name, one in answers.items()}
    return [held_back_check(points(scores["candidate"], scores["active"]), config)]


def score_rollouts(model: RewardModel, rollouts: Sequence[Rollout]) -> torch.Tensor:
    """Scores of answers as they were drawn, (N,) fp32 on the CPU."""
    sequences = [one.prompt_ids + one.response_ids for one in rollouts]
    return score_sequences(model, sequences, 0, MAX_TOKENS)


def fitting(
    tokenizer: PreTrainedTokenizerBase, questions: Sequence[Question], limit: int
) -> list[tuple[Question, list[int]]]:
    """The questions whose last turn fits, with their token ids. Raises DataError when none does."""
    found = []
    for question in questions:
        try:
            found.append((question, prompt_ids(tokenizer, question.prompt, limit)))
        except DataError:
            continue
    if not found:
        raise DataError(f"no held-out prompt fits into rollout.max_prompt_tokens = {limit}; raise it.")
    return found


def _damaged(model: PreTrainedModel) -> str | None:
    """Name of a weight that is not finite."""
    for name, parameter in model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            return name
    return None


def _answer(
    sampler: Sampler,
    model: PreTrainedModel,
    ids: list[list[int]],
    reference: PreTrainedModel,
    reward_model: RewardModel,
    rollout: RolloutConfig,
) -> Experience:
    """One answer to each prompt, drawn with the same seeds for both versions, scored."""
    return gather(
        sampler.sample(ids, seed=7),
        policy=model,
        reference=reference,
        critic=None,
        reward_model=reward_model,
        temperature=rollout.temperature,
        max_tokens=MAX_TOKENS,
        device=default_device(),
    )


@torch.no_grad()
def _perplexity(model: PreTrainedModel, ids: list[int]) -> float:
    """Of plain text, each token given those before it."""
    batch = pad_right([ids], 0, model.device)
    with autocast(model.device, "bf16"):
        logits = model(**batch.inputs()).logits[0, :-1].float()
    loss = torch.nn.functional.cross_entropy(logits, batch.input_ids[0, 1:])
    return math.exp(min(20.0, float(loss)))


def _fingerprint(sampler: Sampler, tokenizer: PreTrainedTokenizerBase, prompt: str) -> Fingerprint:
    ids = prompt_ids(tokenizer, [ChatTurn(role="user", content=prompt)], 10_000)
    said = sampler.sample([ids], seed=0, greedy=True, max_new_tokens=FINGERPRINT_TOKENS)[0]
    return Fingerprint(prompt=prompt, token_ids=tuple(said.response_ids))


def written(out: Path, checks: Sequence[GateCheck], fingerprints: tuple[Fingerprint, ...] = ()) -> GateReport:
    """The report of these checks, as it is at `out` now."""
    passed = all(check.passed for check in checks)
    report = GateReport(passed=passed, checks=tuple(checks), fingerprints=fingerprints)
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = out.with_suffix(".tmp")
    aside.write_text(json.dumps(report.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")
    aside.replace(out)
    return report
