"""Accounts: one first admin, hashed secrets, guessing slowed down."""

from __future__ import annotations

import asyncio
import stat
from datetime import UTC, datetime

import pytest

from store import accounts as module
from store import keys
from store.accounts import (
    Accounts,
    NameTaken,
    PasswordTooShort,
    TooManyAttempts,
    WrongCredentials,
    WrongToken,
)

pytestmark = pytest.mark.anyio

PASSWORD = "correct horse battery"


@pytest.fixture
def accounts(client, volume):
    return Accounts(client, volume)


async def everything(client):
    """All that Redis holds, as one text."""
    found = []
    for key in await client.keys("*"):
        kind = await client.type(key)
        read = {"hash": client.hgetall, "string": client.get}[kind]
        found.append(f"{key} {await read(key)}")
    return "\n".join(found)


async def test_setup_token_is_made_once_and_private(accounts, client, volume):
    token = await accounts.setup_token()
    assert len(token) >= 32
    assert await Accounts(client, volume).setup_token() == token
    path = volume / "secrets" / "setup_token"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [one.name for one in path.parent.iterdir()] == ["setup_token"]


async def test_servers_that_start_at_once_print_the_same_token(client, volume):
    tokens = await asyncio.gather(*(Accounts(client, volume).setup_token() for _ in range(8)))
    assert len(set(tokens)) == 1


async def test_setup_token_works_once(accounts, volume):
    token = await accounts.setup_token()
    admin = await accounts.create_first(token, "Ann", PASSWORD)
    assert admin.role == "admin"
    assert not await accounts.setup_needed()
    assert await accounts.setup_token() is None
    assert not (volume / "secrets" / "setup_token").exists()
    with pytest.raises(WrongToken):
        await accounts.create_first(token, "Bob", PASSWORD)


async def test_of_first_accounts_made_at_once_one_is_made(accounts, client):
    token = await accounts.setup_token()
    tries = [accounts.create_first(token, f"admin {number}", PASSWORD) for number in range(4)]
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(result, WrongToken) for result in results) == 3
    assert await client.hlen(keys.ACCOUNTS) == 1


@pytest.mark.parametrize("token", ["", "guess", "gëss"])
async def test_wrong_setup_token_is_refused(accounts, token):
    await accounts.setup_token()
    with pytest.raises(WrongToken):
        await accounts.create_first(token, "Ann", PASSWORD)
    assert await accounts.setup_needed()


async def test_short_password_is_refused_and_the_token_stays_good(accounts):
    token = await accounts.setup_token()
    with pytest.raises(PasswordTooShort, match="12"):
        await accounts.create_first(token, "Ann", "elevenchars")
    await accounts.create_first(token, "Ann", "twelve chars")


@pytest.mark.parametrize("same", ["ann", "ANN", " Ann ", "\uff21nn"])
async def test_name_that_looks_the_same_is_taken(accounts, same):
    await accounts.create("Ann", PASSWORD, "annotator")
    with pytest.raises(NameTaken):
        await accounts.create(same, PASSWORD, "annotator")


async def test_login_opens_a_session_that_logout_ends(accounts):
    made = await accounts.create("Ann", PASSWORD, "annotator")
    account, token = await accounts.login("ann", PASSWORD, "127.0.0.1")
    assert account == made
    assert await accounts.session(token) == made
    await accounts.logout(token)
    assert await accounts.session(token) is None
    assert await accounts.session("guess") is None


async def test_secrets_are_stored_hashed(accounts, client):
    account = await accounts.create("Ann", PASSWORD, "annotator")
    _, token = await accounts.login("Ann", PASSWORD, "127.0.0.1")
    _, secret = await accounts.create_key(account.id, "laptop")
    stored = await everything(client)
    assert account.id in stored
    for text in (PASSWORD, token, secret, secret.removeprefix("heed_sk_")):
        assert text not in stored
    assert account.password_hash.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


@pytest.mark.parametrize(("name", "password"), [("Ann", "wrong horse battery"), ("Nobody", PASSWORD)])
async def test_wrong_name_and_wrong_password_sound_the_same(accounts, name, password):
    await accounts.create("Ann", PASSWORD, "annotator")
    with pytest.raises(WrongCredentials, match=r"^name or password is wrong$"):
        await accounts.login(name, password, "127.0.0.1")


async def test_unknown_name_costs_a_hash_like_a_wrong_password(accounts, monkeypatch):
    hashed = []
    verify = accounts._hasher.verify
    monkeypatch.setattr(
        type(accounts._hasher), "verify", lambda self, *args: hashed.append(args) or verify(*args)
    )
    with pytest.raises(WrongCredentials):
        await accounts.login("Nobody", PASSWORD, "127.0.0.1")
    assert len(hashed) == 1


async def test_sixth_login_within_a_minute_is_refused_for_this_name_and_address_only(accounts, client):
    await accounts.create("Ann", PASSWORD, "annotator")
    for _ in range(5):
        with pytest.raises(WrongCredentials):
            await accounts.login("Ann", "wrong horse battery", "10.0.0.1")
    with pytest.raises(TooManyAttempts) as refused:
        await accounts.login("ANN", PASSWORD, "10.0.0.1")
    assert 0 < refused.value.retry_after_s <= 60
    await accounts.login("Ann", PASSWORD, "10.0.0.2")
    await client.delete(keys.attempts("ann:10.0.0.1"))  # as the minute's end does
    await accounts.login("Ann", PASSWORD, "10.0.0.1")


async def test_session_lives_on_while_it_is_used_but_not_for_ever(accounts, client, monkeypatch):
    account = await accounts.create("Ann", PASSWORD, "annotator")
    token = await accounts.open_session(account)
    (key,) = await client.keys(keys.session("*"))
    await client.expire(key, 60)  # nearly idle for 12 hours
    assert await accounts.session(token) == account
    assert await client.ttl(key) > 11 * 3600
    later = module.now().timestamp() + module.ABSOLUTE_S - 100
    monkeypatch.setattr(module, "now", lambda: datetime.fromtimestamp(later, tz=UTC))
    assert await accounts.session(token) == account
    later += 101
    assert await accounts.session(token) is None


async def test_api_key_names_its_account(accounts):
    account = await accounts.create("Ann", PASSWORD, "annotator")
    key, secret = await accounts.create_key(account.id, "laptop")
    assert secret.startswith("heed_sk_")
    assert (key.account_id, key.label) == (account.id, "laptop")
    assert await accounts.by_key(secret) == account
    assert await accounts.by_key("heed_sk_guess") is None
