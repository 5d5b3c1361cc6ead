"""The canary's guards on two real engines: a version that finds its end too rarely, and a harmless one.

    python -m bench.guards       some six minutes on two cores

People ask short questions, each in a conversation of its own, and nobody votes. The first canary is a copy of
the active version: no guard may speak. The second has the embedding of its end token turned round, so that
most of its answers run into the length limit: the guard must end it, and everybody is on the active one.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path

from safetensors.torch import load_file, save_file

from bench.serving import all_ready
from scripts.loop.client import Client, session
from scripts.started import Heed, start_heed, stop_heed
from store.artifacts import seal
from store.connection import connect
from store.policies import Policies
from store.records import Canary, PolicyVersion, now
from trainer.data import load_tokenizer

AT_ONCE, CALM, MOST = 8, 120, 400
SHARE = 0.5
CONFIG = "[sampling]\nmax_tokens = 64\n[limits]\nmessages_per_minute = 0\n"
QUESTIONS = ("Say hello.", "What is two plus two? Answer with a number.", "Name a colour.", "Is snow cold?")


async def publish(heed: Heed, policies: Policies, *, endless: bool) -> int:
    """The active version once more; `endless`: it turns away from its end token."""
    active = await policies.active()
    assert active is not None
    made = Path(tempfile.mkdtemp(dir=heed.data)) / "made"
    source = heed.data / "policies" / active.folder
    shutil.copytree(source, made, ignore=shutil.ignore_patterns("manifest.json"))
    if endless:
        weights = load_file(made / "model.safetensors")
        embedding = weights["model.embed_tokens.weight"]
        embedding[load_tokenizer(made).eos_token_id] *= -1
        weights["lm_head.weight"] = embedding.clone()  # the same tensor in the model; a load wants both
        save_file(weights, made / "model.safetensors", metadata={"format": "pt"})
    number = max(version.number for version in await policies.versions()) + 1
    folder = f"v{number:04d}"
    sha256 = seal(made, heed.data / "policies" / folder, {"version": number})
    await policies.register(
        PolicyVersion(number=number, parent=active.number, folder=folder, sha256=sha256, created_at=now())
    )
    return number


async def one_question(client: Client, number: int) -> str:
    """How the answer in a new conversation ended."""
    conversation = (await client.call("POST", "/api/v1/conversations", {}))["id"]
    said = {"text": QUESTIONS[number % len(QUESTIONS)], "mode": "single"}
    turn = await client.call("POST", f"/api/v1/conversations/{conversation}/messages", said)
    ended = ""
    async for event in client.events(turn["stream"]):
        if event["type"] == "answer.end":
            ended = event["finish_reason"] or event["state"]
    return ended


async def until(client: Client, policies: Policies, begun: Canary, most: int) -> Counter[str]:
    """People ask until the canary has ended, or `most` have; how their answers ended."""
    ended: Counter[str] = Counter()
    while sum(ended.values()) < most and await policies.canary() is not None:
        first = sum(ended.values())
        ended.update(
            await asyncio.gather(*(one_question(client, number) for number in range(first, first + AT_ONCE)))
        )
    return ended


async def tried(heed: Heed, client: Client, policies: Policies, *, endless: bool) -> None:
    number = await publish(heed, policies, endless=endless)
    body = {"share": SHARE, "reason": "bench"}
    await client.call("POST", f"/api/v1/policies/{number}/promote", body)
    while f"v{number}" not in [one["id"] for one in (await client.call("GET", "/v1/models"))["data"]]:
        await asyncio.sleep(0.1)
    canary = await policies.canary()
    assert canary is not None
    began = time.monotonic()
    ended = await until(client, policies, canary, MOST if endless else CALM)
    spent = time.monotonic() - began
    what = "endless" if endless else "a copy of the active version"
    version = await policies.get(number)
    assert version is not None
    print(
        f"v{number}, {what}: {sum(ended.values())} conversations in {spent:.0f} s, answers ended"
        f" {json.dumps(ended)}; then it was {version.state}"
        + (f" ({version.reason})" if version.reason else ""),
        flush=True,
    )
    if await policies.canary() is not None:
        await client.call("POST", "/api/v1/canary/end", {"outcome": "stopped", "reason": "bench"})


async def measured(heed: Heed) -> None:
    async with session() as http, connect(f"unix://{heed.data / 'run' / 'redis.sock'}?db=0") as redis:
        client, policies = Client(http, heed.url), Policies(redis, heed.data)
        await client.sign_in(heed.token)
        await all_ready(heed, {"Authorization": http.headers["Authorization"]})
        await tried(heed, client, policies, endless=False)
        await tried(heed, client, policies, endless=True)
        after = Counter([await one_question(client, number) for number in range(4)])
        print(f"the next 4 answers ended {json.dumps(after)}; serving: {await policies.serving()}")


def main() -> None:
    data = Path(tempfile.mkdtemp(prefix="heed-guards-"))
    config = data / "config.toml"
    config.write_text(CONFIG)
    heed = start_heed(data, config, HEED_ENGINE_COUNT="2")
    try:
        asyncio.run(measured(heed))
    finally:
        stop_heed(heed)
        shutil.rmtree(data)


if __name__ == "__main__":
    main()
