"""Master weights: what bf16 would round away is kept in fp32, and what is published is what computes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from trainer.backend import Trained, Whole
from trainer.learner import adamw
from trainer.models import RewardModel, load_policy, reward_model_from_policy


def whole(weight: float, lr: float) -> Whole[nn.Linear]:
    """One weight under plain gradient descent."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, weight)
    return Whole(model, torch.optim.SGD(model.parameters(), lr=lr), max_grad_norm=0.0, precision="bf16")


def step(trained: Trained[nn.Linear], *gradients: float) -> float:
    for gradient in gradients:
        trained.backward((trained.model.weight * gradient).float().sum())
    return trained.step()


def computing(trained: Trained[nn.Linear]) -> float:
    return float(trained.model.weight.detach())


def master(trained: Trained[nn.Linear]) -> float:
    weight: Tensor = trained.state()["model"]["weight"]
    return float(weight)


def test_steps_of_a_millionth_of_a_weight_are_not_lost() -> None:
    trained = whole(1.0, lr=1e-6)
    for _ in range(100):
        step(trained, 1.0)
    # 100 steps of 1e-6; bf16 has nothing between 0.99609375 and 1, so by itself it would never move.
    assert master(trained) == pytest.approx(1 - 1e-4, abs=2e-6)
    assert trained.model.weight.dtype == torch.bfloat16
    assert computing(trained) == 1.0
    for _ in range(4000):
        step(trained, 1.0)
    assert master(trained) == pytest.approx(1 - 4.1e-3, abs=1e-4)
    assert computing(trained) == 0.99609375  # the bf16 number that is nearest


def test_gradients_of_many_passes_are_added_in_fp32() -> None:
    trained = whole(0.0, lr=1.0)
    # 1 + 256 x 1/256 = 2; a sum in bf16 would stay at 1, where its next number is 1 + 1/128.
    assert step(trained, 1.0, *[1 / 256] * 256) == 2.0
    assert master(trained) == -2.0


def test_a_gradient_that_is_no_number_changes_nothing() -> None:
    trained = whole(1.0, lr=0.1)
    assert not torch.isfinite(torch.tensor(step(trained, float("nan"))))
    assert master(trained) == computing(trained) == 1.0
    step(trained, 1.0)
    assert master(trained) == pytest.approx(0.9)


def test_with_fp32_the_models_own_weights_are_stepped_on() -> None:
    model = nn.Linear(1, 1)
    trained = Whole(model, torch.optim.SGD(model.parameters(), lr=0.5), max_grad_norm=0.0, precision="fp32")
    assert model.weight.dtype == torch.float32
    assert trained.optimizer.param_groups[0]["params"][0] is model.weight
    assert trained.state()["model"]["weight"].data_ptr() == model.weight.data_ptr()


def taught(policy: Path, steps: int, start: dict[str, object] | None = None) -> Trained[RewardModel]:
    model = reward_model_from_policy(policy, seed=1, pad_token_id=0)
    trained = Whole(model, adamw(model, 1e-3, 1e-8), max_grad_norm=1.0, precision="bf16")
    if start:
        trained.load(start, None)
    for at in range(steps):
        ids = torch.arange(8).add(at + (5 if start else 3))[None]
        values = trained(RewardModel.forward, ids, torch.ones_like(ids).bool(), torch.arange(8)[None])
        assert values.dtype == torch.float32
        trained.backward(values.square().sum())
        assert trained.step() > 0
    return trained


def test_what_is_published_is_what_computes_and_is_the_masters_rounded(tiny_policy: Path) -> None:
    trained = taught(tiny_policy, 3)
    masters, published = trained.state()["model"], dict(trained.weights())
    moved = 0
    for name, weight in trained.model.named_parameters():
        assert published[name].data_ptr() == weight.data_ptr()
        assert masters[name].dtype == torch.float32
        assert torch.equal(weight.float(), masters[name].to(weight.dtype).float())
        moved += not torch.equal(weight.float(), masters[name])
    head = trained.model.head.weight
    assert head.dtype == torch.float32
    assert moved == len(masters) - 1  # all but the head, which is its own master
    trained.round_to_bf16()
    assert torch.equal(head, head.bfloat16().float())


def test_a_resume_goes_on_from_the_masters_bit_for_bit(tiny_policy: Path) -> None:
    whole, half = taught(tiny_policy, 4), taught(tiny_policy, 2)
    resumed = taught(tiny_policy, 2, half.state())
    one, other = whole.state()["model"], resumed.state()["model"]
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert all(
        torch.equal(one, other)
        for (_, one), (_, other) in zip(whole.weights(), resumed.weights(), strict=True)
    )


def test_a_tied_head_stays_tied(tiny_policy: Path) -> None:
    policy = load_policy(tiny_policy)
    trained = Whole(policy, adamw(policy, 1e-3, 1e-8), max_grad_norm=1.0)
    head = policy.get_output_embeddings()
    assert head is not None
    assert head.weight is policy.get_input_embeddings().weight
    assert "lm_head.weight" not in trained.state()["model"]


def test_a_token_that_comes_often_has_its_gradients_added_in_fp32() -> None:
    model = nn.Embedding(4, 2, padding_idx=3)
    trained = Whole(model, torch.optim.SGD(model.parameters(), lr=1.0), max_grad_norm=0.0)
    before = trained.state()["model"]["weight"].clone()
    ids = torch.tensor([[1] * 257 + [2, 3]])
    found = trained(nn.Embedding.__call__, ids)
    assert torch.equal(found, nn.functional.embedding(ids, model.weight))
    weights = torch.tensor([1.0] + [1 / 256] * 256 + [0.5, 1.0])
    trained.backward((found.float() * weights[:, None]).sum())
    trained.step()
    # 1 + 256 x 1/256 for token 1 (in bf16 the sum would stay at 1), nothing for padding.
    moved = before - trained.state()["model"]["weight"]
    assert torch.allclose(moved, torch.tensor([0.0, 2.0, 0.5, 0.0])[:, None].expand(4, 2), atol=1e-6)


@pytest.mark.parametrize(("gradient", "moved"), [(0.5, 0.5), (1.0, 1.0), (4.0, 1.0)])
def test_gradients_are_clipped_to_their_norm(gradient: float, moved: float) -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 0.0)
    trained = Whole(model, torch.optim.SGD(model.parameters(), lr=1.0), max_grad_norm=1.0)
    assert step(trained, gradient) == gradient
    assert master(trained) == pytest.approx(-moved, rel=1e-5)
