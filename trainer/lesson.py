"""Lesson: the optimiser steps of a reward model, from pairs that are token ids."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from trainer.backend import Trained, make_trained
from trainer.checkpoint import StepCheckpoints, fingerprint
from trainer.config import RewardConfig, ScaleConfig
from trainer.data import length_buckets
from trainer.errors import ConfigError, DivergedError
from trainer.models import Precision, RewardModel, autocast
from trainer.packing import Example, examples, pack
from trainer.pairs import TokenPair
from trainer.ranking import balanced_weights, lm_loss, ranking_loss
from trainer.ranks import ALONE, Ranks
from trainer.reporting import Reporter


@dataclass(frozen=True)
class Lesson:
    """What one training run goes through."""

    examples: list[Example]
    weights: list[Tensor]
    """Of each example's pairs, (N,) fp32; over all examples they sum to the number of examples."""
    pad_token_id: int
    share_prompts: bool
    lm_head: Tensor | None
    """(V, H), frozen; None without a language-model loss."""


class Pupil(RewardModel):
    """What a lesson teaches: a reward model, and the score at which thumbs up and down are as likely."""

    def __init__(self, model: RewardModel) -> None:
        super().__init__(model.classifier)
        self.threshold = nn.Parameter(torch.zeros(1, device=model.head.weight.device))


@dataclass(frozen=True)
class Learned:
    """How a training run went."""

    steps: list[dict[str, float]]
    trained: Trained[RewardModel]
    """A `Pupil`, whose weights are the reward model's and the threshold."""
    threshold: float
    """Score at which thumbs up and down are as likely; 0 without thumbs."""


def prepare(
    model: RewardModel,
    pairs: Sequence[TokenPair],
    *,
    pad_token_id: int,
    lm_head: Tensor | None,
    config: RewardConfig,
    ranks: Ranks = ALONE,
) -> Lesson:
    """The lesson of these pairs, with shared prompts where the model can take them."""
    batch = examples(pairs)
    weights = balanced_weights([pair for example in batch for pair in example.pairs], config.seed_share)
    weights = weights * len(batch) / len(pairs)
    return Lesson(
        examples=batch,
        weights=list(weights.split([len(example.pairs) for example in batch])),
        pad_token_id=pad_token_id,
        share_prompts=ranks.told(
            shares_prompts(model, max(batch, key=lambda one: one.tokens(True)), pad_token_id)
        ),
        lm_head=lm_head,
    )


@torch.no_grad()
def shares_prompts(model: RewardModel, example: Example, pad_token_id: int) -> bool:
    """Whether the model gives answers that share a row the states that they have in rows of their own.

    Measured, not looked up: a sliding window or a recurrent layer lets an answer see the one before it, and
    some attention kernels take no mask of our own.
    """

    def last_states(share_prompts: bool) -> Tensor:
        packed = pack([example], pad_token_id, model.head.weight.device, share_prompts=share_prompts)
        hidden = model.hidden(**packed.inputs())
        return torch.stack([hidden[place.row, place.end - 1] for place in packed.places])

    alone = last_states(False)
    try:
        shared = last_states(True)
    except (ValueError, RuntimeError, TypeError):
        return False
    return torch.allclose(shared, alone, rtol=1e-2, atol=1e-2 * float(alone.abs().mean()))


def learning_rate(step: int, steps: int, peak: float, warmup_share: float) -> float:
    """Linear rise over the first share of the steps, then linear fall; never 0. `step` counts from 0."""
    warmup = math.ceil(steps * warmup_share)
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (steps - step) / (steps - warmup)


def learn(
    model: RewardModel,
    lesson: Lesson,
    config: RewardConfig,
    reporter: Reporter,
    scale: ScaleConfig = ScaleConfig(),  # noqa: B008 - immutable
    ranks: Ranks = ALONE,
    work: Path | None = None,
) -> Learned:
    """All optimiser steps, or the rest after the newest checkpoint in `work`; the model changes in place.

    Raises:
        DivergedError: a loss or gradient is not finite, or a loss has no gradient.
        Cancelled: SIGTERM came.
        CheckpointError: one cannot be written, or the newest is of another training.
    """
    trained = make_trained(
        *_pupil(model, config), max_grad_norm=config.max_grad_norm, scale=scale, ranks=ranks
    )
    lengths = [example.tokens(lesson.share_prompts) for example in lesson.examples]
    batches = [
        batch
        for epoch in range(config.epochs)
        for batch in length_buckets(lengths, config.batch_pairs, config.seed + epoch)
    ]
    taught = fingerprint([config, *lesson.examples])
    checkpoints = StepCheckpoints(work, config.checkpoint_every, taught, ranks)
    steps = checkpoints.resume(trained, reporter)
    for step, batch in list(enumerate(batches))[len(steps) :]:
        started = time.monotonic()
        for group in trained.optimizer.param_groups:
            group["lr"] = learning_rate(step, len(batches), group["peak"], config.warmup_share)
        sums = {"loss": 0.0, "decided": 0.0, "accuracy": 0.0, "margin": 0.0}
        for rows, counts in ranks.passes(batch, lengths, config.micro_batch_tokens):
            reporter.check_cancelled()
            one = partial(_taught, trained, lesson, config, scale.precision, counts / len(batch))
            for said in trained.abreast(one, rows, lengths):
                for name, value in zip(sums, said, strict=True):
                    sums[name] += value * counts
        values = _means(ranks.sums(sums), len(batch))
        norm = trained.step() if math.isfinite(values["loss"]) else math.nan
        # A loss without a gradient is of weights so large that norms give 0: they learn nothing any more.
        if not math.isfinite(norm) or norm == 0.0 < values["loss"]:
            raise DivergedError(f"step {step + 1}: loss {values['loss']}, gradient {norm}. Lower reward.lr.")
        values |= {"lr": trained.optimizer.param_groups[1]["lr"], "grad_norm": norm}
        pairs = sum(len(lesson.examples[index].pairs) for index in batch)
        steps.append({**values, "pairs_per_second": pairs / (time.monotonic() - started)})
        reporter.metric(step + 1, len(batches), steps[-1])
        checkpoints.save(trained, steps)
    (threshold,) = [float(value) for name, value in trained.weights() if name == "threshold"]
    return Learned(steps, trained, threshold)


