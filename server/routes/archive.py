"""Find, take out and bring in conversations."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response

from server import archive_shapes, shapes, transcripts
from server.dependencies import Heed, Me, OwnConversation
from server.routes.conversations import tree

router = APIRouter(prefix="/api/v1", tags=["conversations"])

Words = Annotated[str, Query(min_length=1, max_length=200, pattern=r"\S")]
Skip = Annotated[int, Query(ge=0, description="Conversations that earlier pages looked through")]
FORMATS = {"json": "application/json", "markdown": "text/markdown; charset=utf-8"}
ENDINGS = {"json": "json", "markdown": "md"}


@router.get("/search")
async def search(q: Words, heed: Heed, me: Me, skip: Skip = 0) -> archive_shapes.SearchPage:
    """The caller's conversations that hold every word in their title or in one text, newest first.

    A page looks through 500 of them; `next` goes on.
    """
    found = await heed.search.find(me.id, q, skip)
    return archive_shapes.SearchPage(
        items=[
            archive_shapes.SearchHit(
                conversation=shapes.conversation_out(hit.conversation), excerpt=hit.excerpt
            )
            for hit in found.hits
        ],
        next=found.next,
        of=found.of,
    )


@router.get(
    "/conversations/{conversation_id}/export",
    response_class=Response,
    responses={200: {"model": archive_shapes.ExportedConversation}},
)
async def export_conversation(
    conversation: OwnConversation, heed: Heed, me: Me, format: Literal["json", "markdown"] = "json"
) -> Response:
    """The conversation as a file: the whole tree as JSON, or the shown branch as Markdown."""
    if format == "json":
        whole = await tree(heed, conversation, me)
        fields = {name: getattr(whole, name) for name in shapes.ConversationTree.model_fields}
        text = archive_shapes.ExportedConversation(**fields).model_dump_json(indent=1)
    else:
        messages = await heed.conversations.messages(conversation.id)
        answers = await heed.turns.settled(await heed.conversations.answers(conversation.id))
        text = transcripts.markdown(conversation, messages, answers)
    name = re.sub(r"[^A-Za-z0-9]+", "-", conversation.title).strip("-").lower()[:40] or "conversation"
    headers = {"Content-Disposition": f'attachment; filename="{name}.{ENDINGS[format]}"'}
    return Response(text, media_type=FORMATS[format], headers=headers)


@router.post("/conversations/import", status_code=201)
async def import_conversation(body: dict[str, Any], heed: Heed, me: Me) -> shapes.ConversationOut:
    """A conversation from a file: what Heed exported, `{"messages": [...]}`, or a ShareGPT record."""
    made = transcripts.read(me.id, body)
    await heed.conversations.add(*made)
    return shapes.conversation_out(made.conversation)
