"""Data: the same token ids in training, scoring and serving; batches that waste little and mask by length."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerBase

from store.records import ChatTurn, PreferencePair
from trainer.data import (
    BUNDLED_PROMPTS,
    length_buckets,
    load_tokenizer,
    micro_batches,
    pad_right,
    prompt_ids,
    read_prompts,
    response_ids,
    spare_token_id,
)
from trainer.errors import DataError
from trainer.pairs import read_pairs, token_pairs

LOOP_PROMPTS = Path(__file__).parents[3] / "scripts" / "loop" / "prompts.jsonl"


@pytest.fixture(scope="module")
def tokenizer(tiny_policy: Path) -> PreTrainedTokenizerBase:
    return load_tokenizer(tiny_policy)


def turn(role: Any, content: str) -> ChatTurn:
    return ChatTurn(role=role, content=content)


def pair(chosen: str = "good", rejected: str = "bad", **changes: Any) -> PreferencePair:
    fields = {
        "prompt": (turn("user", "hi"),),
        "chosen": (turn("assistant", chosen),),
        "rejected": (turn("assistant", rejected),),
    }
    return PreferencePair(**(fields | changes))


def written(folder: Path, *lines: Any) -> Path:
    path = folder / "lines.jsonl"
    texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


def test_ids_are_the_same_in_training_scoring_and_serving(tokenizer: PreTrainedTokenizerBase) -> None:
    prompt = (turn("system", "Be brief."), turn("user", "hi"), turn("assistant", "yes?"), turn("user", "why"))
    messages = [one.model_dump() for one in prompt]
    # What the engine's chat endpoint does, and then draws an answer that ends with the end token.
    served = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert isinstance(served, list)
    drawn = [*tokenizer.encode("because", add_special_tokens=False), tokenizer.eos_token_id]

    scored = prompt_ids(tokenizer, prompt, 999) + response_ids(tokenizer, "because")
    trained = token_pairs([pair("because", prompt=prompt)], tokenizer, 999)[0]

    assert scored == trained.chosen == served + drawn
    assert trained.prompt_length == len(served)
    # One header each, no second start-of-text token between prompt and answer.
    assert tokenizer.decode(scored).count("<|im_start|>assistant") == 2


def test_an_answer_that_was_cut_gets_no_end_token(tokenizer: PreTrainedTokenizerBase) -> None:
    cut = token_pairs([pair(rejected="goo", rejected_ended=False)], tokenizer, 999)[0]

    assert cut.chosen[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(cut.rejected[cut.prompt_length :]) == "goo"


def test_over_the_limit_the_oldest_turns_go_and_the_system_turn_stays(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    last = (turn("system", "S"), turn("user", "new"))
    prompt = (last[0], turn("user", "old"), turn("assistant", "x" * 50), last[1])

    assert prompt_ids(tokenizer, prompt, 100) == prompt_ids(tokenizer, last, 100)
    assert len(prompt_ids(tokenizer, prompt, 200)) > 100
    with pytest.raises(DataError, match=r"last turn has \d+ tokens, the limit is 20"):
        prompt_ids(tokenizer, prompt, 20)


def test_pairs_that_do_not_fit_are_left_out(tokenizer: PreTrainedTokenizerBase) -> None:
    pairs = [pair(), pair("x" * 100), pair(chosen="")]

    assert len(token_pairs(pairs, tokenizer, 60)) == 2
    assert len(token_pairs(pairs, tokenizer, 200)) == 3


def test_the_spare_token_is_in_no_text(tokenizer: PreTrainedTokenizerBase, tiny_policy: Path) -> None:
    assert tokenizer.decode([spare_token_id(tokenizer)]) == "<|pad|>"
    shared = load_tokenizer(tiny_policy)
    shared.pad_token = shared.eos_token

    assert shared.decode([spare_token_id(shared)]) == "<|pad|>"


def test_padding_is_on_the_right_and_masked_by_length() -> None:
    batch = pad_right([[5, 6, 7], [8]], pad_token_id=7)

    assert batch.input_ids.tolist() == [[5, 6, 7], [8, 7, 7]]
    assert batch.attention_mask.tolist() == [[True, True, True], [True, False, False]]
    assert batch.position_ids.tolist() == [[0, 1, 2], [0, 0, 0]]
    assert batch.attention_mask.dtype == torch.bool


def test_buckets_hold_every_pair_once_and_pad_little() -> None:
    lengths = [(7 * index) % 100 + 1 for index in range(100)]

    batches = length_buckets(lengths, 8, seed=1)

    assert sorted(index for batch in batches for index in batch) == list(range(100))
    padded = sum(len(batch) * max(lengths[index] for index in batch) for batch in batches)
    assert padded < 1.25 * sum(lengths)
    assert batches == length_buckets(lengths, 8, seed=1) != length_buckets(lengths, 8, seed=2)


def test_micro_batches_stay_within_the_token_limit() -> None:
    lengths = [10, 10, 30, 5, 200]

    parts = micro_batches(range(5), lengths, 60)

    # 5, 10, 10 fit as 3 x 10; 30 with them would be 4 x 30; 200 is over the limit alone and goes alone.
    assert [[lengths[index] for index in part] for part in parts] == [[5, 10, 10], [30], [200]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not JSON"),
        ({"prompt": []}, "line 2: chosen: Field required"),
        (pair(prompt=(turn("assistant", "hi"),)).model_dump(), "line 2: prompt must end with a user's turn"),
        (
            pair(chosen="same ", rejected=" same").model_dump(),
            "line 2: chosen and rejected are the same text",
        ),
        (
            {**pair().model_dump(), "chosen": [{"role": "user", "content": "hi"}]},
            "line 2: chosen must be exactly one assistant turn",
        ),
        ({**pair().model_dump(), "weight": 0}, "line 2: weight: Input should be greater than 0"),
    ],
)
def test_a_bad_pair_is_named_by_line_and_field(tmp_path: Path, line: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_pairs(written(tmp_path, pair().model_dump(), line))


def ranking(**changes: Any) -> dict[str, Any]:
    answers = [[{"role": "assistant", "content": text}] for text in ("best", "good", "also good")]
    return {"prompt": [{"role": "user", "content": "hi"}], "answers": answers, "ranks": [1, 2, 2]} | changes


def test_a_ranking_becomes_all_its_pairs(tmp_path: Path) -> None:
    pairs = read_pairs(
        written(tmp_path, pair().model_dump(), ranking(ended=[True, False, True], tags=["en"]))
    )

    texts = [(one.chosen[0].content, one.rejected[0].content, one.preference) for one in pairs[1:]]
    assert texts == [("best", "good", 1.0), ("best", "also good", 1.0), ("good", "also good", 0.5)]
    assert sum(one.weight for one in pairs[1:]) == pytest.approx(1.0)
    assert {one.ranking_id for one in pairs[1:]} == {"line 2"}
    assert [(one.chosen_ended, one.rejected_ended) for one in pairs[1:]] == [
        (True, False),
        (True, True),
        (False, True),
    ]
    assert pairs[1].tags == ("en",)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (ranking(ranks=[1, 2]), "line 1: answers, ranks and ended must be of one length"),
        (ranking(ranks=[1], answers=ranking()["answers"][:1]), "line 1: answers, ranks and ended must be"),
        (ranking(answers=[ranking()["answers"][0]] * 3), "line 1: chosen and rejected are the same text"),
        (ranking(ranks=[1, 2, None]), r"line 1: ranks\.2: Input should be"),
        (pair(source="thumb").model_dump(), "line 1: a thumb has one answer"),
        (
            pair(source="thumb").model_dump() | {"chosen": [], "rejected": []},
            "line 1: a thumb has one answer",
        ),
        (pair().model_dump() | {"rejected": []}, "line 1: rejected must be exactly one assistant turn"),
        (pair().model_dump() | {"preference": 0.4}, "line 1: preference: Input should be greater"),
        (pair().model_dump() | {"margin": float("nan")}, "line 1: margin: Input should be a finite"),
    ],
)
def test_a_ranking_or_thumb_that_cannot_be_read_is_named(tmp_path: Path, line: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_pairs(written(tmp_path, line))


def test_a_thumb_has_the_ids_of_its_answer_only(tokenizer: PreTrainedTokenizerBase) -> None:
    up = pair("yes", source="thumb").model_copy(update={"rejected": ()})
    down = pair(rejected="no", source="thumb").model_copy(update={"chosen": ()})

    first, second = token_pairs([up, down], tokenizer, 999)

    assert (tokenizer.decode(first.chosen[first.prompt_length :]), first.rejected) == ("yes<|im_end|>", [])
    assert (second.chosen, tokenizer.decode(second.rejected[second.prompt_length :])) == ([], "no<|im_end|>")
    assert first.prompt == second.prompt == prompt_ids(tokenizer, up.prompt, 999)


def test_pairs_and_prompts_come_back_as_written(tmp_path: Path) -> None:
    line_separator = pair(chosen="one\u2028two")

    assert read_pairs(written(tmp_path, line_separator.model_dump_json())) == [line_separator]
    assert read_prompts(written(tmp_path, {"prompt": [{"role": "user", "content": "a"}]})) == [
        (turn("user", "a"),)
    ]


@pytest.mark.parametrize("lines", [[], [""], ["\n"]])
def test_an_empty_file_is_refused(tmp_path: Path, lines: list[str]) -> None:
    path = written(tmp_path, *lines)

    with pytest.raises(DataError, match="holds no pairs"):
        read_pairs(path)
    with pytest.raises(DataError, match="holds no prompts"):
        read_prompts(path)
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_pairs(tmp_path / "none.jsonl")


@pytest.mark.parametrize("line", [{"prompts": []}, {"prompt": [{"role": "assistant", "content": "a"}]}])
def test_a_prompt_must_end_with_the_user(tmp_path: Path, line: Any) -> None:
    with pytest.raises(DataError, match="line 1"):
        read_prompts(written(tmp_path, line))


def test_the_bundled_prompts_are_many_different_and_not_those_of_the_demonstration() -> None:
    bundled, loop = (read_prompts(path) for path in (BUNDLED_PROMPTS, LOOP_PROMPTS))

    assert len(bundled) == len(set(bundled)) >= 240
    assert len(loop) == len(set(loop)) >= 780
    assert not {prompt[-1].content.lower() for prompt in bundled} & {
        prompt[-1].content.lower() for prompt in loop
    }
