"""Each record comes back from Redis as it went in, and what is no record is refused."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from store import records
from store.connection import connect
from store.records import (
    STAGES,
    Account,
    Activation,
    AnnotatorVotes,
    Answer,
    AnswerText,
    ApiKey,
    AskedAnswers,
    AskedAs,
    AuditEvent,
    Canary,
    CaseScores,
    ChatTurn,
    Conversation,
    Demonstration,
    Duel,
    EngineMember,
    EngineStatus,
    Exclusion,
    Fingerprint,
    GateCheck,
    GateReport,
    Guidelines,
    Invite,
    ItemAnswer,
    Message,
    MetricRow,
    Pause,
    PolicyVersion,
    PreferencePair,
    QueueItem,
    QueueTask,
    Record,
    RedisHealth,
    Response,
    Run,
    Sampling,
    ScoreCase,
    Session,
    Snapshot,
    StageStatus,
    Verdict,
    Vote,
    VoteChange,
    VotedAnswer,
    WorkerBeat,
)

AT = datetime(2026, 11, 21, 5, 30, 0, 123456, tzinfo=UTC)
TEXT = 'Größe 東京 \U0001f642 "quoted"\n\x00 </script>'

TURN = ChatTurn(role="user", content=TEXT)
SAMPLING = Sampling(max_tokens=7, temperature=0.0, top_p=0.1, seed=2**53 + 1, stop=("\n", "END"))
CHECK = GateCheck(name="kl", value=0.1 + 0.2, threshold=1e-300, passed=False, reason=TEXT)
REPORT = GateReport(
    passed=True, checks=(CHECK,), fingerprints=(Fingerprint(prompt=TEXT, token_ids=(0, 49151)),)
)
SNAPSHOT = Snapshot(
    run_id="run_1",
    votes=9,
    new_votes=5,
    train_pairs=8,
    held_out_pairs=1,
    prompts=3,
    through="1763700000000-11",
    sha256="ab" * 32,
    created_at=AT,
)
STAGE = StageStatus(
    stage="ppo", state="done", started_at=AT, ended_at=AT, summary={"list": [], "none": None, "nested": {}}
)

VOTED = VotedAnswer(answer_id="ans_1", version=1, position=2, rank=1, tokens=7, leak=TEXT)
VOTE = Vote(
    id="vote_1",
    kind="duel",
    conversation_id="conv_1",
    duel_id="duel_1",
    annotator_id="acc_1",
    choice="b",
    strength=2,
    answers=(VOTED,),
    version_a=1,
    version_b=2,
    tags=("incorrect",),
    comment=TEXT,
    shown_ms=1200,
    early=True,
    asked="random",
    guideline_version=3,
    status="excluded",
    exclusion=Exclusion(by="acc_2", reason=TEXT, at=AT),
    idempotency_key="k",
    created_at=AT,
    changed_at=AT,
)
ITEM = QueueItem(
    id="item_1",
    prompt=(TURN,),
    answers=(ItemAnswer(text=TEXT, version=3, ended=False, tokens=9, leak=TEXT), ItemAnswer(text="b")),
    gold="both_bad",
    overlap=3,
    asked=AskedAs(how="uncertain", probability=1.0, uncertainty=0.75, run_id="run_1"),
    source="asked",
    by="acc_1",
    created_at=AT,
)
EXAMPLES: list[Record] = [
    AskedAs(how="random", probability=0.25, uncertainty=0.5, run_id="run_1"),
    AskedAnswers(prompt=(TURN,), answers=(ItemAnswer(text=TEXT),), scores=((0.5, -1.5),)),
    TURN,
    SAMPLING,
    CHECK,
    REPORT,
    SNAPSHOT,
    STAGE,
    REPORT.fingerprints[0],
    Conversation(id="conv_1", owner_id="acc_1", title=TEXT, created_at=AT, updated_at=AT),
    Message(id="msg_1", conversation_id="conv_1", parent_id=None, text=TEXT, created_at=AT),
    Answer(
        id="ans_1",
        conversation_id="conv_1",
        parent_id="msg_1",
        stream_id="turn_1",
        duel_id="duel_1",
        side="b",
        state="failed",
        text=TEXT,
        policy_version=2,
        versions=(1, 2),
        sampling=SAMPLING,
        finish_reason="error",
        error=TEXT,
        created_at=AT,
        ended_at=AT,
    ),
    Duel(
        id="duel_1",
        conversation_id="conv_1",
        parent_id="msg_1",
        stream_id="turn_1",
        answer_a="ans_1",
        answer_b="ans_2",
        seed=2**63,
        owner_id="acc_1",
        created_at=AT,
    ),
    Response(
        id="chatcmpl_1",
        conversation=Conversation(id="conv_1", owner_id="acc_1", title=TEXT, created_at=AT, updated_at=AT),
        message=Message(
            id="msg_1", conversation_id="conv_1", parent_id=None, text=TEXT, created_at=AT, before=(TURN,)
        ),
        answers=(),
    ),
    VOTED,
    Exclusion(by="heed", reason=TEXT, at=AT),
    VOTE,
    VoteChange(what="exclude", by="acc_2", at=AT, vote=VOTE),
    ITEM,
    ITEM.answers[0],
    QueueTask(
        item_id="item_1",
        annotator_id="acc_1",
        conversation_id="conv_1",
        duel_id="duel_1",
        swapped=True,
        check="repeat",
        expires_at=AT,
    ),
    Verdict(item_id="item_1", vote_id="vote_1", choice="tie", swapped=False, gold="a", at=AT),
    Demonstration(prompt=(TURN,), chosen=(TURN,), vote_id="vote_1", conversation_id="conv_1"),
    Guidelines(version=1, text=TEXT, by="acc_1", at=AT),
    PreferencePair(prompt=(TURN,), chosen=(TURN,), rejected=(TURN, TURN), weight=0.1, vote_id="vote_1"),
    PolicyVersion(
        number=2,
        parent=1,
        run_id="run_1",
        folder="v0002",
        sha256="ab" * 32,
        report=REPORT,
        metrics={"reward_mean": -0.1},
        created_at=AT,
    ),
    Activation(number=2, previous=None, actor="release", reason=TEXT, at=AT),
    Canary(number=3, share=0.25, started_at=AT, actor="acc_1", reason=TEXT, before="retired"),
    Run(
        id="run_1",
        state="running",
        requested_by="votes",
        stages=(STAGE,),
        config={"ppo": {"stop": [], "kl_coef": 0.05}},
        snapshot=SNAPSHOT,
        created_at=AT,
    ),
    MetricRow(run_id="run_1", stage="ppo", step=3, values={"reward_mean": 1 / 3}, at=AT),
    EngineStatus(name="engine-1", address="unix:///e1", state="loading", seen_at=AT),
    Account(id="acc_1", name=TEXT, role="admin", password_hash="$argon2id$", created_at=AT),
    ApiKey(id="key_1", account_id="acc_1", label=TEXT, created_at=AT),
    Pause(actor="acc_1", reason=TEXT, at=AT),
    WorkerBeat(name="train@host", queues=("train",), at=AT),
    EngineMember(name="gpu-1", address="https://10.0.0.7:8090", device="gpu-1", actor="acc_1", joined_at=AT),
    RedisHealth(
        version="8.2",
        uptime_s=1,
        ping_ms=0.2,
        clock_skew_s=0.0,
        appendonly="yes",
        appendfsync=None,
        maxmemory_policy="noeviction",
        aof_write_ok=True,
        memory_bytes=1,
        maxmemory_bytes=0,
        aof_bytes=None,
        clients=1,
        blocked_clients=0,
    ),
    AnnotatorVotes(annotator_id="acc_1", vote_ids=("vote_1", "vote_2")),
    AnswerText(text=TEXT, ended=False),
    ScoreCase(id="c", prompt=(ChatTurn(role="user", content=TEXT),), answers=(AnswerText(text=TEXT),)),
    CaseScores(id="c", scores=(0.5, -1.25)),
    Session(id="s", account_id="acc_1", created_at=AT, confirmed_at=AT, seen_at=AT, until=AT, agent=TEXT),
    Invite(id="inv_1", role="reviewer", note=TEXT, created_by="acc_1", created_at=AT, expires_at=AT),
    AuditEvent(
        actor="acc_1", action="rollback", object="v2", before="v3", after={"n": 1}, reason=TEXT, at=AT
    ),
]


@pytest.mark.anyio
@pytest.mark.parametrize("record", EXAMPLES, ids=lambda record: type(record).__name__)
async def test_record_comes_back_from_redis_as_it_went_in(redis_url: str, record: Record) -> None:
    async with connect(redis_url) as redis:
        await redis.hset("heed:test", "record", record.model_dump_json())
        text = await redis.hget("heed:test", "record")
    assert type(record).model_validate_json(text) == record
    # What is compared as text before a write must not change by being read.
    assert type(record).model_validate_json(text).model_dump_json() == text


def test_every_record_has_an_example() -> None:
    every = {kind for kind in vars(records).values() if isinstance(kind, type) and issubclass(kind, Record)}
    assert {type(example) for example in EXAMPLES} == every - {Record}


@pytest.mark.parametrize("record", EXAMPLES, ids=lambda record: type(record).__name__)
def test_record_is_frozen_and_refuses_unknown_fields(record: Record) -> None:
    field = next(iter(type(record).model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(record, field, None)
    with pytest.raises(ValidationError, match="colour"):
        type(record).model_validate(dict(record) | {"colour": "red"})


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_number_that_json_does_not_know_is_refused(value: float) -> None:
    with pytest.raises(ValidationError):
        MetricRow(run_id="run_1", stage="ppo", step=1, values={"loss": value}, at=AT)


def test_run_begins_with_every_stage_waiting() -> None:
    run = Run(id="run_1", state="queued", requested_by="votes", created_at=AT)
    assert tuple(status.stage for status in run.stages) == STAGES
    assert {status.state for status in run.stages} == {"waiting"}
