"""Reward model: learns from preference pairs which answer people prefer; judged on held-out pairs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean, harmonic_mean

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from store.records import PreferencePair
from trainer.backend import bf16_copy, loading_device
from trainer.cards import reward_model_card
from trainer.config import RewardConfig, ScaleConfig
from trainer.data import load_tokenizer, spare_token_id
from trainer.errors import DataError, DivergedError, ModelError
from trainer.folders import copy_licence, copy_tokenizer, written_aside
from trainer.lesson import Learned, learn, prepare
from trainer.models import (
    Precision,
    RewardModel,
    default_device,
    frozen,
    load_reward_model,
    read_lm_head,
    reward_model_from_policy,
    save_reward_model,
)
from trainer.pair_report import PairReport, Share, agreement, pair_report
from trainer.pairs import TIE, TokenPair, check_pair, token_pairs
from trainer.ranking import answers, balanced_thumbs, score_sequences
from trainer.ranks import processes
from trainer.reporting import Reporter
from trainer.trainable import trainable


class RewardReport(BaseModel):
    """What `report.json` of a reward model holds."""

    model_config = ConfigDict(frozen=True)

    vote_pairs: int
    """Learned from: votes and imported pairs, ties among them."""
    ties: int
    seed_pairs: int
    thumbs: int
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
    agreement: Share | None
    """Share of held-out pairs that the previous reward model ranks the same way."""
    score_mean: float
    score_std: float
    """Over all held-out answers."""
    threshold: float | None
    """Score at which thumbs up and thumbs down are as likely; None when no thumbs were learned from."""
    shared_prompts: bool
    """Whether the answers of a pair went through the model behind one copy of their prompt."""
    pairs_per_second: float
    seconds: float


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
    scale: ScaleConfig = ScaleConfig(),  # noqa: B008 - immutable
    work: Path | None = None,
) -> RewardReport:
    """Trains a reward model that starts as the policy with a new head, and writes it to `out`.

    The same call goes on from the newest checkpoint in `work`, to the same numbers.

    Args:
        policy: folder of the policy.
        pairs: from votes, to learn from: pairs, ties, rankings and thumbs.
        held_out: from votes of other conversations, to judge by; only pairs that are decided count.
        seed_pairs: contrast pairs that steady the first runs; may be empty.
        out: new folder: weights and config for AutoModelForSequenceClassification, tokenizer, report.json,
            README.md.
        previous: the reward model before this one, whose prediction of the new votes is reported.
        scale: of several processes each makes this call; the first one writes.
        work: folder for checkpoints; None writes none.

    Raises:
        DataError: no pairs, none that fit, or one conversation in `pairs` and `held_out`.
        ModelError: `out` exists, or the policy's weights are not finite.
        DivergedError: the loss or a held-out score is not finite.
        CheckpointError: one cannot be written, or the newest is of another training.
    """
    started = time.monotonic()
    if out.exists():
        raise ModelError(f"{out} exists already. Give a new folder; nothing is overwritten.")
    tokenizer = load_tokenizer(policy)
    pad_token_id = spare_token_id(tokenizer)
    _check_apart(pairs, held_out)
    evidence = _fitting(pairs, tokenizer, config, "train pairs")
    judged = [pair for pair in _fitting(held_out, tokenizer, config, "held-out pairs") if pair.decided]
    votes, thumbs = _votes_and_thumbs(evidence, config, reporter)
    _check_decided(votes, judged)
    seeds = token_pairs(_drawn(seed_pairs, config), tokenizer, config.max_tokens)
    left_out = len(pairs) - len(evidence) + _decided(held_out) - len(judged)
    if left_out:
        reporter.log(f"{left_out} pairs do not fit into reward.max_tokens = {config.max_tokens}: left out")

    with processes(scale, reporter) as ranks:
        measured = partial(
            score_sequences,
            pad_token_id=pad_token_id,
            micro_batch_tokens=config.micro_batch_tokens,
            precision=scale.precision,
            ranks=ranks,
        )
        prequential, margins, before = _previous(
            previous, [*votes, *judged], judged, measured, scale.precision, reporter
        )
        model = reward_model_from_policy(
            policy, seed=config.seed, pad_token_id=pad_token_id, device=loading_device(scale)
        )
        lm_head = _lm_head(policy, scale.precision) if config.lm_coef > 0 else None
        taught = [*votes, *thumbs, *seeds]
        lesson = prepare(
            model, taught, pad_token_id=pad_token_id, lm_head=lm_head, config=config, ranks=ranks
        )
        learned = learn(trainable(model, scale, config.seed), lesson, config, reporter, scale, ranks, work)

        learned.trained.round_to_bf16()
        scores = measured(learned.trained, answers(judged))
        if not bool(torch.isfinite(scores).all()):
            raise DivergedError("a held-out score is NaN or infinite. Lower reward.lr.")
        report = RewardReport(
            vote_pairs=len(votes),
            ties=sum(pair.preference == TIE for pair in votes),
            seed_pairs=len(seeds),
            thumbs=len(thumbs),
            left_out_pairs=left_out,
            steps=len(learned.steps),
            train_loss=_tail_mean(learned, "loss"),
            train_accuracy=_tail_mean(learned, "accuracy"),
            held_out=pair_report(judged, scores),
            prequential=prequential,
            agreement=None if before is None else agreement(_ahead(scores), _ahead(before)),
            score_mean=float(scores.mean()),
            score_std=float(scores.std(correction=0)),
            threshold=learned.threshold if thumbs else None,
            shared_prompts=lesson.share_prompts,
            pairs_per_second=harmonic_mean(step["pairs_per_second"] for step in learned.steps),
            seconds=time.monotonic() - started,
        )
        weights = bf16_copy(learned.trained, ranks)
        if ranks.first:
            _publish(model, weights, tokenizer, policy, report, margins, config, out)
    return report


def _lm_head(policy: Path, precision: Precision) -> Tensor:
    """In the precision of the products: autocast would round it anew in each pass."""
    head = read_lm_head(policy)
    return head.to(default_device(), torch.bfloat16 if precision == "bf16" else torch.float32)


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


def _check_apart(pairs: Sequence[PreferencePair], held_out: Sequence[PreferencePair]) -> None:
    """A conversation trains or judges: its turns repeat each other. One conversation alone has no choice."""
    train = {pair.conversation_id for pair in pairs} - {None}
    judge = {pair.conversation_id for pair in held_out} - {None}
    both = sorted(name for name in train & judge if name is not None)
    if both and len(train | judge) > 1:
        raise DataError(f"conversation {both[0]} is in the train and in the held-out pairs. Keep it in one.")


def _check_decided(votes: Sequence[TokenPair], judged: Sequence[TokenPair]) -> None:
    """Ties and thumbs steady a ranking, they do not make one."""
    for what, pairs in (("train", votes), ("held-out", judged)):
        if not any(pair.decided for pair in pairs):
            raise DataError(f"no {what} pair prefers one of two answers. Collect votes for a or b.")


def _votes_and_thumbs(
    evidence: Sequence[TokenPair], config: RewardConfig, reporter: Reporter
) -> tuple[list[TokenPair], list[TokenPair]]:
    """Pairs, and the thumbs that are learned from, with their weights."""
    votes = [pair for pair in evidence if pair.source != "thumb"]
    thumbs = [pair for pair in evidence if pair.source == "thumb"]
    used = balanced_thumbs(thumbs, config.thumb_coef)
    if thumbs and not used:
        reporter.log(f"{len(thumbs)} thumbs are left out: all of one kind, or reward.thumb_coef is 0")
    return votes, used


def _decided(pairs: Sequence[PreferencePair]) -> int:
    return sum(pair.source != "thumb" and pair.preference > TIE for pair in pairs)


def _drawn(seed_pairs: Sequence[PreferencePair], config: RewardConfig) -> list[PreferencePair]:
    """The seed pairs of this run: another choice for each seed."""
    if config.seed_share == 0:
        return []
    order = torch.randperm(len(seed_pairs), generator=torch.Generator().manual_seed(config.seed))
    return [seed_pairs[index] for index in order[: config.max_seed_pairs].tolist()]


def _previous(
    previous: Path | None,
    pairs: Sequence[TokenPair],
    judged: Sequence[TokenPair],
    measured: Callable[[RewardModel, list[list[int]]], Tensor],
    precision: Precision,
    reporter: Reporter,
) -> tuple[PairReport | None, dict[str, float], Tensor | None]:
    """The previous reward model on votes that it has not seen: its report and its margin on each of them.

    And its scores of the held-out answers.
    """
    if previous is None:
        return None, {}, None
    model = frozen(load_reward_model(previous, default_device()), precision)
    scores = measured(model, answers(judged))
    new = [pair for pair in pairs if pair.new and pair.source == "vote" and pair.decided]
    if not new:
        return None, {}, scores
    of_new = measured(model, answers(new))
    report = pair_report(new, of_new)
    margins = {
        pair.vote_id: margin
        for pair, margin in zip(new, _ahead(of_new).tolist(), strict=True)
        if pair.vote_id and pair.ranking_id is None
    }
    reporter.log(f"the previous reward model agrees with {report.accuracy:.0%} of {len(new)} new votes")
    return report, margins, scores


def _ahead(scores: Tensor) -> Tensor:
    """(2 N,) scores, chosen first -> (N,) differences."""
    return scores[: len(scores) // 2] - scores[len(scores) // 2 :]


def _tail_mean(learned: Learned, name: str) -> float:
    """Over the last quarter of the steps, or over all where none of these has it."""
    tail = learned.steps[-max(1, len(learned.steps) // 4) :]
    return fmean(
        [step[name] for step in tail if name in step] or [s[name] for s in learned.steps if name in s]
    )


def _publish(
    model: RewardModel,
    weights: dict[str, Tensor],
    tokenizer: PreTrainedTokenizerBase,
    policy: Path,
    report: RewardReport,
    margins: dict[str, float],
    config: RewardConfig,
    out: Path,
) -> None:
    """Writes the folder. Its tokenizer pads with the spare token, as the model's config says.

    `margins.json` holds how far the model before this one had put the chosen answer of each new vote ahead.
    """
    with written_aside(out) as folder:
        save_reward_model(model, folder, weights)
        copy_tokenizer(policy, folder)
        copy_licence(policy, folder)
        path = folder / "tokenizer_config.json"
        settings = json.loads(path.read_text(encoding="utf-8"))
        settings |= {
            "pad_token": tokenizer.decode([model.classifier.config.pad_token_id]),
            "padding_side": "right",
        }
        path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        facts = report.model_dump(mode="json")
        (folder / "report.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        (folder / "margins.json").write_text(json.dumps(margins) + "\n", encoding="utf-8")
        card = reward_model_card(facts, started_from=policy, settings={"reward": config})
        (folder / "README.md").write_text(card, encoding="utf-8")
