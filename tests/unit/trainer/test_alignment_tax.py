"""Alignment tax: log-likelihoods against plain logits, changes case by case, and the questions themselves."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from trainer.alignment_tax import (
    CHOICES,
    SKILL_TEXT,
    Change,
    Choice,
    Reading,
    change,
    choose,
    continuation_logprobs,
    knowledge,
    language,
    read_choices,
    read_policy_skill,
)
from trainer.data import load_tokenizer, pad_right
from trainer.errors import DataError
from trainer.models import load_policy
from trainer.win_rates import share


@pytest.fixture(scope="module")
def tokenizer(tiny_policy: Path) -> PreTrainedTokenizerBase:
    return load_tokenizer(tiny_policy)


@pytest.fixture(scope="module")
def policy(tiny_policy: Path) -> PreTrainedModel:
    return load_policy(tiny_policy)


def slow_logprobs(policy: PreTrainedModel, before: list[int], after: list[int]) -> list[float]:
    """One forward pass a token, all logits."""
    found = []
    for index, token in enumerate(after):
        with torch.no_grad():
            logits = policy(torch.tensor([before + after[:index]])).logits[0, -1]
        found.append(float(torch.log_softmax(logits, -1)[token]))
    return found


def reading(right: tuple[bool, ...], nlls: tuple[float, ...] = (1.0, 2.0), token: int = 0) -> Reading:
    return Reading(tokens=((token,),), nlls=nlls, right=right)


def question(answer: int, subject: str = "stem") -> Choice:
    return Choice.model_validate(
        {
            "question": "Which?",
            "choices": ("one", "two", "three", "four"),
            "answer": answer,
            "subject": subject,
        }
    )


def test_log_probabilities_are_those_of_a_token_after_the_other(policy: PreTrainedModel) -> None:
    texts = [([5, 6, 7], [8, 9]), ([1], [2, 3, 4, 5]), ([9, 9], [1])]

    found = continuation_logprobs(policy, texts)

    for (before, after), logprobs in zip(texts, found, strict=True):
        assert logprobs.tolist() == pytest.approx(slow_logprobs(policy, before, after), abs=1e-4)


def test_the_choice_is_the_likeliest_per_byte(
    policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    questions = read_choices(CHOICES)[::12]

    chosen = choose(policy, tokenizer, questions)

    for asked, found in zip(questions, chosen, strict=True):
        before = tokenizer.encode(f"Question: {asked.question}\nAnswer:")
        per_byte = [
            sum(slow_logprobs(policy, before, tokenizer.encode(f" {text}"))) / len(text.encode())
            for text in asked.choices
        ]
        assert found == per_byte.index(max(per_byte))


def test_the_text_is_read_paragraph_by_paragraph(
    policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    read = read_policy_skill(policy, tokenizer, read_choices(CHOICES)[:1])

    paragraphs = SKILL_TEXT.read_text().strip().split("\n\n")
    assert len(read.nlls) == len(paragraphs) == 8
    ids = torch.tensor([tokenizer.encode(paragraphs[3])])
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(policy(ids).logits[0, :-1], ids[0, 1:])
    assert read.nlls[3] == pytest.approx(float(loss), abs=1e-4)


def test_a_policy_that_learned_the_text_is_better_at_it_beyond_doubt(
    tiny_policy: Path, policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    learned, known = load_policy(tiny_policy), read_choices(CHOICES)[:1]
    batch = pad_right([tokenizer.encode(SKILL_TEXT.read_text())], 0)
    optimizer = torch.optim.Adam(learned.parameters(), lr=3e-3)
    for _ in range(5):
        logits = learned(**batch.inputs()).logits[0, :-1]
        torch.nn.functional.cross_entropy(logits, batch.input_ids[0, 1:]).backward()
        optimizer.step()
        optimizer.zero_grad()

    before, after = (read_policy_skill(model, tokenizer, known) for model in (policy, learned))

    better, worse = language(after, before).change, language(before, after).change
    assert better is not None
    assert better.high < -0.5
    assert worse is not None
    assert worse.low > 0.5
    assert language(before, before).change is None


def test_changes_are_counted_case_by_case() -> None:
    # One of four more is right: +0.25. A case that both get wrong, or right, adds no doubt.
    moved = change([True, False, True, True], [False, False, True, True])
    assert moved.mean == pytest.approx(0.25)
    assert (moved.low, moved.high) == (0.0, 0.75)
    assert change([0.3, 0.7], [0.3, 0.7]) == Change(mean=0.0, low=0.0, high=0.0)


def test_accuracy_of_each_subject() -> None:
    questions = [question(0), question(1), question(2, "other"), question(3, "other")]
    baseline = reading((True, True, False, False))

    found = knowledge(reading((True, False, True, True)), baseline, questions)

    assert found.accuracy == share(3, 4)
    assert found.by_subject == {"stem": share(1, 2), "other": share(2, 2)}
    assert found.change is not None
    assert found.change.mean == pytest.approx((0 - 1 + 1 + 1) / 4)
    assert knowledge(baseline, baseline, questions).change is None


def test_the_text_of_two_tokenizers_is_not_compared() -> None:
    one, other = reading((True,), token=1), reading((True,), token=2)
    assert language(one, other).change is None
    assert language(one, other).nll == pytest.approx(1.5)


def test_the_questions_are_balanced_and_clear() -> None:
    questions = read_choices(CHOICES)

    assert Counter(one.answer for one in questions) == {0: 15, 1: 15, 2: 15, 3: 15}
    assert Counter(one.subject for one in questions) == dict.fromkeys(
        ("stem", "social", "humanities", "other"), 15
    )
    assert len({one.question for one in questions}) == 60
    assert all(len(set(one.choices)) == 4 for one in questions)


def test_a_bad_question_is_named(tmp_path: Path) -> None:
    path = tmp_path / "choices.jsonl"
    path.write_text('{"question": "Q?", "choices": ["a", "b", "c", "d"], "answer": 4, "subject": "x"}\n')
    with pytest.raises(DataError, match=r"choices\.jsonl, line 1: answer"):
        read_choices(path)
    path.write_text("\n")
    with pytest.raises(DataError, match="holds no questions"):
        read_choices(path)
