"""Reading data sets of others: which of TRL's shapes a line has, and what it becomes."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from pydantic import TypeAdapter, ValidationError

from store.records import ChatTurn, PreferencePair

Shape = Literal["preference", "unpaired", "sft"]
Turns = tuple[ChatTurn, ...]
MOST_PROBLEMS = 50

_TURNS = TypeAdapter(Turns)
_HH_TURN = re.compile(r"\n\n(Human|Assistant): ?")


class ShapeProblem(Exception):
    """A line that is no row of any known shape: which field, and what is wrong with it."""

    def __init__(self, field: str | None, message: str) -> None:
        super().__init__(message)
        self.field = field


class LineProblem(NamedTuple):
    line: int
    field: str | None
    message: str


class Read(NamedTuple):
    pairs: list[PreferencePair]
    shapes: Counter[str]
    problems: list[LineProblem]
    """The first fifty."""
    refused: int
    duplicates: int


def read_lines(lines: Iterable[bytes], tag: str) -> Read:
    """Pairs of every line that can be one; the others are counted and explained. Nothing is raised.

    Preferred pairs have source `import`; a single answer is a thumb: up when its label is true and for a
    demonstration, down when it is false.
    """
    pairs: dict[str, PreferencePair] = {}
    shapes: Counter[str] = Counter()
    problems: list[LineProblem] = []
    refused = duplicates = 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            shape, pair = read_row(_object(line), tag)
        except ShapeProblem as error:
            refused += 1
            if len(problems) < MOST_PROBLEMS:
                problems.append(LineProblem(number, error.field, str(error)))
            continue
        name = hashlib.sha256(
            pair.model_dump_json(include={"prompt", "chosen", "rejected"}).encode()
        ).hexdigest()
        if name in pairs:
            duplicates += 1
            continue
        pairs[name] = pair
        shapes[shape] += 1
    return Read(list(pairs.values()), shapes, problems, refused, duplicates)


def read_row(row: dict[str, Any], tag: str) -> tuple[Shape, PreferencePair]:
    """The row's shape and what it becomes. Raises ShapeProblem."""
    if "chosen" in row and "rejected" in row:
        prompt, chosen, rejected = _preference(row)
        if chosen == rejected:
            raise ShapeProblem("rejected", "is the same text as chosen")
        return "preference", _pair(row, tag, prompt, chosen, rejected, "import")
    if "completion" in row and "label" in row:
        if not isinstance(row["label"], bool):
            raise ShapeProblem("label", "must be true or false")
        prompt, answer = _completed(row)
        chosen, rejected = (answer, ()) if row["label"] else ((), answer)
        return "unpaired", _pair(row, tag, prompt, chosen, rejected, "thumb")
    if "messages" in row or "completion" in row:
        prompt, answer = _split(_turns(row, "messages")) if "messages" in row else _completed(row)
        return "sft", _pair(row, tag, prompt, answer, (), "thumb")
    known = "prompt, chosen, rejected; or prompt, completion, label; or messages"
    raise ShapeProblem(None, f"has none of the known columns: {known}")


def _object(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        raise ShapeProblem(None, "is not JSON: one object a line is needed") from None
    if not isinstance(row, dict):
        raise ShapeProblem(None, "is not a JSON object")
    return row


def _preference(row: dict[str, Any]) -> tuple[Turns, Turns, Turns]:
    """With an explicit prompt; or whole conversations, as HH-RLHF and UltraFeedback have them."""
    chosen, rejected = _turns(row, "chosen"), _turns(row, "rejected")
    if row.get("prompt"):
        prompt = _turns(row, "prompt", role="user")
        chosen, rejected = (
            _after(prompt, answer, name) for name, answer in (("chosen", chosen), ("rejected", rejected))
        )
        return prompt, chosen, rejected
    prompt, said = _split(chosen, "chosen")
    other, refused = _split(rejected, "rejected")
    if prompt != other:
        raise ShapeProblem("prompt", "is missing, and chosen and rejected do not begin with the same turns")
    return prompt, said, refused


def _after(prompt: Turns, answer: Turns, name: str) -> Turns:
    """The last turn, where an answer repeats the conversation before it."""
    if len(answer) > 1 and answer[:-1] != prompt[-len(answer) + 1 :]:
        raise ShapeProblem(name, "has turns before its last one that are not those of the prompt")
    return _answer(answer[-1:], name)


def _completed(row: dict[str, Any]) -> tuple[Turns, Turns]:
    if not row.get("prompt"):
        raise ShapeProblem("prompt", "is missing")
    return _turns(row, "prompt", role="user"), _answer(_turns(row, "completion"), "completion")


def _split(turns: Turns, name: str = "messages") -> tuple[Turns, Turns]:
    """A conversation that ends with the assistant: what came before, and that answer."""
    if len(turns) < 2:
        raise ShapeProblem(name, "needs a user's turn and an answer")
    return turns[:-1], _answer(turns[-1:], name)


def _answer(turns: Turns, name: str) -> Turns:
    if len(turns) != 1 or turns[0].role != "assistant" or not turns[0].content.strip():
        raise ShapeProblem(name, "must be, or end with, one turn of the assistant that is not empty")
    return turns


def _turns(row: dict[str, Any], name: str, role: Literal["user", "assistant"] = "assistant") -> Turns:
    """A list of turns, a text of HH-RLHF's form, or one turn's plain text."""
    value = row[name]
    if isinstance(value, list):
        try:
            return _TURNS.validate_python([{k: turn[k] for k in ("role", "content")} for turn in value])
        except (ValidationError, KeyError, TypeError):
            raise ShapeProblem(
                name, "must be text or a list of {role, content}, roles system, user, assistant"
            ) from None
    if not isinstance(value, str) or not value.strip():
        raise ShapeProblem(name, "must be text that is not empty, or a list of turns")
    if value.startswith("\n\nHuman:"):
        _, *parts = _HH_TURN.split(value)
        said = zip(parts[::2], parts[1::2], strict=True)
        turns = [
            ChatTurn(role="user" if who == "Human" else "assistant", content=text.strip())
            for who, text in said
        ]
        return tuple(turn for turn in turns if turn.content or turn.role == "assistant")
    return (ChatTurn(role=role, content=value),)


def _pair(
    row: dict[str, Any],
    tag: str,
    prompt: Turns,
    chosen: Turns,
    rejected: Turns,
    source: Literal["import", "thumb"],
) -> PreferencePair:
    if not prompt or prompt[-1].role != "user":
        raise ShapeProblem("prompt", "must end with a user's turn")
    weight = row.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight <= 100:
        raise ShapeProblem("weight", "must be a number above 0 and at most 100")
    tags = row.get("tags") or []
    if not isinstance(tags, list) or not all(isinstance(one, str) for one in tags):
        raise ShapeProblem("tags", "must be a list of texts")
    margin = row.get("margin") or 0.0
    if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 <= margin <= 100:
        raise ShapeProblem("margin", "must be a number from 0 to 100")
    ranking = row.get("ranking_id")
    conversation = row.get("conversation_id")
    first = hashlib.sha256(prompt[0].content.encode()).hexdigest()[:16]
    return PreferencePair(
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
        weight=float(weight),
        margin=float(margin),
        ranking_id=ranking if isinstance(ranking, str) else None,
        chosen_ended=row.get("chosen_ended") is not False,
        rejected_ended=row.get("rejected_ended") is not False,
        source=source,
        tags=tuple(dict.fromkeys((tag, *tags))),
        # The same beginning is the same conversation: it trains or judges, never both.
        conversation_id=conversation if isinstance(conversation, str) and conversation else f"import_{first}",
        new=False,
    )
