"""Back to the version that was active before: preflight, the move, and waiting until it is served.

python -m scripts.rollback "it swears"            HEED_DATA and HEED_REDIS_URL say which installation
python -m scripts.rollback "it swears" --check    only the preflight
"""

from __future__ import annotations

import argparse
import asyncio
import getpass
import socket
import time

from scripts.console import Problem, say
from store.artifacts import ArtifactError, check_weights, verify
from store.connection import StoreUnavailable, connect
from store.policies import NothingToRollBackTo, PointerMoved, Policies
from store.records import PolicyVersion
from store.settings import StoreSettings

PATIENCE_S = 120.0


async def roll_back(policies: Policies, reason: str, *, check_only: bool = False) -> float | None:
    """Seconds from the move until every server gives the version to new answers; None for a check only.

    Raises Problem where there is nothing to go back to, its files are not sound, or nobody serves it in time.
    """
    active, target = await policies.active(), await policies.previous()
    if active is None or target is None:
        raise Problem("no version was active before this one: there is nothing to go back to")
    warm = await _preflight(policies, active, target)
    held = f"held by {warm}" if warm else "to be loaded"
    say(f"v{target.number} is sound, {held}; v{active.number} is active")
    if check_only:
        return None
    began = time.monotonic()
    actor = f"{getpass.getuser()}@{socket.gethostname()}"
    try:
        await policies.rollback(actor, reason)
    except (PointerMoved, NothingToRollBackTo) as error:
        raise Problem(f"somebody moved versions at the same moment: {error}") from None
    while time.monotonic() - began < PATIENCE_S:
        serving = await policies.serving()
        if serving and all(number == target.number for number in serving.values()):
            return time.monotonic() - began
        await asyncio.sleep(0.05)
    raise Problem(
        f"v{target.number} is active, but after {PATIENCE_S:.0f} s not every server gives it"
        f" ({await policies.serving() or 'none is there'}): look at /system"
    )


async def _preflight(policies: Policies, active: PolicyVersion, target: PolicyVersion) -> str:
    """The engines that hold the version already. Raises Problem when its files are not sound."""
    folder = policies.folder(target)
    try:
        await asyncio.to_thread(verify, folder)
        await asyncio.to_thread(check_weights, folder, like=policies.folder(active))
    except ArtifactError as error:
        raise Problem(f"v{target.number} could not serve: {error}. v{active.number} stays active") from None
    engines = await policies.engines()
    ready = [one.name for one in engines if one.state == "ready" and one.version == target.number]
    return ", ".join(ready)


async def _run(reason: str, check_only: bool) -> None:
    settings = StoreSettings()
    redis = connect(settings.redis)
    try:
        took = await roll_back(Policies(redis, settings.data), reason, check_only=check_only)
    except StoreUnavailable as error:
        raise Problem(f"Redis cannot be reached: {error}; is Heed running on {settings.data}?") from None
    finally:
        await redis.aclose()
    if took is not None:
        say(f"rolled back: every server gives it to new answers, after {took:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("reason", help="why; it stands in the audit log")
    parser.add_argument("--check", action="store_true", help="only the preflight")
    arguments = parser.parse_args()
    if not arguments.reason.strip():
        raise Problem("say why: the reason stands in the audit log")
    asyncio.run(_run(arguments.reason.strip(), arguments.check))


if __name__ == "__main__":
    main()
