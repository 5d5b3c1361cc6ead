"""What every parameter of the OpenAI-compatible API does, asked with OpenAI's own client."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from trainer.tiny import byte_tokenizer


async def ask_everything(client: openai.AsyncOpenAI) -> None:
    """Asks version 1 of the tiny model, of which a token is a byte."""

    async def whole(**more: Any) -> Any:
        ask = {"model": "v1", "messages": [{"role": "user", "content": "Hi"}], "max_completion_tokens": 12}
        return await client.chat.completions.create(**{**ask, **more})

    async def streamed(**more: Any) -> tuple[list[str], list[Any], list[Any]]:
        """Texts and log-probabilities by choice, and the chunks."""
        texts = [""] * more.get("n", 1)
        logprobs: list[list[Any]] = [[] for _ in texts]
        chunks = [chunk async for chunk in await whole(stream=True, **more)]
        for choice in (choice for chunk in chunks for choice in chunk.choices):
            texts[choice.index] += choice.delta.content or ""
            logprobs[choice.index] += choice.logprobs.content if choice.logprobs else []
        return texts, logprobs, chunks

    def texts_of(answer: Any) -> list[str]:
        return [choice.message.content for choice in answer.choices]

    greedy = await whole(temperature=0)
    assert greedy.system_fingerprint == "v1"
    assert (greedy.usage.completion_tokens, greedy.choices[0].finish_reason) == (12, "length")
    said, _, chunks = await streamed(temperature=0, stream_options={"include_usage": True})
    assert said == texts_of(greedy)
    assert chunks[-1].usage == greedy.usage

    # Drawn: n choices differ, each seed repeats its own, the stream is the same draw.
    few = {"max_completion_tokens": 3}
    drawn = await whole(n=3, seed=5, **few)
    assert len(set(texts_of(drawn))) == 3
    assert texts_of(await whole(n=2, seed=6, **few)) == texts_of(drawn)[1:]
    assert (await streamed(n=3, seed=5, **few))[0] == texts_of(drawn)
    assert texts_of(await whole(seed=9, top_p=1e-6)) == texts_of(await whole(seed=10, top_p=1e-6))

    # Log-probabilities: of each token, the likeliest first; greedy takes it.
    ask = {"temperature": 0, "logprobs": True, "top_logprobs": 3}
    content = (await whole(**ask)).choices[0].logprobs.content
    assert len(content) == 12
    for token in content:
        top = [other.logprob for other in token.top_logprobs]
        assert token.logprob == top[0] == max(top) <= 0
        assert len(top) == 3
    again = (await streamed(**ask))[1][0]
    assert len(again) == 12
    assert again[0].logprob == pytest.approx(content[0].logprob, abs=0.05)  # bf16, another batch

    # What changes the logits changes the answer.
    (a,) = byte_tokenizer().encode("a", add_special_tokens=False)
    only_a = {"temperature": 0, "logit_bias": {a: 100}}
    assert texts_of(await whole(**only_a)) == ["a" * 12]
    often = await whole(temperature=0, max_completion_tokens=60, frequency_penalty=2, presence_penalty=2)
    plain = await whole(temperature=0, max_completion_tokens=60)
    assert len(set(texts_of(often)[0])) > len(set(texts_of(plain)[0]))
    with pytest.raises(openai.BadRequestError) as caught:
        await whole(logit_bias={10**6: 1})
    assert caught.value.param == "logit_bias"

    # Ends: a stop text is not said; a JSON object begins as one.
    stopped = await whole(**only_a, stop=["aaaa", "never said"])
    assert (texts_of(stopped), stopped.choices[0].finish_reason) == ([""], "stop")
    shaped = await whole(**only_a, response_format={"type": "json_object"})
    assert not texts_of(shaped)[0].startswith("a")
