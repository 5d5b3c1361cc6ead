"""The report of a reproduction: verdicts, numbers and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from trainer.reproduce.checks import Check, RunsBySeed
from trainer.reproduce.findings import Finding
from trainer.reproduce.plots import draw

ALL_SEEDS = "all seeds"
COLUMNS = (
    ("proxy", "proxy"),
    ("gold", "gold"),
    ("length", "response_length_mean"),
    ("truncated", "truncated_share"),
    ("KL", "ref_kl"),
    ("perplexity", "perplexity"),
    ("source NLL", "source_nll"),
)


def judge(finding: Finding, runs: RunsBySeed) -> dict[str, list[Check]]:
    """The finding's checks, seed by seed or over all seeds."""
    if finding.over_seeds is not None:
        return {ALL_SEEDS: finding.over_seeds(runs)}
    assert finding.check is not None
    return {
        f"seed {seed}": finding.check({name: of_seed[name] for name in finding.settings})
        for seed, of_seed in runs.items()
    }


def verdict(checks: Mapping[str, Sequence[Check]]) -> str:
    """`reproduced` when every ordering holds on every seed, else how many seeds show them all."""
    held = sum(all(check.holds for check in of_seed) for of_seed in checks.values())
    if held == len(checks):
        return "reproduced"
    return "not reproduced" if ALL_SEEDS in checks else f"not reproduced ({held} of {len(checks)} seeds)"


def markdown(findings: Sequence[Finding], runs: RunsBySeed) -> str:
    """Verdicts, then the checks of each seed, then the table of runs (means over the seeds)."""
    verdicts = ["| finding | | seeds | verdict |", "| --- | --- | ---: | --- |"]
    details = []
    for finding in findings:
        checks = judge(finding, runs)
        verdicts.append(f"| {finding.name} | {finding.claim} | {len(runs)} | {verdict(checks)} |")
        details.append(f"\n**{finding.name}**: {verdict(checks)}\n")
        for whose, of_seed in checks.items():
            said = "; ".join(f"{check.text} ({'yes' if check.holds else '**no**'})" for check in of_seed)
            details.append(f"- {whose}: {said}")
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
    """One picture a finding: the curves of its runs."""
    for finding in findings:
        curves = {
            name: {
                label: [panel(of_seed[name]) for of_seed in runs.values()]
                for label, panel in finding.panels.items()
            }
            for name in finding.settings
        }
        draw(folder / f"{finding.name}.svg", finding.claim, curves)
