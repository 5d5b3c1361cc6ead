"""Fixtures of the trainer's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Many threads on a tiny model only wait. A vLLM engine in this process may have set another number."""
    from trainer.lanes import get_num_threads, set_num_threads  # vLLM replaces torch's

    threads = get_num_threads()
    set_num_threads(1)
    yield
    set_num_threads(threads)


@pytest.fixture(scope="session")
def reward_folder(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model with a random head: a fixed, arbitrary taste."""
    from trainer.models import reward_model_from_policy, save_reward_model

    folder = tmp_path_factory.mktemp("reward")
    save_reward_model(reward_model_from_policy(tiny_policy, seed=3, pad_token_id=0), folder)
    return folder
