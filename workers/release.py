"""Step 9 of the loop: seal and register the candidate; make it a canary, or active and see it served."""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from store.artifacts import SAMPLES, ArtifactError, check_weights, seal, verify
from store.connection import StoreUnavailable
from store.policies import PointerMoved, write_pointer
from store.records import Canary, GateReport, PolicyVersion, Stage, now
from workers import canary
from workers.attempt import HeldBack, RunFailed, Trained, Work, end_stage, write_durably
from workers.lease import Cancelled, patiently
from workers.snapshot import Frozen

ACTOR = "release"
UNREACHED: tuple[Stage, ...] = ("ppo", "gate", "release")
POLL_S = 0.5

logger = logging.getLogger(__name__)


async def release(
    work: Work, frozen: Frozen, reward_model: Trained, candidate: Trained, report: GateReport
) -> int:
    """9. The version that came out: active and served everywhere, or held back (gate failed) as `rejected`.

    With a `canary_share` or a `canary_ramp` it is a canary first, which the votes decide later; or stays a
    candidate while another one runs; with one engine it is active at once. The stage's summary says which.

    Safe to repeat from any point. Raises RunFailed when the weights are unfit, the active version is not the
    parent any more, or the servers do not serve it in time (then the parent is active again).
    """
    await work.lease.confirm()
    await patiently(lambda: work.runs.set_stage(work.claim, "release", "running"))
    try:
        version = await _register(work, frozen, reward_model, candidate, report)
        said = await _into_service(work, version, frozen.parent) if report.passed else {}
    except Cancelled:
        await end_stage(work, "release", "skipped", {"cancelled": True})
        raise
    except RunFailed:
        await end_stage(work, "release", "failed")
        raise
    if report.passed:
        await end_stage(work, "release", "done", {"version": version.number} | said)
    else:
        held_back = {"version": version.number, "held_back": _failed_checks(report)}
        await end_stage(work, "release", "skipped", held_back)
    return version.number


async def hold_back_unless_passed(work: Work, reward_model: Trained) -> None:
    """Between steps 6 and 7: raises HeldBack with the reasons when the reward model failed its gate.

    Nothing is trained towards it and nothing released. Its votes stay new, and the next run, which learns
    from all votes again, waits for `min_votes` more: the same data would only fail again. Safe to repeat.
    """
    report = reward_model.gate
    if report is None or report.passed:
        return
    await work.lease.confirm()
    failed = _failed_checks(report)
    for stage in UNREACHED:
        await end_stage(work, stage, "skipped", {"held_back": failed} if stage == "release" else None)
    raise HeldBack(f"held back, the reward model failed its gate: {'; '.join(failed)}")


async def _register(
    work: Work, frozen: Frozen, reward_model: Trained, candidate: Trained, report: GateReport
) -> PolicyVersion:
    """Seal both folders under the run's number, look at the weights, enter the version: each of it once."""
    run_id = work.claim.run_id
    number = await patiently(lambda: work.policies.number_for_run(run_id))
    if known := await patiently(lambda: work.policies.get(number)):
        return known  # as an earlier attempt, the servers or an admin left it
    parent = await patiently(lambda: work.policies.get(frozen.parent))
    assert parent is not None
    name = f"v{number:04d}"
    target = work.settings.data / "policies" / name
    manifest = {
        "version": number,
        "parent": frozen.parent,
        "run_id": run_id,
        "token": work.claim.token,
        "snapshot": frozen.snapshot.sha256,
        "created_at": now().isoformat(),
    }
    await work.lease.confirm()
    await asyncio.to_thread(_add_samples, work, candidate.folder)
    try:
        await asyncio.to_thread(
            seal, reward_model.folder, work.settings.data / "reward_models" / name, manifest
        )
        digest = await asyncio.to_thread(seal, candidate.folder, target, manifest)
    except ArtifactError as error:
        raise RunFailed(f"version {number} could not be sealed: {error}") from None
    unfit = await asyncio.to_thread(_unfit, target, work.policies.folder(parent))
    reason = unfit or (None if report.passed else "held back: " + "; ".join(_failed_checks(report)))
    version = PolicyVersion(
        number=number,
        parent=frozen.parent,
        run_id=run_id,
        reward_model=number,
        folder=name,
        sha256=digest,
        state="rejected" if reason else "candidate",
        reason=reason,
        report=report,
        metrics=_numbers(candidate.report),
        created_at=now(),
    )
    await work.lease.confirm()
    await patiently(lambda: work.policies.register(version))
    if unfit:
        raise RunFailed(f"version {number} is rejected: {unfit}")
    return version


def _add_samples(work: Work, folder: Path) -> None:
    """The gate's answers to the fixed prompts become part of the version; damaged weights have none."""
    for attempt in work.attempts():
        samples = attempt / "gate" / SAMPLES
        if samples.exists():
            write_durably(folder / SAMPLES, samples.read_text(encoding="utf-8"))
            return


