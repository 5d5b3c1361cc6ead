"""The vote log: every vote exactly once, durable before anybody is told that it counts.

The stream is append-only and the truth. A change (amended, undone, excluded, restored) is an entry of its own
that holds the whole vote after it; nothing is overwritten. The indexes can be made again from the stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from store import keys, vote_scripts
from store.archive.conversations import AtRest
from store.archive.vote_rows import VoteRows
from store.connection import Redis, available
from store.records import FLAGS, Answer, Duel, Exclusion, Vote, VoteChange, VoteFlag, now
from store.stream_ids import padded, when

_WHAT_A_PERSON_SAID = ("kind", "duel_id", "answer_id", "choice", "strength", "tags", "comment")

What = Literal["amend", "undo", "exclude", "restore", "flag"]


class IdempotencyConflict(Exception):
    """The same idempotency key came with another vote."""


class AlreadyVoted(Exception):
    """The duel takes no vote: `vote_id` decided it, or (None) its conversation was deleted."""

    def __init__(self, message: str, vote_id: str | None = None) -> None:
        super().__init__(message)
        self.vote_id = vote_id


class VoteUndone(Exception):
    """The vote was undone: nothing can be changed about it any more."""


class VoteLog:
    """The append-only stream of votes and what is derived from it. Raises StoreUnavailable.

    Old entries may be in the archive only: with `volume` they are read there.
    """

    def __init__(self, redis: Redis, volume: Path | None = None) -> None:
        self._redis = redis
        self._rows = VoteRows(redis, volume)
        self._at_rest = AtRest(redis, volume)
        self._cast = redis.register_script(vote_scripts.CAST)
        self._change = redis.register_script(vote_scripts.CHANGE)
        self._advance = redis.register_script(vote_scripts.ADVANCE)

    async def cast(
        self, vote: Vote, duel: Duel | None = None, edited: Answer | None = None
    ) -> tuple[Vote, bool]:
        """Log the vote, on `duel` when it is about one, with `edited` when it wrote an ideal answer.

        (The vote that counts, whether it is new.) The same annotator and key again give the first vote back,
        as it is now. Raises IdempotencyConflict when that vote said something else, AlreadyVoted when the
        duel is decided or the conversation gone, StoreUnavailable when it is not known whether the vote
        counts: cast it again with the same key.
        """
        if vote.duel_id != (duel.id if duel else None) or (vote.kind == "duel") == (duel is None):
            raise ValueError("a vote of kind duel, and no other, is about one duel, which is given")
        if (vote.kind in ("thumb", "edit")) == (vote.answer_id is None):
            raise ValueError("a thumb and an edit, and no other vote, are about one answer")
        if (vote.kind == "edit") == (edited is None):
            raise ValueError("an edit, and no other vote, comes with the edited answer")
        decided = duel.model_copy(update={"vote_id": vote.id}).model_dump_json() if duel else ""
        verdict, found = await self._cast_on(vote, decided, edited)
        if verdict == "gone" and await self._at_rest.wake(vote.conversation_id):
            verdict, found = await self._cast_on(vote, decided, edited)
        if verdict == "gone":
            raise AlreadyVoted("the conversation of this duel was deleted")
        if verdict == "decided":
            raise AlreadyVoted("this duel has its vote already", found)
        if verdict == "cast":
            return vote, True
        first, now_is = await self._cast_and_now(found)
        if _said(first) != _said(vote):
            raise IdempotencyConflict("this Idempotency-Key was used for another vote")
        return now_is, False

    async def _cast_on(self, vote: Vote, decided: str, edited: Answer | None) -> tuple[str, str]:
        with available():
            verdict, found = await self._cast(
                keys=[
                    keys.VOTES,
                    keys.VOTE_KEYS,
                    keys.VOTE_BY_ID,
                    keys.votes_of(vote.annotator_id),
                    keys.nodes(vote.conversation_id, "duels"),
                    keys.THUMBS,
                    keys.FEED,
                    keys.VOTE_OUT,
                    keys.CONVERSATIONS,
                    keys.nodes(vote.conversation_id, "answers"),
                    keys.ANSWER_PLACE,
                    keys.ARCHIVE_CHANGED,
                ],
                args=[
                    f"{vote.annotator_id}:{vote.idempotency_key}",
                    vote.model_dump_json(),
                    vote.id,
                    int(vote.makes_pair),
                    vote.duel_id or "",
                    decided,
                    _thumb(vote),
                    vote.choice,
                    vote.status,
                    edited.id if edited else "",
                    edited.model_dump_json() if edited else "",
                    vote.conversation_id,
                ],
            )
        return verdict, found

    async def undo(self, vote_id: str, by: str) -> Vote:
        """Take the vote back for good; its duel can be voted on again. An undone vote stays as it is.

        Raises KeyError when there is no such vote, as the next three do.
        """
        return await self._changed(vote_id, "undo", by, lambda _: {"status": "undone", "exclusion": None})

    async def amend(self, vote_id: str, by: str, **said: Any) -> Vote:
        """Change what the vote says (choice, strength, tags, comment). Raises VoteUndone."""
        return await self._changed(vote_id, "amend", by, lambda _: said)

    async def exclude(self, vote_id: str, by: str, reason: str) -> Vote:
        """Keep the vote out of training and statistics until `restore`. Raises VoteUndone."""

        def changes(vote: Vote) -> dict[str, Any]:
            if vote.exclusion is not None:
                return {}
            return {"status": "excluded", "exclusion": Exclusion(by=by, reason=reason, at=now())}

        return await self._changed(vote_id, "exclude", by, changes)

    async def flag(self, vote_id: str, by: str, flags: Iterable[VoteFlag], reason: str | None) -> Vote:
        """Mark a vote; with a reason it is excluded too, unless somebody restored it after an earlier flag.

        Raises VoteUndone.
        """
        new = set(flags)

        def changes(vote: Vote) -> dict[str, Any]:
            if new <= set(vote.flags):
                return {}
            marked: dict[str, Any] = {"flags": tuple(flag for flag in FLAGS if flag in new | {*vote.flags})}
            if reason is None or vote.status != "active" or set(vote.flags) - {"trial"}:
                return marked
            return marked | {"status": "excluded", "exclusion": Exclusion(by=by, reason=reason, at=now())}

        return await self._changed(vote_id, "flag", by, changes)

    async def restore(self, vote_id: str, by: str) -> Vote:
        """Let an excluded vote count again. Raises VoteUndone."""
        return await self._changed(vote_id, "restore", by, lambda _: {"status": "active", "exclusion": None})

    async def reconsider(self, vote_id: str, by: str, why_out: Callable[[Vote], str | None]) -> Vote:
        """Let a vote count again that `by` excluded, unless there is still a reason; then it has that one."""

        def changes(vote: Vote) -> dict[str, Any]:
            if vote.exclusion is None or vote.exclusion.by != by:
                return {}
            reason = why_out(vote)
            if reason is None:
                return {"status": "active", "exclusion": None}
            return {"exclusion": vote.exclusion.model_copy(update={"reason": reason})}

        return await self._changed(vote_id, "restore", by, changes)

    async def read(self, after: str = "0", through: str = "+") -> list[tuple[str, Vote]]:
        """(stream id, vote) of casts in (after, through], oldest first, each as it was at `through`."""
        votes: dict[str, Vote] = {}
        while True:
            rows = await self._rows.after(after, through, 1000)
            for entry, fields in rows:
                cast = fields.get("of", entry)
                if cast == entry or cast in votes:
                    votes[cast] = Vote.model_validate_json(fields["vote"])
            if len(rows) < 1000:
                return list(votes.items())
            after = rows[-1][0]

    async def changes(self, after: str, limit: int) -> list[tuple[str, Vote]]:
        """(stream id, vote) of the next casts and changes after `after`, each as it was then."""
        rows = await self._rows.after(after, count=limit)
        return [(entry, Vote.model_validate_json(fields["vote"])) for entry, fields in rows]

    async def get(self, vote_id: str) -> Vote | None:
        """The vote as it is now."""
        with available():
            entry = await self._redis.hget(keys.VOTE_BY_ID, vote_id)
        votes = await self._now([entry]) if entry else []
        return votes[0] if votes else None

    async def several(self, vote_ids: Sequence[str]) -> list[Vote]:
        """Those of the votes that there are, as they are now, in this order."""
        with available():
            entries = await self._redis.hmget(keys.VOTE_BY_ID, vote_ids) if vote_ids else []
        return await self._now([entry for entry in entries if entry])

    async def entry(self, vote_id: str) -> str | None:
        """The stream id of its cast, which marks are compared with."""
        with available():
            entry: str | None = await self._redis.hget(keys.VOTE_BY_ID, vote_id)
        return entry

    async def history(self, vote_id: str) -> list[VoteChange]:
        """What happened to the vote, its cast first; empty when there is no such vote."""
        with available():
            cast = await self._redis.hget(keys.VOTE_BY_ID, vote_id)
            entry = await self._redis.hget(keys.VOTE_LATEST, cast) or cast if cast else None
        changes: list[VoteChange] = []
        while entry is not None:
            ((_, fields),) = await self._rows.these([entry])
            vote = Vote.model_validate_json(fields["vote"])
            what, by = fields.get("what", "cast"), fields.get("by", vote.annotator_id)
            changes.append(VoteChange(what=what, by=by, at=when(entry), vote=vote))
            entry = fields.get("before")
        return changes[::-1]

    async def first_with_key(self, annotator_id: str, idempotency_key: str) -> Vote | None:
        """The vote that this annotator cast with this key, if any, as it is now."""
        with available():
            entry = await self._redis.hget(keys.VOTE_KEYS, f"{annotator_id}:{idempotency_key}")
        votes = await self._now([entry]) if entry else []
        return votes[0] if votes else None

    async def by_annotator(
        self, annotator_id: str, limit: int = 100, before: str | None = None
    ) -> list[Vote]:
        """Newest first, or those cast before the vote with the id `before`."""
        key, skip = keys.votes_of(annotator_id), 0
        with available():
            if before is not None:
                entry = await self._redis.hget(keys.VOTE_BY_ID, before)
                place = await self._redis.lpos(key, entry) if entry else None
                if place is None:
                    return []
                skip = place + 1
            entries = await self._redis.lrange(key, skip, skip + limit - 1)
        return await self._now(entries)

    async def count_since(self, annotator_id: str, since: datetime, limit: int = 1000) -> int:
        """How many of the annotator's last `limit` votes were cast since then, whatever became of them."""
        with available():
            entries = await self._redis.lrange(keys.votes_of(annotator_id), 0, limit - 1)
        return sum(when(entry) >= since for entry in entries)

    async def first_after(self, after: str) -> str | None:
        """Stream id of the first vote after this one."""
        rows = await self._rows.after(after, count=1)
        return str(rows[0][0]) if rows else None

    async def newest(self) -> str:
        """Stream id of the newest cast or change."""
        with available():
            rows = await self._redis.xrevrange(keys.VOTES, count=1)
        return str(rows[0][0]) if rows else "0"

    async def count_by_annotator(self, annotator_id: str) -> int:
        with available():
            return int(await self._redis.llen(keys.votes_of(annotator_id)))

    async def pending(self, after: str) -> int:
        """How many votes cast after this stream id make a preference pair, as they are now."""
        edge = padded(after)
        with available():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.xrevrange(keys.VOTES, count=1)
                pipe.zlexcount(keys.VOTE_RECOUNTS, f"(in {edge}", "[in ~")
                pipe.zlexcount(keys.VOTE_RECOUNTS, f"(out {edge}", "[out ~")
                newest, more, fewer = await pipe.execute()
        before = await self._rows.newest_through(after)
        return (
            _pairs_through(newest[:1]) - _pairs_through([before] if before else []) + int(more) - int(fewer)
        )

    async def total(self) -> int:
        """How many votes were ever cast, of any kind and in any state."""
        with available():
            return int(await self._redis.hlen(keys.VOTE_BY_ID))

    async def thumbs(self, annotator_id: str, answer_ids: list[str]) -> dict[str, str]:
        """The annotator's latest thumb on each of these answers."""
        if not answer_ids:
            return {}
        with available():
            found = await self._redis.hmget(keys.THUMBS, [f"{annotator_id}:{one}" for one in answer_ids])
        return {one: thumb for one, thumb in zip(answer_ids, found, strict=True) if thumb}

    async def mark(self, name: str) -> str:
        """Stream id up to which votes were looked at: `frozen_through` when a run began with them,
        `attempted_through` when it ended, `trained_through` when a version came out; `canary_through` when
        a canary was judged, where changes of votes count too."""
        with available():
            return str(await self._redis.hget(keys.VOTE_MARKS, name) or "0")

    async def advance(self, name: str, through: str) -> None:
        """Move a mark forward; a smaller id changes nothing."""
        with available():
            await self._advance(keys=[keys.VOTE_MARKS], args=[name, through])

    async def _changed(
        self, vote_id: str, what: What, by: str, changes: Callable[[Vote], dict[str, Any]]
    ) -> Vote:
        """Append what the vote becomes; nothing when that is what it is."""
        while True:
            with available():
                cast = await self._redis.hget(keys.VOTE_BY_ID, vote_id)
                latest = await self._redis.hget(keys.VOTE_LATEST, cast or "")
            if cast is None:
                raise KeyError(vote_id)
            latest = latest or cast
            first, vote = await self._entries([cast, latest])
            changed = vote.model_copy(update=changes(vote))
            if changed == vote:
                return vote
            if vote.status == "undone":
                raise VoteUndone("this vote was undone; cast a new one")
            changed = changed.model_copy(update={"changed_at": now()})
            undone = what == "undo"
            duel = await self._open_again(vote) if undone else None
            edited = await self._withdrawn(vote) if undone else None
            with available():
                done = await self._change(
                    keys=[
                        keys.VOTES,
                        keys.VOTE_LATEST,
                        keys.nodes(vote.conversation_id, "duels"),
                        keys.THUMBS,
                        keys.FEED,
                        keys.VOTE_OUT,
                        keys.VOTE_RECOUNTS,
                        keys.ARCHIVE_CHANGED,
                        keys.nodes(vote.conversation_id, "answers"),
                    ],
                    args=[
                        cast,
                        latest,
                        changed.model_dump_json(),
                        what,
                        by,
                        vote.id,
                        changed.status,
                        int(changed.makes_pair) - int(first.makes_pair),
                        padded(cast),
                        duel.id if duel else "",
                        duel.model_dump_json() if duel else "",
                        _thumb(vote) if undone else "",
                        vote.choice,
                        vote.conversation_id,
                        edited.id if edited else "",
                        edited.model_dump_json() if edited else "",
                    ],
                )
            if done:
                return changed

    async def _open_again(self, vote: Vote) -> Duel | None:
        """The vote's duel, open again. Only its vote ever changes a duel, so nothing can come between."""
        if vote.duel_id is None:
            return None
        with available():
            await self._at_rest.wake(vote.conversation_id)
            text = await self._redis.hget(keys.nodes(vote.conversation_id, "duels"), vote.duel_id)
        if text is None:
            return None
        return Duel.model_validate_json(text).model_copy(update={"vote_id": None, "revealed": True})

    async def _withdrawn(self, vote: Vote) -> Answer | None:
        """The ideal answer that the vote wrote, withdrawn; None where there is none."""
        if vote.kind != "edit":
            return None
        with available():
            await self._at_rest.wake(vote.conversation_id)
            text = await self._redis.hget(
                keys.nodes(vote.conversation_id, "answers"), vote.answers[-1].answer_id
            )
        return Answer.model_validate_json(text).model_copy(update={"withdrawn": True}) if text else None

    async def _cast_and_now(self, entry: str) -> tuple[Vote, Vote]:
        """A vote as it was cast, and as it is."""
        with available():
            latest = await self._redis.hget(keys.VOTE_LATEST, entry)
        first, last = await self._entries([entry, latest or entry])
        return first, last

    async def _now(self, entries: Sequence[str]) -> list[Vote]:
        """The votes that were cast with these entries, as they are now."""
        with available():
            latest = await self._redis.hmget(keys.VOTE_LATEST, entries) if entries else []
        return await self._entries([new or old for new, old in zip(latest, entries, strict=True)])

    async def _entries(self, entries: Sequence[str]) -> list[Vote]:
        rows = await self._rows.these(entries)
        return [Vote.model_validate_json(fields["vote"]) for _, fields in rows]


def _thumb(vote: Vote) -> str:
    return f"{vote.annotator_id}:{vote.answer_id}" if vote.kind == "thumb" else ""


def _said(vote: Vote) -> tuple[object, ...]:
    """What the person said, without what the server added."""
    ranks = {answer.answer_id: answer.rank for answer in vote.answers} if vote.kind != "duel" else {}
    return *(getattr(vote, field) for field in _WHAT_A_PERSON_SAID), ranks


def _pairs_through(rows: list[tuple[str, dict[str, str]]]) -> int:
    return int(rows[0][1]["pairs"]) if rows else 0
