"""The web page: built or not, deep links, hashed files, no way out of its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.anyio


@pytest.fixture
def dist(volume: Path) -> Path:
    folder = volume / "dist"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>Heed</title>")
    (folder / "assets" / "app-1a2b.js").write_text("export {}")
    (volume / "secret.txt").write_text("secret")
    return folder


async def get(heed: Any, path: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=heed.url) as client:
        return await client.get(path)


async def test_without_a_built_page_it_says_how_to_build_one(heed: Any) -> None:
    for path in ("/", "/admin"):
        response = await get(heed, path)
        assert response.status_code == 200
        assert "make setup" in response.text
        assert "<style" not in response.text


async def test_deep_links_get_the_page_and_missing_files_do_not(dist: Path, heed: Any) -> None:
    for path in ("/", "/index.html", "/setup", "/c/conv_1"):
        response = await get(heed, path)
        assert "<title>Heed" in response.text, path
        assert response.headers["cache-control"] == "no-cache"
    assert (await get(heed, "/assets/gone.js")).status_code == 404
    assert (await get(heed, "/api/nothing")).headers["content-type"] == "application/problem+json"


async def test_hashed_files_are_kept_for_ever(dist: Path, heed: Any) -> None:
    response = await get(heed, "/assets/app-1a2b.js")
    assert response.headers["content-type"].startswith("text/javascript")
    assert "immutable" in response.headers["cache-control"]


async def test_nothing_outside_the_folder_is_served(dist: Path, heed: Any) -> None:
    for path in ("/../secret.txt", "/%2e%2e/secret.txt", "/assets/..%2f..%2fsecret.txt", "//secret.txt"):
        assert "secret" not in (await get(heed, path)).text
