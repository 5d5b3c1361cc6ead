"""Sessions and API keys: how long they last, who sees them, how they end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from store import api_keys, keys
from store import sessions as module
from store.api_keys import ApiKeys
from store.connection import Redis
from store.records import Account, ApiKey, now
from store.sessions import Sessions, is_fresh
from store.tokens import digest
from tests.present import present

pytestmark = pytest.mark.anyio

ANN = Account(id="acc_ann", name="Ann", role="admin", password_hash="", created_at=now())


@pytest.fixture
def sessions(client: Redis) -> Sessions:
    return Sessions(client)


@pytest.fixture
async def ann(client: Redis) -> Account:
    """Ann is in the store, where a key finds her."""
    await client.hset(keys.ACCOUNTS, ANN.id, ANN.model_dump_json())
    return ANN


async def test_a_session_ends_by_signing_out(sessions: Sessions) -> None:
    token = await sessions.open(ANN, "10.0.0.1", "a browser")
    session = present(await sessions.get(token))
    assert (session.account_id, session.address, session.agent) == ("acc_ann", "10.0.0.1", "a browser")
    await sessions.end(token)
    assert await sessions.get(token) is None
    assert await sessions.get("guess") is None
    assert await sessions.of("acc_ann") == []


async def test_a_session_lives_on_while_it_is_used_but_not_for_ever(
    sessions: Sessions, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await sessions.open(ANN)
    key = keys.session(digest(token))
    await client.expire(key, 60)  # nearly idle for 12 hours
    assert await sessions.get(token) is not None
    assert await client.ttl(key) > 11 * 3600
    later = now().timestamp() + module.ABSOLUTE_S - 100
    monkeypatch.setattr(module, "now", lambda: datetime.fromtimestamp(later, tz=UTC))
    assert await sessions.get(token) is not None
    later += 101
    assert await sessions.get(token) is None


async def test_a_list_names_the_browsers_and_one_can_be_signed_out(sessions: Sessions, client: Redis) -> None:
    first, second = [await sessions.open(ANN, agent=agent) for agent in ("first", "second")]
    listed = await sessions.of("acc_ann")
    assert [session.agent for session in listed] == ["second", "first"]
    assert not any(first in session.model_dump_json() for session in listed)
    assert await sessions.revoke("acc_ann", listed[1].id)
    assert not await sessions.revoke("acc_bob", listed[0].id)
    assert await sessions.get(first) is None
    third = await sessions.open(ANN)
    assert await sessions.revoke_all("acc_ann", keep=third) == 1
    assert await sessions.get(second) is None
    assert [session.id for session in await sessions.of("acc_ann")] == [present(await sessions.get(third)).id]
    await client.delete(keys.session(digest(third)))  # as twelve idle hours do
    assert await sessions.of("acc_ann") == []


async def test_a_password_is_fresh_for_ten_minutes(
    sessions: Sessions, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await sessions.open(ANN)
    assert is_fresh(present(await sessions.get(token)))
    later = now() + timedelta(seconds=module.FRESH_S + 1)
    monkeypatch.setattr(module, "now", lambda: later)
    assert not is_fresh(present(await sessions.get(token)))
    await sessions.confirm(token)
    assert is_fresh(present(await sessions.get(token)))


async def test_a_session_of_the_first_release_works_but_is_not_fresh(
    sessions: Sessions, client: Redis
) -> None:
    until = int(now().timestamp()) + 3600
    await client.hset(keys.session(digest("old")), mapping={"account": "acc_ann", "until": until})
    session = present(await sessions.get("old"))
    assert session.account_id == "acc_ann"
    assert not is_fresh(session)


async def test_an_api_key_and_whose_it_is_are_found_by_its_secret_until_it_is_revoked(
    client: Redis, ann: Account
) -> None:
    found = ApiKeys(client)
    key, secret = await found.create("acc_ann", "laptop", ("chat",))
    assert secret.startswith("heed_sk_")
    assert secret.endswith(key.ends)
    assert await found.find(secret) == (key, ann)
    assert await found.find("heed_sk_guess") is None
    assert await found.revoke(key.id) == key
    assert await found.find(secret) is None
    assert await found.revoke(key.id) is None


async def test_a_key_without_an_account_opens_nothing(client: Redis) -> None:
    found = ApiKeys(client)
    _, secret = await found.create("acc_gone", "laptop")
    assert await found.find(secret) is None


async def test_the_last_use_of_a_key_is_known_to_the_minute(
    client: Redis, ann: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = ApiKeys(client)
    _, secret = await found.create("acc_ann", "laptop")
    assert [used for _, used in await found.all()] == [None]
    first = now()
    for seconds, expected in ((0, 0), (59, 0), (60, 60)):
        at = first + timedelta(seconds=seconds)
        monkeypatch.setattr(api_keys, "now", lambda at=at: at)
        await found.find(secret)
        assert await found.all("acc_bob") == []
        [(_, used)] = await found.all("acc_ann")
        assert used == first + timedelta(seconds=expected)


async def test_a_key_from_before_there_were_scopes_keeps_what_it_could(client: Redis, ann: Account) -> None:
    old = ApiKey(id="key_1", account_id="acc_ann", label="old", created_at=now())
    text = old.model_dump_json(exclude={"scopes", "ends"})
    await client.hset(keys.API_KEYS, digest("heed_sk_old"), text)
    key, _ = present(await ApiKeys(client).find("heed_sk_old"))
    assert key.scopes == ("chat", "feedback", "read", "admin")
