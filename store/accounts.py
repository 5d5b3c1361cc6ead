"""Accounts: names, roles, passwords. The first admin comes by the set-up link, others by an invite."""

from __future__ import annotations

import asyncio
import secrets
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from store import keys
from store.connection import Redis, available
from store.invites import InviteGone, Invites
from store.records import Account, Invite, Role, new_id, now
from store.tokens import digest, token_in

PASSWORD_LENGTH = 12
ATTEMPTS_PER_MINUTE = 5

_USED = "this set-up link was used already or is not the one that was printed last"

# Of nothing anybody knows: verifying against it makes an unknown name take as long as a wrong password.
_NOBODY = "$argon2id$v=19$m=19456,t=2,p=1$rJToHpGYpn1H+67qC4Q1SA$wo2EksjTuXcoUhQKbuh8XtnFPHYb7/e1rtMpt7CkFdU"


class WrongCredentials(Exception):
    """No such account, or not its password; which of the two is not said."""


class WrongToken(Exception):
    """The set-up link was used already or is not the one that was printed."""


class TooManyAttempts(Exception):
    """Wait `retry_after_s` seconds."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"too many attempts, try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class NameTaken(Exception):
    """An account has this name."""


class PasswordTooShort(Exception):
    """Below 12 characters."""


class AccountDisabled(Exception):
    """The password is right, but an admin has disabled the account."""


class LastAdmin(Exception):
    """Nobody would be left who can manage accounts."""


# KEYS: accounts, names. ARGV: id, json, name, 1 when there must be no account yet.
_CREATE = """
if ARGV[4] == '1' and redis.call('EXISTS', KEYS[1]) == 1 then return 'late' end
if redis.call('HSETNX', KEYS[2], ARGV[3], ARGV[1]) == 0 then return 'taken' end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 'ok'
"""

# KEYS: accounts, names, invites. ARGV: id, json, name, digest of the token, invite before, invite after.
_ACCEPT = """
if redis.call('HGET', KEYS[3], ARGV[4]) ~= ARGV[5] then return 'gone' end
if redis.call('HSETNX', KEYS[2], ARGV[3], ARGV[1]) == 0 then return 'taken' end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('HSET', KEYS[3], ARGV[4], ARGV[6])
return 'ok'
"""

# Replace a record unless it changed meanwhile. KEYS: accounts (or invites).
# ARGV: id, json before, json after, 1 when the account stops to be an admin who can sign in.
_CHANGE = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 'changed' end
if ARGV[4] == '1' then
  local admins = 0
  for _, text in ipairs(redis.call('HVALS', KEYS[1])) do
    local account = cjson.decode(text)
    local disabled = account['disabled_at']
    if account['role'] == 'admin' and (disabled == nil or disabled == cjson.null) then admins = admins + 1 end
  end
  if admins < 2 then return 'last' end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 'ok'
"""


