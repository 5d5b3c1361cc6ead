"""Command line: JSON lines and nothing else on stdout, exit codes, cancel by SIGTERM, no torch for --help."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from store.records import ChatTurn, PreferencePair

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
COMMANDS = (
    *("base", "sft", "seeds", "reward", "reward_gate", "ppo", "plan", "gate"),
    *("score", "ask", "evaluate", "reproduce"),
)


def run(*arguments: object, code: str | None = None) -> subprocess.CompletedProcess[str]:
    """Runs the trainer; with `code`, a script that changes it first and then calls its main."""
    start = ["-m", "trainer"] if code is None else ["-c", code]
    command = [sys.executable, *start, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=120, check=False)


def events(stdout: str) -> list[dict[str, Any]]:
    """Every line of stdout as JSON; fails on anything else."""
    return [json.loads(line) for line in stdout.splitlines()]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    chance = random.Random(0)
    lines = [
        PreferencePair(
            prompt=(ChatTurn(role="user", content="fruit?"),),
            chosen=(ChatTurn(role="assistant", content=f"plum {chance.random()}"),),
            rejected=(ChatTurn(role="assistant", content=f"rock {chance.random()}"),),
        ).model_dump_json()
        for _ in range(16)
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def reward(policy: Path, pairs: Path, out: Path, *more: object) -> list[object]:
    return ["reward", "--policy", policy, "--pairs", pairs, "--held-out", pairs, "--out", out, *more]


def test_a_real_run_reports_each_step_and_ends_with_its_report(
    tiny_policy: Path, pairs: Path, tmp_path: Path
) -> None:
    result = run(*reward(tiny_policy, pairs, tmp_path / "rm"))

    lines = events(result.stdout)
    assert result.returncode == 0
    assert [line["event"] for line in lines] == ["log", "metric", "metric", "done"]
    assert lines[0]["text"].startswith("memory of reward, full on 1 process: about ")
    assert [(line["step"], line["of"]) for line in lines[1:3]] == [(1, 2), (2, 2)]
    assert {"loss", "accuracy", "margin", "lr", "pairs_per_second"} <= lines[1]["values"].keys()
    assert lines[-1]["report"] == json.loads((tmp_path / "rm" / "report.json").read_text())


def test_a_preset_with_texts_and_groups_runs_from_the_command_line(
    tiny_policy: Path, pairs: Path, tmp_path: Path
) -> None:
    assert run(*reward(tiny_policy, pairs, tmp_path / "rm")).returncode == 0
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": [{"role": "user", "content": "fruit?"}]}\n', encoding="utf-8")
    settings = (
        "rollout.engine=transformers", "rollout.max_new_tokens=6", "ppo.preset=ppo-max-paper",
        "ppo.updates=1", "ppo.rollouts=4", "ppo.critic_pretrain_updates=0", "groups.source=learned",
    )  # fmt: skip
    arguments = [
        "ppo", "--policy", tiny_policy, "--reference", tiny_policy, "--reward-model", tmp_path / "rm",
        "--prompts", prompts, "--work", tmp_path / "work", "--out", tmp_path / "candidate",
        *(word for setting in settings for word in ("--set", setting)),
    ]  # fmt: skip

    without = run(*arguments)
    result = run(*arguments, "--ptx", pairs)

    assert "ppo.ptx_coef is 0.1 and --ptx is missing" in events(without.stdout)[-1]["message"]
    assert result.returncode == 0
    assert {"ptx_loss", "group_head_loss", "policy_loss"} <= events(result.stdout)[-1]["report"].keys()


def test_sft_makes_a_policy_from_the_command_line(tiny_policy: Path, pairs: Path, tmp_path: Path) -> None:
    result = run("sft", "--policy", tiny_policy, "--texts", pairs, "--out", tmp_path / "sft")

    *steps, done = [line for line in events(result.stdout) if line["event"] != "log"]
    assert result.returncode == 0
    # 14 of 16 texts are one step an epoch; the held-out NLL stands before the first and after the last.
    assert [(line["step"], line["of"]) for line in steps] == [(0, 2), (1, 2), (2, 2), (2, 2)]
    assert steps[0]["values"]["held_out_nll"] == done["report"]["held_out_nll_before"]
    assert steps[-1]["values"]["held_out_nll"] == done["report"]["held_out_nll"]
    assert done["report"] == json.loads((tmp_path / "sft" / "report.json").read_text())
    assert (tmp_path / "sft" / "model.safetensors").exists()


def test_the_plan_says_what_each_stage_would_take_and_trains_nothing(tiny_policy: Path) -> None:
    result = run(
        "plan", "--policy", tiny_policy, "--processes", 2,
        "--set", "scale.zero_stage=1", "--set", "rollout.engine=transformers",
    )  # fmt: skip

    ppo, reward, done = events(result.stdout)
    assert ppo["text"].startswith("memory of ppo, full, ZeRO-1 on 2 processes: about ")
    assert reward["text"].startswith("memory of reward, full, ZeRO-1 on 2 processes: about ")
    weights = (tiny_policy / "model.safetensors").stat().st_size  # in bf16, and a head that is tied
    assert weights < done["report"]["reward"]["weights"] < 2 * weights
    assert done["report"]["ppo"].keys() >= {"weights", "gradients", "optimiser", "activations", "engine"}


def test_what_libraries_print_goes_to_stderr() -> None:
    noisy = """
