"""Kill everything, at every step of the loop: what a person notices, and what becomes of votes and run.

    python -m bench.survival [--steps due ppo ...] [--victims redis all frozen ...] [--home FOLDER]

Heed as `make up` starts it, on a tiny model: real Redis, Celery, beat, server and two vLLM engines; the
trainer's stages are a stub that takes seconds and whose candidate is the policy with one bit changed. People
chat, vote and repeat what was not acknowledged, as the page does. In each cell one process is killed
(SIGKILL) at one of the nine steps; the first freeze asks the trainer what everybody's votes let expect, later
ones know it. Then the run has to end with one version published, and every acknowledged
vote has to be in the log once. Beside kills: a worker that stands still for longer than its lease (`frozen`),
a full disk (`disk`: needs a small file system mounted at --home), a clock that jumps two hours (`forward`,
then `back`: needs a C compiler), after which the schedule has to be looked at again.

    seconds from the kill to the end of the next run / longest time in which no answer came / attempts
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from bench.survival_people import People
from bench.survival_processes import INCIDENTS, VICTIMS, Site
from store.connection import StoreUnavailable
from store.records import Run
from workers.lease import patiently

STEPS = ("turn", "stream", "vote", "due", "freeze", "reward", "ppo", "gate", "release")
PATIENCE_S = 240.0
POLL_S = 0.01
BEGINS_S = 1.0
TICKS_S = 10.0
CONFIG = """
[sampling]
max_tokens = 8
[engine]
max_model_len = 1024
[limits]
messages_per_minute = 0
votes_per_minute = 0
[schedule]
min_votes = 30
tick_s = 0.5
lease_s = 3
[release]
serve_timeout_s = 60
"""
STUB = Path(__file__).resolve().parent.parent / "tests" / "stub_trainer.py"
PLAN = {
    stage: {"steps": 3, "step_s": 0.4, "copies": True} for stage in ("cross_fit", "reward", "ppo", "gate")
}


class Failed(Exception):
    """A promise was broken; the message says which."""


async def newest_run(site: Site) -> Run | None:
    """The newest run, or None, also while Redis is away."""
    with suppress(StoreUnavailable):
        runs = await site.runs.newest(1)
        return runs[0] if runs else None
    return None


async def reach(site: Site, people: People, step: str) -> None:
    """Wait until the loop is at this step."""
    deadline = time.monotonic() + PATIENCE_S
    if step in ("turn", "stream", "vote"):
        moment = people.moments[step]
        moment.clear()
        await asyncio.wait_for(moment.wait(), PATIENCE_S)
        return
    before = await newest_run(site)
    while time.monotonic() < deadline:
        run = await newest_run(site)
        if run is not None and run.state in ("queued", "running"):
            fresh = before is None or run.id != before.id
            if step == "due" and run.state == "queued":
                return
            if step != "due" and any(one.stage == step and one.state == "running" for one in run.stages):
                return
            if step in ("due", "freeze") and fresh and run.state == "running" and len(run.stages) > 1:
                before = run  # too quick for us: the next one
        await asyncio.sleep(POLL_S)
    raise Failed(f"the loop did not come to {step} in {PATIENCE_S:.0f} s")


async def ended(site: Site, before: set[str]) -> Run:
    """The first run that ends and had not ended `before`."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for run_id, run in reversed((await runs_that_ended(site)).items()):
            if run_id not in before:
                return run
        await asyncio.sleep(0.1)
    raise Failed(f"no run ended within {PATIENCE_S:.0f} s")


async def runs_that_ended(site: Site) -> dict[str, Run]:
    """Newest first; none while Redis is away."""
    with suppress(StoreUnavailable):
        return {run.id: run for run in await site.runs.newest(1000) if run.ended_at is not None}
    return {}


async def ticked(site: Site) -> None:
    """The schedule is looked at again. Raises Failed."""
    deadline = time.monotonic() + TICKS_S
    while not await patiently(site.ticks):
        if time.monotonic() > deadline:
            raise Failed(f"nobody looked at the schedule within {TICKS_S:.0f} s of the run's end")
        await asyncio.sleep(0.1)


