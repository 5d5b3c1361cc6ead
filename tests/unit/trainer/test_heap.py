"""The heap: what a pass frees serves the next pass without new pages from the kernel."""

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
torch.ones(12 * 2**20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
torch.ones(10 * 2**20)  # 40 MiB, 10,240 pages; up to 32 MiB glibc learns by itself
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_memory_that_a_pass_frees_is_taken_again_without_new_pages() -> None:
    def faults(how: str) -> int:
        return int(subprocess.check_output([sys.executable, "-c", FAULTS, how], text=True))

    assert faults("kept") < 100
    assert faults("given back") > 10_000
