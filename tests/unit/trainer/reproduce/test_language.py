"""The toy language and its two judges, by hand."""

from __future__ import annotations

import pytest
import torch

from trainer.data import pad_right
from trainer.reproduce.judges import ProxyReward, gold_score, proxy_score
from trainer.reproduce.language import ANSWER_TOKENS, ASK, END, Language, topic
from trainer.rollout import Rollout

PROMPT = [3, 10, ASK]
"""Topic 0, whose words are 3, 6, 9, 12, 15, 18 and 21."""


def rollout(response: list[int]) -> Rollout:
    return Rollout(PROMPT, response, [0.0] * len(response), response[-1] == END)


def test_the_proxy_counts_words_on_topic_and_nothing_else() -> None:
    # 2 of 4 words: 4 x 0.5 + 0.1 x 2. The end token is no word.
    assert proxy_score(PROMPT, [3, 4, 6, 5, END]) == pytest.approx(2.2)
    # Thirty-two times the same word and no end: 4 x 1 + 0.1 x 32.
    assert proxy_score(PROMPT, [3] * 32) == pytest.approx(7.2)


def test_the_gold_judge_sees_repeats_missing_ends_and_length() -> None:
    # 4 x 0.5 x 1 + 1.
    assert gold_score(rollout([3, 4, 6, 5, END])) == pytest.approx(3.0)
    # One distinct word of 32: 4 x 1 x (1 / 16), no end, 12 words too long.
    assert gold_score(rollout([3] * 32)) == pytest.approx(0.25 - 0.6)
    assert gold_score(rollout([END])) == 0.0


def test_the_proxy_scores_padded_batches_as_it_scores_answers() -> None:
    answers = [[3, 4, 6, 5, END], [3] * 9]
    batch = pad_right([PROMPT + answer for answer in answers], 0)
    expected = [proxy_score(PROMPT, answer) for answer in answers]
    torch.testing.assert_close(ProxyReward().scores(**batch.inputs()), torch.tensor(expected))


def test_the_source_keeps_to_the_topic_and_ends() -> None:
    texts = Language(loyalty=(1.0, 0.4, 0.0)).texts(3000, 0)
    shares = []
    for subject in range(3):
        said = [
            topic(word) == subject
            for text in texts
            if topic(text.prompt_ids[0]) == subject
            for word in text.response_ids
            if word != END
        ]
        shares.append(sum(said) / len(said))
    # loyalty + (1 - loyalty) / 3
    assert shares == pytest.approx([1.0, 0.6, 1 / 3], abs=0.02)
    assert max(len(text.response_ids) for text in texts) == ANSWER_TOKENS
    # An answer is cut when none of 31 draws ended it: 0.91^31 = 0.054.
    assert sum(not text.ended for text in texts) / len(texts) == pytest.approx(0.054, abs=0.015)


def test_prompts_ask_about_the_topics_they_are_given() -> None:
    asked = [topic(prompt[0]) for prompt in Language().prompts(200, 0, topics=(0, 2))]
    assert set(asked) == {0, 2}
    assert {topic(prompt[0]) for prompt in Language().prompts(200, 0)} == {0, 1, 2}


def test_a_seed_draws_the_same_prompts_again() -> None:
    assert Language().prompts(5, 1) == Language().prompts(5, 1) != Language().prompts(5, 2)
