"""One annotator of whom nothing is known, on real answers: what do her votes cost, what are they weighed?

    python -m bench.annotators DATA POLICY      some fifteen minutes on two cores

DATA holds HH-RLHF as in bench/real_data.py, POLICY is a policy's folder, whose hidden states are read. Votes
are simulated on real pairs: everybody agrees with the pair's own label 80 % of the time. Nine people have
nine tenths of the votes, the tenth person is always wrong, flipped (wrong where the others are right), a coin
(a taste that has nothing to do with theirs), or one of them. What is compared is right on the labels of the
pairs that nobody voted on: the same regression as predicts people's votes, from all votes as they are, as
they are weighed, or without hers.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import mean, stdev
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from bench.real_data import pairs
from store.dataset.trust import by_sureness, weights
from store.records import PreferencePair
from trainer.config import RewardConfig
from trainer.cross_fit import RIDGE, differences, left_out_margins
from trainer.data import load_tokenizer
from trainer.pairs import token_pairs
from trainer.reporting import Reporter

RIGHT, PEOPLE, MAX_TOKENS = 0.8, 9, 256
REWARD = RewardConfig(max_tokens=MAX_TOKENS)
Kind = Literal["always wrong", "flipped", "coin", "honest"]


class Seen(NamedTuple):
    """One site. The first three are shares of fresh pairs ranked wrongly that are ranked rightly else."""

    kept: float
    weighed: float
    gone: float
    hers: float
    """The weight of her votes."""
    least: float
    """The least weight of anybody else's."""


def said(kind: Kind, size: int, votes: int, chance: torch.Generator) -> tuple[Tensor, Tensor]:
    """1 where the vote agrees with the pair's label, -1 where not, hers first; and were she one of them."""
    honest = torch.where(torch.rand(votes, generator=chance) < RIGHT, 1.0, -1.0)
    given = honest.clone()
    if kind == "flipped":
        given[:size] *= -1
    if kind == "always wrong":
        given[:size] = -1
    if kind == "coin":
        given[:size] = torch.where(torch.rand(size, generator=chance) < 0.5, 1.0, -1.0)
    return given, honest


def right(rows: Tensor, weight: Tensor, fresh: Tensor) -> float:
    """Share of fresh pairs that a regression ranks rightly that learned from these rows, (N, F) and (N,)."""
    scale = rows.double().square().mean(0).sqrt().clamp_min(1e-6) * rows.shape[1] ** 0.5
    root = weight.double().sqrt()
    weighed = rows.double() / scale * root[:, None]
    kernel = weighed @ weighed.T + RIDGE * torch.eye(len(rows), dtype=torch.float64)
    worth = weighed.T @ torch.linalg.solve(kernel, root)
    return float((fresh.double() / scale @ worth > 0).double().mean())


def once(features: Tensor, votes: int, kind: Kind, seed: int) -> Seen:
    """One site with so many votes on pairs drawn at random; features (N, F)."""
    chance, hers = torch.Generator().manual_seed(seed), votes // (PEOPLE + 1)
    order = torch.randperm(len(features), generator=chance)
    drawn, fresh = features[order[:votes]], features[order[votes:]]
    places = {"eve": list(range(hers))}
    places |= {f"p{one}": list(range(hers + one, votes, PEOPLE)) for one in range(PEOPLE)}
    given, honest = said(kind, hers, votes, chance)
    rows, ones = drawn * given[:, None], torch.ones(votes)
    margins = left_out_margins(rows, ones, list(places.values()))
    trust = weights(
        {name: {"reward_model": by_sureness(margins[own].tolist())} for name, own in places.items()}
    )
    weighed, without = ones.clone(), ones.clone()
    for name, own in places.items():
        weighed[own] = trust[name]
    without[places["eve"]] = 0.0
    best = right(drawn * honest[:, None], ones, fresh)
    return Seen(
        kept=best - right(rows, ones, fresh),
        weighed=best - right(rows, weighed, fresh),
        gone=best - right(rows, without, fresh),
        hers=trust["eve"],
        least=min(weight for name, weight in trust.items() if name != "eve"),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("policy", type=Path)
    parser.add_argument("--pairs", type=int, default=2600, help="helpful ones; a third as many harmless ones")
    parser.add_argument("--seeds", type=int, default=40)
    options = parser.parse_args()
    tokenizer, read = load_tokenizer(options.policy), dict[str, Tensor]()
    for domain, size in (("helpful", options.pairs), ("harmless", options.pairs // 3)):
        lines = pairs(options.data, "train", {domain: size})
        given = [PreferencePair.model_validate_json(line) for line in lines]
        fitting = token_pairs(given, tokenizer, MAX_TOKENS)
        read[domain] = differences(options.policy, fitting, REWARD, Reporter())
    read["both"] = torch.cat([read["helpful"][: len(read["harmless"])], read.pop("harmless")])
    torch.set_num_threads(1)
    print(
        "points of accuracy on fresh pairs lost to one annotator with a tenth of the votes, mean and error;"
    )
    print(f"weight of her votes, and the least of anybody else's; {options.seeds} seeds")
    for domain, features in read.items():
        print(f"\n{domain}, {len(features)} pairs\n")
        print("votes, hers   she is              as they are     as weighed     hers gone   hers   least")
        for votes in (size for size in (200, 500, 1000) if size <= len(features) * 0.7):
            for kind in get_args(Kind):
                seen = [once(features, votes, kind, seed) for seed in range(options.seeds)]
                lost = [[one.kept for one in seen], [one.weighed for one in seen], [one.gone for one in seen]]
                cells = "".join(_points(part) for part in lost)
                hers, least = mean(one.hers for one in seen), mean(one.least for one in seen)
                print(
                    f"{votes:5d}, {votes // 10:3d}    {kind:14}{cells}   {hers:4.2f}    {least:4.2f}",
                    flush=True,
                )


def _points(lost: list[float]) -> str:
    return f"{100 * mean(lost):8.2f} +- {100 * stdev(lost) / len(lost) ** 0.5:4.2f}"


if __name__ == "__main__":
    main()
