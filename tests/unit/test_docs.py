"""The docs say what is there: paths, functions, settings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from server.settings import ServerSettings

ROOT = Path(__file__).resolve().parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [
    "README.md",
    "docs/architecture.md",
    "docs/ppo.md",
    "docs/reproduction.md",
    "docs/reward_model.md",
    "docs/scale.md",
]


@pytest.mark.parametrize("page", PAGES)
def test_every_linked_path_exists(page: str) -> None:
    folder = (ROOT / page).parent
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / page).read_text(encoding="utf-8")):
        assert (folder / target).exists(), f"{page} links {target}"


def test_each_step_of_the_readme_names_functions_that_are_there() -> None:
    steps = README.split("## The loop, nine steps")[1].split("## The tree")[0]
    named = re.findall(r"\[([\w/]+\.py)\]\([^)]+\)\s+`(?:\w+\.)?(\w+)`", steps)
    assert len(named) >= 9
    for path, function in named:
        assert re.search(rf"(def|class) {function}\b", (ROOT / path).read_text()), f"{function} in {path}"


def test_every_environment_setting_is_documented() -> None:
    pages = README + (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for name in ServerSettings.model_fields:
        assert f"HEED_{name.upper()}" in pages
