"""Annotators of whom nothing is known: the regression against a slow one, the check by hand, a real model."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from store.dataset.trust import Checked
from store.records import AnnotatorVotes, GateCheck, PreferencePair
from tests.unit.trainer.reward_toys import FAST, flipped, toy_pairs
from trainer.annotators import FEW, RIDGE, judge_annotators, left_out_margins
from trainer.config import RewardGateConfig
from trainer.reporting import Reporter
from trainer.reward_checks import Agreed, annotator_check

CONFIG = RewardGateConfig()


def test_leaving_a_group_out_in_closed_form_is_the_regression_without_it() -> None:
    chance = torch.Generator().manual_seed(0)
    features = torch.randn(12, 5, generator=chance) + 0.5
    weights = torch.rand(12, generator=chance) + 0.5
    groups = [[0, 3, 4], [1, 2], [5, 6, 7, 8, 9]]  # 10 and 11 only teach
    scaled = features.double()
    scaled = scaled / scaled.square().mean(0).sqrt() / math.sqrt(5)
    expected = torch.zeros(12, dtype=torch.float64)
    for group in groups:
        rest = [place for place in range(12) if place not in group]
        rows, weight = scaled[rest], weights[rest].double()
        normal = rows.T @ (weight[:, None] * rows) + RIDGE * torch.eye(5)
        expected[group] = scaled[group] @ torch.linalg.solve(normal, rows.T @ weight)
    expected /= expected[:10].square().mean().sqrt()
    assert left_out_margins(features, weights, groups) == pytest.approx(expected, abs=1e-9)


def checked(*found: Agreed) -> GateCheck:
    return annotator_check(found, CONFIG)


def agreed(name: str, own: tuple[float, float], rest: tuple[float, float]) -> Agreed:
    return Agreed(name, 50, 0.1, Checked(*own), Checked(*rest))


def test_who_surely_votes_against_what_can_be_predicted_is_named() -> None:
    # z of 1 % is 2.326. 16 of 50: the share 0.32 lies (0.5 - 0.32) / sqrt(0.25 / 50) = 2.55 below a coin's.
    check = checked(agreed("ann", (30, 50), (250, 450)), agreed("eve", (16, 50), (280, 450)))
    assert (check.name, check.passed, check.value, check.threshold) == ("annotators", False, 0.32, 0.5)
    assert check.reason.startswith("eve, with 10% of the weight, chose in 32% of 50 votes")
    assert 'annotator:"eve"' in check.reason
    assert "ann," not in check.reason
    # 17 of 50 lie 2.26 below.
    assert checked(agreed("eve", (17, 50), (280, 450))).passed


@pytest.mark.parametrize(
    ("own", "rest", "said"),
    [
        ((25, 50), (280, 450), "nobody surely votes against the others"),  # another taste
        ((5, 50), (235, 450), "no better than by chance"),  # 0.476 to 0.568
        ((5, 50), (12, 15), "no better than by chance"),  # too few to say what can be expected
        ((0, 0), (280, 450), "nobody surely"),  # no prediction leans either way
    ],
)
def test_whoever_may_be_right_passes(own: tuple[int, int], rest: tuple[int, int], said: str) -> None:
    check = checked(agreed("eve", own, rest))
    assert check.passed
    assert said in check.reason


def people(lies: bool) -> tuple[list[PreferencePair], list[AnnotatorVotes]]:
    """Six people with 20 votes each, and eve with 12."""
    pairs, votes = list[PreferencePair](), list[AnnotatorVotes]()
    for number, name in enumerate(["ann", "bob", "cy", "dee", "fay", "gus", "eve"]):
        own = toy_pairs(12 if name == "eve" else 20, number)
        own = flipped(own, "vote") if lies and name == "eve" else own
        ids = tuple(f"{name}-{place}" for place in range(len(own)))
        pairs += [
            pair.model_copy(update={"vote_id": vote_id}) for pair, vote_id in zip(own, ids, strict=True)
        ]
        votes.append(AnnotatorVotes(annotator_id=name, checks=0, vote_ids=ids))
    return pairs, votes


def judged(
    policy: Path, pairs: list[PreferencePair], annotators: list[AnnotatorVotes]
) -> tuple[list[GateCheck], dict[str, float]]:
    return judge_annotators(
        policy=policy, pairs=pairs, annotators=annotators, config=CONFIG, reward=FAST, reporter=Reporter()
    )


def test_flipped_votes_of_one_are_refused_and_an_honest_set_passes(tiny_policy: Path) -> None:
    pairs, votes = people(lies=True)
    [check], margins = judged(tiny_policy, pairs, votes)
    assert not check.passed
    assert check.reason.startswith("eve, with 9% of the weight")
    assert margins.keys() == {pair.vote_id for pair in pairs}
    # What was found is evidence that trust believes.
    assert sum(margins[f"eve-{place}"] < 0 for place in range(12)) >= 11
    [check], _ = judged(tiny_policy, *people(lies=False))
    assert check.passed, check.reason


def test_only_people_of_whom_nothing_is_known_and_who_weigh_enough_are_looked_at(tiny_policy: Path) -> None:
    pairs, votes = people(lies=True)
    known = [one.model_copy(update={"checks": FEW}) for one in votes]
    assert judged(tiny_policy, pairs, known) == ([], {})
    light = [
        pair.model_copy(update={"weight": 0.1}) if (pair.vote_id or "").startswith("eve") else pair
        for pair in pairs
    ]
    eve_alone = [*known[:-1], votes[-1]]
    assert judged(tiny_policy, light, eve_alone) == ([], {})
    [check], _ = judged(tiny_policy, pairs, eve_alone)
    assert not check.passed
