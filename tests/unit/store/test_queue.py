"""The queue: no place is given twice, none is lost."""

from __future__ import annotations

import asyncio

import pytest

from store.connection import Redis
from store.queue import Progress, Queue
from store.records import ChatTurn, Check, DuelChoice, ItemAnswer, QueueItem, QueueTask, Verdict, now
from tests.present import present

pytestmark = pytest.mark.anyio


def made(
    name: str = "item_1", overlap: int = 1, answers: bool = True, gold: DuelChoice | None = None
) -> QueueItem:
    return QueueItem(
        id=name,
        prompt=(ChatTurn(role="user", content="Longest river?"),),
        answers=(ItemAnswer(text="The Nile."), ItemAnswer(text="The Rhine.")) if answers else (),
        gold=gold,
        overlap=overlap,
        source="upload",
        by="boss",
        created_at=now(),
    )


def task_of(item: QueueItem, annotator: str, check: Check | None = None) -> QueueTask:
    return QueueTask(
        item_id=item.id,
        annotator_id=annotator,
        conversation_id="conv",
        duel_id=f"duel_{item.id}_{annotator}_{check}",
        swapped=False,
        check=check,
        expires_at=now(),
    )


async def judge(
    queue: Queue, item: QueueItem, annotator: str, choice: DuelChoice = "a", check: Check | None = None
) -> tuple[QueueTask, str]:
    task = task_of(item, annotator, check)
    await queue.start(task)
    vote_id = f"vote_{task.duel_id}"
    verdict = Verdict(item_id=item.id, vote_id=vote_id, choice=choice, swapped=False, check=check, at=now())
    await queue.finish(task, item, verdict)
    return task, vote_id


async def test_of_annotators_who_ask_at_once_as_many_get_the_item_as_it_has_places(client: Redis) -> None:
    queue = Queue(client)
    await queue.add([made(overlap=3)])
    got = await asyncio.gather(*(queue.reserve(f"ann_{number}", 60) for number in range(20)))
    assert sum(item is not None for item in got) == 3
    mine = next(number for number, item in enumerate(got) if item)
    assert await queue.reserve(f"ann_{mine}", 60) is not None, "whoever holds a place keeps it"


async def test_a_place_that_ran_out_is_given_to_the_next(client: Redis) -> None:
    queue = Queue(client)
    await queue.add([made()])
    assert await queue.reserve("ann", 60) is not None
    assert await queue.reserve("bob", 60) is None
    assert await queue.reserve("ann", -1) is not None, "kept, and over at once"
    assert await queue.reserve("bob", 60) is not None
    assert await queue.reserve("ann", 60) is None


async def test_a_place_that_is_given_back_is_free_at_once(client: Redis) -> None:
    queue, item = Queue(client), made()
    await queue.add([item])
    await queue.reserve("ann", 60)
    task = task_of(item, "ann")
    await queue.start(task)
    assert await queue.current("ann") == task
    await queue.drop(task)
    assert await queue.current("ann") is None
    assert await queue.reserve("bob", 60) == item


async def test_an_item_closes_with_its_last_verdict_and_nobody_judges_it_twice(client: Redis) -> None:
    queue, item = Queue(client), made(overlap=2)
    await queue.add([item])
    await queue.reserve("ann", 60)
    await judge(queue, item, "ann")
    assert await queue.reserve("ann", 60) is None
    assert await queue.reserve("bob", 60) == item
    await judge(queue, item, "bob")
    assert await queue.reserve("eve", 60) is None
    assert await queue.progress() == Progress(wanted=2, done=2, open=0, gold=0)


async def test_a_skip_leaves_the_place_to_somebody_else(client: Redis) -> None:
    queue, item = Queue(client), made()
    await queue.add([item])
    await queue.reserve("ann", 60)
    await judge(queue, item, "ann", "skip")
    assert await queue.reserve("ann", 60) is None
    assert await queue.reserve("bob", 60) == item
    assert (await queue.progress()).done == 0


async def test_an_undone_verdict_puts_the_item_before_its_annotator_again(client: Redis) -> None:
    queue, item = Queue(client), made()
    await queue.add([item])
    await queue.reserve("ann", 60)
    task, vote_id = await judge(queue, item, "ann")
    await queue.reopen(task, item, vote_id, 60)
    await queue.reopen(task, item, vote_id, 60)
    assert (await queue.progress())[:3] == (1, 0, 1)
    assert present(await queue.current("ann")).duel_id == task.duel_id
    assert await queue.reserve("bob", 60) is None, "the place is still the annotator's"
    assert await queue.verdicts("ann") == []


async def test_a_vote_that_is_recorded_twice_or_changed_is_one_verdict(client: Redis) -> None:
    queue, item = Queue(client), made(overlap=2)
    await queue.add([item])
    await queue.reserve("ann", 60)
    for choice in ("a", "a", "b"):
        await judge(queue, item, "ann", choice)
    assert [verdict.choice for verdict in await queue.verdicts("ann")] == ["b"]
    assert (await queue.progress()).done == 1


async def test_until_its_answers_are_drawn_an_item_has_one_place(client: Redis) -> None:
    queue, item = Queue(client), made(overlap=3, answers=False)
    await queue.add([item])
    assert await queue.reserve("ann", 60) == item
    assert await queue.reserve("bob", 60) is None
    drawn = (ItemAnswer(text="one", version=4), ItemAnswer(text="two", version=5))
    kept = await queue.keep_answers(item, drawn)
    assert kept.answers == drawn
    assert (await queue.keep_answers(item, drawn[::-1])).answers == drawn
    assert await queue.reserve("bob", 60) == kept


async def test_checks_take_no_place_and_count_as_no_verdict_of_the_item(client: Redis) -> None:
    queue, item, gold = Queue(client), made(overlap=2), made("item_2", gold="a")
    await queue.add([item, gold])
    assert await queue.unseen_gold("ann") == [gold.id]
    await judge(queue, gold, "ann", check="gold")
    assert await queue.unseen_gold("ann") == []
    await queue.reserve("ann", 60)
    await judge(queue, item, "ann")
    await judge(queue, item, "ann", check="repeat")
    assert await queue.progress() == Progress(wanted=2, done=1, open=1, gold=1)
    assert await queue.annotators() == ["ann"]
    assert await queue.left_for("ann") == 0
    assert await queue.left_for("bob") == 1


async def test_the_same_item_is_added_once_and_a_removed_one_is_gone(client: Redis) -> None:
    queue, item = Queue(client), made(overlap=2)
    assert (await queue.add([item]), await queue.add([item])) == (1, 0)
    await queue.reserve("ann", 60)
    await judge(queue, item, "ann")
    assert await queue.items() == [(item, 1)]
    assert (await queue.remove(item), await queue.remove(item)) == (True, False)
    assert await queue.progress() == Progress(0, 0, 0, 0)
    assert await queue.reserve("bob", 60) is None
