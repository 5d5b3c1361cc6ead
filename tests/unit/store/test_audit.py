"""The audit log: newest first, nothing lost, and whoever tampers with it is seen."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from typing import Any

import pytest

from store import keys
from store.audit import Audit
from store.connection import Redis
from store.records import AuditEvent, now

pytestmark = pytest.mark.anyio


def act(action: str, **more: Any) -> AuditEvent:
    return AuditEvent(actor="acc_1", action=action, object="v2", at=now(), **more)


@pytest.fixture
async def audit(client: Redis) -> Audit:
    """Five acts."""
    log = Audit(client)
    for number in range(5):
        await log.append(act(f"act {number}", reason="it swears"))
    return log


async def rewrite(client: Redis, entries: Iterable[tuple[str, dict[str, str]]]) -> None:
    """Put other entries where the log is: streams cannot be edited, whoever tampers writes them anew."""
    await client.delete(keys.AUDIT)
    for entry, fields in entries:
        await client.xadd(keys.AUDIT, fields, id=entry)


async def test_acts_are_listed_newest_first(audit: Audit) -> None:
    assert [event.action for event in await audit.newest()] == [f"act {number}" for number in (4, 3, 2, 1, 0)]
    page = await audit.page(2)
    assert [entry.event.action for entry in page] == ["act 4", "act 3"]
    older = await audit.page(2, page[-1].id)
    assert [entry.event.action for entry in older] == ["act 2", "act 1"]
    assert [page[0].previous_hash, page[1].previous_hash] == [page[1].hash, older[0].hash]
    assert (await audit.page(1, older[-1].id))[0].previous_hash == ""


async def test_an_untouched_chain_holds_also_when_two_servers_write_at_once(
    client: Redis, audit: Audit
) -> None:
    other = Audit(client)
    await asyncio.gather(*(log.append(act("at once")) for log in (audit, other) * 10))
    verdict = await audit.verify()
    assert (verdict.entries, verdict.broken_at) == (25, None)
    assert verdict.head == (await audit.page(1))[0].hash


async def test_an_entry_that_a_script_wrote_is_sealed_at_the_next_look(client: Redis, audit: Audit) -> None:
    await client.xadd(keys.AUDIT, {"event": act("canary_start").model_dump_json()})
    assert (await audit.page(1))[0].hash
    assert (await audit.verify())[:2] == (6, None)


async def test_the_hash_is_of_the_seal_before_the_id_and_the_text(client: Redis, audit: Audit) -> None:
    """Worked by hand, so that anybody can check an export."""
    previous = ""
    for entry, fields in await client.xrange(keys.AUDIT):
        previous = hashlib.sha256(f"{previous}\n{entry}\n{fields['event']}".encode()).hexdigest()
    assert (await audit.verify()).head == previous


async def test_a_changed_entry_is_named(client: Redis, audit: Audit) -> None:
    entries = await client.xrange(keys.AUDIT)
    entries[2][1]["event"] = entries[2][1]["event"].replace("acc_1", "acc_2")
    await rewrite(client, entries)
    verdict = await audit.verify()
    assert verdict.broken_at == entries[2][0]
    assert "changed" in (verdict.reason or "")


@pytest.mark.parametrize(("how", "broken"), [
    ("removed", 2), ("swapped", 1), ("cut", "head"), ("emptied", "head"), ("put in", 0),
])  # fmt: skip
async def test_missing_moved_and_foreign_entries_are_seen(
    client: Redis, audit: Audit, how: str, broken: int | str
) -> None:
    entries = await client.xrange(keys.AUDIT)
    (id1, one), (id2, two) = entries[1], entries[2]
    forged = {"event": act("forged").model_dump_json()}
    changed = {
        "removed": entries[:1] + entries[2:],
        "swapped": [entries[0], (id1, two), (id2, one), *entries[3:]],
        "cut": entries[:-1],
        "emptied": [],
        "put in": [("1-0", forged), *entries],
    }[how]
    await rewrite(client, changed)
    expected = broken if broken == "head" else (entries if how == "removed" else changed)[broken][0]
    assert (await audit.verify()).broken_at == expected
