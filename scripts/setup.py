"""Set-up: the virtual environment with every package pinned, and the web page. Safe to repeat or interrupt.

    python3 scripts/setup.py              what `make up` needs
    python3 scripts/setup.py --dev        and what the checks and tests need
    python3 scripts/setup.py --browser    and Debian's Chromium for the browser tests (needs root)

Only the standard library: nothing else is there yet. A step whose inputs have not changed since it last ended
well is skipped: the hash of its inputs is kept beside what it made.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.console import Problem, Step, say
from scripts.web import build_page, install_modules

ROOT = Path(__file__).resolve().parent.parent
OLDEST, NEWEST = (3, 11), (3, 13)
"""vLLM needs 3.11; the wheels of the pinned Redis server end at 3.13."""
VENV = ROOT / ".venv"
TORCH_CPU = "torch==2.13.0+cpu"
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
NEEDED_GIB = 6
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def find_python(version: tuple[int, int], path: str | None = None) -> str:
    """This Python if Heed runs on it, else the newest fitting one on PATH. Raises Problem."""
    if OLDEST <= version <= NEWEST:
        return sys.executable
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        if found := shutil.which(f"python3.{minor}", path=path):
            return found
    have = ".".join(map(str, version))
    raise Problem(
        f"Python 3.{OLDEST[1]} to 3.{NEWEST[1]} is needed, this is {have}:"
        f" install one of them (Debian: `apt-get install python3.{OLDEST[1]} python3.{OLDEST[1]}-venv`)"
    )


def clean_environment() -> dict[str, str]:
    """The environment for pip: its own settings are kept, but nothing that would install elsewhere."""
    elsewhere = ("PYTHONHOME", "PYTHONPATH", "PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_REQUIREMENT")
    kept = {name: value for name, value in os.environ.items() if name not in elsewhere}
    return kept | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "PYTHONUNBUFFERED": "1"}


def make_venv(python: str) -> Path:
    """`.venv` with pip in it; kept when it works. Returns its Python."""
    inside = VENV / "bin" / "python"
    works = (
        subprocess.run([inside, "-m", "pip", "--version"], capture_output=True) if inside.exists() else None
    )
    if works is not None and works.returncode == 0:
        return inside
    with Step(f"Making {VENV.name} with {python}"):
        made = subprocess.run(
            [python, "-m", "venv", "--clear", str(VENV)],
            capture_output=True,
            text=True,
            env=clean_environment(),
        )
        if made.returncode != 0:
            shutil.rmtree(VENV, ignore_errors=True)
            why = made.stdout + made.stderr
            if "ensurepip" in why:
                package = Path(python).name + "-venv"
                raise Problem(f"{python} has no ensurepip: `apt-get install {package}`, then start again")
            raise Problem(f"{python} cannot make a virtual environment: {last_line(why)}")
    return inside


def last_line(text: str) -> str:
    """The line to show of a long output: pip's last error, else the last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["no output"])[-1]


def drop_half_installed(python: Path) -> None:
    """Forget packages whose installation was cut short: pip takes them as done, but INSTALLER comes last."""
    for record in (python.parent.parent / "lib").glob("python*/site-packages/*.dist-info"):
        if not (record / "INSTALLER").exists():
            shutil.rmtree(record)


class PipFailed(Exception):
    """`pip install` failed; the message is its last error."""


def pip_install(python: Path, title: str, arguments: list[str], of: int) -> None:
    """Run `pip install` and show how far it is. Raises PipFailed."""
    drop_half_installed(python)
    command = [str(python), "-m", "pip", "install", "--no-deps", "--progress-bar", "off", *arguments]
    seen = 0
    heard: list[str] = []
    with (
        Step(title) as step,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=clean_environment()
        ) as pip,
    ):
        assert pip.stdout is not None
        for line in pip.stdout:
            heard.append(line)
            if line.startswith(("Collecting ", "Requirement already satisfied: ")):
                seen += 1
                name = line.split(": ")[-1].removeprefix("Collecting ").split("=")[0].strip()
                step.at(f"{seen}/{of} {name}")
            elif line.startswith("Installing collected packages"):
                step.at("unpacking")
        if pip.wait() != 0:
            raise PipFailed(last_line("".join(heard)))


