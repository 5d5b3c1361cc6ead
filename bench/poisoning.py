"""One annotator votes for the worse answer every time: what does that cost, what do caps and trust save?

.venv/bin/python -m bench.poisoning          some ten minutes on one core

People prefer the answer whose words are worth more, and are right 80 % of the time. A small reward model (of
word embeddings, a hidden layer, the trainer's own ranking loss) is trained on their votes, in four trainings,
each on all votes so far; which votes, and with which weights, is the product's own choice. The live reward
model has scored new votes before the next training, as the product's opinions do. Where the product compares
somebody of whom nothing is known with everybody else, it reads a language model's hidden states; here the
words themselves. Accuracy is measured on fresh pairs that are known to be right, and compared with the same
votes of which nobody's were flipped.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import mean, stdev
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from store.dataset.checks import has_shown
from store.dataset.choice import AnnotatorPart, choose, unknown
from store.dataset.rules import VoteRules
from store.dataset.trust import Checked, Source, by_sureness, weights
from store.records import Verdict, Vote
from trainer.cross_fit import left_out_margins
from trainer.ranking import ranking_loss

WORDS, LENGTH, RIGHT, HELD_OUT, TRAININGS = 300, 12, 0.8, 4000, 4
FIRST = (100, 200, 300, 500, 1000)
"""Votes at a first training."""
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
    cross_fit: bool = False
    """Those of whom nothing is known are compared with everybody else before a training."""
    gold: float = 0.0
    """Known verdicts for each vote, as the queue mixes them in; people get 90 % of them right."""
    trial: int = 0
    """`[votes] trial_votes`; on trial every second task is a known verdict."""
    without_eve: bool = False


ALL = Defence("  and cross-fitting", BOTH, cross_fit=True)
DEFENCES = (
    Defence("nothing", OFF),
    Defence("caps", CAPS),
    Defence("caps and trust", BOTH),
    ALL,
    Defence("  known verdicts, 1 in 10", BOTH, gold=0.1),
    Defence("  trial_votes = 10", BOTH, trial=10),
    Defence("her votes not there", OFF, without_eve=True),
)


class Outcome(NamedTuple):
    """What came of each training: held-out accuracy, eve's weight, and the least weight of anybody else."""

    accuracies: list[float]
    hers: list[float]
    least: list[float]


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


