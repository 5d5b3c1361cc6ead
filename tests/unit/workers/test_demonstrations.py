"""Demonstrations: which answers PPO-ptx imitates, and that the trainer reads the file they are written to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from store.records import ChatTurn, Demonstration, PreferencePair
from trainer.data import load_tokenizer
from trainer.ptx import read_texts
from workers.demonstrations import ENOUGH, demonstrations, ptx_arguments


def pair(number: int, source: Any, *, good: bool = True, **fields: Any) -> PreferencePair:
    said = (ChatTurn(role="assistant", content=f"answer {number}"),)
    return PreferencePair(
        prompt=(ChatTurn(role="user", content=f"Question {number}?"),),
        chosen=said if good else (),
        rejected=() if good else said,
        source=source,
        **fields,
    )


def frozen(folder: Path, pairs: list[PreferencePair], ideal: list[Demonstration] | None = None) -> Path:
    """A snapshot's folder, as far as it is read here."""
    for name, rows in (("train.jsonl", pairs), ("demonstrations.jsonl", ideal or [])):
        text = "".join(one.model_dump_json() + "\n" for one in rows)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def written(number: int) -> Demonstration:
    """The ideal answer to the question of `pair(number)`."""
    said = (ChatTurn(role="assistant", content=f"ideal {number}"),)
    prompt = pair(number, "vote").prompt
    return Demonstration(prompt=prompt, chosen=said, vote_id=f"vote_{number}", conversation_id="conv")


def test_what_people_called_good_counts_once_and_the_better_of_two_does_not(tmp_path: Path) -> None:
    snapshot = frozen(
        tmp_path,
        [
            pair(1, "thumb"),
            pair(1, "thumb", vote_id="another person's"),
            pair(2, "thumb", good=False),
            pair(3, "vote"),
            pair(4, "thumb", chosen_ended=False),
        ],
    )
    lines = [json.loads(line) for line in demonstrations(snapshot)]
    assert [line["chosen"][0]["content"] for line in lines] == ["answer 1", "answer 4"]
    assert [line["chosen_ended"] for line in lines] == [True, False]


def test_an_ideal_answer_is_imitated_too_and_ends_where_it_ends(tmp_path: Path) -> None:
    snapshot = frozen(tmp_path, [pair(1, "thumb")], [written(2), written(2)])
    lines = [json.loads(line) for line in demonstrations(snapshot)]
    assert [(line["chosen"][0]["content"], line["chosen_ended"]) for line in lines] == [
        ("ideal 2", True),
        ("answer 1", True),
    ]


def test_enough_of_them_are_texts_that_the_trainer_reads(tmp_path: Path, tiny_policy: Path) -> None:
    snapshot = frozen(tmp_path, [pair(number, "thumb") for number in range(1, ENOUGH)], [written(0)])
    out = tmp_path / "attempt" / "ptx.jsonl"

    assert ptx_arguments(snapshot, out) == ("--ptx", out)

    tokenizer = load_tokenizer(tiny_policy)
    texts = read_texts(out, tokenizer, 200)
    assert len(texts) == ENOUGH
    assert tokenizer.decode(texts[0].response_ids, skip_special_tokens=True) == "ideal 0"


def test_too_few_turn_it_off(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    snapshot = frozen(tmp_path, [pair(number, "thumb") for number in range(ENOUGH - 1)])
    out = tmp_path / "ptx.jsonl"

    assert ptx_arguments(snapshot, out) == ("--set", "ppo.ptx_coef=0")
    assert f"{ENOUGH - 1} answers are ideal or have a thumb up, {ENOUGH} are needed" in caplog.text
    assert not out.exists()