def install_torch(python: Path) -> None:
    """PyTorch's CPU build: from where pip looks anyway, else from PyTorch's own index."""
    try:
        pip_install(python, f"Installing {TORCH_CPU}", [TORCH_CPU], of=1)
    except PipFailed:
        pip_install(python, "  from PyTorch's own index", [TORCH_CPU, "--index-url", TORCH_INDEX], of=1)


def install_lock(python: Path, lock: Path) -> None:
    of = sum(1 for line in lock.read_text().splitlines() if "==" in line)
    pip_install(python, f"Installing {lock.name}", ["-r", str(lock)], of)


def has_gpu() -> bool:
    """An NVIDIA GPU that its driver answers for, on the platform that requirements-gpu.lock is made for."""
    if platform.machine() != "x86_64" or not shutil.which("nvidia-smi"):
        return False
    return subprocess.run(["nvidia-smi", "-L"], capture_output=True).returncode == 0


def fingerprint(*parts: str | Path) -> str:
    """One hash of texts and files' contents: changes when any of them does."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update((part.read_bytes() if isinstance(part, Path) else part.encode()) + b"\0")
    return digest.hexdigest()


def install_once(name: str, inputs: str, install: Callable[[], None]) -> None:
    """Run `install` unless the stamp says that these inputs are in place."""
    stamp = VENV / f"heed-{name}.stamp"
    if stamp.exists() and stamp.read_text() == inputs:
        return
    try:
        install()
    except PipFailed as failed:
        raise Problem(f"{failed} (set-up of {name}; the same command again continues from here)") from None
    stamp.write_text(inputs)


def install_packages(python: Path, gpu: bool, dev: bool) -> None:
    """The pinned packages for GPU or CPU, and those of the checks when `dev`."""
    lock = ROOT / ("requirements-gpu.lock" if gpu else "requirements.lock")
    free_gib = shutil.disk_usage(ROOT).free / 2**30
    stamp = VENV / "heed-packages.stamp"
    if not stamp.exists() and free_gib < NEEDED_GIB:
        raise Problem(f"{free_gib:.1f} GiB free in {ROOT}: {NEEDED_GIB} are needed, make room first")

    def packages() -> None:
        if not gpu:
            install_torch(python)
        install_lock(python, lock)

    install_once("packages", fingerprint(lock.name, TORCH_CPU, lock), packages)
    if dev:
        dev_lock = ROOT / "requirements-dev.lock"
        install_once("checks", fingerprint(dev_lock), lambda: install_lock(python, dev_lock))


def install_chromium() -> None:
    """Debian's Chromium for the browser tests; without root or apt a line says that they will be skipped."""
    if any(shutil.which(name) for name in CHROMIUM):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        say("No Chromium: the browser tests are skipped (`apt-get install chromium` brings it)")
        return
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    with Step("Installing Chromium for the browser tests"):
        for command in (["update"], ["install", "-y", "--no-install-recommends", "chromium"]):
            apt = subprocess.run(["apt-get", "-q", *command], capture_output=True, text=True, env=quiet)
    if apt.returncode != 0:
        say(f"No Chromium: the browser tests are skipped ({last_line(apt.stderr or apt.stdout)})")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dev", action="store_true", help="also what the checks and tests need")
    parser.add_argument("--browser", action="store_true", help="also Chromium for the browser tests")
    parser.add_argument(
        "--kind", choices=("auto", "cpu", "gpu"), default="auto", help="auto: as nvidia-smi says"
    )
    parser.add_argument("--no-web", action="store_true", help="leave the web page alone")
    arguments = parser.parse_args()
    python = find_python(sys.version_info[:2])
    if python != sys.executable:
        os.execv(python, [python, __file__, *sys.argv[1:]])
    try:
        inside = make_venv(python)
        gpu = has_gpu() if arguments.kind == "auto" else arguments.kind == "gpu"
        install_packages(inside, gpu, arguments.dev)
        if not arguments.no_web:
            build_page(inside)
            if arguments.dev:
                install_modules(inside)
        if arguments.browser:
            install_chromium()
    except KeyboardInterrupt:
        sys.exit("\nStopped. The same command again continues from here.")


if __name__ == "__main__":
    main()
