"""Become the vLLM server of the active version.

vLLM's control calls have no login, so the engine listens on a Unix socket in a private folder,
never on a port.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

from server.settings import ServerSettings, read_config
from store.policies import read_pointer


def command(folder: Path, socket: Path, max_model_len: int) -> list[str]:
    """vLLM's OpenAI server on this folder."""
    return [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--uds", str(socket)),
        *("--model", str(folder), "--served-model-name", "policy"),
        *("--dtype", "bfloat16", "--max-model-len", str(max_model_len)),
        # vLLM 0.32 on CPU ends ("CPU Generator does not use offset") when a request with a seed is prefilled
        # in chunks, so a prompt is prefilled whole.
        *("--no-enable-chunked-prefill", "--max-num-batched-tokens", str(max(4096, max_model_len))),
        # On CPU compiled output differs from eager output token by token, and takes minutes to compile.
        *([] if shutil.which("nvidia-smi") else ["--enforce-eager"]),
    ]


def environment(kv_cache_gib: int) -> dict[str, str]:
    """Offline, no telemetry, control calls on, threads left to the system."""
    return os.environ | {
        "VLLM_SERVER_DEV_MODE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": str(kv_cache_gib),
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        # Threads that wait must sleep: spinning ones stall everybody on cores shared with a trainer.
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="the engine's name in logs")
    parser.add_argument("--socket", required=True, type=Path, help="Unix socket to listen on")
    arguments = parser.parse_args()
    settings = ServerSettings()
    engine = read_config(settings).engine
    while (folder := read_pointer(settings.data)) is None:
        sys.stderr.write(
            f"{arguments.name} waits: {settings.data / 'policies' / 'ACTIVE'} names no version yet\n"
        )
        time.sleep(2)
    arguments.socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    arguments.socket.unlink(missing_ok=True)
    os.execve(
        sys.executable,
        command(folder, arguments.socket, engine.max_model_len),
        environment(engine.kv_cache_gib),
    )


if __name__ == "__main__":
    main()
