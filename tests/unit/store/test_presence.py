"""Who lives: a lock that the kernel lets go when its process is killed, and never before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from store.presence import Presence

LIVE = """
import sys
from pathlib import Path
from store.presence import Presence
presence = Presence(Path(sys.argv[1]))
with presence.here():
    print(presence.name, flush=True)
    sys.stdin.read()
"""


def test_a_server_is_gone_when_its_process_was_killed_and_not_before(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LIVE, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        name = other.stdout.readline().strip()
        presence = Presence(tmp_path)
        with presence.here():
            assert presence.name != name
            assert presence.gone() == []
            other.kill()
            other.wait()
            assert presence.gone() == [name]
            presence.forget(name)
            assert presence.gone() == []
    assert list((tmp_path / "servers").iterdir()) == [], "who ends in peace leaves nothing"


def test_servers_under_another_kernel_are_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "servers" / "0b7f.srv_1"
    other.parent.mkdir(parents=True)
    other.touch()  # its lock may be kept where this kernel does not see it
    assert Presence(tmp_path).gone() == []
