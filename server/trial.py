"""The trial: votes of a new account wait until it has got known verdicts right, or an admin admits it."""

from __future__ import annotations

from server.flagging import PLATFORM, Flagging
from server.permissions import MAY
from store.accounts import Accounts
from store.audit import Audit
from store.dataset.checks import has_shown
from store.dataset.rules import VoteRules
from store.queue import Queue
from store.records import Account, AuditEvent, now
from store.votes import VoteLog

AT_ONCE = 500


def on_trial(account: Account, rules: VoteRules) -> bool:
    """Whether the votes that this account casts now wait. Never those of who watches over the site."""
    watches = "watch" in MAY[account.role]
    return bool(rules.trial_votes) and account.admitted_at is None and not watches


class Trial:
    """Admits accounts, and then lets their votes count. Raises StoreUnavailable."""

    def __init__(
        self,
        accounts: Accounts,
        queue: Queue,
        votes: VoteLog,
        audit: Audit,
        flagging: Flagging,
        rules: VoteRules,
    ) -> None:
        self._accounts = accounts
        self._queue = queue
        self._votes = votes
        self._audit = audit
        self._flagging = flagging
        self._rules = rules

    def holds(self, account: Account) -> bool:
        return on_trial(account, self._rules)

    async def look(self, account_id: str) -> None:
        """Admit an account that has shown itself; safe to repeat.

        After each known verdict, and after each vote on trial: it may have been admitted in that moment.
        """
        account = await self._accounts.get(account_id)
        if account is None:
            return
        if self.holds(account):
            verdicts = await self._queue.verdicts(account_id)
            if not has_shown(verdicts, self._rules.trial_votes):
                return
            await self._accounts.change(account_id, admitted=True)
            reason = f"got {self._rules.trial_votes} known verdicts right"
            await self._audit.append(
                AuditEvent(
                    actor=PLATFORM, action="account_admitted", object=account_id, reason=reason, at=now()
                )
            )
        await self.release(account_id)

    async def release(self, account_id: str) -> None:
        """Let the account's votes count that only its trial kept out."""
        before = None
        while votes := await self._votes.by_annotator(account_id, AT_ONCE, before):
            for vote in votes:
                if vote.status == "excluded" and "trial" in vote.flags:
                    await self._votes.reconsider(vote.id, PLATFORM, self._flagging.why_out_admitted)
            before = votes[-1].id
