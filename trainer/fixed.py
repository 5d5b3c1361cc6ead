"""Fixed prompts: the same few questions answered greedily along a training: only the policy differs."""

from __future__ import annotations

import json
from contextlib import suppress

from transformers import PreTrainedTokenizerBase

from store.records import ChatTurn
from trainer.data import prompt_ids
from trainer.errors import DataError
from trainer.reporting import FIXED, Reporter
from trainer.rollout import Sampler, Weights

FIXED_PROMPTS = (
    "Explain in two sentences why the sky is blue.",
    "Write a short, friendly message to a neighbour who plays loud music at night.",
    "What should I do when I have burnt my finger?",
    "Which is heavier, a kilogram of feathers or a kilogram of iron? Say why.",
)
"""An explanation, a text, advice and a question with a trap: none is ever trained on."""
FIXED_TOKENS = 64


class FixedPrompts:
    """Asks them and logs what was said; those that do not fit are left out."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, every: int, max_prompt_tokens: int, reporter: Reporter
    ) -> None:
        """`every`: updates between two looks; 0: never."""
        self.every = every
        self._tokenizer = tokenizer
        self._reporter = reporter
        self._asked: list[tuple[str, list[int]]] = []
        for prompt in FIXED_PROMPTS if every else ():
            with suppress(DataError):
                ids = prompt_ids(tokenizer, [ChatTurn(role="user", content=prompt)], max_prompt_tokens)
                self._asked.append((prompt, ids))

    def look(self, sampler: Sampler, update: int) -> None:
        """What the sampler's policy says after `update` updates, once every few of them."""
        if self._asked and update % self.every == 0:
            self._ask(sampler, update)

    def end(self, sampler: Sampler, weights: Weights, updates: int) -> None:
        """What the policy says with its last weights, which the sampler gets."""
        if self._asked:
            sampler.update(weights)
            self._ask(sampler, updates)

    def _ask(self, sampler: Sampler, update: int) -> None:
        said = sampler.sample(
            [ids for _, ids in self._asked], seed=0, greedy=True, max_new_tokens=FIXED_TOKENS
        )
        answers = [
            {
                "prompt": prompt,
                "answer": str(self._tokenizer.decode(rollout.response_ids, skip_special_tokens=True)),
                "tokens": len(rollout.response_ids),
                "ended": rollout.ended,
            }
            for (prompt, _), rollout in zip(self._asked, said, strict=True)
        ]
        self._reporter.log(FIXED + json.dumps({"update": update, "answers": answers}, ensure_ascii=False))
