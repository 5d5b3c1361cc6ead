"""Score: what a reward model says of answers that are there already, such as those that people voted on."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from store.records import CaseScores, ScoreCase
from trainer.config import RewardConfig
from trainer.data import load_tokenizer, prompt_ids, read_records, response_ids
from trainer.errors import DataError, ModelError
from trainer.models import default_device, frozen, load_reward_model
from trainer.ranking import score_sequences
from trainer.reporting import Reporter

AT_ONCE = 16
"""Cases between two lines of progress, and so between two looks at whether somebody said stop."""


def score_file(
    *, reward_model: Path, cases: Path, out: Path, config: RewardConfig, reporter: Reporter
) -> dict[str, Any]:
    """Scores every answer of `cases` and writes a line of `CaseScores` for each to `out`, in their order.

    The token ids are those of training: chat template, end token where the answer ended by itself, one prompt
    for all answers of a case, its oldest turns dropped over `reward.max_tokens`. What does not fit even then
    has no scores. Only a few cases are in memory at a time; `out` is there whole or not at all.

    Raises:
        DataError: `cases` cannot be read or a line is no case; names file, line and field.
        ModelError: the folder holds no reward model, or a score is not finite.
    """
    began = time.monotonic()
    count = sum(1 for _ in read_records(cases, ScoreCase))
    tokenizer, model = load_tokenizer(reward_model), frozen(load_reward_model(reward_model, default_device()))
    pad_token_id = model.classifier.config.pad_token_id
    aside = out.with_name(f".tmp-{out.name}")
    left, done, unfit = (case for _, case in read_records(cases, ScoreCase)), 0, 0
    with open(aside, "w", encoding="utf-8") as file:
        while some := list(islice(left, AT_ONCE)):
            ids = [case_ids(case, tokenizer, config.max_tokens) for case in some]
            scores = score_sequences(
                model, [one for case in ids for one in case or ()], pad_token_id, config.micro_batch_tokens
            )
            if not bool(torch.isfinite(scores).all()):
                raise ModelError(f"{reward_model} scores an answer with NaN or infinity. Train it again.")
            given = iter(scores.tolist())
            for case, sequences in zip(some, ids, strict=True):
                of_case = None if sequences is None else tuple(islice(given, len(sequences)))
                file.write(CaseScores(id=case.id, scores=of_case).model_dump_json() + "\n")
                unfit += sequences is None
            done += len(some)
            reporter.metric(done, count, {"cases_per_second": done / (time.monotonic() - began)})
        file.flush()
        os.fsync(file.fileno())
    aside.replace(out)
    return {"cases": count, "unfit": unfit, "seconds": time.monotonic() - began}


def case_ids(
    case: ScoreCase, tokenizer: PreTrainedTokenizerBase, max_tokens: int
) -> Sequence[list[int]] | None:
    """Token ids of the prompt and each answer, as `token_pairs` makes them; None when they do not fit."""
    said = [response_ids(tokenizer, answer.text, ended=answer.ended) for answer in case.answers]
    if not all(said):
        return None
    try:
        prompt = prompt_ids(tokenizer, case.prompt, max_tokens - max(map(len, said)))
    except DataError:
        return None
    return [prompt + ids for ids in said]
