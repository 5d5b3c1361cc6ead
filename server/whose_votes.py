"""Whose votes: what each annotator brings to a data set, by name, planned or frozen."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from pydantic import BaseModel

from server.training_shapes import AnnotatorShare, WhoseVotesOut
from store.accounts import Accounts
from store.artifacts import MANIFEST
from store.dataset.choice import AnnotatorPart

SHOWN = 10


class Frozen(BaseModel):
    """Of a snapshot's manifest what says whose votes are in it."""

    annotators: tuple[AnnotatorPart, ...] = ()
    cap: int | None = None
    """None in early snapshots."""


def read_frozen(run_folder: Path) -> Frozen | None:
    """None before the run has frozen its data."""
    try:
        return Frozen.model_validate_json((run_folder / "snapshot" / MANIFEST).read_bytes())
    except FileNotFoundError:
        return None


async def whose_votes(
    parts: Sequence[AnnotatorPart], cap: int | None, accounts: Accounts, unknown: Collection[str] = ()
) -> WhoseVotesOut:
    """Those with most votes, by the names they have now: a record keeps accounts. Raises StoreUnavailable.

    unknown: ids of whom nothing is known yet.
    """
    of_all = sum(part.votes for part in parts) or 1
    shown = []
    for part in parts[:SHOWN]:
        account = await accounts.get(part.annotator_id)
        shown.append(
            AnnotatorShare(
                name=account.name if account else part.annotator_id,
                votes=part.votes,
                share=part.votes / of_all,
                over_cap=part.over_cap,
                weight=part.weight,
                unknown=part.annotator_id in unknown,
            )
        )
    return WhoseVotesOut(cap=cap, annotators=shown, more_annotators=max(0, len(parts) - SHOWN))
