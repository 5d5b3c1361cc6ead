"""Does it answer? One GET over TCP or a Unix socket; also the health check of the containers.

python -m scripts.health unix:///data/run/engine-1.sock /health
"""

from __future__ import annotations

import http.client
import socket
import sys
from pathlib import Path


class UnixConnection(http.client.HTTPConnection):
    """HTTP over the Unix socket at `path`."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def answers(address: str, path: str, timeout_s: float = 2) -> bool:
    """True when GET `path` gives 200 at `unix:///path/to.sock` or `http://host:port`."""
    kind, _, place = address.partition("://")
    if kind == "unix":
        connection: http.client.HTTPConnection = UnixConnection(Path(place), timeout_s)
    else:
        connection = http.client.HTTPConnection(place, timeout=timeout_s)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if answers(sys.argv[1], sys.argv[2]) else 1)
