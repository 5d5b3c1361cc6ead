"""The gate: may this candidate serve? Every check with its value, its threshold and the reason in words."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import PreTrainedModel

from store.records import ChatTurn, Fingerprint, GateCheck, GateReport
from trainer.config import GateConfig, RolloutConfig
from trainer.data import Prompt, load_tokenizer, pad_right, prompt_ids
from trainer.errors import DataError
from trainer.experience import Experience, gather
from trainer.gate_samples import answer_samples, write_samples
from trainer.intervals import wilson
from trainer.models import RewardModel, autocast, default_device, load_policy, load_reward_model
from trainer.monitor import action_space
from trainer.reporting import Reporter
from trainer.rollout import Sampler, make_sampler

SKILL_TEXT = Path(__file__).with_name("skill.txt")
FINGERPRINT_PROMPTS = (
    "What is two plus two?",
    "Name three colours.",
    "Write one sentence about the sea.",
    "Is the sun a star?",
)
FINGERPRINT_TOKENS = 16
MAX_TOKENS = 4096
NOT_A_NUMBER = 1e9
"""What a report shows for NaN or infinity, on the failing side: JSON has neither."""


def judge(
    *,
    candidate: Path,
    active: Path,
    reference: Path,
    reward_model: Path,
    prompts: Sequence[Prompt],
    out: Path,
    config: GateConfig,
    rollout: RolloutConfig,
    reporter: Reporter,
) -> GateReport:
    """Let candidate and active version answer the same held-out prompts; write the report to `out`.

    What both say to the fixed prompts is written beside it, to `samples.json`.

    Raises DataError when no prompt fits.
    """
    skill = load_tokenizer(active).encode(SKILL_TEXT.read_text(encoding="utf-8"))
    ids = _fitting(active, prompts[: config.max_prompts], rollout.max_prompt_tokens)
    device = default_device()
    folders = {"active": active, "candidate": candidate}
    models = {name: load_policy(folder, device) for name, folder in folders.items()}
    if damaged := _damaged(models["candidate"]):
        return _written(out, [_finite_check(damaged)], ())
    judges = load_policy(reference, device), load_reward_model(reward_model, device)
    sampler = make_sampler(active, rollout)
    answers: dict[str, Experience] = {}
    perplexity: dict[str, float] = {}
    samples: dict[str, list[str]] = {}
    for step, (name, model) in enumerate(models.items(), start=1):
        sampler.update(model.state_dict().items())
        answers[name] = _answer(sampler, model, ids, *judges, rollout)
        perplexity[name] = _perplexity(model, skill)
        samples[name] = answer_samples(sampler, active)
        metrics = action_space(answers[name]) | {"text_perplexity": perplexity[name]}
        reporter.metric(step, len(models), metrics)
    write_samples(out.with_name("samples.json"), samples)
    fingerprints = tuple(_fingerprint(sampler, active, prompt) for prompt in FINGERPRINT_PROMPTS)
    checks = [
        _finite_check(None),
        _win_check(answers["candidate"].scores, answers["active"].scores, config),
        *_drift_checks(answers["candidate"], answers["active"], config),
        _most(
            "language_skill", perplexity["candidate"] / perplexity["active"], config.max_perplexity_ratio,
            "times the active version's perplexity on plain text",
        ),
    ]  # fmt: skip
    return _written(out, checks, fingerprints)


def _win_check(candidate: torch.Tensor, active: torch.Tensor, config: GateConfig) -> GateCheck:
    wins = float((candidate > active).float().sum() + 0.5 * (candidate == active).float().sum())
    n = len(candidate)
    low, high = wilson(wins, n)
    interval = f"95 % interval {low:.2f} to {high:.2f}"
    reason = f"scores above the active version on {wins:g} of {n} prompts ({interval})"
    return GateCheck(
        name="win_share",
        value=wins / n,
        threshold=config.min_win_share,
        passed=wins / n >= config.min_win_share,
        reason=reason,
    )


def _drift_checks(candidate: Experience, active: Experience, config: GateConfig) -> list[GateCheck]:
    new, old = action_space(candidate), action_space(active)
    length = new["response_length_mean"] / old["response_length_mean"]
    truncated = max(0.0, new["truncated_share"] - old["truncated_share"])
    return [
        _most("kl", new["ref_kl"], config.max_kl, "nats per answer away from the reference"),
        _most(
            "perplexity", new["ref_perplexity"] / old["ref_perplexity"], config.max_answer_perplexity_ratio,
            "times the surprise of the active version's answers to the reference",
        ),
        _most("repeats", new["repeat_share"], config.max_repeat_share, "of an answer's 4-grams said before"),
        _most(
            "truncated", truncated, config.max_truncated_share,
            "more answers run into the length limit than before",
        ),
        _most("length", length, config.max_length_ratio, "times as long as the active version's answers"),
        _least("shortness", length, config.min_length_ratio, "times as long as the active version's answers"),
        _least(
            "entropy", new["entropy"] / max(old["entropy"], 1e-6), config.min_entropy_ratio,
            "times the active version's entropy",
        ),
    ]  # fmt: skip


def _most(name: str, value: float, threshold: float, said: str) -> GateCheck:
    value = value if math.isfinite(value) else NOT_A_NUMBER
    reason = f"{value:.3g} {said}, at most {threshold:g}"
    return GateCheck(name=name, value=value, threshold=threshold, passed=value <= threshold, reason=reason)


def _least(name: str, value: float, threshold: float, said: str) -> GateCheck:
    value = value if math.isfinite(value) else -NOT_A_NUMBER
    reason = f"{value:.3g} {said}, at least {threshold:g}"
    return GateCheck(name=name, value=value, threshold=threshold, passed=value >= threshold, reason=reason)


def _damaged(model: PreTrainedModel) -> str | None:
    """Name of a weight that is not finite."""
    for name, parameter in model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            return name
    return None


def _finite_check(damaged: str | None) -> GateCheck:
    reason = f"{damaged} holds NaN or infinity" if damaged else "every weight is a number"
    passed = damaged is None
    return GateCheck(name="finite_weights", value=float(passed), threshold=1.0, passed=passed, reason=reason)


def _fitting(policy: Path, prompts: Sequence[Prompt], limit: int) -> list[list[int]]:
    tokenizer = load_tokenizer(policy)
    ids = []
    for prompt in prompts:
        try:
            ids.append(prompt_ids(tokenizer, prompt, limit))
        except DataError:
            continue
    if not ids:
        raise DataError(f"no held-out prompt fits into rollout.max_prompt_tokens = {limit}; raise it.")
    return ids


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


def _fingerprint(sampler: Sampler, policy: Path, prompt: str) -> Fingerprint:
    ids = prompt_ids(load_tokenizer(policy), [ChatTurn(role="user", content=prompt)], 10_000)
    said = sampler.sample([ids], seed=0, greedy=True, max_new_tokens=FINGERPRINT_TOKENS)[0]
    return Fingerprint(prompt=prompt, token_ids=tuple(said.response_ids))


def _written(out: Path, checks: list[GateCheck], fingerprints: tuple[Fingerprint, ...]) -> GateReport:
    passed = all(check.passed for check in checks)
    report = GateReport(passed=passed, checks=tuple(checks), fingerprints=fingerprints)
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = out.with_suffix(".tmp")
    aside.write_text(json.dumps(report.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")
    aside.replace(out)
    return report
