"""Lanes: the halves of a pass run at once, and give what one pass gives, the same each time."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from trainer.backend import Whole
from trainer.data import pad_right
from trainer.lanes import balanced, get_num_threads, lane, set_num_threads, side_by_side
from trainer.learner import adamw
from trainer.models import RewardModel, reward_model_from_policy
from trainer.ranking import score_sequences

CPU = torch.device("cpu")
LENGTHS = [4, 9, 5, 10]


@pytest.fixture
def _two_threads() -> Iterator[None]:
    before = get_num_threads()
    set_num_threads(2)
    yield
    set_num_threads(before)


def test_rows_are_cut_where_the_larger_half_has_the_fewest_padded_tokens() -> None:
    # 2 x 5 and 2 x 10 padded tokens; 3 and 1 would be 27 and 10, 1 and 3 would be 4 and 30.
    assert balanced([0, 1, 2, 3], LENGTHS) == [[0, 2], [1, 3]]
    # 4 x 3 and 1 x 10.
    assert balanced(range(5), [3, 3, 10, 3, 3]) == [[0, 1, 3, 4], [2]]
    assert balanced([2], LENGTHS) == [[2]]


def test_flat_rows_are_cut_by_what_is_read() -> None:
    # 1 + 2 + 3 + 4 + 5 + 6 and 7 + 8 + 9 tokens; padded, 5 x 5 and 4 x 9 are no more than 6 x 6 and 3 x 9.
    assert balanced(range(9), list(range(1, 10)), padded=False) == [[0, 1, 2, 3, 4, 5], [6, 7, 8]]
    assert balanced(range(9), list(range(1, 10))) == [[0, 1, 2, 3, 4], [5, 6, 7, 8]]


@pytest.mark.usefixtures("_two_threads")
def test_halves_run_at_once_with_half_of_the_threads_each() -> None:
    met = threading.Barrier(2, timeout=20)

    def one(rows: Sequence[int]) -> tuple[list[int], tuple[int, int], int, bool]:
        met.wait()  # passes only while the other half runs as well
        return list(rows), lane(), get_num_threads(), torch.is_grad_enabled()

    for gradients in (True, False):
        with torch.set_grad_enabled(gradients):
            found = side_by_side(one, range(4), LENGTHS, CPU)
        assert found == [([0, 2], (0, 2), 1, gradients), ([1, 3], (1, 2), 1, gradients)]
    assert get_num_threads() == 2
    assert lane() == (0, 1)


def test_one_thread_takes_all_rows_itself() -> None:
    found = side_by_side(lambda rows: (list(rows), threading.current_thread()), range(4), LENGTHS, CPU)
    assert found == [([0, 1, 2, 3], threading.current_thread())]


@pytest.mark.usefixtures("_two_threads")
def test_an_error_of_one_half_waits_for_the_other() -> None:
    done = threading.Event()
    failed = threading.Event()

    def one(rows: Sequence[int]) -> None:
        if 0 in rows:
            failed.set()
            raise ValueError("the first half")
        failed.wait(20)
        done.set()

    with pytest.raises(ValueError, match="the first half"):
        side_by_side(one, range(4), LENGTHS, CPU)
    assert done.is_set()


SEQUENCES = [[5 + row, *range(20, 20 + length)] for row, length in enumerate((3, 9, 4, 8, 6, 12))]


def one_step(policy: Path) -> tuple[dict[str, Tensor], float]:
    """The masters of a reward model after a step on all sequences in two passes, and the gradient's norm."""
    model = reward_model_from_policy(policy, seed=1, pad_token_id=0)
    trained = Whole(model, adamw(model, 1e-3, 1e-8), max_grad_norm=0.0)

    def one(rows: Sequence[int]) -> None:
        batch = pad_right([SEQUENCES[row] for row in rows], 0)
        trained.backward(trained(RewardModel.scores, **batch.inputs()).square().sum())

    for rows in ([0, 1, 2], [3, 4, 5]):
        trained.abreast(one, rows, list(map(len, SEQUENCES)))
    norm = trained.step()
    return trained.state()["model"], norm


def test_lanes_give_the_gradient_of_one_pass_and_the_same_one_each_time(tiny_policy: Path) -> None:
    alone, norm = one_step(tiny_policy)
    before = get_num_threads()
    set_num_threads(2)
    try:
        runs = [one_step(tiny_policy) for _ in range(3)]
    finally:
        set_num_threads(before)
    for weights, found in runs:
        assert found == runs[0][1] == pytest.approx(norm, rel=0.02)  # bf16: padding orders sums otherwise
        assert all(torch.equal(weights[name], runs[0][0][name]) for name in alone)
    different = sum(float((runs[0][0][name] - alone[name]).abs().sum()) for name in alone)
    assert different < 0.1 * 1e-3 * sum(weight.numel() for weight in alone.values())  # a tenth of the step


@pytest.mark.usefixtures("_two_threads")
def test_a_weight_that_one_half_uses_alone_has_its_gradient_once() -> None:
    model = nn.ModuleList(nn.Linear(1, 1, bias=False) for _ in range(2))
    for layer in model:
        nn.init.zeros_(layer.get_parameter("weight"))
    trained = Whole(model, torch.optim.SGD(model.parameters(), lr=1.0), max_grad_norm=0.0)

    def one(rows: Sequence[int]) -> None:
        for row in rows:
            trained.backward(model[row % 2].get_parameter("weight").float().sum() * (row + 1))

    trained.abreast(one, [0, 1], [1, 2])  # each half asks a layer of its own
    trained.abreast(one, [1, 3], [1, 2, 1, 2])  # both ask the second
    trained.abreast(one, [1, 3, 5], [1] * 5 + [2])  # one asks it twice
    trained.step()
    wanted = [-1.0, -(2.0 + 2.0 + 4.0 + 2.0 + 4.0 + 6.0)]
    assert [float(weight) for weight in trained.state()["model"].values()] == wanted


@pytest.mark.usefixtures("_two_threads")
def test_no_gradient_is_lost_between_lanes(tiny_policy: Path) -> None:
    # With one model for both lanes some were, in one pass of about a hundred.
    model = reward_model_from_policy(tiny_policy, seed=1, pad_token_id=0)
    trained = Whole(model, adamw(model, 0.0, 1e-8), max_grad_norm=0.0)

    def one(rows: Sequence[int]) -> None:
        batch = pad_right([SEQUENCES[row] for row in rows], 0)
        trained.backward(trained(RewardModel.scores, **batch.inputs()).square().sum())

    def norm() -> float:
        trained.abreast(one, range(6), list(map(len, SEQUENCES)))
        return trained.step()

    assert len({norm() for _ in range(400)}) == 1


def test_scores_are_the_same_in_lanes(tiny_policy: Path) -> None:
    model = reward_model_from_policy(tiny_policy, seed=1, pad_token_id=0)
    score = partial(score_sequences, model, SEQUENCES, 0, 64, "fp32")
    alone = score()
    before = get_num_threads()
    set_num_threads(2)
    try:
        assert torch.allclose(score(), alone, atol=1e-5)
    finally:
        set_num_threads(before)
