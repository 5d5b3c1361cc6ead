"""What can be done with an answer that broke off."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from server import shapes
from server.dependencies import Heed, Me, OwnAnswer
from server.errors import not_found
from server.limits import limit_messages
from server.routes.conversations import turn_out

router = APIRouter(prefix="/api/v1/answers", tags=["answers"])


@router.post("/{answer_id}/continue", status_code=202, dependencies=[Depends(limit_messages)])
async def go_on(answer: OwnAnswer, heed: Heed, me: Me) -> shapes.TurnOut:
    """Continue an answer that was interrupted or stopped, in place; follow `stream`.

    It goes on with the version that began it while an engine holds that, else with the active one; a duel of
    more than two versions cannot be voted on.
    """
    conversation = await heed.conversations.get(answer.conversation_id)
    if conversation is None:
        raise not_found("conversation")
    return turn_out(await heed.turns.go_on(me, conversation, answer))
