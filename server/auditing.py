"""Writing down who did what: a handler asks for `Noted` and says the act."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request

from server.dependencies import Heed, Parts
from store.records import AuditEvent, now


@dataclass(frozen=True)
class Notebook:
    """The audit log as one request writes to it."""

    heed: Parts
    actor: str
    request_id: str

    async def __call__(
        self,
        action: str,
        what: str,
        *,
        before: Any = None,
        after: Any = None,
        reason: str | None = None,
        actor: str | None = None,
    ) -> None:
        """Write one act. `before` and `after`: what changed; `actor`: only where nobody is signed in yet."""
        await self.heed.audit.append(
            AuditEvent(
                actor=actor or self.actor,
                action=action,
                object=what,
                before=before,
                after=after,
                reason=reason,
                request_id=self.request_id,
                at=now(),
            )
        )


async def notebook(request: Request, heed: Heed) -> Notebook:
    account = getattr(request.state, "account", None)
    return Notebook(heed, account.id if account else "nobody", request.state.request_id)


Noted = Annotated[Notebook, Depends(notebook)]
