"""What the rounds came to: win rates with intervals, what became of each version, votes, KL, times."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from scripts.loop.annotators import shorter_wins
from scripts.loop.client import Voted
from scripts.loop.rounds import STEPS, Played, Round
from scripts.loop.watch import told
from store.statistics.intervals import wilson

IN_SERVICE = ("active", "retired", "canary")
"""States of a version that people's answers came or come from without a share or an end."""


def beats(new: Sequence[str], old: Sequence[str]) -> tuple[float, int]:
    """(wins of the new answers by the rule, ties) over the same prompts; a tie counts half."""
    verdicts = [shorter_wins(a, b) for a, b in zip(new, old, strict=True)]
    ties = verdicts.count("tie")
    return verdicts.count("a") + ties / 2, ties


def blind(votes: Sequence[Voted], version: int, other: int, *, by_rule: bool) -> tuple[int, int]:
    """(wins of `version`, decisive votes) of the duels between the two, as voted or as the rule has it."""
    won = n = 0
    for vote in votes:
        said = vote.ruled if by_rule else vote.choice
        if set(vote.versions) == {version, other} and said != "tie":
            n += 1
            won += vote.versions["ab".index(said)] == version
    return won, n


def share(wins: float, n: int) -> str:
    """`94.0% (87.5 to 97.2)`: Wilson's 95 % interval."""
    low, high = wilson(wins, n)
    return f"{wins / n:.1%} ({100 * low:.1f} to {100 * high:.1f})" if n else "-"


def as_expected(played: Played) -> bool:
    """All was played, the last version clearly beats the first, flipped votes put nothing into service."""
    if sum(one.over for one in played.rounds) < played.plan.rounds or played.active is None:
        return False
    new, old = played.answers[played.active], _first(played)
    low, _ = wilson(beats(new, old)[0], len(old))
    flipped = [one.version for one in played.rounds if one.flipped and one.version]
    return low > 0.5 and not any(version["state"] in IN_SERVICE for version in flipped)


def _first(played: Played) -> list[str]:
    """What the version before all rounds answered."""
    return next(iter(played.answers.values()))


def text(played: Played) -> str:
    """The report as it is printed."""
    plan = played.plan
    rule = f"The rule: the shorter answer wins; annotators follow it with probability {plan.right:g}"
    if plan.flipped is not None:
        rule += f", in round {plan.flipped} with {1 - plan.right:.2g}"
    lines = [
        f"\n{rule}.",
        f"Prompts that no vote and no rollout saw: {plan.asked}. Intervals are 95 %, ties count half.",
    ]
    for this in played.rounds:
        lines += ["", *_round(this, played)]
    if plan.rounds > 1:
        lines += ["", *_table(played)]
    return "\n".join(lines)


def _round(this: Round, played: Played) -> list[str]:
    """All that is known of one round."""
    lines = [f"Round {this.number}: {_name(this)} {_became(this)}"]
    if this.reason:
        lines.append(f"  because: {this.reason}")
    if this.version and (number := this.version["number"]) in played.answers:
        new = played.answers[number]
        for other in dict.fromkeys((next(iter(played.answers)), this.parent)):
            wins, ties = beats(new, played.answers[other])
            lines.append(f"  v{number} beats v{other} in {share(wins, len(new))}, {ties} ties")
        before, after = (mean(map(len, played.answers[one])) for one in (this.parent, number))
        lines.append(f"  mean answer: {before:.0f} characters before, {after:.0f} after")
        if this.canary_votes:
            won, n = blind(this.canary_votes, number, this.parent, by_rule=False)
            ruled, of = blind(this.canary_votes, number, this.parent, by_rule=True)
            lines.append(f"  as a canary: won {won} of {n} decisive votes, by the rule {ruled} of {of}")
    lines.append(
        f"  for the training: {_followed(this.votes)}; for the canary: {_followed(this.canary_votes)}"
    )
    lines += [f"  {stage['stage']}: {said}" for stage in this.run.get("stages", ()) if (said := told(stage))]
    lines.append("  seconds: " + ", ".join(f"{step} {spent:.0f}" for step, spent in this.seconds.items()))
    return lines


def _followed(votes: Sequence[Voted]) -> str:
    decisive = [vote for vote in votes if vote.ruled != "tie"]
    right = sum(vote.choice == vote.ruled for vote in decisive)
    return f"{len(votes)} votes, {right} of {len(decisive)} by the rule"


def _name(this: Round) -> str:
    return f"v{this.version['number']}" if this.version else "no version"


def _became(this: Round) -> str:
    """In the words of somebody who was not there."""
    if this.version is None:
        return "came out" if this.over else "yet"
    said = {
        "active": "is active",
        "retired": "was active, until a better one came",
        "rejected": "was held back: no engine answered with it",
        "rolled_back": "was rolled back as a canary",
        "candidate": "was not promoted",
        "canary": "is a canary",
    }
    return said[this.version["state"]]


def _table(played: Played) -> list[str]:
    """One line a round."""
    rows: list[tuple[str, ...]] = [
        ("round", "votes", "beats the first", "beats the one before", "KL", "minutes", "what came out")
    ]
    for this in played.rounds:
        shares = ["-", "-"]
        if this.version and (new := played.answers.get(this.version["number"])):
            olds = (_first(played), played.answers[this.parent])
            shares = [share(beats(new, old)[0], len(new)) for old in olds]
        far = _kl(this)
        minutes = sum(this.seconds.get(step, 0.0) for step in STEPS) / 60
        rows.append(
            (
                f"{this.number}{', flipped' if this.flipped else ''}",
                f"{len(this.votes)} + {len(this.canary_votes)}",
                *shares,
                "-" if far is None else f"{far:.1f}",
                f"{minutes:.1f}",
                f"{_name(this)} {_became(this)}",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    end = [
        "No round was played to its end."
        if played.active is None
        else f"In the end v{played.active} answers."
    ]
    return [*(line.rstrip() for line in lines), *end]


def _kl(this: Round) -> float | None:
    """Nats per answer away from version 1, as the gate measured."""
    report = (this.version or {}).get("report") or {"checks": ()}
    return next((check["value"] for check in report["checks"] if check["name"] == "kl"), None)
