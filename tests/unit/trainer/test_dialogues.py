"""Conversations as rows: the ids that are served, the mask by hand, and the same loss in fewer passes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerBase

from store.records import ChatTurn
from trainer.data import load_tokenizer, prompt_ids, response_ids
from trainer.dialogues import Text, part_of, read_dialogues, shared_rows
from trainer.errors import DataError
from trainer.experience import read_policy
from trainer.models import load_policy
from trainer.ptx import read_texts

TURNS = (
    ChatTurn(role="system", content="Be kind."),
    ChatTurn(role="user", content="Hi"),
    ChatTurn(role="assistant", content="Hey you"),
    ChatTurn(role="user", content="So?"),
    ChatTurn(role="assistant", content="Nothing."),
    ChatTurn(role="user", content="Bye"),
)
CPU = torch.device("cpu")


@pytest.fixture
def tokenizer(tiny_policy: Path) -> PreTrainedTokenizerBase:
    return load_tokenizer(tiny_policy)


def written(folder: Path, *conversations: tuple[ChatTurn, ...]) -> Path:
    path = folder / "texts.jsonl"
    lines = [{"messages": [turn.model_dump() for turn in turns]} for turns in conversations]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def text_of(tokenizer: PreTrainedTokenizerBase, path: Path, max_tokens: int = 500) -> Text:
    (text,) = read_dialogues(path, tokenizer, max_tokens)
    return text


def test_each_answer_stands_behind_the_ids_that_it_is_served_with(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    (row,) = text_of(tokenizer, written(tmp_path, TURNS))
    for at in (2, 4):
        served = prompt_ids(tokenizer, TURNS[:at], 500) + response_ids(tokenizer, TURNS[at].content)
        assert list(row.ids[: len(served)]) == served
    # The template's own text of the conversation, up to the last answer's end token.
    messages = [turn.model_dump() for turn in TURNS[:5]]
    whole = str(tokenizer.apply_chat_template(messages, tokenize=False))
    assert tokenizer.decode(list(row.ids)) == whole.removesuffix("\n")


def test_only_what_the_assistant_says_is_learned_each_end_token_included(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    (row,) = text_of(tokenizer, written(tmp_path, TURNS))
    shown = "".join(
        str(tokenizer.decode([token])) if counts else "." * len(str(tokenizer.decode([token])))
        for token, counts in zip(row.ids, row.learned, strict=True)
    )
    header, after = "<|im_start|>assistant\n", "\n<|im_start|>user\nSo?<|im_end|>\n"
    before = "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
    dots = "." * len(before + header), "." * len(after + header)
    assert shown == f"{dots[0]}Hey you<|im_end|>{dots[1]}Nothing.<|im_end|>"


def test_a_shared_row_gives_each_answer_the_log_probabilities_of_a_row_of_its_own(
    tiny_policy: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    model = load_policy(tiny_policy)
    answers = read_texts(written(tmp_path, TURNS, TURNS[1:3]), tokenizer, 500)
    together = [*shared_rows(answers[:2]), *shared_rows(answers[2:])]
    alone = [row for answer in answers for row in shared_rows([answer])]
    assert (len(together), len(alone)) == (2, 3)
    with torch.no_grad():
        shared, mine = (read_policy(model, part_of(rows, CPU), 1.0, "bf16")[0] for rows in (together, alone))
    assert torch.allclose(shared[shared != 0], mine[mine != 0], atol=2e-2)
    assert torch.allclose(shared.sum(), mine.sum(), rtol=1e-3)


def test_only_learned_tokens_carry_gradient(
    tiny_policy: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    model = load_policy(tiny_policy)
    part = part_of(text_of(tokenizer, written(tmp_path, TURNS)), CPU)
    states: list[torch.Tensor] = []
    model.get_submodule("model.norm").register_forward_hook(lambda module, taken, given: states.append(given))
    logprobs, _ = read_policy(model, part, 1.0, "bf16")
    states[0].retain_grad()
    logprobs.sum().backward()
    assert states[0].grad is not None
    # "Hey you" and "Nothing.", one token a byte, and an end token each, are read off the state before them.
    reached = states[0].grad.abs().sum(-1) > 0
    assert torch.equal(reached[:, :-1], part.mask[:, : reached.shape[1] - 1])
    assert int(reached.sum()) == len("Hey you") + 1 + len("Nothing.") + 1


def test_where_the_template_rewrites_earlier_answers_each_has_a_row_of_its_own(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    # As templates of thinking models do: a thought is written in the newest answer only.
    tokenizer.chat_template = str(tokenizer.chat_template).replace(
        "message['content']", "message['content'].replace('Hey ', '')"
    )
    text = text_of(tokenizer, written(tmp_path, TURNS))
    assert len(text) == 2
    for at, row in zip((2, 4), text, strict=True):
        said = response_ids(tokenizer, TURNS[at].content)
        assert list(row.ids) == prompt_ids(tokenizer, TURNS[:at], 500) + said
        assert sum(row.learned) == len(said)


def test_of_a_long_conversation_the_oldest_turns_are_dropped_as_when_it_is_served(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    limit = len(prompt_ids(tokenizer, TURNS[:4], 500)) + len("Nothing.")  # one too few for the second answer
    first, second = text_of(tokenizer, written(tmp_path, TURNS), limit)
    assert list(first.ids[: len(first.ids) - 8]) == prompt_ids(tokenizer, TURNS[:2], 500)
    assert list(second.ids[: len(second.ids) - 9]) == prompt_ids(tokenizer, (TURNS[0], TURNS[3]), 500)


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "must hold an assistant's turn"),
        ([{"role": "user", "content": "Hi"}], "must hold an assistant's turn"),
        ([{"role": "assistant", "content": "Hi"}], "must follow a user's turn"),
        ([TURNS[1].model_dump(), *[TURNS[2].model_dump()] * 2], "must follow a user's turn"),
        ([{"role": "tool", "content": "7"}], 'write {"text"'),
    ],
)
def test_a_conversation_that_cannot_be_learned_is_refused_with_its_line(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path, messages: list[Any], message: str
) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text(json.dumps({"messages": messages}) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 1") as caught:
        read_texts(path, tokenizer, 100)
    assert message in str(caught.value)
