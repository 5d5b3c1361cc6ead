"""The dry run: what a training would learn from now, which votes it leaves out and why, whose they are."""

from __future__ import annotations

from server.dependencies import Parts
from server.training_shapes import AnnotatorShare, DataPlanOut
from store.dataset.choice import unknown
from store.dataset.gather import gather, position_now
from store.dataset.split import NotEnoughData, split_pairs

SHOWN = 10


async def data_plan(heed: Parts) -> DataPlanOut:
    """The same steps as the freeze of a training, up to the files. Raises StoreUnavailable."""
    schedule, volume = heed.config.schedule, heed.settings.data
    found = await gather(
        *(heed.votes, heed.conversations, heed.queue, heed.opinions, volume),
        at=await position_now(heed.votes, heed.opinions, volume),
        rules=heed.config.votes,
        max_pairs=schedule.max_pairs,
    )
    imported = await heed.imports.pairs()
    found.add_imported(imported, schedule.max_pairs)
    train, held_out, too_few = 0, 0, None
    try:
        of_training, of_judging, _ = split_pairs(found, schedule.held_out_share)
        train, held_out = len(of_training), len(of_judging)
    except NotEnoughData as error:
        too_few = str(error)
    all_votes = sum(one.votes for one in found.annotators) or 1
    rules = heed.config.votes
    asked = {one.annotator_id for one in unknown(found.annotators, rules.unknown_share) if rules.trust}
    shown = []
    for part in found.annotators[:SHOWN]:
        account = await heed.accounts.get(part.annotator_id)
        shown.append(
            AnnotatorShare(
                name=account.name if account else part.annotator_id,
                votes=part.votes,
                share=part.votes / all_votes,
                over_cap=part.over_cap,
                weight=part.weight,
                unknown=part.annotator_id in asked,
            )
        )
    return DataPlanOut(
        votes=len(found.votes),
        train_pairs=train,
        held_out_pairs=held_out,
        imported=sum(pair.source == "import" for pair in found.pairs),
        too_few=too_few,
        left_out=dict(found.skipped),
        cap=found.cap,
        annotators=shown,
        more_annotators=max(0, len(found.annotators) - SHOWN),
    )
