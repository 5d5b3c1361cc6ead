"""The explorer's index: follows the vote log, the reviews and the runs, and keeps every vote as a row.

Derived and in memory: each server makes its own from the store and loses nothing when it ends.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from store import keys
from store.accounts import Accounts
from store.archive.conversations import AtRest
from store.connection import Redis, available
from store.explorer.script import script_of
from store.explorer.table import VoteRow, VoteTable
from store.lineage import Lineage
from store.opinions import Opinions, Thought
from store.policies import Policies
from store.records import Vote
from store.reviews import Reviews
from store.statistics.judged import style_of
from store.votes import VoteLog

AT_ONCE = 200
EXCERPT = 300
ANSWER_EXCERPT = 200
"""Of each answer: 100,000 votes take 80 MB for it."""

Node = dict[str, Any]


class VoteIndex:
    """Call `refresh`, then read `table`. Raises StoreUnavailable."""

    def __init__(self, redis: Redis, volume: Path) -> None:
        self.table = VoteTable()
        self.changes = 0
        """Grows with every row that changed: what is computed from the table is as old as this number."""
        self._redis = redis
        self._log, self._reviews, self._lineage = VoteLog(redis, volume), Reviews(redis), Lineage(redis)
        self._at_rest = AtRest(redis, volume)
        self._accounts, self._policies = Accounts(redis, volume), Policies(redis, volume)
        self._names: dict[str, str] = {}
        self._votes_through = self._reviews_through = "0"
        self._used: dict[str, tuple[int, ...]] = {}
        self._margins: dict[str, float] = {}
        self.thoughts: dict[str, Thought] = {}
        """By vote: what the reward model thought of its answers."""
        self._opinions, self._opinions_through = Opinions(redis), 0
        self._reward_models = volume / "reward_models"
        self._versions_seen: set[int] = set()
        self._busy = asyncio.Lock()

    async def refresh(self) -> VoteTable:
        """The table with everything that is in the store by now."""
        async with self._busy:
            await self._follow_versions()
            await self._follow_votes()
            await self._follow_opinions()
            await self._follow_reviews()
        return self.table

    async def _follow_votes(self) -> None:
        while changed := await self._log.changes(self._votes_through, AT_ONCE):
            latest = {vote.id: vote for _, vote in changed}
            for row in await self.rows(list(latest.values())):
                self._put(row)
            self._votes_through = changed[-1][0]
            await asyncio.sleep(0)  # a first build reads for seconds: chats go on meanwhile

    async def _follow_reviews(self) -> None:
        for entry, review in await self._reviews.after(self._reviews_through):
            self._reviews_through = entry
            row = self.table.get(review.vote_id)
            if row is not None:
                self._put(row._replace(review=review.choice))

    async def _follow_versions(self) -> None:
        """Which versions were trained on which votes, and what the reward model before thought of them."""
        for version in await self._policies.versions():
            if version.run_id is None or version.number in self._versions_seen:
                continue
            used = await self._lineage.votes(version.run_id)
            for vote_id in used:
                self._used[vote_id] = tuple(sorted({*self._used.get(vote_id, ()), version.number}))
            margins = await asyncio.to_thread(self._read_margins, version.reward_model)
            # A vote is new once; what the first model that had not seen it thought stays.
            self._margins = margins | self._margins
            self._versions_seen.add(version.number)
            for vote_id in used | margins.keys():
                row = self.table.get(vote_id)
                if row is not None:
                    self._put(row._replace(used=self._used.get(vote_id, ()), margin=self._margin(row.vote)))

    async def _follow_opinions(self) -> None:
        while True:
            self._opinions_through, new = await self._opinions.after(self._opinions_through)
            for opinion in new:
                self.thoughts[opinion.vote_id] = opinion.thought
                row = self.table.get(opinion.vote_id)
                if row is not None:
                    self._put(row._replace(margin=self._margin(row.vote)))
            if not new:
                return
            await asyncio.sleep(0)

    def _read_margins(self, reward_model: int | None) -> dict[str, float]:
        """Vote id -> how far the chosen answer was ahead; nothing of reward models of version 0.1."""
        path = self._reward_models / f"v{reward_model or 0:04d}" / "margins.json"
        try:
            return {str(name): float(margin) for name, margin in json.loads(path.read_text()).items()}
        except FileNotFoundError:
            return {}

    def _margin(self, vote: Vote) -> float | None:
        """Of the first answer over the second, as it was predicted."""
        thought = self.thoughts.get(vote.id)
        if thought is not None and not thought.learned_from and vote.kind == "duel":
            return thought.margin
        ahead = self._margins.get(vote.id) if vote.kind == "duel" else None
        return None if ahead is None else -ahead if vote.choice == "b" else ahead

    def _put(self, row: VoteRow) -> None:
        self.table.put(row)
        self.changes += 1

    async def rows(self, votes: Sequence[Vote]) -> list[VoteRow]:
        """Each vote with its prompt, its answers' looks and its annotator's name."""
        for account_id in {vote.annotator_id for vote in votes} - self._names.keys():
            account = await self._accounts.get(account_id)
            self._names[account_id] = account.name if account else account_id
        # Votes of version 0.1 do not name their answers: their duels do.
        unnamed = [(vote, vote.duel_id or "") for vote in votes if not vote.answers and vote.kind == "duel"]
        duels = {
            vote.id: duel
            for (vote, _), duel in zip(unnamed, await self._nodes("duels", unnamed), strict=True)
        }
        wanted = [(vote, one) for vote in votes for one in _said(vote, duels.get(vote.id))]
        answers: dict[str, list[Node | None]] = {vote.id: [] for vote in votes}
        for (vote, _), answer in zip(wanted, await self._nodes("answers", wanted), strict=True):
            answers[vote.id].append(answer)
        parents = [(vote, _parent(answers[vote.id])) for vote in votes]
        messages = await self._nodes("messages", parents)
        return [
            self._row(vote, answers[vote.id], message) for vote, message in zip(votes, messages, strict=True)
        ]

    def _row(self, vote: Vote, answers: list[Node | None], message: Node | None) -> VoteRow:
        known = self.table.get(vote.id)
        said = [answer for answer in answers if answer is not None]
        prompt = str(message["text"]) if message else ""
        return VoteRow(
            vote=vote,
            annotator=self._names[vote.annotator_id],
            prompt=prompt[:EXCERPT],
            versions=vote.versions,
            script=script_of(prompt),
            unit=vote.item_id or vote.duel_id or vote.answer_id or vote.id,
            label=_label(vote, said),
            styles=tuple(style_of(str(one["text"]), one.get("response_tokens")) for one in said),
            deleted=len(said) < len(answers) or message is None,
            margin=self._margin(vote),
            used=self._used.get(vote.id, ()),
            review=known.review if known else None,
            said="\n".join(str(one["text"])[:ANSWER_EXCERPT] for one in said),
        )

    async def _nodes(self, kind: str, wanted: Sequence[tuple[Vote, str]]) -> list[Node | None]:
        """Records of the votes' conversations, by id; None where there is none."""
        if not wanted:
            return []
        with available():
            async with self._redis.pipeline(transaction=False) as pipe:
                for vote, name in wanted:
                    pipe.hget(keys.nodes(vote.conversation_id, kind), name)
                found = await pipe.execute()
        missing = {
            vote.conversation_id for (vote, _), text in zip(wanted, found, strict=True) if text is None
        }
        at_rest = await self._at_rest.several(sorted(missing))
        for place, (vote, name) in enumerate(wanted):
            if found[place] is None and vote.conversation_id in at_rest:
                found[place] = at_rest[vote.conversation_id][kind].get(name)
        return [json.loads(text) if text else None for text in found]


def _said(vote: Vote, duel: Node | None) -> list[str]:
    """Ids of the answers that the vote is about, in the order shown."""
    if vote.answers:
        return [one.answer_id for one in vote.answers]
    if vote.kind == "duel":
        return [duel["answer_a"], duel["answer_b"]] if duel else [""]
    return [vote.answer_id or ""]


def _parent(answers: list[Node | None]) -> str:
    return next((str(answer["parent_id"]) for answer in answers if answer is not None), "")


def _label(vote: Vote, answers: list[Node]) -> str:
    """The chosen text, whatever side it was on; else the outcome."""
    if vote.choice in ("a", "b") and len(answers) == 2:
        return text_label(str(answers[vote.choice == "b"]["text"]))
    return vote.choice


def text_label(text: str) -> str:
    """What a judgement for this text is called: the same for every vote that prefers it."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]
