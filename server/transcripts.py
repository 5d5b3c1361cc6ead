"""Conversations as files: Markdown for people, JSON out and in; other tools' chats in."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from server.errors import Problem
from store.records import Answer, Conversation, Message, Sampling, new_id, now

LONGEST = 2000
TITLE_LENGTH = 60
ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
REMEDY = 'send {"messages": [{"role": "user", "content": "..."}, ...]}, a ShareGPT record, or a file that Heed exported'


class Line(BaseModel):
    """One line of a chat as most tools write it: OpenAI's and TRL's names, or ShareGPT's."""

    model_config = ConfigDict(populate_by_name=True)

    role: str = Field(alias="from")
    content: str = Field(alias="value", max_length=100_000)


class Node(BaseModel):
    """A message or an answer of an exported tree."""

    id: str
    parent_id: str | None = None
    text: str = Field(max_length=100_000)
    created_at: datetime = Field(default_factory=now)


class Imported(NamedTuple):
    """A conversation that is ready to be saved."""

    conversation: Conversation
    messages: list[Message]
    answers: list[Answer]


def markdown(conversation: Conversation, messages: Sequence[Message], answers: Sequence[Answer]) -> str:
    """The shown branch as a document."""
    nodes = {node.id: node for node in (*messages, *answers)}
    branch: list[Message | Answer] = []
    name = conversation.leaf_id
    while name is not None and (node := nodes.get(name)) is not None and node not in branch:
        branch.append(node)
        name = node.parent_id
    parts = [f"# {conversation.title or 'Conversation'}"]
    if conversation.system_prompt:
        parts.append("> " + conversation.system_prompt.replace("\n", "\n> "))
    for node in reversed(branch):
        parts += ["## You" if isinstance(node, Message) else "## Answer", node.text]
    return "\n\n".join(parts) + "\n"


def read(owner_id: str, body: dict[str, Any]) -> Imported:
    """A conversation from a file's object. Raises Problem, naming the field that is wrong."""
    try:
        if body.get("format") == "heed-conversation-1":
            return _tree(owner_id, body)
        for name in ("messages", "conversations"):
            if name in body:
                lines = TypeAdapter(list[Line]).validate_python(body[name])
                return _chat(owner_id, name, lines, str(body.get("title") or ""))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise _refused(f"{field or 'the file'}: {first['msg']}", field or None) from None
    raise _refused("this is no conversation that can be read")


def _refused(detail: str, field: str | None = None) -> Problem:
    return Problem(422, "not_importable", detail, field=field, remedy=REMEDY)


def _chat(owner_id: str, name: str, lines: Sequence[Line], title: str) -> Imported:
    """Lines one after another: a system prompt at most first, then user and assistant in turn."""
    told = [(ROLES.get(line.role), line.content) for line in lines]
    for number, (role, _) in enumerate(told):
        if role is None or (role == "system" and number > 0):
            raise _refused(
                f"{name}.{number}: no place for the role {lines[number].role!r}", f"{name}.{number}"
            )
    system_prompt = told.pop(0)[1] if told and told[0][0] == "system" else None
    if not told or told[0][0] != "user":
        raise _refused(f"{name}: the first who speaks must be the user", name)
    nodes: list[tuple[bool, Node]] = []
    for role, content in told:
        by_user = role == "user"
        if nodes and nodes[-1][0] == by_user:  # two lines of one speaker are one turn
            nodes[-1][1].text += f"\n\n{content}"
            continue
        parent = nodes[-1][1].id if nodes else None
        nodes.append((by_user, Node(id=str(len(nodes)), parent_id=parent, text=content)))
    return _made(owner_id, title, system_prompt, nodes, nodes[-1][1].id)


def _tree(owner_id: str, body: dict[str, Any]) -> Imported:
    """What Heed exported: the tree as it was, without its duels and votes."""
    tree = TypeAdapter(list[Node])
    nodes = [(True, node) for node in tree.validate_python(body.get("messages", []))]
    nodes += [(False, node) for node in tree.validate_python(body.get("answers", []))]
    if not nodes:
        raise _refused("messages: there is none", "messages")
    head = body.get("conversation")
    head = head if isinstance(head, dict) else {}
    text = {name: value for name, value in head.items() if isinstance(value, str)}
    return _made(owner_id, text.get("title", ""), text.get("system_prompt"), nodes, text.get("leaf_id"))


def _made(
    owner_id: str, title: str, system_prompt: str | None, nodes: list[tuple[bool, Node]], leaf: str | None
) -> Imported:
    """Records with ids of our own, in the order of the file. Raises Problem: a parent that is not there."""
    if len(nodes) > LONGEST:
        raise _refused(f"it has {len(nodes)} turns; {LONGEST} are the most", "messages")
    names = {node.id: new_id("msg" if by_user else "ans") for by_user, node in nodes}
    by_users = {node.id: by_user for by_user, node in nodes}
    if len(names) < len(nodes):
        raise _refused("two of its turns have the same id", "id")
    at = now()
    conversation = Conversation(
        id=new_id("conv"),
        owner_id=owner_id,
        title=(title or " ".join(nodes[0][1].text.split()))[:TITLE_LENGTH],
        system_prompt=system_prompt[:20_000] if system_prompt else None,
        leaf_id=names.get(leaf or "", names[nodes[-1][1].id]),
        created_at=at,
        updated_at=at,
    )
    made = Imported(conversation, [], [])
    _check_rooted([node for _, node in nodes])
    for number, (by_user, node) in enumerate(nodes):
        if node.parent_id is not None and by_users.get(node.parent_id) is not (not by_user):
            raise _refused(f"{node.id} follows what is not there, or a turn of the same speaker", "parent_id")
        if node.parent_id is None and not by_user:
            raise _refused(f"the answer {node.id} follows no message", "parent_id")
        parent = None if node.parent_id is None else names[node.parent_id]
        when = at + timedelta(microseconds=number)
        if by_user:
            made.messages.append(
                Message(
                    id=names[node.id],
                    conversation_id=conversation.id,
                    parent_id=parent,
                    text=node.text,
                    system_prompt=conversation.system_prompt or "",
                    created_at=when,
                )
            )
        elif parent is not None:
            made.answers.append(_answer(conversation, names[node.id], parent, node.text, when))
    return made


def _check_rooted(nodes: Sequence[Node]) -> None:
    """Every turn must be reached from a first one: a ring of parents would be walked for ever."""
    children: dict[str | None, list[str]] = {}
    for node in nodes:
        children.setdefault(node.parent_id, []).append(node.id)
    reached = list(children.get(None, ()))
    for name in reached:
        reached += children.get(name, ())
    if len(reached) < len(nodes):
        raise _refused("some of its turns follow none that is there", "parent_id")


def _answer(conversation: Conversation, name: str, parent: str, text: str, when: datetime) -> Answer:
    """An answer of no version of ours: it can be gone on from, never voted on."""
    return Answer(
        id=name,
        conversation_id=conversation.id,
        parent_id=parent,
        stream_id=f"{conversation.id}.import",
        state="finished",
        text=text,
        policy_version=0,
        versions=(),
        sampling=Sampling(),
        finish_reason="stop",
        created_at=when,
        ended_at=when,
    )
