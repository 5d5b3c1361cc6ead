"""Invites: one-time links to a new account, or to a new password for one that exists."""

from __future__ import annotations

from datetime import timedelta

from store import keys
from store.connection import Redis, available
from store.records import Account, Invite, Role, new_id, now
from store.tokens import digest, new_secret


class InviteGone(Exception):
    """The link was used, revoked or is too old, or there never was one."""


class Invites:
    """Reads and writes invites; Redis holds the hashes of their tokens. Raises StoreUnavailable."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def create(
        self, created_by: str, role: Role, hours: float, note: str = "", account: Account | None = None
    ) -> tuple[Invite, str]:
        """A new invite and its token, which is shown this once. With `account`: a link to a new password."""
        token, at = new_secret(), now()
        invite = Invite(
            id=new_id("inv"),
            role=account.role if account else role,
            account_id=account.id if account else None,
            note=note,
            created_by=created_by,
            created_at=at,
            expires_at=at + timedelta(hours=hours),
        )
        with available():
            await self._redis.hset(keys.INVITES, digest(token), invite.model_dump_json())
        return invite, token

    async def all(self) -> list[Invite]:
        """All of them, the newest first."""
        with available():
            texts = await self._redis.hvals(keys.INVITES)
        return sorted(map(Invite.model_validate_json, texts), key=lambda one: one.created_at, reverse=True)

    async def open(self, token: str) -> tuple[Invite, str]:
        """The invite of a token and its stored text. Raises InviteGone."""
        with available():
            text = await self._redis.hget(keys.INVITES, digest(token))
        invite = Invite.model_validate_json(text) if text else None
        if text is None or invite is None or not is_open(invite):
            raise InviteGone("this link was used already, was taken back, or is too old")
        return invite, text

    async def revoke(self, invite_id: str) -> Invite | None:
        """Take a link back; None when there is no such invite."""
        with available():
            for token_digest, text in (await self._redis.hgetall(keys.INVITES)).items():
                invite = Invite.model_validate_json(text)
                if invite.id != invite_id:
                    continue
                if is_open(invite):
                    invite = invite.model_copy(update={"revoked_at": now()})
                    await self._redis.hset(keys.INVITES, token_digest, invite.model_dump_json())
                return invite
        return None


def is_open(invite: Invite) -> bool:
    return invite.used_at is None and invite.revoked_at is None and invite.expires_at > now()
