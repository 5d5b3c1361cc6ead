"""Reporting: what a stage says goes to every sink: JSON lines, a terminal, TensorBoard; cancel by signal."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, Protocol

from trainer.errors import Cancelled

EXIT_DONE, EXIT_ERROR, EXIT_CANCELLED = 0, 1, 130
EXIT_UNREAD = 141
"""What a shell says of a tool that SIGPIPE ended: nobody reads stdout any more."""
SAMPLE = "sample "
"""How the log line begins that shows an answer: `sample {"update": 3, "prompt": ..., "answer": ...}`."""

FIXED = "fixed "
"""The same for the fixed prompts: `fixed {"update": 4, "answers": [{"prompt": ..., "answer": ...}, ...]}`."""


class Sink(Protocol):
    """One place that a stage reports to. Numbers are finite when they come here."""

    def metric(self, step: int, of: int | None, values: Mapping[str, float]) -> None:
        """One step's numbers."""

    def log(self, text: str) -> None:
        """One line for a person."""

    def done(self, report: Mapping[str, Any]) -> None:
        """The last event of a run that did its work."""

    def error(self, message: str) -> None:
        """The last event of a run that failed."""

    def close(self) -> None:
        """The run is over, however it ended."""


class Reporter:
    """Tells every sink; with none it tells nobody, which is how the library is used from Python.

    Every training step reports a metric, so a cancel is noticed there at the latest. Of the processes of one
    training only the `first` one speaks, but any may have the last word.
    """

    def __init__(self, *sinks: Sink, first: bool = True) -> None:
        self._sinks = list(sinks)
        self._first = first
        self.cancelled = False
        self.cancels_at_once = True
        """False while processes have to stop together: one that left would keep the others waiting."""
        self.has_last_word: Callable[[], bool] = lambda: first
        """Whether this process is the one that says how a training ended before its time."""

    def add(self, sink: Sink) -> None:
        """One more place, from now on."""
        self._sinks.append(sink)

    def metric(self, step: int, of: int | None, values: Mapping[str, float]) -> None:
        """One step's numbers, and the place where a cancelled run stops.

        JSON has no NaN: a value that is not finite is left out and named in a log line.

        Raises:
            Cancelled: SIGTERM came since the last step.
        """
        finite = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        for name in values.keys() - finite.keys():
            self.log(f"step {step}: {name} is {values[name]}, left out")
        for sink in self._heard():
            sink.metric(step, of, finite)
        self.check_cancelled()

    def log(self, text: str) -> None:
        """One line for a person."""
        for sink in self._heard():
            sink.log(text)

    def done(self, report: Mapping[str, Any]) -> None:
        """The last word of a run that did its work."""
        for sink in self._heard():
            sink.done(report)

    def error(self, message: str) -> None:
        """The last word of a run that failed."""
        for sink in self._heard(last=True):
            sink.error(message)

    def stopped(self) -> None:
        """The last word of a run that was cancelled."""
        for sink in self._heard(last=True):
            sink.log("cancelled")

    def close(self) -> None:
        """Closes the sinks: their last lines are out."""
        for sink in self._sinks:
            sink.close()

    def check_cancelled(self) -> None:
        """Raises Cancelled when SIGTERM came. Cheap: call it wherever a step is long."""
        if self.cancelled and self.cancels_at_once:
            raise Cancelled

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """A long stretch in which no process waits for another: a SIGTERM ends it at once."""
        before, self.cancels_at_once = self.cancels_at_once, True
        try:
            self.check_cancelled()
            yield
        finally:
            self.cancels_at_once = before

    def _heard(self, *, last: bool = False) -> list[Sink]:
        """The sinks that hear this process."""
        return self._sinks if (self.has_last_word() if last else self._first) else []


def read_sample(text: str) -> dict[str, Any] | None:
    """The answer that a log line shows; None for every other line."""
    if not text.startswith(SAMPLE + "{"):
        return None
    sample: dict[str, Any] = json.loads(text.removeprefix(SAMPLE))
    return sample


def cancel_on_signal(reporter: Reporter) -> None:
    """Makes the first SIGTERM or Ctrl-C raise Cancelled in the main thread, also inside a long load.

    The flag stays set, so that a Cancelled swallowed in a destructor or a callback comes again at the next
    step. Files are written aside and renamed: stopping between any two instructions leaves no half a folder.
    A second Ctrl-C is Python's own.
    """

    def cancel(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if not reporter.cancelled:
            reporter.cancelled = True
            reporter.check_cancelled()

    signal.signal(signal.SIGTERM, cancel)
    signal.signal(signal.SIGINT, cancel)
