"""A run uses the trainer's own update on the toy: it is repeatable, and it learns."""

from __future__ import annotations

import pytest
import torch

from trainer.reporting import Reporter
from trainer.reproduce.language import ANSWER_TOKENS, END, Language
from trainer.reproduce.policy import random_policy, sample, source_nll, taught_policy
from trainer.reproduce.run import Setting, train
from trainer.reproduce.settings import SETTINGS


def test_samples_end_at_the_end_token_and_carry_their_log_probabilities() -> None:
    policy = random_policy(0)
    rollouts = sample(policy, Language().prompts(16, 0), seed=1)
    for one in rollouts:
        assert one.ended == (one.response_ids[-1] == END)
        assert END not in one.response_ids[:-1]
        assert one.ended or len(one.response_ids) == ANSWER_TOKENS
    # The mean NLL of what was drawn is what a teacher-forced pass over the same answers finds.
    drawn = [logprob for one in rollouts for logprob in one.engine_logprobs]
    with torch.no_grad():
        assert float(source_nll(policy, rollouts)) == pytest.approx(-sum(drawn) / len(drawn), abs=0.02)
    assert sample(policy, Language().prompts(16, 0), seed=1) == rollouts


def test_teaching_brings_the_policy_near_the_source() -> None:
    texts, taught = Language().texts(128, "held-out"), taught_policy(Language(), 0, steps=80)
    with torch.no_grad():
        before, after = (float(source_nll(policy, texts)) for policy in (random_policy(0), taught))
    # 24 tokens: a random policy is above ln 24 = 3.18; the source's own entropy is about 2.9 nats a token.
    assert before > 3.17
    assert 2.8 < after < before - 0.1


def test_a_run_repeats_exactly_and_raises_the_proxy() -> None:
    runs = [train(SETTINGS["vanilla"], 0, Reporter(), updates=4) for _ in range(2)]
    assert runs[0] == runs[1]
    assert runs[0].end["proxy"] > runs[0].start["proxy"]
    assert runs[0].curve[0]["ref_kl"] == pytest.approx(0.0, abs=0.02)


def test_more_kl_weight_stays_nearer() -> None:
    ends = [
        train(Setting("kl", "vanilla", {"score_clip": 5.0, "kl_coef": coef}), 0, Reporter(), updates=12).end
        for coef in (0.0, 1.0)
    ]
    assert ends[1]["ref_kl"] < 0.5 * ends[0]["ref_kl"]
    assert ends[1]["proxy"] < ends[0]["proxy"]
