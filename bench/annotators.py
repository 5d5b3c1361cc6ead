"""The gate's check of annotators on real answers: how often is one who lies refused, and one who does not?

    python -m bench.annotators DATA POLICY      some six minutes on two cores

DATA holds HH-RLHF as in bench/real_data.py, POLICY is a policy's folder, whose hidden states are read. Votes
are simulated on real pairs: everybody agrees with the pair's own label 80 % of the time. Nine people have
nine tenths of the votes, the tenth person is always wrong, flipped (wrong where the others are right), a coin
(a taste that has nothing to do with theirs), or one of them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import mean
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from bench.real_data import pairs
from store.records import AnnotatorVotes, PreferencePair
from trainer.annotators import compared, differences, left_out_margins, looked_at
from trainer.config import RewardConfig, RewardGateConfig
from trainer.data import load_tokenizer
from trainer.pairs import token_pairs
from trainer.reporting import Reporter
from trainer.reward_checks import annotator_check

RIGHT, PEOPLE, MAX_TOKENS = 0.8, 9, 256
CONFIG, REWARD = RewardGateConfig(), RewardConfig(max_tokens=MAX_TOKENS)
Kind = Literal["always wrong", "flipped", "coin", "honest"]


class Seen(NamedTuple):
    """What the check said once."""

    eve: bool
    somebody_else: bool
    agreement: float
    """Of her votes, by how sure the predictions are."""
    others: float


def said(kind: Kind, size: int, votes: int, chance: torch.Generator) -> Tensor:
    """1 where the vote agrees with the pair's label, -1 where not, hers first: (votes,)."""
    given = torch.where(torch.rand(votes, generator=chance) < RIGHT, 1.0, -1.0)
    if kind == "flipped":
        given[:size] *= -1
    if kind == "always wrong":
        given[:size] = -1
    if kind == "coin":
        given[:size] = torch.where(torch.rand(size, generator=chance) < 0.5, 1.0, -1.0)
    return given


def once(features: Tensor, votes: int, kind: Kind, seed: int) -> Seen:
    """One site with so many votes on pairs drawn at random; features (N, F)."""
    chance, hers = torch.Generator().manual_seed(seed), votes // (PEOPLE + 1)
    drawn = features[torch.randperm(len(features), generator=chance)[:votes]]
    places = {"eve": list(range(hers))}
    places |= {f"p{one}": list(range(hers + one, votes, PEOPLE)) for one in range(PEOPLE)}
    annotators = [AnnotatorVotes(annotator_id=name, checks=0, vote_ids=()) for name in places]
    weights = torch.ones(votes)
    margins = left_out_margins(
        drawn * said(kind, hers, votes, chance)[:, None], weights, list(places.values())
    )
    found = compared(looked_at(annotators, places, weights, CONFIG), places, margins)
    refused = {one.annotator_id for one in found if not annotator_check([one], CONFIG).passed}
    eve = found[0]
    return Seen("eve" in refused, bool(refused - {"eve"}), eve.agreement, eve.rest.right / eve.rest.n)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("policy", type=Path)
    parser.add_argument("--pairs", type=int, default=1300, help="of each domain")
    parser.add_argument("--seeds", type=int, default=200)
    options = parser.parse_args()
    tokenizer, read = load_tokenizer(options.policy), dict[str, Tensor]()
    for domain in ("helpful", "harmless"):
        lines = pairs(options.data, "train", {domain: options.pairs})
        given = [PreferencePair.model_validate_json(line) for line in lines]
        fitting = token_pairs(given, tokenizer, MAX_TOKENS)
        read[domain] = differences(options.policy, fitting, REWARD, Reporter())
    read["both"] = torch.cat(list(read.values()))
    torch.set_num_threads(1)
    for domain in ("helpful", "both"):
        print(f"\n{domain}, {len(read[domain])} pairs; {options.seeds} seeds\n")
        print("votes, hers   she is         refused   somebody else   her agreement   the others'")
        for votes in (size for size in (200, 500, 1000) if size <= len(read[domain])):
            for kind in get_args(Kind):
                seen = [once(read[domain], votes, kind, seed) for seed in range(options.seeds)]
                shares = [mean(part) for part in zip(*seen, strict=True)]
                cells = "".join(f"{share:14.1%}" for share in shares)
                print(f"{votes:5d}, {votes // 10:3d}    {kind:12}{cells}", flush=True)


if __name__ == "__main__":
    main()