def _pupil(model: RewardModel, config: RewardConfig) -> tuple[Pupil, torch.optim.Optimizer]:
    # The head starts at zero and learns faster than the rest: a random one begins with large wrong margins,
    # which a few dozen steps at the transformer's rate do not undo. The threshold keeps pace with it.
    nn.init.zeros_(model.head.weight)
    pupil = Pupil(model)
    head = [model.get_parameter("classifier.score.weight"), pupil.threshold]
    backbone = _trainable(model, config.frozen_layers)
    return pupil, torch.optim.AdamW(
        [{"params": head, "peak": config.head_lr}, {"params": backbone, "peak": config.lr}],
        betas=(0.9, 0.95),
        eps=1e-6,
        weight_decay=config.weight_decay,
        fused=True,
    )


def _taught(
    trained: Trained[Pupil],
    lesson: Lesson,
    config: RewardConfig,
    precision: Precision,
    weight: float,
    part: Sequence[int],
) -> list[float]:
    """Gradient of some examples; sums of the loss of their pairs, decided, accuracy and margin."""
    total, said = trained(_read, lesson, part, config, precision)
    trained.backward(total * weight)
    sums: list[float] = said.tolist()
    return sums


def _read(
    pupil: Pupil, lesson: Lesson, part: Sequence[int], config: RewardConfig, precision: Precision
) -> tuple[Tensor, Tensor]:
    """Sums over some examples: the loss to learn from, and (loss of the pairs, decided, accuracy, margin)."""
    device = pupil.head.weight.device
    batch = [lesson.examples[index] for index in part]
    packed = pack(batch, lesson.pad_token_id, device, share_prompts=lesson.share_prompts)
    with autocast(device, precision):
        hidden = pupil.hidden(**packed.inputs())
    rows = [place.row for place in packed.places]
    ends = [place.end - 1 for place in packed.places]
    # A thumb is a pair with the threshold, which stands after the last answer.
    scores = torch.cat([pupil.value(hidden[rows, ends]), pupil.threshold])
    chosen, rejected = scores[packed.chosen], scores[packed.rejected]
    pairs = [pair for example in batch for pair in example.pairs]
    losses = ranking_loss(
        chosen,
        rejected,
        preference=torch.tensor([pair.preference for pair in pairs], device=device),
        margin=torch.tensor([config.margin + pair.margin for pair in pairs], device=device),
        label_smoothing=config.label_smoothing,
    )
    loss = (losses * torch.cat([lesson.weights[index] for index in part]).to(device)).sum()
    total = loss
    if lesson.lm_head is not None:
        total = loss + config.lm_coef * len(batch) * lm_loss(hidden, packed, lesson.lm_head, precision)
    ahead = (chosen - rejected).detach()[torch.tensor([pair.decided for pair in pairs], device=device)]
    decided = torch.tensor(float(len(ahead)), device=device)
    return total, torch.stack([loss.detach(), decided, (ahead > 0).float().sum(), ahead.sum()])


def _means(sums: dict[str, float], examples: int) -> dict[str, float]:
    """Loss of an example; accuracy and margin of a pair that is decided, which a step of ties lacks."""
    decided = sums["decided"]
    measured = {name: sums[name] / decided for name in ("accuracy", "margin")} if decided else {}
    return {"loss": sums["loss"] / examples, **measured}


def _trainable(model: RewardModel, frozen_layers: int) -> list[nn.Parameter]:
    """Freezes the embedding and the lower layers when asked to; returns what else learns but the head."""
    if frozen_layers:
        layers = model.backbone.get_submodule("layers")
        assert isinstance(layers, nn.ModuleList)
        if frozen_layers >= len(layers):
            raise ConfigError(f"reward.frozen_layers is {frozen_layers} of {len(layers)} layers. Lower it.")
        for module in [model.backbone.get_input_embeddings(), *layers[:frozen_layers]]:
            module.requires_grad_(False)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [parameter for parameter in trainable if parameter is not model.head.weight]
