"""Training: reward model pairs/s, PPO samples/s and peak memory of each, on the default model and config.

    make bench        or   python -m bench.training

Runs the trainer's own command line on generated seed pairs and the bundled prompts, a few steps of each.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from scripts.started import ROOT

UPDATES = 4


def stage(name: str, *arguments: object) -> tuple[list[dict[str, Any]], float]:
    """Run one trainer stage; its metric values and its peak memory in MiB."""
    process = subprocess.Popen(
        [sys.executable, "-m", "trainer", name, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    events = [json.loads(line) for line in process.stdout]
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"trainer {name} failed: {events[-1:]}")
    return [event["values"] for event in events if event["event"] == "metric"], usage.ru_maxrss / 1024


def main() -> None:
    work = Path(tempfile.mkdtemp(prefix="heed-bench-"))
    policy, config = work / "policy", work / "config.toml"
    default = (ROOT / "configs" / "default.toml").read_text()
    config.write_text(default.replace("\nupdates = ", f"\nupdates = {UPDATES}  # by default ", 1))
    stage("base", "--out", policy)
    stage("seeds", "--config", config, "--policy", policy, "--out", work / "seeds.jsonl")
    pairs = (work / "seeds.jsonl").read_text().splitlines(keepends=True)
    (work / "train.jsonl").write_text("".join(pairs[:96]))
    (work / "held_out.jsonl").write_text("".join(pairs[96:112]))
    (work / "few_seeds.jsonl").write_text("".join(pairs[112:]))
    steps, peak = stage(
        "reward", "--config", config, "--policy", policy, "--pairs", work / "train.jsonl",
        "--held-out", work / "held_out.jsonl", "--seed-pairs", work / "few_seeds.jsonl",
        "--out", work / "reward",
    )  # fmt: skip
    speed = median(step["pairs_per_second"] for step in steps if "pairs_per_second" in step)
    print(f"reward model: {speed:.2f} pairs/s, peak {peak:.0f} MiB")
    steps, peak = stage(
        "ppo", "--config", config, "--policy", policy, "--reference", policy,
        "--reward-model", work / "reward", "--prompts", ROOT / "trainer" / "prompts.jsonl",
        "--work", work / "ppo", "--out", work / "candidate",
    )  # fmt: skip
    speed = median(step["samples_per_second"] for step in steps if "samples_per_second" in step)
    print(f"PPO-max: {speed:.2f} samples/s, peak {peak:.0f} MiB")
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
