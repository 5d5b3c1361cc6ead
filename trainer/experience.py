"""Experience: the tensors of one rollout batch: answers, scored and read by teacher forcing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor
from transformers import PreTrainedModel

from trainer.backend import Trained, abreast, through
from trainer.data import Batch, micro_batches, pad_right
from trainer.flat import common_opening, flat_batch
from trainer.models import Precision, RewardModel, autocast, last_states
from trainer.ranks import ALONE, Ranks
from trainer.rollout import Rollout
from trainer.tensors import before_response, logprobs_and_entropy, response_mask, scatter


@dataclass
class Experience:
    """B answers, R the longest of them. 0 outside `mask`."""

    rollouts: list[Rollout]
    mask: Tensor
    """(B, R) bool, True = a response token, the end token included."""
    ended: Tensor
    """(B,) bool, False = cut at the limit."""
    engine_logprobs: Tensor
    """(B, R), as the engine that drew the answers computed them."""
    old_logprobs: Tensor
    """(B, R), the policy before this update."""
    ref_logprobs: Tensor
    """(B, R), the reference model."""
    entropy: Tensor
    """(B, R), of the policy before this update."""
    values: Tensor
    """(B, R), the critic before this update: what it expects before each response token."""
    scores: Tensor
    """(B,), the reward model's, raw."""
    critic_last: Tensor = field(default_factory=lambda: torch.empty(0))
    """(B, H), the critic's hidden state at the last response token; empty without a critic."""

    def __len__(self) -> int:
        return len(self.rollouts)

    def lengths(self) -> Tensor:
        """(B,) response tokens."""
        return self.mask.sum(1)


@dataclass(frozen=True)
class Part:
    """Some answers of an experience as one forward pass, padded or flat."""

    rows: Tensor
    """(b,) which answers."""
    batch: Batch
    mask: Tensor
    """(b, R)"""
    before: Tensor
    """(N,) which of the pass's states each response token is predicted from, in the mask's order."""
    tokens: Tensor
    """(N,) the response tokens, in the mask's order."""
    counts: bool = True
    """False: only there because another rank has one more; its losses and sums are 0."""


def token_counts(rollouts: Sequence[Rollout]) -> list[int]:
    """Tokens of each prompt with its answer."""
    return [len(one.prompt_ids) + len(one.response_ids) for one in rollouts]


def tokens_read(rollouts: Sequence[Rollout], *, flat: bool) -> list[int]:
    """Tokens of each answer's row in a pass: a flat one has what all prompts begin with only once."""
    opening = common_opening([one.prompt_ids for one in rollouts]) if flat else 0
    return [tokens - opening for tokens in token_counts(rollouts)]


def part_of_answers(
    rollouts: Sequence[Rollout],
    rows: Sequence[int],
    width: int,
    device: torch.device,
    *,
    flat: bool = False,
    counts: bool = True,
) -> Part:
    """Some answers of all as one forward pass."""
    chosen = [rollouts[row] for row in rows]
    said = torch.tensor([len(one.response_ids) for one in chosen], device=device)
    asked = torch.tensor([len(one.prompt_ids) for one in chosen], device=device)
    sequences = [one.prompt_ids + one.response_ids for one in chosen]
    if flat:
        opening = common_opening([one.prompt_ids for one in chosen])
        batch, starts = flat_batch(sequences, opening, device)
        starts = starts - opening
    else:
        batch = pad_right(sequences, 0, device)
        starts = torch.arange(len(rows), device=device) * batch.input_ids.shape[1]
    mask = response_mask(said, width)
    return Part(
        rows=torch.tensor(rows, device=device),
        batch=batch,
        mask=mask,
        before=before_response(starts + asked - 1, mask),
        tokens=torch.tensor([token for one in chosen for token in one.response_ids], device=device),
        counts=counts,
    )


def parts(
    rollouts: Sequence[Rollout],
    indices: Sequence[int],
    width: int,
    max_tokens: int,
    device: torch.device,
) -> Iterator[Part]:
    """Cut answers into forward passes of similar lengths within `max_tokens` padded tokens."""
    for rows in micro_batches(indices, token_counts(rollouts), max_tokens):
        yield part_of_answers(rollouts, rows, width, device)


