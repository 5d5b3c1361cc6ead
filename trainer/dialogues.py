"""Dialogues: the turns to learn of one text, laid into as few sequences as they fit, each read once."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from trainer.data import pad_right
from trainer.experience import Part
from trainer.ptx import read_text_lines
from trainer.rollout import Rollout
from trainer.tensors import before_response


@dataclass(frozen=True)
class Row:
    """One sequence, and what of it is learned."""

    ids: tuple[int, ...]
    learned: tuple[bool, ...]
    """As long as `ids`. True = the loss counts this token, given those before it; the first is never True."""


Text = tuple[Row, ...]
"""What one line of a file of texts teaches."""


def shared_rows(answers: Sequence[Rollout]) -> Text:
    """Each answer behind its prompt, in one row with the answer before it where that row begins its prompt.

    So a conversation of n turns is read once, not n times, and every answer still sees exactly the ids that
    it would be served with. Where the template writes earlier turns in another way (some drop the thoughts in
    them) or the oldest turns were dropped, an answer has a row of its own.
    """
    rows: list[Row] = []
    for answer in answers:
        prompt = tuple(answer.prompt_ids)
        begun = Row((), ())
        if rows and prompt[: len(rows[-1].ids)] == rows[-1].ids:
            begun = rows.pop()
        between = (False,) * (len(prompt) - len(begun.ids))
        said = (True,) * len(answer.response_ids)
        rows.append(Row((*prompt, *answer.response_ids), begun.learned + between + said))
    return tuple(rows)


def read_dialogues(path: Path, tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> list[Text]:
    """One text for each line of a file; an empty one where nothing of the line fits. Raises DataError."""
    return [shared_rows(line) for line in read_text_lines(path, tokenizer, max_tokens)]


def drawn_apart(texts: Sequence[Text], share: float, seed: int) -> list[Text]:
    """A share of the different texts, at least one, to judge by; the same seed draws the same ones."""
    different = list(dict.fromkeys(text for text in texts if text))
    return random.Random(seed).sample(different, max(1, round(share * len(different))))


def learned_tokens(rows: Sequence[Row]) -> int:
    """How many tokens the loss counts."""
    return sum(sum(row.learned) for row in rows)


def part_of(rows: Sequence[Row], device: torch.device) -> Part:
    """b rows as one padded forward pass, in which all but the first token is a response with gaps."""
    width = max(len(row.ids) for row in rows)
    masks = [[*row.learned[1:], *[False] * (width - len(row.ids))] for row in rows]
    tokens = [token for row in rows for token, counts in zip(row.ids, row.learned, strict=True) if counts]
    starts = torch.arange(len(rows), device=device) * width
    mask = torch.tensor(masks, device=device)
    return Part(
        rows=torch.arange(len(rows), device=device),
        batch=pad_right([row.ids for row in rows], 0, device),
        mask=mask,
        before=before_response(starts, mask),
        tokens=torch.tensor(tokens, device=device),
    )