def _unfit(folder: Path, parent: Path) -> str | None:
    """Why an engine must not load the folder, or None."""
    try:
        verify(folder)
        check_weights(folder, like=parent)
    except ArtifactError as error:
        return str(error)
    return None


async def _into_service(work: Work, version: PolicyVersion, parent: int) -> dict[str, Any]:
    """On trial or active, as the settings and the engines allow; what the run says of it."""
    share = canary.first_share(work.settings.release)
    if version.state == "canary":  # an earlier attempt died after it had begun
        return {"canary_share": share}
    passed, said = f"run {work.claim.run_id} passed the gate", {}
    if share > 0 and version.state == "candidate":
        tried = await _try(work, version, parent, passed)
        if isinstance(tried, Canary) and tried.number == version.number:
            return {"canary_share": tried.share}
        if isinstance(tried, Canary):
            stays = f"a person decides: it passed the gate while v{tried.number} was a canary"
            await patiently(lambda: work.policies.set_state(version.number, "candidate", stays))
            return {"stays_candidate": stays}
        said = {"released_at_once": tried}
        version = await patiently(lambda: _as_it_is(work, version))
    await _activate(work, version, parent, "; ".join([passed, *said.values()]))
    await _see_it_served(work, version, parent)
    return said


async def _as_it_is(work: Work, version: PolicyVersion) -> PolicyVersion:
    return await work.policies.get(version.number) or version


async def _try(work: Work, version: PolicyVersion, parent: int, reason: str) -> Canary | str:
    """The canary that runs now, this or another one, or why none can."""
    await work.lease.confirm()
    active = await patiently(work.policies.active)
    if active is None or active.number != parent:
        await _overtaken(work, version, parent)
    return await patiently(lambda: canary.begin(work.policies, version, work.settings.release, reason))


async def _overtaken(work: Work, version: PolicyVersion, parent: int) -> NoReturn:
    """The gate compared with a version that is not active any more: the candidate stays out."""
    said = f"the active version is not v{parent} any more, which the gate compared with; start a new run"
    await patiently(lambda: work.policies.set_state(version.number, "rejected", said))
    raise RunFailed(f"version {version.number} is not released: {said}")


async def _activate(work: Work, version: PolicyVersion, parent: int, reason: str) -> None:
    """Move the pointer from the parent to the version, once in the version's life."""
    if version.state not in ("candidate", "active"):
        raise RunFailed(f"version {version.number} is {version.state}: {version.reason}")
    await work.lease.confirm()
    active = await patiently(work.policies.active)
    if active is not None and active.number == version.number:
        # An earlier try may have died between Redis and the file that a starting engine reads.
        await asyncio.to_thread(write_pointer, work.settings.data, version.folder)
        return
    try:
        await patiently(lambda: work.policies.activate(version.number, ACTOR, reason, expected=parent))
    except PointerMoved:
        active = await patiently(work.policies.active)
        if active is not None and active.number == version.number:
            return  # done by a first try whose answer was lost
        await _overtaken(work, version, parent)


async def _see_it_served(work: Work, version: PolicyVersion, parent: int) -> None:
    """Wait until every server gives the version to new answers; else the parent becomes active again."""
    waited_s, serving = 0.0, dict[str, int]()
    while True:
        try:
            work.lease.check()
            active = await work.policies.active()
            serving = await work.policies.serving()
            if active is None or active.number != version.number:
                now_ = await work.policies.get(version.number)
                raise RunFailed(f"version {version.number} was taken back: {now_ and now_.reason}")
            if serving and all(number == version.number for number in serving.values()):
                return
            waited_s += POLL_S
        except StoreUnavailable as error:  # the clock stands: servers cannot report either
            logger.warning("waiting for Redis: %s", error)
        except Cancelled:
            await _take_back(work, version, parent, "the run was cancelled")
            raise
        if waited_s > work.settings.release.serve_timeout_s:
            reason = _not_served(version.number, serving, work.settings.release.serve_timeout_s)
            await _take_back(work, version, parent, reason)
            raise RunFailed(f"version {version.number} was taken back: {reason}")
        await asyncio.sleep(POLL_S)


async def _take_back(work: Work, version: PolicyVersion, parent: int, reason: str) -> None:
    with suppress(PointerMoved):  # somebody else took it back already
        await patiently(
            lambda: work.policies.activate(
                parent, ACTOR, reason, expected=version.number, left_as="rolled_back"
            )
        )


def _not_served(number: int, serving: dict[str, int], timeout_s: float) -> str:
    if not serving:
        return f"no server was there to serve v{number} within {timeout_s:g} s: start one and train again"
    behind = ", ".join(f"{server} serves v{at}" for server, at in sorted(serving.items()) if at != number)
    return f"not every server served v{number} within {timeout_s:g} s ({behind})"


def _failed_checks(report: GateReport) -> list[str]:
    return [f"{check.name}: {check.reason}" for check in report.checks if not check.passed]


def _numbers(report: dict[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in report.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }
