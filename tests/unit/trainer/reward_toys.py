"""Toy preferences for the reward model's tests: people who like plums, and a training of them in a second."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from store.records import ChatTurn, PreferencePair
from trainer.config import RewardConfig
from trainer.reporting import Reporter
from trainer.reward import RewardReport, train_reward_model

FAST = RewardConfig(lr=3e-3, epochs=3, seed_share=0.0)


class Steps(Reporter):
    """Keeps the metrics instead of writing them."""

    def __init__(self) -> None:
        super().__init__()
        self.values: list[dict[str, float]] = []

    def metric(self, step: int, of: int | None, values: Any) -> None:
        self.values.append(dict(values))
        super().metric(step, of, values)


def toy_pairs(count: int, seed: int, source: Any = "vote", new: bool = True) -> list[PreferencePair]:
    """People here prefer answers that say plum over those that say rock, whatever stands around it."""
    chance = random.Random(seed)
    pairs = []
    for _ in range(count):
        before, after = ("".join(chance.choices("abcdefgh ", k=chance.randint(2, 9))) for _ in range(2))
        pairs.append(
            PreferencePair(
                prompt=(ChatTurn(role="user", content=before),),
                chosen=(ChatTurn(role="assistant", content=f"{after}plum"),),
                rejected=(ChatTurn(role="assistant", content=f"{after}rock"),),
                source=source,
                new=new,
            )
        )
    return pairs


def flipped(pairs: list[PreferencePair], source: Any) -> list[PreferencePair]:
    return [
        pair.model_copy(update={"chosen": pair.rejected, "rejected": pair.chosen, "source": source})
        for pair in pairs
    ]


def answered(chosen: str, rejected: str, **fields: Any) -> PreferencePair:
    return PreferencePair(
        prompt=(ChatTurn(role="user", content="hm"),),
        chosen=(ChatTurn(role="assistant", content=chosen),),
        rejected=(ChatTurn(role="assistant", content=rejected),),
        **fields,
    )


def thumbed(pair: PreferencePair, *, up: bool) -> PreferencePair:
    """A thumb on the better answer of a pair, or down on the worse one."""
    return pair.model_copy(update={"source": "thumb", "rejected" if up else "chosen": ()})


def trained(policy: Path, out: Path, **changes: Any) -> RewardReport:
    arguments: dict[str, Any] = {
        "pairs": toy_pairs(64, 1),
        "held_out": toy_pairs(32, 2),
        "seed_pairs": [],
        "config": FAST,
        "reporter": Reporter(),
    }
    return train_reward_model(policy=policy, out=out, **(arguments | changes))
