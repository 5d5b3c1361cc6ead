"""The one call that vLLM's workers lack: vLLM loads this class into them (`--worker-extension-cls`)."""

from __future__ import annotations

from typing import Any


class WorkerExtension:
    """Methods of a vLLM worker, for `collective_rpc`."""

    def clear_kv_cache(self) -> None:
        """Overwrite the KV cache with zeros.

        Weights that compute NaN leave it in freed blocks, and the attention of later, good weights reads
        what stands behind a short prompt in its block: 0 times NaN is NaN.
        """
        worker: Any = self
        for cache in worker.model_runner.kv_caches:
            cache.zero_()
