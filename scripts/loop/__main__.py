"""The whole loop, unattended: scripted people ask and vote over HTTP until a new version answers.

    make loop                                  one round on the bundled prompts
    make loop ROUNDS=3                         noisy votes, a canary each round, flipped votes in the second
    make loop PROMPTS=path/to/prompts.jsonl    one {"prompt": [{"role", "content"}, ...]} a line, also .gz

The annotators' rule: **the shorter answer wins** (characters; equal lengths are a tie). The policy never
sees the rule, only the votes. The result is the share of rule-wins of each version's answers over those of
the first version and of the one before it, on prompts that were in no vote and no rollout, with Wilson 95 %
intervals.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import random
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from scripts.loop.client import Client, Refused, Stuck, session
from scripts.loop.prompts import BUNDLED, read_prompts
from scripts.loop.report import as_expected, text
from scripts.loop.rounds import Plan, Played, play
from scripts.started import ROOT, start_heed, stop_heed

CONFIGS = ROOT / "configs"
ONE_ROUND = Plan(rounds=1, right=1.0)


def several(rounds: int) -> Plan:
    """People who err one time in five; those of the second round mean the opposite."""
    return Plan(rounds=rounds, right=0.8, flipped=2)


async def play_at(url: str, token: str, prompts: Sequence[str], played: Played) -> None:
    async with session() as http:
        client = Client(http, url)
        await client.sign_in(token)
        await play(client, prompts, played)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--prompts", type=Path, default=BUNDLED)
    parser.add_argument("--config", type=Path, help="default: configs/loop.toml, or rounds.toml for several")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        raise SystemExit("--rounds: at least 1")
    plan = ONE_ROUND if arguments.rounds == 1 else several(arguments.rounds)
    config = arguments.config or CONFIGS / ("loop.toml" if plan.rounds == 1 else "rounds.toml")
    prompts = read_prompts(arguments.prompts)
    random.Random(0).shuffle(prompts)
    data = Path(os.environ.get("HEED_DATA") or tempfile.mkdtemp(prefix="heed-loop-"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that what was started stops too
    began = time.monotonic()
    # A canary needs an engine beside the active version's.
    heed = start_heed(data, config, **({"HEED_ENGINE_COUNT": "2"} if plan.rounds > 1 else {}))
    played = Played(plan)
    try:
        asyncio.run(play_at(heed.url, heed.token, prompts, played))
    except (Refused, Stuck) as error:
        print(f"\nIt stopped here: {error}")
    finally:
        stop_heed(heed)
        print(text(played))  # what there is, also when somebody stopped it
        print(f"machine: {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}")
        print(f"in all {(time.monotonic() - began) / 60:.1f} minutes; everything it wrote is in {data}")
    sys.exit(0 if as_expected(played) else 1)


if __name__ == "__main__":
    main()
