"""Tiny policy: the layout of a policy folder, and a tokenizer that loses nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors import safe_open

from trainer.data import load_tokenizer
from trainer.errors import ModelError
from trainer.folders import read_config
from trainer.models import load_policy
from trainer.tiny import make_tiny


def test_the_folder_is_laid_out_as_the_engine_needs_it(tiny_policy: Path) -> None:
    names = {path.name for path in tiny_policy.iterdir()}
    config = read_config(tiny_policy)

    assert {"model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"} <= names
    assert (config["tie_word_embeddings"], config["dtype"]) == (True, "bfloat16")
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in tiny_policy.iterdir())
    with safe_open(tiny_policy / "model.safetensors", framework="pt") as tensors:
        assert "lm_head.weight" in tensors.keys()  # noqa: SIM118 - not a dict


def test_any_text_survives_the_tokenizer(tiny_policy: Path) -> None:
    tokenizer = load_tokenizer(tiny_policy)
    text = "Grüße, 你好 \n\t <ok> 🙂"

    ids = tokenizer.encode(text, add_special_tokens=False)

    assert len(ids) == len(text.encode("utf-8"))
    assert tokenizer.decode(ids) == text


def test_the_end_token_is_not_padding(tiny_policy: Path) -> None:
    tokenizer = load_tokenizer(tiny_policy)

    assert tokenizer.eos_token_id != tokenizer.pad_token_id
    assert read_config(tiny_policy)["eos_token_id"] == tokenizer.eos_token_id


def test_the_same_seed_makes_the_same_weights(tmp_path: Path) -> None:
    first, second = make_tiny(tmp_path / "a", seed=3), make_tiny(tmp_path / "b", seed=3)
    other = make_tiny(tmp_path / "c", seed=4)

    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()
    assert (first / "model.safetensors").read_bytes() != (other / "model.safetensors").read_bytes()


def test_it_is_never_written_over(tmp_path: Path) -> None:
    folder = make_tiny(tmp_path / "a")

    with pytest.raises(ModelError, match="exists already"):
        make_tiny(folder)
    assert load_policy(folder).num_parameters() < 200_000
