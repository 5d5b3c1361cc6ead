"""What the others' votes let expect: beside a slow regression, and what trust makes of it on a real model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from store.dataset.trust import by_sureness, weights
from store.records import AnnotatorVotes, Record
from tests.unit.trainer.reward_toys import FAST, flipped, toy_pairs
from trainer.cross_fit import RIDGE, cross_fit, left_out_margins
from trainer.reporting import Reporter


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


def frozen_data(folder: Path, *, lies: bool) -> Path:
    """Three people's votes in files as a freeze writes them; a few of them judge."""
    votes = {"ann": toy_pairs(30, 1), "bob": toy_pairs(30, 2), "eve": toy_pairs(12, 3)}
    if lies:
        votes["eve"] = flipped(votes["eve"], "vote")
    named = [
        pair.model_copy(update={"vote_id": f"{name}-{number}"})
        for name, pairs in votes.items()
        for number, pair in enumerate(pairs)
    ]
    whose = [
        AnnotatorVotes(annotator_id=name, vote_ids=tuple(f"{name}-{n}" for n in range(len(pairs))))
        for name, pairs in votes.items()
    ]
    imported = [pair.model_copy(update={"source": "import"}) for pair in toy_pairs(4, 4)]
    files: dict[str, Sequence[Record]] = {
        "train": [*imported, *named[:-2]], "held_out": named[-2:], "annotators": whose,
    }  # fmt: skip
    for file, rows in files.items():
        text = "".join(row.model_dump_json() + "\n" for row in rows)
        (folder / f"{file}.jsonl").write_text(text, encoding="utf-8")
    return folder


def weights_by(margins: dict[str, float]) -> dict[str, float]:
    own: dict[str, list[float]] = {}
    for vote_id, margin in margins.items():
        own.setdefault(vote_id.split("-")[0], []).append(margin)
    return weights({name: {"reward_model": by_sureness(found)} for name, found in own.items()})


def test_flipped_votes_of_one_weigh_nothing_and_honest_ones_all(tiny_policy: Path, tmp_path: Path) -> None:
    def asked(data: Path) -> dict[str, float]:
        return cross_fit(policy=tiny_policy, data=data, config=FAST, reporter=Reporter())

    margins = asked(frozen_data(tmp_path, lies=True))
    assert {name for name, margin in margins.items() if margin < 0} == {f"eve-{n}" for n in range(12)}
    assert len(margins) == 72, "a margin for each vote, none for imports"
    trust = weights_by(margins)
    assert trust["eve"] == 0.0
    assert min(trust["ann"], trust["bob"]) > 0.95
    assert min(weights_by(asked(frozen_data(tmp_path, lies=False))).values()) > 0.95


def test_without_a_vote_that_fits_nothing_is_predicted(tiny_policy: Path, tmp_path: Path) -> None:
    data, short = frozen_data(tmp_path, lies=False), FAST.model_copy(update={"max_tokens": 2})
    assert cross_fit(policy=tiny_policy, data=data, config=short, reporter=Reporter()) == {}
