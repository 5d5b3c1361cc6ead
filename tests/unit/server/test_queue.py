"""The annotators' queue over HTTP: overlap, checks, places, and that checks are told to nobody."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from store.records import AskedAs, ChatTurn, ItemAnswer, QueueItem, now
from tests.fakes import Script

pytestmark = pytest.mark.anyio


class Dice:
    """Chance that falls as a test says, then always ordinary tasks with sides as they are."""

    def __init__(self, *falls: float) -> None:
        self.falls = list(falls)

    def random(self) -> float:
        return self.falls.pop(0) if self.falls else 0.9

    def choice(self, options: Any) -> Any:
        return options[0]


async def upload(admin: Any, *lines: Any, overlap: int = 1) -> Any:
    jsonl = "\n".join(json.dumps(line) for line in lines)
    return await admin.call("POST", "/api/v1/queue/items", {"jsonl": jsonl, "overlap": overlap})


async def next_task(person: Any) -> Any:
    response = await person.call("POST", "/api/v1/queue/next")
    assert response.status_code == 200, response.text
    return response.json()


async def judge(person: Any, task: Any, choice: str = "a", **more: Any) -> Any:
    body = {"kind": "duel", "duel_id": task["task"]["duel_id"], "choice": choice, **more}
    key = {"Idempotency-Key": f"queue-{task['task']['duel_id']}"}
    response = await person.call("POST", "/api/v1/votes", body, **key)
    assert response.status_code == 201, response.text
    return response.json()


async def texts(person: Any, task: Any) -> list[str]:
    """The task's answers, side a first."""
    tree = await person.get(f"/api/v1/conversations/{task['task']['conversation_id']}")
    sides = {one["side"]: one["text"] for one in tree["answers"] if one["side"]}
    return [sides["a"], sides["b"]]


def ready(prompt: str, **more: Any) -> dict[str, Any]:
    return {"prompt": prompt, "answers": [f"one to {prompt}", f"two to {prompt}"], **more}


async def test_annotators_judge_the_same_two_answers_until_the_item_has_enough(heed: Any, admin: Any) -> None:
    heed.parts.tasks._chance = Dice()
    heed.pool.say(Script(pieces=("The Nile.",)), Script(pieces=("The Rhine.",)))
    added = await upload(admin, {"prompt": "Longest river?"}, overlap=2)
    assert (added.status_code, added.json()) == (201, {"added": 1, "known": 0})
    ann, bob, eve = [await heed.person(name) for name in ("ann", "bob", "eve")]
    first = await next_task(ann)
    assert (await next_task(bob))["task"] is None, "its answers are still being drawn"
    while not (await ann.get(f"/api/v1/duels/{first['task']['duel_id']}"))["ready"]:
        await asyncio.sleep(0.01)
    voted = await judge(ann, first, shown_ms=4000)
    assert voted["pending"] == 1
    second = await next_task(bob)
    assert sorted(await texts(bob, second)) == sorted(await texts(ann, first)) == ["The Nile.", "The Rhine."]
    await judge(bob, second, "b", shown_ms=2000)
    assert (await next_task(eve))["task"] is None
    mine = await ann.get("/api/v1/queue")
    assert (mine["done"], mine["left"], mine["seconds"]) == (1, 0, 4.0)
    assert (mine["all_wanted"], mine["all_done"]) == (2, 2)
    page = await admin.get("/api/v1/queue/items")
    assert [(one["prompt"], one["verdicts"]) for one in page["items"]] == [("Longest river?", 2)]
    assert {one["name"]: one["verdicts"] for one in page["annotators"]} == {"ann": 1, "bob": 1}
    # What serves the queue is not in the list of chats, and votes on one item are one group of evidence.
    assert (await ann.get("/api/v1/conversations"))["items"] == []
    items = {vote.item_id for _, vote in await heed.parts.votes.read()}
    assert len(items) == 1
    assert None not in items


async def test_asking_again_gives_the_same_task_and_giving_back_frees_it(heed: Any, admin: Any) -> None:
    heed.parts.tasks._chance = Dice()
    await upload(admin, ready("One?"))
    ann, bob = await heed.person("ann"), await heed.person("bob")
    task = await next_task(ann)
    assert (await next_task(ann))["task"] == task["task"]
    assert (await next_task(bob))["task"] is None
    assert (await ann.call("POST", "/api/v1/queue/release")).status_code == 204
    assert (await next_task(bob))["task"] is not None


