"""Training beside TRL: PPO samples/s, reward model pairs/s, peak memory; same model, prompts and lengths.

    python -m bench.peers       about 25 minutes on two cores

TRL is installed into environments of its own (HEED_PEERS, default ~/.cache/heed-peers), never into the
project's, and runs on the same torch and transformers. PPO: 1.12.0, the last release with a PPOTrainer; the
RewardTrainer of the newest release that is known to work here. The rounds alternate in one run; the ratio of
medians is the figure. Our answers may end early and TRL's never do, so answer tokens are counted, too.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple

from transformers import AutoConfig

from bench.hardware import gemm_rate, pair_flops, ppo_flops
from scripts.started import ROOT
from trainer.data import load_tokenizer, prompt_ids, read_prompts
from trainer.pairs import read_pairs, token_pairs

PEERS = Path(os.environ.get("HEED_PEERS", Path.home() / ".cache" / "heed-peers"))
RELEASES = {"ppo": "trl==1.12.0", "reward": "trl==1.16.0"}
ROUNDS, UPDATES, ROLLOUTS, TOKENS, MINIBATCHES = 2, 3, 32, 64, 2
PAIRS, BATCH_PAIRS, MAX_TOKENS = 64, 8, 512


class Round(NamedTuple):
    samples_per_s: float
    tokens_per_s: float
    peak_mib: float


def install(kind: str) -> Path:
    """The Python of an environment that has TRL, and the project's own packages behind it."""
    folder = PEERS / RELEASES[kind]
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        print(f"Installing {RELEASES[kind]} into {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "-q"]
        subprocess.run([*pip, "datasets"], check=True)
        subprocess.run([*pip, "--no-deps", RELEASES[kind]], check=True)
        (site,) = folder.glob("lib/python*/site-packages")
        (site / "zz_project.pth").write_text(sysconfig.get_path("purelib") + "\n")
        (folder / "ready").touch()
    return python


def run(command: list[str], log: Path, **environment: str) -> tuple[list[dict[str, Any]], float]:
    """The JSON lines of a program that ended well, and its peak memory in MiB."""
    with log.open("w") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=ROOT, env=os.environ | environment
        )
        assert process.stdout is not None
        # TRL prints dicts of its own, in Python's notation.
        lines = [line for line in process.stdout if line.startswith('{"')]
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command[:5])} failed:\n{log.read_text()[-2000:]}")
    return [json.loads(line) for line in lines], usage.ru_maxrss / 1024


def ours(stage: str, work: Path, *arguments: object) -> tuple[list[dict[str, Any]], float]:
    command = [sys.executable, "-m", "trainer", stage, *map(str, arguments)]
    events, peak = run(command, work / f"heed-{stage}.log")
    return [event for event in events if event["event"] in ("metric", "done")], peak


def trl(kind: str, work: Path, job: dict[str, Any]) -> Round:
    path = work / f"trl-{kind}.json"
    path.write_text(json.dumps(job))
    command = [str(install(kind)), str(ROOT / "bench" / "trl_peer.py"), kind, str(path)]
    steps, peak = run(command, work / f"trl-{kind}.log", OMP_WAIT_POLICY="PASSIVE")
    return _round([(s["samples"], s["tokens"], s["seconds"]) for s in steps if "seconds" in s], peak)


def _round(steps: list[tuple[float, float, float]], peak: float) -> Round:
    """The first step warms up."""
    return Round(
        median(samples / seconds for samples, _, seconds in steps[1:]),
        median(tokens / seconds for _, tokens, seconds in steps[1:]),
        peak,
    )


def our_ppo(work: Path, policy: Path, reward_model: Path, prompts: Path, name: str) -> Round:
    settings = {
        "ppo.updates": UPDATES, "ppo.rollouts": ROLLOUTS, "ppo.minibatch": ROLLOUTS // MINIBATCHES,
        "ppo.critic_pretrain_updates": 0, "ppo.checkpoint_every": 0,
        "rollout.max_new_tokens": TOKENS,
    }  # fmt: skip
    events, peak = ours(
        "ppo", work, *(f"--set={key}={value}" for key, value in settings.items()), "--policy", policy,
        "--reference", policy, "--reward-model", reward_model, "--prompts", prompts,
        "--work", work / name, "--out", work / f"{name}-out",
    )  # fmt: skip
    values = [event["values"] for event in events if event["event"] == "metric"]
    return _round(
        [
            (ROLLOUTS, ROLLOUTS * v["response_length_mean"], ROLLOUTS / v["samples_per_second"])
            for v in values
        ],
        peak,
    )


