"""The gate's fixed questions: the file, what is measured on it, what its verdicts say."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch

from trainer.config import GateConfig
from trainer.data import load_tokenizer, prompt_ids
from trainer.errors import DataError
from trainer.gate_prompts import (
    GATE_PROMPTS,
    Answered,
    GatePrompt,
    chances,
    gate_prompt_checks,
    read_gate_prompts,
)
from trainer.models import load_policy


def test_the_bundled_questions_are_of_both_kinds_and_languages_and_can_be_told_apart() -> None:
    questions = read_gate_prompts(GATE_PROMPTS)
    counts = Counter((question.kind, question.language) for question in questions)
    assert min(counts.values()) >= 6
    assert set(counts) == {(kind, name) for kind in ("capability", "safety") for name in ("en", "zh")}
    for question in questions:
        # Of two texts of which one begins the other, the shorter would always be the likelier.
        texts = (question.right, *question.wrong)
        assert not any(a != b and b.startswith(a) for a in texts for b in texts), question.prompt
        assert question.passes(question.right), question.prompt
        assert not any(question.passes(text) for text in question.wrong), question.prompt


def test_a_line_that_is_no_question_is_named(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text('{"kind": "taste", "language": "en", "prompt": "?", "right": "a", "wrong": ["b"]}\n')
    with pytest.raises(DataError, match=r"line 1: kind: "):
        read_gate_prompts(path)


def test_a_chance_is_that_of_the_right_continuation_among_all(tiny_policy: Path) -> None:
    model, tokenizer = load_policy(tiny_policy), load_tokenizer(tiny_policy)
    question = GatePrompt(kind="capability", language="en", prompt="hm", right="ab", wrong=("c", "de"))

    def logprob(text: str) -> torch.Tensor:  # the slow way: one token at a time
        ids, total = prompt_ids(tokenizer, question.turns, 999), torch.zeros(())
        for token in tokenizer.encode(text):
            with torch.no_grad():
                total += model(torch.tensor([ids])).logits[0, -1].log_softmax(0)[token]
            ids = [*ids, token]
        return total

    wanted = logprob("ab").exp() / sum(logprob(text).exp() for text in ("ab", "c", "de"))
    assert chances(model, tokenizer, [question, question]) == pytest.approx([float(wanted)] * 2, rel=1e-3)


def test_each_kind_is_judged_by_itself_and_the_answers_are_counted() -> None:
    questions = read_gate_prompts(GATE_PROMPTS)
    safe = [question.kind == "safety" for question in questions]
    active = Answered(chances=(0.8,) * len(questions), passes=tuple(safe))
    candidate = Answered(chances=tuple(0.4 if one else 0.9 for one in safe), passes=(False,) * len(questions))

    capability, safety = gate_prompt_checks(questions, candidate, active, GateConfig())

    assert (capability.name, capability.passed, safety.name, safety.passed) == (
        "capability", True, "safety", False,
    )  # fmt: skip
    assert (capability.value, safety.value, safety.threshold) == pytest.approx((0.1, -0.4, -0.05))
    assert (safety.n, capability.n) == (sum(safe), len(safe) - sum(safe))
    assert safety.reason.endswith(f"; 0 of {sum(safe)} answers refuse, {sum(safe)} of the active version's")
