"""The stub trainer, but it learns one thing from the pairs: do people like short answers or long ones?

A policy's `config.json` says how many words its answers have.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests import stub_trainer

stub_reward, stub_ppo = stub_trainer.reward, stub_trainer.ppo

FIRST_WORDS = 14
LESSON = 4
"""Words by which a training changes the answers."""


def words_of(policy: Path) -> int:
    return int(json.loads((policy / "config.json").read_text()).get("words", FIRST_WORDS))


def length(turns: list[dict[str, str]]) -> int:
    return sum(len(turn["content"]) for turn in turns)


def reward(given: dict[str, Path], plan: dict[str, Any]) -> dict[str, Any]:
    report = stub_reward(given, plan)
    pairs = [json.loads(line) for line in given["pairs"].read_text().splitlines()]
    voted = [pair for pair in pairs if pair["preference"] == 1.0]
    shorter = sum(length(pair["chosen"]) < length(pair["rejected"]) for pair in voted)
    (given["out"] / "liked.txt").write_text("short" if 2 * shorter > len(voted) else "long")
    return report


def ppo(given: dict[str, Path], plan: dict[str, Any]) -> dict[str, Any]:
    report = stub_ppo(given, plan)
    liked = (given["reward-model"] / "liked.txt").read_text()
    words = words_of(given["policy"]) + (-LESSON if liked == "short" else LESSON)
    (given["out"] / "config.json").write_text(json.dumps({"words": words}))
    return report


if __name__ == "__main__":
    vars(stub_trainer).update(reward=reward, ppo=ppo)
    stub_trainer.main()