def read_policy(
    policy: PreTrainedModel,
    part: Part,
    temperature: float,
    precision: Precision,
    *,
    entropy_gradient: bool = False,
) -> tuple[Tensor, Tensor]:
    """Log-probabilities and entropies of the response tokens under a policy: (b, R) each, fp32."""
    with autocast(part.tokens.device, precision):
        backbone = getattr(policy, policy.base_model_prefix)
        hidden = backbone(**part.batch.inputs(), use_cache=False).last_hidden_state
        picked = hidden.flatten(0, 1)[part.before]
        head = policy.get_output_embeddings()
        assert isinstance(head, torch.nn.Linear)
        # The weight is fetched once: calling the head for each chunk would make ZeRO-3 gather it as often,
        # and the ranks have different numbers of chunks.
        logprobs, entropy = logprobs_and_entropy(
            picked,
            partial(torch.nn.functional.linear, weight=head.weight, bias=head.bias),
            part.tokens,
            temperature,
            entropy_gradient=entropy_gradient,
        )
    return scatter(logprobs, part.mask), scatter(entropy, part.mask)


def read_critic(critic: RewardModel, part: Part, precision: Precision) -> tuple[Tensor, Tensor]:
    """What the critic expects before each response token, (b, R), and its last hidden state, (b, H)."""
    with autocast(part.tokens.device, precision):
        hidden = critic.hidden(**part.batch.inputs())
        values = critic.value(hidden.flatten(0, 1)[part.before])
    return scatter(values, part.mask), last_states(hidden, part.batch.attention_mask)


@torch.no_grad()
def gather(
    rollouts: list[Rollout],
    *,
    policy: PreTrainedModel | Trained[PreTrainedModel],
    reference: PreTrainedModel,
    critic: RewardModel | Trained[RewardModel] | None,
    reward_model: RewardModel,
    temperature: float,
    max_tokens: int,
    device: torch.device,
    precision: Precision = "bf16",
    flat: bool = False,
    ranks: Ranks = ALONE,
) -> Experience:
    """Score the answers and read them with policy, reference and critic, without gradients.

    With no critic the values stay 0: the gate needs none. Every rank gives all answers and gets all tensors.
    `flat`: in flat passes, which all four models must read.
    """
    width = max(len(one.response_ids) for one in rollouts)
    size = (len(rollouts), width)
    lengths = torch.tensor([len(one.response_ids) for one in rollouts])
    mask = response_mask(lengths, width).to(device)
    engine = torch.tensor([logprob for one in rollouts for logprob in one.engine_logprobs], device=device)
    experience = Experience(
        rollouts=rollouts,
        mask=mask,
        ended=torch.tensor([one.ended for one in rollouts], device=device),
        engine_logprobs=scatter(engine, mask),
        **{
            name: torch.zeros(size, device=device)
            for name in ("old_logprobs", "ref_logprobs", "entropy", "values")
        },
        scores=torch.zeros(len(rollouts), device=device),
        critic_last=torch.zeros(len(rollouts), _hidden_size(critic), device=device),
    )

    def read(rows: Sequence[int], *, counts: bool) -> None:
        part = part_of_answers(rollouts, rows, width, device, flat=flat)
        logprobs, entropy = through(policy, read_policy, part, temperature, precision)
        values = through(critic, read_critic, part, precision) if critic is not None else None
        if not counts:
            return
        experience.old_logprobs[part.rows], experience.entropy[part.rows] = logprobs, entropy
        experience.ref_logprobs[part.rows], _ = read_policy(reference, part, temperature, precision)
        if values is not None:
            experience.values[part.rows], experience.critic_last[part.rows] = values
        with autocast(device, precision):
            experience.scores[part.rows] = reward_model.scores(**part.batch.inputs())

    tokens = token_counts(rollouts)
    lengths_read = tokens_read(rollouts, flat=flat)
    for rows, counts in ranks.passes(range(len(rollouts)), tokens, max_tokens):
        abreast(policy, partial(read, counts=counts), rows, lengths_read, padded=not flat)
    ranks.add(
        experience.old_logprobs, experience.ref_logprobs, experience.entropy, experience.values,
        experience.scores, experience.critic_last,
    )  # fmt: skip
    return experience


def _hidden_size(critic: RewardModel | Trained[RewardModel] | None) -> int:
    if critic is None:
        return 0
    return (critic if isinstance(critic, RewardModel) else critic.model).head.in_features
