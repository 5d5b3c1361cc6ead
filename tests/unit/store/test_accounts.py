"""Accounts: one first admin, invites, hashed secrets, guessing slowed down, never without an admin."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest

from store import keys
from store.accounts import (
    AccountDisabled,
    Accounts,
    LastAdmin,
    NameTaken,
    PasswordTooShort,
    TooManyAttempts,
    WrongCredentials,
    WrongToken,
)
from store.api_keys import ApiKeys
from store.connection import Redis
from store.invites import InviteGone, Invites
from store.records import Account
from store.sessions import Sessions
from tests.present import present

pytestmark = pytest.mark.anyio

PASSWORD = "correct horse battery"


@pytest.fixture
def accounts(client: Redis, volume: Path) -> Accounts:
    return Accounts(client, volume)


async def everything(client: Redis) -> str:
    """All that Redis holds, as one text."""
    found = []
    for key in await client.keys("*"):
        kind = await client.type(key)
        read = {"hash": client.hgetall, "string": client.get, "set": client.smembers}[kind]
        found.append(f"{key} {await read(key)}")
    return "\n".join(found)


async def test_setup_token_is_made_once_and_private(accounts: Accounts, client: Redis, volume: Path) -> None:
    token = present(await accounts.setup_token())
    assert len(token) >= 32
    assert await Accounts(client, volume).setup_token() == token
    path = volume / "secrets" / "setup_token"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [one.name for one in path.parent.iterdir()] == ["setup_token"]


async def test_servers_that_start_at_once_print_the_same_token(client: Redis, volume: Path) -> None:
    tokens = await asyncio.gather(*(Accounts(client, volume).setup_token() for _ in range(8)))
    assert len(set(tokens)) == 1


async def test_setup_token_works_once(accounts: Accounts, volume: Path) -> None:
    token = present(await accounts.setup_token())
    admin = await accounts.create_first(token, "Ann", PASSWORD)
    assert admin.role == "admin"
    assert not await accounts.setup_needed()
    assert await accounts.setup_token() is None
    assert not (volume / "secrets" / "setup_token").exists()
    with pytest.raises(WrongToken):
        await accounts.create_first(token, "Bob", PASSWORD)


async def test_of_first_accounts_made_at_once_one_is_made(accounts: Accounts, client: Redis) -> None:
    token = present(await accounts.setup_token())
    tries = [accounts.create_first(token, f"admin {number}", PASSWORD) for number in range(4)]
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(result, WrongToken) for result in results) == 3
    assert await client.hlen(keys.ACCOUNTS) == 1


@pytest.mark.parametrize("token", ["", "guess", "gëss"])
async def test_wrong_setup_token_is_refused(accounts: Accounts, token: str) -> None:
    await accounts.setup_token()
    with pytest.raises(WrongToken):
        await accounts.create_first(token, "Ann", PASSWORD)
    assert await accounts.setup_needed()


async def test_short_password_is_refused_and_the_token_stays_good(accounts: Accounts) -> None:
    token = present(await accounts.setup_token())
    with pytest.raises(PasswordTooShort, match="12"):
        await accounts.create_first(token, "Ann", "elevenchars")
    await accounts.create_first(token, "Ann", "twelve chars")


@pytest.mark.parametrize("same", ["ann", "ANN", " Ann ", "\uff21nn"])
async def test_name_that_looks_the_same_is_taken(accounts: Accounts, same: str) -> None:
    await accounts.create("Ann", PASSWORD, "annotator")
    with pytest.raises(NameTaken):
        await accounts.create(same, PASSWORD, "annotator")


async def test_secrets_are_stored_hashed(accounts: Accounts, client: Redis) -> None:
    account = await accounts.create("Ann", PASSWORD, "annotator")
    session = await Sessions(client).open(account)
    _, secret = await ApiKeys(client).create(account.id, "laptop")
    _, invite = await Invites(client).create(account.id, "annotator", hours=1)
    stored = await everything(client)
    assert account.id in stored
    for text in (PASSWORD, session, secret, secret.removeprefix("heed_sk_"), invite):
        assert text not in stored
    assert account.password_hash.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


@pytest.mark.parametrize(("name", "password"), [("Ann", "wrong horse battery"), ("Nobody", PASSWORD)])
async def test_wrong_name_and_wrong_password_sound_the_same(
    accounts: Accounts, name: str, password: str
) -> None:
    await accounts.create("Ann", PASSWORD, "annotator")
    with pytest.raises(WrongCredentials, match=r"^name or password is wrong$"):
        await accounts.login(name, password, "127.0.0.1")


async def test_unknown_name_costs_a_hash_like_a_wrong_password(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = []
    verify = accounts._hasher.verify

    def counted(self: object, *args: str) -> bool:
        hashed.append(args)
        return verify(*args)

    monkeypatch.setattr(type(accounts._hasher), "verify", counted)
    with pytest.raises(WrongCredentials):
        await accounts.login("Nobody", PASSWORD, "127.0.0.1")
    assert len(hashed) == 1


async def test_sixth_login_within_a_minute_is_refused_for_this_name_and_address_only(
    accounts: Accounts, client: Redis
) -> None:
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


async def test_an_invite_makes_one_account_with_its_role(accounts: Accounts, client: Redis) -> None:
    invites = Invites(client)
    _, token = await invites.create("acc_admin", "reviewer", hours=1)
    tries = [accounts.accept(token, f"name {number}", PASSWORD) for number in range(4)]
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(result, InviteGone) for result in results) == 3
    (made,) = [result[0] for result in results if isinstance(result, tuple)]
    assert made.role == "reviewer"
    assert [account.id for account in await accounts.all()] == [made.id]
    (invite,) = await invites.all()
    assert invite.used_by == made.id


async def test_an_invite_survives_a_short_password_and_a_taken_name(
    accounts: Accounts, client: Redis
) -> None:
    await accounts.create("Ann", PASSWORD, "admin")
    _, token = await Invites(client).create("acc_admin", "user", hours=1)
    with pytest.raises(PasswordTooShort):
        await accounts.accept(token, "Bob", "short")
    with pytest.raises(NameTaken):
        await accounts.accept(token, "ann", PASSWORD)
    await accounts.accept(token, "Bob", PASSWORD)


async def test_old_and_revoked_invites_make_no_account(accounts: Accounts, client: Redis) -> None:
    invites = Invites(client)
    _, old = await invites.create("acc_admin", "user", hours=-1)
    invite, revoked = await invites.create("acc_admin", "user", hours=1)
    await invites.revoke(invite.id)
    for token in (old, revoked, "guess"):
        with pytest.raises(InviteGone):
            await accounts.accept(token, "Bob", PASSWORD)
    assert await invites.revoke("inv_nothing") is None


async def test_a_password_link_changes_the_password_of_its_account_once(
    accounts: Accounts, client: Redis
) -> None:
    ann = await accounts.create("Ann", PASSWORD, "admin")
    _, token = await Invites(client).create(ann.id, ann.role, hours=1, account=ann)
    await accounts.accept(token, "", "another long password")
    with pytest.raises(WrongCredentials):
        await accounts.login("Ann", PASSWORD, "127.0.0.1")
    assert (await accounts.login("Ann", "another long password", "127.0.0.1")).id == ann.id
    with pytest.raises(InviteGone):
        await accounts.accept(token, "", PASSWORD)


async def test_a_disabled_account_cannot_sign_in_and_only_its_owner_hears_why(accounts: Accounts) -> None:
    await accounts.create("Root", PASSWORD, "admin")
    ann = await accounts.create("Ann", PASSWORD, "annotator")
    await accounts.change(ann.id, disabled=True)
    with pytest.raises(AccountDisabled):
        await accounts.login("Ann", PASSWORD, "127.0.0.1")
    with pytest.raises(WrongCredentials):
        await accounts.login("Ann", "wrong horse battery", "127.0.0.1")
    await accounts.change(ann.id, disabled=False)
    assert await accounts.login("Ann", PASSWORD, "127.0.0.1") == ann


async def test_two_admins_who_demote_each_other_leave_one(accounts: Accounts) -> None:
    ann, bob = [await accounts.create(name, PASSWORD, "admin") for name in ("Ann", "Bob")]
    done = await asyncio.gather(
        accounts.change(ann.id, role="annotator"),
        accounts.change(bob.id, disabled=True),
        return_exceptions=True,
    )
    assert sum(isinstance(result, LastAdmin) for result in done) == 1
    with pytest.raises(KeyError):
        await accounts.change("acc_nobody", role="admin")


async def test_an_account_from_before_there_were_five_roles_still_works(
    accounts: Accounts, client: Redis
) -> None:
    """As the first release wrote it: no `disabled_at`."""
    made = await accounts.create("Ann", PASSWORD, "annotator")
    old = made.model_dump_json(exclude={"disabled_at"})
    await client.hset(keys.ACCOUNTS, made.id, old)
    assert "disabled_at" not in old
    assert await accounts.login("Ann", PASSWORD, "127.0.0.1") == made == Account.model_validate_json(old)
