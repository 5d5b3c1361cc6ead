"""`make up`: everything on one machine, started in order under supervisord, stopped by Ctrl-C.

Where it runs comes from HEED_DATA, HEED_HOST, HEED_PORT, HEED_CONFIG, HEED_REDIS_URL, HEED_MODEL,
HEED_ENGINE_COUNT and HEED_ENGINES (docs/architecture.md); none of them is needed.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts import preflight
from scripts.console import Problem, Step, say
from scripts.launch import ROOT, Launch, engine_sockets
from scripts.preflight import Where
from store.embedded import NoRedisServer

LOOK_S = 0.3
PREDECESSOR_S = 60


def child_environment(environment: Mapping[str, str], where: Where) -> dict[str, str]:
    """What every process is told: where things are, and to ask nobody on the internet."""
    redis_url = where.redis_url or f"unix://{where.run / 'redis.sock'}?db=0"
    paths = [str(ROOT), environment.get("PYTHONPATH", "")]
    quiet = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    return {
        **quiet,
        **environment,
        "HEED_DATA": str(where.data),
        "HEED_HOST": where.host,
        "HEED_PORT": str(where.port),
        "HEED_CONFIG": str(where.config),
        "HEED_REDIS_URL": redis_url,
        "HEED_ENGINES": ",".join(where.engines or [f"unix://{path}" for path in engine_sockets(where)]),
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "PYTHONUNBUFFERED": "1",
        # A worker that is told to stop ends its task first instead of waiting for hours.
        "REMAP_SIGTERM": "SIGQUIT",
    }


def wait_for_predecessor(where: Where) -> None:
    """A launcher that was killed leaves a supervisord that is still stopping its programs: let it."""
    pidfile = where.run / "supervisord.pid"
    if not is_alive(pidfile):
        return
    deadline = time.monotonic() + PREDECESSOR_S
    with Step("Waiting for the Heed before this one to end"):
        while is_alive(pidfile):
            if time.monotonic() > deadline:
                raise Problem(
                    f"process {pidfile.read_text().strip()} of an earlier start does not end: kill it"
                )
            time.sleep(LOOK_S)


def is_alive(pidfile: Path) -> bool:
    """True when the file names a running supervisord (not some other process with a reused number)."""
    try:
        return b"supervisord" in Path(f"/proc/{int(pidfile.read_text())}/cmdline").read_bytes()
    except (OSError, ValueError):
        return False


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    for name in [name for name, value in os.environ.items() if name.startswith("HEED_") and not value]:
        del os.environ[name]  # `HEED_DATA= make up` means the default, not the current folder
    memory_gib = preflight.available_gib()
    where = preflight.read_environment(os.environ, memory_gib)
    preflight.make_folders(where)
    preflight.lock(where)
    wait_for_predecessor(where)
    preflight.check_port(where.host, where.port)
    preflight.check_config(where)
    if where.redis_url:
        preflight.check_redis(where.redis_url)
    preflight.check_machine(where, memory_gib)
    launch = Launch(where, child_environment(os.environ, where))
    try:
        launch.start_supervisor()
        launch.bring_up()
        say(launch.ready_line())
        launch.watch()
    except NoRedisServer as error:
        raise Problem(str(error)) from None
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        launch.stop()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        say("Stopped")
