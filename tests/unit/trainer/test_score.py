"""Score: the reward model's own numbers, on the token ids of training; a line a case, whole or not at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from store.records import CaseScores, ChatTurn, PreferencePair, ScoreCase
from trainer.config import RewardConfig
from trainer.data import load_tokenizer, pad_right
from trainer.errors import DataError, ModelError
from trainer.folders import copy_tokenizer
from trainer.models import load_reward_model, reward_model_from_policy, save_reward_model
from trainer.pairs import token_pairs
from trainer.reporting import Reporter
from trainer.score import case_ids, score_file

ASKED = ({"role": "user", "content": "Which fruit?"},)


@pytest.fixture(scope="module")
def reward_folder(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("score") / "rm"
    folder.mkdir()
    save_reward_model(reward_model_from_policy(tiny_policy, seed=3, pad_token_id=0), folder)
    copy_tokenizer(tiny_policy, folder)
    return folder


def case(name: str, *texts: str, ended: bool = True, prompt: Any = ASKED) -> ScoreCase:
    said = [{"text": text, "ended": ended} for text in texts]
    return ScoreCase.model_validate({"id": name, "prompt": prompt, "answers": said})


def scored(
    folder: Path, tmp_path: Path, *cases: ScoreCase, **config: int
) -> tuple[dict[str, Any], list[CaseScores]]:
    given, out = tmp_path / "cases.jsonl", tmp_path / "scores.jsonl"
    given.write_text("".join(one.model_dump_json() + "\n" for one in cases))
    report = score_file(
        reward_model=folder,
        cases=given,
        out=out,
        config=RewardConfig.model_validate(config),
        reporter=Reporter(),
    )
    return report, [CaseScores.model_validate_json(line) for line in out.read_text().splitlines()]


def test_an_answer_gets_the_reward_models_score_of_it(reward_folder: Path, tmp_path: Path) -> None:
    cases = [case("one", "plums", "rocks, and many more of them", "pears"), case("two", "figs", ended=False)]

    report, found = scored(reward_folder, tmp_path, *cases)

    tokenizer, model = load_tokenizer(reward_folder), load_reward_model(reward_folder)
    for one, given in zip(cases, found, strict=True):
        assert given.id == one.id
        assert given.scores is not None
        for ids, score in zip(case_ids(one, tokenizer, 1024) or (), given.scores, strict=True):
            with torch.no_grad():
                assert score == pytest.approx(float(model.scores(**pad_right([ids], 0).inputs())), abs=0.02)
    assert (report["cases"], report["unfit"]) == (2, 0)


def test_the_token_ids_are_those_of_training_dropped_turns_and_missing_end_too(reward_folder: Path) -> None:
    tokenizer = load_tokenizer(reward_folder)
    long = [
        {"role": role, "content": f"{role} said this long ago {n}"}
        for n in range(4)
        for role in ("user", "assistant")
    ] + list(ASKED)
    pair = PreferencePair(
        prompt=tuple(ChatTurn.model_validate(turn) for turn in long),
        chosen=(ChatTurn(role="assistant", content="plums"),),
        rejected=(ChatTurn(role="assistant", content="a much longer one"),),
        chosen_ended=False,
        rejected_ended=False,
    )
    for limit in (90, 160, 1024):
        (trained,) = token_pairs([pair], tokenizer, limit)
        mine = case_ids(case("x", "plums", "a much longer one", ended=False, prompt=long), tokenizer, limit)
        assert mine == [trained.chosen, trained.rejected]


def test_what_does_not_fit_has_no_scores_and_holds_nothing_up(reward_folder: Path, tmp_path: Path) -> None:
    cases = [case("long", "x" * 400, "short"), case("empty", "", ended=False), case("fits", "short")]

    report, found = scored(reward_folder, tmp_path, *cases, max_tokens=120)

    assert [one.scores is None for one in found] == [True, True, False]
    assert report["unfit"] == 2


def test_nothing_but_unfit_cases_is_no_error(reward_folder: Path, tmp_path: Path) -> None:
    _, found = scored(reward_folder, tmp_path, case("long", "x" * 400), max_tokens=64)
    assert [one.scores for one in found] == [None]


def test_a_bad_line_is_named_and_nothing_is_written(reward_folder: Path, tmp_path: Path) -> None:
    given = tmp_path / "cases.jsonl"
    given.write_text(
        case("one", "plums").model_dump_json() + '\n{"id": "two", "prompt": [], "answers": []}\n'
    )
    with pytest.raises(DataError, match=r"cases.jsonl, line 2: prompt: .*; answers: "):
        score_file(
            reward_model=reward_folder,
            cases=given,
            out=tmp_path / "scores.jsonl",
            config=RewardConfig(),
            reporter=Reporter(),
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cases.jsonl"]


def test_a_reward_model_that_says_nan_is_refused(
    tiny_policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "rm"
    folder.mkdir()
    save_reward_model(reward_model_from_policy(tiny_policy, seed=3, pad_token_id=0), folder)
    copy_tokenizer(tiny_policy, folder)
    monkeypatch.setattr("trainer.score.score_sequences", lambda *_: torch.tensor([1.0, float("nan")]))
    with pytest.raises(ModelError, match="NaN or infinity"):
        scored(folder, tmp_path, case("one", "plums", "rocks"))
    assert not (tmp_path / "scores.jsonl").exists()


def test_the_command_tells_its_steps_as_lines(reward_folder: Path, tmp_path: Path) -> None:
    given, out = tmp_path / "cases.jsonl", tmp_path / "scores.jsonl"
    given.write_text("".join(case(str(n), "plums", "rocks").model_dump_json() + "\n" for n in range(20)))
    command = [sys.executable, "-m", "trainer", "score", "--reward-model", str(reward_folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    ran = subprocess.run(
        [*command, "--cases", str(given), "--out", str(out)],
        capture_output=True, text=True, env=environment, timeout=120, check=True,
    )  # fmt: skip
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [(one["step"], one["of"]) for one in lines if one["event"] == "metric"] == [(16, 20), (20, 20)]
    assert lines[-1]["event"] == "done"
    assert lines[-1]["report"]["cases"] == 20
    assert len(out.read_text().splitlines()) == 20
