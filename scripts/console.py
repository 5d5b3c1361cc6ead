"""What the set-up and the launcher say: steps, a line that moves while one of them works, one-line errors."""

from __future__ import annotations

import sys
import threading
import time

QUIET_S = 10.0


class Problem(SystemExit):
    """Ends the program with status 1 and one line: what is wrong, and what to do about it."""

    def __init__(self, message: str) -> None:
        super().__init__(f"heed: {message}")


class Step:
    """One step that takes a while: `with Step("Installing") as step: step.at("37/161 numba")`.

    On a terminal the line is rewritten in place, with the seconds; in a log it comes again every ten seconds.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._terminal = sys.stdout.isatty()
        self._began = self._shown = time.monotonic()
        self._where = ""
        self._ended = threading.Event()
        self._printing = threading.Lock()
        self._clock = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Step:
        self._print("", "" if self._terminal else "\n")
        self._clock.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._ended.set()
        self._clock.join()
        if kind is None:
            self._print(f"done in {time.monotonic() - self._began:.0f} s", "\n")
        elif self._terminal:
            print(flush=True)

    def at(self, where: str) -> None:
        """Say how far the step is; the seconds are added."""
        self._where = where
        self._refresh()

    def _tick(self) -> None:
        while not self._ended.wait(1.0):
            self._refresh()

    def _refresh(self) -> None:
        now = time.monotonic()
        if not self._terminal and now - self._shown < QUIET_S:
            return
        self._shown = now
        seconds = f"{now - self._began:.0f} s"
        self._print(f"{self._where} ({seconds})" if self._where else seconds, "" if self._terminal else "\n")

    def _print(self, where: str, end: str) -> None:
        start, erase = ("\r", "\x1b[K") if self._terminal else ("", "")
        with self._printing:
            print(f"{start}{self._title} ... {where}".rstrip()[:118] + erase, end=end, flush=True)


def say(text: str) -> None:
    print(text, flush=True)
