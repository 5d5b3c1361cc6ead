"""Cards: what a folder says about its model, and that its recipe for loading runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from store.records import ChatTurn, PreferencePair
from trainer.cards import model_card
from trainer.config import RewardConfig
from trainer.reporting import Reporter
from trainer.reward import train_reward_model


def pairs(text: str) -> list[PreferencePair]:
    return [
        PreferencePair(
            prompt=(ChatTurn(role="user", content=f"{text} {number}"),),
            chosen=(ChatTurn(role="assistant", content="yes"),),
            rejected=(ChatTurn(role="assistant", content="no"),),
            tags=("helpful",),
        )
        for number in range(4)
    ]


@pytest.fixture(scope="module")
def folder(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cards") / "rm"
    train_reward_model(
        policy=tiny_policy,
        pairs=pairs("a"),
        held_out=pairs("b"),
        seed_pairs=[],
        out=out,
        config=RewardConfig(),
        reporter=Reporter(),
    )
    return out


def test_the_card_gives_data_numbers_and_settings(folder: Path) -> None:
    card = (folder / "README.md").read_text(encoding="utf-8")
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    share = report["held_out"]["by_tag"]["helpful"]

    assert card.startswith("---\nlibrary_name: transformers\npipeline_tag: text-classification\n")
    assert "| pairs from votes | 4, of which ties: 0 |" in card
    interval = f"{share['share']:.3f} ({share['low']:.3f} to {share['high']:.3f}, n = 4)"
    assert f"| accuracy, helpful | {interval} |" in card
    assert '"head_lr": 0.001' in card


def test_the_recipe_on_the_card_gives_a_score(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (folder / "README.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    plain, vllm = code.split("# vLLM")
    monkeypatch.chdir(folder)
    names: dict[str, torch.Tensor] = {}

    exec(plain, names)

    assert torch.isfinite(names["score"])
    assert 'runner="pooling"' in vllm


def test_a_policy_gets_a_card_of_the_same_form() -> None:
    card = model_card(
        title="Policy",
        task="text-generation",
        tags=("rlhf",),
        summary="It answers.",
        trained_on=(("updates", "16"),),
        numbers=(("win | share", "0.6"),),
        load="print('hello')",
        settings={"kl_coef": 0.05},
    )

    assert (
        "# Policy\n\nIt answers.\n\n## Trained on\n\n| what | how many |\n| --- | --- |\n| updates | 16 |"
        in card
    )
    assert "| win / share | 0.6 |" in card
