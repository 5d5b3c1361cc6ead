"""Conversations are found, taken out as files, brought in, deleted and brought back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from server.errors import Problem
from server.transcripts import read
from store.records import now
from store.trash import GRACE
from tests.fakes import Script

pytestmark = pytest.mark.anyio

CHAT = {
    "title": "Tea",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "How long does tea draw?"},
        {"role": "assistant", "content": "Three minutes."},
        {"role": "user", "content": "And green tea?"},
    ],
}


async def test_a_deleted_conversation_comes_back_whole_until_it_is_gone(heed: Any, ann: Any) -> None:
    turn = await ann.duel("Longest river?")
    path = f"/api/v1/conversations/{turn['conversation']}"
    before = await ann.get(path)
    assert (await ann.call("DELETE", path)).status_code == 204
    assert (await ann.call("GET", path)).status_code == 404
    assert (await ann.call("POST", f"{path}/restore")).status_code == 200
    assert await ann.get(path) == before
    assert (await ann.vote(turn["duel"]["id"], "a")).status_code == 201
    await ann.call("DELETE", path)
    await heed.parts.trash.empty(now() + GRACE)
    assert (await ann.call("POST", f"{path}/restore")).status_code == 404


async def test_nobody_else_restores_exports_or_finds_it(heed: Any, ann: Any) -> None:
    turn = await ann.say("A secret word: xylophone")
    bob = await heed.person("bob")
    path = f"/api/v1/conversations/{turn['conversation']}"
    assert (await bob.call("GET", f"{path}/export")).status_code == 404
    assert (await bob.get("/api/v1/search?q=xylophone"))["items"] == []
    assert len((await ann.get("/api/v1/search?q=XYLO"))["items"]) == 1
    await ann.call("DELETE", path)
    assert (await bob.call("POST", f"{path}/restore")).status_code == 404
    assert (await ann.get("/api/v1/search?q=xylo"))["items"] == []


async def test_the_list_goes_on_after_a_page(heed: Any, ann: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.routes.conversations.PAGE", 2)
    made = [await ann.conversation(title=str(number)) for number in range(3)]
    first = await ann.get("/api/v1/conversations")
    assert ([one["id"] for one in first["items"]], first["more"]) == ([made[2], made[1]], True)
    rest = await ann.get(f"/api/v1/conversations?after={made[1]}")
    assert ([one["id"] for one in rest["items"]], rest["more"]) == ([made[0]], False)


async def test_an_export_of_an_open_duel_names_no_version(heed: Any, ann: Any) -> None:
    turn = await ann.duel()
    path = f"/api/v1/conversations/{turn['conversation']}/export"
    response = await ann.call("GET", path)
    assert response.headers["content-disposition"] == 'attachment; filename="hi.json"'
    exported = response.json()
    assert exported["format"] == "heed-conversation-1"
    assert [one["policy_version"] for one in exported["answers"]] == [None, None]
    await ann.vote(turn["duel"]["id"], "b")
    assert [one["policy_version"] for one in (await ann.get(path))["answers"]] == [1, 1]


async def test_markdown_is_the_shown_branch(heed: Any, ann: Any) -> None:
    heed.pool.say(Script(("The Nile.",)))
    conversation = await ann.conversation(title="Rivers & lakes", system_prompt="Be brief.")
    turn = await ann.say("Longest?", conversation=conversation)
    await ann.follow(turn["stream"])
    response = await ann.call("GET", f"/api/v1/conversations/{conversation}/export?format=markdown")
    assert response.headers["content-disposition"] == 'attachment; filename="rivers-lakes.md"'
    assert response.headers["content-type"].startswith("text/markdown")
    assert response.text == (
        "# Rivers & lakes\n\n> Be brief.\n\n## You\n\nLongest?\n\n## Answer\n\nThe Nile.\n"
    )


async def test_a_chat_of_another_tool_is_gone_on_from(heed: Any, ann: Any) -> None:
    made = await ann.call("POST", "/api/v1/conversations/import", CHAT)
    assert made.status_code == 201, made.text
    tree = await ann.get(f"/api/v1/conversations/{made.json()['id']}")
    assert tree["conversation"]["title"] == "Tea"
    assert tree["conversation"]["system_prompt"] == "Be brief."
    assert [one["text"] for one in tree["messages"]] == ["How long does tea draw?", "And green tea?"]
    assert [one["policy_version"] for one in tree["answers"]] == [None]
    turn = await ann.say("Thanks", conversation=made.json()["id"], parent_id=tree["answers"][0]["id"])
    await ann.follow(turn["stream"])
    asked, _ = heed.pool.clients[0].asked[-1]
    assert [(one.role, one.content) for one in asked] == [
        ("system", "Be brief."),
        ("user", "How long does tea draw?"),
        ("assistant", "Three minutes."),
        ("user", "Thanks"),
    ]


async def test_what_was_imported_is_not_voted_on(heed: Any, ann: Any) -> None:
    made = (await ann.call("POST", "/api/v1/conversations/import", CHAT)).json()
    tree = await ann.get(f"/api/v1/conversations/{made['id']}")
    thumb = {"kind": "thumb", "answer_id": tree["answers"][0]["id"], "choice": "up"}
    refused = await ann.call("POST", "/api/v1/votes", thumb, **{"Idempotency-Key": "k"})
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:heed:not_votable")
    assert await heed.parts.votes.total() == 0


async def test_an_export_comes_back_as_the_same_tree(heed: Any, ann: Any) -> None:
    turn = await ann.duel("Longest?")
    await ann.vote(turn["duel"]["id"], "b")
    for text in ("And the widest?", "And the deepest?"):  # two branches
        await ann.follow(
            (await ann.say(text, conversation=turn["conversation"], parent_id=turn["duel"]["answer_b"]))[
                "stream"
            ]
        )
    exported = (await ann.call("GET", f"/api/v1/conversations/{turn['conversation']}/export")).json()
    made = (await ann.call("POST", "/api/v1/conversations/import", exported)).json()
    tree = await ann.get(f"/api/v1/conversations/{made['id']}")

    def shape(whole: dict[str, Any]) -> list[list[str]]:
        nodes = {node["id"]: node for node in (*whole["messages"], *whole["answers"])}

        def path(name: str | None) -> list[str]:
            return [] if name is None else [*path(nodes[name]["parent_id"]), nodes[name]["text"]]

        return sorted(path(name) for name in nodes)

    assert shape(tree) == shape(exported)
    assert {one["id"] for one in tree["answers"]}.isdisjoint(one["id"] for one in exported["answers"])
    assert tree["duels"] == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, None),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "assistant", "content": "first"}]}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        (
            {"conversations": [{"from": "human", "value": "x"}, {"from": "system", "value": "y"}]},
            "conversations.1",
        ),
        ({"format": "heed-conversation-1", "messages": []}, "messages"),
        (
            {"format": "heed-conversation-1", "messages": [{"id": "m", "parent_id": "a", "text": "x"}],
             "answers": [{"id": "a", "parent_id": "m", "text": "y"}]},
            "parent_id",
        ),
        (
            {"format": "heed-conversation-1", "messages": [{"id": "m", "parent_id": None, "text": "x"},
             {"id": "n", "parent_id": "m", "text": "y"}]},
            "parent_id",
        ),
    ],
)  # fmt: skip
def test_what_is_no_conversation_is_refused_by_its_field(body: dict[str, Any], field: str | None) -> None:
    with pytest.raises(Problem) as refused:
        read("ann", body)
    assert (refused.value.status, refused.value.kind, refused.value.field) == (422, "not_importable", field)


def test_a_sharegpt_record_is_read() -> None:
    record = {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}
    made = read("ann", json.loads(json.dumps(record)))
    assert [one.text for one in made.messages] + [one.text for one in made.answers] == ["Hi", "Hello"]
    assert made.answers[0].parent_id == made.messages[0].id
    assert made.conversation.leaf_id == made.answers[0].id


async def test_the_shown_branch_may_end_with_a_message(heed: Any, ann: Any) -> None:
    made = (await ann.call("POST", "/api/v1/conversations/import", CHAT)).json()
    path = f"/api/v1/conversations/{made['id']}"
    first, second = (await ann.get(path))["messages"]
    assert made["leaf_id"] == second["id"]
    assert (await ann.call("PATCH", path, {"leaf_id": first["id"]})).json()["leaf_id"] == first["id"]
    refused = await ann.call("PATCH", path, {"leaf_id": "msg_none"})
    assert (refused.status_code, refused.json()["field"]) == (422, "leaf_id")


async def test_a_new_system_prompt_is_for_the_messages_to_come(heed: Any, ann: Any) -> None:
    conversation = await ann.conversation(system_prompt="Be brief.")
    first = await ann.say("One", conversation=conversation)
    await ann.follow(first["stream"])
    await ann.call("PATCH", f"/api/v1/conversations/{conversation}", {"system_prompt": "Be kind."})
    answer = first["answers"][0]["id"]
    await ann.follow((await ann.say("Two", conversation=conversation, parent_id=answer))["stream"])
    again = {"parent_id": first["message"]["id"], "mode": "single"}
    turn = (await ann.call("POST", f"/api/v1/conversations/{conversation}/answers", again)).json()
    await ann.follow(turn["stream"])
    told = [messages[0].content for messages, _ in heed.pool.clients[0].asked]
    assert told == ["Be brief.", "Be kind.", "Be brief."]
