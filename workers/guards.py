"""Guards of the canary: what went wrong since the last look, weighed; and which guard has seen enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from store.canary_watch import CanaryWatch, Watch
from store.connection import Redis
from store.records import Canary, Vote
from store.statistics.guards import GUARDS, LIMIT, Guard, GuardName, Outcomes, add, slow_from, tripped
from workers.settings import Release


async def look(
    redis: Redis,
    release: Release,
    canary: Canary,
    active: int,
    cast: Sequence[tuple[str, Vote]],
    through: str,
) -> Guard | None:
    """Weigh what is new; the guard that ends the canary, if one does.

    `cast`: the votes since the canary began up to `through`, with their ids in the log. Of two workers that
    look at once one weighs the news, and the other the same news no second time.
    """
    store = CanaryWatch(redis)
    before = await store.watch(canary)
    cast = [(entry, vote) for entry, vote in cast if vote.created_at >= canary.started_at]
    counts = await store.counts(canary)
    after = weigh(before, counts, thumbs_after(cast, before.votes_through), canary.number, active, release)
    after = after.model_copy(update={"votes_through": through if cast else before.votes_through})
    if after != before and not await store.keep(canary, before, after):
        return None
    return tripped(after.guards)


def weigh(
    before: Watch,
    counts: Mapping[str, int],
    thumbs: Sequence[Vote],
    canary: int,
    active: int,
    release: Release,
) -> Watch:
    """`before` after one more block: what `counts` has more than at the last look, and these thumbs."""
    known = {guard.name: guard for guard in before.guards}
    guards = []
    for name in GUARDS:
        allowed = release.allowed(name)
        if allowed == 0:
            continue
        guard = known.get(name, Guard(name=name, allowed=allowed))
        if guard.allowed != allowed:  # the evidence was against another bar
            guard = Guard(name=name, allowed=allowed)
        block = [_outcomes(name, version, before.seen, counts, thumbs) for version in (canary, active)]
        guards.append(add(guard, *block) if any(one.n for one in block) else guard)
    return Watch(seen=dict(counts), votes_through=before.votes_through, guards=tuple(guards))


def thumbs_after(cast: Sequence[tuple[str, Vote]], after: str) -> list[Vote]:
    """Of the votes since the canary began: each conversation's first thumb, where it came after this id."""
    first: dict[str, tuple[str, Vote]] = {}
    for entry, vote in cast:
        if vote.kind == "thumb" and vote.status == "active" and len(vote.versions) == 1:
            first.setdefault(vote.conversation_id, (entry, vote))
    return [vote for entry, vote in first.values() if _place(entry) > _place(after)]


def in_words(guard: Guard, active: int) -> str:
    """Why the canary ended, for the audit log."""
    what = {
        "failed": "answers that failed",
        "slow": "slow first words",
        "stopped": "answers that their readers stopped",
        "truncated": "answers cut at the length limit",
        "thumbs_down": "thumbs down",
    }[guard.name]
    return (
        f"guard: {what}, {guard.canary_bad} of {guard.canary_n} beside {guard.active_bad} of"
        f" {guard.active_n} of v{active}; more than {guard.allowed:g} times the odds, e-value"
        f" {guard.e_value:.3g} (limit {LIMIT:g})"
    )


_OF: dict[GuardName, tuple[str, str]] = {
    "failed": ("failed", "answers"),
    "stopped": ("stopped", "alone"),
    "truncated": ("truncated", "finished"),
}


def _outcomes(
    name: GuardName, version: int, seen: Mapping[str, int], counts: Mapping[str, int], thumbs: Sequence[Vote]
) -> Outcomes:
    """What became of this version's answers since `seen`."""
    if name == "thumbs_down":
        own = [vote.choice for vote in thumbs if vote.versions == (version,)]
        return Outcomes(own.count("down"), len(own))
    if name == "slow":
        return _slow(version, seen, counts)
    bad, n = (counts.get(f"{version}:{what}", 0) - seen.get(f"{version}:{what}", 0) for what in _OF[name])
    return Outcomes(bad, n)


def _slow(version: int, seen: Mapping[str, int], counts: Mapping[str, int]) -> Outcomes:
    heard: dict[int, int] = {}
    for field, count in seen.items():
        _, _, bucket = field.partition(":wait:")
        if bucket:
            heard[int(bucket)] = heard.get(int(bucket), 0) + count
    bar = slow_from(heard)
    if bar is None:
        return Outcomes(0, 0)
    own = f"{version}:wait:"
    new = {
        int(field.removeprefix(own)): count - seen.get(field, 0)
        for field, count in counts.items()
        if field.startswith(own)
    }
    return Outcomes(sum(n for bucket, n in new.items() if bucket > bar), sum(new.values()))


def _place(entry: str) -> tuple[int, int]:
    ms, _, number = entry.partition("-")
    return int(ms), int(number or 0)
