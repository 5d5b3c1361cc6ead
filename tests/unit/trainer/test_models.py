"""Model folders: what is saved is what is loaded, and scores depend on neither padding nor its token."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from trainer.data import load_tokenizer, pad_right, spare_token_id
from trainer.errors import ModelError
from trainer.models import (
    RewardModel,
    last_token,
    load_critic,
    load_policy,
    load_reward_model,
    reward_model_from_policy,
    save_policy,
    save_reward_model,
)

SEQUENCES = ([72, 101, 108, 256], [72, 101, 108, 108, 111, 32, 119, 256])


@pytest.fixture
def reward_model(tiny_policy: Path) -> RewardModel:
    pad_token_id = spare_token_id(load_tokenizer(tiny_policy))
    return reward_model_from_policy(tiny_policy, seed=1, pad_token_id=pad_token_id)


def test_a_saved_policy_keeps_its_weights_and_names_its_head(tiny_policy: Path, tmp_path: Path) -> None:
    policy = load_policy(tiny_policy)
    with torch.no_grad():
        policy.get_parameter("model.embed_tokens.weight").add_(0.25)

    out = save_policy(policy, tiny_policy, tmp_path / "candidate")

    weights = load_file(out / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}
    torch.testing.assert_close(weights["lm_head.weight"], weights["model.embed_tokens.weight"])
    torch.testing.assert_close(
        load_policy(out).get_input_embeddings().weight,
        policy.get_input_embeddings().weight,
        atol=0.01,
        rtol=0.01,
    )
    assert load_tokenizer(out).chat_template == load_tokenizer(tiny_policy).chat_template
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in tiny_policy.iterdir())


def test_a_policy_that_is_loaded_stays_tied(tiny_policy: Path) -> None:
    policy = load_policy(tiny_policy)

    assert policy.get_output_embeddings().weight is policy.get_input_embeddings().weight
    assert {parameter.dtype for parameter in policy.parameters()} == {torch.float32}
    assert not policy.training


def test_weights_that_are_not_finite_are_never_saved(tiny_policy: Path, tmp_path: Path) -> None:
    policy = load_policy(tiny_policy)
    with torch.no_grad():
        policy.get_parameter("model.embed_tokens.weight")[3, 3] = torch.nan

    with pytest.raises(ModelError, match=r"embed_tokens\.weight holds NaN"):
        save_policy(policy, tiny_policy, tmp_path / "candidate")
    assert list(tmp_path.iterdir()) == []


def test_the_head_starts_small_and_is_the_same_for_the_same_seed(tiny_policy: Path) -> None:
    first, second = (reward_model_from_policy(tiny_policy, seed=5, pad_token_id=257) for _ in range(2))

    torch.testing.assert_close(first.head.weight, second.head.weight)
    # 64 draws of N(0, 1/65): the deviation is 0.124 give or take 0.011.
    assert 0.09 < float(first.head.weight.detach().std()) < 0.16
    assert first.head.bias is None


@pytest.mark.parametrize("pads", [0, 7])
@pytest.mark.parametrize("pad_token_id", [257, 256])
def test_the_score_is_that_of_the_last_real_token(
    reward_model: RewardModel, pads: int, pad_token_id: int
) -> None:
    alone = reward_model(**pad_right([SEQUENCES[0]], 257).inputs())[0, -1]
    batch = pad_right([SEQUENCES[0], [1] * (len(SEQUENCES[0]) + pads)], pad_token_id)

    scores = reward_model.scores(**batch.inputs())

    torch.testing.assert_close(scores[0], alone, atol=1e-5, rtol=1e-5)


def test_the_last_token_is_found_on_either_side_of_padding() -> None:
    mask = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1]]).bool()

    assert last_token(mask).tolist() == [1, 3, 3]


def test_a_critic_starts_as_the_reward_model(reward_model: RewardModel, tmp_path: Path) -> None:
    (tmp_path / "rm").mkdir()
    save_reward_model(reward_model, tmp_path / "rm")
    batch = pad_right(SEQUENCES, 257)

    values = load_critic(tmp_path / "rm")(**batch.inputs())
    scores = load_reward_model(tmp_path / "rm").scores(**batch.inputs())

    assert values.shape == (2, 8)
    torch.testing.assert_close(torch.stack([values[0, 3], values[1, 7]]), scores)


def test_the_score_stays_fp32_under_autocast(reward_model: RewardModel) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = reward_model.scores(**pad_right(SEQUENCES, 257).inputs())

    assert scores.dtype == torch.float32
    assert not torch.equal(scores, scores.bfloat16().float())


def test_a_policy_is_not_taken_for_a_reward_model(tiny_policy: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a policy, not a reward model"):
        load_reward_model(tiny_policy)
    with pytest.raises(ModelError, match=r"config\.json is missing"):
        load_policy(tmp_path)


def test_weights_that_are_missing_are_never_made_up(
    reward_model: RewardModel, tiny_policy: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "rm"
    folder.mkdir()
    save_reward_model(reward_model, folder)
    weights = load_file(folder / "model.safetensors")
    save_file(
        {name: weights[name] for name in weights if name != "score.weight"}, folder / "model.safetensors"
    )

    with pytest.raises(ModelError, match=r"lacks the weights score\.weight"):
        load_reward_model(folder)

    broken = tmp_path / "broken"
    shutil.copytree(tiny_policy, broken)
    (broken / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_policy(broken)
