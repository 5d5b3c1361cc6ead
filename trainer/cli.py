"""Command line: one command a stage.

A program that reads stdout gets JSON lines; a person at a terminal gets a progress bar and a report in words.
torch is imported after the arguments are parsed, so `--help` is instant.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from trainer import stages
from trainer.config_file import load_config
from trainer.errors import Cancelled, NobodyReads, TrainerError
from trainer.heap import keep_freed_memory
from trainer.json_lines import JsonLines, listened_to, take_stdout
from trainer.reporting import EXIT_CANCELLED, EXIT_DONE, EXIT_ERROR, EXIT_UNREAD, Reporter, cancel_on_signal
from trainer.settings_help import settings_help

GRACE_S = 5.0

SEVERAL_PROCESSES = ("reward", "ppo")
"""What a launcher may start in several processes."""


class UsageError(TrainerError):
    """The arguments do not fit the command."""


WORKFLOW = r"""
a loop by hand:
  python -m trainer base --out base
  python -m trainer seeds --policy base --out seeds.jsonl
  python -m trainer reward --policy base --seed-pairs seeds.jsonl --out reward \
      --pairs train.jsonl --held-out held_out.jsonl
  python -m trainer reward_gate --policy base --reward-model reward \
      --prompts held_out_prompts.jsonl --out reward/gate.json
  python -m trainer ppo --policy base --reference base --reward-model reward \
      --prompts prompts.jsonl --work work --out candidate
  python -m trainer gate --candidate candidate --active base --reference base \
      --reward-model reward --prompts held_out_prompts.jsonl --out gate.json

