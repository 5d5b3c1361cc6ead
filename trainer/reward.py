"""Reward model: learns from preference pairs which of two answers people prefer, and is judged on held-out ones."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict
from safetensors import safe_open
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from trainer.config import RewardConfig
from trainer.data import (
    TokenPair,
    TrainingPair,
    length_buckets,
    load_tokenizer,
    micro_batches,
    pad_right,
    spare_token_id,
    token_pairs,
)
from trainer.errors import DataError, DivergedError
from trainer.models import (
    RewardModel,
    autocast,
    copy_tokenizer,
    default_device,
    load_reward_model,
    reward_model_from_policy,
    round_to_bf16,
    save_reward_model,
    written_aside,
)
from trainer.reporting import Reporter


class PairReport(BaseModel):
    """How a reward model ranks a set of pairs."""

    model_config = ConfigDict(frozen=True)

    pairs: int
    accuracy: float
    """Share of pairs whose preferred answer scores higher; an equal score counts half."""
    margin: float
    """Mean score of the preferred answers minus that of the others."""
    loss: float
    """Mean of -log sigmoid(margin)."""
    length_correlation: float | None
    """Pearson correlation of score and answer length in tokens; None when either does not vary."""
    longer_preferred_share: float
    """Share of pairs whose preferred answer is the longer one: what length alone would predict."""


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


def ranking_loss(chosen: Tensor, rejected: Tensor, *, margin: float, label_smoothing: float) -> Tensor:
    """Pairwise ranking loss of each pair, (B,) and (B,) -> (B,), fp32.

    -(1 - a) log sigmoid(d - m) - a log sigmoid(m - d), with d = chosen - rejected. Eq. 1 of arXiv 2307.04964
    with its sign put right; smoothing and margin as in arXiv 2401.06080.
    """
    ahead = chosen.float() - rejected.float() - margin
    agree, differ = nn.functional.logsigmoid(ahead), nn.functional.logsigmoid(-ahead)
    return -(1.0 - label_smoothing) * agree - label_smoothing * differ


def balanced_weights(pairs: Sequence[TokenPair], seed_share: float) -> Tensor:
    """Loss weights of the pairs with mean 1, seed pairs having `seed_share` of the whole: (N,).

    With votes only or seed pairs only, the share has nothing to divide and each keeps its own weight.
    """
    weights = torch.tensor([pair.weight for pair in pairs])
    is_seed = torch.tensor([pair.source == "seed" for pair in pairs])
    seeds, votes = weights[is_seed].sum(), weights[~is_seed].sum()
    if seeds > 0 and votes > 0:
        weights = torch.where(is_seed, weights * seed_share / seeds, weights * (1.0 - seed_share) / votes)
    return weights * len(pairs) / weights.sum()


def learning_rate(step: int, steps: int, peak: float, warmup_share: float) -> float:
    """Linear rise over the first share of the steps, then linear fall; never 0. `step` counts from 0."""
    warmup = math.ceil(steps * warmup_share)
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (steps - step) / (steps - warmup)


def train_reward_model(
    *,
    policy: Path,
    pairs: Sequence[TrainingPair],
    held_out: Sequence[TrainingPair],
    seed_pairs: Sequence[TrainingPair],
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
    tokenizer = load_tokenizer(policy)
    votes = _prepared(pairs, tokenizer, config, "train pairs")
    judged = _prepared(held_out, tokenizer, config, "held-out pairs")
    order = torch.randperm(len(seed_pairs), generator=torch.Generator().manual_seed(config.seed))
    drawn = [seed_pairs[index] for index in order[: config.max_seed_pairs].tolist()]
    seeds = token_pairs(drawn if config.seed_share > 0 else [], tokenizer, config.max_tokens)
    left_out = len(pairs) + len(held_out) - len(votes) - len(judged)
    if left_out:
        reporter.log(f"{left_out} pairs are longer than reward.max_tokens = {config.max_tokens} and left out")

    pad_token_id = spare_token_id(tokenizer)
    device = default_device()
    prequential = None
    new = [pair for pair in [*votes, *judged] if pair.new and pair.source == "vote"]
    if previous is not None and new:
        prequential = judge_pairs(load_reward_model(previous, device), new, pad_token_id, config)
        reporter.log(f"the previous reward model agrees with {prequential.accuracy:.0%} of the new votes")
    model = reward_model_from_policy(policy, seed=config.seed, pad_token_id=pad_token_id, device=device)
    history = _train(model, [*votes, *seeds], pad_token_id, _lm_head(policy, config, device), config, reporter)

    round_to_bf16(model)
    scores = score_sequences(model, _answers(judged), pad_token_id, config.micro_batch_tokens)
    tail = history[-max(1, len(history) // 4) :]
    report = RewardReport(
        vote_pairs=len(votes),
        seed_pairs=len(seeds),
        left_out_pairs=left_out,
        steps=len(history),
        train_loss=sum(row["loss"] for row in tail) / len(tail),
        train_accuracy=sum(row["accuracy"] for row in tail) / len(tail),
        held_out=_pair_report(judged, scores),
        prequential=prequential,
        score_mean=float(scores.mean()),
        score_std=float(scores.std(correction=0)),
        pairs_per_second=sum(row["pairs_per_second"] for row in history) / len(history),
        seconds=time.monotonic() - started,
    )
    _publish(model, tokenizer, policy, pad_token_id, report, out)
    return report


def score_sequences(
    model: RewardModel, sequences: Sequence[Sequence[int]], pad_token_id: int, micro_batch_tokens: int
) -> Tensor:
    """Scores of prompt-and-answer token sequences, (N,) fp32 on the CPU, in the order given."""
    lengths = [len(sequence) for sequence in sequences]
    scores = torch.empty(len(sequences))
    device = model.head.weight.device
    with torch.no_grad(), autocast(device):
        for part in micro_batches(range(len(sequences)), lengths, micro_batch_tokens):
            batch = pad_right([sequences[index] for index in part], pad_token_id, device)
            scores[part] = model.scores(**batch.inputs()).cpu()
    return scores


def judge_pairs(
    model: RewardModel, pairs: Sequence[TokenPair], pad_token_id: int, config: RewardConfig
) -> PairReport:
    """How the model ranks pairs: accuracy, margin and what length has to do with it."""
    return _pair_report(
        pairs, score_sequences(model, _answers(pairs), pad_token_id, config.micro_batch_tokens)
    )


def _prepared(
    pairs: Sequence[TrainingPair], tokenizer: PreTrainedTokenizerBase, config: RewardConfig, what: str
) -> list[TokenPair]:
    if not pairs:
        raise DataError(f"there are no {what}. Collect more votes, or raise schedule.held_out_share.")
    tokens = token_pairs(pairs, tokenizer, config.max_tokens)
    if not tokens:
        raise DataError(f"none of the {what} fits into reward.max_tokens = {config.max_tokens}. Raise it.")
    return tokens


def _train(
    model: RewardModel,
    pairs: Sequence[TokenPair],
    pad_token_id: int,
    lm_head: Tensor | None,
    config: RewardConfig,
    reporter: Reporter,
) -> list[dict[str, float]]:
    """All steps; returns each step's metrics."""
    weights = balanced_weights(pairs, config.seed_share)
    parameters = _trainable(model, config.frozen_layers)
    optimizer = torch.optim.AdamW(
        parameters, lr=config.lr, betas=(0.9, 0.95), eps=1e-6, weight_decay=config.weight_decay, fused=True
    )
    batches = list(_epochs(pairs, config))
    history = []
    for step, batch in enumerate(batches):
        started = time.monotonic()
        lr = learning_rate(step, len(batches), config.lr, config.warmup_share)
        for group in optimizer.param_groups:
            group["lr"] = lr
        values = _accumulate(model, pairs, weights, batch, pad_token_id, lm_head, config, reporter)
        norm = nn.utils.clip_grad_norm_(parameters, config.max_grad_norm or math.inf)
        if not (math.isfinite(values["loss"]) and torch.isfinite(norm)):
            raise DivergedError(f"reward step {step + 1}: loss {values['loss']}, gradient {norm}; lower reward.lr.")
        optimizer.step()
        optimizer.zero_grad()
        speed = len(batch) / (time.monotonic() - started)
        history.append({**values, "lr": lr, "grad_norm": float(norm), "pairs_per_second": speed})
        reporter.metric(step + 1, len(batches), history[-1])
    return history


