"""The launcher: refusals with their remedy, supervisord's configuration, version 1, nobody left behind."""

from __future__ import annotations

import configparser
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import redis

from scripts import base, preflight, supervise, up
from scripts.console import Problem, Step
from scripts.health import answers
from scripts.minder import group_members
from store.artifacts import seal

MINDER = Path(supervise.MINDER)


def place(data: Path, **changes: Any) -> preflight.Where:
    where = preflight.Where(
        data=data,
        run=data / "run",
        host="127.0.0.1",
        port=8080,
        config=data / "heed.toml",
        redis_url="",
        engines=(),
        engine_count=2,
        model="",
    )
    return where._replace(**changes)


def conf_of(where: preflight.Where) -> configparser.RawConfigParser:
    sockets = [where.run / "engine-1.sock", where.run / "engine-2.sock"]
    parser = configparser.RawConfigParser()
    parser.read_file(io.StringIO(supervise.configuration(where, supervise.programs(where, sockets))))
    return parser


def until_gone(group: int, within_s: float = 10) -> bool:
    deadline = time.monotonic() + within_s
    while group_members(group) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not group_members(group)


def test_a_taken_port_is_named_with_another_to_try() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(Problem, match=f"port {port} is taken.*HEED_PORT={port + 1} make up"):
            preflight.check_port("127.0.0.1", port)
    preflight.check_port("127.0.0.1", port)


def test_a_foreign_host_is_refused_by_name() -> None:
    with pytest.raises(Problem, match=r"HEED_HOST"):
        preflight.check_port("no-such-host.invalid", 8080)


def test_one_data_folder_takes_one_heed(volume: Path) -> None:
    held = preflight.lock(place(volume))
    try:
        with pytest.raises(Problem, match=rf"process {os.getpid()}\): stop it"):
            preflight.lock(place(volume))
    finally:
        os.close(held)
    os.close(preflight.lock(place(volume)))


