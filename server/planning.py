"""The dry run: what a training would learn from now, which votes it leaves out and why, whose they are."""

from __future__ import annotations

from server.dependencies import Parts
from server.training_shapes import DataPlanOut
from server.whose_votes import whose_votes
from store.dataset.choice import unknown
from store.dataset.gather import gather, position_now
from store.dataset.split import NotEnoughData, split_pairs


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
    rules = heed.config.votes
    asked = {one.annotator_id for one in unknown(found.annotators, rules.unknown_share) if rules.trust}
    whose = await whose_votes(found.annotators, found.cap, heed.accounts, asked)
    return DataPlanOut(
        votes=len(found.votes),
        train_pairs=train,
        held_out_pairs=held_out,
        imported=sum(pair.source == "import" for pair in found.pairs),
        too_few=too_few,
        left_out=dict(found.skipped),
        **dict(whose),
    )