def _accumulate(
    model: RewardModel,
    pairs: Sequence[TokenPair],
    weights: Tensor,
    batch: Sequence[int],
    pad_token_id: int,
    lm_head: Tensor | None,
    config: RewardConfig,
    reporter: Reporter,
) -> dict[str, float]:
    """Gradients of one step, in as many passes as the memory limit asks for; returns the step's metrics."""
    lengths = _pair_lengths(pairs)
    device = model.head.weight.device
    totals = {"loss": 0.0, "accuracy": 0.0, "margin": 0.0}
    for part in micro_batches(batch, [2 * length for length in lengths], config.micro_batch_tokens):
        reporter.check_cancelled()
        chosen = [pairs[index] for index in part]
        # Both answers in one pass: chosen rows first, then the rejected ones.
        rows = [pair.chosen for pair in chosen] + [pair.rejected for pair in chosen]
        inputs = pad_right(rows, pad_token_id, device)
        with autocast(device):
            hidden = model.hidden(**inputs.inputs())
        last = inputs.attention_mask.sum(dim=1) - 1
        scores = model.value(hidden[torch.arange(len(rows), device=device), last])
        first, second = scores[: len(part)], scores[len(part) :]
        losses = ranking_loss(first, second, margin=config.margin, label_smoothing=config.label_smoothing)
        loss = (losses * weights[part].to(device)).sum() / len(batch)
        total = loss
        if lm_head is not None:
            total = loss + config.lm_coef * _lm_loss(hidden, chosen, lm_head) * len(part) / len(batch)
        total.backward()  # type: ignore[no-untyped-call]
        ahead = (first - second).detach()
        totals["loss"] += float(loss.detach())
        totals["accuracy"] += float((ahead > 0).sum()) / len(batch)
        totals["margin"] += float(ahead.sum()) / len(batch)
    return totals


