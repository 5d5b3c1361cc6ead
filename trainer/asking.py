"""Answers to ask people about: several to each prompt, and what each of the reward models thinks of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from store.records import AskedAnswers, ItemAnswer
from trainer.config import RewardConfig, RolloutConfig
from trainer.data import Prompt, load_tokenizer, prompt_ids
from trainer.errors import DataError
from trainer.reporting import Reporter
from trainer.rollout import Rollout
from trainer.samplers import make_sampler
from trainer.score_judge import ScoreJudge
from trainer.seeds import DrawnAnswer

CHUNK = 32


def draw_and_score(
    *,
    policy: Path,
    version: int,
    reward_models: Sequence[Path],
    prompts: Sequence[Prompt],
    answers: int,
    out: Path,
    rollout: RolloutConfig,
    reward: RewardConfig,
    reporter: Reporter,
) -> dict[str, Any]:
    """Draw `answers` answers to each prompt as in training, score each with every reward model, write `out`.

    A prompt that does not fit into `rollout.max_prompt_tokens` is left out. Chunk by chunk, so that progress
    shows and a cancel is noticed.

    Args:
        version: number of the policy, kept with its answers.
        out: new file of `AskedAnswers`, one JSON object a line; it is there whole or not at all.

    Returns:
        The counts for the report: prompts, answers.

    Raises:
        DataError: no prompt fits, or a prompt and its answer do not fit into `reward.max_tokens`.
        ModelError: a folder holds no model of its kind, or a score is not finite.
    """
    tokenizer = load_tokenizer(policy)
    fitting = _fitting(tokenizer, prompts, rollout.max_prompt_tokens)
    if not fitting:
        limit = rollout.max_prompt_tokens
        raise DataError(f"no prompt fits into rollout.max_prompt_tokens = {limit}; raise it.")
    ids = [one for _, one in fitting for _ in range(answers)]
    sampler = make_sampler(policy, rollout)
    drawn: list[Rollout] = []
    for start in range(0, len(ids), CHUNK):
        drawn += sampler.sample(ids[start : start + CHUNK], seed=start)
        reporter.metric(len(drawn), len(ids), {"ended_share": sum(one.ended for one in drawn) / len(drawn)})
    texts = [str(tokenizer.decode(one.response_ids, skip_special_tokens=True)) for one in drawn]
    prompt_of = [prompt for prompt, _ in fitting for _ in range(answers)]
    told = [
        (prompt, DrawnAnswer(text, one.ended))
        for prompt, text, one in zip(prompt_of, texts, drawn, strict=True)
    ]
    scores = [ScoreJudge(folder, reward, tie_margin=0.0).scores(told) for folder in reward_models]
    lines = []
    for number, (prompt, _) in enumerate(fitting):
        own = [at for at in range(number * answers, (number + 1) * answers) if texts[at].strip()]
        said = tuple(
            ItemAnswer(
                text=texts[at], version=version, ended=drawn[at].ended, tokens=len(drawn[at].response_ids)
            )
            for at in own
        )
        opinions = tuple(tuple(by_model[at] for by_model in scores) for at in own)
        lines.append(AskedAnswers(prompt=prompt, answers=said, scores=opinions).model_dump_json() + "\n")
    aside = out.with_name(f".tmp-{out.name}")
    aside.write_text("".join(lines), encoding="utf-8")
    os.replace(aside, out)
    return {"prompts": len(fitting), "answers": len(drawn), "reward_models": len(reward_models)}


def _fitting(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt], limit: int
) -> list[tuple[Prompt, list[int]]]:
    fitting = []
    for prompt in prompts:
        try:
            fitting.append((prompt, prompt_ids(tokenizer, prompt, limit)))
        except DataError:
            continue
    return fitting
