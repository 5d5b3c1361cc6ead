"""Answers to ask people about: several to each prompt, each with the score of every reward model."""

from __future__ import annotations

from pathlib import Path

import pytest

from store.records import AskedAnswers, ChatTurn
from trainer.asking import draw_and_score
from trainer.config import RewardConfig, RolloutConfig
from trainer.errors import DataError
from trainer.folders import copy_tokenizer
from trainer.models import reward_model_from_policy, save_reward_model
from trainer.reporting import Reporter
from trainer.score_judge import ScoreJudge
from trainer.seeds import DrawnAnswer

ROLLOUT = RolloutConfig(engine="transformers", max_new_tokens=6, max_prompt_tokens=64)


def draw(policy: Path, reward_models: list[Path], out: Path, *texts: str) -> list[AskedAnswers]:
    draw_and_score(
        policy=policy, version=3, reward_models=reward_models, answers=3, out=out, rollout=ROLLOUT,
        prompts=[(ChatTurn(role="user", content=text),) for text in texts],
        reward=RewardConfig(), reporter=Reporter(),
    )  # fmt: skip
    return [AskedAnswers.model_validate_json(line) for line in out.read_text().splitlines()]


def test_every_answer_has_the_score_that_each_reward_model_gives_it(
    tiny_policy: Path, tmp_path: Path
) -> None:
    models = [tmp_path / "one", tmp_path / "two"]
    for seed, folder in enumerate(models):
        folder.mkdir()
        save_reward_model(reward_model_from_policy(tiny_policy, seed=seed, pad_token_id=0), folder)
        copy_tokenizer(tiny_policy, folder)
    found = draw(tiny_policy, models, tmp_path / "out.jsonl", "Say one.", "x" * 100, "Say two.")
    assert [one.prompt[0].content for one in found] == ["Say one.", "Say two."], "the long one does not fit"
    for one in found:
        assert len({answer.text for answer in one.answers}) > 1
        assert all(answer.version == 3 and (answer.tokens or 0) <= 6 for answer in one.answers)
        told = [(one.prompt, DrawnAnswer(answer.text, answer.ended)) for answer in one.answers]
        for place, folder in enumerate(models):
            alone = ScoreJudge(folder, RewardConfig(), tie_margin=0.0).scores(told)
            assert [scores[place] for scores in one.scores] == pytest.approx(alone, abs=1e-3)


def test_when_no_prompt_fits_nothing_is_written(
    tiny_policy: Path, reward_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"rollout\.max_prompt_tokens = 64"):
        draw(tiny_policy, [reward_folder], tmp_path / "out.jsonl", "x" * 100)
    assert not (tmp_path / "out.jsonl").exists()
