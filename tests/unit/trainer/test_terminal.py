"""Terminal: a person sees a bar, answers and a report; a program that reads stdout sees JSON lines only."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from trainer.reporting import Reporter
from trainer.terminal import SHOWN, Terminal, bar_text, sample_text, summary_text

STAGE = """
import os, sys
from trainer import cli, stages
def gate(options, config, reporter):
    reporter.log("loading")
    for step in range(1, 4):
        reporter.log(f"line {step}")
        reporter.metric(step, 3, {"ref_kl": 1.23456 * step, "text_perplexity": 20.5, "unshown": 9.0})
    print("noise of a library")
    if os.environ.get("FAIL"):
        raise cli.TrainerError("out of luck")
    return {"passed": True, "checks": [{"name": "win_share", "value": 0.625}]}
stages.gate = gate
sys.exit(cli.main(["gate"] + [word for name in
    ("candidate", "active", "reference", "reward-model", "prompts", "out") for word in ("--" + name, "x")]))
"""


def watch(*, stdout: bool, stderr: bool, interrupt: bool = False, **environment: str) -> tuple[str, str, int]:
    """Runs STAGE with the named streams on a terminal of 100 columns: what it shows, stdout, exit code."""
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    code = STAGE.replace('print("noise', 'os.kill(os.getpid(), 2)\n    print("noise') if interrupt else STAGE
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.DEVNULL,
        stdout=child if stdout else subprocess.PIPE,
        stderr=child if stderr else subprocess.DEVNULL,
        env=os.environ | environment,
    ) as process:
        os.close(child)
        shown = b""
        try:
            while block := os.read(parent, 65536):
                shown += block
        except OSError:  # Linux says so when the other end is closed
            pass
        os.close(parent)
        piped = process.stdout.read().decode() if process.stdout else ""
    return shown.decode(), piped, process.returncode


def test_a_person_sees_a_bar_the_log_above_it_and_the_report_in_words() -> None:
    shown, _, status = watch(stdout=True, stderr=True)

    assert status == 0
    assert '"event"' not in shown
    assert [line for line in shown.replace("\r", "\n").splitlines() if line.startswith("line")] == [
        "line 1", "line 2", "line 3",
    ]  # fmt: skip
    assert "gate 3/3 |█" in shown
    assert ", KL 3.7 perplexity 20" in shown
    assert "unshown" not in shown
    assert " ".join(shown[shown.index("gate is done.") :].split()) == (
        "gate is done. passed yes checks name win_share, value 0.625"
    )


def test_with_stdout_in_a_pipe_the_bar_stays_and_the_pipe_has_json_lines_only() -> None:
    shown, piped, status = watch(stdout=False, stderr=True)

    events = [json.loads(line) for line in piped.splitlines()]
    assert status == 0
    assert [event["event"] for event in events] == ["log", *["log", "metric"] * 3, "done"]
    assert events[2]["values"] == {"ref_kl": 1.23456, "text_perplexity": 20.5, "unshown": 9.0}
    assert "gate 3/3 |█" in shown
    assert "gate is done" not in shown


def test_with_stderr_in_a_file_the_terminal_of_stdout_shows_it_all() -> None:
    shown, _, status = watch(stdout=True, stderr=False)

    assert status == 0
    assert "gate 3/3 |█" in shown
    assert "gate is done." in shown
    assert "noise" not in shown


def test_an_error_is_a_line_and_not_a_trace() -> None:
    shown, _, status = watch(stdout=True, stderr=True, FAIL="1")

    assert status == 1
    assert "error: out of luck" in shown
    assert "Traceback" not in shown


def test_ctrl_c_cancels_as_sigterm_does() -> None:
    shown, _, status = watch(stdout=True, stderr=True, interrupt=True)

    assert status == 130
    assert "cancelled" in shown
    assert "Traceback" not in shown


def test_a_second_ctrl_c_is_pythons_own() -> None:
    code = (
        "import os, signal\nfrom trainer.reporting import *\nreporter = Reporter()\n"
        "cancel_on_signal(reporter)\nreporter.cancels_at_once = False\n"
        "os.kill(os.getpid(), signal.SIGINT)\nprint(reporter.cancelled, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGINT)\nprint('not reached')"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert result.stdout == "True\n"
    assert result.returncode == -signal.SIGINT


def test_the_bar_of_a_resumed_training_starts_where_it_goes_on() -> None:
    stream = io.StringIO()
    terminal = Terminal("ppo", stream, None)
    terminal.metric(11, 16, {"reward_mean": 0.5})
    terminal.close()

    assert re.search(r"ppo 11/16 \|.*\| 00:\d\d<\?, reward 0\.5", stream.getvalue())


def test_ppos_metrics_that_matter_fit_beside_the_bar() -> None:
    values = {
        "reward_mean": -0.41234, "ref_kl": 12.345, "response_length_mean": 84.25,
        "explained_variance": 0.4312, "samples_per_second": 2.313,
    }  # fmt: skip
    assert bar_text("ppo", values) == "reward -0.41 KL 12 length 84 EV 0.43 samples/s 2.3"
    assert bar_text("ppo", {"response_length_mean": 1234.5}) == "length 1234"
    assert bar_text("ppo", {"ref_kl": 1.0}) == "KL 1"
    assert bar_text("base", values) == ""


def test_an_answer_is_shown_in_two_lines() -> None:
    sample = {"update": 3, "prompt": "Name\na fruit.", "answer": "Plum. " * 40, "score": 0.5}

    first, second = sample_text(sample).splitlines()

    assert first == "update 3, score 0.5: Name a fruit."
    assert second.startswith("  -> Plum. Plum.")
    assert len(second) == len("  -> ") + 100 + len("…")


def test_a_report_is_one_number_a_line_without_its_histograms() -> None:
    report = {
        "steps": 12, "train_loss": 0.693147, "prequential": None, "shared_prompts": False,
        "held_out": {"accuracy": 0.7, "margins": {"counts": list(range(20))}}, "edges": [0.5, 1.0],
    }  # fmt: skip

    assert summary_text(report) == (
        "  steps              12\n"
        "  train_loss         0.6931\n"
        "  prequential        -\n"
        "  shared_prompts     no\n"
        "  held_out.accuracy  0.7\n"
        "  edges              0.5, 1"
    )


def test_only_the_first_process_speaks_and_any_may_have_the_last_word(tmp_path: Path) -> None:
    stream = io.StringIO()
    second = Reporter(Terminal("ppo", stream, None), first=False)
    second.log("hello")
    second.metric(1, 2, {"reward_mean": 1.0})
    second.error("gone")
    assert stream.getvalue() == ""

    second.has_last_word = lambda: True
    second.error("gone")
    assert stream.getvalue() == "error: gone\n"


@pytest.mark.parametrize("stage", SHOWN)
def test_no_short_name_is_given_twice(stage: str) -> None:
    assert len(set(SHOWN[stage].values())) == len(SHOWN[stage])
