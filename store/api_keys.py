"""API keys: what programs sign in with. Scoped, shown once, revocable, with the time of the last use."""

from __future__ import annotations

from datetime import datetime, timedelta

from store import keys
from store.connection import Redis, available
from store.records import SCOPES, Account, ApiKey, Scope, new_id, now
from store.tokens import digest, new_secret

USED_EVERY_S = 60

# The key and its account in one question: every request of a program begins with it.
# KEYS: API keys, accounts. ARGV: digest of the secret.
_FIND = """
local key = redis.call('HGET', KEYS[1], ARGV[1])
if not key then return nil end
return {key, redis.call('HGET', KEYS[2], cjson.decode(key)['account_id'])}
"""


class ApiKeys:
    """Reads and writes API keys. Raises StoreUnavailable when Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._noted: dict[str, datetime] = {}
        """When this server wrote a key's last use: a write costs an fsync, so once a minute."""
        self._find = redis.register_script(_FIND)

    async def create(
        self, account_id: str, label: str, scopes: tuple[Scope, ...] = SCOPES
    ) -> tuple[ApiKey, str]:
        """A new key and its secret, which is shown this once."""
        secret = new_secret("heed_sk_")
        key = ApiKey(
            id=new_id("key"),
            account_id=account_id,
            label=label,
            created_at=now(),
            scopes=scopes,
            ends=secret[-4:],
        )
        with available():
            await self._redis.hset(keys.API_KEYS, digest(secret), key.model_dump_json())
        return key, secret

    async def find(self, secret: str) -> tuple[ApiKey, Account] | None:
        """The key of this secret and whose it is; its last use is noted."""
        with available():
            found = await self._find(keys=[keys.API_KEYS, keys.ACCOUNTS], args=[digest(secret)])
            if found is None or None in found:
                return None
            key, account = ApiKey.model_validate_json(found[0]), Account.model_validate_json(found[1])
            at, noted = now(), self._noted.get(key.id)
            if noted is None or at - noted >= timedelta(seconds=USED_EVERY_S):
                self._noted[key.id] = at
                await self._redis.hset(keys.API_KEYS_USED, key.id, at.isoformat())
        return key, account

    async def all(self, account_id: str | None = None) -> list[tuple[ApiKey, datetime | None]]:
        """Keys with their last use (to the minute), the newest first; of one account or of all."""
        with available():
            texts = await self._redis.hvals(keys.API_KEYS)
            used = await self._redis.hgetall(keys.API_KEYS_USED)
        found = [ApiKey.model_validate_json(text) for text in texts]
        found = [key for key in found if account_id in (None, key.account_id)]
        found.sort(key=lambda key: key.created_at, reverse=True)
        return [(key, datetime.fromisoformat(used[key.id]) if key.id in used else None) for key in found]

    async def revoke(self, key_id: str) -> ApiKey | None:
        """The key that no longer works from now on; None when there is no such key."""
        with available():
            for secret_digest, text in (await self._redis.hgetall(keys.API_KEYS)).items():
                key = ApiKey.model_validate_json(text)
                if key.id == key_id:
                    async with self._redis.pipeline(transaction=True) as pipe:
                        pipe.hdel(keys.API_KEYS, secret_digest)
                        pipe.hdel(keys.API_KEYS_USED, key_id)
                        await pipe.execute()
                    return key
        return None
