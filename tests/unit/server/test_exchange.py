"""Export and import: TRL's columns, only what counts, and what comes back goes into training."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import pyarrow.parquet as parquet
import pytest

pytestmark = pytest.mark.anyio


async def exported(admin: Any, form: str, q: str = "") -> tuple[dict[str, Any], list[Any], str]:
    """(manifest, rows of both splits, data card)."""
    response = await admin.http.get("/api/v1/exports", params={"format": form, "q": q})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        files = {name.split("/")[-1]: archive.read(name).decode() for name in archive.namelist()}
    rows = [
        json.loads(line) for name in files if name.endswith(".jsonl") for line in files[name].splitlines()
    ]
    return json.loads(files["manifest.json"]), rows, files["README.md"]


async def said(person: Any, kind: str, key: str, **body: Any) -> Any:
    response = await person.call("POST", "/api/v1/votes", {"kind": kind, **body}, **{"Idempotency-Key": key})
    assert response.status_code == 201, response.text
    return response.json()["vote"]


@pytest.fixture
async def votes(heed: Any, ann: Any) -> dict[str, Any]:
    """One vote of each kind that an export treats its own way."""
    from tests.fakes import Script

    heed.pool.say(*(Script(pieces=(f"Answer {n}",)) for n in range(40)))
    made: dict[str, Any] = {}
    for name, choice in (("pair", "b"), ("tie", "tie"), ("bad", "both_bad"), ("out", "a")):
        turn = await ann.duel(f"About {name}")
        made[name] = await said(ann, "duel", name, duel_id=turn["duel"]["id"], choice=choice)
        made[f"{name}_duel"] = turn["duel"]
    made["thumb"] = await said(ann, "thumb", "thumb", answer_id=made["pair_duel"]["answer_b"], choice="up")
    made["edit"] = await said(
        ann, "edit", "edit", answer_id=made["tie_duel"]["answer_a"], text="The ideal answer"
    )
    return made


async def test_parquet_has_the_rows_of_the_json_lines(admin: Any, votes: Any) -> None:
    _, rows, _ = await exported(admin, "preference", "")
    response = await admin.http.get("/api/v1/exports?format=preference&files=parquet")
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        names = [name for name in archive.namelist() if not name.endswith((".md", ".json"))]
        tables = [parquet.read_table(io.BytesIO(archive.read(name))) for name in names]
    found = {row["vote_id"]: row["chosen"] for table in tables for row in table.to_pylist()}
    assert found == {row["vote_id"]: row["chosen"] for row in rows}
    assert found


async def test_preference_rows_have_trls_columns_and_say_where_they_come_from(
    heed: Any, admin: Any, ann: Any, votes: Any
) -> None:
    manifest, rows, card = await exported(admin, "preference", "kind:duel")
    by_vote = {row["vote_id"]: row for row in rows}
    assert set(by_vote) == {votes["pair"]["id"], votes["out"]["id"]}
    row = by_vote[votes["pair"]["id"]]
    assert row["prompt"] == [{"role": "user", "content": "About pair"}]
    tree = await ann.get(f"/api/v1/conversations/{row['conversation_id']}")
    texts = {one["id"]: one["text"] for one in tree["answers"]}
    assert row["chosen"] == [{"role": "assistant", "content": texts[votes["pair_duel"]["answer_b"]]}]
    assert row["rejected"] == [{"role": "assistant", "content": texts[votes["pair_duel"]["answer_a"]]}]
    assert (row["position_chosen"], row["version_chosen"], row["blind"]) == (2, 1, True)
    assert manifest["left_out"] == {"says nothing in the preference format": 2}
    assert (manifest["votes"], manifest["used"], manifest["query"]) == (4, 2, "kind:duel")
    assert "`kind:duel`" in card
    assert manifest["sha256"] in card


async def test_an_ideal_answer_is_a_demonstration_and_a_pair(heed: Any, admin: Any, votes: Any) -> None:
    _, (row,), _ = await exported(admin, "sft")
    assert row["messages"][-1] == {"role": "assistant", "content": "The ideal answer"}
    _, rows, _ = await exported(admin, "preference", "kind:edit")
    assert rows[0]["chosen"][0]["content"] == "The ideal answer"
    assert rows[0]["rejected"][0]["content"] != "The ideal answer"


async def test_thumbs_and_both_bad_are_unpaired_rows(heed: Any, admin: Any, votes: Any) -> None:
    _, rows, _ = await exported(admin, "unpaired")
    labels = sorted((row["kind"], row["label"]) for row in rows)
    assert labels == [("duel", False), ("duel", False), ("thumb", True)]
    assert all(set(row) >= {"prompt", "completion", "label"} for row in rows)


async def test_excluded_and_undone_votes_are_in_no_export(
    heed: Any, admin: Any, ann: Any, votes: Any
) -> None:
    await admin.call("POST", "/api/v1/exclusions", {"ids": [votes["out"]["id"]], "reason": "test"})
    await ann.call("DELETE", f"/api/v1/votes/{votes['thumb']['id']}")
    manifest, rows, card = await exported(admin, "preference")
    assert votes["out"]["id"] not in {row["vote_id"] for row in rows}
    assert (manifest["left_out"]["excluded"], manifest["left_out"]["undone"]) == (1, 1)
    assert "| excluded | 1 |" in card
    assert [row["kind"] for row in (await exported(admin, "unpaired"))[1]] == ["duel", "duel"]


async def test_an_export_of_nothing_is_a_card_that_says_so(heed: Any, admin: Any) -> None:
    manifest, rows, card = await exported(admin, "sft")
    assert (manifest["files"], rows) == ({}, [])
    assert "data_files" not in card


async def sent(admin: Any, lines: list[Any], **query: Any) -> Any:
    content = "\n".join(one if isinstance(one, str) else json.dumps(one) for one in lines)
    params = {"name": "some pairs.jsonl", "tag": "other", **query}
    return await admin.http.post("/api/v1/imports", params=params, content=content.encode())


async def test_what_was_exported_can_be_imported_and_goes_into_training(
    heed: Any, admin: Any, votes: Any
) -> None:
    _, rows, _ = await exported(admin, "preference")
    dry = (await sent(admin, rows, dry_run=True)).json()
    assert (dry["pairs"], dry["kept"], dry["shapes"]) == (3, None, {"preference": 3})
    assert await heed.parts.imports.pairs() == []
    kept = (await sent(admin, [*rows, rows[0]])).json()
    assert (kept["pairs"], kept["duplicates"]) == (3, 1)
    pairs = await heed.parts.imports.pairs()
    assert [pair.source for pair in pairs] == ["import"] * 3
    assert pairs[0].tags[0] == "other"
    assert {pair.conversation_id for pair in pairs} == {row["conversation_id"] for row in rows}

    changed = await admin.call("PATCH", f"/api/v1/imports/{kept['kept']['id']}", {"in_use": False})
    assert changed.json()["in_use"] is False
    assert await heed.parts.imports.pairs() == []
    assert [one["in_use"] for one in (await admin.get("/api/v1/imports"))["items"]] == [False]


async def test_lines_that_are_no_rows_are_named_one_by_one(heed: Any, admin: Any) -> None:
    report = (
        await sent(admin, ["{oops", {"prompt": "x"}, {"prompt": "q", "chosen": "a", "rejected": "a"}, [1]])
    ).json()
    assert report["type"] == "urn:heed:nothing_to_import"
    dry = (
        await sent(admin, ["{oops", {"prompt": "q", "chosen": "good", "rejected": "bad"}], dry_run=True)
    ).json()
    assert (dry["pairs"], dry["refused"]) == (1, 1)
    assert dry["problems"] == [
        {"line": 1, "field": None, "message": "is not JSON: one object a line is needed"}
    ]
    assert dry["preview"][0]["chosen"] == [{"role": "assistant", "content": "good"}]


async def test_a_file_beyond_the_limit_is_refused(
    heed: Any, admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.routes.exchange.IMPORT_LIMIT", 1000)
    response = await sent(admin, ["x" * 2000])
    assert (response.status_code, response.json()["type"]) == (413, "urn:heed:too_large")


async def test_a_file_is_larger_than_other_bodies_may_be(heed: Any, admin: Any) -> None:
    rows = [{"prompt": f"question {n}", "chosen": "good" * 50, "rejected": "bad"} for n in range(2000)]
    assert (await sent(admin, rows, dry_run=True)).json()["pairs"] == 2000
