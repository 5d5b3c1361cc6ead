"""The scripted loop's own sums: who votes what, who beat whom, when a demonstration went as it should."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from scripts.loop import crowd
from scripts.loop.annotators import Annotator
from scripts.loop.client import Client, Refused, Stuck, Voted
from scripts.loop.crowd import Crowd
from scripts.loop.prompts import read_prompts
from scripts.loop.report import as_expected, beats, blind, share, text
from scripts.loop.rounds import Plan, Played, Round

pytestmark = pytest.mark.anyio
PLAN = Plan(rounds=2, right=0.8, flipped=2, asked=4)


@pytest.mark.parametrize("right", [0.8, 0.2])
def test_an_annotator_follows_the_rule_as_often_as_told(right: float) -> None:
    annotator = Annotator(right, random.Random(3))
    votes = [annotator.judge("short", "a longer one") for _ in range(2000)]
    assert {ruled for _, ruled in votes} == {"a"}
    # Three standard errors of 2000 draws: 3 * sqrt(0.16 / 2000) = 0.027.
    assert sum(choice == "a" for choice, _ in votes) / 2000 == pytest.approx(right, abs=0.027)
    assert annotator.judge("same", "long") == ("tie", "tie")


def test_only_the_votes_of_one_round_are_flipped_and_never_those_on_the_canary() -> None:
    rates = [PLAN.annotator(number, for_training=True).right for number in (1, 2)]
    assert rates == pytest.approx([0.8, 0.2])
    assert PLAN.annotator(2, for_training=False).right == 0.8


def test_win_rates_by_hand() -> None:
    # Shorter, as long, longer, shorter: two wins and half a tie.
    assert beats(["a", "bb", "ccc", ""], ["aa", "bb", "c", "d"]) == (2.5, 1)
    # Wilson 1927 for 8 of 10 by hand: (0.8 + 0.192) / 1.384 = 0.717, plus or minus 0.226.
    assert share(8, 10) == "80.0% (49.0 to 94.3)"
    assert share(0, 0) == "-"


def test_blind_duels_count_by_side_and_only_between_the_two() -> None:
    votes = [
        Voted("a", "a", (2, 1)),  # v2 won, rightly
        Voted("a", "b", (1, 2)),  # v1 won, v2 should have
        Voted("b", "b", (1, 2)),  # v2 won, rightly
        Voted("tie", "tie", (2, 1)),
        Voted("a", "a", (2, 3)),  # another duel
    ]
    assert blind(votes, 2, 1, by_rule=False) == (2, 3)
    assert blind(votes, 2, 1, by_rule=True) == (3, 3)


def version(number: int, state: str) -> dict[str, Any]:
    check = {"name": "kl", "value": 4.25, "passed": True, "threshold": 30.0, "reason": "near"}
    return {"number": number, "state": state, "report": {"passed": True, "checks": [check]}}


def played(flipped: str = "rejected", words: int = 1, active: int = 2) -> Played:
    """Round 1 made v2, with answers of `words` letters against 9; round 2, of flipped votes, made v3."""
    seconds = {"votes": 30.0, "training": 60.0, "reward": 50.0}
    good = Round(1, flipped=False, parent=1, over=True, run={"stages": []}, seconds=seconds)
    good.version, good.reason = version(2, "active"), "better: won 31 of 38 decisive votes"
    good.votes = [Voted("a", "a", (1, 1)), Voted("a", "b", (1, 1))]
    bad = Round(2, flipped=True, parent=2, over=True, run={"stages": []}, version=version(3, flipped))
    answers = {1: ["x" * 9] * 4, 2: ["x" * words] * 4}
    return Played(PLAN, [good, bad], answers, active)


def test_the_report_says_what_came_of_each_round() -> None:
    said = text(played())
    assert "probability 0.8, in round 2 with 0.2." in said
    assert "Round 1: v2 is active\n  because: better: won 31 of 38 decisive votes\n" in said
    assert "v2 beats v1 in 100.0% (51.0 to 100.0), 0 ties" in said
    assert "for the training: 2 votes, 1 of 2 by the rule" in said
    assert "Round 2: v3 was held back: no engine answered with it" in said
    line = next(line for line in said.splitlines() if line.startswith("2, flipped"))
    assert (
        " ".join(line.split()) == "2, flipped 0 + 0 - - 4.2 0.0 v3 was held back: no engine answered with it"
    )
    # Stages are part of the training's time: 30 + 60 s, not 140.
    assert "  1.5      v2 is active" in said


def test_a_round_whose_reward_model_was_held_back_has_no_version_and_a_reason() -> None:
    found = played()
    found.rounds[1].version, found.rounds[1].reason = None, "accuracy: 0.4 of held-out pairs"
    assert "Round 2: no version came out\n  because: accuracy: 0.4 of held-out pairs\n" in text(found)
    assert as_expected(found)


def test_it_went_as_it_should_only_if_the_good_version_won_and_the_flipped_one_was_stopped() -> None:
    assert as_expected(played("rejected"))
    assert as_expected(played("rolled_back"))
    assert not as_expected(played("active"))
    assert not as_expected(played("retired"))
    assert not as_expected(played(words=9))
    assert not as_expected(played(active=1))
    stopped = played()
    stopped.rounds.pop(0)
    assert not as_expected(stopped)
    assert "No round was played" in text(Played(PLAN))


def test_a_round_that_was_cut_short_says_what_it_had() -> None:
    found = played()
    found.rounds[1] = Round(2, flipped=True, parent=2, votes=[Voted("b", "a", (2, 2))])
    assert "Round 2: no version yet\n  for the training: 1 votes, 0 of 1 by the rule" in text(found)
    found.rounds[1] = Round(2, flipped=True, parent=2, run={"stages": []}, version=version(3, "canary"))
    assert "Round 2: v3 is a canary" in text(found)
    assert not as_expected(found)


def test_a_prompt_that_is_none_is_refused_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    lines = [{"prompt": [{"role": "user", "content": " Hi "}]}, {"prompt": "Hi"}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(SystemExit, match=r"prompts.jsonl:2: field `prompt` must be"):
        read_prompts(path)
    path.write_text(json.dumps(lines[0]) + "\n" + json.dumps(lines[0]) + "\n")
    assert read_prompts(path) == ["Hi"]


class Voter(Client):
    """A person whose every n-th duel the server refuses; 0: none."""

    def __init__(self, refuses: int = 0) -> None:
        self.refuses = refuses
        self.asked: list[str] = []

    async def duel_and_vote(self, prompt: str, annotator: Annotator) -> Voted | None:
        await asyncio.sleep(0)
        self.asked.append(prompt)
        if self.refuses and len(self.asked) % self.refuses == 0:
            raise Refused("no engine")
        return Voted("a", "a", (1, 1))


async def until(count: int, people: Sequence[Voter], prompts: int) -> list[Voted]:
    """Vote until so many prompts were asked."""

    async def enough() -> bool:
        return sum(len(person.asked) for person in people) >= count

    cast: list[Voted] = []
    await Crowd(people, iter(map(str, range(prompts)))).vote_until(enough, Annotator(), cast)
    return cast


async def test_everybody_votes_until_it_is_over_each_prompt_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crowd, "LOOK_S", 0.0)
    people = [Voter(), Voter(refuses=2)]
    votes = await until(150, people, prompts=1000)
    asked = [prompt for person in people for prompt in person.asked]
    refused = len(people[1].asked) // 2
    assert len(asked) == len(set(asked)) >= 150
    assert len(votes) == len(asked) - refused
    assert refused > crowd.MOST_FAILURES  # now and then is not for ever


async def test_it_gives_up_when_prompts_run_out_or_the_server_refuses_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(crowd, "LOOK_S", 0.0)
    with pytest.raises(Stuck, match="PROMPTS=file"):
        await until(30, [Voter()], prompts=10)
    with pytest.raises(Refused):
        await until(30, [Voter(refuses=1)], prompts=1000)
