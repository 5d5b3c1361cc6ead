"""The same numbers as TRL's PPO on the same tensors. TRL is no dependency: run where it can be imported."""

from __future__ import annotations

import inspect
import os
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
trl = pytest.importorskip("trl.experimental.ppo.ppo_trainer")

from trainer.advantages import gae  # noqa: E402
from trainer.data import pad_right  # noqa: E402
from trainer.losses import policy_loss, value_loss  # noqa: E402
from trainer.models import reward_model_from_policy  # noqa: E402
from trainer.tensors import masked_mean, whiten  # noqa: E402

CHANCE = torch.Generator().manual_seed(0)
MASK = torch.tensor([[True] * 6, [True] * 6, [True] * 3 + [False] * 3, [True] + [False] * 5])


def noise() -> torch.Tensor:
    return torch.randn(MASK.shape, generator=CHANCE, dtype=torch.float64) * MASK


def lines_of_train(first: str, last: str, **names: Any) -> dict[str, Any]:
    """Runs TRL's own lines, from the one that starts with `first` to the one that starts with `last`."""
    lines = inspect.getsource(trl.PPOTrainer.train).splitlines()
    start = next(at for at, line in enumerate(lines) if line.strip().startswith(first))
    end = next(at for at, line in enumerate(lines) if at > start and line.strip().startswith(last))
    exec(textwrap.dedent("\n".join(lines[start : end + 1])), vars(trl), names)
    return names


def test_masked_means_and_whitening() -> None:
    values = noise() + MASK
    assert torch.equal(masked_mean(values, MASK), trl.masked_mean(values, MASK))
    # TRL divides by n - 1, as torch.var does; OpenAI's code, the paper's and ours by n.
    bessel = (1 - 1 / MASK.sum()).sqrt()
    theirs = torch.masked_fill(trl.masked_whiten(values, MASK), ~MASK, 0)
    assert torch.allclose(whiten(values, MASK) * bessel, theirs, atol=1e-5)


def test_advantages_and_returns() -> None:
    rewards, values = noise(), noise()
    theirs = lines_of_train(
        "lastgaelam = 0", "returns =", rewards=rewards, values=values, responses=MASK,
        args=SimpleNamespace(gamma=0.99, lam=0.9),
    )  # fmt: skip
    advantages, returns = gae(rewards, values, MASK, gamma=0.99, gae_lambda=0.9)
    assert torch.allclose(advantages, theirs["advantages"] * MASK)
    assert torch.allclose(returns, theirs["returns"] * MASK)


def test_policy_and_value_loss() -> None:
    new, old, advantages, values, old_values, returns = (0.5 * noise() for _ in range(6))
    theirs = lines_of_train(
        "vpredclipped =", "loss =", vpred=values, mb_values=old_values, mb_return=returns,
        new_logprobs=new, mb_logprobs=old, mb_advantage=advantages, padding_mask=~MASK,
        padding_mask_p1=~MASK, micro_batch_inds=slice(None),
        args=SimpleNamespace(cliprange=0.2, cliprange_value=0.2, vf_coef=1.0),
    )  # fmt: skip
    policy = policy_loss(new, old, advantages, MASK, clip_range=0.2)
    value, clipped = value_loss(values, old_values, returns, MASK, value_clip_range=0.2)
    tokens = MASK.sum()
    assert torch.allclose(policy.loss / tokens, theirs["pg_loss"])
    assert torch.allclose(value / tokens, theirs["vf_loss"])
    assert float(clipped / tokens) == pytest.approx(float(theirs["vf_clipfrac"]))


def test_scores_of_the_reward_model(tiny_policy: Path) -> None:
    model = reward_model_from_policy(tiny_policy, seed=3, pad_token_id=256)
    batch = pad_right([[1, 2, 3, 40, 41, 42], [1, 2, 3, 50]], 256)
    with torch.no_grad():
        ours = model.scores(**batch.inputs())
        _, theirs, _ = trl.get_reward(model.classifier, batch.input_ids, 256, context_length=3)
    assert ours.tolist() == pytest.approx(theirs.tolist(), rel=1e-5)