def test_too_little_memory_or_disk_is_said(volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    preflight.check_machine(place(volume), memory_gib=8)
    with pytest.raises(Problem, match=r"2\.0 GiB of memory available, 6 are needed"):
        preflight.check_machine(place(volume), memory_gib=2)
    monkeypatch.setattr(preflight, "NEEDED_GIB", 1e9)
    with pytest.raises(Problem, match=r"GiB free in .*HEED_DATA"):
        preflight.check_machine(place(volume), memory_gib=1e9)


@pytest.mark.parametrize(
    ("asked", "gib", "count"), [("", 16.0, 2), ("", 11.9, 1), ("1", 64.0, 1), ("3", 8.0, 3)]
)
def test_memory_decides_between_one_engine_and_two(asked: str, gib: float, count: int) -> None:
    assert preflight.engine_count(asked, gib) == count


@pytest.mark.parametrize("asked", ["0", "two", "-1", "99"])
def test_an_impossible_engine_count_is_refused(asked: str) -> None:
    with pytest.raises(Problem, match="HEED_ENGINE_COUNT"):
        preflight.engine_count(asked, 16)


def test_environment_variables_are_checked_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEED_PORT", "eighty")
    with pytest.raises(Problem, match="HEED_PORT"):
        preflight.read_environment({}, 16)


def test_sockets_move_to_a_short_folder_when_the_path_is_long(tmp_path: Path) -> None:
    assert preflight.run_folder(Path("/data")) == Path("/data/run")
    short = preflight.run_folder(tmp_path / ("x" * 100))
    assert len(bytes(short / "supervisord.sock.4194304")) < 107
    assert short != preflight.run_folder(tmp_path / ("y" * 100))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[pppo]\n", "pppo"),
        ("[engine]\nmax_len = 1\n", "max_len"),
        ("[schedule]\nmin_vote = 1\n", "min_vote"),
        ("[ppo]\nkl = 1\n", "kl"),
        ("[ppo", "heed.toml"),
    ],
)
def test_an_unknown_key_is_refused_before_anything_starts(
    text: str, named: str, volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = place(volume)
    where.config.write_text(text)
    monkeypatch.setenv("HEED_CONFIG", str(where.config))
    with pytest.raises(Problem, match=named):
        preflight.check_config(where)


def test_a_redis_that_is_away_is_named_without_its_password() -> None:
    with pytest.raises(Problem, match=r"redis://localhost:1/0: start it") as refusal:
        preflight.check_redis("redis://:secret@localhost:1/0")
    assert "secret" not in str(refusal.value)


def test_a_redis_that_evicts_is_refused(redis_url: str) -> None:
    preflight.check_redis(redis_url)
    with redis.Redis.from_url(redis_url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            with pytest.raises(Problem, match="maxmemory-policy allkeys-lru"):
                preflight.check_redis(redis_url)
        finally:
            client.config_set("maxmemory-policy", "noeviction")


def test_redis_is_stopped_last(volume: Path) -> None:
    conf = conf_of(place(volume))
    order = {name: conf.getint(f"group:{name}", "priority") for name in ("store", "engines", "heed")}
    assert sorted(order, key=lambda name: -order[name]) == ["heed", "engines", "store"]
    assert conf.get("group:store", "programs") == "redis"
    assert conf.get("group:heed", "programs") == "server,worker-train,worker-control,beat"


def test_the_launcher_decides_what_starts_and_supervisord_restarts_it(volume: Path) -> None:
    conf = conf_of(place(volume))
    for section in (name for name in conf.sections() if name.startswith("program:")):
        assert conf.get(section, "autostart") == "false"
        assert conf.get(section, "autorestart") == "true"
        assert conf.get(section, "stdout_logfile").startswith(str(volume / "logs"))


def test_a_redis_of_the_persons_own_is_not_started_again(volume: Path) -> None:
    assert not conf_of(place(volume, redis_url="redis://localhost:6379/0")).has_section("program:redis")


def test_a_percent_sign_in_a_path_survives_supervisords_expansion(volume: Path) -> None:
    odd = volume / "50%(off)s"
    assert conf_of(place(odd)).get("program:server", "stdout_logfile") == str(
        odd / "logs/server.log"
    ).replace("%", "%%")


def test_children_are_told_where_everything_is(volume: Path) -> None:
    where = place(volume, engine_count=1)
    told = up.child_environment({"HF_HUB_OFFLINE": "0"}, where)
    assert told["HEED_REDIS_URL"] == f"unix://{volume}/run/redis.sock?db=0"
    assert told["HEED_ENGINES"] == f"unix://{volume}/run/engine-1.sock"
    assert told["REMAP_SIGTERM"] == "SIGQUIT"
    assert told["HF_HUB_OFFLINE"] == "0", "what the person sets wins"


def test_a_predecessor_is_known_by_more_than_its_number(tmp_path: Path) -> None:
    pidfile = tmp_path / "supervisord.pid"
    assert not up.is_alive(pidfile)
    pidfile.write_text(str(os.getpid()))
    assert not up.is_alive(pidfile), "a process with a reused number is not supervisord"


@pytest.mark.parametrize(
    ("host", "url"),
    [("0.0.0.0", "http://127.0.0.1:8080"), ("::1", "http://[::1]:8080"), ("box", "http://box:8080")],
)
def test_the_printed_address_opens_on_this_machine(host: str, url: str, volume: Path) -> None:
    assert place(volume, host=host).url == url


def test_version_1_is_registered_once_and_its_pointer_is_healed(volume: Path, redis_url: str) -> None:
    source = volume / "source"
    source.mkdir()
    (source / "config.json").write_text("{}")
    folder = volume / "policies" / base.FIRST
    seal(source, folder, {"version": 1, "model": base.BUNDLED})
    assert base.ensure_base(volume, redis_url, "").number == 1
    pointer = volume / "policies" / "ACTIVE"
    pointer.unlink()
    assert base.ensure_base(volume, redis_url, "").number == 1
    assert pointer.read_text().strip() == base.FIRST
    with pytest.raises(Problem, match=f"began with {base.BUNDLED}"):
        base.ensure_base(volume, redis_url, "another/model")


def test_versions_that_this_redis_does_not_know_are_not_overwritten(volume: Path, redis_url: str) -> None:
    (volume / "policies" / "v0007").mkdir(parents=True)
    with pytest.raises(Problem, match=r"v0007.*HEED_REDIS_URL"):
        base.ensure_base(volume, redis_url, "")


def test_a_health_check_hears_unix_sockets_and_silence(tmp_path: Path) -> None:
    assert not answers(f"unix://{tmp_path}/none.sock", "/health")
    assert not answers("http://127.0.0.1:1", "/health")


def test_what_a_killed_program_leaves_is_ended(tmp_path: Path) -> None:
    command = ["sh", "-c", "sleep 100 & sleep 100"]
    minder = subprocess.Popen([sys.executable, str(MINDER), str(tmp_path / "record"), *command])
    while len(group_members(minder.pid)) < 4:
        time.sleep(0.02)
    shell = min(group_members(minder.pid).keys() - {minder.pid})
    os.kill(shell, signal.SIGKILL)
    assert minder.wait(timeout=10) == 128 + signal.SIGKILL
    assert until_gone(minder.pid)


def test_sigterm_is_passed_on_and_the_exit_status_kept(tmp_path: Path) -> None:
    script = "trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done"
    command = [sys.executable, str(MINDER), str(tmp_path / "record"), "sh", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as minder:
        assert minder.stdout is not None
        minder.stdout.readline()
        minder.terminate()
        assert minder.wait(timeout=10) == 7


def test_the_next_minder_ends_what_a_killed_one_left(tmp_path: Path) -> None:
    command = [sys.executable, str(MINDER), str(tmp_path / "record")]
    minder = subprocess.Popen([*command, "bash", "-c", "exec -a vllm-engine sleep 100"])
    while not any(line.startswith(b"vllm-engine") for line in group_members(minder.pid).values()):
        time.sleep(0.02)
    minder.kill()
    minder.wait()
    assert group_members(minder.pid)
    subprocess.run([*command, "true"], check=True)
    assert until_gone(minder.pid)


def test_a_log_is_not_flooded_by_a_moving_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Step("Loading") as step:
        for _ in range(100):
            step.at("")
    assert capsys.readouterr().out.splitlines() == ["Loading ...", "Loading ... done in 0 s"]


def test_the_trainers_last_words_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = json.dumps({"event": "error", "message": "HEED_MODEL: no such model"})
    (tmp_path / "trainer.py").write_text(f"print({line!r}); raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Problem, match="no such model"), Step("Making") as step:
        base._run_trainer(step, tmp_path / "out", "")
