"""Imported preference data: trainings take the sets in use, beside the votes and split as they are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from store.dataset.split import NotEnoughData
from store.exchange.read import read_lines
from store.imports import Imports
from store.records import PreferencePair
from tests.worker_parts import Platform
from trainer.pairs import read_pairs
from workers import snapshot

pytestmark = pytest.mark.anyio


def some(count: int, **row: Any) -> list[PreferencePair]:
    rows = [{"prompt": f"question {n}?", "chosen": "good", "rejected": "bad", **row} for n in range(count)]
    return read_lines([json.dumps(one).encode() for one in rows], "other").pairs


async def freeze(heed: Platform, imported: Sequence[PreferencePair], **schedule: Any) -> snapshot.Frozen:
    return await heed.freeze(imported=imported, **schedule)


def frozen_pairs(heed: Platform, name: str) -> list[PreferencePair]:
    return read_pairs(heed.settings.data / "runs" / "one" / name)


async def test_imported_pairs_train_and_judge_without_a_single_vote(heed: Platform) -> None:
    frozen = await freeze(heed, some(40), held_out_share=0.25)
    train, held_out = frozen_pairs(heed, "train.jsonl"), frozen_pairs(heed, "held_out.jsonl")
    assert len(train) + len(held_out) == 40
    assert 4 <= len(held_out) <= 16
    assert {pair.source for pair in train} == {"import"}
    assert not {pair.conversation_id for pair in train} & {pair.conversation_id for pair in held_out}
    assert (frozen.snapshot.votes, frozen.snapshot.new_votes) == (0, 0)


async def test_single_answers_train_and_never_judge(heed: Platform) -> None:
    thumbs = read_lines([b'{"prompt": "q?", "completion": "yes", "label": true}'], "other").pairs
    await freeze(heed, [*some(20), *thumbs], held_out_share=0.25)
    sources = {pair.source for pair in frozen_pairs(heed, "held_out.jsonl")}
    assert sources == {"import"}


async def test_no_more_are_taken_than_votes_are(heed: Platform) -> None:
    await freeze(heed, some(40), max_pairs=10)
    kept = frozen_pairs(heed, "train.jsonl") + frozen_pairs(heed, "held_out.jsonl")
    assert {pair.prompt[0].content for pair in kept} == {f"question {n}?" for n in range(30, 40)}


async def test_one_imported_pair_is_not_enough(heed: Platform) -> None:
    with pytest.raises(NotEnoughData, match="at least 2"):
        await freeze(heed, some(1))


async def test_a_set_is_kept_whole_and_left_out_when_it_is_out_of_use(heed: Platform) -> None:
    imports = Imports(heed.redis, heed.settings.data)
    first = await imports.add(some(2), name="a", tag="other", shapes={"preference": 2}, actor="ann")
    await imports.add(some(3, chosen="better"), name="b", tag="other", shapes={"preference": 3}, actor="ann")
    assert len(await imports.pairs()) == 5
    await imports.use(first.id, False)
    assert {pair.chosen[0].content for pair in await imports.pairs()} == {"better"}
    assert [one.name for one in await imports.all()] == ["b", "a"]
    assert await imports.use("import_none", True) is None
