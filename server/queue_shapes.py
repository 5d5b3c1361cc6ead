"""What the queue's API takes and gives. Which tasks are checks is told to admins only."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError

from server.errors import Problem
from server.shapes import In, Out
from store.records import AskedAs, ChatTurn, DuelChoice, ItemAnswer, QueueItem, QueueTask, now

Overlap = Annotated[int, Field(ge=1, le=50)]


class ItemsIn(In):
    jsonl: Annotated[str, StringConstraints(min_length=1)]
    """One item a line: `prompt` (a text, or turns of `role` and `content` that end with the user's), and if
    there are such `answers` (two texts) and `gold` (the known verdict on them: a, b, tie or both_bad)."""
    first_line: int = Field(default=1, ge=1)
    """Number of its first line in the file that it is a part of; problems name lines by it."""
    overlap: Overlap = 1
    """How many annotators judge each."""


class ItemLine(In):
    prompt: str | tuple[ChatTurn, ...]
    answers: tuple[str, str] | None = None
    gold: Literal["a", "b", "tie", "both_bad"] | None = None


class FlagIn(In):
    conversation_id: str
    message_id: str
    overlap: Overlap = 1


class ItemsAdded(Out):
    added: int
    known: int
    """Lines whose item was there already."""


class ItemOut(Out):
    id: str
    prompt: str
    """Its last message."""
    turns: int
    has_answers: bool
    gold: DuelChoice | None
    overlap: int
    verdicts: int
    source: Literal["upload", "conversation", "asked"]
    asked: AskedAs | None
    """How the platform chose these answers; None: a person put the item in."""
    created_at: datetime


class AnnotatorOut(Out):
    annotator_id: str
    name: str | None
    verdicts: int
    gold_right: int
    gold: int
    repeats_same: int
    repeats: int
    seconds: float | None


class ItemPage(Out):
    items: list[ItemOut]
    wanted: int
    """Verdicts that the items ask for, without those of known verdict."""
    done: int
    annotators: list[AnnotatorOut]


class TaskOut(Out):
    conversation_id: str
    duel_id: str
    expires_at: datetime


class MyQueue(Out):
    task: TaskOut | None
    """What is before the caller now; None: nothing waits."""
    done: int
    """The caller's verdicts."""
    left: int
    """Items that still wait for the caller."""
    seconds: float | None
    """The caller's mean time for a verdict, over the last 50."""
    all_wanted: int
    all_done: int


def item_out(item: QueueItem, verdicts: int) -> ItemOut:
    return ItemOut(
        id=item.id,
        prompt=item.prompt[-1].content[:280],
        turns=len(item.prompt),
        has_answers=bool(item.answers),
        gold=item.gold,
        overlap=item.overlap,
        verdicts=verdicts,
        source=item.source,
        asked=item.asked,
        created_at=item.created_at,
    )


def task_out(task: QueueTask) -> TaskOut:
    return TaskOut.model_validate(task.model_dump(include=set(TaskOut.model_fields)))


def items_of(body: ItemsIn, by: str) -> list[QueueItem]:
    """The items of an upload; the same line is the same item. Raises Problem that names the line."""
    lines = [
        (number, line) for number, line in enumerate(body.jsonl.split("\n"), body.first_line) if line.strip()
    ]
    return [_item(number, line, body.overlap, by) for number, line in lines]


def _item(number: int, line: str, overlap: int, by: str) -> QueueItem:
    try:
        read = ItemLine.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _refused(
            f"line {number}: {where}: {first['msg']}" if where else f"line {number}: {first['msg']}"
        ) from None
    turns = (ChatTurn(role="user", content=read.prompt),) if isinstance(read.prompt, str) else read.prompt
    said = turns[1:] if turns and turns[0].role == "system" else turns
    roles = [turn.role for turn in said]
    if (
        roles != ["user" if place % 2 == 0 else "assistant" for place in range(len(roles))]
        or len(roles) % 2 == 0
    ):
        raise _refused(f"line {number}: prompt: turns must alternate, user first and last")
    if not all(turn.content.strip() for turn in turns):
        raise _refused(f"line {number}: prompt: a turn is empty")
    answers = read.answers or ()
    if answers and (not all(text.strip() for text in answers) or answers[0].strip() == answers[1].strip()):
        raise _refused(f"line {number}: answers: two different texts are needed")
    if read.gold and not answers:
        raise _refused(f"line {number}: gold: a known verdict needs its answers")
    content = json.dumps(
        [[turn.model_dump() for turn in turns], list(answers), read.gold], ensure_ascii=False
    )
    return QueueItem(
        id=f"item_{hashlib.sha256(content.encode()).hexdigest()[:20]}",
        prompt=turns,
        answers=tuple(ItemAnswer(text=text) for text in answers),
        gold=read.gold,
        overlap=overlap,
        source="upload",
        by=by,
        created_at=now(),
    )


def _refused(detail: str, remedy: str = "correct this line; nothing was added") -> Problem:
    return Problem(422, "bad_items", detail, field="jsonl", remedy=remedy)
