"""Which servers of this machine live: each holds the lock of a file, and the kernel lets go when it dies."""

from __future__ import annotations

import fcntl
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from store.records import new_id


class Presence:
    """One server, as what it holds in Redis names it: no two processes ever have the same name.

    Only servers under the same running kernel are judged: there a lock is free when its process is gone, for
    certain, in another container too. What a shared folder says of another machine's locks is not asked.
    """

    def __init__(self, data: Path) -> None:
        self._folder = data / "servers"
        self._machine = _machine()
        self.name = f"{self._machine}.{new_id('srv')}"

    @contextmanager
    def here(self) -> Iterator[None]:
        """This server lives while the body runs."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        hidden, place = self._folder / f".{self.name}", self._folder / self.name
        with open(hidden, "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            hidden.rename(place)  # nobody sees it without its lock
            try:
                yield
            finally:
                place.unlink(missing_ok=True)

    def gone(self) -> list[str]:
        """Names of the servers that died without a farewell."""
        return [path.name for path in self._folder.glob(f"{self._machine}.*") if _is_free(path)]

    def forget(self, name: str) -> None:
        """Nothing of this dead server is left."""
        (self._folder / name).unlink(missing_ok=True)


def _is_free(path: Path) -> bool:
    try:
        with open(path) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # somebody lives, or another server has just removed it
        return False
    return True


def _machine() -> str:
    """The kernel that runs now, in one word; another one after each start of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()
