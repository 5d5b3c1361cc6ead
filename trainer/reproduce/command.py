"""`python -m trainer reproduce`: runs the table, judges the findings, writes curves, report and pictures."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from trainer.errors import ConfigError
from trainer.reporting import Reporter
from trainer.reproduce.findings import FINDINGS, Finding
from trainer.reproduce.report import judge, markdown, pictures, verdict
from trainer.reproduce.run import Run, Setting, train
from trainer.reproduce.settings import SETTINGS


def reproduce(out: Path, rows: Sequence[str], seeds: int, reporter: Reporter) -> dict[str, Any]:
    """Runs what the findings named in `rows` need (all when empty), on seeds 0 .. seeds - 1.

    Writes `runs.jsonl` (settings, curve, start and end of every run), `report.md` and one SVG a finding into
    `out`. Runs that `runs.jsonl` holds already, with the same settings, are not run again.

    Raises:
        ConfigError: a row does not exist. Cancelled: SIGTERM; the runs that are done stay.
    """
    began = time.monotonic()
    findings = chosen(rows)
    names = list(dict.fromkeys(name for finding in findings for name in finding.settings))
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # more threads only wait for each other on models this small
    done = _read(out / "runs.jsonl")
    runs: dict[int, dict[str, Run]] = {}
    for seed in range(seeds):
        runs[seed] = {}
        for name in names:
            run = done.get(_key(SETTINGS[name], seed)) or _run(SETTINGS[name], seed, out, reporter)
            runs[seed][name] = run
            of_seed = len(runs[seed]) + seed * len(names)
            values = {key: run.end[key] for key in ("proxy", "gold", "response_length_mean", "ref_kl")}
            reporter.log(f"{name}, seed {seed}")
            reporter.metric(of_seed, seeds * len(names), values)
    (out / "report.md").write_text(markdown(findings, runs), encoding="utf-8")
    pictures(findings, runs, out)
    verdicts = {finding.name: verdict(judge(finding, runs)) for finding in findings}
    for name, said in verdicts.items():
        reporter.log(f"{name}: {said}")
    return {"findings": verdicts, "runs": seeds * len(names), "seconds": time.monotonic() - began}


def chosen(rows: Sequence[str]) -> list[Finding]:
    """The findings of these names, all when there are none. Raises ConfigError for an unknown one."""
    known = {finding.name: finding for finding in FINDINGS}
    for row in rows:
        if row not in known:
            raise ConfigError(f"--rows {row}: there is no such finding. There are {', '.join(known)}.")
    return [known[row] for row in rows] or list(FINDINGS)


def _run(setting: Setting, seed: int, out: Path, reporter: Reporter) -> Run:
    began = time.monotonic()
    run = train(setting, seed, reporter)
    line = {"key": _key(setting, seed), "seconds": time.monotonic() - began, **run._asdict()}
    with (out / "runs.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    return run


def _key(setting: Setting, seed: int) -> str:
    """Everything that decides a run's numbers, but for the code; and what is kept of it."""
    language = (setting.language.loyalty, setting.topics)
    rest = (setting.optimizer, setting.taught, setting.flipped, language, setting.groups)
    return f"{setting.name} {seed} by topic {rest} {setting.config(seed).model_dump_json()}"


def _read(path: Path) -> dict[str, Run]:
    if not path.exists():
        return {}
    lines = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return {line["key"]: Run(line["curve"], line["start"], line["end"]) for line in lines}
