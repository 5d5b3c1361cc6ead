"""Ranks: rows are divided so that each counts once and all make as many passes; and they end as one."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from typing import Any

import pytest

from trainer.ranks import ALONE, Ranks

LENGTHS = [9, 2, 5, 1, 7, 3, 8]


def test_alone_the_passes_are_those_of_the_whole_batch() -> None:
    # By length 3 1 5 2 4 6 0; 12 tokens: 3 x 3, then 5 + 5 would fit 7 x 1 only.
    assert list(ALONE.passes(range(7), LENGTHS, 12)) == [
        ([3, 1, 5], True), ([2], True), ([4], True), ([6], True), ([0], True),
    ]  # fmt: skip


def test_two_ranks_share_a_batch_by_length_and_make_as_many_passes() -> None:
    # By length 3 1 5 2 4 6 0: every second one each; 10 tokens a pass.
    first, second = (list(Ranks(rank, 2).passes(range(7), LENGTHS, 10)) for rank in range(2))
    assert first == [([3, 5], True), ([4], True), ([0], True)]
    assert second == [([1, 2], True), ([6], True), ([3], False)]  # the shortest of all, which counts nothing


@pytest.mark.parametrize("size", [2, 3, 8])
def test_every_row_counts_once_also_with_more_ranks_than_rows(size: int) -> None:
    every = [list(Ranks(rank, size).passes([4, 0, 6], LENGTHS, 10)) for rank in range(size)]
    assert len({len(passes) for passes in every}) == 1
    assert sorted(row for passes in every for rows, counts in passes if counts for row in rows) == [0, 4, 6]


def test_stretches_follow_each_other_without_a_gap() -> None:
    assert [list(Ranks(rank, 3).mine(7)) for rank in range(3)] == [[0, 1], [2, 3], [4, 5, 6]]
    assert [len(Ranks(rank, 3).mine(2)) for rank in range(3)] == [0, 1, 1]


TRAINING = """
import sys, time
from trainer import cli
from trainer.config import ScaleConfig
from trainer.errors import DataError
from trainer.ranks import processes

def train(options, config, reporter):
    with processes(ScaleConfig(), reporter) as ranks:
        for step in range(1, 3000):
            if ranks.rank == FAILS and step == 3:
                raise DataError("the second rank's own trouble")
            assert ranks.sums({"ranks": 1.0}) == {"ranks": 2.0}
            reporter.metric(step, 3000, {"loss": 1.0})
            time.sleep(0.01)
    return {}

cli._reward = train
sys.exit(cli.main(["reward", *"--policy x --pairs x --held-out x --out x".split()]))
"""


def two_ranks(fails: int) -> list[subprocess.Popen[str]]:
    """Two processes that step together, as a launcher starts them, without one that ends them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(
            [sys.executable, "-c", TRAINING.replace("FAILS", str(fails))],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]  # fmt: skip


def rest(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in process.communicate(timeout=60)[0].splitlines()]


def test_a_cancel_of_one_rank_stops_all_within_a_step_and_is_told_once() -> None:
    first, second = two_ranks(fails=-1)
    assert first.stdout is not None
    assert json.loads(first.stdout.readline())["event"] == "metric"
    second.send_signal(signal.SIGTERM)
    lines = [rest(first), rest(second)]
    assert (first.returncode, second.returncode) == (130, 130)
    assert [
        line["event"] for line in lines[1] if line["event"] != "log"
    ] == []  # the first rank alone reports
    assert [line for one in lines for line in one if line["event"] != "metric"] == [
        {"event": "log", "text": "cancelled"}
    ]


def test_the_trouble_of_one_rank_is_the_one_error_of_all() -> None:
    first, second = two_ranks(fails=1)
    lines = [rest(first), rest(second)]
    assert (first.returncode, second.returncode) == (1, 1)
    assert [line["event"] for line in lines[0]] == ["metric", "metric"]
    assert lines[1] == [{"event": "error", "message": "the second rank's own trouble"}]
