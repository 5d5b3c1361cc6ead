"""Ranks: the processes of one training. All hold the same experience; each reads its share of the rows.

Only the heavy forward and backward passes are divided. What they give is put together again, so that scores,
rewards, advantages and every decision are computed alike on all ranks, and need no distributed statistics.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import HashStore, Store
from torch.distributed.rendezvous import rendezvous

from trainer.config import ScaleConfig
from trainer.data import micro_batches
from trainer.errors import Cancelled
from trainer.reporting import Reporter

Item = TypeVar("Item")


@dataclass(frozen=True)
class Ranks:
    """This process among `size`, as torchrun or the `deepspeed` launcher counted them."""

    rank: int = 0
    size: int = 1
    stop_asked: Callable[[], bool] = lambda: False
    """Whether this rank was told to stop; all stop together at the next `sums` or `joined`."""

    @property
    def first(self) -> bool:
        """The one that writes."""
        return self.rank == 0

    def mine(self, count: int) -> range:
        """This rank's stretch of `count` things."""
        return range(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def passes(
        self, batch: Sequence[int], lengths: Sequence[int], max_tokens: int
    ) -> Iterator[tuple[list[int], bool]]:
        """This rank's forward passes over a batch: indices, and whether they count.

        As many as on every other rank, because a pass under ZeRO-3 gathers weights from all of them. A rank
        with fewer fills up with its batch's shortest row, which must not count.
        """
        order = sorted(batch, key=lambda index: lengths[index]) if self.size > 1 else list(batch)
        shares = [order[rank :: self.size] for rank in range(self.size)]
        cut = [micro_batches(share, lengths, max_tokens) for share in shares]
        mine = cut[self.rank]
        yield from ((rows, True) for rows in mine)
        for _ in range(max(map(len, cut)) - len(mine)):
            yield order[:1], False

    def sums(self, numbers: Mapping[str, float]) -> dict[str, float]:
        """Sums over the ranks. Raises Cancelled on all of them when one was told to stop."""
        if self.size == 1:
            return dict(numbers)
        total = torch.tensor([*numbers.values(), float(self.stop_asked())], dtype=torch.float64)
        dist.all_reduce(total)
        *values, stops = total.tolist()
        if stops:
            raise Cancelled
        return dict(zip(numbers, values, strict=True))

    def joined(self, mine: list[Item]) -> list[Item]:
        """The lists of all ranks, one after another. Raises Cancelled like `sums`."""
        if self.size == 1:
            return mine
        parts: list[tuple[list[Item], bool]] = [([], False)] * self.size
        dist.all_gather_object(parts, (mine, self.stop_asked()))
        if any(stop for _, stop in parts):
            raise Cancelled
        return [item for items, _ in parts for item in items]

    def add(self, *tensors: Tensor) -> None:
        """Replaces tensors by their sums over the ranks: rows that another rank read are 0 here."""
        if self.size > 1:
            for work in [dist.all_reduce(tensor, async_op=True) for tensor in tensors]:
                work.wait()

    def told(self, value: Item) -> Item:
        """The first rank's value."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box)
        return box[0]


ALONE = Ranks()


@contextmanager
def processes(scale: ScaleConfig, reporter: Reporter) -> Iterator[Ranks]:
    """The ranks of this training, joined over gloo, and over NCCL where there are GPUs.

    RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT are the launcher's; without them this process is
    the only one. While there are several, a SIGTERM is a flag that all look at together at each step. A group
    that is there already is used, and stays.
    """
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    if size == 1 and scale.zero_stage == 0:
        yield ALONE
        return
    ours = not dist.is_initialized()
    if ours:
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        store: Store = next(rendezvous("env://"))[0] if size > 1 else HashStore()
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size)
        reporter.has_last_word = lambda: _speaks_first(store, rank)
    reporter.cancels_at_once = size == 1
    yield Ranks(rank, size, lambda: reporter.cancelled)
    # Not after an error: the launcher ends the other ranks, and who tells of it is asked of the store.
    reporter.cancels_at_once = True
    if ours and size > 1:  # alone, the engine in this process still uses it when it ends
        dist.destroy_process_group()


def _speaks_first(store: Store, rank: int) -> bool:
    """Whether this is the first rank that has something to say about the end.

    The launcher ends the others, and what they say then would hide the reason.
    """
    try:
        return bool(store.compare_set("heed/last_word", "", str(rank)) == str(rank).encode())
    except RuntimeError:  # the rank that kept the store is gone, so it has spoken
        return False
