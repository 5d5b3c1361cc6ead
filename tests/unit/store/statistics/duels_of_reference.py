"""The duels on which ours and FastChat's ratings are compared: the same at every call."""

from __future__ import annotations

import random

from store.statistics.judged import JudgedDuel, Outcome, Style

STRENGTH = {1: 0.0, 2: 0.35, 3: 0.6, 4: 0.3}
MEETINGS = {(1, 2): 220, (1, 3): 90, (2, 3): 160, (2, 4): 60, (3, 4): 130}


def battles() -> list[JudgedDuel]:
    """660 duels of four versions, a fifth of them ties; longer answers win more often."""
    chance = random.Random(7)
    made = []
    for (one, other), count in MEETINGS.items():
        for _ in range(count):
            a, b = (one, other) if chance.random() < 0.5 else (other, one)
            styles = [
                Style(
                    chance.randint(20, 400), chance.randint(0, 4), chance.randint(0, 9), chance.randint(0, 6)
                )
                for _ in range(2)
            ]
            ahead = STRENGTH[a] - STRENGTH[b] + (styles[0].length - styles[1].length) / 400
            drawn = chance.random()
            choice: Outcome = "tie" if drawn < 0.2 else "b"
            if choice == "b" and chance.random() < 1 / (1 + 2.718281828459045**-ahead):
                choice = "a"
            made.append(JudgedDuel(a, b, choice, f"person-{chance.randint(1, 50)}", *styles))
    return made
