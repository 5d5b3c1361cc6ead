"""A site with something of everything that is archived, and all of Redis as one value to compare."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from store import keys
from store.accounts import Accounts
from store.audit import Audit
from store.connection import Redis
from store.conversations import Conversations
from store.guidelines import GuidelineBook
from store.lineage import Lineage
from store.opinions import Opinion, Opinions, ScoredAnswer
from store.policies import Policies
from store.queue import Queue
from store.records import (
    Account,
    Answer,
    AuditEvent,
    ChatTurn,
    Conversation,
    Duel,
    Message,
    PolicyVersion,
    QueueItem,
    Sampling,
    Vote,
    VotedAnswer,
    new_id,
    now,
)
from store.reviews import Review, Reviews
from store.runs import Runs
from store.start_rules import StartRules, StartRulesBook
from store.votes import VoteLog


class Asked(NamedTuple):
    conversation: Conversation
    message: Message
    answers: tuple[Answer, Answer]
    duel: Duel


Ask = Callable[..., Awaitable[Asked]]
VoteOn = Callable[..., Vote]


async def asked_in(redis: Redis, system_prompt: str | None = None, text: str = "Longest?") -> Asked:
    """A turn with a duel in a new conversation."""
    conversations = Conversations(redis)
    conversation = await conversations.create("ann", "Rivers", system_prompt)
    at, stream = now(), new_id("turn")
    message = Message(
        id=new_id("msg"), conversation_id=conversation.id, parent_id=None, text=text, created_at=at
    )
    duel_id = new_id("duel")
    a, b = (
        Answer(
            id=new_id("ans"),
            conversation_id=conversation.id,
            parent_id=message.id,
            stream_id=stream,
            duel_id=duel_id,
            side=side,
            state="finished",
            text=text,
            policy_version=1,
            versions=(1,),
            sampling=Sampling(),
            created_at=at,
        )
        for side, text in (("a", "The Nile."), ("b", "The Rhine."))
    )
    duel = Duel(
        id=duel_id,
        conversation_id=conversation.id,
        parent_id=message.id,
        stream_id=stream,
        answer_a=a.id,
        answer_b=b.id,
        seed=7,
        owner_id="ann",
        created_at=at,
    )
    await conversations.open_turn(message, (a, b), duel)
    return Asked(conversation, message, (a, b), duel)


NOT_PROMISED = ("heed:archive:", "heed:feed", "heed:session", "heed:invites", "heed:keys")


async def everything(redis: Redis, *, without: tuple[str, ...] = NOT_PROMISED) -> dict[str, Any]:
    """Every key of Redis with its value, but for passwords and the keys that a restore does not promise."""
    read = {
        "string": redis.get,
        "hash": redis.hgetall,
        "set": redis.smembers,
        "list": lambda key: redis.lrange(key, 0, -1),
        "zset": lambda key: redis.zrange(key, 0, -1, withscores=True),
        "stream": redis.xrange,
    }
    found = {}
    for key in sorted(await redis.keys("*")):
        if not key.startswith(without):
            found[key] = await read[await redis.type(key)](key)
    accounts = found.get(keys.ACCOUNTS, {})
    for name, text in accounts.items():
        accounts[name] = Account.model_validate_json(text).model_copy(update={"password_hash": ""})
    return found


def voted(kind: str, choice: str, asked: Any, **more: Any) -> Vote:
    """A vote on a turn of `ask`."""
    return Vote.model_validate(
        {
            "id": new_id("vote"),
            "kind": kind,
            "conversation_id": asked.conversation.id,
            "duel_id": asked.duel.id if kind == "duel" else None,
            "annotator_id": "ann",
            "choice": choice,
            "answers": tuple(
                VotedAnswer(
                    answer_id=one.id, version=1, position=place, rank=place if kind == "ranking" else None
                )
                for place, one in enumerate(asked.answers, 1)
            ),
            "version_a": 1,
            "version_b": 1,
            "idempotency_key": new_id("key"),
            "created_at": now(),
            **more,
        }
    )


async def live(redis: Redis, volume: Any, ask: Any) -> list[Vote]:
    """Votes of every kind and fate, a version, a run, the queue, guidelines, reviews, the audit log."""
    votes, conversations = VoteLog(redis, volume), Conversations(redis, volume)
    made = []
    for choice in ("a", "b", "tie", "both_bad", "a", "b"):
        asked = await ask(redis)
        vote = voted("duel", choice, asked, comment=f'{choice}: 好\u2028\n"quoted"')
        await votes.cast(vote, asked.duel)
        made.append(vote)
    await votes.undo(made[0].id, "ann")
    await votes.exclude(made[1].id, "rev", "spam")
    await votes.amend(made[2].id, "ann", choice="a", tags=("incorrect",))
    await votes.exclude(made[4].id, "rev", "wrong")
    await votes.restore(made[4].id, "rev")
    asked = await ask(redis)
    ranking = voted("ranking", "ranked", asked)
    await votes.cast(ranking)
    up, down = (
        voted("thumb", choice, asked, answer_id=answer.id, answers=())
        for choice, answer in zip(("up", "down"), asked.answers, strict=True)
    )
    await votes.cast(up)
    await votes.cast(down)
    await votes.undo(down.id, "ann")
    ideal = Answer.model_validate(
        asked.answers[0].model_dump()
        | {
            "id": new_id("ans"),
            "text": "The Nile!",
            "edited_from": asked.answers[0].id,
            "duel_id": None,
            "side": None,
        }
    )
    edit = voted("edit", "edited", asked, answer_id=asked.answers[0].id)
    await votes.cast(edit, edited=ideal)
    await conversations.change(asked.conversation, title="Rivers of the world", leaf_id=ideal.id)
    await votes.advance("trained_through", await votes.newest())
    await _besides(redis, volume, made)
    return [*made, ranking, up, down, edit]


async def _besides(redis: Redis, volume: Any, made: list[Vote]) -> None:
    policies, runs = Policies(redis, volume), Runs(redis)
    base = PolicyVersion(number=1, folder="v0001", sha256="0" * 64, created_at=now())
    await policies.register(base)
    await policies.activate(1, "up", "base model", expected=None)
    run = await runs.request("votes")
    await Lineage(redis).record(run.id, [vote.id for vote in made])
    claim = await runs.acquire(run.id, "worker", 30, 3)
    assert claim is not None
    await runs.metric(claim, "reward", 1, 2, {"loss": 0.7})
    await runs.finish(claim, "failed", error="for the test")
    await StartRulesBook(redis).change(StartRules(), {"min_votes": 7}, "adm")
    await GuidelineBook(redis).write("Prefer the truth.", "adm", after=0)
    await Accounts(redis, volume).create("Ann", "correct horse battery", "admin")
    prompt = (ChatTurn(role="user", content="Which?"),)
    item = QueueItem(id=new_id("item"), prompt=prompt, source="upload", by="adm", created_at=now())
    await Queue(redis).add([item])
    await Queue(redis).reserve("ann", 900)
    await Reviews(redis).append(Review(vote_id=made[0].id, by="rev", choice="b", at=now()))
    opinions = Opinions(redis)
    for vote in (made[0], made[1], made[0]):  # asked twice about the first
        scored = tuple(ScoredAnswer(answer_id=one.answer_id, score=0.5) for one in vote.answers)
        opinion = Opinion(vote_id=vote.id, reward_model=1, answers=scored, learned_from=False, at=now())
        await opinions.add([opinion])
    for action in ("version_promote", "exclude_votes"):
        await Audit(redis).append(AuditEvent(actor="adm", action=action, object="v1", at=now()))
