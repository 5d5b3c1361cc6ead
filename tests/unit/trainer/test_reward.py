"""Reward model: it learns what is preferred, and its folder scores the same in transformers."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from store.records import ChatTurn
from store.statistics.intervals import wilson
from tests.unit.trainer.reward_toys import FAST, Steps, flipped, thumbed, toy_pairs, trained
from trainer.data import load_tokenizer, prompt_ids, response_ids
from trainer.errors import ConfigError, DataError, DivergedError, ModelError
from trainer.lesson import learning_rate
from trainer.models import load_reward_model
from trainer.ranking import score_sequences
from trainer.reward import RewardReport


@pytest.fixture(scope="module")
def reward_model(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RewardReport]:
    out = tmp_path_factory.mktemp("reward") / "rm"
    return out, trained(tiny_policy, out)


def test_it_learns_what_people_prefer(reward_model: tuple[Path, RewardReport]) -> None:
    out, report = reward_model

    assert report.held_out.accuracy > 0.9
    assert report.held_out.margin > 0.5
    assert (report.vote_pairs, report.held_out.pairs, report.steps) == (64, 32, 24)
    assert json.loads((out / "report.json").read_text()) == report.model_dump(mode="json")


def test_plain_transformers_gives_the_same_scores(
    reward_model: tuple[Path, RewardReport], tiny_policy: Path
) -> None:
    out, _ = reward_model
    own = load_tokenizer(tiny_policy)
    questions = [
        ((ChatTurn(role="user", content=text),), text * 3) for text in ("a plum", "hm", "rocks and rocks")
    ]
    ids = [prompt_ids(own, prompt, 999) + response_ids(own, answer) for prompt, answer in questions]
    ours = score_sequences(load_reward_model(out), ids, pad_token_id=0, micro_batch_tokens=4096)

    tokenizer: Any = AutoTokenizer.from_pretrained(out)
    model = AutoModelForSequenceClassification.from_pretrained(out, dtype=torch.float32)
    texts = [
        tokenizer.apply_chat_template(
            [turn.model_dump() for turn in prompt], add_generation_prompt=True, tokenize=False
        )
        + answer
        + tokenizer.eos_token
        for prompt, answer in questions
    ]
    batch = tokenizer(texts, padding=True, add_special_tokens=False, return_tensors="pt")
    with torch.no_grad():
        theirs = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, 0]

    # Ours runs under bf16 autocast, theirs in fp32.
    torch.testing.assert_close(ours, theirs, atol=0.05, rtol=0.02)
    with torch.no_grad():
        exact = [load_reward_model(out).scores(**_alone(row))[0] for row in ids]
    torch.testing.assert_close(torch.stack(exact), theirs, atol=1e-4, rtol=1e-4)


def _alone(ids: list[int]) -> dict[str, torch.Tensor]:
    row = torch.tensor([ids])
    return {
        "input_ids": row,
        "attention_mask": torch.ones_like(row).bool(),
        "position_ids": torch.arange(row.shape[1])[None],
    }


def test_a_policy_that_pads_with_its_end_token_gets_the_same_scores(
    tiny_policy: Path, tmp_path: Path
) -> None:
    policy = tmp_path / "policy"
    shutil.copytree(tiny_policy, policy)
    for name, key in (("tokenizer_config.json", "pad_token"), ("config.json", "pad_token_id")):
        settings = json.loads((policy / name).read_text())
        settings[key] = settings["eos_token" if key == "pad_token" else "eos_token_id"]
        (policy / name).write_text(json.dumps(settings))
    tokenizer = load_tokenizer(policy)
    assert tokenizer.pad_token_id == tokenizer.eos_token_id

    trained(policy, tmp_path / "rm", pairs=toy_pairs(8, 1))

    long, short = (
        prompt_ids(tokenizer, (ChatTurn(role="user", content="hi"),), 999) + response_ids(tokenizer, text)
        for text in ("plum, plum and plum", "ok")
    )
    own = AutoTokenizer.from_pretrained(tmp_path / "rm")
    assert own.pad_token_id != own.eos_token_id
    batch = own.pad({"input_ids": [long, short]}, return_tensors="pt")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "rm", dtype=torch.float32)
    with torch.no_grad():
        theirs = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, 0]
        ours = [load_reward_model(tmp_path / "rm").scores(**_alone(row))[0] for row in (long, short)]
    torch.testing.assert_close(torch.stack(ours), theirs, atol=1e-4, rtol=1e-4)


def test_the_same_seed_trains_the_same_model_and_micro_batches_change_nothing(
    tiny_policy: Path, tmp_path: Path
) -> None:
    runs: list[list[float]] = []
    for number, limit in enumerate((4096, 4096, 200)):
        steps = Steps()
        config = FAST.model_copy(update={"epochs": 1, "lr": 1e-4, "micro_batch_tokens": limit})
        trained(tiny_policy, tmp_path / str(number), config=config, reporter=steps)
        runs.append([values["loss"] for values in steps.values])

    assert runs[0] == runs[1]
    assert runs[0] == pytest.approx(runs[2], abs=2e-2)
    assert runs[0] != runs[2]


def test_the_gradient_is_a_mean_over_the_pairs(tiny_policy: Path, tmp_path: Path) -> None:
    norms = []
    for count in (1, 8):
        steps = Steps()
        trained(tiny_policy, tmp_path / str(count), pairs=toy_pairs(1, 1) * count, reporter=steps)
        norms.append(steps.values[0]["grad_norm"])

    assert norms[1] == pytest.approx(norms[0], rel=0.02)


def test_the_previous_reward_model_is_judged_on_new_votes_only(
    reward_model: tuple[Path, RewardReport], tiny_policy: Path, tmp_path: Path
) -> None:
    previous, _ = reward_model
    old = toy_pairs(24, 5, new=False)
    flips = flipped(toy_pairs(8, 6), source="vote")
    new = [pair.model_copy(update={"vote_id": f"vote_{n}"}) for n, pair in enumerate(flips)]

    report = trained(tiny_policy, tmp_path / "rm", pairs=[*old, *new], held_out=old, previous=previous)

    # The taste turned round: the old model is wrong on every new vote.
    assert report.prequential is not None
    assert report.prequential.pairs == 8
    assert report.prequential.accuracy < 0.2
    margins = json.loads((tmp_path / "rm" / "margins.json").read_text())
    assert set(margins) == {f"vote_{n}" for n in range(8)}
    assert sum(margin > 0 for margin in margins.values()) == round(8 * report.prequential.accuracy)


def test_frozen_layers_keep_the_policys_weights(tiny_policy: Path, tmp_path: Path) -> None:
    config = FAST.model_copy(update={"epochs": 1, "frozen_layers": 1})

    trained(tiny_policy, tmp_path / "rm", config=config)

    before = AutoModelForSequenceClassification.from_pretrained(tiny_policy, num_labels=1).state_dict()
    after = AutoModelForSequenceClassification.from_pretrained(tmp_path / "rm").state_dict()
    moved = {name for name in after if not torch.equal(before[name], after[name]) and name != "score.weight"}
    assert moved
    assert all(name.startswith(("model.layers.1.", "model.norm")) for name in moved)
    with pytest.raises(ConfigError, match="frozen_layers is 2 of 2"):
        trained(tiny_policy, tmp_path / "b", config=FAST.model_copy(update={"frozen_layers": 2}))


def test_the_language_model_loss_keeps_learning_the_preference(tiny_policy: Path, tmp_path: Path) -> None:
    report = trained(tiny_policy, tmp_path / "rm", config=FAST.model_copy(update={"lm_coef": 0.5}))

    assert report.held_out.accuracy > 0.9


def test_the_report_tells_domains_apart_and_agrees_with_itself(
    reward_model: tuple[Path, RewardReport], tiny_policy: Path, tmp_path: Path
) -> None:
    previous, _ = reward_model
    held_out = [
        pair.model_copy(update={"tags": ("good" if index % 4 else "odd",)})
        for index, pair in enumerate(toy_pairs(32, 2))
    ]

    report = trained(tiny_policy, tmp_path / "rm", held_out=held_out, previous=previous)

    assert {tag: share.n for tag, share in report.held_out.by_tag.items()} == {"good": 24, "odd": 8}
    assert report.agreement is not None
    assert report.agreement.share > 0.9
    assert (report.held_out.accuracy_low, report.held_out.accuracy_high) == pytest.approx(
        wilson(report.held_out.accuracy * 32, 32)
    )


def test_what_cannot_be_learned_from_is_refused(tiny_policy: Path, tmp_path: Path) -> None:
    same = toy_pairs(1, 1)[0]
    same = same.model_copy(update={"rejected": same.chosen})

    with pytest.raises(DataError, match="there are no train pairs"):
        trained(tiny_policy, tmp_path / "rm", pairs=[])
    with pytest.raises(DataError, match="there are no held-out pairs"):
        trained(tiny_policy, tmp_path / "rm", held_out=[])
    with pytest.raises(DataError, match="train pairs, number 2: chosen and rejected are the same text"):
        trained(tiny_policy, tmp_path / "rm", pairs=[*toy_pairs(1, 1), same])
    with pytest.raises(DataError, match=r"none of the train pairs fits into reward\.max_tokens = 16"):
        trained(tiny_policy, tmp_path / "rm", config=FAST.model_copy(update={"max_tokens": 16}))
    tied = [pair.model_copy(update={"preference": 0.5}) for pair in toy_pairs(4, 1)]
    with pytest.raises(DataError, match="no held-out pair prefers one of two answers"):
        trained(tiny_policy, tmp_path / "rm", held_out=tied)
    with pytest.raises(DataError, match="no train pair prefers one of two answers"):
        trained(tiny_policy, tmp_path / "rm", pairs=[*tied, thumbed(toy_pairs(1, 1)[0], up=True)])
    names = [
        pair.model_copy(update={"conversation_id": name})
        for name, pair in zip("abc", toy_pairs(3, 1), strict=True)
    ]
    with pytest.raises(DataError, match="conversation b is in the train and in the held-out pairs"):
        trained(tiny_policy, tmp_path / "rm", pairs=names[:2], held_out=names[1:])
    assert not (tmp_path / "rm").exists()


def test_a_policy_with_nan_is_refused_by_the_weights_name(tiny_policy: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy"
    shutil.copytree(tiny_policy, policy)
    weights = load_file(policy / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][3, 4] = math.nan
    save_file(weights, policy / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(ModelError, match=r"layers\.1\.mlp\.up_proj\.weight holds NaN"):
        trained(policy, tmp_path / "rm")


def test_a_run_that_diverges_is_stopped_and_leaves_nothing(tiny_policy: Path, tmp_path: Path) -> None:
    with pytest.raises((DivergedError, ModelError), match=r"Lower reward\.lr|diverged"):
        trained(tiny_policy, tmp_path / "rm", config=FAST.model_copy(update={"lr": 1e30}))
    assert not (tmp_path / "rm").exists()


def test_the_learning_rate_rises_then_falls() -> None:
    rates = [learning_rate(step, 10, 1.0, 0.2) for step in range(10)]

    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[-1] == pytest.approx(1 / 8)
    assert all(math.isfinite(rate) and rate > 0 for rate in rates)
    assert learning_rate(0, 1, 1.0, 0.1) == 1.0
