"""Reward model: learns from preference pairs which answer people prefer; judged on held-out pairs."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, harmonic_mean

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from store.records import PreferencePair
from trainer.config import RewardConfig
from trainer.data import (
    TokenPair,
    check_pair,
    length_buckets,
    load_tokenizer,
    micro_batches,
    pad_right,
    spare_token_id,
    token_pairs,
)
from trainer.errors import ConfigError, DataError, DivergedError
from trainer.models import (
    RewardModel,
    autocast,
    copy_tokenizer,
    default_device,
    last_token,
    load_reward_model,
    read_lm_head,
    reward_model_from_policy,
    round_to_bf16,
    save_reward_model,
    written_aside,
)
from trainer.ranking import (
    PairReport,
    answers,
    balanced_weights,
    judge_pairs,
    lm_loss,
    pair_report,
    ranking_loss,
    score_sequences,
)
from trainer.reporting import Reporter


class RewardReport(BaseModel):
    """What `report.json` of a reward model holds."""

    model_config = ConfigDict(frozen=True)

    vote_pairs: int
    seed_pairs: int
    left_out_pairs: int
    """Too long for `reward.max_tokens`."""
    steps: int
    train_loss: float
    """Mean over the last quarter of the steps."""
    train_accuracy: float
    """Mean over the last quarter of the steps, each measured before its update."""
    held_out: PairReport
    prequential: PairReport | None
    """The previous reward model on the votes that are new in this run, which it had never seen."""
    score_mean: float
    score_std: float
    """Over all held-out answers."""
    pairs_per_second: float
    seconds: float


def learning_rate(step: int, steps: int, peak: float, warmup_share: float) -> float:
    """Linear rise over the first share of the steps, then linear fall; never 0. `step` counts from 0."""
    warmup = math.ceil(steps * warmup_share)
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (steps - step) / (steps - warmup)


@dataclass(frozen=True)
class Lesson:
    """What one training run goes through."""

    pairs: list[TokenPair]
    weights: Tensor
    """(N,) fp32, mean 1."""
    pad_token_id: int
    lm_head: Tensor | None
    """(V, H) fp32, frozen; None without a language-model loss."""


def train_reward_model(
    *,
    policy: Path,
    pairs: Sequence[PreferencePair],
    held_out: Sequence[PreferencePair],
    seed_pairs: Sequence[PreferencePair],
    out: Path,
    config: RewardConfig,
    reporter: Reporter,
    previous: Path | None = None,
) -> RewardReport:
    """Trains a reward model that starts as the policy with a new head, and writes it to `out`.

    Args:
        policy: folder of the policy.
        pairs: from votes, to learn from.
        held_out: from votes of other conversations, to judge by.
        seed_pairs: contrast pairs that steady the first runs; may be empty.
        out: new folder: weights and config for AutoModelForSequenceClassification, tokenizer, report.json.
        previous: the reward model before this one, whose prediction of the new votes is reported.

    Raises:
        DataError: no pairs, or none that fit.
        DivergedError: the loss is not finite.
    """
    started = time.monotonic()
    device, tokenizer = default_device(), load_tokenizer(policy)
    pad_token_id = spare_token_id(tokenizer)
    votes = _fitting(pairs, tokenizer, config, "train pairs")
    judged = _fitting(held_out, tokenizer, config, "held-out pairs")
    seeds = token_pairs(_drawn(seed_pairs, config), tokenizer, config.max_tokens)
    left_out = len(pairs) + len(held_out) - len(votes) - len(judged)
    if left_out:
        reporter.log(f"{left_out} pairs do not fit into reward.max_tokens = {config.max_tokens}: left out")

    prequential = _prequential(previous, [*votes, *judged], pad_token_id, config, reporter)
    model = reward_model_from_policy(policy, seed=config.seed, pad_token_id=pad_token_id, device=device)
    lesson = Lesson(
        pairs=[*votes, *seeds],
        weights=balanced_weights([*votes, *seeds], config.seed_share),
        pad_token_id=pad_token_id,
        lm_head=read_lm_head(policy).to(device) if config.lm_coef > 0 else None,
    )
    steps = train(model, lesson, config, reporter)

    round_to_bf16(model)
    scores = score_sequences(model, answers(judged), pad_token_id, config.micro_batch_tokens)
    tail = steps[-max(1, len(steps) // 4) :]
    report = RewardReport(
        vote_pairs=len(votes),
        seed_pairs=len(seeds),
        left_out_pairs=left_out,
        steps=len(steps),
        train_loss=fmean(step["loss"] for step in tail),
        train_accuracy=fmean(step["accuracy"] for step in tail),
        held_out=pair_report(judged, scores),
        prequential=prequential,
        score_mean=float(scores.mean()),
        score_std=float(scores.std(correction=0)),
        pairs_per_second=harmonic_mean(step["pairs_per_second"] for step in steps),
        seconds=time.monotonic() - started,
    )
    _publish(model, tokenizer, policy, report, out)
    return report


def train(
    model: RewardModel, lesson: Lesson, config: RewardConfig, reporter: Reporter
) -> list[dict[str, float]]:
    """All optimiser steps; returns the metrics of each.

    Raises:
        DivergedError: a loss or gradient is not finite.
        Cancelled: SIGTERM came.
    """
    parameters = _trainable(model, config.frozen_layers)
    # The head starts at zero and learns faster than the rest: a random one begins with large wrong margins,
    # which a few dozen steps at the transformer's rate do not undo.
    nn.init.zeros_(model.head.weight)
    head = [model.head.weight]
    rest = [parameter for parameter in parameters if parameter is not model.head.weight]
    optimizer = torch.optim.AdamW(
        [{"params": head, "peak": config.head_lr}, {"params": rest, "peak": config.lr}],
        betas=(0.9, 0.95),
        eps=1e-6,
        weight_decay=config.weight_decay,
        fused=True,
    )
    lengths = [max(len(pair.chosen), len(pair.rejected)) for pair in lesson.pairs]
    batches = [
        batch
        for epoch in range(config.epochs)
        for batch in length_buckets(lengths, config.batch_pairs, config.seed + epoch)
    ]
    history = []
    for step, batch in enumerate(batches):
        started = time.monotonic()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, len(batches), group["peak"], config.warmup_share)
        lr = optimizer.param_groups[1]["lr"]
        sums = {"loss": 0.0, "accuracy": 0.0, "margin": 0.0}
        for part in micro_batches(batch, [2 * length for length in lengths], config.micro_batch_tokens):
            reporter.check_cancelled()
            for name, value in _backward(model, lesson, part, config).items():
                sums[name] += value
        # The sums become means over the batch: the gradient too, however many passes made it.
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad /= len(batch)
        values = {name: value / len(batch) for name, value in sums.items()}
        norm = float(nn.utils.clip_grad_norm_(parameters, config.max_grad_norm or math.inf))
        if not (math.isfinite(values["loss"]) and math.isfinite(norm)):
            raise DivergedError(f"step {step + 1}: loss {values['loss']}, gradient {norm}. Lower reward.lr.")
        optimizer.step()
        optimizer.zero_grad()
        speed = len(batch) / (time.monotonic() - started)
        history.append({**values, "lr": lr, "grad_norm": norm, "pairs_per_second": speed})
        reporter.metric(step + 1, len(batches), history[-1])
    return history


def _backward(
    model: RewardModel, lesson: Lesson, part: Sequence[int], config: RewardConfig
) -> dict[str, float]:
    """One forward and backward pass over some pairs: the gradient and what is returned are sums over them."""
    pairs = [lesson.pairs[index] for index in part]
    device = model.head.weight.device
    batch = pad_right(answers(pairs), lesson.pad_token_id, device)
    with autocast(device):
        hidden = model.hidden(**batch.inputs())
    rows = torch.arange(len(hidden), device=device)
    scores = model.value(hidden[rows, last_token(batch.attention_mask)])
    chosen, rejected = scores[: len(pairs)], scores[len(pairs) :]
    losses = ranking_loss(chosen, rejected, margin=config.margin, label_smoothing=config.label_smoothing)
    loss = (losses * lesson.weights[part].to(device)).sum()
    total = loss
    if lesson.lm_head is not None:
        total = loss + config.lm_coef * len(pairs) * lm_loss(hidden, pairs, lesson.lm_head)
    total.backward()
    ahead = (chosen - rejected).detach()
    return {
        "loss": float(loss.detach()),
        "accuracy": float((ahead > 0).sum()),
        "margin": float(ahead.sum()),
    }


def _fitting(
    pairs: Sequence[PreferencePair], tokenizer: PreTrainedTokenizerBase, config: RewardConfig, what: str
) -> list[TokenPair]:
    if not pairs:
        raise DataError(f"there are no {what}. Collect more votes.")
    for number, pair in enumerate(pairs, start=1):
        check_pair(pair, f"{what}, number {number}")
    tokens = token_pairs(pairs, tokenizer, config.max_tokens)
    if not tokens:
        raise DataError(f"none of the {what} fits into reward.max_tokens = {config.max_tokens}. Raise it.")
    return tokens


def _drawn(seed_pairs: Sequence[PreferencePair], config: RewardConfig) -> list[PreferencePair]:
    """The seed pairs of this run: another choice for each seed."""
    if config.seed_share == 0:
        return []
    order = torch.randperm(len(seed_pairs), generator=torch.Generator().manual_seed(config.seed))
    return [seed_pairs[index] for index in order[: config.max_seed_pairs].tolist()]


def _prequential(
    previous: Path | None,
    pairs: Sequence[TokenPair],
    pad_token_id: int,
    config: RewardConfig,
    reporter: Reporter,
) -> PairReport | None:
    """How the previous reward model ranks votes that it has not seen; None without either."""
    new = [pair for pair in pairs if pair.new and pair.source == "vote"]
    if previous is None or not new:
        return None
    model = load_reward_model(previous, default_device())
    report = judge_pairs(model, new, pad_token_id, config.micro_batch_tokens)
    reporter.log(f"the previous reward model agrees with {report.accuracy:.0%} of {len(new)} new votes")
    return report


def _trainable(model: RewardModel, frozen_layers: int) -> list[nn.Parameter]:
    """Freezes the embedding and the lower layers when asked to; returns what is left to train."""
    if frozen_layers:
        layers = model.backbone.get_submodule("layers")
        assert isinstance(layers, nn.ModuleList)
        if frozen_layers >= len(layers):
            raise ConfigError(f"reward.frozen_layers is {frozen_layers} of {len(layers)} layers. Lower it.")
        for module in [model.backbone.get_input_embeddings(), *layers[:frozen_layers]]:
            module.requires_grad_(False)
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _publish(
    model: RewardModel, tokenizer: PreTrainedTokenizerBase, policy: Path, report: RewardReport, out: Path
) -> None:
    """Writes the folder. Its tokenizer pads with the spare token, as the model's config says."""
    with written_aside(out) as folder:
        save_reward_model(model, folder)
        copy_tokenizer(policy, folder)
        path = folder / "tokenizer_config.json"
        settings = json.loads(path.read_text(encoding="utf-8"))
        settings |= {
            "pad_token": tokenizer.decode([model.classifier.config.pad_token_id]),
            "padding_side": "right",
        }
        path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        (folder / "report.json").write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
