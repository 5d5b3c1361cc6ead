"""One annotator votes for the worse answer every time: what does that cost, what do caps and trust save?

.venv/bin/python -m bench.poisoning          some five minutes on one core

People prefer the answer whose words are worth more, and are right 80 % of the time. A small reward model (of
word embeddings, a hidden layer, the trainer's own ranking loss) is trained on their votes, in four trainings,
each on all votes so far; which votes, and with which weights, is the product's own choice. It is measured on
fresh pairs that are known to be right, and compared with the same votes of which nobody's were flipped.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import mean, stdev
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from store.dataset.choice import choose
from store.dataset.rules import VoteRules
from store.dataset.trust import Checked, Source, weights
from store.records import Vote
from trainer.ranking import ranking_loss

WORDS, LENGTH, RIGHT, HELD_OUT, TRAININGS = 300, 12, 0.8, 4000, 4
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
OFF = VoteRules(annotator_share=1.0, annotator_pairs=10**6, trust=False)
CAPS = VoteRules(trust=False)
BOTH = VoteRules()


@dataclass(frozen=True)
class Site:
    """Who votes how often; the last one has a tenth of all votes."""

    name: str
    honest: int
    each: int

    @property
    def annotators(self) -> list[str]:
        """Who cast each vote, in no order."""
        heavy = self.honest * self.each // 9
        return [f"p{person}" for person in range(self.honest) for _ in range(self.each)] + ["eve"] * heavy


SITES = (Site("180 people with 10 votes each", 180, 10), Site("9 people with 200 votes each", 9, 200))


class Defence(NamedTuple):
    """The product's rules, and how it knows whom to trust."""

    name: str
    rules: VoteRules
    live: bool = False
    """The live reward model has scored the new votes before the training; else only sealed ones are known."""
    gold: float = 0.0
    """Known verdicts for each vote, as the queue mixes them in; people get 90 % of them right."""
    without_eve: bool = False


DEFENCES = (
    Defence("nothing", OFF),
    Defence("caps", CAPS),
    Defence("caps and trust", BOTH),
    Defence("  new votes scored before", BOTH, live=True),
    Defence("  known verdicts, 1 in 10", BOTH, gold=0.1),
    Defence("her votes not there", OFF, without_eve=True),
)


class RewardModel(nn.Module):
    """A score from an answer's words, (N, LENGTH) -> (N,)."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(WORDS, 16, mode="mean")
        self.hidden, self.head = nn.Linear(16, 32), nn.Linear(32, 1)

    def forward(self, answers: Tensor) -> Tensor:
        score: Tensor = self.head(torch.tanh(self.hidden(self.words(answers)))).squeeze(-1)
        return score


@dataclass(frozen=True)
class Votes:
    """A site's votes in the order they were cast: answers (N, 2, LENGTH), and which was preferred."""

    answers: Tensor
    records: list[Vote]
    second: NDArray[np.bool_]
    flipped: bool

    @property
    def preferred(self) -> Tensor:
        """The answers with the preferred one first, (N, 2, LENGTH)."""
        order = torch.tensor(np.stack([self.second, ~self.second], axis=1)).long()
        return torch.take_along_dim(self.answers, order[:, :, None], dim=1)


def cast(site: Site, truth: Tensor, *, flipped: bool, seed: int) -> Votes:
    """The same answers and the same mistakes for a seed, whether eve's votes are flipped or not."""
    random = np.random.default_rng(seed)
    names = random.permutation(site.annotators).tolist()
    answers = torch.tensor(random.integers(0, WORDS, (len(names), 2, LENGTH)))
    worth = truth[answers].sum(-1).numpy()
    second = (worth[:, 1] > worth[:, 0]) ^ (random.random(len(names)) > RIGHT)
    if flipped:
        second = np.where(np.array(names) == "eve", worth[:, 1] <= worth[:, 0], second)
    records = [
        Vote(
            id=f"v{place}",
            kind="duel",
            conversation_id=f"c{place // 3}",
            annotator_id=name,
            choice="b" if second[place] else "a",
            idempotency_key=f"k{place}",
            created_at=BEGIN + timedelta(minutes=place),
        )
        for place, name in enumerate(names)
    ]
    return Votes(answers, records, second, flipped)


