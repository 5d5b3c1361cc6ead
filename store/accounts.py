"""Accounts, sessions and API keys: who may do what. Secrets are stored as hashes only."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import unicodedata
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from store import keys
from store.connection import Redis, available
from store.records import Account, ApiKey, Role, new_id, now
from store.tokens import token_in

PASSWORD_LENGTH = 12
IDLE_S = 12 * 3600
ABSOLUTE_S = 7 * 24 * 3600
REFRESH_S = 300
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


# KEYS: accounts, names. ARGV: id, json, name, 1 when there must be no account yet.
_CREATE = """
if ARGV[4] == '1' and redis.call('EXISTS', KEYS[1]) == 1 then return 'late' end
if redis.call('HSETNX', KEYS[2], ARGV[3], ARGV[1]) == 0 then return 'taken' end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 'ok'
"""


class Accounts:
    """Reads and writes accounts. Raises StoreUnavailable when Redis is away."""

    def __init__(self, redis: Redis, volume: Path) -> None:
        self._redis = redis
        self._create = redis.register_script(_CREATE)
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

    async def _add(self, name: str, password: str, role: Role, *, first: bool) -> Account:
        if len(password) < PASSWORD_LENGTH:
            raise PasswordTooShort(f"the password needs at least {PASSWORD_LENGTH} characters")
        async with self._hashing:
            password_hash = await asyncio.to_thread(self._hasher.hash, password)
        account = Account(
            id=new_id("acc"), name=name, role=role, password_hash=password_hash, created_at=now()
        )
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

    async def get(self, account_id: str) -> Account | None:
        with available():
            text = await self._redis.hget(keys.ACCOUNTS, account_id)
        return Account.model_validate_json(text) if text else None

    async def login(self, name: str, password: str, address: str) -> tuple[Account, str]:
        """The account and a new session token. Raises WrongCredentials, TooManyAttempts."""
        key = keys.attempts(f"{_folded(name)}:{address}")
        with available():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.set(key, 0, ex=60, nx=True)
                pipe.incr(key)
                pipe.ttl(key)
                _, attempts, left_s = await pipe.execute()
            if attempts > ATTEMPTS_PER_MINUTE:
                raise TooManyAttempts(max(1, int(left_s)))
            account_id = await self._redis.hget(keys.ACCOUNT_NAMES, _folded(name))
        account = await self.get(account_id) if account_id else None
        try:
            async with self._hashing:
                known = account.password_hash if account else _NOBODY
                await asyncio.to_thread(self._hasher.verify, known, password)
        except VerifyMismatchError:
            account = None
        if account is None:
            raise WrongCredentials("name or password is wrong")
        return account, await self.open_session(account)

    async def open_session(self, account: Account) -> str:
        """A new session's token; Redis holds its hash only."""
        token = secrets.token_urlsafe(32)
        key = keys.session(_digest(token))
        fields = {"account": account.id, "until": int(now().timestamp()) + ABSOLUTE_S}
        with available():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hset(key, mapping=fields)
                pipe.expire(key, IDLE_S)
                await pipe.execute()
        return token

    async def session(self, token: str) -> Account | None:
        """The account behind a session token; using it keeps it open, 7 days at most."""
        key = keys.session(_digest(token))
        with available():
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.hgetall(key)
                pipe.ttl(key)
                fields, idle_left_s = await pipe.execute()
            left_s = int(fields.get("until", 0)) - int(now().timestamp())
            if left_s <= 0:
                return None
            idle_s = min(IDLE_S, left_s)
            if idle_left_s < idle_s - REFRESH_S:  # each write costs an fsync: not at every request
                await self._redis.expire(key, idle_s)
        return await self.get(fields["account"])

    async def logout(self, token: str) -> None:
        with available():
            await self._redis.delete(keys.session(_digest(token)))

    async def create_key(self, account_id: str, label: str) -> tuple[ApiKey, str]:
        """A new API key and its secret, which is shown this once."""
        secret = f"heed_sk_{secrets.token_urlsafe(32)}"
        key = ApiKey(id=new_id("key"), account_id=account_id, label=label, created_at=now())
        with available():
            await self._redis.hset(keys.API_KEYS, _digest(secret), key.model_dump_json())
        return key, secret

    async def by_key(self, secret: str) -> Account | None:
        """The account behind an API key."""
        with available():
            text = await self._redis.hget(keys.API_KEYS, _digest(secret))
        return await self.get(ApiKey.model_validate_json(text).account_id) if text else None


def _folded(name: str) -> str:
    """Names that look alike are the same name."""
    return unicodedata.normalize("NFKC", name).strip().casefold()


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
