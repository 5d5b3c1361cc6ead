"""A platform for the workers' tests: real Redis, people's votes, a base version, the stub trainer."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from store.artifacts import seal
from store.connection import Redis, connect
from store.conversations import Conversations
from store.dataset.gather import Position, position_now
from store.dataset.rules import VoteRules
from store.opinions import Opinions
from store.policies import Policies
from store.queue import Queue
from store.records import (
    Answer,
    Conversation,
    Duel,
    Message,
    PolicyVersion,
    PreferencePair,
    Run,
    Sampling,
    Vote,
    new_id,
    now,
)
from store.runs import Runs
from store.votes import VoteLog
from tests.stub_trainer import LM_HEAD, write_weights
from workers import snapshot
from workers.settings import Release, Schedule, WorkerSettings
from workers.snapshot import Frozen

STUB = Path(__file__).with_name("stub_trainer.py")


@dataclass(frozen=True)
class Platform:
    settings: WorkerSettings
    redis: Redis
    runs: Runs
    votes: VoteLog
    policies: Policies
    conversations: Conversations
    stub: Path

    def plan(self, **stages: dict[str, Any]) -> None:
        """What the stub trainer does from its next start on."""
        self.stub.write_text(json.dumps(stages))

    def calls(self, stage: str | None = None) -> list[dict[str, Any]]:
        """The stub trainer's starts so far."""
        notes = self.stub.with_name("calls.jsonl")
        lines = notes.read_text().splitlines() if notes.exists() else []
        return [call for call in map(json.loads, lines) if stage in (None, call["stage"])]

    async def run(self, run_id: str) -> Run:
        run = await self.runs.get(run_id)
        assert run is not None
        return run

    async def base(self) -> PolicyVersion:
        """Version 1, sealed, registered and active."""
        write_weights(self.settings.data / "base", LM_HEAD)
        target = self.settings.data / "policies" / "v0001"
        digest = seal(self.settings.data / "base", target, {"version": 1})
        version = PolicyVersion(number=1, folder="v0001", sha256=digest, created_at=now())
        await self.policies.register(version)
        await self.policies.activate(1, "up", "base model", expected=None)
        return version

    async def vote(
        self,
        choice: str = "a",
        *,
        text: str = "Hello?",
        conversation: Conversation | None = None,
        parent: Answer | None = None,
        a: dict[str, Any] | None = None,
        b: dict[str, Any] | None = None,
        said: dict[str, Any] | None = None,
    ) -> Vote:
        """A turn with its duel and an annotator's vote on it."""
        conversation = conversation or await self.conversations.create("ann", system_prompt="Be kind.")
        message = Message(
            id=new_id("msg"),
            conversation_id=conversation.id,
            parent_id=parent.id if parent else None,
            text=text,
            created_at=now(),
        )
        sides = [
            Answer(
                **{
                    "id": new_id("ans"),
                    "conversation_id": conversation.id,
                    "parent_id": message.id,
                    "stream_id": "s",
                    "state": "finished",
                    "text": f"{side} to {text}",
                    "policy_version": 1,
                    "versions": (1,),
                    "sampling": Sampling(),
                    "created_at": now(),
                    **(changes or {}),
                }
            )
            for side, changes in (("a", a), ("b", b))
        ]
        duel = Duel(
            id=new_id("duel"),
            conversation_id=conversation.id,
            parent_id=message.id,
            stream_id="s",
            answer_a=sides[0].id,
            answer_b=sides[1].id,
            seed=1,
            owner_id="ann",
            created_at=now(),
        )
        await self.conversations.open_turn(message, sides, duel)
        vote = Vote.model_validate(
            {
                "id": new_id("vote"),
                "kind": "duel",
                "conversation_id": conversation.id,
                "duel_id": duel.id,
                "annotator_id": "ann",
                "choice": choice,
                "idempotency_key": new_id("key"),
                "created_at": now(),
                **(said or {}),
            }
        )
        await self.votes.cast(vote, duel)
        return vote

    async def freeze(
        self,
        name: str = "one",
        *,
        at: Position | None = None,
        imported: Sequence[PreferencePair] = (),
        rules: VoteRules | None = None,
        **schedule: Any,
    ) -> Frozen:
        """A snapshot in a folder of its own, of the votes there are or were."""
        settings = replace(self.settings, schedule=Schedule(**schedule), votes=rules or VoteRules())
        return await snapshot.freeze(
            self.settings.data / "runs" / name,
            run_id=name,
            parent=1,
            at=at or await position_now(self.votes, Opinions(self.redis), self.settings.data),
            votes=self.votes,
            conversations=self.conversations,
            queue=Queue(self.redis),
            opinions=Opinions(self.redis),
            settings=settings,
            imported=imported,
        )

    async def serve(self, behind: str | None = None) -> None:
        """Two servers that serve what is active; the one named `behind` stays on version 1."""
        task = asyncio.current_task()
        assert task is not None
        while not task.cancelling():  # `wait_for` inside the client can swallow a cancel in Python 3.11
            with suppress(Exception):  # Redis away: real servers go on too
                active = await self.policies.active()
                for server in ("server-1", "server-2"):
                    number = 1 if active is None or server == behind else active.number
                    await self.policies.report_serving(server, number)
            await asyncio.sleep(0.05)


def platform(redis_url: str, volume: Path, **schedule: Any) -> Platform:
    """A platform on an empty volume; the lease is short, so that a lost worker is noticed soon."""
    stub = volume / "stub" / "plan.json"
    stub.parent.mkdir()
    stub.write_text("{}")
    prompts = volume / "prompts.jsonl"
    lines = ({"prompt": [{"role": "user", "content": f"Bundled question {number}"}]} for number in range(12))
    prompts.write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = volume / "config.toml"
    config.write_text("[ppo]\niterations = 3\n")
    os.environ["HEED_STUB"] = str(stub)
    settings = WorkerSettings(
        data=volume,
        redis_url=redis_url,
        config=config,
        trainer_command=(sys.executable, str(STUB)),
        prompts=prompts,
        schedule=Schedule(**{"lease_s": 1.0, "tick_s": 0.5, "min_votes": 2} | schedule),
        release=Release(serve_timeout_s=1.0),
    )
    redis = connect(redis_url)
    return Platform(
        settings=settings,
        redis=redis,
        runs=Runs(redis),
        votes=VoteLog(redis),
        policies=Policies(redis, volume),
        conversations=Conversations(redis),
        stub=stub,
    )
