"""Seed pairs: a model's answer against a degraded one, so that the first reward models are not noise."""

from __future__ import annotations

import os
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from store.records import ChatTurn, PreferencePair
from trainer.config import RolloutConfig
from trainer.data import BUNDLED_PROMPTS, Prompt, load_tokenizer, prompt_ids, read_prompts
from trainer.errors import DataError
from trainer.reporting import Reporter
from trainer.samplers import make_sampler

Kind = Literal["other", "cut", "repeated", "garbled"]
KINDS: tuple[Kind, ...] = ("other", "cut", "repeated", "garbled")
CHUNK = 32
TEMPERATURE = 0.7
"""Lower than in training: the better answer of a pair should be a good one."""


@dataclass(frozen=True)
class DrawnAnswer:
    """An answer as the model gave it; `ended` is False when it was cut at the token limit."""

    text: str
    ended: bool


def make_seed_pairs(
    *,
    policy: Path,
    out: Path,
    rollout: RolloutConfig,
    count: int,
    answer_tokens: int,
    seed: int,
    reporter: Reporter,
    prompts: Path = BUNDLED_PROMPTS,
) -> dict[str, Any]:
    """Answers prompts once each, spoils a copy of each answer in one of four ways, writes the pairs.

    The four ways favour neither long nor short answers: another prompt's answer, cut short in the middle of a
    sentence, its beginning said over and over, words in a wrong order.

    Args:
        rollout: says which engine answers and how long a prompt may be.
        count: at most so many prompts, the first of the file (the bundled ones are in random order).
        answer_tokens: longest answer.

    Returns:
        The counts for the report: pairs, and how many of each kind.

    Raises:
        DataError: no answer could be used.
    """
    questions = read_prompts(prompts)[:count]
    reporter.log(f"answering {len(questions)} prompts")
    answers = _draw(policy, questions, rollout, answer_tokens, seed, reporter)
    pairs = contrast_pairs(questions, answers, seed)
    if not pairs:
        raise DataError(f"{policy} gave no answer that can be used for seed pairs. Check the model.")
    aside = out.with_name(f".tmp-{out.name}")
    aside.write_text("".join(pair.model_dump_json() + "\n" for _, pair in pairs), encoding="utf-8")
    os.replace(aside, out)
    return {"pairs": len(pairs), "kinds": dict(Counter(kind for kind, _ in pairs))}


def contrast_pairs(
    prompts: Sequence[Prompt], answers: Sequence[DrawnAnswer], seed: int
) -> list[tuple[Kind, PreferencePair]]:
    """One pair a prompt, the kinds taking turns; answers that are empty or cannot be spoiled are left out."""
    chance = random.Random(seed)
    good = [_finished(answer) for answer in answers]
    pairs: list[tuple[Kind, PreferencePair]] = []
    for index, prompt in enumerate(prompts):
        kind = KINDS[index % len(KINDS)]
        other = good[(index + len(good) // 2) % len(good)]
        spoiled = degrade(good[index], other, kind, chance)
        if good[index].text.strip() and spoiled.text.strip() and spoiled.text != good[index].text:
            pair = PreferencePair(
                prompt=prompt,
                chosen=(ChatTurn(role="assistant", content=good[index].text),),
                rejected=(ChatTurn(role="assistant", content=spoiled.text),),
                chosen_ended=good[index].ended,
                rejected_ended=spoiled.ended,
                source="seed",
                new=False,
            )
            pairs.append((kind, pair))
    return pairs


def degrade(answer: DrawnAnswer, other: DrawnAnswer, kind: Kind, chance: random.Random) -> DrawnAnswer:
    """A worse version of an answer; `other` is an answer to another prompt."""
    words, space = answer.text.split(), " "
    if len(words) < 4:  # a script without spaces, or a model that does not speak yet
        words, space = list(answer.text), ""
    if kind == "other":
        return other
    if kind == "cut":
        kept = words[: max(1, int(len(words) * chance.uniform(0.3, 0.6)))]
        return DrawnAnswer(space.join(kept).rstrip(".!?,;: "), ended=False)
    if kind == "repeated":
        start = words[: max(1, min(chance.randint(4, 10), len(words) // 3))]
        times = max(2, round(len(words) * chance.uniform(0.8, 1.2) / len(start)))
        return DrawnAnswer(space.join(start * times), ended=answer.ended)
    chance.shuffle(words)
    return DrawnAnswer(space.join(words), ended=answer.ended)


def _finished(answer: DrawnAnswer) -> DrawnAnswer:
    """An answer that hit the token limit, up to its last full sentence; unchanged when it has none."""
    text = answer.text.strip()
    if answer.ended:
        return DrawnAnswer(text, ended=True)
    sentences = re.match(r".*[^\d\s][.!?](?=\s)", text, re.DOTALL)
    return DrawnAnswer(sentences[0], ended=True) if sentences else DrawnAnswer(text, ended=False)


def _draw(
    policy: Path,
    prompts: Sequence[Prompt],
    rollout: RolloutConfig,
    answer_tokens: int,
    seed: int,
    reporter: Reporter,
) -> list[DrawnAnswer]:
    """One answer to each prompt, in order, in chunks so that progress shows and a cancel is noticed."""
    settings = rollout.model_copy(update={"max_new_tokens": answer_tokens, "temperature": TEMPERATURE})
    tokenizer = load_tokenizer(policy)
    ids = [prompt_ids(tokenizer, prompt, settings.max_prompt_tokens) for prompt in prompts]
    sampler = make_sampler(policy, settings)
    answers: list[DrawnAnswer] = []
    for start in range(0, len(ids), CHUNK):
        drawn = sampler.sample(ids[start : start + CHUNK], seed + start)
        for one in drawn:
            text = tokenizer.decode(one.response_ids, skip_special_tokens=True)
            answers.append(DrawnAnswer(str(text), one.ended))
        share = sum(one.ended for one in drawn) / len(drawn)
        reporter.metric(len(answers), len(ids), {"ended_share": share})
    return answers
