"""Reporting: events as JSON lines on the real stdout, where nothing else may print; cancel by SIGTERM."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, TextIO

from trainer.errors import Cancelled

EXIT_DONE, EXIT_ERROR, EXIT_CANCELLED = 0, 1, 130


class Reporter:
    """Writes events; with no stream it writes nothing, which is how the library is used from Python.

    Every training step reports a metric, so a cancel is noticed there at the latest. Of the processes of one
    training only the `first` one writes, but any may have the last word.
    """

    def __init__(self, stream: TextIO | None = None, *, first: bool = True) -> None:
        self._stream = stream
        self._first = first
        self.cancelled = False
        self.cancels_at_once = True
        """False while processes have to stop together: one that left would keep the others waiting."""
        self.has_last_word: Callable[[], bool] = lambda: first
        """Whether this process is the one that says how a training ended before its time."""

    def metric(self, step: int, of: int | None, values: Mapping[str, float]) -> None:
        """One step's numbers, and the place where a cancelled run stops.

        JSON has no NaN: a value that is not finite is left out and named in a log line.

        Raises:
            Cancelled: SIGTERM came since the last step.
        """
        finite = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        for name in values.keys() - finite.keys():
            self.log(f"step {step}: {name} is {values[name]}, left out")
        self._write({"event": "metric", "step": step, "of": of, "values": finite})
        self.check_cancelled()

    def log(self, text: str) -> None:
        """One line for a person."""
        self._write({"event": "log", "text": text})

    def done(self, report: Mapping[str, Any]) -> None:
        """The last line of a run that did its work."""
        self._write({"event": "done", "report": report})

    def error(self, message: str) -> None:
        """The last line of a run that failed."""
        self._write({"event": "error", "message": message}, last=True)

    def stopped(self) -> None:
        """The last line of a run that was cancelled."""
        self._write({"event": "log", "text": "cancelled"}, last=True)

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

    def _write(self, event: Mapping[str, Any], *, last: bool = False) -> None:
        if self._stream is None or not (self.has_last_word() if last else self._first):
            return
        self._stream.write(json.dumps(event, ensure_ascii=False, allow_nan=False) + "\n")
        self._stream.flush()


def take_stdout() -> TextIO:
    """Keeps the real stdout for events and points file descriptor 1 at stderr.

    Libraries and their C++ parts print to descriptor 1 (vLLM does); after this their words go to the log. The
    kept descriptor is not inherited, so child processes cannot write to it either.
    """
    sys.stdout.flush()
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return events


def cancel_on_sigterm(reporter: Reporter) -> None:
    """Makes the first SIGTERM raise Cancelled in the main thread, also inside a long load.

    The flag stays set, so that a Cancelled swallowed in a destructor or a callback comes again at the next
    step. Files are written aside and renamed: stopping between any two instructions leaves no half a folder.
    """

    def cancel(number: int, frame: FrameType | None) -> None:
        if not reporter.cancelled:
            reporter.cancelled = True
            reporter.check_cancelled()

    signal.signal(signal.SIGTERM, cancel)
