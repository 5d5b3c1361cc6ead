"""The audit log: newest first, nothing lost."""

from __future__ import annotations

import pytest

from store.audit import Audit
from store.records import AuditEvent, now

pytestmark = pytest.mark.anyio


async def test_acts_are_listed_newest_first(client):
    audit = Audit(client)
    acts = [
        AuditEvent(actor="acc_1", action=action, object="v2", detail={"reason": "it swears"}, at=now())
        for action in ("train_now", "rollback", "cancel")
    ]
    for act in acts:
        await audit.append(act)
    assert await audit.newest() == acts[::-1]
    assert await audit.newest(limit=1) == [acts[-1]]
