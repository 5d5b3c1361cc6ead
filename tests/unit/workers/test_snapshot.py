"""Snapshots: which votes count, how they are split, and that a frozen data set stays what it is."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from store.dataset.gather import position_now
from store.dataset.rules import VoteRules
from store.dataset.split import NotEnoughData, fraction
from store.opinions import Opinion, Opinions, ScoredAnswer
from store.records import Conversation, PreferencePair, Vote, new_id, now
from store.trash import Trash
from tests.conftest import RedisServer
from tests.worker_parts import Platform
from trainer.config import RewardConfig
from trainer.pairs import read_pairs
from trainer.reporting import Reporter
from trainer.reward import train_reward_model
from workers.lease import patiently
from workers.settings import Schedule
from workers.snapshot import Frozen, SnapshotChanged, votes_used

pytestmark = pytest.mark.anyio


async def freeze(heed: Platform, name: str = "one", **more: Any) -> Frozen:
    return await heed.freeze(name, **more)


def rows(heed: Platform, file: str, name: str = "one") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (heed.settings.data / "runs" / name / file).read_text().splitlines()]


def thumb(vote: Vote, answer: str, choice: Any) -> Vote:
    """The same person's thumb on an answer of the same conversation."""
    return Vote(
        id=new_id("vote"),
        kind="thumb",
        conversation_id=vote.conversation_id,
        answer_id=answer,
        annotator_id=vote.annotator_id,
        choice=choice,
        idempotency_key=new_id("key"),
        created_at=now(),
    )


async def trained_conversation(heed: Platform) -> Conversation:
    """A conversation whose name is not one of those held out."""
    while True:
        conversation = await heed.conversations.create("ann")
        if fraction(conversation.id) > Schedule().held_out_share:
            return conversation


def swap_sides(path: Path) -> None:
    path.write_text(path.read_text().replace("a to", "b to"))


def pairs(heed: Platform, name: str = "one") -> dict[str, PreferencePair]:
    """Vote id -> its pair, of both halves."""
    lines = rows(heed, "train.jsonl", name) + rows(heed, "held_out.jsonl", name)
    return {line["vote_id"]: PreferencePair.model_validate(line) for line in lines}


async def test_the_preferred_answer_is_chosen_after_the_whole_branch(heed: Platform) -> None:
    conversation = await heed.conversations.create("ann", system_prompt="Be kind.")
    first = await heed.vote("b", text="One?", conversation=conversation)
    duel = await heed.conversations.duel(first.duel_id or "")
    winner = await heed.conversations.answer(duel.answer_b if duel else "")
    second = await heed.vote("a", text="Two?", conversation=conversation, parent=winner)
    frozen = await freeze(heed)
    pair = pairs(heed)[second.id]
    assert [(turn.role, turn.content) for turn in pair.prompt] == [
        ("system", "Be kind."),
        ("user", "One?"),
        ("assistant", "b to One?"),
        ("user", "Two?"),
    ]
    assert (pair.chosen[0].content, pair.rejected[0].content) == ("a to Two?", "b to Two?")
    assert [pairs(heed)[first.id].chosen[0].content, pairs(heed)[first.id].rejected[0].content] == [
        "b to One?",
        "a to One?",
    ]
    assert (frozen.snapshot.votes, frozen.snapshot.new_votes, frozen.parent) == (2, 2, 1)


async def test_votes_that_say_nothing_about_one_version_teach_nothing(heed: Platform) -> None:
    good = [await heed.vote("a", text="1"), await heed.vote("b", text="2")]
    await heed.vote("a", a={"state": "stopped"})
    await heed.vote("a", b={"state": "failed"})
    await heed.vote("a", b={"versions": (1, 2)})
    await heed.vote("a", a={"text": "same"}, b={"text": "same"})
    gone = await heed.vote("a")
    conversation = await heed.conversations.get(gone.conversation_id)
    assert conversation is not None
    await Trash(heed.redis).put(conversation, now())
    await heed.votes.cast(thumb(good[0], "ans_x", "up"))
    await heed.vote("tie", a={"text": "same"}, b={"text": "same"})
    frozen = await freeze(heed)
    assert set(pairs(heed)) == {vote.id for vote in good}
    assert frozen.skipped == {
        "answer unfinished": 2,
        "answer spans versions": 1,
        "answers equal": 2,
        "conversation deleted": 2,
    }
    assert frozen.snapshot.through == (await heed.votes.read())[-1][0]


