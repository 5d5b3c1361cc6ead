"""Data sets of others: every shape that TRL, HH-RLHF and UltraFeedback have becomes the same pair."""

from __future__ import annotations

import json
from typing import Any

import pytest

from store.exchange.read import ShapeProblem, read_lines, read_row
from store.records import ChatTurn

Q, GOOD, BAD = "Which river?", "The Nile.", "No idea."
USER, CHOSEN, REJECTED = (
    {"role": "user", "content": Q},
    {"role": "assistant", "content": GOOD},
    {"role": "assistant", "content": BAD},
)

PREFERENCE: dict[str, dict[str, Any]] = {
    "conversational, explicit prompt": {"prompt": [USER], "chosen": [CHOSEN], "rejected": [REJECTED]},
    "conversational, implicit prompt": {"chosen": [USER, CHOSEN], "rejected": [USER, REJECTED]},
    "plain text": {"prompt": Q, "chosen": GOOD, "rejected": BAD},
    "UltraFeedback": {
        "prompt": Q,
        "chosen": [USER, CHOSEN],
        "rejected": [USER, REJECTED],
        "score_chosen": 8.0,
    },
    "HH-RLHF": {
        "chosen": f"\n\nHuman: {Q}\n\nAssistant: {GOOD}",
        "rejected": f"\n\nHuman: {Q}\n\nAssistant: {BAD}",
    },
}


@pytest.mark.parametrize("shape", PREFERENCE)
def test_every_shape_of_a_preference_is_the_same_pair(shape: str) -> None:
    name, pair = read_row(PREFERENCE[shape], "tag")
    assert name == "preference"
    assert pair.prompt == (ChatTurn(role="user", content=Q),)
    assert (pair.chosen[0].content, pair.rejected[0].content) == (GOOD, BAD)
    assert (pair.source, pair.tags, pair.new) == ("import", ("tag",), False)


def test_single_answers_are_thumbs() -> None:
    for label, side in ((True, "chosen"), (False, "rejected")):
        shape, pair = read_row({"prompt": [USER], "completion": [CHOSEN], "label": label}, "t")
        assert (shape, pair.source) == ("unpaired", "thumb")
        assert getattr(pair, side)[0].content == GOOD
        assert not getattr(pair, "rejected" if label else "chosen")
    shape, pair = read_row({"messages": [USER, CHOSEN]}, "t")
    assert (shape, pair.source, pair.chosen[0].content, pair.rejected) == ("sft", "thumb", GOOD, ())


def test_a_longer_conversation_keeps_its_turns() -> None:
    text = f"\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: {Q}\n\nAssistant: "
    _, pair = read_row({"chosen": text + GOOD, "rejected": text + BAD}, "t")
    assert [turn.role for turn in pair.prompt] == ["user", "assistant", "user"]


def test_one_beginning_is_one_conversation_so_that_it_trains_or_judges() -> None:
    first, second = (
        read_row({"prompt": Q, "chosen": GOOD, "rejected": bad}, "t")[1].conversation_id
        for bad in (BAD, "Hm.")
    )
    assert first == second
    assert (
        read_row({**PREFERENCE["plain text"], "conversation_id": "conv_1"}, "t")[1].conversation_id
        == "conv_1"
    )


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"prompt": Q}, None),
        ({"prompt": Q, "chosen": GOOD, "rejected": GOOD}, "rejected"),
        ({"prompt": Q, "chosen": GOOD, "rejected": ""}, "rejected"),
        ({"prompt": Q, "chosen": GOOD, "rejected": [{"who": "me"}]}, "rejected"),
        ({"chosen": [USER, CHOSEN], "rejected": [{**USER, "content": "Other?"}, REJECTED]}, "prompt"),
        ({"prompt": [CHOSEN], "chosen": GOOD, "rejected": BAD}, "prompt"),
        ({"prompt": Q, "completion": GOOD, "label": "yes"}, "label"),
        ({"messages": [USER]}, "messages"),
        ({"prompt": Q, "chosen": GOOD, "rejected": BAD, "weight": -1}, "weight"),
        ({"prompt": Q, "chosen": GOOD, "rejected": BAD, "tags": "x"}, "tags"),
        ({"prompt": 3, "chosen": GOOD, "rejected": BAD}, "prompt"),
        ({"prompt": Q, "chosen": "\n\nHuman: Hi", "rejected": BAD}, "chosen"),
    ],
)
def test_a_row_that_teaches_nothing_names_its_field(row: dict[str, Any], field: str | None) -> None:
    with pytest.raises(ShapeProblem) as caught:
        read_row(row, "t")
    assert caught.value.field == field


def test_a_file_is_read_to_its_end_whatever_is_in_it() -> None:
    good = json.dumps(PREFERENCE["plain text"]).encode()
    read = read_lines([good, b"", b"\xff\xfe", b"[]", good, b"null"] + [b"{}"] * 100, "t")
    assert (len(read.pairs), read.duplicates, read.refused) == (1, 1, 103)
    assert len(read.problems) == 50
    assert read.problems[0].line == 3
