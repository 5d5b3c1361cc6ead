"""Command line: `base`, `seeds`, `reward`, `ppo`, `gate`, `reproduce`; JSON lines out, one stage each.

torch is imported after the arguments are parsed, so `--help` is instant.
"""

from __future__ import annotations

import argparse
import os
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from trainer.config import TrainerConfig, load_config
from trainer.errors import Cancelled, TrainerError
from trainer.reporting import (
    EXIT_CANCELLED,
    EXIT_DONE,
    EXIT_ERROR,
    Reporter,
    cancel_on_sigterm,
    take_stdout,
)

GRACE_S = 5.0

Command = Callable[[argparse.Namespace, TrainerConfig, Reporter], dict[str, Any]]


class UsageError(TrainerError):
    """The arguments do not fit the command."""


class Parser(argparse.ArgumentParser):
    """An argparse parser whose errors become the error event instead of an exit."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message}. See {self.prog} --help.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns 0 done, 1 failed, 130 cancelled by SIGTERM."""
    try:
        options = build_parser().parse_args(arguments)
    except UsageError as error:
        _reporter().error(str(error))
        return EXIT_ERROR
    reporter = _reporter()
    cancel_on_sigterm(reporter)
    try:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1 and options.run not in (_reward, _ppo):
            raise UsageError("only reward and ppo run on several processes; start this one alone.")
        config = load_config(options.config, tuple(options.set))
        _prepare_environment()
        reporter.done(options.run(options, config, reporter))
        return EXIT_DONE
    except Cancelled:
        reporter.stopped()
        return EXIT_CANCELLED
    except TrainerError as error:
        reporter.error(str(error))
    except BrokenPipeError:
        traceback.print_exc()  # the parent is gone: there is nobody to tell but the log
    except Exception as error:
        # The whole trace goes to stderr, which the worker keeps as the stage's log.
        traceback.print_exc()
        if reporter.cancelled and not reporter.cancels_at_once:
            reporter.stopped()  # another process went first and left this one without its answer
        else:
            reporter.error(f"{type(error).__name__}: {error}. The trace is in the stage's log.")
    return EXIT_CANCELLED if reporter.cancelled else EXIT_ERROR


def _reporter() -> Reporter:
    """Of the processes that torchrun or `deepspeed` started, the first one reports."""
    first = os.environ.get("RANK", "0") == "0"
    reporter = Reporter(take_stdout(), first=first)
    if not first:
        reporter.has_last_word = _left_to_the_first
    return reporter


def _left_to_the_first() -> bool:
    """Until the processes are joined, all have the same trouble. The launcher ends the rest when one leaves,
    so the first must have told it by then."""
    time.sleep(GRACE_S)
    return False


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = Parser(prog="python -m trainer", description="Heed's trainer: folders in, folders out.")
    # The `deepspeed` launcher gives it to every process; the environment says the same.
    parser.add_argument("--local_rank", help=argparse.SUPPRESS)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    base = _command(commands, "base", _base, "write the base policy's folder")
    base.add_argument("--model", help="Hugging Face id or folder; default: the bundled SmolLM2-135M-Instruct")
    _folders(base, "--out")

    seeds = _command(commands, "seeds", _seeds, "write contrast pairs from the bundled prompts")
    _folders(seeds, "--policy", "--out")

    reward = _command(commands, "reward", _reward, "train a reward model from preference pairs")
    _folders(reward, "--policy", "--pairs", "--held-out", "--out")
    reward.add_argument("--seed-pairs", type=Path, help="contrast pairs to mix in, as `seeds` writes them")
    reward.add_argument(
        "--previous", type=Path, help="the reward model before this one, judged on the new votes"
    )

    ppo = _command(commands, "ppo", _ppo, "train a candidate policy with PPO-max")
    _folders(ppo, "--policy", "--reference", "--reward-model", "--prompts", "--work", "--out")
    ppo.add_argument(
        "--ptx",
        type=Path,
        help="texts that ppo.ptx_coef keeps the policy good at: JSON lines, plain texts or a pairs file",
    )

    gate = _command(commands, "gate", _gate, "judge a candidate policy against the active one")
    _folders(gate, "--candidate", "--active", "--reference", "--reward-model", "--prompts", "--out")

    reproduce = _command(commands, "reproduce", _reproduce, "show the paper's findings on a toy language")
    _folders(reproduce, "--out")
    reproduce.add_argument("--rows", default="", help="findings, separated by commas; default: all")
    reproduce.add_argument("--seeds", type=int, default=3, help="runs of each setting; default: 3")
    return parser


def _command(commands: Any, name: str, run: Command, summary: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=summary)
    command.add_argument("--config", type=Path, help="TOML file; default: the values in trainer/config.py")
    command.add_argument(
        "--set", action="append", default=[], metavar="SECTION.FIELD=VALUE", help="overrides one setting"
    )
    command.set_defaults(run=run)
    return command


def _folders(command: argparse.ArgumentParser, *names: str) -> None:
    for name in names:
        command.add_argument(name, type=Path, required=True)


def _prepare_environment() -> None:
    """Environment that libraries read when they are imported, unless it is set already."""
    # Waiting OpenMP threads sleep instead of spinning: beside an engine on the same cores, spinning threads
    # took a small training step from 0.04 s to 1.8 s.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def _base(options: argparse.Namespace, config: TrainerConfig, reporter: Reporter) -> dict[str, Any]:
    from trainer.base import make_base

    return {"folder": str(make_base(options.out, options.model, reporter))}


def _seeds(options: argparse.Namespace, config: TrainerConfig, reporter: Reporter) -> dict[str, Any]:
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


def _reward(options: argparse.Namespace, config: TrainerConfig, reporter: Reporter) -> dict[str, Any]:
    from trainer.pairs import read_pairs
    from trainer.reward import train_reward_model

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
    )
    return report.model_dump(mode="json")


def _ppo(options: argparse.Namespace, config: TrainerConfig, reporter: Reporter) -> dict[str, Any]:
    from trainer.data import read_prompts
    from trainer.ppo import train_policy

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


def _gate(options: argparse.Namespace, config: TrainerConfig, reporter: Reporter) -> dict[str, Any]:
    from trainer.data import read_prompts
    from trainer.gate import judge

    report = judge(
        candidate=options.candidate,
        active=options.active,
        reference=options.reference,
        reward_model=options.reward_model,
        prompts=read_prompts(options.prompts),
        out=options.out,
        config=config.gate,
        rollout=config.rollout,
        reporter=reporter,
    )
    return report.model_dump(mode="json")


def _reproduce(options: argparse.Namespace, config: TrainerConfig, reporter: Reporter) -> dict[str, Any]:
    from trainer.reproduce.command import reproduce

    rows = [row.strip() for row in options.rows.split(",") if row.strip()]
    return reproduce(options.out, rows, options.seeds, reporter)
