"""PPO-max: train a policy against a reward model (section 5.4 of arXiv 2307.04964)."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from trainer.backend import bf16_copy
from trainer.checkpoint import load_checkpoint, save_checkpoint
from trainer.config import GroupsConfig, PPOConfig, RolloutConfig, ScaleConfig
from trainer.data import Prompt, load_tokenizer, prompt_ids
from trainer.errors import ConfigError, DataError, ModelError
from trainer.experience import Experience, gather
from trainer.fixed import FixedPrompts
from trainer.learner import Learner, make_learner
from trainer.models import save_policy
from trainer.monitor import CollapseAlarm, action_space
from trainer.policy_card import curve_row, policy_card
from trainer.ptx import read_texts
from trainer.ranks import processes
from trainer.reporting import SAMPLE, Reporter
from trainer.rollout import Rollout, Sampler, check_rollouts
from trainer.samplers import make_sampler
from trainer.update import learn

SAMPLE_CHARACTERS = 300


class Question(NamedTuple):
    """A prompt as the policy reads it, and what the user said last, for people."""

    ids: list[int]
    text: str


class Kept(NamedTuple):
    """The newest weights that showed no sign of collapse."""

    update: int
    """Updates that made them."""
    weights: dict[str, Tensor]
    """bf16 on the CPU of the first rank, as they would be served."""


def train_policy(
    *,
    policy: Path,
    reference: Path,
    reward_model: Path,
    prompts: Sequence[Prompt],
    work: Path,
    out: Path,
    config: PPOConfig,
    rollout: RolloutConfig,
    reporter: Reporter,
    groups: GroupsConfig = GroupsConfig(),  # noqa: B008 - immutable
    ptx: Path | None = None,
    scale: ScaleConfig = ScaleConfig(),  # noqa: B008 - immutable
) -> dict[str, Any]:
    """Train from `policy` against `reward_model`, held near `reference`; write the candidate to `out`.

    `ptx` is the file of texts for PPO-ptx. Resumes from the newest checkpoint in `work`. A training that
    collapses is stopped, and the candidate has the last weights before the collapse. Returns the report, also
    in `work/report.json`. Of several processes each makes this call; the first one writes.

    Raises:
        DataError: no prompt or no text fits. ModelError: `out` exists, or the models do not go together.
        ConfigError: PPO-ptx has a weight and no `ptx`.
        DivergedError: a number became NaN. Cancelled: SIGTERM. CheckpointError: one cannot be written, or
        the newest is of a training on other processes.
    """
    began = time.monotonic()
    if out.exists():
        raise ModelError(f"{out} exists already. Give a new folder; nothing is overwritten.")
    tokenizer = load_tokenizer(policy)
    questions = _questions(tokenizer, prompts, rollout.max_prompt_tokens)
    texts = _ptx_texts(tokenizer, ptx, config, rollout, reporter)
    with processes(scale, reporter) as ranks:
        sampler = make_sampler(policy, rollout, ranks)
        fixed = FixedPrompts(tokenizer, config.fixed_every, rollout.max_prompt_tokens, reporter)
        learner = make_learner(policy, reference, reward_model, config, groups, scale, ranks)
        first, alarm, kept, curve = _begun(learner, work / "checkpoints", config, reporter)
        metrics, stopped = {}, None
        for update in range(first, config.updates):
            started = time.monotonic()
            if update > 0:
                sampler.update(learner.trained_policy.weights())
            fixed.look(sampler, update)
            drawn = _drawn(questions, update, config)
            experience = _collect(sampler, learner, drawn, update, config, rollout, reporter)
            space = action_space(experience)
            reporter.log(_sample(tokenizer, drawn[0], experience, update + 1))
            stopped = ranks.told(alarm.look(space))
            _warn(alarm, update, reporter)
            if stopped:
                reporter.log(
                    f"stopped before update {update + 1}, back to the weights after {kept.update}: {stopped}"
                )
                break
            if alarm.bad == 0:
                kept = Kept(update, bf16_copy(learner.trained_policy, ranks))
            learner.brake = alarm.brake
            metrics = space | {"alarm": alarm.level}
            metrics |= learn(learner, experience, update, config, rollout.temperature, texts)
            metrics["samples_per_second"] = len(experience) / (time.monotonic() - started)
            curve.append(curve_row(update + 1, metrics))
            reporter.metric(update + 1, config.updates, metrics)
            if config.checkpoint_every and (update + 1) % config.checkpoint_every == 0:
                _checkpoint(learner, work / "checkpoints", update + 1, alarm, kept, curve)
        if not stopped:
            fixed.end(sampler, learner.trained_policy.weights(), config.updates)
        weights = kept.weights if stopped else bf16_copy(learner.trained_policy, ranks)
        report: dict[str, Any] = metrics | {
            "updates": kept.update if stopped else config.updates,
            "seconds": time.monotonic() - began,
            **({"stopped_early": stopped} if stopped else {}),
        }
        if ranks.first:
            card = policy_card(
                report,
                curve,
                started_from=policy,
                reference=reference,
                reward_model=reward_model,
                settings={"scale": scale, "ppo": config, "rollout": rollout, "groups": groups},
            )
            save_policy(learner.policy, policy, out, weights, card=card)
            _save_report(work, report)
    return report


def _begun(
    learner: Learner, checkpoints: Path, config: PPOConfig, reporter: Reporter
) -> tuple[int, CollapseAlarm, Kept, list[dict[str, float]]]:
    """Updates done, alarm, last good weights and curve: of the newest checkpoint, or of a start."""
    found = load_checkpoint(checkpoints)
    if found is None:
        alarm = CollapseAlarm(config.kl_stop, notches=config.brake_notches)
        return 0, alarm, Kept(0, bf16_copy(learner.trained_policy, learner.ranks)), []
    if not learner.load(found.state, found.folder):
        reporter.log("the reward model is a new one: score moments and critic start again")
    reporter.log(f"resumed after update {found.done}")
    alarm = CollapseAlarm(config.kl_stop, *found.state["alarm"], notches=config.brake_notches)
    return found.done, alarm, Kept(*found.state["kept"]), found.state["curve"]


def _save_report(work: Path, report: dict[str, Any]) -> None:
    work.mkdir(parents=True, exist_ok=True)
    (work / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _questions(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt], limit: int) -> list[Question]:
    questions = []
    for prompt in prompts:
        try:
            questions.append(Question(prompt_ids(tokenizer, prompt, limit), prompt[-1].content))
        except DataError:
            continue
    if not questions:
        raise DataError(f"no prompt fits into rollout.max_prompt_tokens = {limit}; raise it.")
    return questions


def _ptx_texts(
    tokenizer: PreTrainedTokenizerBase,
    ptx: Path | None,
    config: PPOConfig,
    rollout: RolloutConfig,
    reporter: Reporter,
) -> list[Rollout]:
    if config.ptx_coef == 0:
        if ptx:
            reporter.log(f"the texts of {ptx.name} are not used: ppo.ptx_coef is 0")
        return []
    if ptx is None:
        raise ConfigError(
            f"ppo.ptx_coef is {config.ptx_coef:g} and --ptx is missing. "
            "Give a file of texts, or set ppo.ptx_coef to 0."
        )
    return read_texts(ptx, tokenizer, rollout.max_prompt_tokens + rollout.max_new_tokens)


def _drawn(questions: list[Question], update: int, config: PPOConfig) -> list[Question]:
    """The update's prompts: each one once before any comes again, in an order of its own each time round."""
    drawn: list[Question] = []
    for position in range(update * config.rollouts, (update + 1) * config.rollouts):
        lap, place = divmod(position, len(questions))
        order = list(range(len(questions)))
        random.Random(f"{config.seed}-{lap}").shuffle(order)
        drawn.append(questions[order[place]])
    return drawn


