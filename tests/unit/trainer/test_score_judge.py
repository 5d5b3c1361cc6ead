"""A reward model as judge: its own scores, a margin for ties, no order."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.unit.trainer.judges import case, prompt
from trainer.config import RewardConfig
from trainer.data import load_tokenizer, pad_right, prompt_ids, response_ids
from trainer.errors import DataError, ModelError
from trainer.folders import copy_tokenizer
from trainer.models import load_reward_model, reward_model_from_policy, save_reward_model
from trainer.score_judge import ScoreJudge


@pytest.fixture(scope="module")
def reward_folder(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judge") / "rm"
    folder.mkdir()
    save_reward_model(reward_model_from_policy(tiny_policy, seed=3, pad_token_id=0), folder)
    copy_tokenizer(tiny_policy, folder)
    return folder


def judge(folder: Path, tie_margin: float = 0.0, **config: int) -> ScoreJudge:
    return ScoreJudge(folder, RewardConfig.model_validate(config), tie_margin=tie_margin)


def test_the_scores_are_the_reward_models_own(reward_folder: Path) -> None:
    one = case("plums and pears", "rocks")

    scores = judge(reward_folder).scores([(one.prompt, one.a), (one.prompt, one.b), (one.prompt, one.a)])

    tokenizer, model = load_tokenizer(reward_folder), load_reward_model(reward_folder)
    for score, text in zip(scores, ["plums and pears", "rocks", "plums and pears"], strict=True):
        ids = prompt_ids(tokenizer, prompt(), 1000) + response_ids(tokenizer, text)
        with torch.no_grad():
            assert score == pytest.approx(float(model.scores(**pad_right([ids], 0).inputs())), abs=0.02)
    assert scores[0] == scores[2]


def test_the_higher_score_wins_in_either_order_and_a_small_difference_is_a_tie(reward_folder: Path) -> None:
    one = case("plums and pears", "rocks")
    high, low = judge(reward_folder).scores([(one.prompt, one.a), (one.prompt, one.b)])
    if high < low:
        one, high, low = one.swapped(), low, high

    strict, mild = judge(reward_folder, 0.9 * (high - low)), judge(reward_folder, 1.1 * (high - low))

    assert strict.verdicts([one, one.swapped()]) == ["a", "b"]
    assert mild.verdicts([one, one.swapped()]) == ["tie", "tie"]


def test_what_does_not_fit_names_its_setting(reward_folder: Path) -> None:
    one = case("a long answer of fifty bytes that does not fit in", "short")
    with pytest.raises(DataError, match=r"reward\.max_tokens = 50. Raise it"):
        judge(reward_folder, max_tokens=50).verdicts([one])


def test_a_policy_is_no_judge_and_a_broken_score_no_verdict(
    tiny_policy: Path, reward_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError, match="is a policy"):
        judge(tiny_policy)
    broken = judge(reward_folder)
    monkeypatch.setattr(
        "trainer.models.RewardModel.scores",
        lambda self, input_ids, **inputs: torch.full((len(input_ids),), float("nan")),
    )
    with pytest.raises(ModelError, match="NaN"):
        broken.verdicts([case("yes", "no")])
