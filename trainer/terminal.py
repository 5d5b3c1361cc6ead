"""Terminal: a progress bar with the metrics that matter, log lines above it, the report at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

from tqdm import tqdm

from trainer.reporting import FIXED, read_sample

SHOWN: dict[str, dict[str, str]] = {
    "sft": {"loss": "loss", "held_out_nll": "held-out NLL"},
    "seeds": {"ended_share": "ended"},
    "cross_fit": {"answers_per_second": "answers/s"},
    "reward": {"loss": "loss", "accuracy": "accuracy", "pairs_per_second": "pairs/s"},
    "reward_gate": {"score_mean": "score"},
    "ppo": {
        "reward_mean": "reward",
        "ref_kl": "KL",
        "response_length_mean": "length",
        "explained_variance": "EV",
        "samples_per_second": "samples/s",
    },
    "gate": {"ref_kl": "KL", "response_length_mean": "length", "text_perplexity": "perplexity"},
    "evaluate": {"ended_share": "ended"},
    "reproduce": {"proxy": "proxy", "gold": "gold", "ref_kl": "KL", "response_length_mean": "length"},
}
"""Command -> metric -> its short name on the bar, the most telling first: a narrow terminal cuts the rest."""
BAR = "{desc} {n_fmt}/{total_fmt} |{bar}| {elapsed}<{remaining}{postfix}"
LONGEST_LIST = 6
SAMPLE_CHARACTERS = 100


class Terminal:
    """A sink for a person.

    Args:
        stage: the command that runs.
        bar: where the bar and the log lines go.
        summary: where the report goes in words at the end; None leaves it to another sink.
    """

    def __init__(self, stage: str, bar: TextIO, summary: TextIO | None) -> None:
        self._stage, self._stream, self._summary = stage, bar, summary
        self._bar: tqdm[Any] | None = None
        self._began = time.time()

    def metric(self, step: int, of: int | None, values: Mapping[str, float]) -> None:
        if self._bar is None:
            # Made late, so that loading models does not count into the time of a step.
            tqdm.monitor_interval = 0  # no thread: a step says itself when it is done
            self._bar = tqdm(
                desc=self._stage,
                total=of,
                initial=step,
                file=self._stream,
                bar_format=BAR,
                mininterval=0,
                dynamic_ncols=True,
            )
            self._bar.start_t = self._began
        self._bar.set_postfix_str(bar_text(self._stage, values), refresh=False)
        if not self._bar.update(step - self._bar.n):
            self._bar.refresh()

    def log(self, text: str) -> None:
        if text.startswith(FIXED):
            return  # to be compared side by side, which a terminal cannot show
        sample = read_sample(text)
        self._say(text if sample is None else sample_text(sample))

    def done(self, report: Mapping[str, Any]) -> None:
        self.close()
        if self._summary is not None:
            self._summary.write(f"{self._stage} is done.\n{summary_text(report)}\n")
            self._summary.flush()

    def error(self, message: str) -> None:
        self._say(f"error: {message}")
        self.close()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def _say(self, text: str) -> None:
        if self._bar is None:
            self._stream.write(text + "\n")
            self._stream.flush()
        else:
            self._bar.write(text, file=self._stream)


def bar_text(stage: str, values: Mapping[str, float]) -> str:
    """`reward 0.31 KL 1.2`: of the metrics that the stage shows, those which this step has."""
    shown = SHOWN.get(stage, {})
    return " ".join(f"{short} {_short(values[name])}" for name, short in shown.items() if name in values)


def sample_text(sample: Mapping[str, Any]) -> str:
    """An answer on two lines."""
    prompt, answer = (" ".join(str(sample[name]).split()) for name in ("prompt", "answer"))
    return (
        f"update {sample['update']}, score {sample['score']}: {prompt[:SAMPLE_CHARACTERS]}\n"
        f"  -> {answer[:SAMPLE_CHARACTERS]}{'' if len(answer) <= SAMPLE_CHARACTERS else '…'}"
    )


def summary_text(report: Mapping[str, Any]) -> str:
    """The report for a person: one number a line, names aligned. Long lists (histograms) are left out."""
    rows = list(_rows("", report))
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"  {name:<{width}}  {value}" for name, value in rows)


def _rows(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _rows(f"{prefix}.{name}" if prefix else str(name), inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            if isinstance(inner, Mapping):
                yield prefix, ", ".join(f"{name} {text}" for name, text in _rows("", inner))
        if value and len(value) <= LONGEST_LIST and not isinstance(value[0], Mapping):
            yield prefix, ", ".join(_text(inner) for inner in value)
    else:
        yield prefix, _text(value)


def _text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2g}"
