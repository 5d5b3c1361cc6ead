"""The policy registry: numbered versions, the one pointer to the active one, and who serves what."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from store import keys, policy_scripts
from store.artifacts import sync_folder
from store.connection import Redis, available
from store.decisions import CanaryOutcome, canary_ended, decided, moved
from store.locks import LockHeld, hold
from store.ramp import on_a_ramp
from store.records import Activation, Canary, EngineStatus, PolicyState, PolicyVersion, now
from store.streams import FEED_LENGTH

REPORT_TTL_S = 15

__all__ = [
    "CanaryOutcome",
    "CanaryRefused",
    "LockHeld",
    "NothingToRollBackTo",
    "PointerMoved",
    "Policies",
    "VersionExists",
    "read_pointer",
    "write_pointer",
]


class NothingToRollBackTo(Exception):
    """No version was active before this one."""


class PointerMoved(Exception):
    """The active version is not the expected one: somebody else activated or rolled back meanwhile."""


class VersionExists(Exception):
    """The number belongs to another version already."""


class CanaryRefused(Exception):
    """No canary can begin, change or end like this; `remedy` says what to do instead."""

    def __init__(self, detail: str, remedy: str) -> None:
        super().__init__(detail)
        self.remedy = remedy


class Policies:
    """Reads and writes the registry. Raises StoreUnavailable when Redis is away."""

    def __init__(self, redis: Redis, volume: Path) -> None:
        self._redis = redis
        self._volume = volume
        self._told: list[tuple[object, ...]] = []
        """Engines as this server's feed events showed them last."""
        self._register = redis.register_script(policy_scripts.REGISTER)
        self._number = redis.register_script(policy_scripts.NUMBER)
        self._set_state = redis.register_script(policy_scripts.SET_STATE)
        self._activate = redis.register_script(policy_scripts.ACTIVATE)
        self._canary = redis.register_script(policy_scripts.CANARY)

    def folder(self, version: PolicyVersion) -> Path:
        """Where the version's weights are."""
        return self._volume / "policies" / version.folder

    async def number_for_run(self, run_id: str) -> int:
        """The version number of this run: the same at every call."""
        with available():
            return int(await self._number(keys=[keys.POLICY_NUMBERS, keys.POLICY_COUNTER], args=[run_id]))

    async def register(self, version: PolicyVersion) -> None:
        """Enter a sealed version; again with the same digest is no change, whatever became of it.

        One that is rejected already was held back: the audit log says so. Raises VersionExists when the
        number has other weights that were active or rejected.
        """
        held_back = decided("heed", "held_back", version.number, reason=version.reason)
        with available():
            verdict = await self._register(
                keys=[keys.POLICIES, keys.POLICY_COUNTER, keys.FEED, keys.AUDIT],
                args=[
                    *(version.number, version.model_dump_json(), version.sha256),
                    held_back if version.state == "rejected" else "",
                ],
            )
        if verdict == "exists":
            raise VersionExists(f"version {version.number} is registered with other weights")

    async def get(self, number: int) -> PolicyVersion | None:
        with available():
            text = await self._redis.hget(keys.POLICIES, str(number))
        return PolicyVersion.model_validate_json(text) if text else None

    async def versions(self) -> list[PolicyVersion]:
        """Newest first."""
        with available():
            texts = await self._redis.hvals(keys.POLICIES)
        return sorted(map(PolicyVersion.model_validate_json, texts), key=lambda version: -version.number)

    async def active(self) -> PolicyVersion | None:
        """The version that should answer (what does answer is `serving`)."""
        with available():
            number = await self._redis.get(keys.POLICY_ACTIVE)
        return await self.get(int(number)) if number else None

    async def timeline(self, limit: int = 200) -> list[Activation]:
        """What was active when, and why; newest first."""
        with available():
            texts = await self._redis.lrange(keys.POLICY_TIMELINE, 0, limit - 1)
        return [Activation.model_validate_json(text) for text in texts]

    async def previous(self) -> PolicyVersion | None:
        """The version that a rollback returns to: the last one that was active and was not taken back."""
        good = {version.number: version for version in await self.versions() if version.state == "retired"}
        for activation in await self.timeline():
            if activation.number in good:
                return good[activation.number]
        return None

    async def set_state(self, number: int, state: PolicyState, reason: str | None = None) -> None:
        """Change a version's state; feed and audit log say so. Raises KeyError for an unknown number."""
        act = "held_back" if state == "rejected" else "state_changed"
        event = decided("heed", act, number, state=state, reason=reason)
        while True:
            text, version = await self._known(number)
            args = [event, *_replacement(text, version, state, reason)]
            with available():
                script_keys = [keys.POLICIES, keys.FEED, keys.POLICY_CANARY, keys.AUDIT]
                if await self._set_state(keys=script_keys, args=args) == "ok":
                    return

    async def activate(
        self,
        number: int,
        actor: str,
        reason: str,
        *,
        expected: int | None,
        left_as: PolicyState = "retired",
        request_id: str | None = None,
    ) -> Activation:
        """Move the pointer from `expected` to `number`; the version that was active becomes `left_as`.

        First in Redis, which decides, then the file `policies/ACTIVE`, which an engine reads when it starts.
        A canary ends with it, as it is compared with the active version: promoted when it is `number`, else
        stopped. The audit log has it in the same step, as `promote`, or as `rollback` when the version that
        leaves is not `retired`; of a promoted canary it has the canary's end, of the first version nothing.

        Raises PointerMoved when the active version is not `expected`, KeyError for an unknown one.
        """
        if number == expected:
            raise PointerMoved(f"v{number} is active already")
        verdict = "changed"
        while verdict == "changed":
            activation = Activation(number=number, previous=expected, actor=actor, reason=reason, at=now())
            text, entering = await self._known(number)
            args = _replacement(text, entering, "active", None)
            if expected is not None:
                args += _replacement(*await self._known(expected), left_as, reason)
            canary, ended = await self.canary(), ""
            told = "" if expected is None else moved(activation, left_as, request_id)
            if canary is not None:
                outcome: CanaryOutcome = "promoted" if canary.number == number else "stopped"
                ended = canary_ended(canary, outcome, actor, reason)
                told = "" if outcome == "promoted" else told
                if outcome == "stopped":
                    text, tried = await self._known(canary.number)
                    args += _replacement(text, tried, canary.before, reason)
            head = ["" if expected is None else expected, activation.model_dump_json()]
            head += [canary.model_dump_json() if canary else "", ended, told]
            with available():
                verdict = await self._activate(
                    keys=[
                        *(keys.POLICIES, keys.FEED, keys.POLICY_ACTIVE),
                        *(keys.POLICY_TIMELINE, keys.POLICY_CANARY, keys.AUDIT),
                    ],
                    args=[*head, *args],
                )
        if verdict == "moved":
            raise PointerMoved(
                f"the active version is not {f'v{expected}' if expected else 'unset'} any more"
            )
        await self._point(entering)
        return activation

    async def rollback(self, actor: str, reason: str, *, request_id: str | None = None) -> Activation:
        """Back to the version that was active before. Raises NothingToRollBackTo."""
        active, target = await self.active(), await self.previous()
        if active is None or target is None:
            raise NothingToRollBackTo("no version was active before this one")
        return await self.activate(
            target.number,
            actor,
            reason,
            expected=active.number,
            left_as="rolled_back",
            request_id=request_id,
        )

    async def canary(self) -> Canary | None:
        """The version that is compared with the active one on a share of the answers now."""
        with available():
            text = await self._redis.get(keys.POLICY_CANARY)
        return Canary.model_validate_json(text) if text else None

    async def start_canary(
        self,
        number: int,
        share: float,
        actor: str,
        reason: str,
        *,
        ramp: tuple[float, ...] = (),
        every: int = 0,
    ) -> Canary:
        """Give `share` (0 to 1) of duels and turns to this version beside the active one.

        `ramp`: shares that follow, each after `every` more decisive votes. Raises CanaryRefused when one
        runs, the version cannot be tried, or there are not two engines: each of the two versions needs one.
        KeyError for an unknown number.
        """
        usable = [engine for engine in await self.engines() if engine.state != "down" and not engine.draining]
        if len(usable) < 2:
            detail = f"a canary needs two engines that run, and there {_are(len(usable))}"
            remedy = "start another engine or let one join, or activate the version without a canary"
            raise CanaryRefused(detail, remedy)
        while True:
            text, version = await self._known(number)
            if version.state not in ("candidate", "retired", "rolled_back"):
                detail = f"v{number} is {version.state}" + (f": {version.reason}" if version.reason else "")
                raise CanaryRefused(detail, "choose a version that is a candidate, retired or rolled back")
            canary = Canary(
                number=number,
                share=share,
                started_at=now(),
                actor=actor,
                reason=reason,
                before=version.state,
            )
            canary = on_a_ramp(canary, (share, *ramp), every)
            event = decided(actor, "canary_start", number, share=share, reason=reason, ramp=list(ramp))
            args = _replacement(text, version, "canary", reason)
            if await self._change_canary("", canary.model_dump_json(), event, args):
                return canary

    async def change_canary_share(self, share: float, actor: str, reason: str) -> Canary:
        """More or less of the answers for the canary; its ramp ends. Raises CanaryRefused when none runs."""
        changed = {"share": share, "ramp": (), "next_at": None}
        return await self._share(changed, actor, reason, None)

    async def ramp_canary(self, judged: Canary, stepped: Canary, actor: str, reason: str) -> Canary:
        """The next share of the ramp. Raises CanaryRefused when the canary is not as it was `judged`."""
        changed = stepped.model_dump(include={"share", "ramp", "next_at"})
        return await self._share(changed, actor, reason, judged)

    async def _share(
        self, changed: dict[str, object], actor: str, reason: str, judged: Canary | None
    ) -> Canary:
        while True:
            before = await self._running_canary()
            if judged is not None and before != judged:
                raise CanaryRefused("the canary has changed meanwhile", "look at the versions again")
            text, version = await self._known(before.number)
            after = Canary.model_validate(before.model_dump() | changed)
            event = decided(actor, "canary_share", before.number, share=after.share, reason=reason)
            args = _replacement(text, version, "canary", version.reason)
            if await self._change_canary(before.model_dump_json(), after.model_dump_json(), event, args):
                return after

    async def end_canary(
        self, outcome: CanaryOutcome, actor: str, reason: str, *, judged: Canary | None = None
    ) -> None:
        """Promoted: it becomes active. Stopped: it is what it was before. Else the outcome is its state.

        Raises CanaryRefused when none runs, or another than the one that was `judged`; PointerMoved when the
        active version changed meanwhile.
        """
        while True:
            canary = await self._running_canary()
            if judged and (judged.number, judged.started_at) != (canary.number, canary.started_at):
                raise CanaryRefused(f"the canary is v{canary.number} by now", "look at the versions again")
            if outcome == "promoted":
                active = await self.active()
                expected = active.number if active else None
                await self.activate(canary.number, actor, reason, expected=expected)
                return
            text, version = await self._known(canary.number)
            state = canary.before if outcome == "stopped" else outcome
            args = _replacement(text, version, state, reason)
            event = canary_ended(canary, outcome, actor, reason)
            if await self._change_canary(canary.model_dump_json(), "", event, args):
                return

    async def report_serving(self, server_id: str, number: int) -> None:
        """Say which version this server gives to new answers; repeat within 15 s."""
        await self._report(keys.serving(server_id), server_id, str(number))

    async def serving(self) -> dict[str, int]:
        """Server id -> version that it gives to new answers."""
        return {server: int(number) for server, number in (await self._reports(keys.serving)).items()}

    async def report_engines(self, server_id: str, statuses: list[EngineStatus]) -> None:
        """Say how the engines are; repeat within 15 s. The feed hears when more changed than who is busy."""
        rows = [status.model_dump(mode="json") for status in statuses]
        await self._report(keys.engines(server_id), server_id, json.dumps(rows))
        told: list[tuple[object, ...]] = [
            (status.name, status.state, status.version, status.error) for status in statuses
        ]
        if told != self._told:
            with available():
                event = {"event": "engines", "data": json.dumps({"engines": rows})}
                await self._redis.xadd(keys.FEED, event, maxlen=FEED_LENGTH, approximate=True)
            self._told = told

    async def engines(self) -> list[EngineStatus]:
        """The engines as the servers saw them last, each engine once."""
        reports = (await self._reports(keys.engines)).values()
        seen = [EngineStatus.model_validate(row) for text in reports for row in json.loads(text)]
        newest = {status.name: status for status in sorted(seen, key=lambda status: status.seen_at)}
        return [newest[name] for name in sorted(newest)]

    def lock(self, name: str, ttl_s: float = 10) -> AbstractAsyncContextManager[None]:
        """Hold a named lock while the body runs. Raises LockHeld when it is taken, or was lost meanwhile."""
        return hold(self._redis, name, ttl_s)

    async def _running_canary(self) -> Canary:
        canary = await self.canary()
        if canary is None:
            raise CanaryRefused("no canary runs", "start one, or look at the versions again")
        return canary

    async def _change_canary(self, before: str, after: str, event: str, version: list[str]) -> bool:
        """Write the canary as `after`, unless something changed meanwhile. Raises CanaryRefused."""
        with available():
            active = await self._redis.get(keys.POLICY_ACTIVE)
        if not active:
            raise CanaryRefused("there is no active version to compare with", "activate a version first")
        with available():
            verdict = await self._canary(
                keys=[keys.POLICIES, keys.FEED, keys.POLICY_ACTIVE, keys.POLICY_CANARY, keys.AUDIT],
                args=[active, before, after, event, *version],
            )
        if verdict == "running":
            raise CanaryRefused("a canary runs already", "end it first")
        return bool(verdict == "ok")

    async def _known(self, number: int) -> tuple[str, PolicyVersion]:
        """The version as it is stored, and as a record."""
        with available():
            text = await self._redis.hget(keys.POLICIES, str(number))
        if text is None:
            raise KeyError(f"there is no version {number}")
        return text, PolicyVersion.model_validate_json(text)

    async def _point(self, version: PolicyVersion) -> None:
        """Write the file; again when another activation came in between, so that the last one stays."""
        while True:
            await asyncio.to_thread(write_pointer, self._volume, version.folder)
            active = await self.active()
            if active is None or active.number == version.number:
                return
            version = active

    async def _report(self, key: str, server_id: str, value: str) -> None:
        with available():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.sadd(keys.SERVERS, server_id)
                pipe.set(key, value, ex=REPORT_TTL_S)
                await pipe.execute()

    async def _reports(self, key: Callable[[str], str]) -> dict[str, str]:
        """Server id -> what it reported within the last 15 s."""
        with available():
            servers = sorted(await self._redis.smembers(keys.SERVERS))
            values = await self._redis.mget([key(server) for server in servers]) if servers else []
        return {server: value for server, value in zip(servers, values, strict=True) if value}


def _replacement(text: str, version: PolicyVersion, state: PolicyState, reason: str | None) -> list[str]:
    changed = version.model_copy(update={"state": state, "reason": reason})
    return [str(version.number), text, changed.model_dump_json()]


def _are(count: int) -> str:
    return "is one" if count == 1 else f"are {count}" if count else "is none"


def write_pointer(volume: Path, folder: str) -> None:
    """Make `policies/ACTIVE` name this folder: an engine that starts loads it."""
    target = volume / "policies" / "ACTIVE"
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".tmp-{secrets.token_hex(6)}")
    with open(aside, "w") as file:
        file.write(folder + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, target)
    sync_folder(target.parent)


def read_pointer(volume: Path) -> Path | None:
    """The folder that `policies/ACTIVE` names, or None when nothing was activated yet."""
    try:
        name = (volume / "policies" / "ACTIVE").read_text().strip()
    except FileNotFoundError:
        return None
    return volume / "policies" / name
