"""The report of a reproduction: verdicts, numbers and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from trainer.reproduce.checks import Check
from trainer.reproduce.findings import Finding
from trainer.reproduce.plots import PANELS, draw
from trainer.reproduce.run import Run

COLUMNS = (
    ("proxy", "proxy"),
    ("gold", "gold"),
    ("length", "response_length_mean"),
    ("truncated", "truncated_share"),
    ("KL", "ref_kl"),
    ("perplexity", "perplexity"),
    ("source NLL", "source_nll"),
)

RunsBySeed = Mapping[int, Mapping[str, Run]]
"""Seed, then the run's name."""


def judge(finding: Finding, runs: RunsBySeed) -> dict[int, list[Check]]:
    """The finding's checks, seed by seed."""
    return {seed: finding.check(of_seed) for seed, of_seed in runs.items()}


def verdict(checks: Mapping[int, Sequence[Check]]) -> str:
    """`reproduced` when every ordering holds on every seed, else how many seeds show them all."""
    held = sum(all(check.holds for check in of_seed) for of_seed in checks.values())
    return "reproduced" if held == len(checks) else f"not reproduced ({held} of {len(checks)} seeds)"


def markdown(findings: Sequence[Finding], runs: RunsBySeed) -> str:
    """Verdicts, then the checks of each seed, then the table of runs (means over the seeds)."""
    verdicts = ["| finding | | verdict |", "| --- | --- | --- |"]
    details = []
    for finding in findings:
        checks = judge(finding, runs)
        verdicts.append(f"| {finding.name} | {finding.claim} | {verdict(checks)} |")
        details.append(f"\n**{finding.name}**: {verdict(checks)}\n")
        for seed, of_seed in checks.items():
            said = "; ".join(f"{check.text} ({'yes' if check.holds else '**no**'})" for check in of_seed)
            details.append(f"- seed {seed}: {said}")
    return "\n".join([*verdicts, *details, "", *_table(runs), ""])


def _table(runs: RunsBySeed) -> list[str]:
    heads = " | ".join(head for head, _ in COLUMNS)
    lines = [f"| run | {heads} |", "| --- |" + " ---: |" * len(COLUMNS)]
    names = list(next(iter(runs.values())))
    first = names[0]
    lines.append(_line("(the taught policy)", [of_seed[first].start for of_seed in runs.values()]))
    lines += [_line(name, [of_seed[name].end for of_seed in runs.values()]) for name in names]
    return lines


def _line(name: str, ends: Sequence[Mapping[str, float]]) -> str:
    values = (sum(end[key] for end in ends) / len(ends) for _, key in COLUMNS)
    return f"| {name} | " + " | ".join(f"{value:.2f}" for value in values) + " |"


def pictures(findings: Sequence[Finding], runs: RunsBySeed, folder: Path) -> None:
    """One picture a finding: its runs' curves, each the mean over the seeds."""
    for finding in findings:
        curves = {
            name: {key: _mean_curve([of_seed[name] for of_seed in runs.values()], key) for key, _ in PANELS}
            for name in finding.settings
        }
        draw(folder / f"{finding.name}.svg", finding.claim, curves)


def _mean_curve(runs: Sequence[Run], key: str) -> list[float]:
    series = zip(*([numbers[key] for numbers in run.curve] for run in runs), strict=True)
    return [sum(values) / len(values) for values in series]
