"""`python -m store.exchange`: the same export and import without the web page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from store.exchange.__main__ import main


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, redis_url: str, volume: Path) -> None:
    monkeypatch.setenv("HEED_REDIS_URL", redis_url)
    monkeypatch.setenv("HEED_DATA", str(volume))


def test_a_file_is_read_then_kept(tmp_path: Path, volume: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text('{"prompt": "q?", "chosen": "yes", "rejected": "no"}\noops\n')
    assert main(["import", str(file), "--tag", "other", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "1 rows, 1 refused" in said
    assert "line 2: row is not JSON" in said
    assert not (volume / "imports").exists()
    assert main(["import", str(file), "--tag", "other"]) == 0
    assert "the next training takes it" in capsys.readouterr().out
    (kept,) = (volume / "imports").glob("*.jsonl")
    assert json.loads(kept.read_text())["source"] == "import"


def test_an_export_goes_to_a_new_folder_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["export", str(out), "--query", "outcome:a"]) == 0
    assert "0 of 0 votes" in capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == {"README.md", "manifest.json"}
    assert main(["export", str(out)]) == 1
    assert main(["export", str(tmp_path / "two"), "--query", "colour:red"]) == 1
    assert "`colour:` is not known" in capsys.readouterr().err


def test_a_training_s_data_set_is_exported_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["export", str(tmp_path / "out"), "--run", "run_1", "--query", "outcome:a"])
    assert "--query does not go with --run" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
