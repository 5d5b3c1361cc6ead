"""What the set-up and the launcher say: steps, a line that moves while one of them works, one-line errors."""

from __future__ import annotations

import sys
import time

QUIET_S = 10.0


class Problem(SystemExit):
    """Ends the program with status 1 and one line: what is wrong, and what to do about it."""

    def __init__(self, message: str) -> None:
        super().__init__(f"heed: {message}")


class Step:
    """One step that takes a while: `with Step("Installing") as step: step.at("37/161 numba")`.

    On a terminal the line is rewritten in place; in a log it is repeated every ten seconds at most.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self.terminal = sys.stdout.isatty()
        self.began = self.shown = time.monotonic()

    def __enter__(self) -> Step:
        self._show("", "" if self.terminal else "\n")
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._show(f"done in {self.seconds:.0f} s", "\n")
        elif self.terminal:
            print(flush=True)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def at(self, where: str) -> None:
        """Say how far the step is; the seconds are added."""
        now = time.monotonic()
        text = f"{where} ({self.seconds:.0f} s)" if where else f"{self.seconds:.0f} s"
        if self.terminal:
            self._show(text, "")
        elif now - self.shown >= QUIET_S:
            self.shown = now
            self._show(text, "\n")

    def _show(self, where: str, end: str) -> None:
        start, erase = ("\r", "\x1b[K") if self.terminal else ("", "")
        print(f"{start}{self.title} ... {where}".rstrip()[:118] + erase, end=end, flush=True)


def say(text: str) -> None:
    print(text, flush=True)