async def test_a_tie_is_a_pair_of_which_neither_is_preferred(heed: Platform) -> None:
    for number in range(2):
        await heed.vote(text=str(number))
    tie = await heed.vote("tie", text="3", conversation=await trained_conversation(heed))
    frozen = await freeze(heed)
    pair = pairs(heed)[tie.id]
    assert (pair.preference, pair.source, pair.new) == (0.5, "vote", True)
    assert (pair.chosen[0].content, pair.rejected[0].content) == ("a to 3", "b to 3")
    # A tie cannot be got right or wrong: it is no vote that a run waits for or is judged by.
    assert (frozen.snapshot.votes, frozen.snapshot.new_votes) == (2, 2)
    assert tie.id not in {row["vote_id"] for row in rows(heed, "held_out.jsonl")}


async def test_thumbs_are_evidence_about_one_answer(heed: Platform) -> None:
    votes = [await heed.vote(text=str(number)) for number in range(6)]
    for vote in votes:
        duel = await heed.conversations.duel(vote.duel_id or "")
        assert duel is not None
        await heed.votes.cast(thumb(vote, duel.answer_a, "up"))
        await heed.votes.cast(thumb(vote, duel.answer_b, "up"))
        await heed.votes.cast(thumb(vote, duel.answer_b, "down"))
    await freeze(heed, held_out_share=0.3)
    train = rows(heed, "train.jsonl")
    thumbs = [row for row in train if row["source"] == "thumb"]
    trained = {row["conversation_id"] for row in train if row["source"] == "vote"}
    # Two in each conversation that trains, none of those that judge; a second thumb replaces the first.
    assert {row["conversation_id"] for row in thumbs} == trained
    assert len(thumbs) == 2 * len(trained)
    assert all(row["source"] == "vote" for row in rows(heed, "held_out.jsonl"))
    for row in thumbs:
        one = PreferencePair.model_validate(row)
        text = one.prompt[-1].content
        said = [turn.content for turn in one.chosen], [turn.content for turn in one.rejected]
        assert said in (([f"a to {text}"], []), ([], [f"b to {text}"]))


async def test_both_bad_is_a_thumb_down_for_both(heed: Platform) -> None:
    for number in range(2):
        await heed.vote(text=str(number))
    bad = await heed.vote("both_bad", text="3", conversation=await trained_conversation(heed))
    await freeze(heed)
    found = [row for row in rows(heed, "train.jsonl") if row["vote_id"] == bad.id]
    assert [(row["source"], row["chosen"]) for row in found] == [("thumb", []), ("thumb", [])]
    assert [row["rejected"][0]["content"] for row in found] == ["a to 3", "b to 3"]


async def test_thumbs_and_ties_reach_the_reward_models_loss(
    heed: Platform, tiny_policy: Path, tmp_path: Path
) -> None:
    votes = [await heed.vote("tie" if number % 3 else "a", text=str(number)) for number in range(24)]
    for vote in votes:
        duel = await heed.conversations.duel(vote.duel_id or "")
        assert duel is not None
        await heed.votes.cast(thumb(vote, duel.answer_a, "up"))
        await heed.votes.cast(thumb(vote, duel.answer_b, "down"))
    frozen = await freeze(heed)
    data = heed.settings.data / "runs" / "one"
    train = read_pairs(data / "train.jsonl")

    report = train_reward_model(
        policy=tiny_policy,
        pairs=train,
        held_out=read_pairs(data / "held_out.jsonl"),
        seed_pairs=[],
        out=tmp_path / "rm",
        config=RewardConfig(lr=3e-3, epochs=6, thumb_coef=1.0),
        reporter=Reporter(),
    )

    assert report.thumbs == sum(pair.source == "thumb" for pair in train) > 24
    assert report.ties == sum(pair.preference == 0.5 for pair in train) > 8
    assert report.vote_pairs + report.thumbs == len(train) == frozen.snapshot.train_pairs
    assert report.held_out.accuracy == 1.0
    assert report.threshold is not None


