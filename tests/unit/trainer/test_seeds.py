"""Seed pairs: the four ways to spoil an answer, and a file that the reward stage can read."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest

from store.records import ChatTurn
from trainer.config import RolloutConfig
from trainer.data import Prompt
from trainer.errors import DataError
from trainer.pairs import read_pairs
from trainer.reporting import Reporter
from trainer.seeds import DrawnAnswer, contrast_pairs, degrade, make_seed_pairs

ANSWER = DrawnAnswer(
    "Bread rises because yeast makes gas. The gas is caught in the dough. It grows.", ended=True
)
OTHER = DrawnAnswer("Owls hunt at night.", ended=True)


def prompts(count: int) -> list[Prompt]:
    return [(ChatTurn(role="user", content=f"question {number}"),) for number in range(count)]


def test_another_prompts_answer_is_taken_as_it_is() -> None:
    assert degrade(ANSWER, OTHER, "other", random.Random(0)) == OTHER


def test_a_cut_answer_stops_inside_a_sentence_and_has_no_end() -> None:
    for seed in range(20):
        cut = degrade(ANSWER, OTHER, "cut", random.Random(seed))

        assert ANSWER.text.startswith(cut.text)
        assert 0 < len(cut.text.split()) <= 0.6 * len(ANSWER.text.split())
        assert cut.text[-1].isalpha()
        assert not cut.ended


def test_a_repeated_answer_says_its_beginning_again_and_is_about_as_long() -> None:
    for seed in range(20):
        repeated = degrade(ANSWER, OTHER, "repeated", random.Random(seed))

        assert repeated.text.count("Bread rises because yeast") >= 2
        assert 0.5 < len(repeated.text.split()) / len(ANSWER.text.split()) < 1.7
        assert repeated.ended


def test_a_garbled_answer_has_the_same_words_in_another_order() -> None:
    garbled = degrade(ANSWER, OTHER, "garbled", random.Random(0))

    assert Counter(garbled.text.split()) == Counter(ANSWER.text.split())
    assert garbled.text != ANSWER.text


def test_text_without_spaces_is_spoiled_too() -> None:
    chinese = DrawnAnswer("面包会膨胀因为酵母产生气体。", ended=True)

    assert degrade(chinese, OTHER, "cut", random.Random(0)).text in chinese.text
    assert Counter(degrade(chinese, OTHER, "garbled", random.Random(0)).text) == Counter(chinese.text)


def test_the_kinds_take_turns_and_each_prompt_is_used_once() -> None:
    answers = [DrawnAnswer(f"{ANSWER.text} Number {number}.", ended=True) for number in range(40)]

    pairs = contrast_pairs(prompts(40), answers, seed=0)

    assert Counter(kind for kind, _ in pairs) == {"other": 10, "cut": 10, "repeated": 10, "garbled": 10}
    assert [pair.prompt for _, pair in pairs] == prompts(40)
    assert all(pair.source == "seed" and not pair.new for _, pair in pairs)
    assert pairs == contrast_pairs(prompts(40), answers, seed=0)


def test_an_answer_that_hit_the_limit_is_used_up_to_its_last_sentence() -> None:
    limited = DrawnAnswer("Take 1.5 cups. Stir well. Then slowly add", ended=False)
    endless = DrawnAnswer("and so on and so on and so", ended=False)

    pairs = [pair for _, pair in contrast_pairs(prompts(2), [limited, endless], seed=0)]

    assert (pairs[0].chosen[0].content, pairs[0].chosen_ended) == ("Take 1.5 cups. Stir well.", True)
    assert (pairs[1].chosen[0].content, pairs[1].chosen_ended) == (endless.text, False)


def test_empty_answers_make_no_pair() -> None:
    empty = DrawnAnswer("  ", ended=True)

    assert contrast_pairs(prompts(2), [empty, empty], seed=0) == []


def test_the_file_is_what_the_reward_stage_reads(tiny_policy: Path, tmp_path: Path) -> None:
    asked = tmp_path / "prompts.jsonl"
    lines = [{"prompt": [turn.model_dump() for turn in prompt]} for prompt in prompts(9)]
    asked.write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = tmp_path / "seed_pairs.jsonl"

    report = make_seed_pairs(
        policy=tiny_policy,
        out=out,
        rollout=RolloutConfig(engine="transformers"),
        count=6,
        answer_tokens=24,
        seed=0,
        reporter=Reporter(),
        prompts=asked,
    )

    pairs = read_pairs(out)
    assert 4 <= len(pairs) == report["pairs"] == sum(report["kinds"].values()) <= 6
    assert not list(tmp_path.glob(".tmp-*"))


def test_a_missing_prompts_file_is_named(tiny_policy: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.jsonl cannot be read"):
        make_seed_pairs(
            policy=tiny_policy,
            out=tmp_path / "out.jsonl",
            rollout=RolloutConfig(engine="transformers"),
            count=6,
            answer_tokens=24,
            seed=0,
            reporter=Reporter(),
            prompts=tmp_path / "none.jsonl",
        )
