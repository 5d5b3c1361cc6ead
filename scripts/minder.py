"""Stand between supervisord and a program with children of its own, and leave none of them behind.

    python minder.py RECORD COMMAND ...

vLLM's API server starts an engine process, and that one a worker. When the API server is killed the others
live on with gigabytes of memory, and a SIGTERM while it loads is lost. The minder passes SIGTERM on; when the
program has ended, or has not within `GRACE_S`, it ends what is left of its process group. RECORD is a file
with the group's number, by which the next minder ends what a killed one has left.
Standard library only, so that it costs little.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

GRACE_S = 6.0
TRACKER = b"multiprocessing.resource_tracker"
"""Python's helper that removes shared memory once the processes that used it are gone: it goes last."""


def group_members(group: int) -> dict[int, bytes]:
    """Process id -> command line of everybody in the process group, without this process and zombies."""
    members = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            state, _, its_group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state != "Z":
                members[int(folder.name)] = (folder / "cmdline").read_bytes()
        except OSError:
            continue  # it ended while we looked
    return members


def sweep(group: int) -> None:
    """End what is left of the group: asked first, then killed, the resource tracker after the others."""
    for number, spare_tracker, wait_s in (
        (signal.SIGTERM, True, 2.0),
        (signal.SIGKILL, True, 2.0),
        (signal.SIGKILL, False, 1.0),
    ):
        for pid, command in group_members(group).items():
            if not (spare_tracker and TRACKER in command):
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    continue
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline:
            if not group_members(group):
                return
            time.sleep(0.05)


def end_leftovers(record: Path) -> None:
    """End the group of a minder that was killed. Its number is not given to others while anybody is in it."""
    group = int(record.read_text()) if record.exists() else 0
    if not group or Path(f"/proc/{group}").exists():
        return  # nothing before, or the number belongs to somebody else now
    if any(b"vllm" in command.lower() for command in group_members(group).values()):
        sweep(group)


def mind(record: Path, command: list[str]) -> int:
    """Run the command to its end. Returns its exit status, 128 + the signal's number when it was killed."""
    end_leftovers(record)
    if os.getpgrp() != os.getpid():
        os.setpgrp()
    record.write_text(f"{os.getpid()}\n")
    asked_at: list[float] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked_at.append(time.monotonic()))
    program = subprocess.Popen(command)
    passed_on = False
    while program.poll() is None and not (asked_at and time.monotonic() - asked_at[0] > GRACE_S):
        if asked_at and not passed_on:
            passed_on = True
            program.terminate()
        time.sleep(0.05)
    sweep(os.getpgrp())
    status = program.wait()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(mind(Path(sys.argv[1]), sys.argv[2:]))
