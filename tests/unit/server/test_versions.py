"""A version in detail, whether it may serve, and promoting it."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from store import keys
from store.artifacts import seal
from store.records import EngineStatus, PolicyVersion, Snapshot, now
from tests.present import present

pytestmark = pytest.mark.anyio


async def publish(
    heed: Any, number: int, parent: int | None = None, samples: Any = None, **fields: Any
) -> Path:
    """A sealed version in the registry: a card and some bytes for weights."""
    source = heed.parts.settings.data / f"source-{number}"
    source.mkdir()
    (source / "README.md").write_text(f"---\nlicense: apache-2.0\n---\n# Version {number}\n")
    (source / "model.safetensors").write_bytes(bytes([number]) * 1000)
    if samples is not None:
        (source / "samples.json").write_text(json.dumps(samples))
    folder: Path = heed.parts.settings.data / "policies" / f"v{number:04d}"
    digest = seal(source, folder, {"version": number})
    version = PolicyVersion(
        number=number, parent=parent, folder=folder.name, sha256=digest, created_at=now(), **fields
    )
    await heed.parts.policies.register(version)
    return folder


async def engines(heed: Any, *versions: int) -> None:
    statuses = [
        EngineStatus(
            name=f"engine-{number}",
            address="unix:///x",
            state="ready",
            version=version,
            in_flight=number,
            seen_at=now(),
        )
        for number, version in enumerate(versions, 1)
    ]
    await heed.parts.policies.report_engines("host:1", statuses)


async def test_a_version_is_shown_with_its_files_card_and_differences(heed: Any, admin: Any) -> None:
    await publish(heed, 1, metrics={"reward_mean": 0.2})
    run = await heed.parts.runs.request("votes")
    claim = await heed.parts.runs.acquire(run.id, "worker", 30, 3)
    await heed.parts.runs.set_stage(claim, "freeze", "done", {"skipped": {"tie": 2}})
    await heed.parts.runs.finish(claim, "succeeded")
    await publish(heed, 2, 1, run_id=run.id, metrics={"reward_mean": 0.9, "ref_kl": 8.0})
    shown = await admin.get("/api/v1/policies/2")
    assert shown["card"].endswith("# Version 2\n")
    assert {file["name"]: file["bytes"] for file in shown["files"]}["model.safetensors"] == 1000
    assert shown["bytes"] == sum(file["bytes"] for file in shown["files"])
    assert shown["skipped"] == {"tie": 2}
    assert shown["metrics"] == [
        {"name": "ref_kl", "before": None, "after": 8.0},
        {"name": "reward_mean", "before": 0.2, "after": 0.9},
    ]
    assert (await admin.call("GET", "/api/v1/policies/3")).status_code == 404


async def test_a_version_says_which_of_its_votes_no_longer_count(
    heed: Any, admin: Any, redis_server: Any
) -> None:
    await publish(heed, 1)
    for number, votes in ((2, ["vote_1", "vote_2"]), (3, ["vote_2", "vote_3", "vote_4"])):
        run = await heed.parts.runs.request("votes")
        claim = await heed.parts.runs.acquire(run.id, "worker", 30, 3)
        await heed.parts.runs.finish(claim, "succeeded")
        await heed.parts.lineage.record(run.id, votes)
        await publish(heed, number, number - 1, run_id=run.id)
    redis_server.client().sadd(keys.VOTE_OUT, "vote_2")
    shown = await admin.get("/api/v1/policies/3")
    assert (shown["votes_added"], shown["votes_removed"], shown["tainted"]) == (2, 1, 1)
    assert (await admin.get("/api/v1/policies/1"))["votes_added"] is None


async def test_versions_are_shown_by_what_they_said_to_the_same_prompts(heed: Any, admin: Any) -> None:
    samples = {"prompts": ["Hi"], "answers": {"active": ["Hello."], "candidate": ["Hello there!"]}}
    await publish(heed, 1)
    await publish(heed, 2, 1, samples=samples)
    await publish(heed, 3, 2, samples={"prompts": ["Hi"], "answers": {}})
    said = [(await admin.get(f"/api/v1/policies/{number}/samples"))["items"] for number in (1, 2, 3)]
    assert said == [
        [{"prompt": "Hi", "answer": "Hello."}],
        [{"prompt": "Hi", "answer": "Hello there!"}],
        [],
    ]
    assert (await admin.call("GET", "/api/v1/policies/9/samples")).status_code == 404


async def test_a_preflight_finds_a_changed_file(heed: Any, admin: Any) -> None:
    folder = await publish(heed, 1)
    nobody = await admin.get("/api/v1/policies/1/preflight")
    assert (nobody["ok"], "no engine" in nobody["error"]) == (False, True)
    await engines(heed, 1, 2)
    good = await admin.get("/api/v1/policies/1/preflight")
    assert (good["ok"], good["warm_on"], good["ready_engines"], good["in_flight"]) == (
        True,
        ["engine-1"],
        2,
        3,
    )
    (folder / "model.safetensors").write_bytes(bytes([7]) * 1000)
    bad = await admin.get("/api/v1/policies/1/preflight")
    assert not bad["ok"]
    assert "model.safetensors: differs from the manifest" in bad["error"]


async def test_promoting_at_once_moves_the_pointer_and_is_audited(heed: Any, admin: Any) -> None:
    await publish(heed, 1)
    await publish(heed, 2, 1)
    await heed.parts.policies.activate(1, "test", "base", expected=None)
    no_reason = await admin.call("POST", "/api/v1/policies/2/promote", {"share": 1, "reason": ""})
    assert no_reason.status_code == 422
    done = await admin.call("POST", "/api/v1/policies/2/promote", {"share": 1, "reason": "better"})
    assert done.json() == {"active": 2, "canary": None}
    (event,) = await heed.parts.audit.newest()
    assert (event.action, event.before, event.after, event.reason) == ("promote", "v1", "v2", "better")


async def test_a_canary_starts_grows_and_ends_and_its_history_stays(heed: Any, admin: Any) -> None:
    await publish(heed, 1)
    await publish(heed, 2, 1)
    await heed.parts.policies.activate(1, "test", "base", expected=None)
    body = {"share": 0.05, "reason": "let us see"}
    alone = await admin.call("POST", "/api/v1/policies/2/promote", body)
    assert (alone.status_code, alone.json()["type"]) == (409, "urn:heed:canary_refused")
    await engines(heed, 1, 1)
    started = await admin.call("POST", "/api/v1/policies/2/promote", body)
    assert started.json()["canary"]["share"] == 0.05
    assert (await admin.get("/api/v1/status"))["canary"]["number"] == 2
    grown = await admin.call("PUT", "/api/v1/canary", {"share": 0.25, "reason": "good so far"})
    assert grown.json()["share"] == 0.25
    ended = await admin.call("POST", "/api/v1/canary/end", {"outcome": "promoted", "reason": "better"})
    assert ended.json() == {"active": 2, "canary": None}
    [span] = (await admin.get("/api/v1/policies/history"))["canaries"]
    assert (span["number"], span["share"], span["outcome"]) == (2, 0.25, "promoted")
    assert span["ended_at"] > span["started_at"]
    assert [(step["share"], step["reason"]) for step in span["steps"]] == [
        (0.05, "let us see"),
        (0.25, "good so far"),
    ]
    assert span["reason"] == "better"
    assert (await admin.get("/api/v1/audit/verify"))["broken_at"] is None


async def test_a_canary_may_go_up_a_ramp_by_itself(heed: Any, admin: Any) -> None:
    await publish(heed, 1)
    await publish(heed, 2, 1)
    await heed.parts.policies.activate(1, "test", "base", expected=None)
    await engines(heed, 1, 1)
    body = {"share": 0.25, "reason": "let us see"}
    for ramp in ([0.25], [0.5, 0.4], [0.5, 2]):
        refused = await admin.call("POST", "/api/v1/policies/2/promote", body | {"ramp": ramp})
        assert (refused.status_code, refused.json()["type"]) == (422, "urn:heed:invalid")
    started = await admin.call("POST", "/api/v1/policies/2/promote", body | {"ramp": [0.5, 1]})
    canary = started.json()["canary"]
    assert (canary["share"], canary["ramp"], canary["next_at"]) == (0.25, [0.5, 1], 20)


async def test_a_version_that_the_gate_held_back_is_not_promoted(heed: Any, admin: Any) -> None:
    await publish(heed, 1, state="rejected", reason="held back: too long")
    refused = await admin.call("POST", "/api/v1/policies/1/promote", {"share": 1, "reason": "I want it"})
    assert (refused.status_code, "too long" in refused.json()["detail"]) == (409, True)


async def test_an_engineer_downloads_a_version_as_a_tar_file(heed: Any, ann: Any, admin: Any) -> None:
    folder = await publish(heed, 1)
    engineer = await heed.person("eve", "engineer")
    response = await engineer.call("GET", "/api/v1/policies/1/download")
    assert (response.status_code, response.headers["content-type"]) == (200, "application/x-tar")
    assert "heed-policy-v1.tar" in response.headers["content-disposition"]
    with tarfile.open(fileobj=io.BytesIO(response.content)) as file:
        assert file.getnames() == ["heed-policy-v1/model.safetensors", "heed-policy-v1/README.md"]
        card = present(file.extractfile("heed-policy-v1/README.md")).read().decode()
    assert "license: apache-2.0" in card
    assert "none: the base model" in card
    assert (await ann.call("GET", "/api/v1/policies/1/download")).status_code == 403
    assert (await admin.get("/api/v1/audit"))["items"][0]["action"] == "download_version"
    missing = await engineer.call("GET", "/api/v1/policies/1/download?what=reward_model")
    assert missing.status_code == 404
    (folder / "model.safetensors").write_bytes(b"?" * 1000)
    damaged = await engineer.call("GET", "/api/v1/policies/1/download")
    assert (damaged.status_code, damaged.json()["type"]) == (409, "urn:heed:damaged_version")


async def test_a_trainings_data_is_downloaded_as_it_was_frozen(heed: Any, admin: Any) -> None:
    run = await heed.parts.runs.request("votes")
    assert (await admin.call("GET", f"/api/v1/runs/{run.id}/data")).status_code == 404
    folder = heed.parts.settings.data / "runs" / run.id / "snapshot"
    folder.mkdir(parents=True)
    turn = {"role": "user", "content": "Q"}
    said = [{"role": "assistant", "content": text} for text in ("yes", "no")]
    pair = {"prompt": [turn], "chosen": said[:1], "rejected": said[1:], "vote_id": "vote_1"}
    (folder / "train.jsonl").write_text(
        json.dumps(pair) + "\n" + json.dumps(pair | {"preference": 0.5}) + "\n"
    )
    (folder / "held_out.jsonl").write_text("")
    claim = await heed.parts.runs.acquire(run.id, "worker", 30, 3)
    snapshot = Snapshot(
        run_id=run.id, votes=1, new_votes=1, train_pairs=2, held_out_pairs=0, prompts=1, through="1-0",
        sha256="ab" * 32, created_at=now(),
    )  # fmt: skip
    await heed.parts.runs.update(claim, snapshot=snapshot)
    response = await admin.call("GET", f"/api/v1/runs/{run.id}/data")
    assert response.status_code == 200, response.text
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        files = {name.split("/")[-1]: archive.read(name).decode() for name in archive.namelist()}
    assert json.loads(files["train.jsonl"])["chosen"] == said[:1]
    assert json.loads(files["manifest.json"])["left_out"] == {"tie": 1}
    assert "ab" * 32 in files["README.md"]
    response = await admin.call("GET", f"/api/v1/runs/{run.id}/data?files=parquet")
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert any(name.endswith("train.parquet") for name in archive.namelist())