async def test_pairs_in_chinese_are_tagged(heed: Platform) -> None:
    texts = {"今天天气怎么样?": ("zh",), "What is 茶?": (), "東京はどこですか": (), "123": ()}
    votes = {(await heed.vote(text=text)).id: tags for text, tags in texts.items()}
    await freeze(heed)
    assert {vote: pair.tags for vote, pair in pairs(heed).items()} == votes


async def test_a_second_freeze_returns_the_first(heed: Platform) -> None:
    await heed.vote(text="1"), await heed.vote(text="2")
    first = await freeze(heed)
    await heed.vote(text="3")
    assert await freeze(heed) == first
    assert len(pairs(heed)) == 2


async def test_the_same_votes_freeze_to_the_same_bytes(heed: Platform) -> None:
    for number in range(6):
        await heed.vote(text=str(number))
    one, two = await freeze(heed, "one"), await freeze(heed, "two")
    assert one.files == two.files
    assert one.snapshot.sha256 == two.snapshot.sha256
    await heed.vote(text="one more")
    assert (await freeze(heed, "three")).snapshot.sha256 != one.snapshot.sha256


async def test_a_line_separator_in_a_text_ends_no_line(heed: Platform) -> None:
    """JSON leaves U+2028 and its like as they are: read carelessly, one such text fails every training."""
    votes = [await heed.vote(text=f"one\u2028two\u2029three\x85four {number}") for number in range(4)]
    await freeze(heed)
    assert votes_used(heed.settings.data / "runs" / "one") == {vote.id for vote in votes}


async def test_only_votes_after_the_mark_are_new(heed: Platform) -> None:
    old = [await heed.vote(text="1"), await heed.vote(text="2")]
    await heed.votes.advance("trained_through", (await heed.votes.read())[-1][0])
    new = await heed.vote(text="3")
    frozen = await freeze(heed)
    assert {vote: pair.new for vote, pair in pairs(heed).items()} == {
        old[0].id: False,
        old[1].id: False,
        new.id: True,
    }
    assert (frozen.snapshot.votes, frozen.snapshot.new_votes) == (3, 1)


async def test_the_newest_pairs_are_kept(heed: Platform) -> None:
    votes = [await heed.vote(text=str(number)) for number in range(5)]
    frozen = await freeze(heed, max_pairs=3)
    assert set(pairs(heed)) == {vote.id for vote in votes[2:]}
    assert frozen.skipped == {"beyond max_pairs": 2}


async def test_a_conversation_trains_or_judges_never_both(heed: Platform) -> None:
    for _ in range(12):
        conversation = await heed.conversations.create("ann")
        for number in range(2):
            await heed.vote(text=f"{conversation.id} {number}", conversation=conversation)
    frozen = await freeze(heed, held_out_share=0.3)
    train = {row["conversation_id"] for row in rows(heed, "train.jsonl")}
    held_out = {row["conversation_id"] for row in rows(heed, "held_out.jsonl")}
    assert train
    assert held_out
    assert not train & held_out
    assert (frozen.snapshot.train_pairs, frozen.snapshot.held_out_pairs) == (
        2 * len(train),
        2 * len(held_out),
    )
    asked = {row["prompt"][-1]["content"].split()[0] for row in rows(heed, "prompts.jsonl")}
    judged = {row["prompt"][-1]["content"].split()[0] for row in rows(heed, "held_out_prompts.jsonl")}
    assert train <= asked
    assert held_out <= judged
    assert not held_out & asked
    await heed.vote(text="one more")
    await freeze(heed, "two", held_out_share=0.3)
    assert held_out <= {row["conversation_id"] for row in rows(heed, "held_out.jsonl", "two")}


