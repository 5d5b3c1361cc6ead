"""The nine steps of the loop with real parts: launcher, Redis, Celery, vLLM, trainer, on a tiny model.

The README tells the same nine steps; the dashboard's run page shows them.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from scripts.loop.annotators import Annotator
from scripts.loop.client import Client, session
from scripts.started import ROOT, Heed, start_heed, stop_heed

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

VOTES = 8


@pytest.fixture(scope="module")
def heed(tiny_policy: Path) -> Any:
    # Short, because the path of a Unix socket holds at most 107 bytes.
    data = Path(tempfile.mkdtemp(prefix="heed-loop-", dir="/tmp"))
    started = start_heed(
        data, ROOT / "configs" / "tiny.toml", HEED_MODEL=str(tiny_policy), HEED_ENGINE_COUNT="2"
    )
    yield started
    stop_heed(started)
    shutil.rmtree(data)


@pytest.fixture(scope="module")
async def client(heed: Heed) -> AsyncIterator[Client]:
    async with session() as http:
        client = Client(http, heed.url)
        await client.sign_in(heed.token)
        yield client


async def wait_for(client: Client, path: str, wanted: Any, timeout_s: float = 300) -> Any:
    """Poll `path` until `wanted(body)` is true; the body."""
    deadline = time.monotonic() + timeout_s
    while True:
        body = await client.call("GET", path)
        if wanted(body):
            return body
        assert time.monotonic() < deadline, f"{path} still says {body}"
        await asyncio.sleep(0.5)


async def test_a_vote_changes_the_model_that_answers(client: Client, heed: Heed) -> None:
    # 1. Turn: a message opens a duel; both answers are leased from version 1, and nothing says so yet.
    conversation = (await client.call("POST", "/api/v1/conversations", {}))["id"]
    messages = f"/api/v1/conversations/{conversation}/messages"
    turn = await client.call("POST", messages, {"text": "Say something.", "mode": "duel"})
    assert [answer["policy_version"] for answer in turn["answers"]] == [None, None]

    # 2. Stream: both sides to their end; a second reader from the start gets the same text.
    texts: list[dict[str, str]] = []
    for _ in range(2):
        text: dict[str, str] = {}
        async for event in client.events(turn["stream"]):
            if event["type"] == "answer.delta":
                text[event["answer_id"]] = text.get(event["answer_id"], "") + event["text"]
        texts.append(text)
    assert texts[0] == texts[1]

    # 3. Vote: counted once, however often it is sent; the winner goes on as the assistant's message.
    vote = {"kind": "duel", "duel_id": turn["duel"]["id"], "choice": "a"}
    first = await client.call("POST", "/api/v1/votes", vote, **{"Idempotency-Key": "the-same"})
    again = await client.call("POST", "/api/v1/votes", vote, **{"Idempotency-Key": "the-same"})
    assert first["vote"] == again["vote"]
    assert first["reveal"] == {"version_a": 1, "version_b": 1}
    shown = await client.call("GET", f"/api/v1/conversations/{conversation}")
    assert shown["conversation"]["leaf_id"] == turn["duel"]["answer_a"]
    for number in range(VOTES):
        assert await client.duel_and_vote(f"Say {number}.", Annotator()) is not None

    # 4. Due? Enough new votes wait, so the beat tick starts a run that nobody asked for.
    run_id = (await wait_for(client, "/api/v1/runs", lambda body: body["items"]))["items"][0]["id"]
    run = await wait_for(
        client, f"/api/v1/runs/{run_id}", lambda body: body["state"] not in ("queued", "running")
    )
    assert run["state"] == "succeeded", run["error"]
    assert run["requested_by"] == "votes"
    assert [stage["state"] for stage in run["stages"]] == ["done"] * 5

    # 5. Freeze: the votes became an immutable, hashed data set.
    assert run["snapshot"]["train_pairs"] >= 1
    assert run["snapshot"]["held_out_pairs"] >= 1
    assert len(run["snapshot"]["sha256"]) == 64

    # 6. Reward model and 7. PPO-max: live curves came out, every step of them.
    rows = (await client.call("GET", f"/api/v1/runs/{run_id}/metrics?after=0"))["items"]
    assert {"reward", "ppo"} <= {row["stage"] for row in rows}
    ppo = [row["values"] for row in rows if row["stage"] == "ppo" and "ref_kl" in row["values"]]
    assert {"reward_mean", "ref_kl", "response_length_mean", "perplexity"} <= set(ppo[-1])

    # 8. Gate: judged against the version that was active, each check with its threshold.
    policies = await client.call("GET", "/api/v1/policies")
    newest = max(policies["items"], key=lambda version: version["number"])
    assert newest["number"] == run["version"] == 2
    assert newest["report"]["passed"]
    assert newest["report"]["checks"]

    # 9. Release: the running server answers with it, and no engine was restarted for that.
    status = await client.call("GET", "/api/v1/status")
    assert status["active"]["number"] == 2
    assert set(status["serving"].values()) == {2}
    turn = await client.call("POST", messages, {"text": "And now?", "mode": "single"})
    async for _ in client.events(turn["stream"]):
        pass
    shown = await client.call("GET", f"/api/v1/conversations/{conversation}")
    assert shown["answers"][-1]["policy_version"] == 2


async def test_rollback_brings_the_version_before_back(client: Client) -> None:
    await client.call("POST", "/api/v1/policies/rollback", {"reason": "a test"})
    status = await wait_for(
        client, "/api/v1/status", lambda body: set(body["serving"].values()) == {1}, timeout_s=30
    )
    assert status["active"]["number"] == 1
    assert await client.ask("Hello?") is not None
