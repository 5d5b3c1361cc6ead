"""What votes of every kind teach, and that votes which do not count are in no data set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from store.dataset.split import fraction
from store.records import Answer, Conversation, Exclusion, Vote, VotedAnswer, new_id, now
from tests.worker_parts import Platform
from trainer.pairs import read_pairs
from workers import snapshot
from workers.settings import Schedule
from workers.snapshot import Frozen

pytestmark = pytest.mark.anyio


async def freeze(heed: Platform, name: str = "one", **more: Any) -> Frozen:
    return await heed.freeze(name, **more)


def rows(heed: Platform, file: str, name: str = "one") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (heed.settings.data / "runs" / name / file).read_text().splitlines()]


def learned(heed: Platform, vote: Vote, name: str = "one") -> list[dict[str, Any]]:
    """What the data set has of this vote, in both halves."""
    return [
        row
        for file in ("train.jsonl", "held_out.jsonl")
        for row in rows(heed, file, name)
        if row["vote_id"] == vote.id
    ]


def said(row: dict[str, Any]) -> tuple[str, str]:
    return row["chosen"][0]["content"], row["rejected"][0]["content"]


async def enough(heed: Platform) -> None:
    """Votes without which nothing is frozen."""
    for number in range(2):
        await heed.vote(text=f"enough {number}")


async def conversation_that(heed: Platform, trains: bool) -> Conversation:
    while True:
        conversation = await heed.conversations.create("ann")
        if (fraction(conversation.id) > Schedule().held_out_share) is trains:
            return conversation


async def siblings(
    heed: Platform, texts: Sequence[str], conversation: Conversation | None = None
) -> list[Answer]:
    """Answers to one message, all finished."""
    vote = await heed.vote("skip", text="Rank us", conversation=conversation)
    duel = await heed.conversations.duel(vote.duel_id or "")
    model = await heed.conversations.answer(duel.answer_a if duel else "")
    assert model is not None
    made = [
        model.model_copy(update={"id": new_id("ans"), "text": text, "finish_reason": "stop"})
        for text in texts
    ]
    await heed.conversations.open_turn(None, made)
    return made


def vote_of(kind: Any, choice: Any, answers: Sequence[Answer], ranks: Sequence[int | None] = ()) -> Vote:
    padded = [*ranks, *[None] * len(answers)]
    return Vote(
        id=new_id("vote"),
        kind=kind,
        conversation_id=answers[0].conversation_id,
        answer_id=answers[0].id if kind == "edit" else None,
        annotator_id="ann",
        choice=choice,
        answers=tuple(
            VotedAnswer(answer_id=one.id, version=1, position=place, rank=rank)
            for place, (one, rank) in enumerate(zip(answers, padded, strict=False), 1)
        ),
        idempotency_key=new_id("key"),
        created_at=now(),
    )


async def test_a_ranking_is_all_its_pairs_and_weighs_as_much_as_one(heed: Platform, tmp_path: Path) -> None:
    await enough(heed)
    answers = await siblings(heed, ("best", "good", "fair", "poor"))
    ranking = vote_of("ranking", "ranked", answers, (1, 2, 3, 4))
    await heed.votes.cast(ranking)
    frozen = await freeze(heed)
    found = learned(heed, ranking)
    assert {said(row) for row in found} == {
        ("best", "good"), ("best", "fair"), ("best", "poor"),
        ("good", "fair"), ("good", "poor"), ("fair", "poor"),
    }  # fmt: skip
    assert {row["ranking_id"] for row in found} == {ranking.id}
    assert sum(row["weight"] for row in found) == pytest.approx(1.0)
    # On one side of the split, and one vote among three however many pairs it is.
    files = {file for file in ("train.jsonl", "held_out.jsonl") for row in rows(heed, file) if row in found}
    assert len(files) == 1
    assert (frozen.snapshot.votes, frozen.snapshot.new_votes) == (3, 3)
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in found))
    assert len(read_pairs(path)) == 6, "the trainer takes them as they are"


async def test_a_tie_in_a_ranking_is_soft_and_never_judges(heed: Platform) -> None:
    await enough(heed)
    answers = await siblings(heed, ("best", "good", "fair"), await conversation_that(heed, trains=True))
    ranking = vote_of("ranking", "ranked", answers, (1, 2, 2))
    await heed.votes.cast(ranking)
    held_out = await siblings(heed, ("x", "y", "z"), await conversation_that(heed, trains=False))
    judging = vote_of("ranking", "ranked", held_out, (1, 2, 2))
    await heed.votes.cast(judging)
    await freeze(heed)
    found = {said(row): (row["preference"], row["weight"]) for row in learned(heed, ranking)}
    third = pytest.approx(1 / 3)
    assert found == {
        ("best", "good"): (1.0, third),
        ("best", "fair"): (1.0, third),
        ("good", "fair"): (0.5, third),
    }
    assert {said(row) for row in learned(heed, judging)} == {("x", "y"), ("x", "z")}


async def test_much_better_is_a_margin(heed: Platform) -> None:
    slight, much = await heed.vote("a", text="1"), await heed.vote("b", text="2")
    await heed.votes.amend(much.id, "ann", strength=2)
    await freeze(heed)
    assert [row["margin"] for row in learned(heed, slight)] == [0.0]
    assert [(row["margin"], row["weight"]) for row in learned(heed, much)] == [(1.0, 1.0)]


async def test_an_ideal_answer_is_a_pair_and_a_demonstration(heed: Platform) -> None:
    await enough(heed)
    conversation = await conversation_that(heed, trains=True)
    original, *_ = await siblings(heed, ("The Rhine",), conversation)
    edited = original.model_copy(
        update={"id": new_id("ans"), "text": "The Nile.", "edited_from": original.id}
    )
    edit = vote_of("edit", "edited", (original, edited))
    await heed.votes.cast(edit, edited=edited)
    away, *_ = await siblings(heed, ("Bad",), await conversation_that(heed, trains=False))
    ideal = away.model_copy(update={"id": new_id("ans"), "text": "Good.", "edited_from": away.id})
    judging = vote_of("edit", "edited", (away, ideal))
    await heed.votes.cast(judging, edited=ideal)
    frozen = await freeze(heed)
    assert [said(row) for row in learned(heed, edit)] == [("The Nile.", "The Rhine")]
    assert [said(row) for row in learned(heed, judging)] == [("Good.", "Bad")]
    demonstrations = rows(heed, "demonstrations.jsonl")
    assert [(row["vote_id"], row["chosen"][0]["content"]) for row in demonstrations] == [
        (edit.id, "The Nile.")
    ]
    assert demonstrations[0]["prompt"][-1] == {"role": "user", "content": "Rank us"}
    assert "demonstrations.jsonl" in frozen.files


async def test_skipped_and_measuring_votes_teach_nothing(heed: Platform) -> None:
    await enough(heed)
    await heed.vote("skip", text="skipped")
    gold = await heed.vote("a", text="gold")
    await heed.votes.amend(gold.id, "ann", check="gold")
    frozen = await freeze(heed)
    assert frozen.snapshot.votes == 2
    assert frozen.skipped == {"skipped by the annotator": 1, "measures the annotator": 1}


async def test_a_vote_that_was_undone_between_cast_and_freeze_is_in_no_file(heed: Platform) -> None:
    await enough(heed)
    undone = await heed.vote("a", text="undone")
    excluded = await heed.vote("a", text="excluded")
    restored = await heed.vote("a", text="restored")
    await heed.votes.undo(undone.id, "ann")
    await heed.votes.exclude(excluded.id, "rev", "spam")
    await heed.votes.exclude(restored.id, "rev", "spam")
    await heed.votes.restore(restored.id, "rev")
    frozen = await freeze(heed)
    assert (learned(heed, undone), learned(heed, excluded)) == ([], [])
    assert len(learned(heed, restored)) == 1
    assert frozen.skipped == {"undone": 1, "excluded": 1}
    # Their prompts are not asked in training either.
    asked = (heed.settings.data / "runs" / "one" / "prompts.jsonl").read_text()
    gate = (heed.settings.data / "runs" / "one" / "held_out_prompts.jsonl").read_text()
    assert "undone" not in asked + gate
    assert "restored" in asked + gate
    # What is frozen stays what it is, whatever happens to the votes later.
    await heed.votes.undo(restored.id, "ann")
    assert await freeze(heed) == frozen


async def test_an_undone_thumb_does_not_bring_the_one_before_it_back(heed: Platform) -> None:
    vote = await heed.vote("a", text="1", conversation=await conversation_that(heed, trains=True))
    await heed.vote("a", text="2")
    duel = await heed.conversations.duel(vote.duel_id or "")
    assert duel is not None
    thumbs = []
    for choice in ("up", "down"):
        thumb = Vote(
            id=new_id("vote"),
            kind="thumb",
            conversation_id=vote.conversation_id,
            answer_id=duel.answer_a,
            annotator_id="ann",
            choice=choice,
            idempotency_key=new_id("key"),
            created_at=now(),
        )
        thumbs.append((await heed.votes.cast(thumb))[0])
    await heed.votes.undo(thumbs[1].id, "ann")
    await freeze(heed)
    assert [learned(heed, thumb) for thumb in thumbs] == [[], []]


async def test_an_early_vote_compares_what_was_there_when_it_came(heed: Platform) -> None:
    await enough(heed)
    stopped = {"state": "stopped", "text": "The Rhine i", "finish_reason": "stopped"}
    whole = {"text": "The Nile is the longest.", "finish_reason": "stop"}
    early = await heed.vote("b", text="1", a=stopped, b=whole)
    await heed.votes.amend(early.id, "ann", early=True)
    late = await heed.vote("b", text="2", a=stopped, b=whole)
    frozen = await freeze(heed)
    (row,) = learned(heed, early)
    assert said(row) == ("The Nile is", "The Rhine i")
    assert (row["chosen_ended"], row["rejected_ended"]) == (False, False)
    assert learned(heed, late) == []
    assert frozen.skipped == {"answer unfinished": 1}


async def test_an_answer_that_names_its_model_teaches_nothing_until_a_reviewer_says_so(
    heed: Platform,
) -> None:
    await enough(heed)
    # Of an early vote the leak is known only when the answer has ended.
    hidden = await heed.vote("a", text="1", a={"leak": "I am ChatGPT"})
    known = await heed.vote("a", text="2", a={"leak": "I am ChatGPT"})
    about = (VotedAnswer(answer_id="x", version=1, position=1, leak="I am ChatGPT"),)
    why = Exclusion(by="heed", reason="an answer named its model: I am ChatGPT", at=now())
    await heed.votes.amend(known.id, "heed", answers=about, status="excluded", exclusion=why)
    assert (await freeze(heed)).skipped == {"answer named its model": 2}
    await heed.votes.restore(known.id, "rev")
    await freeze(heed, "two")
    assert (len(learned(heed, known, "two")), learned(heed, hidden, "two")) == (1, [])


async def test_votes_on_one_item_of_the_queue_are_on_one_side(heed: Platform) -> None:
    for number in range(6):
        for _ in range(3):
            vote = await heed.vote("a", text=f"item {number}")
            await heed.votes.amend(vote.id, "ann", item_id=f"item_{number}")
    await freeze(heed, held_out_share=0.4)
    train = {row["conversation_id"] for row in rows(heed, "train.jsonl")}
    held_out = {row["conversation_id"] for row in rows(heed, "held_out.jsonl")}
    assert train | held_out == {f"item_{number}" for number in range(6)}
    assert train & held_out == set()
    texts = {row["prompt"][-1]["content"] for row in rows(heed, "train.jsonl")}
    asked = [row["prompt"][-1]["content"] for row in rows(heed, "held_out_prompts.jsonl")]
    assert texts.isdisjoint(asked)


async def test_the_votes_of_a_data_set_are_those_of_its_files(heed: Platform) -> None:
    used = [await heed.vote("a", text="1"), await heed.vote("b", text="2"), await heed.vote("tie", text="3")]
    await heed.vote("skip", text="4")
    await freeze(heed)
    found = snapshot.votes_used(heed.settings.data / "runs" / "one")
    assert {vote.id for vote in used[:2]} <= found <= {vote.id for vote in used}