def our_reward(work: Path, policy: Path, pairs: Path, held_out: Path, name: str) -> Round:
    settings = {
        "reward.batch_pairs": BATCH_PAIRS, "reward.max_tokens": MAX_TOKENS, "reward.seed_share": 0.0,
    }  # fmt: skip
    events, peak = ours(
        "reward", work, *(f"--set={key}={value}" for key, value in settings.items()), "--policy", policy,
        "--pairs", pairs, "--held-out", held_out, "--out", work / name,
    )  # fmt: skip
    speeds = [e["values"]["pairs_per_second"] for e in events if "pairs_per_second" in e.get("values", {})]
    return Round(median(speeds[1:]), 0.0, peak)


def show(
    title: str, unit: str, rounds: dict[str, list[Round]], flops: Callable[[float], float], limit: float
) -> None:
    """`flops`: of a sample with that many answer tokens; `limit`: FLOP/s of the machine."""
    print(f"\n{title:<24} {unit:>12} {'tokens/s':>10} {'peak MiB':>10} {'of the limit':>14}")
    middle = {
        name: Round(*(median(column) for column in zip(*few, strict=True))) for name, few in rounds.items()
    }
    for name, one in middle.items():
        share = flops(one.tokens_per_s / one.samples_per_s) * one.samples_per_s / limit
        figures = f"{one.samples_per_s:>12.3f} {one.tokens_per_s:>10.1f} {one.peak_mib:>10.0f} {share:>14.0%}"
        print(f"{name:<24} {figures}")
    mine, peer = middle["heed"], middle["trl"]
    line = f"ratio: {mine.samples_per_s / peer.samples_per_s:.2f} x {unit}"
    if peer.tokens_per_s:
        line += f", {mine.tokens_per_s / peer.tokens_per_s:.2f} x answer tokens/s"
    print(f"{line}, {mine.peak_mib / peer.peak_mib:.2f} x the memory")


def main() -> None:
    work = Path(tempfile.mkdtemp(prefix="heed-peers-"))
    began = time.monotonic()
    policy, seeds = work / "policy", work / "seeds.jsonl"
    ours("base", work, "--out", policy)
    ours("seeds", work, "--set", f"reward.max_seed_pairs={PAIRS + 16}", "--policy", policy, "--out", seeds)
    lines = seeds.read_text().splitlines(keepends=True)
    train, held_out = work / "train.jsonl", work / "held_out.jsonl"
    train.write_text("".join(lines[:PAIRS]))
    held_out.write_text("".join(lines[PAIRS:]))
    prompts = ROOT / "trainer" / "prompts.jsonl"
    tokenizer = load_tokenizer(policy)
    ids = [prompt_ids(tokenizer, prompt, 512) for prompt in read_prompts(prompts)[: ROLLOUTS * UPDATES]]
    rewards: dict[str, list[Round]] = {"heed": [], "trl": []}
    updates: dict[str, list[Round]] = {"heed": [], "trl": []}
    for number in range(ROUNDS):
        rewards["heed"].append(our_reward(work, policy, train, held_out, f"reward-{number}"))
        job = {
            "policy": str(policy), "work": str(work / "trl"), "pairs": str(train), "lr": 1e-5,
            "batch_pairs": BATCH_PAIRS, "max_tokens": MAX_TOKENS,
        }  # fmt: skip
        rewards["trl"].append(trl("reward", work, job))
        reward_model = work / f"reward-{number}"
        updates["heed"].append(our_ppo(work, policy, reward_model, prompts, f"ppo-{number}"))
        job = {
            "policy": str(policy), "reward_model": str(reward_model), "work": str(work / "trl"), "lr": 1e-5,
            "tokens": TOKENS, "rollouts": ROLLOUTS, "updates": UPDATES, "minibatches": MINIBATCHES,
            "micro_batch": ROLLOUTS // MINIBATCHES, "prompts": ids,
        }  # fmt: skip
        updates["trl"].append(trl("ppo", work, job))
        print(f"round {number + 1} of {ROUNDS} done", flush=True)
    config, limit = AutoConfig.from_pretrained(policy), gemm_rate()
    pair_tokens = fmean(
        len(pair.chosen) + len(pair.rejected) - pair.prompt_length
        for pair in token_pairs(read_pairs(train), tokenizer, MAX_TOKENS)
    )
    prompt_tokens = fmean(map(len, ids))
    show("reward model", "pairs/s", rewards, lambda _: pair_flops(config, pair_tokens), limit)
    show(
        f"PPO, {TOKENS} answer tokens", "samples/s", updates,
        lambda answer: ppo_flops(config, prompt_tokens, answer), limit,
    )  # fmt: skip
    print(
        f"\n{(time.monotonic() - began) / 60:.0f} minutes; {os.cpu_count()} cores, bf16 matrix products at"
        f" {limit / 1e9:.0f} GFLOP/s; {pair_tokens:.0f} tokens a pair, {prompt_tokens:.0f} a prompt"
    )
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
