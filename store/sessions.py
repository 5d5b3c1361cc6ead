"""Sessions: signed-in browsers, their list, and how fresh the last typed password is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from store import keys
from store.connection import Redis, available
from store.records import Account, Session, now
from store.tokens import digest, new_secret

IDLE_S = 12 * 3600
ABSOLUTE_S = 7 * 24 * 3600
REFRESH_S = 300
FRESH_S = 600
"""How long a typed password counts as fresh."""
ID_LENGTH = 20
_EPOCH = datetime.fromtimestamp(0, tz=UTC)


class Sessions:
    """Reads and writes sessions; Redis holds the hashes of their tokens. Raises StoreUnavailable."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def open(self, account: Account, address: str = "", agent: str = "") -> str:
        """A new session's token."""
        token = new_secret()
        at = now()
        fields = {
            "account": account.id,
            "until": int((at + timedelta(seconds=ABSOLUTE_S)).timestamp()),
            "created_at": at.isoformat(),
            "confirmed_at": at.isoformat(),
            "seen_at": at.isoformat(),
            "address": address[:100],
            "agent": agent[:200],
        }
        key, listed = keys.session(digest(token)), keys.sessions_of(account.id)
        with available():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hset(key, mapping=fields)
                pipe.expire(key, IDLE_S)
                pipe.sadd(listed, digest(token))
                pipe.expire(listed, ABSOLUTE_S)
                await pipe.execute()
        return token

    async def get(self, token: str) -> Session | None:
        """The session of a token; using it keeps it open, 7 days at most."""
        key = keys.session(digest(token))
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
                async with self._redis.pipeline(transaction=True) as pipe:
                    pipe.expire(key, idle_s)
                    pipe.hset(key, "seen_at", now().isoformat())
                    await pipe.execute()
        return _session(digest(token), fields)

    async def of(self, account_id: str) -> list[Session]:
        """The account's open sessions, the newest first."""
        listed = keys.sessions_of(account_id)
        with available():
            digests = sorted(await self._redis.smembers(listed))
            async with self._redis.pipeline(transaction=False) as pipe:
                for one in digests:
                    pipe.hgetall(keys.session(one))
                found = await pipe.execute()
            ended = [one for one, fields in zip(digests, found, strict=True) if not fields]
            if ended:
                await self._redis.srem(listed, *ended)
        sessions = [_session(one, fields) for one, fields in zip(digests, found, strict=True) if fields]
        return sorted(sessions, key=lambda session: session.created_at, reverse=True)

    async def confirm(self, token: str) -> None:
        """The password was typed again just now."""
        key = keys.session(digest(token))
        with available():
            if await self._redis.exists(key):
                await self._redis.hset(key, "confirmed_at", now().isoformat())

    async def end(self, token: str) -> None:
        """Sign this browser out."""
        with available():
            fields = await self._redis.hgetall(keys.session(digest(token)))
        if fields:
            await self._end(fields["account"], [digest(token)])

    async def revoke(self, account_id: str, session_id: str) -> bool:
        """Sign one browser of the account out; False when there is no such session."""
        with available():
            digests = await self._redis.smembers(keys.sessions_of(account_id))
        found = [one for one in digests if one[:ID_LENGTH] == session_id]
        await self._end(account_id, found)
        return bool(found)

    async def revoke_all(self, account_id: str, keep: str | None = None) -> int:
        """Sign every browser of the account out, but the one of the token `keep`; how many."""
        with available():
            digests = await self._redis.smembers(keys.sessions_of(account_id))
        kept = digest(keep) if keep else None
        gone = [one for one in digests if one != kept]
        await self._end(account_id, gone)
        return len(gone)

    async def _end(self, account_id: str, digests: list[str]) -> None:
        if not digests:
            return
        with available():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.delete(*(keys.session(one) for one in digests))
                pipe.srem(keys.sessions_of(account_id), *digests)
                await pipe.execute()


def is_fresh(session: Session) -> bool:
    """Whether the password was typed within ten minutes."""
    return (now() - session.confirmed_at).total_seconds() < FRESH_S


def _session(token_digest: str, fields: dict[str, str]) -> Session:
    """A session that was opened by an older release knows no times: it is nobody's fresh one."""
    return Session(
        id=token_digest[:ID_LENGTH],
        account_id=fields["account"],
        created_at=datetime.fromisoformat(fields["created_at"]) if "created_at" in fields else _EPOCH,
        confirmed_at=datetime.fromisoformat(fields["confirmed_at"]) if "confirmed_at" in fields else _EPOCH,
        seen_at=datetime.fromisoformat(fields["seen_at"]) if "seen_at" in fields else _EPOCH,
        until=datetime.fromtimestamp(int(fields["until"]), tz=UTC),
        address=fields.get("address", ""),
        agent=fields.get("agent", ""),
    )