import os, subprocess, sys
from trainer import cli, stages
def base(options, config, reporter):
    print("noise from print")
    os.write(1, b"noise from C\\n")
    subprocess.run(["echo", "noise from a child"], check=True)
    reporter.metric(1, 1, {"loss": 0.5, "entropy": float("nan")})
    return {"ok": True}
stages.base = base
sys.exit(cli.main())
"""
    result = run("base", "--out", "x", code=noisy)

    assert result.returncode == 0
    assert events(result.stdout) == [
        {"event": "log", "text": "step 1: entropy is nan, left out"},
        {"event": "metric", "step": 1, "of": 1, "values": {"loss": 0.5}},
        {"event": "done", "report": {"ok": True}},
    ]
    for source in ("print", "C", "a child"):
        assert f"noise from {source}" in result.stderr


def test_sigterm_cancels_within_a_step_and_leaves_nothing(
    tiny_policy: Path, pairs: Path, tmp_path: Path
) -> None:
    arguments = reward(tiny_policy, pairs, tmp_path / "rm", "--set", "reward.epochs=100000")
    command = [sys.executable, "-m", "trainer", *map(str, arguments)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=ENVIRONMENT
    ) as process:
        assert process.stdout is not None
        first = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.send_signal(signal.SIGTERM)
        rest = events(process.stdout.read())

        assert process.wait(timeout=20) == 130
    assert [line["event"] for line in first] == ["log", "metric"]
    assert rest[-1] == {"event": "log", "text": "cancelled"}
    assert [line for line in rest if line["event"] in ("done", "error")] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pairs.jsonl"]


def test_sigterm_is_not_lost_where_exceptions_are_swallowed() -> None:
    swallowing = """
import os, signal, sys
from trainer import cli, stages
class Swallows:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(1000): pass
def base(options, config, reporter):
    Swallows()
    reporter.metric(1, 2, {})
    raise AssertionError("went on")
stages.base = base
sys.exit(cli.main())
"""
    result = run("base", "--out", "x", code=swallowing)

    assert result.returncode == 130
    assert events(result.stdout)[-1] == {"event": "log", "text": "cancelled"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["reword"], "invalid choice: 'reword'"),
        (["gate", "--out", "x"], "the following arguments are required: --candidate"),
        (["base", "--out", "x", "--set", "reward.speed=1"], "reward.speed: Extra inputs are not permitted"),
        (["base", "--out", "x", "--config", "none.toml"], "config none.toml cannot be read"),
        (["base", "--out", "x", "--model", "./none"], "./none"),
    ],
)
def test_wrong_arguments_are_one_clear_error_event(arguments: list[str], message: str) -> None:
    result = run(*arguments)

    (event,) = [line for line in events(result.stdout) if line["event"] not in ("metric", "log")]
    assert result.returncode == 1
    assert event["event"] == "error"
    assert message in event["message"]
    assert "Traceback" not in result.stdout


def test_bad_data_is_named_and_an_unforeseen_error_keeps_its_trace_for_the_log(
    tiny_policy: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    bad = run(*reward(tiny_policy, empty, tmp_path / "rm"))
    broken = run(
        "base",
        "--out",
        "x",
        code="import sys; from trainer import cli, stages\n"
        "stages.base = lambda options, config, reporter: 1 / 0\n"
        "sys.exit(cli.main())",
    )

    assert (bad.returncode, broken.returncode) == (1, 1)
    assert f"{empty} holds no pairs" in events(bad.stdout)[-1]["message"]
    assert events(broken.stdout)[-1]["message"].startswith("ZeroDivisionError: division by zero")
    assert "Traceback" in broken.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_there_for_every_command_without_torch(command: str) -> None:
    code = """
import sys
from trainer import cli
try:
    cli.main()
finally:
    heavy = {"torch", "transformers", "vllm"} & set(sys.modules)
    sys.stderr.write(f"heavy: {sorted(heavy)}")
"""
    result = run(command, "--help", code=code)

    assert result.returncode == 0
    assert f"python -m trainer {command}" in result.stdout
    assert "--config" in result.stdout
    assert "heavy: []" in result.stderr


@pytest.mark.parametrize("arguments", [("ppo", "--help"), ("nonsense",), ("settings",)])
def test_a_reader_that_goes_away_ends_it_without_a_trace(arguments: tuple[str, ...]) -> None:
    reader, stdout = os.pipe()
    os.close(reader)  # as `| head` does
    result = subprocess.run(
        [sys.executable, "-m", "trainer", *arguments],
        stdout=stdout, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, timeout=60, check=False,
    )  # fmt: skip
    os.close(stdout)
    assert result.stderr == "stopped: whoever read stdout has closed it\n"
    assert result.returncode == 141