async def test_two_votes_of_one_conversation_are_enough(heed: Platform) -> None:
    conversation = await heed.conversations.create("ann")
    for number in range(2):
        await heed.vote(text=str(number), conversation=conversation)
    frozen = await freeze(heed)
    assert (frozen.snapshot.train_pairs, frozen.snapshot.held_out_pairs) == (1, 1)


async def test_bundled_prompts_fill_up_and_no_prompt_is_in_both_files(heed: Platform) -> None:
    for number in range(4):
        await heed.vote(text=f"Asked {number}")
        await heed.vote(text="Asked by many")
    frozen = await freeze(heed, rollout_prompts=8, gate_prompts=4)
    prompts = [json.dumps(row["prompt"]) for row in rows(heed, "prompts.jsonl")]
    held_out = [json.dumps(row["prompt"]) for row in rows(heed, "held_out_prompts.jsonl")]
    assert (len(prompts), len(held_out)) == (8, 4)
    assert frozen.snapshot.prompts == 8
    assert len(set(prompts + held_out)) == 12
    assert any("Bundled" in line for line in prompts)
    assert all(f"Asked {number}" in "".join(prompts + held_out) for number in range(4))
    assert all(row["prompt"][-1]["role"] == "user" for row in rows(heed, "prompts.jsonl"))


async def test_the_gates_prompts_in_chinese_are_tagged(heed: Platform) -> None:
    """As pairs in Chinese are: the gate looks whether a group falls behind."""
    prompts = [
        {"prompt": [{"role": "user", "content": f"{text}{n}"}]} for n in range(8) for text in ("你好", "Hi")
    ]
    heed.settings.prompts.write_text("".join(json.dumps(line) + "\n" for line in prompts))
    for number in range(3):
        await heed.vote(text=f"Question {number}")
    await freeze(heed)
    tags = {row["prompt"][0]["content"][0]: row["tags"] for row in rows(heed, "held_out_prompts.jsonl")}
    assert (tags["你"], tags["H"]) == (["zh"], [])


async def test_one_pair_is_not_enough_and_the_reason_says_so(heed: Platform) -> None:
    await heed.vote()
    await heed.vote("a", a={"state": "stopped"})
    with pytest.raises(NotEnoughData, match=r"make a pair: 1; .* none: answer unfinished: 1"):
        await freeze(heed)
    assert not list((heed.settings.data / "runs").glob("*"))


async def test_a_frozen_file_that_was_changed_is_refused(heed: Platform) -> None:
    await heed.vote(text="1"), await heed.vote(text="2")
    await freeze(heed)
    swap_sides(heed.settings.data / "runs" / "one" / "train.jsonl")
    with pytest.raises(SnapshotChanged, match=r"train\.jsonl"):
        await freeze(heed)


async def test_the_same_position_freezes_to_the_same_bytes_after_a_restart(
    heed: Platform, redis_server: RedisServer
) -> None:
    """Whatever is voted, taken back, excluded, flagged or trained on between, and though Redis was killed."""
    votes = [await heed.vote(text=str(number)) for number in range(6)]
    await heed.votes.undo(votes[1].id, "ann")
    at = await position_now(heed.votes, Opinions(heed.redis), heed.settings.data)
    first = await heed.freeze("first", at=at)
    assert (first.snapshot.votes, first.snapshot.new_votes, first.skipped) == (5, 5, {"undone": 1})
    await heed.votes.undo(votes[2].id, "ann")
    await heed.votes.exclude(votes[3].id, "acc_1", "spam")
    await heed.votes.flag(votes[4].id, "heed", ["too_quick"], "quicker than anybody reads")
    await heed.vote("b", text="later")
    conversation = await heed.conversations.get(votes[5].conversation_id)
    await heed.vote("b", text="a later turn", conversation=conversation)
    await heed.votes.advance("trained_through", at.through)
    redis_server.stop(signal.SIGKILL)
    redis_server.start()
    again = await patiently(lambda: heed.freeze("again", at=at))
    assert again.files == first.files
    assert again.snapshot.sha256 == first.snapshot.sha256
    assert list(pairs(heed, "again").values()) == list(pairs(heed, "first").values())
    assert (again.skipped, again.annotators, again.cap) == (first.skipped, first.annotators, first.cap)
    now_is = await heed.freeze("now")
    assert now_is.skipped == {"undone": 2, "excluded": 1, "too quick": 1}
    assert (now_is.snapshot.votes, now_is.snapshot.new_votes) == (4, 2)


