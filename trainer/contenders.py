"""Contenders: what each policy of an evaluation, or another model's file, answers to the prompts."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from transformers import PreTrainedTokenizerBase

from store.records import ChatTurn
from trainer.alignment_tax import Choice, Reading, read_policy_skill
from trainer.config import RolloutConfig
from trainer.data import Prompt, load_tokenizer, prompt_ids, read_records
from trainer.errors import DataError
from trainer.folders import read_config
from trainer.models import default_device, load_policy
from trainer.rollout import Sampler
from trainer.samplers import make_sampler
from trainer.seeds import DrawnAnswer


class Question(BaseModel):
    """A line of the prompts file. Its domains are its tags, its category, or both."""

    model_config = ConfigDict(frozen=True)

    prompt: Prompt
    tags: tuple[str, ...] = ()
    category: str | None = None

    @property
    def domains(self) -> tuple[str, ...]:
        return (*self.tags, self.category) if self.category else self.tags


class WrittenAnswer(BaseModel):
    """A line of an answers file, as an evaluation writes them and `--answers` reads them."""

    prompt: tuple[ChatTurn, ...]
    answer: str
    ended: bool = True


@dataclass(frozen=True)
class Contender:
    """One model with its answers, in the order of the questions."""

    name: str
    answers: list[DrawnAnswer]
    again: list[DrawnAnswer] | None = None
    """Drawn a second time, to hold the policy against itself; None of a file."""
    reading: Reading | None = None
    """None of a file."""


def read_questions(path: Path) -> list[Question]:
    """Reads prompts with their domains, each ending with a user's turn. Raises DataError."""
    questions = []
    for number, question in read_records(path, Question):
        if not question.prompt or question.prompt[-1].role != "user":
            raise DataError(f"{path}, line {number}: prompt must end with a user's turn.")
        questions.append(question)
    if not questions:
        raise DataError(f'{path} holds no prompts. Write one {{"prompt": [...]}} a line.')
    return questions


def read_answers(path: Path, questions: Sequence[Question]) -> list[DrawnAnswer]:
    """Another model's answers to the questions, found by their prompts.

    Raises:
        DataError: a line is no answer, or a question has none.
    """
    found: dict[Prompt, DrawnAnswer] = {}
    for _, written in read_records(path, WrittenAnswer):
        found[written.prompt] = DrawnAnswer(written.answer, written.ended)
    missing = [question for question in questions if question.prompt not in found]
    if missing:
        said = missing[0].prompt[-1].content[:60]
        raise DataError(f"{path} lacks the answers to {len(missing)} prompts, the first: {said!r}. Add them.")
    return [found[question.prompt] for question in questions]


def written_answers(questions: Sequence[Question], answers: Sequence[DrawnAnswer]) -> str:
    """The JSON lines that `read_answers` reads."""
    lines = [
        WrittenAnswer(prompt=question.prompt, answer=answer.text, ended=answer.ended).model_dump_json()
        for question, answer in zip(questions, answers, strict=True)
    ]
    return "".join(line + "\n" for line in lines)


def fitting(policies: Sequence[Path], questions: Sequence[Question], limit: int) -> list[Question]:
    """The questions whose last turn fits for every policy. Raises DataError when none does."""
    tokenizers = [load_tokenizer(folder) for folder in policies]
    kept = [one for one in questions if all(_fits(tokenizer, one.prompt, limit) for tokenizer in tokenizers)]
    if not kept:
        raise DataError(f"no prompt fits into rollout.max_prompt_tokens = {limit}; raise it.")
    return kept


def draw(
    policies: Sequence[tuple[str, Path]],
    questions: Sequence[Question],
    choices: Sequence[Choice],
    config: RolloutConfig,
    *,
    greedy: bool,
    seed: int,
) -> Iterator[Contender]:
    """Each policy in turn answers every question twice, by draws of its own, and is read for its skill.

    One engine serves all policies of one form; it takes their weights in memory.
    """
    device = default_device()
    sampler: Sampler | None = None
    form: tuple[Any, ...] | None = None
    for number, (name, folder) in enumerate(policies):
        tokenizer, policy = load_tokenizer(folder), load_policy(folder, device)
        if sampler is None or _form(folder) != form:
            sampler = None
            gc.collect()  # an engine gives its memory back only when it is gone
            sampler, form = make_sampler(folder, config), _form(folder)
        else:
            sampler.update(policy.state_dict().items())
        ids = [prompt_ids(tokenizer, question.prompt, config.max_prompt_tokens) for question in questions]
        answers, again = (
            [
                DrawnAnswer(str(tokenizer.decode(one.response_ids, skip_special_tokens=True)), one.ended)
                for one in sampler.sample(ids, seed=1000 * seed + 2 * number + time, greedy=greedy)
            ]
            for time in (0, 1)
        )
        yield Contender(name, answers, again, read_policy_skill(policy, tokenizer, choices))


def _fits(tokenizer: PreTrainedTokenizerBase, prompt: Prompt, limit: int) -> bool:
    try:
        prompt_ids(tokenizer, prompt, limit)
    except DataError:
        return False
    return True


def _form(folder: Path) -> tuple[Any, ...]:
    """What two policies must have in common to share an engine."""
    config = {name: value for name, value in read_config(folder).items() if name != "transformers_version"}
    return json.dumps(config, sort_keys=True), (folder / "tokenizer.json").read_bytes()
