"""The annotators' queue: tasks for annotators, items and records for admins."""

from __future__ import annotations

from fastapi import APIRouter

from server.dependencies import Admin, Heed, Me, Parts
from server.errors import not_found
from server.queue_shapes import (
    AnnotatorOut,
    FlagIn,
    ItemOut,
    ItemPage,
    ItemsAdded,
    ItemsIn,
    MyQueue,
    item_out,
    items_of,
    task_out,
)
from store.records import Account, AuditEvent, QueueTask, now

router = APIRouter(prefix="/api/v1/queue", tags=["queue"])


@router.get("")
async def get_queue(heed: Heed, me: Me) -> MyQueue:
    """How far the caller and everybody is; no task is given."""
    return await _mine(heed, me, None)


@router.post("/next")
async def next_task(heed: Heed, me: Me) -> MyQueue:
    """The task before the caller, or a new one; its place is kept for fifteen minutes."""
    return await _mine(heed, me, await heed.tasks.next(me))


@router.post("/release", status_code=204)
async def release_task(heed: Heed, me: Me) -> None:
    """Give the task back without a verdict."""
    await heed.tasks.release(me)


@router.post("/flags", status_code=201)
async def flag_message(body: FlagIn, heed: Heed, me: Me) -> ItemOut:
    """Ask others to judge a message of one's own conversation; its text is copied into the queue."""
    conversation = await heed.conversations.get(body.conversation_id)
    if conversation is None or conversation.owner_id != me.id:
        raise not_found("conversation")
    return item_out(await heed.tasks.flag(me, conversation, body.message_id, body.overlap), 0)


@router.get("/items")
async def list_items(heed: Heed, _: Admin) -> ItemPage:
    """Every item with its verdicts, newest first, and how the annotators do."""
    progress = await heed.queue.progress()
    records = await heed.tasks.records()
    accounts = [await heed.accounts.get(record.annotator_id) for record in records]
    return ItemPage(
        items=[item_out(item, verdicts) for item, verdicts in await heed.queue.items()],
        wanted=progress.wanted,
        done=progress.done,
        annotators=[
            AnnotatorOut(name=account.name if account else None, **record._asdict())
            for record, account in zip(records, accounts, strict=True)
        ],
    )


@router.post("/items", status_code=201)
async def add_items(body: ItemsIn, heed: Heed, admin: Admin) -> ItemsAdded:
    """Add the lines of a JSONL file, all or none; an item that is there already stays as it is."""
    items = items_of(body, admin.id)
    added = await heed.queue.add(items)
    detail = {"added": added, "overlap": body.overlap}
    event = AuditEvent(actor=admin.id, action="add_queue_items", object="queue", detail=detail, at=now())
    await heed.audit.append(event)
    return ItemsAdded(added=added, known=len(items) - added)


@router.delete("/items/{item_id}", status_code=204)
async def remove_item(item_id: str, heed: Heed, admin: Admin) -> None:
    """Take an item out of the queue; the votes on it stay."""
    item = await heed.queue.item(item_id)
    if item is None or not await heed.queue.remove(item):
        raise not_found("item")
    event = AuditEvent(actor=admin.id, action="remove_queue_item", object=item_id, at=now())
    await heed.audit.append(event)


async def _mine(heed: Parts, me: Account, task: QueueTask | None) -> MyQueue:
    progress, record = await heed.queue.progress(), await heed.tasks.record(me.id)
    return MyQueue(
        task=task_out(task) if task else None,
        done=record.verdicts,
        left=await heed.queue.left_for(me.id),
        seconds=record.seconds,
        all_wanted=progress.wanted,
        all_done=progress.done,
    )
