"""PPO-ptx: texts whose language-model loss joins the policy's gradient, so that it keeps its language skill.

Section 5.4 of arXiv 2307.04964, after InstructGPT (arXiv 2203.02155, Eq. 2).
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, StringConstraints, TypeAdapter, ValidationError
from transformers import PreTrainedTokenizerBase

from store.records import ChatTurn
from trainer.data import prompt_ids, response_ids
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


LINE: TypeAdapter[PlainText | Answer] = TypeAdapter(PlainText | Answer)


def read_texts(path: Path, tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> list[Rollout]:
    """Token ids of a JSON-lines file of plain texts, of pairs, or of both.

    A text over `max_tokens` becomes several; of a conversation the oldest turns are dropped, and one whose
    last turn and answer do not fit is left out. What is predicted stands in `response_ids`.

    Raises:
        DataError: the file is missing, a line is neither form, or nothing is left; names file and line.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}. Give an existing file.") from None
    texts: list[Rollout] = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            texts += _texts(_parsed(line, f"{path}, line {number}"), tokenizer, max_tokens)
    if not texts:
        raise DataError(f"{path} holds no text that fits into {max_tokens} tokens. Give others, or cut them.")
    return texts


def drawn(texts: Sequence[Rollout], size: int, key: str) -> list[Rollout]:
    """`size` texts without repeats (all, if there are fewer). The same key draws the same ones."""
    return random.Random(key).sample(texts, min(size, len(texts)))


def _parsed(line: str, where: str) -> PlainText | Answer:
    try:
        entry = LINE.validate_python(json.loads(line))
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not JSON ({error.msg}).") from None
    except ValidationError:
        raise DataError(
            f'{where}: write {{"text": "..."}}, or {{"prompt": [...], "chosen": [...]}} as in a pairs file.'
        ) from None
    if isinstance(entry, Answer):
        if not entry.prompt or entry.prompt[-1].role != "user":
            raise DataError(f"{where}: prompt must end with a user's turn.")
        if len(entry.chosen) != 1 or entry.chosen[0].role != "assistant":
            raise DataError(f"{where}: chosen must be exactly one assistant turn.")
    return entry


def _texts(entry: PlainText | Answer, tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> list[Rollout]:
    if isinstance(entry, PlainText):
        ids: list[int] = tokenizer.encode(entry.text, add_special_tokens=False)
        pieces = [ids[at : at + max_tokens] for at in range(0, len(ids), max_tokens)]
        return [_rollout(piece[:1], piece[1:]) for piece in pieces if len(piece) > 1]
    answer = response_ids(tokenizer, entry.chosen[0].content, ended=entry.chosen_ended)
    try:
        prompt = prompt_ids(tokenizer, entry.prompt, max_tokens - len(answer))
    except DataError:
        return []
    return [_rollout(prompt, answer)] if answer else []


def _rollout(prompt: list[int], predicted: list[int]) -> Rollout:
    return Rollout(prompt, predicted, [0.0] * len(predicted), True)
