"""The heap: memory that a pass gives back stays with the process, for the next pass to take again.

glibc hands large blocks back to the kernel when they are freed, and the kernel zeroes each page anew when the
next pass touches it. Training frees and takes the same gigabytes all the time.
"""

from __future__ import annotations

import ctypes

MMAP_MAX, TRIM_THRESHOLD, TOP_PAD, ARENA_MAX = -4, -1, -2, -8
"""Names of glibc's malloc.h, M_ left out."""
KEPT = 2**31 - 1
GROWTH = 64 * 2**20


def keep_freed_memory() -> None:
    """Sets malloc so, before the first thread starts. Does nothing where the C library is not glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(MMAP_MAX, 0)  # blocks of any size come from the heap
    mallopt(TRIM_THRESHOLD, KEPT)
    mallopt(TOP_PAD, GROWTH)
    mallopt(
        ARENA_MAX, 1
    )  # the backward pass runs on a thread of its own and takes what the forward pass freed
