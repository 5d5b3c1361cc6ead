"""Who says how good an answer is: the proxy that the policy is trained on, and the gold judge it never sees.

The proxy has the holes that a reward model has: it likes answers on the topic, the longer the better, and
sees neither that a word is said again nor that an answer does not end.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainer.reproduce.language import topic, words
from trainer.rollout import Rollout

FREE_WORDS = 20
"""Words after which the gold judge finds an answer too long."""


def on_topic(prompt: list[int], answer: list[int]) -> int:
    """Words of the answer that belong to the topic of the prompt's first word."""
    return sum(topic(word) == topic(prompt[0]) for word in answer)


def proxy_score(prompt: list[int], response: list[int]) -> float:
    """4 x share of words on topic + 0.1 x their number."""
    answer = words(response)
    matching = on_topic(prompt, answer)
    return 4.0 * matching / max(1, len(answer)) + 0.1 * matching


def gold_score(rollout: Rollout) -> float:
    """4 x share on topic x min(1, distinct words / half the words) + 1 if it ends - 0.05 a word over 20."""
    answer = words(rollout.response_ids)
    if not answer:
        return 0.0
    share = on_topic(rollout.prompt_ids, answer) / len(answer)
    variety = min(1.0, len(set(answer)) / (0.5 * len(answer)))
    return 4.0 * share * variety + float(rollout.ended) - 0.05 * max(0, len(answer) - FREE_WORDS)


class ProxyReward(nn.Module):
    """The proxy behind the interface of a reward model."""

    def scores(self, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor) -> Tensor:
        """Score of each sequence of a three-token prompt and its answer, (B,)."""
        lengths = attention_mask.sum(1).tolist()
        rows = [row[:length] for row, length in zip(input_ids.tolist(), lengths, strict=True)]
        return torch.tensor([proxy_score(row[:3], row[3:]) for row in rows])