class Accounts:
    """Reads and writes accounts. Raises StoreUnavailable when Redis is away."""

    def __init__(self, redis: Redis, volume: Path) -> None:
        self._redis = redis
        self._create = redis.register_script(_CREATE)
        self._accept = redis.register_script(_ACCEPT)
        self._change = redis.register_script(_CHANGE)
        self._token_file = volume / "secrets" / "setup_token"
        # OWASP's minimum: 19 MiB, 2 passes; two at a time, so that many log-ins cannot take the memory.
        self._hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
        self._hashing = asyncio.Semaphore(2)

    async def setup_needed(self) -> bool:
        """True while there is no account at all."""
        with available():
            return not await self._redis.exists(keys.ACCOUNTS)

    async def setup_token(self) -> str | None:
        """The token of the one-time set-up link; None once an account exists."""
        if not await self.setup_needed():
            return None
        return await asyncio.to_thread(token_in, self._token_file)

    async def create_first(self, token: str, name: str, password: str) -> Account:
        """Make the first admin, once. Raises WrongToken, PasswordTooShort."""
        wanted = await self.setup_token()
        if wanted is None or not secrets.compare_digest(token.encode(), wanted.encode()):
            raise WrongToken(_USED)
        account = await self._add(name, password, "admin", first=True)
        await asyncio.to_thread(self._token_file.unlink, missing_ok=True)
        return account

    async def create(self, name: str, password: str, role: Role) -> Account:
        """Raises NameTaken, PasswordTooShort."""
        return await self._add(name, password, role, first=False)

    async def accept(self, token: str, name: str, password: str) -> tuple[Account, Invite]:
        """Use an invite: a new account, or a new password for the one that the link is about.

        Raises InviteGone, NameTaken, PasswordTooShort.
        """
        invite, text = await Invites(self._redis).open(token)
        if invite.account_id:
            return await self._accept_password(invite, token, text, password), invite
        account = await self._new(name, password, invite.role)
        used = invite.model_copy(update={"used_by": account.id, "used_at": account.created_at})
        args = [account.id, account.model_dump_json(), _folded(name)]
        with available():
            verdict = await self._accept(
                keys=[keys.ACCOUNTS, keys.ACCOUNT_NAMES, keys.INVITES],
                args=[*args, digest(token), text, used.model_dump_json()],
            )
        if verdict == "gone":
            raise InviteGone("this link was used just now")
        if verdict == "taken":
            raise NameTaken(f"the name {name} is taken")
        return account, used

    async def _accept_password(self, invite: Invite, token: str, text: str, password: str) -> Account:
        assert invite.account_id is not None
        password_hash = await self._hash(password)
        used = invite.model_copy(update={"used_by": invite.account_id, "used_at": now()})
        with available():
            verdict = await self._change(
                keys=[keys.INVITES], args=[digest(token), text, used.model_dump_json(), 0]
            )
        if verdict != "ok":
            raise InviteGone("this link was used just now")
        _, account = await self._replace(invite.account_id, lambda _: {"password_hash": password_hash})
        return account

    async def _add(self, name: str, password: str, role: Role, *, first: bool) -> Account:
        account = await self._new(name, password, role)
        with available():
            verdict = await self._create(
                keys=[keys.ACCOUNTS, keys.ACCOUNT_NAMES],
                args=[account.id, account.model_dump_json(), _folded(name), int(first)],
            )
        if verdict == "late":
            raise WrongToken(_USED)
        if verdict == "taken":
            raise NameTaken(f"the name {name} is taken")
        return account

    async def _new(self, name: str, password: str, role: Role) -> Account:
        """An account that is not written down yet."""
        password_hash = await self._hash(password)
        return Account(id=new_id("acc"), name=name, role=role, password_hash=password_hash, created_at=now())

    async def _hash(self, password: str) -> str:
        if len(password) < PASSWORD_LENGTH:
            raise PasswordTooShort(f"the password needs at least {PASSWORD_LENGTH} characters")
        async with self._hashing:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def all(self) -> list[Account]:
        """By name."""
        with available():
            texts = await self._redis.hvals(keys.ACCOUNTS)
        return sorted(map(Account.model_validate_json, texts), key=lambda account: _folded(account.name))

    async def change(
        self,
        account_id: str,
        *,
        role: Role | None = None,
        disabled: bool | None = None,
        admitted: bool | None = None,
    ) -> tuple[Account, Account]:
        """The account before and after. Raises KeyError, LastAdmin."""

        def changes(account: Account) -> dict[str, Any]:
            wanted: dict[str, Any] = {} if role is None else {"role": role}
            if disabled is not None and disabled != (account.disabled_at is not None):
                wanted["disabled_at"] = now() if disabled else None
            if admitted is not None and admitted != (account.admitted_at is not None):
                wanted["admitted_at"] = now() if admitted else None
            return wanted

        return await self._replace(account_id, changes)

    async def set_password(self, account_id: str, password: str) -> Account:
        """Raises KeyError, PasswordTooShort."""
        password_hash = await self._hash(password)
        _, after = await self._replace(account_id, lambda _: {"password_hash": password_hash})
        return after

    async def _replace(
        self, account_id: str, changes: Callable[[Account], dict[str, Any]]
    ) -> tuple[Account, Account]:
        while True:
            with available():
                text = await self._redis.hget(keys.ACCOUNTS, account_id)
            if text is None:
                raise KeyError(account_id)
            before = Account.model_validate_json(text)
            after = before.model_copy(update=changes(before))
            leaves = _can_manage(before) and not _can_manage(after)
            with available():
                verdict = await self._change(
                    keys=[keys.ACCOUNTS], args=[account_id, text, after.model_dump_json(), int(leaves)]
                )
            if verdict == "last":
                raise LastAdmin(f"{before.name} is the only admin who can sign in")
            if verdict == "ok":
                return before, after

    async def get(self, account_id: str) -> Account | None:
        with available():
            text = await self._redis.hget(keys.ACCOUNTS, account_id)
        return Account.model_validate_json(text) if text else None

    async def login(self, name: str, password: str, address: str) -> Account:
        """The account of this name and password.

        Raises WrongCredentials, TooManyAttempts, and AccountDisabled to who knows the password.
        """
        await self._count_attempt(f"{_folded(name)}:{address}")
        with available():
            account_id = await self._redis.hget(keys.ACCOUNT_NAMES, _folded(name))
        account = await self.get(account_id) if account_id else None
        if not await self._verify(account, password) or account is None:
            raise WrongCredentials("name or password is wrong")
        if account.disabled_at is not None:
            raise AccountDisabled(f"the account {account.name} is disabled")
        return account

    async def confirm(self, account: Account, password: str, address: str) -> None:
        """Who is signed in says the password again. Raises WrongCredentials, TooManyAttempts."""
        await self._count_attempt(f"{_folded(account.name)}:{address}")
        if not await self._verify(account, password):
            raise WrongCredentials("the password is wrong")

    async def _count_attempt(self, who: str) -> None:
        key = keys.attempts(who)
        with available():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.set(key, 0, ex=60, nx=True)
                pipe.incr(key)
                pipe.ttl(key)
                _, attempts, left_s = await pipe.execute()
        if attempts > ATTEMPTS_PER_MINUTE:
            raise TooManyAttempts(max(1, int(left_s)))

    async def _verify(self, account: Account | None, password: str) -> bool:
        known = account.password_hash if account else _NOBODY
        try:
            async with self._hashing:
                return await asyncio.to_thread(self._hasher.verify, known, password)
        except VerifyMismatchError:
            return False


def _folded(name: str) -> str:
    """Names that look alike are the same name."""
    return unicodedata.normalize("NFKC", name).strip().casefold()


def _can_manage(account: Account) -> bool:
    return account.role == "admin" and account.disabled_at is None
