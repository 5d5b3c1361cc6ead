"""The whole loop, unattended: scripted people ask and vote over HTTP until a new version answers.

    make loop                                  bundled prompts
    make loop PROMPTS=path/to/prompts.jsonl    one {"prompt": [{"role", "content"}, ...]} a line, also .gz

The annotators' rule: **the shorter answer wins** (characters; equal lengths are a tie). The policy never
sees the rule, only the votes. The result is the share of rule-wins of the new version's answers over the
first version's on prompts that were in no vote and no rollout, with a Wilson 95 % interval.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import math
import os
import platform
import random
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from pathlib import Path
from statistics import mean
from typing import Any, TypeVar

import aiohttp

from scripts.started import ROOT, start_heed, stop_heed

T = TypeVar("T")
R = TypeVar("R")


def read_prompts(path: Path) -> list[str]:
    """Single-turn user prompts of a JSONL file, each once, in the file's order."""
    opener = gzip.open if path.suffix == ".gz" else open
    prompts: dict[str, None] = {}
    with opener(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            turns = json.loads(line).get("prompt")
            if not isinstance(turns, list) or not turns or turns[-1].get("role") != "user":
                raise SystemExit(f"{path}:{number}: field `prompt` must be a list that ends with a user turn")
            if len(turns) == 1:
                prompts[turns[0]["content"].strip()] = None
    return list(prompts)


def shorter_wins(a: str, b: str) -> str:
    """The annotators' rule: a, b or tie."""
    if len(a) == len(b):
        return "tie"
    return "a" if len(a) < len(b) else "b"


def wilson(wins: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson score interval of a share (Wilson 1927)."""
    share = wins / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return middle - half, middle + half


async def side_by_side(
    items: Iterable[T], work: Callable[[T], Awaitable[R]], *, at_once: int, label: str
) -> list[R]:
    """Run `work` over the items, a few at once, and show how far it is."""
    gate = asyncio.Semaphore(at_once)
    todo, done = list(items), 0

    async def one(item: T) -> R:
        nonlocal done
        async with gate:
            result = await work(item)
        done += 1
        if done % 20 == 0 or done == len(todo):
            print(f"  {label} {done}/{len(todo)}", flush=True)
        return result

    return await asyncio.gather(*(one(item) for item in todo))


class Refused(Exception):
    """The server said no; the message has its words."""


def session() -> aiohttp.ClientSession:
    """An HTTP session that keeps cookies of an IP address too, and waits for a slow model."""
    timeout = aiohttp.ClientTimeout(total=None, sock_read=600)
    return aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.CookieJar(unsafe=True))


class Client:
    """A person at the HTTP API: signs in once, asks, reads the stream to its end, votes."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self.http = http
        self.url = url

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        async with self.http.request(method, self.url + path, json=body, headers=headers) as response:
            text = await response.text()
            if response.status >= 400:
                raise Refused(f"{method} {path} answered {response.status}: {text[:500]}")
            return json.loads(text) if text else None

    async def sign_in(self, token: str) -> None:
        person = {"token": token, "name": "loop", "password": uuid.uuid4().hex}
        await self.call("POST", "/api/v1/setup", person)
        key = await self.call(
            "POST", "/api/v1/keys", {"label": "loop", "scopes": ["chat", "feedback", "read", "admin"]}
        )
        self.http.headers["Authorization"] = f"Bearer {key['secret']}"

    async def ask(self, prompt: str) -> str:
        """One answer of the version that serves now, outside any conversation."""
        body = {"model": "active", "messages": [{"role": "user", "content": prompt}]}
        answer = await self.call("POST", "/v1/chat/completions", body)
        return str(answer["choices"][0]["message"]["content"])

    async def duel_and_vote(self, prompt: str) -> str | None:
        """Ask, read both answers to the end, vote by the rule. None when a side failed."""
        conversation = (await self.call("POST", "/api/v1/conversations", {}))["id"]
        turn = await self.call(
            "POST", f"/api/v1/conversations/{conversation}/messages", {"text": prompt, "mode": "duel"}
        )
        texts = {answer["id"]: "" for answer in turn["answers"]}
        failed = False
        async for event in self.events(turn["stream"]):
            if event["type"] == "answer.delta":
                texts[event["answer_id"]] += event["text"]
            failed |= event["type"] == "answer.end" and event["state"] != "finished"
        if failed:
            return None
        duel = turn["duel"]
        choice = shorter_wins(texts[duel["answer_a"]], texts[duel["answer_b"]])
        vote = {"kind": "duel", "duel_id": duel["id"], "choice": choice}
        await self.call("POST", "/api/v1/votes", vote, **{"Idempotency-Key": uuid.uuid4().hex})
        return choice

    async def events(self, path: str) -> Any:
        async with self.http.get(self.url + path, headers={"Accept": "text/event-stream"}) as response:
            response.raise_for_status()
            async for line in response.content:
                if line.startswith(b"data:"):
                    event = json.loads(line[5:])
                    yield event
                    if event["type"] == "turn.end":
                        return


async def follow_run(client: Client) -> dict[str, Any]:
    """Wait for the retrain that the votes made due, print its stages, return the finished run."""
    seen: dict[str, str] = {}
    after = "0"
    while True:
        runs = (await client.call("GET", "/api/v1/runs"))["items"]
        if runs:
            run: dict[str, Any] = runs[0]
            for stage in run["stages"]:
                if seen.get(stage["stage"]) != stage["state"] and stage["state"] != "waiting":
                    seen[stage["stage"]] = stage["state"]
                    print(f"  {stage['stage']}: {stage['state']}  {told(stage)}", flush=True)
            rows = (await client.call("GET", f"/api/v1/runs/{run['id']}/metrics?after={after}"))["items"]
            for row in rows:
                after = row["id"]
                if row["stage"] == "ppo":
                    print_ppo_step(row)
            if run["state"] in ("succeeded", "failed", "cancelled"):
                return run
        await asyncio.sleep(1.0)


SHOWN = {
    "freeze": ("votes", "train_pairs", "held_out_pairs", "prompts"),
    "reward": ("held_out_accuracy", "train_accuracy", "train_loss", "pairs_per_second"),
    "ppo": ("updates", "ref_kl", "response_length_mean", "perplexity", "samples_per_second"),
    "release": ("version",),
}
"""What a stage's summary says to somebody who watches; the dashboard shows all of it."""


def told(stage: dict[str, Any]) -> str:
    """A stage's summary in one line."""
    summary = stage["summary"]
    if "checks" in summary:
        verdict = "passed" if summary["passed"] else "held back"
        reasons = [f"{check['name']}: {check['reason']}" for check in summary["checks"]]
        return "; ".join([verdict, *reasons])
    shown = [(name, summary[name]) for name in SHOWN.get(stage["stage"], ()) if name in summary]
    return ", ".join(f"{name} {value:.3g}" for name, value in shown)


def print_ppo_step(row: dict[str, Any]) -> None:
    names = ("reward_mean", "ref_kl", "response_length_mean", "perplexity", "explained_variance")
    shown = "  ".join(f"{name} {row['values'][name]:.3g}" for name in names if name in row["values"])
    print(f"    ppo {row['step']}/{row['of']}  {shown}", flush=True)


def stage_seconds(run: dict[str, Any]) -> dict[str, float]:
    spent = {}
    for stage in run["stages"]:
        if stage["started_at"] and stage["ended_at"]:
            started, ended = (datetime.fromisoformat(stage[key]) for key in ("started_at", "ended_at"))
            spent[stage["stage"]] = (ended - started).total_seconds()
    return spent


def report(before: list[str], after: list[str], run: dict[str, Any], steps_s: dict[str, float]) -> bool:
    """Print what changed; True when the new version clearly wins."""
    verdicts = [shorter_wins(new, old) for old, new in zip(before, after, strict=True)]
    ties = verdicts.count("tie")
    wins, n = verdicts.count("a") + ties / 2, len(verdicts)
    low, high = wilson(wins, n)
    print(f"\nThe rule: the shorter answer wins.  Prompts not used before: {n}")
    print(f"  v{run['version']} beats v1 in {wins / n:.1%} of them ({ties} ties count half)")
    print(f"  95 % interval {low:.1%} to {high:.1%}")
    print(f"  mean answer: {mean(map(len, before)):.0f} characters before, {mean(map(len, after)):.0f} after")
    for stage in run["stages"]:
        if said := told(stage):
            print(f"  {stage['stage']}: {said}")
    print("  seconds: " + ", ".join(f"{name} {seconds:.0f}" for name, seconds in steps_s.items()))
    print(f"  machine: {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}")
    return low > 0.5


async def play(url: str, token: str, prompts: list[str], votes: int, asked: int) -> bool:
    """The nine steps as a person sees them: 1-3 here, 4-9 by waiting, then the question again."""
    unseen, voted = prompts[:asked], prompts[asked : asked + votes]
    steps_s: dict[str, float] = {}
    async with session() as http:
        client = Client(http, url)
        await client.sign_in(token)

        started = time.monotonic()
        print(f"Asking v1 {asked} prompts that no vote will see", flush=True)
        before = await side_by_side(unseen, client.ask, at_once=16, label="answers")
        steps_s["ask before"] = time.monotonic() - started

        started = time.monotonic()
        print(f"Duels: {len(voted)} prompts, the shorter answer gets the vote", flush=True)
        choices = await side_by_side(voted, client.duel_and_vote, at_once=8, label="votes")
        print("  " + ", ".join(f"{name}: {choices.count(name)}" for name in ("a", "b", "tie")))
        steps_s["duels"] = time.monotonic() - started

        started = time.monotonic()
        print("Waiting for the retrain", flush=True)
        run = await follow_run(client)
        steps_s["retrain"] = time.monotonic() - started
        steps_s |= stage_seconds(run)
        if run["state"] != "succeeded" or run["version"] is None:
            raise SystemExit(f"The run ended as {run['state']}: {run['error']}")
        status = await client.call("GET", "/api/v1/status")
        if status["active"]["number"] != run["version"]:
            raise SystemExit(f"v{run['version']} was held back at the gate: see the summaries above")

        started = time.monotonic()
        print(f"Asking v{run['version']} the same {asked} prompts", flush=True)
        after = await side_by_side(unseen, client.ask, at_once=16, label="answers")
        steps_s["ask after"] = time.monotonic() - started
    return report(before, after, run, steps_s)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=Path, default=ROOT / "scripts" / "loop_prompts.jsonl")
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "loop.toml")
    parser.add_argument("--votes", type=int, default=120, help="duels to vote on")
    parser.add_argument("--asked", type=int, default=100, help="prompts kept apart to ask before and after")
    arguments = parser.parse_args()
    prompts = read_prompts(arguments.prompts)
    needed = arguments.votes + arguments.asked
    if len(prompts) < needed:
        raise SystemExit(f"{arguments.prompts}: {len(prompts)} single-turn prompts, {needed} are needed")
    random.Random(0).shuffle(prompts)
    data = Path(os.environ.get("HEED_DATA") or tempfile.mkdtemp(prefix="heed-loop-"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that what was started stops too
    began = time.monotonic()
    heed = start_heed(data, arguments.config)
    try:
        won = asyncio.run(play(heed.url, heed.token, prompts, arguments.votes, arguments.asked))
    finally:
        stop_heed(heed)
    print(f"  in all {(time.monotonic() - began) / 60:.1f} minutes; everything it wrote is in {data}")
    sys.exit(0 if won else 1)


if __name__ == "__main__":
    main()
