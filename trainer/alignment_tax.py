"""Alignment tax: what a policy lost of its language and its knowledge, each against a baseline, in pairs.

Section 5 of arXiv 2307.04964 asks C-Eval; here a text and a set of questions that come with the trainer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from store.records import Record
from trainer.data import read_records
from trainer.errors import DataError
from trainer.experience import parts
from trainer.intervals import bootstrap_mean
from trainer.pair_report import Share
from trainer.rollout import Rollout
from trainer.tensors import logprobs_and_entropy, scatter
from trainer.win_rates import domains, share

CHOICES = Path(__file__).with_name("choices.jsonl")
SKILL_TEXT = Path(__file__).with_name("skill.txt")
MAX_TOKENS = 4096
"""Padded tokens per forward pass."""


class Choice(Record):
    """A question with four answers, of which one is right."""

    question: Annotated[str, Field(min_length=1)]
    choices: tuple[str, str, str, str]
    answer: Literal[0, 1, 2, 3]
    """Which is right."""
    subject: str


class Change(Record):
    """Mean difference from the baseline on the same cases, with its 95 % bootstrap interval over them."""

    mean: float
    low: float
    high: float


class Language(Record):
    """How well a policy expects plain text that nobody trained it on."""

    nll: float
    """Nats per token, mean over the paragraphs, each read by itself."""
    perplexity: float
    change: Change | None
    """Of `nll`; None for the baseline, and where the tokenizers differ."""


class Knowledge(Record):
    """How many of the questions a policy answers."""

    accuracy: Share
    by_subject: dict[str, Share]
    change: Change | None
    """Of the accuracy; None for the baseline."""


class Reading(Record):
    """What was measured of one policy, before it is compared."""

    tokens: tuple[tuple[int, ...], ...]
    """Of the paragraphs."""
    nlls: tuple[float, ...]
    """Per paragraph."""
    right: tuple[bool, ...]
    """Per question."""


def read_choices(path: Path) -> list[Choice]:
    """Reads questions, one JSON object a line. Raises DataError with file, line and field."""
    questions = [question for _, question in read_records(path, Choice)]
    if not questions:
        raise DataError(f"{path} holds no questions.")
    return questions


def read_policy_skill(
    policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, questions: Sequence[Choice]
) -> Reading:
    """Lets a policy read the plain text and the questions."""
    paragraphs = SKILL_TEXT.read_text(encoding="utf-8").strip().split("\n\n")
    tokens = [tokenizer.encode(paragraph) for paragraph in paragraphs]
    logprobs = continuation_logprobs(policy, [(ids[:1], ids[1:]) for ids in tokens])
    return Reading(
        tokens=tuple(map(tuple, tokens)),
        nlls=tuple(-float(one.mean()) for one in logprobs),
        right=tuple(
            chosen == question.answer
            for chosen, question in zip(choose(policy, tokenizer, questions), questions, strict=True)
        ),
    )


def choose(
    policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, questions: Sequence[Choice]
) -> list[int]:
    """Which choice of each question the policy expects most, in nats per byte of the choice's text.

    The text is `Question: ...`, `Answer: ...`, without the chat template; per byte, so that a long choice is
    not at a loss and tokenizers are alike (as `acc_norm` of EleutherAI's evaluation harness).
    """
    texts, sizes = [], []
    for question in questions:
        asked = tokenizer.encode(f"Question: {question.question}\nAnswer:")
        for choice in question.choices:
            texts.append((asked, tokenizer.encode(f" {choice}", add_special_tokens=False)))
            sizes.append(len(choice.encode()))
    sums = torch.stack([one.sum() for one in continuation_logprobs(policy, texts)])
    return (sums / torch.tensor(sizes)).view(-1, 4).argmax(dim=1).tolist()


@torch.no_grad()
def continuation_logprobs(
    policy: PreTrainedModel, texts: Sequence[tuple[Sequence[int], Sequence[int]]]
) -> list[Tensor]:
    """Log-probability of each token of the second part given all before it; N pairs -> N tensors, CPU.

    In fp32: the changes asked about are as small as bf16's rounding.
    """
    rollouts = [Rollout(list(before), list(after), [0.0] * len(after), True) for before, after in texts]
    width = max(len(one.response_ids) for one in rollouts)
    backbone, head = getattr(policy, policy.base_model_prefix), policy.get_output_embeddings()
    assert head is not None
    found = torch.zeros(len(rollouts), width)
    for part in parts(rollouts, range(len(rollouts)), width, MAX_TOKENS, policy.device):
        hidden = backbone(**part.batch.inputs(), use_cache=False).last_hidden_state
        picked = hidden.flatten(0, 1)[part.before]
        logprobs, _ = logprobs_and_entropy(picked, head, part.tokens, temperature=1.0)
        found[part.rows.cpu()] = scatter(logprobs, part.mask).cpu()
    return [row[: len(one.response_ids)] for row, one in zip(found, rollouts, strict=True)]


def language(reading: Reading, baseline: Reading | None) -> Language:
    """The text's figures, and their change from the baseline's."""
    nll = fmean(reading.nlls)
    other = baseline if baseline is not reading and baseline and baseline.tokens == reading.tokens else None
    return Language(
        nll=nll,
        perplexity=math.exp(min(20.0, nll)),
        change=change(reading.nlls, other.nlls) if other else None,
    )


def knowledge(reading: Reading, baseline: Reading | None, questions: Sequence[Choice]) -> Knowledge:
    """The questions' figures, and their change from the baseline's."""
    by_subject = {}
    for subject, inside in domains([[question.subject] for question in questions]).items():
        found = share(sum(reading.right[index] for index in inside), len(inside))
        assert found is not None
        by_subject[subject] = found
    everything = next(iter(by_subject))
    return Knowledge(
        accuracy=by_subject.pop(everything),
        by_subject=by_subject,
        change=change(reading.right, baseline.right) if baseline and baseline is not reading else None,
    )


def change(values: Sequence[float], baseline: Sequence[float]) -> Change:
    """Mean of values - baseline, case by case: what both find hard does not widen the interval."""
    differences = [float(value) - float(other) for value, other in zip(values, baseline, strict=True)]
    low, high = bootstrap_mean(differences)
    return Change(mean=fmean(differences), low=low, high=high)
