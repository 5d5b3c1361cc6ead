"""SFT: a policy learns to imitate texts, before reward model and PPO (section 5.1 of arXiv 2307.04964)."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor
from transformers import PreTrainedModel

from trainer.backend import Trained, abreast, make_trained
from trainer.checkpoint import StepCheckpoints, fingerprint
from trainer.config import SFTConfig
from trainer.data import load_tokenizer, micro_batches
from trainer.dialogues import Row, Text, drawn_apart, learned_tokens, part_of, read_dialogues
from trainer.errors import DataError, DivergedError, ModelError
from trainer.experience import read_policy
from trainer.folders import written_aside
from trainer.learner import adamw
from trainer.lesson import learning_rate
from trainer.models import default_device, load_policy, save_policy
from trainer.policy_card import sft_card
from trainer.reporting import Reporter

ADAM_EPS = 1e-8
"""Adam's usual one. PPO's 1e-5 is as large as a gradient here: it would damp what a token mean leaves."""


class SFTReport(BaseModel):
    """What `report.json` of an SFT holds. NLL is in nats per learned token, perplexity its exponential."""

    model_config = ConfigDict(frozen=True)

    texts: int
    """Learned from; a conversation counts as one."""
    held_out_texts: int
    left_out_texts: int
    """Nothing of them fits into `sft.max_tokens`."""
    tokens: int
    """Learned in one epoch: those of answers and of plain texts."""
    held_out_tokens: int
    steps: int
    train_nll: float
    """Mean over the tokens of the last epoch, each measured before its step."""
    held_out_nll_before: float
    held_out_nll: float
    """Of the weights as they are saved, in bf16."""
    held_out_perplexity_before: float
    held_out_perplexity: float
    tokens_per_second: float
    """Learned tokens, in training alone."""
    seconds: float


def train_sft(
    *,
    policy: Path,
    texts: Path,
    out: Path,
    config: SFTConfig,
    reporter: Reporter,
    held_out: Path | None = None,
    work: Path | None = None,
) -> SFTReport:
    """Trains `policy` on the texts and writes it to `out`: a policy's folder, report.json and README.md.

    The same call goes on from the newest checkpoint in `work`, to the same numbers.

    Args:
        policy: folder of the policy.
        texts: JSON lines; the forms are in `trainer.ptx`.
        out: new folder.
        held_out: texts to judge by; None judges by `held_out_share` of `texts`.
        work: folder for checkpoints; None writes none.

    Raises:
        DataError: no texts, none that fit, or none to learn from beside those that judge.
        ModelError: `out` exists, or the policy cannot be loaded.
        DivergedError: an NLL or a gradient is not finite.
        Cancelled: SIGTERM came.
        CheckpointError: one cannot be written, or the newest is of another training.
    """
    began = time.monotonic()
    if out.exists():
        raise ModelError(f"{out} exists already. Give a new folder; nothing is overwritten.")
    taught, judged, left_out = _read(policy, texts, held_out, config)
    reporter.log(f"{len(taught)} texts to learn, {len(judged)} held out, {left_out} too long")
    model = load_policy(policy, default_device())
    trained = make_trained(model, adamw(model, config.lr, ADAM_EPS), max_grad_norm=config.max_grad_norm)
    before = held_out_nll(model, judged, config.micro_batch_tokens)
    steps = _learn(trained, taught, config, reporter, {"held_out_nll": before}, work)
    trained.round_to_bf16()
    after = held_out_nll(model, judged, config.micro_batch_tokens)
    reporter.metric(len(steps), len(steps), {"held_out_nll": after})
    if after >= before:
        reporter.log(f"held-out NLL did not fall ({before:.3f} to {after:.3f}): lower sft.lr or sft.epochs")
    last = steps[-(len(steps) // config.epochs) :]
    report = SFTReport(
        texts=len(taught),
        held_out_texts=len(judged),
        left_out_texts=left_out,
        tokens=_tokens(taught),
        held_out_tokens=_tokens(judged),
        steps=len(steps),
        train_nll=sum(step["loss"] * step["tokens"] for step in last) / _tokens(taught),
        held_out_nll_before=before,
        held_out_nll=after,
        held_out_perplexity_before=_perplexity(before),
        held_out_perplexity=_perplexity(after),
        tokens_per_second=_tokens(taught) * config.epochs / sum(step["seconds"] for step in steps),
        seconds=time.monotonic() - began,
    )
    with written_aside(out) as folder:
        facts = report.model_dump(mode="json")
        card = sft_card(facts, started_from=policy, settings={"sft": config})
        save_policy(model, policy, folder, card=card)
        (folder / "report.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return report


@torch.no_grad()
def held_out_nll(model: PreTrainedModel, texts: Sequence[Text], max_tokens: int) -> float:
    """Nats per learned token over all texts. Raises DivergedError when it is not finite."""
    rows = [row for text in texts for row in text]
    total = sum(_passes(partial(_nll, model), partial(abreast, model), rows, max_tokens))
    if not math.isfinite(total):
        raise DivergedError("the held-out NLL is NaN or infinite. Lower sft.lr, or look at --policy.")
    return total / learned_tokens(rows)


def _read(
    policy: Path, texts: Path, held_out: Path | None, config: SFTConfig
) -> tuple[list[Text], list[Text], int]:
    """What trains, what judges, and how many lines do not fit.

    A text that judges never trains, also where a file holds it twice.
    """
    tokenizer = load_tokenizer(policy)
    found = read_dialogues(texts, tokenizer, config.max_tokens)
    if held_out:
        judged = read_dialogues(held_out, tokenizer, config.max_tokens)
    else:
        judged = drawn_apart(found, config.held_out_share, config.seed)
    away = {*judged, ()}
    taught = [text for text in found if text not in away]
    if not taught:
        raise DataError(f"{texts} leaves no text to learn from beside the held-out ones. Give more texts.")
    return taught, [text for text in judged if text], [*found, *judged].count(())


def _learn(
    trained: Trained[PreTrainedModel],
    texts: Sequence[Text],
    config: SFTConfig,
    reporter: Reporter,
    start: dict[str, float],
    work: Path | None,
) -> list[dict[str, float]]:
    """All optimiser steps, each on the token mean over its texts, or the rest after the newest checkpoint;
    the model changes in place."""
    batches = [batch for epoch in range(config.epochs) for batch in _batches(len(texts), config, epoch)]
    checkpoints = StepCheckpoints(work, config.checkpoint_every, fingerprint([config, *texts]))
    steps = checkpoints.resume(trained, reporter)
    if not steps:
        reporter.metric(0, len(batches), start)
    for step, batch in list(enumerate(batches))[len(steps) :]:
        started = time.monotonic()
        for group in trained.optimizer.param_groups:
            group["lr"] = learning_rate(step, len(batches), config.lr, config.warmup_share)
        rows = [row for index in batch for row in texts[index]]
        tokens, loss = learned_tokens(rows), 0.0
        one = partial(_taught, trained, tokens)
        for nll in _passes(one, trained.abreast, rows, config.micro_batch_tokens):
            reporter.check_cancelled()
            loss += nll / tokens
        norm = trained.step() if math.isfinite(loss) else math.nan
        if not math.isfinite(norm):
            raise DivergedError(f"step {step + 1}: loss {loss}, gradient {norm}. Lower sft.lr.")
        values = {"loss": loss, "lr": trained.optimizer.param_groups[0]["lr"], "grad_norm": norm}
        steps.append(values | {"tokens": tokens, "seconds": time.monotonic() - started})
        reporter.metric(step + 1, len(batches), steps[-1])
        checkpoints.save(trained, steps)
    return steps


def _batches(count: int, config: SFTConfig, epoch: int) -> list[list[int]]:
    """All texts in a new order. Not in batches of like length: their steps are means over their tokens, so a
    token of short answers would count many times one of long answers."""
    order = list(range(count))
    random.Random(f"{config.seed}-{epoch}").shuffle(order)
    return [order[at : at + config.batch_texts] for at in range(0, count, config.batch_texts)]


def _passes(
    one: Callable[[Sequence[Row]], float],
    spread: Callable[..., list[float]],
    rows: Sequence[Row],
    max_tokens: int,
) -> Iterator[float]:
    """`one(rows)` of each forward pass, of which several may run at once."""
    lengths = [len(row.ids) for row in rows]
    for part in micro_batches(range(len(rows)), lengths, max_tokens):
        yield from spread(lambda few: one([rows[index] for index in few]), part, lengths)


def _nll(model: PreTrainedModel, rows: Sequence[Row]) -> float:
    """Sum over the learned tokens."""
    return float(_loss(model, rows))


def _taught(trained: Trained[PreTrainedModel], tokens: int, rows: Sequence[Row]) -> float:
    """The same, with its gradient as a part of a mean over `tokens`."""
    loss = trained(_loss, rows)
    trained.backward(loss / tokens)
    return loss.item()


def _loss(model: PreTrainedModel, rows: Sequence[Row]) -> Tensor:
    logprobs, _ = read_policy(model, part_of(rows, model.device), 1.0, "bf16")
    return -logprobs.sum()


def _tokens(texts: Sequence[Text]) -> int:
    return sum(learned_tokens(text) for text in texts)


def _perplexity(nll: float) -> float:
    return math.exp(min(20.0, nll))
