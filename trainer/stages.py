"""Stages: what each command of the command line calls. Each returns the report of its `done` event.

Everything heavy is imported inside, so that parsing the arguments takes no time.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainer.config import TrainerConfig
from trainer.reporting import Reporter

Stage = Callable[[argparse.Namespace, TrainerConfig, Reporter], dict[str, Any]]


def base(options: argparse.Namespace, config: TrainerConfig, reporter: Reporter) -> dict[str, Any]:
    from trainer.base import make_base

    return {"folder": str(make_base(options.out, options.model, reporter))}


def sft(options: argparse.Namespace, config: TrainerConfig, reporter: Reporter) -> dict[str, Any]:
    from trainer.sft import train_sft

    report = train_sft(
        policy=options.policy,
        texts=options.texts,
        held_out=options.held_out,
        out=options.out,
        config=config.sft,
        reporter=reporter,
        work=options.work,
    )
    return report.model_dump(mode="json")


def seeds(options: argparse.Namespace, config: TrainerConfig, reporter: Reporter) -> dict[str, Any]:
    from trainer.seeds import make_seed_pairs

    return make_seed_pairs(
        policy=options.policy,
        out=options.out,
        rollout=config.rollout,
        count=config.reward.max_seed_pairs,
        answer_tokens=config.reward.seed_answer_tokens,
        seed=config.reward.seed,
        reporter=reporter,
    )


def cross_fit(options: argparse.Namespace, config: TrainerConfig, reporter: Reporter) -> dict[str, Any]:
    from trainer.cross_fit import cross_fit

    margins = cross_fit(policy=options.policy, data=options.data, config=config.reward, reporter=reporter)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(margins) + "\n", encoding="utf-8")
    return {"votes": len(margins)}


def reward(options: argparse.Namespace, config: TrainerConfig, reporter: Reporter) -> dict[str, Any]:
    from trainer.headroom import announce
    from trainer.pairs import read_pairs
    from trainer.reward import train_reward_model

    if options.tensorboard:
        _show_curves(options.tensorboard, reporter)
    announce("reward", options.policy, config, reporter)
    report = train_reward_model(
        policy=options.policy,
        pairs=read_pairs(options.pairs),
        held_out=read_pairs(options.held_out),
        seed_pairs=read_pairs(options.seed_pairs) if options.seed_pairs else [],
        out=options.out,
        config=config.reward,
        reporter=reporter,
        previous=options.previous,
        scale=config.scale,
        work=options.work,
    )
    return report.model_dump(mode="json")


def reward_gate(options: argparse.Namespace, config: TrainerConfig, reporter: Reporter) -> dict[str, Any]:
    from trainer.contenders import read_questions
    from trainer.reward_gate import judge_reward_model

    report = judge_reward_model(
        policy=options.policy,
        reward_model=options.reward_model,
        questions=read_questions(options.prompts),
        out=options.out,
        config=config.reward_gate,
        rollout=config.rollout,
        reporter=reporter,
    )
    return report.model_dump(mode="json")


def ppo(options: argparse.Namespace, config: TrainerConfig, reporter: Reporter) -> dict[str, Any]:
    from trainer.data import read_prompts
    from trainer.headroom import announce
    from trainer.ppo import train_policy

    _show_curves(options.tensorboard or options.work / "tensorboard", reporter)
    announce("ppo", options.policy, config, reporter)
    return train_policy(
        policy=options.policy,
        reference=options.reference,
        reward_model=options.reward_model,
        prompts=read_prompts(options.prompts),
        work=options.work,
        out=options.out,
        config=config.ppo,
        rollout=config.rollout,
        reporter=reporter,
        groups=config.groups,
        ptx=options.ptx,
        scale=config.scale,
    )


def plan(options: argparse.Namespace, config: TrainerConfig, reporter: Reporter) -> dict[str, Any]:
    from trainer.headroom import announce
    from trainer.memory import PLANNERS

    plans = {
        stage: announce(stage, options.policy, config, reporter, options.processes) for stage in PLANNERS
    }
    return {stage: {part.name: part.size for part in plan.parts} for stage, plan in plans.items() if plan}


def settings(options: argparse.Namespace, config: TrainerConfig, reporter: Reporter) -> dict[str, Any]:
    return config.model_dump(mode="json")


def gate(options: argparse.Namespace, config: TrainerConfig, reporter: Reporter) -> dict[str, Any]:
    from trainer.contenders import read_questions
    from trainer.gate import judge

    report = judge(
        candidate=options.candidate,
        active=options.active,
        reference=options.reference,
        reward_model=options.reward_model,
        questions=read_questions(options.prompts),
        out=options.out,
        config=config.gate,
        rollout=config.rollout,
        reporter=reporter,
    )
    return report.model_dump(mode="json")


def ask(options: argparse.Namespace, config: TrainerConfig, reporter: Reporter) -> dict[str, Any]:
    from trainer.asking import draw_and_score
    from trainer.data import read_prompts

    given = (options.reward_model, options.previous, options.held_back)
    return draw_and_score(
        policy=options.policy,
        version=options.version,
        reward_models=[folder for folder in given if folder is not None],
        prompts=read_prompts(options.prompts),
        answers=options.answers,
        out=options.out,
        rollout=config.rollout,
        reward=config.reward,
        reporter=reporter,
    )


def score(options: argparse.Namespace, config: TrainerConfig, reporter: Reporter) -> dict[str, Any]:
    from trainer.score import score_file

    return score_file(
        reward_model=options.reward_model,
        cases=options.cases,
        out=options.out,
        config=config.reward,
        reporter=reporter,
    )


def evaluate(options: argparse.Namespace, config: TrainerConfig, reporter: Reporter) -> dict[str, Any]:
    from trainer.contenders import read_questions
    from trainer.evaluation import evaluate, open_judge
    from trainer.pairs import read_pairs

    judge, reward_model = open_judge(
        options.judge, options.judge_model, options.reward_model, config.reward, options.tie_margin
    )
    report = evaluate(
        policies=options.policy,
        answers=options.answers,
        questions=read_questions(options.prompts),
        judge=judge,
        reward_model=reward_model,
        human=read_pairs(options.human) if options.human else [],
        out=options.out,
        rollout=config.rollout,
        reporter=reporter,
        greedy=options.greedy,
        seed=options.seed,
    )
    return report.model_dump(mode="json")


def reproduce(options: argparse.Namespace, config: TrainerConfig, reporter: Reporter) -> dict[str, Any]:
    from trainer.reproduce.command import reproduce

    rows = [row.strip() for row in options.rows.split(",") if row.strip()]
    return reproduce(options.out, rows, options.seeds, reporter)


def _show_curves(folder: Path, reporter: Reporter) -> None:
    from trainer.tensorboard import TensorBoard

    reporter.add(TensorBoard(folder))
