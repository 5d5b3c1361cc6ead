"""JSON lines: one event a line on the real stdout, where nothing else may print. The worker reads them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

from trainer.errors import NobodyReads


class JsonLines:
    """A sink: `metric`, `log`, `done` and `error` events, each out before the next instruction."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def metric(self, step: int, of: int | None, values: Mapping[str, float]) -> None:
        self._write({"event": "metric", "step": step, "of": of, "values": values})

    def log(self, text: str) -> None:
        self._write({"event": "log", "text": text})

    def done(self, report: Mapping[str, Any]) -> None:
        self._write({"event": "done", "report": report})

    def error(self, message: str) -> None:
        self._write({"event": "error", "message": message})

    def close(self) -> None:
        """Nothing: every line is out already."""

    def _write(self, event: Mapping[str, Any]) -> None:
        line = json.dumps(event, ensure_ascii=False, allow_nan=False) + "\n"
        with listened_to(self._stream):
            self._stream.write(line)
            self._stream.flush()


@contextmanager
def listened_to(stream: TextIO) -> Iterator[None]:
    """What is written to the stream in here is heard, or nobody reads it and this raises NobodyReads.

    What is still in the stream then, or written later on the way out, goes nowhere and fails no more.
    """
    try:
        yield
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        raise NobodyReads from None


def take_stdout() -> TextIO:
    """Keeps the real stdout for the stage's own words and points file descriptor 1 at stderr.

    Libraries and their C++ parts print to descriptor 1 (vLLM does); after this their words go to the log. The
    kept descriptor is not inherited, so child processes cannot write to it either.
    """
    sys.stdout.flush()
    kept = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return kept
