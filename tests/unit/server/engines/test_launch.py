"""The launcher: what vLLM is started on, and how."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from server.engines import launch
from store.policies import write_pointer
from tests.unit.server.engines.conftest import Site


def test_vllm_listens_on_a_socket_only() -> None:
    command = launch.command(Path("/p/v0002"), Path("/run/e.sock"), 2048, gpu=False)
    assert command[command.index("--uds") + 1] == "/run/e.sock"
    assert command[command.index("--model") + 1] == "/p/v0002"
    assert not {"--host", "--port"} & set(command)


def test_prompts_are_prefilled_whole_on_cpu_only() -> None:
    """vLLM 0.32 on CPU ends when a request with a seed is prefilled in chunks."""
    cpu = launch.command(Path("p"), Path("s"), 8000, gpu=False)
    gpu = launch.command(Path("p"), Path("s"), 8000, gpu=True)
    assert cpu[cpu.index("--max-num-batched-tokens") + 1] == "8000"
    assert {"--no-enable-chunked-prefill", "--enforce-eager"} <= set(cpu)
    assert not {"--no-enable-chunked-prefill", "--enforce-eager"} & set(gpu)


def test_threads_sleep_between_steps_unless_the_operator_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 6)
    mine = launch.environment(1, gpu=False)
    assert (mine["OMP_WAIT_POLICY"], mine["OMP_NUM_THREADS"]) == ("passive", "3")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    assert launch.environment(1, gpu=False)["OMP_WAIT_POLICY"] == "active"
    assert "OMP_NUM_THREADS" not in launch.environment(1, gpu=True)


@pytest.mark.anyio
async def test_a_damaged_version_is_not_loaded(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    for number in (1, 2, 3):
        await site.publish(number)
    write_pointer(site.home, "v0002")
    assert launch.sound_folder(site.home, "engine-1").name == "v0002"
    (site.home / "policies" / "v0002" / "model.safetensors").write_bytes(b"else")
    assert launch.sound_folder(site.home, "engine-1").name == "v0001"
    assert "engine-1 does not load v0002" in capsys.readouterr().err
    for number in (1, 3):
        (site.home / "policies" / f"v000{number}" / "manifest.json").unlink()
    with pytest.raises(SystemExit, match="restore v0002"):
        launch.sound_folder(site.home, "engine-1")


@pytest.mark.anyio
async def test_it_waits_for_the_first_version_and_says_so(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(launch, "WAIT_S", 0.02)
    await site.publish(1)

    def point_later() -> None:
        time.sleep(0.1)
        write_pointer(site.home, "v0001")

    thread = threading.Thread(target=point_later)
    thread.start()
    assert launch.sound_folder(site.home, "engine-1").name == "v0001"
    thread.join()
    assert "engine-1 waits: " in capsys.readouterr().err
