"""Ranks: rows are divided so that each counts once and all make as many passes; and they end as one."""

from __future__ import annotations

import functools
import json
import os
import signal
import socket
import time
from typing import Any, NamedTuple, TextIO

import pytest

from trainer import cli, stages
from trainer.config import TrainerConfig
from trainer.errors import DataError
from trainer.ranks import ALONE, Ranks, processes
from trainer.reporting import Reporter

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


class Rank(NamedTuple):
    """A process of this test, and what it writes to stdout."""

    pid: int
    stdout: TextIO

    def end(self) -> tuple[int, list[dict[str, Any]]]:
        """Its exit code, and the events it has not been asked for yet."""
        with self.stdout:
            lines = [json.loads(line) for line in self.stdout]
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]), lines


def two_ranks(fails: int = -1) -> list[Rank]:
    """Two processes that step together as a launcher starts them, with no launcher that ends them.

    They are forked, because what they need is imported already.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [_forked(rank, port, fails) for rank in range(2)]


def _forked(rank: int, port: int, fails: int) -> Rank:
    reader, writer = os.pipe()
    if pid := os.fork():
        os.close(writer)
        return Rank(pid, os.fdopen(reader, encoding="utf-8"))
    try:
        os.dup2(writer, 1)
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        stages.reward = functools.partial(_train, fails)
        os._exit(cli.main(["reward", *["--policy", "x", "--pairs", "x", "--held-out", "x", "--out", "x"]]))
    finally:
        os._exit(3)


def _train(fails: int, options: object, config: TrainerConfig, reporter: Reporter) -> dict[str, Any]:
    with processes(config.scale, reporter) as ranks:
        for step in range(1, 3000):
            if ranks.rank == fails and step == 3:
                raise DataError("the second rank's own trouble")
            assert ranks.sums({"ranks": 1.0}) == {"ranks": 2.0}
            reporter.metric(step, 3000, {"loss": 1.0})
            time.sleep(0.01)
    return {}


def test_a_cancel_of_one_rank_stops_all_within_a_step_and_is_told_once() -> None:
    first, second = two_ranks()
    assert json.loads(first.stdout.readline())["event"] == "metric"
    os.kill(second.pid, signal.SIGTERM)
    (code, lines), (other_code, others) = first.end(), second.end()
    assert (code, other_code) == (130, 130)
    cancelled = {"event": "log", "text": "cancelled"}
    assert sorted([lines[-1:] == [cancelled], others == [cancelled]]) == [False, True]
    assert {line["event"] for line in others} <= {"log"}  # the metrics are the first rank's alone


def test_the_trouble_of_one_rank_is_the_one_error_of_all() -> None:
    first, second = two_ranks(fails=1)
    (code, lines), (other_code, others) = first.end(), second.end()
    assert (code, other_code) == (1, 1)
    assert [line["event"] for line in lines] == ["metric", "metric"]
    assert others == [{"event": "error", "message": "the second rank's own trouble"}]