def trainings(votes: Votes, truth: Tensor, defence: Defence, seed: int, count: int = TRAININGS) -> Outcome:
    """The trainings one after the other."""
    fresh = torch.tensor(np.random.default_rng(10**6 + seed).integers(0, WORDS, (HELD_OUT, 2, LENGTH)))
    worth = truth[fresh].sum(-1)
    right = worth[:, 0] > worth[:, 1]
    margins: dict[str, float] = {}
    model: RewardModel | None = None
    edges = [len(votes.records) * part // count for part in range(count + 1)]
    found = Outcome([], [], [])
    for begin, end in pairwise(edges):
        margins |= {} if model is None else _margins(model, votes, begin, end)
        trust = _trust(votes, margins, end, defence, seed)
        places = chosen(votes, end, defence.rules, trust)
        if defence.cross_fit and _asks(votes, places, trust, margins):
            margins = _cross_fit(votes, places, trust) | margins
            trust = _trust(votes, margins, end, defence, seed)
            places = chosen(votes, end, defence.rules, trust)
        model = trained(votes, places, trust, seed)
        found.hers.append(trust.get("eve", 1.0))
        found.least.append(min([1.0, *(weight for name, weight in trust.items() if name != "eve")]))
        with torch.no_grad():
            found.accuracies.append(
                float(((model(fresh[:, 0]) > model(fresh[:, 1])) == right).float().mean())
            )
    return found


def chosen(votes: Votes, end: int, rules: VoteRules, trust: Mapping[str, float]) -> list[int]:
    """Places of the votes up to `end` that the rules choose."""
    casts = [(f"{place + 1}-0", vote) for place, vote in enumerate(votes.records[:end])]
    picked = choose(casts, trust=trust, rules=rules, max_pairs=2000).chosen
    return sorted(int(vote.id[1:]) for _, vote in picked)


def trained(votes: Votes, places: list[int], trust: Mapping[str, float], seed: int) -> RewardModel:
    """A reward model from these votes, each with its weight."""
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


def _asks(votes: Votes, places: list[int], trust: Mapping[str, float], margins: Mapping[str, float]) -> bool:
    """Whether somebody brings much of these votes of whom nothing is known."""
    brings = Counter(votes.records[place].annotator_id for place in places)
    known = Counter(votes.records[int(vote[1:])].annotator_id for vote in margins)
    parts = [
        AnnotatorPart(annotator_id=name, votes=count, weight=trust.get(name, 1.0), checks=known[name])
        for name, count in brings.items()
    ]
    return bool(unknown(parts, BOTH.unknown_share))


def _cross_fit(votes: Votes, places: list[int], trust: Mapping[str, float]) -> dict[str, float]:
    """How far each of these votes' answers is ahead by the others' votes."""
    names = [votes.records[place].annotator_id for place in places]
    own = [[row for row, other in enumerate(names) if other == name] for name in dict.fromkeys(names)]
    weight = torch.tensor([trust.get(name, 1.0) for name in names])
    words = torch.nn.functional.one_hot(votes.preferred[places], WORDS).sum(2).float()
    ahead = left_out_margins(words[:, 0] - words[:, 1], weight, own)
    return {f"v{place}": margin for place, margin in zip(places, ahead.tolist(), strict=True)}


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
    ahead: dict[str, list[float]] = {}
    for name, margin in margins.items():
        ahead.setdefault(votes.records[int(name[1:])].annotator_id, []).append(margin)
    checks: dict[str, dict[Source, Checked]] = {
        name: {"reward_model": by_sureness(one)} for name, one in ahead.items()
    }
    random = np.random.default_rng(seed)
    verdicts: dict[str, list[Verdict]] = {}
    for vote in votes.records[:end]:
        own = checks.setdefault(vote.annotator_id, {})
        asked, passed = random.random() < defence.gold, random.random() < 0.9
        passed = passed and not (votes.flipped and vote.annotator_id == "eve")
        if asked:
            before = own.get("gold", Checked(0, 0))
            own["gold"] = Checked(before.right + passed, before.n + 1)
        verdicts.setdefault(vote.annotator_id, []).append(_known_verdict(vote, right=passed))
    trust = weights(checks)
    if defence.trial:  # whoever is on trial still has no vote
        trust |= {name: 0.0 for name, said in verdicts.items() if not _passed(said, defence.trial)}
    return trust


def _known_verdict(vote: Vote, *, right: bool) -> Verdict:
    return Verdict(
        item_id=vote.id,
        vote_id=vote.id,
        choice="a" if right else "b",
        gold="a",
        swapped=False,
        check="gold",
        at=vote.created_at,
    )


def _passed(said: Sequence[Verdict], wanted: int) -> bool:
    """Whether the trial ended after one of these verdicts."""
    return any(has_shown(said[:count], wanted) for count in range(wanted, len(said) + 1))


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
        clean = [_site(site, DEFENCES[0], seed, flipped=False).accuracies for seed in seeds]
        print(f"\n{site.name} and eve, 2000 votes in {TRAININGS} trainings")
        level = "".join(f"{mean(part):15.1%}" for part in zip(*clean, strict=True))
        print(f"  {'accuracy, nobody flips':32}{level}")
        for defence in DEFENCES:
            attacked = [_site(site, defence, seed, flipped=True) for seed in seeds]
            _show(defence.name, clean, attacked)
            if defence.cross_fit:
                _show_weights("    her weight", [out.hers for out in attacked])
                _show_weights("    least of anybody else", [out.least for out in attacked])
        honest = [_site(site, ALL, seed, flipped=False) for seed in seeds]
        _show("all of it, no attack", clean, honest)
        _show_weights("    least weight of anybody", [[*map(min, out.hers, out.least)] for out in honest])
    _first_training(seeds)


def _first_training(seeds: Sequence[int]) -> None:
    """How many votes it takes, in a first training: nothing else is known then."""
    print(f"\n{'nine people and eve, one training':34}{''.join(f'{size:9d} votes' for size in FIRST)}")
    rows: dict[str, list[str]] = {}
    for size in FIRST:
        few = Site("", 9, size // 10)
        clean = [_once(few, DEFENCES[0], seed, flipped=False) for seed in seeds]
        for defence in (DEFENCES[0], ALL, DEFENCES[-1]):
            lost = [
                before - _once(few, defence, seed, flipped=True)
                for seed, before in zip(seeds, clean, strict=True)
            ]
            rows.setdefault(defence.name, []).append(_points(lost))
        honest = [
            before - _once(few, ALL, seed, flipped=False) for seed, before in zip(seeds, clean, strict=True)
        ]
        rows.setdefault("all of it, no attack", []).append(_points(honest))
    for name, cells in rows.items():
        print(f"  {name:32}{''.join(cells)}", flush=True)


def _show(name: str, clean: list[list[float]], outcomes: list[Outcome]) -> None:
    lost = [
        [before - after for before, after in zip(one, out.accuracies, strict=True)]
        for one, out in zip(clean, outcomes, strict=True)
    ]
    print(f"  {name:32}{''.join(_points(list(part)) for part in zip(*lost, strict=True))}", flush=True)


def _show_weights(name: str, weights: list[list[float]]) -> None:
    print(f"  {name:32}{''.join(f'{mean(part):15.2f}' for part in zip(*weights, strict=True))}")


def _once(site: Site, defence: Defence, seed: int, *, flipped: bool) -> float:
    """Accuracy after one training on all of the site's votes."""
    return _site(site, defence, seed, flipped=flipped, count=1).accuracies[0]


def _site(site: Site, defence: Defence, seed: int, *, flipped: bool, count: int = TRAININGS) -> Outcome:
    truth = torch.randn(WORDS, generator=torch.Generator().manual_seed(seed))
    return trainings(cast(site, truth, flipped=flipped, seed=seed), truth, defence, seed, count)


def _points(lost: list[float]) -> str:
    spread = stdev(lost) / len(lost) ** 0.5 if len(lost) > 1 else 0.0
    return f"{100 * mean(lost):7.1f} +- {100 * spread:.1f}"


if __name__ == "__main__":
    main()
