"""Go on with an answer that an engine has begun and not ended: same version, same text, the tokens left."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from server.engines.completion import Asked, Delta
from server.errors import EngineFailed
from store.records import ChatTurn, Sampling

if TYPE_CHECKING:
    from server.engines.client import EngineClient


def can_go_on(sampling: Sampling) -> bool:
    """Whether another engine would draw as the first one did: penalties and the JSON mask look back at the
    tokens of the answer, which it would take for a part of the prompt."""
    masked = isinstance(sampling, Asked) and sampling.json_object
    return not (masked or sampling.frequency_penalty or sampling.presence_penalty)


async def go_on(
    client: EngineClient, messages: Sequence[ChatTurn], sampling: Sampling, said: str
) -> AsyncGenerator[Delta, None]:
    """What follows `said`; the token counts of the last piece are those of the whole answer.

    The text becomes tokens again, so the draw goes on from the same words, if not always from the same
    tokens. Raises EngineFailed, also when the chat template or the tokenizer would change the text: the model
    must see exactly what the reader saw.
    """
    begun = (*messages, ChatTurn(role="assistant", content=said))
    prompt = await client.count_tokens(messages)
    tokens = await client.tokens(begun, goes_on=True)
    if not (await client.text(tokens)).endswith(said):
        raise EngineFailed(f"{client.name} cannot go on: the text so far is not a clean prefix of a prompt")
    already = len(tokens) - prompt
    if already >= sampling.max_tokens:
        yield Delta("", "length", prompt, already)
        return
    left = sampling.model_copy(update={"max_tokens": sampling.max_tokens - already})
    async with aclosing(client.stream(begun, left, goes_on=True)) as deltas:
        async for delta in deltas:
            if delta.finish_reason is not None:
                delta = delta._replace(
                    prompt_tokens=prompt, response_tokens=already + (delta.response_tokens or 0)
                )
            yield delta
