"""Rate limits of one person over HTTP: 429, how long to wait, and nobody else is touched."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from server.settings import ServerSettings
from tests.fakes import ScriptedPool
from tests.running import Heed, serving

pytestmark = pytest.mark.anyio
LIMITS = "[limits]\nmessages_per_minute = 2\ncompletions_per_minute = 2\nvotes_per_minute = 2\n"


@pytest.fixture
async def strict(settings: ServerSettings) -> AsyncIterator[Heed]:
    assert settings.config is not None
    settings.config.write_text(LIMITS)
    async with serving(settings, ScriptedPool(1)) as heed:
        yield heed


async def test_messages_new_answers_and_continuing_spend_one_budget(strict: Heed) -> None:
    ann, bob = await strict.person("ann"), await strict.person("bob")
    turn = await ann.say("Hi")
    await ann.follow(turn["stream"])
    path = f"/api/v1/conversations/{turn['conversation']}"
    again = await ann.call("POST", f"{path}/answers", {"parent_id": turn["message"]["id"], "mode": "single"})
    assert again.status_code == 202
    refused = [
        await ann.call("POST", f"{path}/messages", {"text": "More"}),
        await ann.call("POST", f"/api/v1/answers/{turn['answers'][0]['id']}/continue"),
    ]
    for response in refused:
        assert response.status_code == 429
        assert 1 <= int(response.headers["retry-after"]) <= 30
        assert response.json()["remedy"].startswith("try again in ")
    assert len((await ann.get(path))["messages"]) == 1
    await bob.say("Hi")


async def test_votes_have_their_own(strict: Heed) -> None:
    ann = await strict.person("ann")
    turn = await ann.say("Hi")
    await ann.follow(turn["stream"])
    thumb = {"kind": "thumb", "answer_id": turn["answers"][0]["id"], "choice": "up"}
    codes = [
        (await ann.call("POST", "/api/v1/votes", thumb, **{"Idempotency-Key": f"key-{number}"})).status_code
        for number in range(3)
    ]
    assert codes == [201, 201, 429]


async def test_an_api_client_hears_it_in_openais_shape(strict: Heed) -> None:
    ann = await strict.person("ann")
    body = {"model": "active", "messages": [{"role": "user", "content": "Hi"}]}
    for _ in range(2):
        assert (await ann.call("POST", "/v1/chat/completions", body)).status_code == 200
    response = await ann.call("POST", "/v1/chat/completions", body)
    assert response.status_code == 429
    assert response.json()["error"]["type"] == "rate_limit_error"
    assert 1 <= int(response.headers["retry-after"]) <= 30


async def test_completions_are_not_limited_by_default(settings: ServerSettings) -> None:
    async with serving(settings, ScriptedPool(1)) as heed:
        assert heed.parts.config.limits.completions_per_minute == 0
        ann = await heed.person("ann")
        body = {"model": "active", "messages": [{"role": "user", "content": "Hi"}]}
        codes = {(await ann.call("POST", "/v1/chat/completions", body)).status_code for _ in range(5)}
        assert codes == {200}
