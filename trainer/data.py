"""Data: prompts and answers to token ids, and token ids to padded batches."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel, TypeAdapter, ValidationError
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from store.records import ChatTurn
from trainer.errors import DataError, ModelError

Prompt = tuple[ChatTurn, ...]
Shape = TypeVar("Shape", bound=BaseModel)
BUNDLED_PROMPTS = Path(__file__).with_name("prompts.jsonl")


@dataclass(frozen=True)
class Batch:
    """Sequences padded on the right. B rows, T the longest of them."""

    input_ids: Tensor
    """(B, T) int64; padding holds the pad id."""
    attention_mask: Tensor
    """(B, T) bool, True = counts."""
    position_ids: Tensor
    """(B, T) int64, 0 .. length - 1."""

    def inputs(self) -> dict[str, Tensor]:
        """The tensors under the names that models take."""
        return {
            "input_ids": self.input_ids,
            "attention_mask": self.attention_mask,
            "position_ids": self.position_ids,
        }


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Loads a folder's tokenizer.

    Raises:
        ModelError: there is none, or it has no chat template or no end token.
    """
    if not (folder / "tokenizer.json").exists():
        raise ModelError(f"{folder} has no tokenizer.json. Give a folder that `base` or `ppo` wrote.")
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    assert isinstance(tokenizer, PreTrainedTokenizerBase)
    if not tokenizer.chat_template:
        raise ModelError(f"{folder}: the tokenizer has no chat template; use an instruction-tuned model.")
    if tokenizer.eos_token_id is None:
        raise ModelError(f"{folder}: the tokenizer has no end token; set eos_token in tokenizer_config.json.")
    return tokenizer


def spare_token_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """A special token that no training text holds, for padding in the reward model's folder.

    transformers scores the last token that is not padding. Where padding is the end token (SmolLM2) it would
    skip the end of every answer, so another one must be named there.

    Raises:
        ModelError: every special token of the tokenizer is in use.
    """
    template = str(tokenizer.chat_template)
    used = {tokenizer.eos_token_id, tokenizer.bos_token_id}
    candidates = [tokenizer.pad_token_id, tokenizer.unk_token_id]
    candidates += [index for index, token in sorted(tokenizer.added_tokens_decoder.items()) if token.special]
    for index in candidates:
        if index is not None and index not in used and str(tokenizer.decode([index])) not in template:
            return int(index)
    raise ModelError(
        "the tokenizer has no special token to spare for padding; add a pad_token that is not eos."
    )


def prompt_ids(tokenizer: PreTrainedTokenizerBase, prompt: Sequence[ChatTurn], limit: int) -> list[int]:
    """Token ids of a prompt as every part of the platform makes them: chat template, answer's header.

    Over `limit` tokens the oldest turns are dropped, two at a time so that a user still speaks first; a
    system turn at the start stays.

    Raises:
        DataError: the last turn alone is longer than `limit`.
    """
    system = [turn for turn in prompt[:1] if turn.role == "system"]
    turns = list(prompt[len(system) :])
    while True:
        messages = [{"role": turn.role, "content": turn.content} for turn in [*system, *turns]]
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        # The template writes all special tokens itself, as in the engine's chat endpoint.
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
        if len(ids) <= limit:
            return ids
        if len(turns) <= 1:
            raise DataError(f"a prompt's last turn has {len(ids)} tokens, the limit is {limit}.")
        turns = turns[2:] if len(turns) > 2 else turns[1:]


def response_ids(tokenizer: PreTrainedTokenizerBase, text: str, *, ended: bool = True) -> list[int]:
    """Token ids of an answer, with the end token when it ended by itself, as an engine would draw them."""
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    assert isinstance(tokenizer.eos_token_id, int)
    return [*ids, tokenizer.eos_token_id] if ended else ids


def read_prompts(path: Path) -> list[Prompt]:
    """Reads prompts, one `{"prompt": [turns]}` a line, each ending with a user's turn.

    Raises:
        DataError: the file is missing or empty, or a line is not such a prompt; names file and line.
    """
    adapter = TypeAdapter(dict[str, Prompt])
    prompts = []
    for number, line in read_lines(path):
        try:
            prompt = adapter.validate_python(line)["prompt"]
        except (ValidationError, KeyError) as error:
            detail = problems(error) if isinstance(error, ValidationError) else "field prompt is missing"
            raise DataError(f"{path}, line {number}: {detail}") from None
        if not prompt or prompt[-1].role != "user":
            raise DataError(f"{path}, line {number}: prompt must end with a user's turn.")
        prompts.append(prompt)
    if not prompts:
        raise DataError(f'{path} holds no prompts. Write one {{"prompt": [...]}} a line.')
    return prompts


def pad_right(
    sequences: Sequence[Sequence[int]], pad_token_id: int, device: torch.device | str = "cpu"
) -> Batch:
    """Pads sequences on the right to the longest: B sequences -> (B, T)."""
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    longest = int(lengths.max())
    rows = [[*sequence, *[pad_token_id] * (longest - len(sequence))] for sequence in sequences]
    positions = torch.arange(longest).expand(len(rows), longest)
    mask = positions < lengths[:, None]
    return Batch(
        input_ids=torch.tensor(rows).to(device),
        attention_mask=mask.to(device),
        position_ids=(positions * mask).to(device),
    )


def length_buckets(lengths: Sequence[int], size: int, seed: int, spread: int = 8) -> list[list[int]]:
    """Indices in batches of up to `size`, of similar length inside a batch, in random order.

    Shuffled first, sorted inside windows of `spread` batches, then the batches are shuffled: little padding,
    and still another mixture for each seed.
    """
    chance = random.Random(seed)
    order = list(range(len(lengths)))
    chance.shuffle(order)
    batches: list[list[int]] = []
    for start in range(0, len(order), size * spread):
        window = sorted(order[start : start + size * spread], key=lambda index: lengths[index])
        batches += [window[first : first + size] for first in range(0, len(window), size)]
    chance.shuffle(batches)
    return batches


def micro_batches(indices: Sequence[int], lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Cuts a batch so that rows x longest stays within `max_tokens`; a longer row gets a pass of its own."""
    parts: list[list[int]] = []
    longest = 0
    for index in sorted(indices, key=lambda index: lengths[index]):
        longest = max(longest, lengths[index])
        if not parts or longest * (len(parts[-1]) + 1) > max_tokens:
            parts.append([])
            longest = lengths[index]
        parts[-1].append(index)
    return parts


def read_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Line numbers from 1 and the JSON values of a file, empty lines left out.

    Raises:
        DataError: the file cannot be read, or a line is not JSON.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}. Give an existing file.") from None
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(f"{path}, line {number}: not JSON ({error.msg}).") from None


def read_records(path: Path, kind: type[Shape]) -> Iterator[tuple[int, Shape]]:
    """Line numbers and records of a file. Raises DataError with file, line and field."""
    for number, line in read_lines(path):
        try:
            yield number, kind.model_validate(line)
        except ValidationError as error:
            raise DataError(f"{path}, line {number}: {problems(error)}") from None


def problems(error: ValidationError) -> str:
    """What is wrong with which field, in one line."""
    return "; ".join(f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors())
