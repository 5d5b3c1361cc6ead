"""What an onlooker sees: a run's stages and steps as they come, versions and what became of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from scripts.loop.client import Client, Stuck

LOOK_S = 1.0
SERVED_WITHIN_S = 180
OVER = ("succeeded", "failed", "cancelled")

SHOWN = {
    "freeze": ("votes", "train_pairs", "held_out_pairs", "prompts"),
    "reward": ("held_out_accuracy", "train_accuracy", "train_loss", "pairs_per_second"),
    "ppo": ("updates", "ref_kl", "response_length_mean", "perplexity", "samples_per_second"),
    "release": ("version",),
}
"""What a stage's summary says to somebody who watches; the dashboard shows all of it."""
STEPS_OF_PPO = ("reward_mean", "ref_kl", "response_length_mean", "perplexity", "explained_variance")


class Watcher:
    """Reads what the dashboard shows, and touches nothing."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def active(self) -> int:
        """The number of the version that answers."""
        return int((await self.client.call("GET", "/api/v1/status"))["active"]["number"])

    async def newest_run(self) -> dict[str, Any] | None:
        runs: list[dict[str, Any]] = (await self.client.call("GET", "/api/v1/runs"))["items"]
        return runs[0] if runs else None

    async def version(self, number: int) -> dict[str, Any]:
        detail = await self.client.call("GET", f"/api/v1/policies/{number}")
        version: dict[str, Any] = detail["version"]
        return version

    async def decided(self, number: int) -> str:
        """Why the version is what it is, in the words of whoever decided it."""
        policies = await self.client.call("GET", "/api/v1/policies")
        moved = (line["reason"] for line in policies["timeline"] if line["number"] == number)
        version = next(one for one in policies["items"] if one["number"] == number)
        return str(version["reason"] or next(moved, ""))

    def another_run_than(self, known: str | None) -> Callable[[], Awaitable[bool]]:
        """A question: has a run begun since? Raises Stuck when none will."""

        async def begun() -> bool:
            status = await self.client.call("GET", "/api/v1/status")
            if pause := status["paused"]:
                raise Stuck(f"{pause['actor']} paused the training: {pause['reason']}")
            run = await self.newest_run()
            return run is not None and run["id"] != known

        return begun

    def no_canary(self, number: int) -> Callable[[], Awaitable[bool]]:
        """A question: has the canary's trial ended, either way?"""

        async def ended() -> bool:
            return bool((await self.version(number))["state"] != "canary")

        return ended

    async def served(self, number: int) -> bool:
        """Wait until an engine holds the version; False when it will not be: it was taken back."""
        for _ in range(int(SERVED_WITHIN_S / LOOK_S)):
            models = (await self.client.call("GET", "/v1/models"))["data"]
            if any(model["id"] == f"v{number}" for model in models):
                return True
            if (await self.version(number))["state"] not in ("canary", "active"):
                return False
            await asyncio.sleep(LOOK_S)
        raise Stuck(f"v{number} was not served within {SERVED_WITHIN_S} s: see the log of the server")

    async def follow_run(self) -> dict[str, Any]:
        """Print the stages and steps of the newest run as they come; the run, when it has ended."""
        seen: dict[str, str] = {}
        after = "0"
        while True:
            run = await self.newest_run()
            assert run is not None
            for stage in run["stages"]:
                if seen.get(stage["stage"]) != stage["state"] and stage["state"] != "waiting":
                    seen[stage["stage"]] = stage["state"]
                    print(f"  {stage['stage']}: {stage['state']}  {told(stage)}", flush=True)
            path = f"/api/v1/runs/{run['id']}/metrics?after={after}"
            for row in (await self.client.call("GET", path))["items"]:
                after = row["id"]
                if row["stage"] == "ppo":
                    print(f"    ppo {row['step']}/{row['of']}  {_step(row['values'])}", flush=True)
            if run["state"] in OVER:
                return run
            await asyncio.sleep(LOOK_S)


def told(stage: dict[str, Any]) -> str:
    """A stage's summary in one line; of a gate the values, and the reasons of what was refused."""
    summary = stage["summary"]
    if "checks" in summary:
        values = ", ".join(f"{check['name']} {check['value']:.3g}" for check in summary["checks"])
        why = [f"{one['name']}: {one['reason']}" for one in summary["checks"] if not one["passed"]]
        return f"held back for {'; '.join(why)} (all: {values})" if why else f"passed: {values}"
    shown = [(name, summary[name]) for name in SHOWN.get(stage["stage"], ()) if name in summary]
    return ", ".join(f"{name} {value:.3g}" for name, value in shown)


def _step(values: dict[str, float]) -> str:
    return "  ".join(f"{name} {values[name]:.3g}" for name in STEPS_OF_PPO if name in values)


def stage_seconds(run: dict[str, Any]) -> dict[str, float]:
    """Stage -> how long it took."""
    spent = {}
    for stage in run["stages"]:
        if stage["started_at"] and stage["ended_at"]:
            started, ended = (datetime.fromisoformat(stage[key]) for key in ("started_at", "ended_at"))
            spent[stage["stage"]] = (ended - started).total_seconds()
    return spent
