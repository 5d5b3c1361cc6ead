"""Texts to imitate, as token ids: what SFT learns from, and what PPO-ptx keeps the policy likely to say.

Section 5.4 of arXiv 2307.04964, after InstructGPT (arXiv 2203.02155, Eq. 2).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, StringConstraints, TypeAdapter, ValidationError
from transformers import PreTrainedTokenizerBase

from store.records import ChatTurn
from trainer.data import prompt_ids, read_lines, response_ids
from trainer.errors import DataError
from trainer.rollout import Rollout


class PlainText(BaseModel):
    """`{"text": "..."}`: every token but the first is predicted."""

    text: Annotated[str, StringConstraints(min_length=1)]


class Answer(BaseModel):
    """`{"prompt": [turns], "chosen": [turn]}`, a line of a pairs file: only the preferred answer is
    predicted."""

    prompt: tuple[ChatTurn, ...]
    chosen: tuple[ChatTurn, ...]
    chosen_ended: bool = True


class Conversation(BaseModel):
    """`{"messages": [turns]}`, TRL's form for SFT: every assistant turn is predicted, and nothing else."""

    messages: tuple[ChatTurn, ...]


Line = PlainText | Answer | Conversation
LINE: TypeAdapter[Line] = TypeAdapter(Line)


def read_texts(path: Path, tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> list[Rollout]:
    """Token ids of a JSON-lines file of plain texts, of pairs, of conversations, or of all of them.

    A text over `max_tokens` becomes several; of a conversation the oldest turns are dropped, and an answer
    that does not fit with the turn before it is left out. What is predicted stands in `response_ids`.

    Raises:
        DataError: the file is missing, a line is of no such form, or nothing is left; names file and line.
    """
    return [text for line in read_text_lines(path, tokenizer, max_tokens) for text in line]


def read_text_lines(path: Path, tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> list[list[Rollout]]:
    """As `read_texts`, one list for each line of the file; an empty one where nothing of a line fits."""
    lines = [
        _texts(_parsed(line, f"{path}, line {number}"), tokenizer, max_tokens)
        for number, line in read_lines(path)
    ]
    if not any(lines):
        raise DataError(f"{path} holds no text that fits into {max_tokens} tokens. Give others, or cut them.")
    return lines


def drawn(texts: Sequence[Rollout], size: int, key: str) -> list[Rollout]:
    """`size` texts without repeats (all, if there are fewer). The same key draws the same ones."""
    return random.Random(key).sample(texts, min(size, len(texts)))


def _parsed(line: Any, where: str) -> Line:
    try:
        entry = LINE.validate_python(line)
    except ValidationError:
        raise DataError(
            f'{where}: write {{"text": "..."}}, {{"messages": [...]}} with roles and contents, or '
            '{"prompt": [...], "chosen": [...]} as in a pairs file.'
        ) from None
    if isinstance(entry, Answer):
        if not entry.prompt or entry.prompt[-1].role != "user":
            raise DataError(f"{where}: prompt must end with a user's turn.")
        if len(entry.chosen) != 1 or entry.chosen[0].role != "assistant":
            raise DataError(f"{where}: chosen must be exactly one assistant turn.")
    if isinstance(entry, Conversation):
        roles = [turn.role for turn in entry.messages]
        if "assistant" not in roles:
            raise DataError(f"{where}: messages must hold an assistant's turn to learn from.")
        if any(role == "assistant" and roles[:at][-1:] != ["user"] for at, role in enumerate(roles)):
            raise DataError(f"{where}: in messages an assistant's turn must follow a user's turn.")
    return entry


def _texts(entry: Line, tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> list[Rollout]:
    if isinstance(entry, PlainText):
        ids: list[int] = tokenizer.encode(entry.text, add_special_tokens=False)
        pieces = [ids[at : at + max_tokens] for at in range(0, len(ids), max_tokens)]
        return [_rollout(piece[:1], piece[1:]) for piece in pieces if len(piece) > 1]
    if isinstance(entry, Answer):
        said = response_ids(tokenizer, entry.chosen[0].content, ended=entry.chosen_ended)
        return _answer(tokenizer, entry.prompt, said, max_tokens)
    answers: list[Rollout] = []
    for at, turn in enumerate(entry.messages):
        if turn.role == "assistant":
            said = response_ids(tokenizer, turn.content)
            answers += _answer(tokenizer, entry.messages[:at], said, max_tokens)
    return answers


def _answer(
    tokenizer: PreTrainedTokenizerBase, prompt: Sequence[ChatTurn], answer: list[int], max_tokens: int
) -> list[Rollout]:
    """The answer behind its prompt as it would be served, or nothing where both do not fit."""
    try:
        before = prompt_ids(tokenizer, prompt, max_tokens - len(answer))
    except DataError:
        return []
    return [_rollout(before, answer)] if answer else []


def _rollout(prompt: list[int], predicted: list[int]) -> Rollout:
    return Rollout(prompt, predicted, [0.0] * len(predicted), True)
