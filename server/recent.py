"""The last quarter of an hour of the chat's answers: how long the first word took, how many failed."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence

from server.system_shapes import AnswersOut

WINDOW_S = 900
MINUTE_S = 60
MOST = 20_000
"""Of each kind: at more than 20 answers a second the window is shorter."""


class Recent:
    """What this server has answered lately. `clock`: seconds, of any beginning."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first_words: deque[tuple[float, float]] = deque(maxlen=MOST)
        self._ended: deque[tuple[float, bool]] = deque(maxlen=MOST)

    def first_word(self, seconds: float) -> None:
        self._first_words.append((self._clock(), seconds))

    def ended(self, *, failed: bool) -> None:
        self._ended.append((self._clock(), failed))

    def look(self, waiting: int) -> AnswersOut:
        """The window that ends now. `waiting`: requests in the queue at this moment."""
        since = self._clock() - WINDOW_S
        times = [(at, seconds) for at, seconds in self._first_words if at > since]
        ended = [failed for at, failed in self._ended if at > since]
        minutes: list[list[float]] = [[] for _ in range(WINDOW_S // MINUTE_S)]
        for at, seconds in times:
            minutes[min(int((at - since) / MINUTE_S), len(minutes) - 1)].append(seconds)
        whole = [seconds for _, seconds in times]
        return AnswersOut(
            window_s=WINDOW_S,
            first_words=len(whole),
            first_word_p50_s=quantile(whole, 0.5),
            first_word_p95_s=quantile(whole, 0.95),
            by_minute_p95_s=[quantile(minute, 0.95) for minute in minutes],
            ended=len(ended),
            failed=sum(ended),
            waiting=waiting,
        )


def quantile(values: Sequence[float], share: float) -> float | None:
    """The least value that at least `share` of the values do not exceed (nearest rank); None of none."""
    return sorted(values)[math.ceil(share * len(values)) - 1] if values else None
