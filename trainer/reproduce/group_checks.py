"""The orderings that decide a finding about group-invariant learning (arXiv 2310.11971), for one seed."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.reproduce.checks import Check, Runs, above, below
from trainer.reproduce.run import Numbers

EASY, HARD = (0, 1), 2
"""Topics of the uneven language."""
TRAINED, UNSEEN = (0, 1), 2
"""Topics of the language with an unseen one."""


def groups(runs: Runs) -> list[Check]:
    ends = {name: runs[f"groups-{name}"].end for name in ("off", "learned", "random")}
    gaps = {name: gap(end, EASY, HARD) for name, end in ends.items()}
    return [
        below("gap between the topics", gaps["learned"], gaps["off"], "of PPO-max"),
        below("gap between the topics", gaps["learned"], gaps["random"], "of random groups"),
        above(
            "mean proxy", ends["learned"]["proxy"], 0.95 * ends["off"]["proxy"], "against 0.95 x PPO-max's"
        ),
    ]


def baselines(runs: Runs) -> list[Check]:
    gaps = {name: gap(runs[f"groups-{name}"].end, EASY, HARD) for name in ("learned", "quantile", "dro")}
    return [
        below("gap between the topics", gaps["learned"], gaps["quantile"], "of halves by score"),
        below("gap between the topics", gaps["learned"], gaps["dro"], "of group DRO"),
    ]


def dro(runs: Runs) -> list[Check]:
    plain, weighed = (gap(runs[f"groups-{name}"].end, EASY, HARD) for name in ("off", "dro"))
    return [below("gap between the topics", weighed, plain, "of PPO-max")]


def group_parts(runs: Runs) -> list[Check]:
    ends = {name: runs[f"groups-{name}"].end for name in ("learned", "shaping", "kl", "published")}
    gaps = {name: gap(end, EASY, HARD) for name, end in ends.items()}
    return [
        below("gap between the topics", gaps["learned"], gaps["shaping"], "of the shaping alone"),
        below("gap between the topics", gaps["learned"], gaps["kl"], "of the KL per answer alone"),
        below("KL", ends["learned"]["ref_kl"], ends["published"]["ref_kl"], "of the published factor"),
    ]


def unseen(runs: Runs) -> list[Check]:
    plain, learned = runs["unseen-off"].end, runs["unseen-learned"].end
    gold, text = f"gold_{UNSEEN}", "gap between trained and unseen topics"
    return [
        above("gold on the unseen topic", learned[gold], plain[gold], "of PPO-max"),
        below(text, gap(learned, TRAINED, UNSEEN), gap(plain, TRAINED, UNSEEN), "of PPO-max"),
    ]


def gap(end: Numbers, better: Sequence[int], worse: int) -> float:
    """How far the mean proxy of some topics is above that of another one."""
    return sum(end[f"proxy_{topic}"] for topic in better) / len(better) - end[f"proxy_{worse}"]
