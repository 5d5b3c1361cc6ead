"""Evidence: what seed pairs, ties, rankings and thumbs do to a reward model beside votes for a or b."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from pathlib import Path

from tests.unit.trainer.reward_toys import FAST, answered, flipped, thumbed, toy_pairs, trained
from trainer.pairs import read_pairs


def test_votes_are_not_drowned_by_more_seed_pairs_that_disagree(tiny_policy: Path, tmp_path: Path) -> None:
    config = FAST.model_copy(update={"seed_share": 0.2})
    seed_pairs = flipped(toy_pairs(96, 3), source="seed")

    report = trained(
        tiny_policy, tmp_path / "rm", pairs=toy_pairs(32, 1), seed_pairs=seed_pairs, config=config
    )

    assert report.seed_pairs == 96
    assert report.held_out.accuracy > 0.9


def test_max_seed_pairs_and_a_share_of_zero_bound_the_seed_pairs(tiny_policy: Path, tmp_path: Path) -> None:
    seeds = toy_pairs(20, 3, source="seed")
    few = FAST.model_copy(update={"epochs": 1, "seed_share": 0.5, "max_seed_pairs": 7})

    assert trained(tiny_policy, tmp_path / "a", seed_pairs=seeds, config=few).seed_pairs == 7
    none = FAST.model_copy(update={"epochs": 1, "seed_share": 0.0})
    assert trained(tiny_policy, tmp_path / "b", seed_pairs=seeds, config=none).seed_pairs == 0


def test_thumbs_alone_teach_what_pairs_do_not(tiny_policy: Path, tmp_path: Path) -> None:
    # The pairs say nothing of plums: both answers are about the same, and they tie.
    chance = random.Random(8)
    letters = ["".join(chance.choices("abcdefgh", k=6)) for _ in range(4)]
    pairs = [
        answered(letters[0], letters[1]),
        *(answered(x, y, preference=0.5) for x, y in pairwise(letters)),
    ]
    thumbs = [thumbed(pair, up=True) for pair in toy_pairs(48, 1)]
    thumbs += [thumbed(pair, up=False) for pair in toy_pairs(48, 9)]
    config = FAST.model_copy(update={"thumb_coef": 1.0})

    report = trained(tiny_policy, tmp_path / "rm", pairs=[*pairs, *thumbs], config=config)
    without = trained(
        tiny_policy,
        tmp_path / "without",
        pairs=[*pairs, *thumbs],
        config=FAST.model_copy(update={"thumb_coef": 0.0}),
    )

    assert (report.thumbs, report.vote_pairs, report.ties) == (96, 4, 3)
    assert report.held_out.accuracy > 0.9
    assert (without.thumbs, without.threshold) == (0, None)
    assert without.held_out.accuracy < 0.9
    # The threshold stands between the two kinds, near the mean of as many good as bad answers.
    assert report.threshold is not None
    assert abs(report.threshold - report.score_mean) < report.score_std


def test_thumbs_of_one_kind_are_left_out(tiny_policy: Path, tmp_path: Path) -> None:
    ups = [thumbed(pair, up=True) for pair in toy_pairs(8, 3)]

    report = trained(tiny_policy, tmp_path / "rm", pairs=[*toy_pairs(8, 1), *ups])

    assert (report.thumbs, report.threshold) == (0, None)


def test_ties_draw_scores_together(tiny_policy: Path, tmp_path: Path) -> None:
    tied = [pair.model_copy(update={"preference": 0.5}) for pair in toy_pairs(64, 7)]

    decided = trained(tiny_policy, tmp_path / "a", pairs=[*toy_pairs(64, 1), *toy_pairs(64, 7)])
    with_ties = trained(tiny_policy, tmp_path / "b", pairs=[*toy_pairs(64, 1), *tied])

    assert with_ties.ties == 64
    # Of as many steps, those on ties pull towards a margin of 0.
    assert 0 < with_ties.held_out.margin < 0.7 * decided.held_out.margin


def test_a_ranking_teaches_all_its_pairs(tiny_policy: Path, tmp_path: Path) -> None:
    lines = []
    for pair in toy_pairs(32, 1):
        end = pair.chosen[0].content.removesuffix("plum")
        answers = [
            [{"role": "assistant", "content": f"{end}{word}"}] for word in ("rock", "plum", "peach", "stone")
        ]
        lines.append(
            {"prompt": [turn.model_dump() for turn in pair.prompt], "answers": answers, "ranks": [2, 1, 1, 2]}
        )
    (tmp_path / "rankings.jsonl").write_text("\n".join(map(json.dumps, lines)))
    pairs = read_pairs(tmp_path / "rankings.jsonl")

    report = trained(tiny_policy, tmp_path / "rm", pairs=pairs)

    assert (len(pairs), report.vote_pairs, report.ties, report.steps) == (192, 192, 64, 12)
    assert report.held_out.accuracy > 0.9
    assert report.shared_prompts