async def test_votes_that_no_training_met_are_judged_by_what_the_reward_model_thought(heed: Platform) -> None:
    opinions = Opinions(heed.redis)

    async def thought(vote: Vote, *, right: bool) -> None:
        margin = 1.0 if right == (vote.choice == "a") else -1.0
        scored = tuple(
            ScoredAnswer(answer_id=name, score=score) for name, score in (("a", margin), ("b", 0.0))
        )
        await opinions.add(
            [Opinion(vote_id=vote.id, reward_model=1, answers=scored, learned_from=False, at=now())]
        )

    honest = [await heed.vote("ab"[number % 2], text=f"Ann {number}") for number in range(20)]
    lies = [await heed.vote("b", text=f"Eve {number}", said={"annotator_id": "eve"}) for number in range(6)]
    for vote in (*honest, *lies[:5]):
        await thought(vote, right=vote in honest)
    before = await position_now(heed.votes, opinions, heed.settings.data)
    assert (await heed.freeze("one", at=before)).skipped == {"contradicts everybody": 6}
    # What the model thinks of later is not known at that position, whenever it is frozen again.
    early = before.model_copy(update={"opinions": 22})
    assert (await heed.freeze("early", at=early)).skipped == {}, "two lies are too few to tell"
    learned = Opinion(vote_id=lies[5].id, reward_model=1, answers=(), learned_from=True, at=now())
    await opinions.add([learned])
    again = await heed.freeze("again", at=before)
    assert again.files == (await heed.freeze("one", at=before)).files


async def test_one_annotator_has_no_more_than_the_cap_and_weighs_what_they_are_trusted(
    heed: Platform,
) -> None:
    for number in range(4):
        await heed.vote(text=f"Ann {number}")
    for number in range(12):
        await heed.vote(text=f"Bob {number}", said={"annotator_id": "bob"})
    lies = [await heed.vote(text=f"Eve {number}", said={"annotator_id": "eve"}) for number in range(40)]
    rules = VoteRules(annotator_pairs=4, annotator_share=0.01)
    frozen = await heed.freeze("one", rules=rules)
    # An even share of 56 among three with four votes or more.
    assert frozen.cap == 18
    assert frozen.skipped == {"over the annotator's cap": 22}
    assert frozen.snapshot.votes == 4 + 12 + 18
    margins = {vote.id: 1.0 for _, vote in await heed.votes.read()} | {lie.id: -1.0 for lie in lies}
    folder = heed.settings.data / "reward_models" / "v0001"
    folder.mkdir(parents=True)
    (folder / "margins.json").write_text(json.dumps(margins))
    believed = await heed.freeze("two", rules=rules)
    assert believed.skipped == {"over the annotator's cap": 22}, "16 checks of the others are too few"
    more = [await heed.vote(text=f"Cy {number}", said={"annotator_id": "cy"}) for number in range(4)]
    (folder / "margins.json").write_text(json.dumps(margins | {vote.id: 1.0 for vote in more}))
    frozen = await heed.freeze("three", rules=rules)
    # And of the twenty votes that are left an even share is six.
    assert frozen.skipped == {"contradicts everybody": 40, "over the annotator's cap": 6}
    assert frozen.snapshot.votes == 4 + 6 + 4
    assert {one.annotator_id: one.weight for one in frozen.annotators} == {
        "eve": 0.0,
        "bob": 1.0,
        "ann": 1.0,
        "cy": 1.0,
    }
    unweighed = await heed.freeze("four", rules=rules.model_copy(update={"trust": False}))
    assert unweighed.snapshot.votes == 4 + 12 + 4 + 15
