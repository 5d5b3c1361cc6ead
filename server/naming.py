"""Naming: people's names where a training's record has their account ids."""

from __future__ import annotations

import json
import re

from store.accounts import Accounts
from store.records import Run

ACCOUNT = re.compile(r"\bacc_[0-9a-f]+\b")


async def with_names(run: Run, accounts: Accounts) -> Run:
    """The run as a person reads it: its error and what its stages say name people, not accounts.

    The record keeps the ids: names change, and go with their account. Raises StoreUnavailable.
    """
    said = json.dumps({"error": run.error, "stages": [one.model_dump(mode="json") for one in run.stages]})
    for account_id in set(ACCOUNT.findall(said)):
        account = await accounts.get(account_id)
        if account is not None:
            said = said.replace(account_id, json.dumps(account.name)[1:-1])
    return Run.model_validate(run.model_dump() | json.loads(said))
