"""How often the canary's test is wrong, and how many votes it needs: 1,000 canaries at each true win rate.

.venv/bin/python -m bench.canary
"""

from __future__ import annotations

import math

import numpy as np

from store.statistics.sequential import ALPHA, MAX_VOTES, log_e_values

CANARIES = 1000


def main() -> None:
    print(f"{CANARIES} canaries each, looked at after every decisive vote, at most {MAX_VOTES} votes")
    print("true rate  promoted  rolled back  undecided  median votes to the end")
    for rate in (0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65):
        random = np.random.default_rng(int(rate * 100))
        wins = np.zeros(CANARIES)
        ended = np.zeros(CANARIES, dtype=np.int64)
        better = np.zeros(CANARIES, dtype=bool)
        for n in range(1, MAX_VOTES + 1):
            wins += random.random(CANARIES) < rate
            live = ended == 0
            up = live & (log_e_values(wins, n - wins) >= math.log(1 / ALPHA))
            down = live & (log_e_values(n - wins, wins) >= math.log(1 / ALPHA))
            better |= up
            ended[up | down] = n
        decided = ended > 0
        median = f"{np.median(ended[decided]):.0f}" if decided.any() else "-"
        print(
            f"{rate:9.0%}  {better.mean():8.1%}  {(decided & ~better).mean():11.1%}"
            f"  {(~decided).mean():9.1%}  {median:>8}"
        )


if __name__ == "__main__":
    main()
