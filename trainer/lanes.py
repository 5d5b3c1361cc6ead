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
from torch import get_num_threads, set_num_threads  # now: vLLM puts a function that does nothing in its place

Result = TypeVar("Result")
Rows = Sequence[int]
LANES = 2

_here = threading.local()


def lane() -> tuple[int, int]:
    """Number of the lane that asks, and how many there are side by side; 0 of 1 outside."""
    number: tuple[int, int] = getattr(_here, "lane", (0, 1))
    return number


def side_by_side(
    one: Callable[[Rows], Result], rows: Rows, lengths: Sequence[int], device: torch.device
) -> list[Result]:
    """`one(part)` of the halves of some rows at once, in their order; of all rows where it does not pay.

    Each part runs on a thread of its own, with gradients on or off as here. If one raises, the other is
    waited for.
    """
    threads = get_num_threads()
    halves = balanced(rows, lengths) if device.type == "cpu" and threads >= LANES else [rows]
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


def balanced(rows: Rows, lengths: Sequence[int]) -> list[Rows]:
    """The shorter and the longer rows, cut where the larger half has the fewest padded tokens."""
    order = sorted(rows, key=lambda row: lengths[row])
    if len(order) < LANES:
        return [order]

    def larger(cut: int) -> int:
        return max(cut * lengths[order[cut - 1]], (len(order) - cut) * lengths[order[-1]])

    cut = min(range(1, len(order)), key=larger)
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
