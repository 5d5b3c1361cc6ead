"""The calls that vLLM's workers lack: vLLM loads this class into them (`--worker-extension-cls`)."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open

COLUMNS = 16
"""Columns of a packed weight that are compared."""


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

    def compare_weights(self, weights_path: str) -> dict[str, Any]:
        """Compare what this worker computes with, bit for bit, with the safetensors files of a folder.

        `compared`: how many parameters could be; `differ`: the names of those that are others. A parameter
        that is only a part of a tensor of the files (tensor parallelism) or has another form (quantised) is
        not compared.
        """
        worker: Any = self
        model = worker.model_runner.get_model()
        compared, differ = 0, []
        files = [safe_open(path, framework="pt") for path in sorted(Path(weights_path).glob("*.safetensors"))]
        places = {name: file for file in files for name in file.keys()}  # noqa: SIM118 - not a dict
        for module_name, module in model.named_modules():
            for own_name, parameter in module.named_parameters(recurse=False):
                names = parts(f"{module_name}.{own_name}", getattr(model, "packed_modules_mapping", {}))
                if not all(name in places for name in names):
                    continue
                same = is_same(module, parameter, [places[name].get_tensor(name) for name in names])
                compared += same is not None
                if same is False:
                    differ.append(f"{module_name}.{own_name}")
        return {"compared": compared, "differ": differ}

    def end_process(self) -> None:
        """End every process of this engine at once, so that its supervisor starts it anew."""
        os.killpg(os.getpgid(0), signal.SIGKILL)


def parts(name: str, packed: Mapping[str, Sequence[str]]) -> list[str]:
    """The names in a file of what vLLM holds under one name: qkv_proj is q_proj, k_proj and v_proj."""
    path = name.split(".")
    for place, part in enumerate(path):
        if part in packed:
            return [".".join([*path[:place], one, *path[place + 1 :]]) for one in packed[part]]
    return [name]


def is_same(module: Any, parameter: Any, wanted: Sequence[Any]) -> bool | None:
    """Whether the module holds these tensors, one below the other; None when that cannot be seen."""
    rows = sum(len(tensor) for tensor in wanted)
    if parameter.numel() == 0 and hasattr(module, "cpu_linear"):
        # On CPU the weight is packed for oneDNN and gone. A row with a single 1 reads a column back, exactly.
        width = wanted[0].shape[1]
        columns = range(0, width, max(1, width // COLUMNS))
        ask = parameter.new_zeros(len(columns), width)
        for row, column in enumerate(columns):
            ask[row, column] = 1
        held = module.cpu_linear(ask, parameter, None).T
        wanted = [tensor[:, list(columns)] for tensor in wanted]
    else:
        held = parameter
    if held.shape[1:] != wanted[0].shape[1:] or len(held) < rows:
        return None  # more rows are those of a padded vocabulary
    begins = [sum(map(len, wanted[:place])) for place in range(len(wanted))]
    return all(
        held[begin : begin + len(tensor)].equal(tensor.to(held.device, held.dtype))
        for begin, tensor in zip(begins, wanted, strict=True)
    )