def _warn(alarm: CollapseAlarm, update: int, reporter: Reporter) -> None:
    for warning in alarm.warnings:
        reporter.log(f"warning before update {update + 1}: {warning}")


def _checkpoint(
    learner: Learner,
    folder: Path,
    updates: int,
    alarm: CollapseAlarm,
    kept: Kept,
    curve: list[dict[str, float]],
) -> None:
    """Everything that the same call needs to go on to the same numbers."""
    state = learner.state() | {"alarm": alarm.state(), "kept": list(kept), "curve": curve}
    save_checkpoint(folder, updates, state, learner.sharded(), learner.ranks)


def _collect(
    sampler: Sampler,
    learner: Learner,
    questions: list[Question],
    update: int,
    config: PPOConfig,
    rollout: RolloutConfig,
    reporter: Reporter,
) -> Experience:
    """Answers of the policy as it is now, scored and read by teacher forcing; each rank draws its share."""
    mine = learner.ranks.mine(len(questions))
    with reporter.interruptible():
        rollouts = sampler.sample(
            [questions[index].ids for index in mine], seed=config.seed * 1000 + update, first=mine.start
        )
    check_rollouts(rollouts)
    return gather(
        learner.ranks.joined(rollouts),
        policy=learner.trained_policy,
        reference=learner.reference,
        critic=learner.trained_critic,
        reward_model=learner.reward_model,
        temperature=rollout.temperature,
        max_tokens=config.micro_batch_tokens,
        device=learner.device,
        precision=learner.precision,
        flat=learner.flat,
        ranks=learner.ranks,
    )


def _sample(
    tokenizer: PreTrainedTokenizerBase, question: Question, experience: Experience, update: int
) -> str:
    """The update's first answer as a line for a person: what the numbers cannot show."""
    rollout = experience.rollouts[0]
    answer = str(tokenizer.decode(rollout.response_ids, skip_special_tokens=True))
    said = {
        "update": update,
        "prompt": question.text[:SAMPLE_CHARACTERS],
        "answer": answer[:SAMPLE_CHARACTERS],
        "tokens": len(rollout.response_ids),
        "ended": rollout.ended,
        "score": round(float(experience.scores[0]), 3),
    }
    return SAMPLE + json.dumps(said, ensure_ascii=False)
