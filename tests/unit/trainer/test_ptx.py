"""The texts of PPO-ptx: what is read, what is predicted, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trainer.data import load_tokenizer
from trainer.errors import DataError
from trainer.ptx import drawn, read_texts
from trainer.rollout import Rollout


def written(folder: Path, *lines: object) -> Path:
    path = folder / "texts.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


PAIR = {
    "prompt": [{"role": "user", "content": "Hi"}],
    "chosen": [{"role": "assistant", "content": "Hey"}],
    "rejected": [{"role": "assistant", "content": "No"}],
    "weight": 1.0,
}


def test_of_plain_text_every_token_but_the_first_is_predicted(tiny_policy: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(tiny_policy)  # one token a byte
    (text,) = read_texts(written(tmp_path, {"text": "abcd"}), tokenizer, 100)
    assert tokenizer.decode(text.prompt_ids + text.response_ids) == "abcd"
    assert len(text.prompt_ids) == 1


def test_a_long_text_becomes_several_and_a_rest_of_one_token_is_dropped(
    tiny_policy: Path, tmp_path: Path
) -> None:
    tokenizer = load_tokenizer(tiny_policy)
    texts = read_texts(written(tmp_path, {"text": "abcdefghi"}), tokenizer, 4)
    assert [tokenizer.decode(one.prompt_ids + one.response_ids) for one in texts] == ["abcd", "efgh"]


def test_of_a_pair_only_the_preferred_answer_is_predicted(tiny_policy: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(tiny_policy)
    cut = PAIR | {"chosen_ended": False}
    whole, open_end = read_texts(written(tmp_path, PAIR, cut), tokenizer, 200)
    assert tokenizer.decode(whole.response_ids) == "Hey<|im_end|>"
    assert tokenizer.decode(open_end.response_ids) == "Hey"
    assert str(tokenizer.decode(whole.prompt_ids)).endswith("<|im_start|>assistant\n")


def test_a_pair_that_does_not_fit_is_left_out_and_nothing_left_is_refused(
    tiny_policy: Path, tmp_path: Path
) -> None:
    tokenizer = load_tokenizer(tiny_policy)
    with pytest.raises(DataError, match="no text that fits into 8 tokens"):
        read_texts(written(tmp_path, PAIR), tokenizer, 8)


@pytest.mark.parametrize(
    "line",
    [
        {"content": "x"},
        {"text": ""},
        {"prompt": [], "chosen": PAIR["chosen"]},
        {"prompt": PAIR["chosen"], "chosen": PAIR["chosen"]},
        {"prompt": PAIR["prompt"], "chosen": PAIR["prompt"]},
    ],
)
def test_a_line_of_another_form_is_named(tiny_policy: Path, tmp_path: Path, line: object) -> None:
    path = written(tmp_path, {"text": "fine"}, line)
    with pytest.raises(DataError, match="line 2"):
        read_texts(path, load_tokenizer(tiny_policy), 100)


def test_a_missing_file_is_named(tiny_policy: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_texts(tmp_path / "none.jsonl", load_tokenizer(tiny_policy), 100)


def test_a_draw_has_no_repeats_and_the_same_key_draws_the_same() -> None:
    texts = [Rollout([1], [number], [0.0], True) for number in range(20)]
    one = drawn(texts, 8, "0-1-0-3")
    assert len({text.response_ids[0] for text in one}) == 8
    assert one == drawn(texts, 8, "0-1-0-3") != drawn(texts, 8, "0-2-0-3")
    assert len(drawn(texts[:3], 8, "x")) == 3