async def look(site: Site, people: People, run: Run) -> None:
    """The promises. Raises Failed."""
    if run.state != "succeeded":
        raise Failed(f"{run.id} {run.state}: {run.error}")
    versions = await patiently(site.policies.versions)
    made = [one.number for one in versions if one.run_id == run.id]
    if made != [run.version]:
        raise Failed(f"{run.id} published {made}, its record says {run.version}")
    logged = [vote.id for _, vote in await patiently(site.votes.read)]
    if len(logged) != len(set(logged)):
        raise Failed("a vote is in the log twice")
    if lost := people.acknowledged - set(logged):
        raise Failed(f"{len(lost)} acknowledged votes are lost")
    if people.voted_duels != len({vote.duel_id for _, vote in await patiently(site.votes.read)}):
        raise Failed("the number of duels with a vote is not what the people were told")


async def cell(site: Site, people: People, step: str, victim: str) -> str:
    """One kill; what came of it."""
    await reach(site, people, step)
    before, began = set(await runs_that_ended(site)), time.monotonic()
    people.begin()
    done = await site.befall(victim) if victim in INCIDENTS else site.kill(victim)
    patience = time.monotonic() + BEGINS_S  # a stage is `running` a moment before its process is there
    while not done and step in STEPS[STEPS.index("freeze") : -1] and time.monotonic() < patience:
        await asyncio.sleep(POLL_S)
        done = site.kill(victim)
    if not done:
        return "-"
    await site.recover(victim)
    run = await ended(site, before)
    took = time.monotonic() - began
    if victim in ("forward", "back"):
        await ticked(site)
    await people.answered()
    async with people.standing_still():
        await look(site, people, run)
    return f"{took:.0f}/{people.longest_silence_s:.1f}/{run.attempt}"


async def drill(home: Path, steps: Sequence[str], victims: Sequence[str]) -> bool:
    """Every step with every victim; prints a row per step, and whether all promises were kept."""
    plan = home / "stub" / "plan.json"
    plan.parent.mkdir()
    plan.write_text(json.dumps(PLAN))
    (home / "survival.toml").write_text(CONFIG)
    stub = json.dumps([sys.executable, str(STUB)])
    broken = []
    told = {"HEED_TRAINER_COMMAND": stub, "HEED_STUB": str(plan)}
    async with Site(home, home / "survival.toml", **told) as site:  # noqa: SIM117 - the next needs it
        async with People(site.heed.url, site.heed.token) as people:
            print(" " * 10 + "".join(f"{victim:>15}" for victim in victims), flush=True)
            for step in steps:
                print(f"{step:<10}", end="", flush=True)
                for victim in victims:
                    try:
                        said = await cell(site, people, step, victim)
                    except Exception as error:
                        said = "BROKEN"
                        broken.append(f"{step} x {victim}: {error!r}")
                        if not isinstance(error, Failed):
                            traceback.print_exc()
                    print(f"{said:>15}", end="", flush=True)
                print(flush=True)
            total, wrong = len(people.acknowledged), people.wrong
    print(f"{total} votes acknowledged, each in the log once" if not broken else "\n".join(broken))
    for line in wrong[:10]:
        print("  " + line)
    return not broken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS)
    parser.add_argument("--victims", nargs="+", choices=(*VICTIMS, *INCIDENTS), default=VICTIMS)
    parser.add_argument(
        "--home", type=Path, help="an empty folder with a short path; default: a new one in /tmp"
    )
    arguments = parser.parse_args()
    # A socket's path must be short.
    home = arguments.home or Path(tempfile.mkdtemp(prefix="heed-surv-", dir="/tmp"))
    ok = asyncio.run(drill(home, arguments.steps, arguments.victims))
    if not ok:
        raise SystemExit(f"promises were broken: the logs are in {home / 'logs'}")
    if arguments.home is None:
        shutil.rmtree(home)


if __name__ == "__main__":
    main()
