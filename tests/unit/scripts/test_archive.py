"""`python -m scripts.archive`: the restore drill as a person does it, and Parquet."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pyarrow.parquet as parquet
import pytest

from scripts.archive import main
from store.accounts import Accounts
from store.archive.keep import Limits, keep
from store.connection import connect
from store.votes import VoteLog
from tests.archive_parts import asked_in, everything, live


@pytest.fixture
def filled(redis_url: str, volume: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """A site with an archive of sealed segments; all of its Redis."""
    monkeypatch.setenv("HEED_DATA", str(volume))
    monkeypatch.setenv("HEED_REDIS_URL", redis_url)

    async def fill() -> dict[str, object]:
        async with connect(redis_url) as redis:
            await live(redis, volume, asked_in)
            await keep(redis, volume, Limits(segment_bytes=1, rest_s=None))
            return await everything(redis)

    return asyncio.run(fill())


def test_a_site_is_restored_into_its_own_redis_and_a_damaged_archive_is_not(
    filled: dict[str, object],
    volume: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["verify"]) == 0
    assert "is whole" in capsys.readouterr().out
    assert main(["restore", str(volume / "archive")]) == 1
    assert "Redis is not empty" in capsys.readouterr().err
    new = Path(shutil.copytree(volume / "archive", tmp_path / "backup")).parent / "n"
    monkeypatch.setenv("HEED_DATA", str(new))
    monkeypatch.setenv("HEED_REDIS_URL", "")  # our own server, started for it
    segment = tmp_path / "backup" / "votes-000001.jsonl"
    segment.write_bytes(segment.read_bytes().replace(b'"entry"', b'"Entry"', 1))
    assert main(["restore", str(tmp_path / "backup")]) == 1
    assert "votes-000001.jsonl is not what was sealed" in capsys.readouterr().err
    segment.write_bytes(segment.read_bytes().replace(b'"Entry"', b'"entry"', 1))
    assert main(["restore", str(tmp_path / "backup")]) == 0
    said = capsys.readouterr().out
    assert "New password for Ann" in said
    token = said.split("#token=")[1].split()[0]
    with_own_redis(new, filled, token)


def with_own_redis(data: Path, filled: dict[str, object], token: str) -> None:
    from scripts.archive import redis_running
    from store.settings import StoreSettings

    settings = StoreSettings()

    async def look() -> None:
        async with connect(settings.redis) as redis:
            assert await everything(redis) == filled
            account, _ = await Accounts(redis, data).accept(token, "Ann", "another good password")
            assert (
                await Accounts(redis, data).login("Ann", "another good password", "here")
            ).id == account.id
            assert len(await VoteLog(redis, data).read()) == 10

    with redis_running(settings):
        asyncio.run(look())


def test_sealed_segments_become_parquet_once(
    filled: dict[str, object], volume: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["parquet", str(tmp_path / "out")]) == 0
    votes, conversations = sorted((tmp_path / "out").glob("*.parquet"), reverse=True)
    table = parquet.read_table(votes)
    rows = table.to_pylist()
    assert [row["what"] for row in rows].count("cast") == 10
    assert {row["status"] for row in rows} == {"active", "undone", "excluded"}
    assert table.schema.field("created_at").type.tz == "UTC"
    assert "The Nile." in parquet.read_table(conversations).to_pylist()[0]["answers"]
    at = votes.stat().st_mtime_ns
    assert main(["parquet", str(tmp_path / "out")]) == 0
    assert votes.stat().st_mtime_ns == at
