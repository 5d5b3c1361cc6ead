"""Room on the disk of the data folder: what must stay free, and what a training takes."""

from __future__ import annotations

import shutil
from pathlib import Path

RESERVE = 256 << 20
VERSIONS_A_RUN = 40
"""Room for one training, in versions: a checkpoint of policy and critic with both moments is 12 of them, one
kept while the next is written; those of the two reward models are 6 each; weights and copies are the rest."""


def free_bytes(data: Path) -> int:
    return shutil.disk_usage(data).free


def reserve_bytes(data: Path) -> int:
    """What nothing new may take: with `appendfsync always` Redis ends when its disk is full, and it writes
    its append-only file anew beside the old one now and then.
    """
    written = sum(path.stat().st_size for path in (data / "redis").glob("appendonlydir/*"))
    return max(RESERVE, 2 * written)


def version_bytes(data: Path) -> list[int]:
    """What each published version takes."""
    return [
        sum(path.stat().st_size for path in version.rglob("*") if path.is_file())
        for version in (data / "policies").glob("v*")
    ]


def training_bytes(data: Path) -> int:
    """What must be free before a training begins, the reserve included."""
    return reserve_bytes(data) + VERSIONS_A_RUN * max(version_bytes(data), default=0)