async def test_a_known_verdict_measures_the_annotator_and_trains_nothing(heed: Any, admin: Any) -> None:
    heed.parts.tasks._chance = Dice(0.0, 0.1, 0.0, 0.1)  # twice a known verdict, swapped
    await upload(admin, ready("One?", gold="a"), ready("Two?", gold="a"), ready("Three?"))
    ann = await heed.person("ann")
    first = await next_task(ann)
    better, worse = await texts(ann, first)
    assert (better.split()[0], worse.split()[0]) == ("two", "one"), "swapped"
    body = await judge(ann, first, "b")
    second = await next_task(ann)
    await judge(ann, second, "a")
    third = await next_task(ann)
    assert await texts(ann, third) == ["one to Three?", "two to Three?"]
    assert body["pending"] == 0
    record = (await admin.get("/api/v1/queue/items"))["annotators"][0]
    assert (record["gold"], record["gold_right"]) == (2, 1)
    seen = b"".join(ann.seen)
    assert b"Three?" in seen
    assert b"gold" not in seen
    assert b'"check"' not in seen
    assert {vote.check for _, vote in await heed.parts.votes.read()} == {"gold"}


async def test_an_item_comes_back_with_its_sides_swapped(heed: Any, admin: Any) -> None:
    heed.parts.tasks._chance = Dice(*(0.9,) * 18, 0.1)
    await upload(admin, *(ready(f"Question {number}?") for number in range(12)))
    ann = await heed.person("ann")
    shown = {}
    for _ in range(9):
        task = await next_task(ann)
        pair = await texts(ann, task)
        shown[pair[0].split(" to ")[1]] = pair
        await judge(ann, task, "a")
    again = await next_task(ann)
    pair = await texts(ann, again)
    name = pair[0].split(" to ")[1]
    assert pair == shown[name][::-1]
    assert (await judge(ann, again, "b"))["pending"] == 9, "a repeat is no evidence of its own"
    record = (await admin.get("/api/v1/queue/items"))["annotators"][0]
    assert (record["repeats"], record["repeats_same"]) == (1, 1)


async def test_undo_puts_the_task_back_and_the_next_verdict_is_the_one(heed: Any, admin: Any) -> None:
    heed.parts.tasks._chance = Dice()
    await upload(admin, ready("One?"), ready("Two?"))
    ann = await heed.person("ann")
    task = await next_task(ann)
    vote = (await judge(ann, task, "a"))["vote"]
    await ann.call("DELETE", f"/api/v1/votes/{vote['id']}")
    assert (await ann.get("/api/v1/queue"))["done"] == 0
    assert (await next_task(ann))["task"]["duel_id"] == task["task"]["duel_id"]
    body = {"kind": "duel", "duel_id": task["task"]["duel_id"], "choice": "b"}
    await ann.call("POST", "/api/v1/votes", body, **{"Idempotency-Key": "second"})
    changed = (await ann.get("/api/v1/votes/mine"))["items"][0]
    await ann.call("PATCH", f"/api/v1/votes/{changed['id']}", {"choice": "tie"})
    verdicts = await heed.parts.queue.verdicts(ann.account_id)
    assert [verdict.choice for verdict in verdicts] == ["tie"]