def accuracies(votes: Votes, truth: Tensor, defence: Defence, seed: int) -> list[float]:
    """Held-out accuracy after each of the trainings."""
    fresh = torch.tensor(np.random.default_rng(10**6 + seed).integers(0, WORDS, (HELD_OUT, 2, LENGTH)))
    worth = truth[fresh].sum(-1)
    right = worth[:, 0] > worth[:, 1]
    margins: dict[str, float] = {}
    model: RewardModel | None = None
    edges = [len(votes.records) * part // TRAININGS for part in range(TRAININGS + 1)]
    found = []
    for begin, end in pairwise(edges):
        seen = {} if model is None else _margins(model, votes, begin, end)
        known = margins | seen if defence.live else margins
        trust = _trust(votes, known, end, defence, seed)
        model = trained(votes, end, defence.rules, trust, seed)
        margins |= seen
        with torch.no_grad():
            found.append(float(((model(fresh[:, 0]) > model(fresh[:, 1])) == right).float().mean()))
    return found


def trained(votes: Votes, end: int, rules: VoteRules, trust: Mapping[str, float], seed: int) -> RewardModel:
    """A reward model from the votes up to `end` that the rules choose, each with its weight."""
    casts = [(f"{place + 1}-0", vote) for place, vote in enumerate(votes.records[:end])]
    chosen = choose(casts, trust=trust, rules=rules, max_pairs=2000).chosen
    places = sorted(int(vote.id[1:]) for _, vote in chosen)
    weight = torch.tensor([trust.get(votes.records[place].annotator_id, 1.0) for place in places])
    pairs = votes.preferred[places]
    torch.manual_seed(seed)
    model = RewardModel()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=1e-2)
    for _ in range(8):
        for batch in torch.randperm(len(places)).split(32):
            losses = ranking_loss(
                model(pairs[batch, 0]),
                model(pairs[batch, 1]),
                preference=torch.ones(len(batch)),
                margin=torch.zeros(len(batch)),
                label_smoothing=0.0,
            )
            optimizer.zero_grad()
            (losses * weight[batch]).mean().backward()
            optimizer.step()
    return model


def _margins(model: RewardModel, votes: Votes, begin: int, end: int) -> dict[str, float]:
    with torch.no_grad():
        pairs = votes.preferred[begin:end]
        ahead = model(pairs[:, 0]) - model(pairs[:, 1])
    return {f"v{begin + place}": float(margin) for place, margin in enumerate(ahead)}


def _trust(
    votes: Votes, margins: Mapping[str, float], end: int, defence: Defence, seed: int
) -> dict[str, float]:
    if defence.without_eve:
        return {"eve": 0.0}
    if not defence.rules.trust:
        return {}
    right: dict[str, list[bool]] = {}
    for name, margin in margins.items():
        right.setdefault(votes.records[int(name[1:])].annotator_id, []).append(margin > 0)
    checks: dict[str, dict[Source, Checked]] = {
        name: {"reward_model": Checked(sum(one), len(one))} for name, one in right.items()
    }
    random = np.random.default_rng(seed)
    for vote in votes.records[:end]:
        own = checks.setdefault(vote.annotator_id, {})
        asked, passed = random.random() < defence.gold, random.random() < 0.9
        if asked:
            before = own.get("gold", Checked(0, 0))
            passed = passed and not (votes.flipped and vote.annotator_id == "eve")
            own["gold"] = Checked(before.right + passed, before.n + 1)
    return weights(checks)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=8)
    seeds = range(parser.parse_args().seeds)
    torch.set_num_threads(1)
    print("points of held-out accuracy lost to one annotator (eve) with 10 % of the votes, all flipped;")
    print(f"mean and standard error over {len(seeds)} seeds")
    for site in SITES:
        clean = {seed: _site(site, DEFENCES[0], seed, flipped=False) for seed in seeds}
        level = "".join(f"{mean(one[part] for one in clean.values()):15.1%}" for part in range(TRAININGS))
        print(f"\n{site.name} and eve, 2000 votes in {TRAININGS} trainings")
        print(f"  {'accuracy, nobody flips':26}{level}")
        for defence in DEFENCES:
            attacked = {seed: _site(site, defence, seed, flipped=True) for seed in seeds}
            lost = "".join(
                _points([clean[seed][part] - attacked[seed][part] for seed in seeds])
                for part in range(TRAININGS)
            )
            print(f"  {defence.name:26}{lost}")
        honest = {seed: _site(site, DEFENCES[3], seed, flipped=False) for seed in seeds}
        cost = "".join(
            _points([clean[seed][part] - honest[seed][part] for seed in seeds]) for part in range(TRAININGS)
        )
        print(f"  {'caps and trust, no attack':26}{cost}")


def _site(site: Site, defence: Defence, seed: int, *, flipped: bool) -> list[float]:
    truth = torch.randn(WORDS, generator=torch.Generator().manual_seed(seed))
    return accuracies(cast(site, truth, flipped=flipped, seed=seed), truth, defence, seed)


def _points(lost: list[float]) -> str:
    spread = stdev(lost) / len(lost) ** 0.5 if len(lost) > 1 else 0.0
    return f"{100 * mean(lost):7.1f} +- {100 * spread:.1f}"


if __name__ == "__main__":
    main()