def _lm_loss(hidden: Tensor, pairs: Sequence[TokenPair], lm_head: Tensor) -> Tensor:
    """Token mean of the cross-entropy of the preferred answers, prompts masked. hidden (2 B, T, H)."""
    states, targets = [], []
    for row, pair in enumerate(pairs):
        states.append(hidden[row, pair.prompt_length - 1 : len(pair.chosen) - 1])
        targets += pair.chosen[pair.prompt_length :]
    with autocast(hidden.device):
        logits = nn.functional.linear(torch.cat(states), lm_head)
    return nn.functional.cross_entropy(logits.float(), torch.tensor(targets, device=hidden.device))


def _lm_head(policy: Path, config: RewardConfig, device: torch.device) -> Tensor | None:
    """The policy's output embedding, frozen, (V, H); None when there is no language-model loss."""
    if config.lm_coef == 0:
        return None
    for path in sorted(policy.glob("*.safetensors")):
        with safe_open(path, framework="pt") as tensors:
            if "lm_head.weight" in tensors.keys():  # noqa: SIM118 - not a dict
                head: Tensor = tensors.get_tensor("lm_head.weight")
                return head.float().to(device)
    raise DataError(f"{policy} has no lm_head.weight. Give a folder that `base` or `ppo` wrote.")


def _trainable(model: RewardModel, frozen_layers: int) -> list[nn.Parameter]:
    """Freezes the embedding and the lower layers when asked to; returns what is left to train."""
    if frozen_layers:
        layers = model.backbone.get_submodule("layers")
        assert isinstance(layers, nn.ModuleList)
        if frozen_layers >= len(layers):
            raise DataError(f"reward.frozen_layers is {frozen_layers}, the model has {len(layers)}. Lower it.")
        for module in [model.backbone.get_input_embeddings(), *layers[:frozen_layers]]:
            module.requires_grad_(False)
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _epochs(pairs: Sequence[TokenPair], config: RewardConfig) -> Iterator[list[int]]:
    for epoch in range(config.epochs):
        yield from length_buckets(_pair_lengths(pairs), config.batch_pairs, config.seed + epoch)


def _pair_lengths(pairs: Sequence[TokenPair]) -> list[int]:
    return [max(len(pair.chosen), len(pair.rejected)) for pair in pairs]


def _answers(pairs: Sequence[TokenPair]) -> list[list[int]]:
    return [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]


def _pair_report(pairs: Sequence[TokenPair], scores: Tensor) -> PairReport:
    """Report from the scores (2 N,) of N pairs, chosen first."""
    ahead = scores[: len(pairs)] - scores[len(pairs) :]
    lengths = torch.tensor(
        [float(len(sequence) - pair.prompt_length) for sequence, pair in zip(_answers(pairs), [*pairs, *pairs], strict=True)]
    )
    longer = lengths[: len(pairs)] - lengths[len(pairs) :]
    varies = scores.std(correction=0) > 0 and lengths.std(correction=0) > 0
    correlation = float(torch.corrcoef(torch.stack([scores, lengths]))[0, 1]) if varies else None
    return PairReport(
        pairs=len(pairs),
        accuracy=float(((ahead > 0).float() + 0.5 * (ahead == 0).float()).mean()),
        margin=float(ahead.mean()),
        loss=float(-nn.functional.logsigmoid(ahead).mean()),
        length_correlation=correlation,
        longer_preferred_share=float(((longer > 0).float() + 0.5 * (longer == 0).float()).mean()),
    )


def _publish(
    model: RewardModel,
    tokenizer: PreTrainedTokenizerBase,
    policy: Path,
    pad_token_id: int,
    report: RewardReport,
    out: Path,
) -> None:
    """Writes the folder. Its tokenizer pads with the spare token, so plain transformers finds the last real one."""
    with written_aside(out) as folder:
        save_reward_model(model, folder)
        copy_tokenizer(policy, folder)
        path = folder / "tokenizer_config.json"
        settings = json.loads(path.read_text(encoding="utf-8"))
        settings |= {"pad_token": tokenizer.decode([pad_token_id]), "padding_side": "right"}
        path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        (folder / "report.json").write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