async def test_a_verdict_that_was_not_recorded_is_found_at_the_next_task(
    heed: Any, admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    heed.parts.tasks._chance = Dice()
    await upload(admin, ready("One?"), ready("Two?"))
    ann = await heed.person("ann")
    task = await next_task(ann)

    async def dies(*_: Any) -> None:
        """The server is gone before it can record the verdict."""

    with monkeypatch.context() as patched:
        patched.setattr(heed.parts.tasks, "voted", dies)
        await judge(ann, task)
    assert (await ann.get("/api/v1/queue"))["done"] == 0
    following = await next_task(ann)
    assert following["task"]["duel_id"] != task["task"]["duel_id"]
    assert following["done"] == 1


async def test_an_upload_with_a_wrong_line_names_it_and_adds_nothing(heed: Any, admin: Any, ann: Any) -> None:
    good = json.dumps(ready("One?"))
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    wrong = {
        '{"prompt": ': "line 2",
        '{"question": "x"}': "line 2: prompt",
        json.dumps({"prompt": turns}): "user first and last",
        json.dumps({"prompt": " "}): "a turn is empty",
        json.dumps(ready("One?") | {"answers": ["same", "same "]}): "two different texts",
        json.dumps({"prompt": "x", "gold": "a"}): "needs its answers",
    }
    for line, words in wrong.items():
        response = await admin.call("POST", "/api/v1/queue/items", {"jsonl": f"{good}\n{line}"})
        assert (response.status_code, words in response.json()["detail"]) == (422, True), response.text
    assert (await admin.get("/api/v1/queue/items"))["items"] == []
    assert (await upload(ann, ready("One?"))).status_code == 403
    part = {"jsonl": '{"prompt": ', "first_line": 501}
    assert "line 501" in (await admin.call("POST", "/api/v1/queue/items", part)).json()["detail"]
    assert (await upload(admin, ready("One?"))).json()["added"] == 1
    assert (await upload(admin, ready("One?"), ready("Two?"))).json() == {"added": 1, "known": 1}
    (item, _) = (await admin.get("/api/v1/queue/items"))["items"]
    assert (await admin.call("DELETE", f"/api/v1/queue/items/{item['id']}")).status_code == 204
    assert (await admin.call("DELETE", f"/api/v1/queue/items/{item['id']}")).status_code == 404


async def test_a_chat_can_be_put_before_others_with_its_history(heed: Any, admin: Any, ann: Any) -> None:
    heed.parts.tasks._chance = Dice()
    heed.pool.say(Script(pieces=("First.",)), Script(pieces=("x",)), Script(pieces=("y",)))
    conversation = await ann.conversation(system_prompt="Be kind.")
    one = await ann.say("One?", conversation=conversation)
    await ann.follow(one["stream"])
    parent = one["answers"][0]["id"]
    two = await ann.say("Two?", mode="duel", conversation=conversation, parent_id=parent)
    await ann.follow(two["stream"])
    flag = {"conversation_id": conversation, "message_id": two["message"]["id"]}
    bob = await heed.person("bob")
    assert (await bob.call("POST", "/api/v1/queue/flags", flag)).status_code == 404
    first, again = [(await ann.call("POST", "/api/v1/queue/flags", flag)).json() for _ in range(2)]
    assert (first["has_answers"], again["id"]) == (True, first["id"])
    assert (await heed.parts.queue.progress()).wanted == 1
    task = await next_task(bob)
    tree = await bob.get(f"/api/v1/conversations/{task['task']['conversation_id']}")
    assert tree["conversation"]["system_prompt"] == "Be kind."
    assert [message["text"] for message in tree["messages"]] == ["One?", "Two?"]
    assert await texts(bob, task) in (["x", "y"], ["y", "x"])
    assert (await bob.call("GET", f"/api/v1/conversations/{conversation}")).status_code == 404


async def test_what_the_platform_asks_says_how_it_was_chosen_and_leaks_are_found(
    heed: Any, admin: Any
) -> None:
    heed.parts.tasks._chance = Dice()

    def asked(number: int, how: Any, said: str) -> QueueItem:
        return QueueItem(
            id=f"item_{number}",
            prompt=(ChatTurn(role="user", content=f"Question {number}?"),),
            answers=(ItemAnswer(text=said, version=1), ItemAnswer(text="Another.", version=1)),
            asked=AskedAs(how=how, probability=1.0, uncertainty=0.9, run_id="run_1"),
            source="asked",
            by="heed",
            created_at=now(),
        )

    first = asked(1, "random", "One."), asked(2, "uncertain", "Two.")
    await heed.parts.queue.add([*first, asked(3, "random", "I am SmolLM2, made by Hugging Face.")])
    ann = await heed.person("ann")
    for _ in range(3):
        await judge(ann, await next_task(ann))
    votes = [vote for _, vote in await heed.parts.votes.read()]
    assert [vote.asked for vote in votes] == ["random", "uncertain", "random"]
    assert [vote.leaked for vote in votes] == [False, False, True]
    left_out = (await admin.get("/api/v1/statistics"))["left_out"]
    assert (left_out["asked"], left_out["leaked"]) == (1, 1)
    shown = {one["id"]: one["asked"] for one in (await admin.get("/api/v1/queue/items"))["items"]}
    assert shown["item_2"] == {"how": "uncertain", "probability": 1.0, "uncertainty": 0.9, "run_id": "run_1"}
