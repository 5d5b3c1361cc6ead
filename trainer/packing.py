"""Packing: all answers to one prompt share a row, so that the prompt goes through the model once.

A row is [prompt | answer 1 | answer 2 | ...]. The mask lets each answer see the prompt and itself only, and
its positions go on from the prompt's end, so that every score is that of a row of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from trainer.pairs import TokenPair

THRESHOLD = -1
"""Index that stands for the threshold, the missing side of a thumb: the last of the scores."""


@dataclass(frozen=True)
class Example:
    """One prompt, its different answers, and the pairs among them by index."""

    prompt: list[int]
    answers: list[list[int]]
    pairs: list[TokenPair]
    chosen: list[int]
    rejected: list[int]

    def tokens(self, share_prompts: bool) -> int:
        """How many go through the model."""
        prompts = 1 if share_prompts else len(self.answers)
        return prompts * len(self.prompt) + sum(map(len, self.answers))


class Place(NamedTuple):
    """An answer's tokens are [row, start:end]; its prompt ends before place `prompt_end` of the same row."""

    row: int
    start: int
    end: int
    prompt_end: int


@dataclass(frozen=True)
class Packed:
    """Rows of a batch of examples, padded on the right. R rows, T the longest, S answers, N pairs."""

    input_ids: Tensor
    """(R, T) int64; padding holds the pad id."""
    attention_mask: Tensor
    """(R, 1, T, T) bool, True = the query (third axis) sees the key; (R, T) without shared prompts."""
    position_ids: Tensor
    """(R, T) int64."""
    places: list[Place]
    """S: where each answer stands."""
    chosen: Tensor
    """(N,) int64, the pairs' preferred answers among the S; -1 is the threshold."""
    rejected: Tensor
    """(N,) int64, the others."""

    def inputs(self) -> dict[str, Tensor]:
        """The tensors under the names that models take."""
        return {
            "input_ids": self.input_ids,
            "attention_mask": self.attention_mask,
            "position_ids": self.position_ids,
        }


def examples(pairs: Sequence[TokenPair]) -> list[Example]:
    """The pairs of one ranking, and each other pair alone, with every answer named once; order is kept."""
    groups: dict[object, list[TokenPair]] = {}
    for index, pair in enumerate(pairs):
        key = index if pair.ranking_id is None else (pair.ranking_id, tuple(pair.prompt))
        groups.setdefault(key, []).append(pair)
    return [_example(group) for group in groups.values()]


def pack(
    batch: Sequence[Example],
    pad_token_id: int,
    device: torch.device | str = "cpu",
    *,
    share_prompts: bool = True,
) -> Packed:
    """Lays out a batch of examples: a row each, or a row for each answer when prompts are not shared."""
    lanes: list[list[list[int]]] = []
    chosen: list[int] = []
    rejected: list[int] = []
    answers = 0
    for example in batch:
        lanes += _lanes(example, share_prompts)
        chosen += [_moved(index, answers) for index in example.chosen]
        rejected += [_moved(index, answers) for index in example.rejected]
        answers += len(example.answers)
    longest = max(sum(map(len, lane)) for lane in lanes)
    ids = torch.full((len(lanes), longest), pad_token_id)
    # Which part of its row a token belongs to: 0 the prompt, 1 and on an answer, -1 padding.
    parts = torch.full((len(lanes), longest), -1)
    positions = torch.zeros((len(lanes), longest), dtype=torch.int64)
    places: list[Place] = []
    for row, lane in enumerate(lanes):
        end = 0
        for part, tokens in enumerate(lane):
            span = slice(end, end + len(tokens))
            first = len(lane[0]) if part else 0
            ids[row, span] = torch.tensor(tokens)
            parts[row, span] = part
            positions[row, span] = torch.arange(first, first + len(tokens))
            if part:
                places.append(Place(row, end, end + len(tokens), first))
            end += len(tokens)
    return Packed(
        input_ids=ids.to(device),
        attention_mask=(_tree_mask(parts) if share_prompts else parts >= 0).to(device),
        position_ids=positions.to(device),
        places=places,
        chosen=torch.tensor(chosen).to(device),
        rejected=torch.tensor(rejected).to(device),
    )


def _lanes(example: Example, share_prompts: bool) -> list[list[list[int]]]:
    if share_prompts:
        return [[example.prompt, *example.answers]]
    return [[example.prompt, answer] for answer in example.answers]


def _tree_mask(parts: Tensor) -> Tensor:
    """(R, T) parts -> (R, 1, T, T), who sees whom. Padding sees itself, or its softmax would be NaN."""
    order = torch.arange(parts.shape[1])
    mine = (parts[:, :, None] == parts[:, None, :]) | (parts[:, None, :] == 0)
    return (mine & (order[None, :] <= order[:, None]))[:, None]


def _example(pairs: list[TokenPair]) -> Example:
    prompt = pairs[0].prompt
    answers: dict[tuple[int, ...], int] = {}

    def index(sequence: list[int]) -> int:
        return answers.setdefault(tuple(sequence[len(prompt) :]), len(answers)) if sequence else THRESHOLD

    chosen = [index(pair.chosen) for pair in pairs]
    rejected = [index(pair.rejected) for pair in pairs]
    return Example(prompt, [list(answer) for answer in answers], pairs, chosen, rejected)


def _moved(index: int, by: int) -> int:
    return index if index == THRESHOLD else index + by