COMMAND --help has the settings that the command reads. At a terminal a command
shows its progress; for a program that reads its stdout it prints one JSON
object a line. Ctrl-C stops it and leaves nothing half done; sft, reward and
ppo go on from the newest checkpoint in --work when they are called again.
"""
FOLDERS = {
    "--policy": "folder of the policy to start from",
    "--reference": "folder of the policy that the KL divergence is measured from, mostly the base policy",
    "--reward-model": "folder that `reward` wrote",
    "--prompts": 'JSON lines, each {"prompt": [{"role": "user", "content": "..."}]}',
    "--texts": "texts to imitate, JSON lines as in docs/sft.md",
    "--pairs": "preference pairs to learn from, JSON lines as in docs/reward_model.md",
    "--held-out": "pairs of other conversations, to judge by",
    "--candidate": "folder of the policy that is judged",
    "--active": "folder of the policy that serves now",
    "--work": "folder for checkpoints, report and TensorBoard files; the same call goes on from there",
    "--out": "new folder for what is made; nothing is overwritten",
}
"""What stands in each option that every command spells alike."""
CHECKPOINTS = "folder for checkpoints; the same call goes on from there; default: none are written"


class Parser(argparse.ArgumentParser):
    """An argparse parser whose errors become the error event, and whose help has the command's settings."""

    def format_help(self) -> str:
        width = shutil.get_terminal_size().columns - 2
        settings = settings_help(self.prog.split()[-1], width)
        return super().format_help() + (f"\n{settings}" if settings else "")

    def print_help(self, file: Any = None) -> None:
        with listened_to(sys.stdout):
            print(self.format_help(), end="", file=file, flush=True)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message}. See {self.prog} --help.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns 0 done, 1 failed, 130 cancelled by SIGTERM, 141 as nobody reads stdout."""
    try:
        return _run(arguments)
    except NobodyReads:
        if not sys.stderr.isatty():  # a stage's log; a person closed it, as with `| head`
            sys.stderr.write("stopped: whoever read stdout has closed it\n")
        return EXIT_UNREAD


def _run(arguments: Sequence[str] | None) -> int:
    try:
        options = build_parser().parse_args(arguments)
    except UsageError as error:
        make_reporter("python -m trainer").error(str(error))
        return EXIT_ERROR
    reporter = make_reporter(options.command)
    cancel_on_signal(reporter)
    try:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1 and options.command not in SEVERAL_PROCESSES:
            raise UsageError("only reward and ppo run on several processes; start this one alone.")
        config = load_config(options.config, tuple(options.set))
        _prepare_environment()
        keep_freed_memory()
        reporter.done(options.run(options, config, reporter))
        return EXIT_DONE
    except Cancelled:
        reporter.stopped()
        return EXIT_CANCELLED
    except TrainerError as error:
        reporter.error(str(error))
    except Exception as error:
        # The whole trace goes to stderr, which the worker keeps as the stage's log.
        traceback.print_exc()
        if reporter.cancelled and not reporter.cancels_at_once:
            reporter.stopped()  # another process went first and left this one without its answer
        else:
            reporter.error(f"{type(error).__name__}: {error}. The trace is on stderr, the stage's log.")
    finally:
        reporter.close()
    return EXIT_CANCELLED if reporter.cancelled else EXIT_ERROR


def make_reporter(command: str) -> Reporter:
    """JSON lines for a program that reads stdout; for a person, what a terminal shows. Both when both look.

    Takes stdout: what else is printed there goes to stderr from now on.
    """
    watched = sys.stderr.isatty(), sys.stdout.isatty()
    stdout = take_stdout()
    reporter = _reporter_of_this_process()
    if not watched[1]:
        reporter.add(JsonLines(stdout))
    if any(watched):
        from trainer.terminal import Terminal

        bar = sys.stderr if watched[0] else stdout
        reporter.add(Terminal(command, bar, stdout if watched[1] else None))
    return reporter


def _reporter_of_this_process() -> Reporter:
    """Of the processes that torchrun or `deepspeed` started, the first one reports."""
    first = os.environ.get("RANK", "0") == "0"
    reporter = Reporter(first=first)
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
    parser = Parser(
        prog="python -m trainer",
        description="Heed's trainer: folders in, folders out.",
        epilog=WORKFLOW,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    # The `deepspeed` launcher gives it to every process; the environment says the same.
    parser.add_argument("--local_rank", help=argparse.SUPPRESS)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    _base(commands)

    sft = _command(commands, "sft", stages.sft, "teach a policy to imitate conversations")
    _folders(sft, "--policy", "--texts", "--out")
    sft.add_argument("--held-out", type=Path, help="texts to judge by; default: a share of --texts")
    sft.add_argument("--work", type=Path, help=CHECKPOINTS)

    seeds = _command(commands, "seeds", stages.seeds, "write contrast pairs from the bundled prompts")
    _folders(seeds, "--policy")
    seeds.add_argument("--out", type=Path, required=True, help="file for the pairs, JSON lines")

    cross_fit = _command(
        commands, "cross_fit", stages.cross_fit, "predict each annotator's votes by everybody else's"
    )
    _folders(cross_fit, "--policy")
    cross_fit.add_argument("--data", type=Path, required=True, help="a run's frozen data set")
    cross_fit.add_argument(
        "--out", type=Path, required=True, help="file for how far each vote's answer is ahead, JSON"
    )

    reward = _command(commands, "reward", stages.reward, "train a reward model from preference pairs")
    _folders(reward, "--policy", "--pairs", "--held-out", "--out")
    reward.add_argument("--seed-pairs", type=Path, help="contrast pairs to mix in, as `seeds` writes them")
    reward.add_argument(
        "--previous", type=Path, help="the reward model before this one, judged on the new votes"
    )
    reward.add_argument("--work", type=Path, help=CHECKPOINTS)
    reward.add_argument("--tensorboard", type=Path, metavar="FOLDER", help="folder for TensorBoard files")

    ppo = _command(commands, "ppo", stages.ppo, "train a candidate policy with PPO-max")
    _folders(ppo, "--policy", "--reference", "--reward-model", "--prompts", "--work", "--out")
    ppo.add_argument(
        "--ptx",
        type=Path,
        help="texts that ppo.ptx_coef keeps the policy good at: JSON lines, plain texts or a pairs file",
    )
    ppo.add_argument(
        "--tensorboard",
        type=Path,
        metavar="FOLDER",
        help="folder for TensorBoard files; default: tensorboard in the folder of --work",
    )

    plan = _command(commands, "plan", stages.plan, "say how much memory `reward` and `ppo` would take")
    _folders(plan, "--policy")
    plan.add_argument("--processes", type=int, default=1, help="of the training; default: 1")

    _command(commands, "settings", stages.settings, "say every setting as a training would have it")
    _gates(commands)

    evaluate = _command(
        commands, "evaluate", stages.evaluate, "compare policies: win, tie, lose, and lost skill"
    )
    evaluate.add_argument(
        "--policy", type=_named, action="append", required=True, metavar="NAME=FOLDER",
        help="once for each policy; the first is the baseline",
    )  # fmt: skip
    evaluate.add_argument(
        "--answers", type=_named, action="append", default=[], metavar="NAME=FILE",
        help="answers of another model to the same prompts, as an evaluation writes them",
    )  # fmt: skip
    _folders(evaluate, "--prompts", "--out")
    evaluate.add_argument(
        "--judge", required=True, help="a reward model's folder or an OpenAI-compatible URL"
    )
    evaluate.add_argument("--judge-model", help="its name there; the key is read from HEED_JUDGE_KEY")
    evaluate.add_argument(
        "--tie-margin", type=float, default=0.2,
        help="scores of a reward model that are this near are a tie; default: 0.2, a chance of 55 %%",
    )  # fmt: skip
    evaluate.add_argument(
        "--reward-model", type=Path, help="what the policies were trained on, to show its score"
    )
    evaluate.add_argument("--human", type=Path, help="pairs that people judged, to test the judge")
    evaluate.add_argument("--greedy", action="store_true", help="the likeliest answers; default: drawn ones")
    evaluate.add_argument("--seed", type=int, default=0, help="of the draws and the intervals; default: 0")

    _score(commands)
    _asking(commands)
    _reproduce(commands)
    return parser


def _score(commands: Any) -> None:
    score = _command(commands, "score", stages.score, "score answers with a reward model")
    _folders(score, "--reward-model")
    score.add_argument(
        "--cases", type=Path, required=True,
        help='JSON lines, each {"id", "prompt": [...], "answers": [{"text", "ended"}]}',
    )  # fmt: skip
    score.add_argument("--out", type=Path, required=True, help='file for the scores, {"id", "scores"} a line')


def _asking(commands: Any) -> None:
    ask = _command(commands, "ask", stages.ask, "draw and score answers that people could be asked about")
    _folders(ask, "--policy", "--reward-model", "--prompts")
    ask.add_argument("--previous", type=Path, help="the reward model before this one")
    ask.add_argument("--held-back", type=Path, help="a reward model that learned from other votes")
    ask.add_argument("--answers", type=int, default=4, help="to each prompt; default: 4")
    ask.add_argument("--version", type=int, default=0, help="of the policy, kept with its answers")
    ask.add_argument("--out", type=Path, required=True, help="file for the answers, JSON lines")


def _reproduce(commands: Any) -> None:
    reproduce = _command(
        commands, "reproduce", stages.reproduce, "show the paper's findings on a toy language"
    )
    _folders(reproduce, "--out")
    reproduce.add_argument("--rows", default="", help="findings, separated by commas; default: all")
    reproduce.add_argument("--seeds", type=int, default=3, help="runs of each setting; default: 3")


def _base(commands: Any) -> None:
    base = _command(commands, "base", stages.base, "write the base policy's folder")
    base.add_argument("--model", help="Hugging Face id or folder; default: the bundled SmolLM2-135M-Instruct")
    _folders(base, "--out")


def _command(commands: Any, name: str, run: stages.Stage, summary: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=summary)
    command.add_argument("--config", type=Path, help="TOML file; default: the values in trainer/config.py")
    command.add_argument(
        "--set", action="append", default=[], metavar="SECTION.FIELD=VALUE", help="overrides one setting"
    )
    command.set_defaults(run=run, command=name)
    return command


def _folders(command: argparse.ArgumentParser, *names: str) -> None:
    for name in names:
        command.add_argument(name, type=Path, required=True, help=FOLDERS.get(name))


def _gates(commands: Any) -> None:
    """What stands before PPO and what stands after it."""
    reward_gate = _command(
        commands, "reward_gate", stages.reward_gate, "judge a reward model before a policy is trained on it"
    )
    _folders(reward_gate, "--policy", "--reward-model", "--prompts")
    reward_gate.add_argument("--out", type=Path, required=True, help="file for the report, JSON")

    gate = _command(commands, "gate", stages.gate, "judge a candidate policy against the active one")
    _folders(gate, "--candidate", "--active", "--reference", "--reward-model", "--prompts")
    gate.add_argument("--out", type=Path, required=True, help="file for the report, JSON")


def _named(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not (equals and path and re.fullmatch(r"[\w.-]+", name)):
        raise argparse.ArgumentTypeError(f"write NAME=PATH, the name of letters, digits, - . _, not {text}")
    return name, Path(path)


def _prepare_environment() -> None:
    """Environment that libraries read when they are imported, unless it is set already."""
    # Waiting OpenMP threads sleep instead of spinning: beside an engine on the same cores, spinning threads
    # took a small training step from 0.04 s to 1.8 s.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
