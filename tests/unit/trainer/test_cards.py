"""Cards: what a folder says about its model, that it survives publishing, and that its recipes run."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml  # type: ignore[import-untyped]

from store.artifacts import seal
from store.records import ChatTurn, PreferencePair
from trainer.base import make_base
from trainer.cards import Origin, model_card, origin, settings_toml
from trainer.config import PPOConfig, RewardConfig, RolloutConfig, SFTConfig
from trainer.config_file import load_config
from trainer.policy_card import base_card, policy_card
from trainer.ppo import train_policy
from trainer.reporting import Reporter
from trainer.reward import train_reward_model
from trainer.sft import train_sft

ROLLOUT = RolloutConfig(engine="transformers", max_new_tokens=6)
PPO = PPOConfig(updates=2, rollouts=4, minibatch=4, checkpoint_every=0, fixed_every=0)


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


def front_matter(card: str) -> dict[str, Any]:
    _, matter, _ = card.split("---\n", 2)
    loaded = yaml.safe_load(matter)
    assert isinstance(loaded, dict)
    return loaded


def cells(card: str, first: str) -> list[str]:
    """The other cells of the table's row that begins with `first`."""
    (line,) = [line for line in card.splitlines() if line.startswith(f"| {first} |")]
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


@pytest.fixture(scope="module")
def folders(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`base`, made of a licensed model, and what was trained from it: `sft`, `reward` and `candidate`."""
    home = tmp_path_factory.mktemp("cards")
    source = home / "source"
    source.mkdir()
    for path in tiny_policy.iterdir():
        (source / path.name).symlink_to(path)
    (source / "README.md").write_text("---\nlicense: apache-2.0\nbase_model: maker/parent\n---\nHello.\n")
    (source / "LICENSE").write_text("You may.\n")
    make_base(home / "base", str(source), Reporter())
    (home / "texts.jsonl").write_text(
        "".join(f'{{"text": "{word} and on"}}\n' for word in ("up", "in", "by"))
    )
    train_sft(
        policy=home / "base",
        texts=home / "texts.jsonl",
        out=home / "sft",
        config=SFTConfig(epochs=3),
        reporter=Reporter(),
    )
    train_reward_model(
        policy=home / "base",
        pairs=pairs("a"),
        held_out=pairs("b"),
        seed_pairs=[],
        out=home / "reward",
        config=RewardConfig(lr=1e-4),
        reporter=Reporter(),
    )
    train_policy(
        policy=home / "base",
        reference=home / "base",
        reward_model=home / "reward",
        prompts=[(ChatTurn(role="user", content="Say it."),)],
        work=home / "work",
        out=home / "candidate",
        config=PPO,
        rollout=ROLLOUT,
        reporter=Reporter(),
    )
    return home


def card(folder: Path) -> str:
    return (folder / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("base", "text-generation"),
        ("sft", "text-generation"),
        ("reward", "text-classification"),
        ("candidate", "text-generation"),
    ],
)
def test_every_artefact_says_what_it_is_where_it_comes_from_and_its_licence(
    folders: Path, name: str, task: str
) -> None:
    matter = front_matter(card(folders / name))

    assert (matter["library_name"], matter["pipeline_tag"]) == ("transformers", task)
    assert "heed" in matter["tags"]
    assert (matter["base_model"], matter["license"]) == ("maker/parent", "apache-2.0")
    assert (folders / name / "LICENSE.txt").read_text() == "You may.\n"


def test_the_reward_models_card_gives_data_and_numbers(folders: Path) -> None:
    said = card(folders / "reward")
    report = json.loads((folders / "reward" / "report.json").read_text(encoding="utf-8"))
    share = report["held_out"]["by_tag"]["helpful"]

    assert cells(said, "pairs from votes") == ["4, of which ties: 0"]
    interval = f"{share['share']:.3f} ({share['low']:.3f} to {share['high']:.3f}, n = 4)"
    assert cells(said, "accuracy, helpful") == [interval]


def test_the_card_of_an_sft_gives_its_texts_numbers_and_settings(folders: Path) -> None:
    said = card(folders / "sft")
    report = json.loads((folders / "sft" / "report.json").read_text(encoding="utf-8"))

    assert cells(said, "started from") == ["`base`"]
    assert cells(said, "texts") == [f"2, with {report['tokens']} tokens to learn"]
    before, after = map(float, cells(said, "held-out NLL, nats per token"))
    assert (before, after) == pytest.approx((report["held_out_nll_before"], report["held_out_nll"]), rel=1e-3)
    assert said.endswith("```toml\n[sft]\nepochs = 3\n```\n")


def test_the_policys_card_gives_the_numbers_of_its_report(folders: Path) -> None:
    said = card(folders / "candidate")
    report = json.loads((folders / "work" / "report.json").read_text(encoding="utf-8"))
    accuracy = json.loads((folders / "reward" / "report.json").read_text())["held_out"]["accuracy"]

    for name in ("reward_mean", "ref_kl", "response_length_mean", "entropy"):
        assert float(cells(said, f"`{name}`")[0]) == pytest.approx(report[name], rel=1e-3)
    assert cells(said, "started from") == ["`base`"]
    assert f"`reward`, held-out accuracy {accuracy:.3f} (" in cells(said, "reward model")[0]
    assert float(cells(said, "2")[0]) == pytest.approx(report["reward_mean"], rel=1e-3)  # the curve's end
    assert cells(said, "1")[1] == "0"  # at the first update the policy is still the reference


def test_the_settings_on_a_card_are_a_config_that_gives_them_back(folders: Path, tmp_path: Path) -> None:
    toml = card(folders / "candidate").split("```toml\n")[1].split("```")[0]
    path = tmp_path / "again.toml"
    path.write_text(toml, encoding="utf-8")

    assert tomllib.loads(toml)["ppo"] == {
        "preset": "ppo-max", "updates": 2, "rollouts": 4, "minibatch": 4, "checkpoint_every": 0,
        "fixed_every": 0,
    }  # fmt: skip
    assert (load_config(path).ppo, load_config(path).rollout) == (PPO, ROLLOUT)


def test_of_a_preset_only_its_name_and_what_differs_from_it_are_shown() -> None:
    config = PPOConfig(preset="vanilla", kl_coef=0.1)

    assert settings_toml({"ppo": config, "rollout": RolloutConfig()}) == (
        '[ppo]\npreset = "vanilla"\nkl_coef = 0.1\n'
    )


def test_a_published_version_keeps_its_card_and_its_licence(folders: Path, tmp_path: Path) -> None:
    seal(folders / "candidate", tmp_path / "v0002", {"version": 2})
    manifest = json.loads((tmp_path / "v0002" / "manifest.json").read_text())

    assert {"README.md", "LICENSE.txt"} <= manifest["files"].keys()
    assert card(tmp_path / "v0002") == card(folders / "candidate")
    assert origin(tmp_path / "v0002") == Origin("maker/parent", "apache-2.0")


def recipe(folder: Path) -> str:
    return card(folder).split("```python\n")[1].split("```")[0]


def test_the_recipe_on_the_reward_models_card_gives_a_score(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, vllm = recipe(folders / "reward").split("# vLLM")
    monkeypatch.chdir(folders / "reward")
    names: dict[str, torch.Tensor] = {}

    exec(plain, names)

    assert torch.isfinite(names["score"])
    assert 'runner="pooling"' in vllm


@pytest.mark.parametrize("name", ["base", "sft", "candidate"])
def test_the_recipe_on_a_policys_card_gives_an_answer(
    folders: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(folders / name)
    names: dict[str, Any] = {}

    exec(recipe(folders / name).replace("max_new_tokens=64", "max_new_tokens=4"), names)

    assert isinstance(names["answer"], str)
    assert 1 <= names["said"].shape[1] - names["ids"]["input_ids"].shape[1] <= 4


def test_a_long_curve_is_thinned_to_eight_rows_with_both_ends(tmp_path: Path) -> None:
    curve = [{"update": float(update), "reward_mean": update / 10} for update in range(1, 101)]
    said = policy_card(
        {"updates": 40, "seconds": 1.0, "stopped_early": "KL 70.0 | nats"}, curve,
        started_from=tmp_path, reference=tmp_path, reward_model=tmp_path, settings={},
    )  # fmt: skip

    rows = said.split("## Curve\n\n")[1].split("\n\n")[0].splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == [
        "| 1", "| 15", "| 29", "| 43", "| 58", "| 72", "| 86", "| 100",
    ]  # fmt: skip
    assert cells(said, "stopped early") == ["KL 70.0 / nats"]


def test_a_model_of_unknown_origin_claims_none(tmp_path: Path) -> None:
    assert origin(tmp_path) == Origin()
    (tmp_path / "README.md").write_text("# No front matter\n")
    assert origin(tmp_path) == Origin()
    assert front_matter(base_card("mine", 1234, Origin())).keys() == {"library_name", "pipeline_tag", "tags"}


def test_a_card_is_front_matter_summary_parts_and_settings() -> None:
    said = model_card(
        title="Policy",
        task="text-generation",
        tags=("rlhf",),
        comes_from=Origin("maker/parent: 1"),
        summary="It answers.",
        parts=[("Limits", "Some.\n")],
        settings={"reward": RewardConfig(lr=0.5)},
    )

    assert front_matter(said)["base_model"] == "maker/parent: 1"
    assert "---\n\n# Policy\n\nIt answers.\n\n## Limits\n\nSome.\n\n## Settings\n\n" in said
    assert said.endswith("```toml\n[reward]\nlr = 0.5\n```\n")
