"""Lanes: two parts of a pass side by side on the CPU, each with half of its cores.

All cores on one pass wait for each other at each of its thousands of operations, and waking a core that
sleeps takes as long as many of them. Two lanes meet once, at their end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import TypeVar

import torch

# Taken now, for the tests too: vLLM puts functions that do nothing in their place.
from torch import get_num_threads as get_num_threads
from torch import set_num_threads as set_num_threads

Result = TypeVar("Result")
Rows = Sequence[int]
LANES = 2

_here = threading.local()


def lane() -> tuple[int, int]:
    """Number of the lane that asks, and how many there are side by side; 0 of 1 outside."""
    number: tuple[int, int] = getattr(_here, "lane", (0, 1))
    return number


def side_by_side(
    one: Callable[[Rows], Result],
    rows: Rows,
    lengths: Sequence[int],
    device: torch.device,
    *,
    padded: bool = True,
) -> list[Result]:
    """`one(part)` of the halves of some rows at once, in their order; of all rows where it does not pay.

    `padded`: a half reads its rows to the length of the longest; otherwise `lengths` is what it reads.

    Each part runs on a thread of its own, with gradients on or off as here. If one raises, the other is
    waited for.
    """
    threads = get_num_threads()
    halves = balanced(rows, lengths, padded=padded) if device.type == "cpu" and threads >= LANES else [rows]
    if len(halves) == 1:
        return [one(rows)]
    gradients = torch.is_grad_enabled()

    def run(number: int) -> Result:
        _here.lane = number, len(halves)
        with torch.set_grad_enabled(gradients):
            return one(halves[number])

    running = [_pool(threads).submit(run, number) for number in range(len(halves))]
    wait(running)
    return [future.result() for future in running]


def balanced(rows: Rows, lengths: Sequence[int], *, padded: bool = True) -> list[Rows]:
    """The shorter and the longer rows, cut where the larger half has the fewest tokens to read."""
    order = sorted(rows, key=lambda row: lengths[row])
    if len(order) < LANES:
        return [order]

    def tokens(half: Rows) -> int:
        return len(half) * lengths[half[-1]] if padded else sum(lengths[row] for row in half)

    cut = min(range(1, len(order)), key=lambda cut: max(tokens(order[:cut]), tokens(order[cut:])))
    return [order[:cut], order[cut:]]


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that have their share of the cores; the one that asks keeps all."""
    ready = threading.Barrier(LANES + 1)

    def begin() -> None:
        get_num_threads()  # a thread takes over the process's number when it first asks; then its own counts
        set_num_threads(threads // LANES)
        ready.wait()

    pool = ThreadPoolExecutor(LANES, "lane", begin)
    for _ in range(LANES):
        pool.submit(int)
    ready.wait()
    set_num_threads(threads)
    return pool
