"""Live bytes: what the tensors of some code take while they live, counted as they come and go."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.weak import WeakIdKeyDictionary


class LiveBytes(TorchDispatchMode):
    """Counts the storages that operations make inside `with`; views and copies of a reference count once.

    It works on tensors without data (FakeTensorMode) as on real ones, so a computation can be measured before
    there is memory for it. What an operation uses inside itself is not seen.
    """

    def __init__(self, given: Iterable[Tensor] = ()) -> None:
        """`given` are there before and do not count, as a model's weights."""
        super().__init__()
        self.now = 0
        """Bytes alive."""
        self.peak = 0
        """The most at one time."""
        self._seen = WeakIdKeyDictionary()
        for tensor in given:
            self._seen[tensor.untyped_storage()] = True

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        tree_map_only(torch.Tensor, self._count, result)
        return result

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage in self._seen:
            return
        self._seen[storage] = True
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, storage.nbytes()).atexit = False

    def _gone(self, size: int) -> None:
        self.now -= size


def stored_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of their storages, a shared one once."""
    storages = {tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())
