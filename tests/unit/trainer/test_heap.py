"""The heap: a large tensor that is made again takes the pages of the one before it."""

from __future__ import annotations

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
from trainer.heap import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
import torch
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        torch.ones(10 * 2**20)  # 40 MiB, 10,240 pages; up to 32 MiB glibc learns by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()  # aligned blocks do not fit into each other's places at once
print(faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_memory_that_a_pass_frees_is_taken_again_without_new_pages() -> None:
    def faults(how: str) -> int:
        return int(subprocess.check_output([sys.executable, "-c", FAULTS, how], text=True))

    assert faults("kept") < 100
    assert faults("given back") > 8 * 10_000
