"""The base model becomes version 1: made once by the trainer, sealed, registered, activated. Safe to repeat.

python -m scripts.base      the step alone, for `docker compose`; `make up` does it by itself
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from scripts.console import Problem, Step, say
from store.artifacts import ArtifactError, check_weights, clean, seal, verify
from store.connection import connect
from store.policies import Policies, read_pointer, write_pointer
from store.records import PolicyVersion, now
from store.settings import StoreSettings

FIRST = "v0001"
BUNDLED = "SmolLM2-135M-Instruct"


def ensure_base(data: Path, redis_url: str, model: str) -> PolicyVersion:
    """The active version; made from `model` (empty: the bundled one) when there is none. Raises Problem."""
    policies = data / "policies"
    policies.mkdir(parents=True, exist_ok=True)
    clean(data)
    check_model(policies / FIRST, model)
    active = asyncio.run(_active(data, redis_url))
    if active is None:
        if later := [path.name for path in policies.glob("v*") if path.name != FIRST]:
            raise Problem(
                f"{policies} holds {max(later)}, which this Redis does not know:"
                " set HEED_REDIS_URL to the one used before, or HEED_DATA to a new folder"
            )
        if not (policies / FIRST).exists():
            _make(policies / FIRST, model)
        active = asyncio.run(_register(data, redis_url, policies / FIRST))
    if not (policies / active.folder / "manifest.json").exists():
        raise Problem(
            f"version {active.number} is active, but {policies / active.folder} is gone: restore it"
        )
    pointer = read_pointer(data)
    if pointer is None or pointer.name != active.folder:
        write_pointer(data, active.folder)
    return active


def check_model(folder: Path, model: str) -> None:
    """Refuse another HEED_MODEL than this data folder began with: all its versions descend from that one."""
    manifest = folder / "manifest.json"
    made_from = json.loads(manifest.read_text()).get("model") if manifest.exists() else None
    if model and made_from and made_from != model:
        raise Problem(
            f"HEED_MODEL: {folder.parent.parent} began with {made_from}:"
            " unset it, or set HEED_DATA to a new folder to begin with another model"
        )


def _make(folder: Path, model: str) -> None:
    """Write the base model's folder with the trainer and seal it."""
    name = model or BUNDLED
    aside = Path(tempfile.mkdtemp(prefix=".tmp-base-", dir=folder.parent))
    try:
        with Step(f"Making version 1 from {name}") as step:
            _run_trainer(step, aside / "policy", model)
            check_weights(aside / "policy")
            seal(aside / "policy", folder, {"version": 1, "model": name})
    except ArtifactError as error:
        raise Problem(f"HEED_MODEL: {error}") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _run_trainer(step: Step, out: Path, model: str) -> None:
    """`python -m trainer base`, its progress shown. Raises Problem with its last words."""
    command = [sys.executable, "-m", "trainer", "base", "--out", str(out)]
    command += ["--model", model] if model else []
    heard: list[str] = []
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as trainer,
    ):
        assert trainer.stdout is not None
        for line in trainer.stdout:
            event = json.loads(line)
            if event["event"] == "metric":
                step.at(f"{event['step']}/{event['of']}" if event.get("of") else f"{event['step']}")
            elif event["event"] == "log":
                step.at(event["text"])
            elif event["event"] == "error":
                heard.append(event["message"])
        if trainer.wait() != 0:
            errors.seek(0)
            heard = heard or errors.read().strip().splitlines() or ["it said nothing"]
            raise Problem(f"the base model could not be made: {heard[-1]}")


async def _active(data: Path, redis_url: str) -> PolicyVersion | None:
    async with connect(redis_url) as redis:
        return await Policies(redis, data).active()


async def _register(data: Path, redis_url: str, folder: Path) -> PolicyVersion:
    try:
        sha256 = verify(folder)["sha256"]
    except ArtifactError as error:
        raise Problem(f"version 1 is damaged ({error}): remove {folder} and start again") from None
    version = PolicyVersion(number=1, folder=folder.name, sha256=sha256, created_at=now())
    async with connect(redis_url) as redis:
        policies = Policies(redis, data)
        await policies.register(version)
        await policies.activate(1, "setup", "base model", expected=None)
    return version


def main() -> None:
    settings = StoreSettings()
    active = ensure_base(settings.data, settings.redis, os.environ.get("HEED_MODEL", ""))
    say(f"Version {active.number} is active")


if __name__ == "__main__":
    main()
