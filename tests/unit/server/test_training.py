"""A training in detail: log, answers, alerts; again from where it failed; the plan, the schedule."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from store.dataset.choice import AnnotatorPart
from store.records import PolicyVersion, Run, Snapshot, now
from store.run_options import RunOptions
from store.start_rules import StartRules
from tests.fakes import Script
from workers.snapshot import MANIFEST, Frozen
from workers.start_rules import Waiting, outlook

pytestmark = pytest.mark.anyio


async def failed_run(heed: Any, admin: Any) -> tuple[str, Path]:
    """A run whose PPO stage failed, and its folder."""
    run_id = (await admin.call("POST", "/api/v1/runs")).json()["id"]
    claim = await heed.parts.runs.acquire(run_id, "worker", 30, 3)
    await heed.parts.runs.set_stage(claim, "freeze", "done", {"votes": 3, "skipped": {"tie": 2}})
    await heed.parts.runs.set_stage(claim, "reward", "done")
    await heed.parts.runs.set_stage(claim, "ppo", "failed")
    await heed.parts.runs.finish(claim, "failed", error="out of memory")
    folder: Path = heed.parts.settings.data / "runs" / run_id
    return run_id, folder


def write_log(folder: Path, attempt: int, stage: str, *lines: str) -> None:
    path = folder / f"attempt-{attempt}" / f"{stage}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def sample(update: int, answer: str) -> str:
    """As the trainer writes it (`trainer/ppo.py`)."""
    said = {"update": update, "prompt": "Why?", "answer": answer, "tokens": 3, "ended": True, "score": 0.5}
    return "sample " + json.dumps(said)


async def test_the_log_ends_with_what_the_newest_attempt_said(heed: Any, admin: Any) -> None:
    run_id, folder = await failed_run(heed, admin)
    assert (await admin.call("GET", f"/api/v1/runs/{run_id}/log?stage=ppo")).status_code == 404
    write_log(folder, 9, "ppo", "first attempt")
    write_log(folder, 10, "ppo", "loading", sample(1, "secret"), "ValueError: NaN")
    log = await admin.get(f"/api/v1/runs/{run_id}/log?stage=ppo")
    assert (log["text"], log["cut"]) == ("loading\nValueError: NaN", False)
    write_log(folder, 10, "ppo", *(f"line {number:05}" for number in range(10_000)))
    long = await admin.get(f"/api/v1/runs/{run_id}/log?stage=ppo")
    assert long["cut"]
    assert long["text"].endswith("line 09999")
    assert len(long["text"]) < 65_536
    assert (await admin.call("GET", f"/api/v1/runs/{run_id}/log?stage=../../x")).status_code == 422


async def test_an_update_that_ran_twice_shows_its_later_answer(heed: Any, admin: Any) -> None:
    run_id, folder = await failed_run(heed, admin)
    write_log(folder, 1, "ppo", sample(1, "old one"), sample(2, "old two"), 'sample {"update": 3, "pro')
    write_log(folder, 2, "ppo", sample(2, "new two"))
    items = (await admin.get(f"/api/v1/runs/{run_id}/samples"))["items"]
    assert [(one["update"], one["answer"]) for one in items] == [(1, "old one"), (2, "new two")]


def fixed(update: int, answer: str) -> str:
    said = {"prompt": "Why is the sky blue?", "answer": answer, "tokens": 3, "ended": True}
    return "fixed " + json.dumps({"update": update, "answers": [said]})


async def test_fixed_prompts_are_shown_by_update_and_stay_out_of_the_log(heed: Any, admin: Any) -> None:
    run_id, folder = await failed_run(heed, admin)
    write_log(folder, 1, "ppo", fixed(0, "before"), "loading", fixed(4, "old four"))
    write_log(folder, 2, "ppo", fixed(4, "new four"), "fixed {half", "fixed is another word here")
    found = (await admin.get(f"/api/v1/runs/{run_id}/samples"))["fixed"]
    assert [(one["update"], one["answers"][0]["answer"]) for one in found] == [(0, "before"), (4, "new four")]
    log = await admin.get(f"/api/v1/runs/{run_id}/log?stage=ppo")
    assert log["text"] == "fixed is another word here"


async def test_alerts_are_what_the_trainer_warned_of_until_somebody_has_looked(heed: Any, admin: Any) -> None:
    run_id, folder = await failed_run(heed, admin)
    warning = "KL 31.4 nats per answer is above 30"
    lines = ("loading", f"warning before update 7: {warning}", f"warning before update 7: {warning}")
    write_log(folder, 1, "ppo", *lines, "stopped before update 9, back to the weights after 8: " + warning)
    items = (await admin.get(f"/api/v1/runs/{run_id}/alerts"))["items"]
    assert [(one["step"], one["stopped"]) for one in items] == [(7, False), (9, True)]
    assert items[0]["text"] == warning
    path = f"/api/v1/runs/{run_id}/alerts"
    assert (await admin.call("POST", f"{path}/{items[0]['id']}/acknowledge")).status_code == 204
    assert (await admin.call("POST", f"{path}/nothing/acknowledge")).status_code == 404
    seen = (await admin.get(path))["items"]
    assert [one["acknowledged_by"] for one in seen] == [admin.account_id, None]


def test_the_trainer_writes_what_is_read_here() -> None:
    """The two ends of the log: the words in the trainer's source are the ones that are looked for."""
    trainer = Path(__file__).resolve().parents[3] / "trainer"
    source = (trainer / "ppo.py").read_text()
    assert 'f"warning before update {update + 1}: {warning}"' in source
    assert 'f"stopped before update {update + 1}, back to' in source
    assert 'SAMPLE = "sample "' in (trainer / "reporting.py").read_text()
    assert 'FIXED = "fixed "' in (trainer / "reporting.py").read_text()


async def test_a_failed_run_is_taken_up_again_where_it_failed(heed: Any, admin: Any) -> None:
    run_id, _ = await failed_run(heed, admin)
    again = await admin.call("POST", f"/api/v1/runs/{run_id}/retry")
    assert again.status_code == 202
    run = Run.model_validate(again.json())
    assert (run.state, run.error, run.ended_at) == ("queued", None, None)
    states = [status.state for status in run.stages]
    assert states == ["done", "done", "waiting", "waiting", "waiting"]
    assert (await admin.get("/api/v1/status"))["run"]["id"] == run_id
    claim = await heed.parts.runs.acquire(run_id, "worker", 30, 1)
    assert claim is not None
    assert (await admin.call("POST", f"/api/v1/runs/{run_id}/retry")).status_code == 409


async def test_only_the_newest_run_can_be_taken_up_again(heed: Any, admin: Any) -> None:
    old, _ = await failed_run(heed, admin)
    await failed_run(heed, admin)
    refused = await admin.call("POST", f"/api/v1/runs/{old}/retry")
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:heed:cannot_retry")
    assert (await admin.call("POST", "/api/v1/runs/run_nothing/retry")).status_code == 404


async def test_the_plan_says_what_a_training_would_learn_from(heed: Any, admin: Any, ann: Any) -> None:
    empty = await admin.get("/api/v1/plan")
    assert (empty["blocked"], empty["new_pairs"], empty["estimate"]) == ("no_version", 0, [])
    (heed.parts.settings.data / "policies" / "v0001").mkdir(parents=True)
    version = PolicyVersion(number=1, folder="v0001", sha256="0" * 64, created_at=now())
    await heed.parts.policies.register(version)
    await heed.parts.policies.activate(1, "test", "base", expected=None)
    for number, choice in enumerate(("a", "b", "tie")):
        turn = await ann.duel(f"Question {number}")
        await ann.vote(turn["duel"]["id"], choice, f"key-{number}")
    plan = await admin.get("/api/v1/plan")
    assert plan["new_votes"] == {"a": 1, "b": 1, "tie": 1}
    assert (plan["parent"], plan["new_pairs"], plan["total_pairs"], plan["blocked"]) == (1, 2, 2, None)
    assert plan["settings"]["schedule"] == {"min_votes": 3}
    assert await heed.parts.runs.current() is None


async def test_a_training_that_is_asked_for_while_one_is_open_waits(heed: Any, admin: Any) -> None:
    eng = await heed.person("eng", "engineer")
    run_id = (await admin.call("POST", "/api/v1/runs", {"reason": "a new topic"})).json()["id"]
    assert (await admin.get(f"/api/v1/runs/{run_id}"))["reason"] == "a new topic"
    asked = await eng.call("POST", "/api/v1/runs", {"reason": "better data"})
    assert (asked.status_code, asked.json()["reason"]) == (202, "better data")
    again = await eng.call("POST", "/api/v1/runs")
    assert (again.status_code, again.json()["type"]) == (409, "urn:heed:request_waits")
    assert asked.json()["id"] in again.json()["detail"]
    assert (await admin.call("POST", "/api/v1/runs")).status_code == 202
    waiting = (await admin.get("/api/v1/schedule"))["requests"]
    assert [(one["name"], one["reason"]) for one in waiting] == [("eng", "better data"), ("admin", "")]
    path = f"/api/v1/requests/{asked.json()['id']}"
    assert (await admin.call("DELETE", path)).status_code == 204
    assert (await admin.call("DELETE", path)).status_code == 404
    assert [one["name"] for one in (await admin.get("/api/v1/schedule"))["requests"]] == ["admin"]
    actions = [event.action for event in await heed.parts.audit.newest()]
    assert actions == ["request_cancelled", "train_requested", "train_requested", "train_now"]


async def test_a_training_says_whose_votes_its_data_holds_by_the_names_they_have_now(
    heed: Any, admin: Any, ann: Any
) -> None:
    run_id, folder = await failed_run(heed, admin)
    path = f"/api/v1/runs/{run_id}/annotators"
    assert (await admin.call("GET", path)).status_code == 404, "nothing is frozen yet"
    parts = [AnnotatorPart(annotator_id=f"acc_{number}", votes=1) for number in range(8)]
    eve = await heed.person('"eve"', "annotator")
    frozen = Frozen(
        snapshot=Snapshot(
            run_id=run_id, votes=40, new_votes=40, train_pairs=36, held_out_pairs=4, prompts=8, through="1-0",
            sha256="", created_at=now(),
        ),
        parent=1, files={}, skipped={}, cap=20,
        annotators=(
            AnnotatorPart(annotator_id=ann.account_id, votes=24, over_cap=4),
            AnnotatorPart(annotator_id=eve.account_id, votes=8, weight=0.25, checks=8),
            AnnotatorPart(annotator_id="acc_gone", votes=8),
            *parts,
        ),
    )  # fmt: skip
    (folder / "snapshot").mkdir(parents=True)
    (folder / "snapshot" / MANIFEST).write_text(frozen.model_dump_json())
    whose = await admin.get(path)
    assert (whose["cap"], whose["more_annotators"], len(whose["annotators"])) == (20, 1, 10)
    assert whose["annotators"][:3] == [
        {"name": "ann", "votes": 24, "share": 0.5, "over_cap": 4, "weight": 1.0, "unknown": False},
        {"name": '"eve"', "votes": 8, "share": 8 / 48, "over_cap": 0, "weight": 0.25, "unknown": False},
        {"name": "acc_gone", "votes": 8, "share": 8 / 48, "over_cap": 0, "weight": 1.0, "unknown": False},
    ]  # fmt: skip
    assert (await ann.call("GET", path)).status_code == 403


async def test_the_dry_run_says_which_votes_train_and_why_the_others_do_not(
    heed: Any, admin: Any, ann: Any
) -> None:
    few = await admin.get("/api/v1/plan/data")
    assert (few["votes"], few["train_pairs"]) == (0, 0)
    assert "at least 2 are needed" in few["too_few"]
    for number, choice in enumerate(("a", "b", "tie", "a", "skip")):
        heed.pool.say(Script((f"yes {number}",)), Script((f"no {number}",)))
        turn = await ann.duel(f"Question {number}")
        await ann.vote(turn["duel"]["id"], choice, f"key-{number}")
    last = (await ann.get("/api/v1/votes/mine"))["items"][1]["id"]
    await admin.call("POST", "/api/v1/exclusions", {"ids": [last], "reason": "spam"})
    plan = await admin.get("/api/v1/plan/data")
    assert plan["left_out"] == {"excluded": 1, "skipped by the annotator": 1}
    assert (plan["votes"], plan["held_out_pairs"], plan["too_few"]) == (2, 1, None)
    assert plan["annotators"] == [
        {"name": "ann", "votes": 2, "share": 1.0, "over_cap": 0, "weight": 1.0, "unknown": False},
    ]
    assert (plan["cap"], plan["more_annotators"]) == (50, 0)
    assert await heed.parts.runs.current() is None


async def test_a_paused_schedule_says_so_until_it_is_resumed(heed: Any, admin: Any) -> None:
    assert (await admin.get("/api/v1/schedule"))["paused"] is None
    assert (await admin.call("PUT", "/api/v1/schedule/pause", {"reason": " "})).status_code == 422
    await admin.call("PUT", "/api/v1/schedule/pause", {"reason": "the data is being looked at"})
    assert (await admin.get("/api/v1/status"))["paused"]["reason"] == "the data is being looked at"
    assert (await admin.call("POST", "/api/v1/runs")).status_code == 201  # by hand it still works
    assert (await admin.call("DELETE", "/api/v1/schedule/pause")).status_code == 204
    assert (await admin.get("/api/v1/schedule"))["paused"] is None
    actions = [event.action for event in await heed.parts.audit.newest()]
    assert actions == ["schedule_resumed", "train_now", "schedule_paused"]


async def test_rules_changed_on_the_page_hold_over_the_files_until_they_are_as_in_the_file(
    heed: Any, admin: Any
) -> None:
    eng = await heed.person("eng", "engineer")
    await heed.parts.outlooks.write(outlook(Waiting(0, None), StartRules(), now()))
    before = await admin.get("/api/v1/schedule")
    assert (before["rules"], before["changed"]) == (before["file"], {})
    assert before["outlook"] is not None
    wanted = {"min_votes": 2, "quiet_hours": ["22:00-06:00"], "time_zone": "Europe/Berlin"}
    changed = (await eng.call("PATCH", "/api/v1/schedule/rules", wanted)).json()
    assert changed["rules"] == before["file"] | wanted
    assert (changed["file"], {one["by"] for one in changed["changed"].values()}) == (before["file"], {"eng"})
    assert set(changed["changed"]) == set(wanted)
    assert changed["outlook"] is None, "no tick has seen the new rules"
    assert (await admin.get("/api/v1/status"))["votes"]["min_votes"] == 2
    assert (await admin.get("/api/v1/plan"))["settings"]["schedule"] == wanted
    changes = await heed.parts.start_rules.changes()
    await heed.parts.outlooks.write(outlook(Waiting(0, None), StartRules(), now(), rules_at=changes.at))
    assert (await admin.get("/api/v1/schedule"))["outlook"] is not None
    back = (await admin.call("DELETE", "/api/v1/schedule/rules")).json()
    assert (back["rules"], back["changed"], back["outlook"]) == (before["file"], {}, None)
    (away, event) = await heed.parts.audit.newest()
    assert (event.actor, event.action, event.after) == (eng.account_id, "rules_changed", wanted)
    assert (away.before, away.after["min_votes"]) == (wanted, 3)


@pytest.mark.parametrize(
    ("rule", "value", "words"),
    [
        ("min_votes", 0, "greater than or equal to 1"),
        ("every_hours", -1, "greater than 0"),
        ("calendar", "every night", "`every night` is no cron line; write minute, hour"),
        ("quiet_hours", ["22-6"], "`22-6` is no time of day; write it as `22:00-06:00`"),
        ("quiet_hours", ["01:00-02:00"] * 25, "at most 24 items"),
        ("time_zone", "Berlin", "`Berlin` is no time zone; write it as `Europe/Berlin`"),
        ("drift", 1.5, "less than 1"),
        ("max_pairs", 3, "not permitted"),
    ],
)
async def test_a_rule_that_cannot_be_is_refused_by_name(
    heed: Any, admin: Any, rule: str, value: Any, words: str
) -> None:
    refused = await admin.call("PATCH", "/api/v1/schedule/rules", {"min_votes": 9, rule: value})
    assert (refused.status_code, refused.json()["field"].split(".")[0]) == (422, rule)
    assert words in refused.json()["detail"]
    assert "Value error" not in refused.json()["detail"]
    schedule = await admin.get("/api/v1/schedule")
    assert schedule["rules"] == schedule["file"]


async def test_a_training_with_other_settings_is_shown_as_the_trainer_has_it_and_refused_at_the_field(
    heed: Any, admin: Any
) -> None:
    options = {"preset": "vanilla", "updates": 3, "max_pairs": 40}
    shown = (await admin.call("POST", "/api/v1/plan", options)).json()
    assert (shown["max_pairs"], shown["settings"]["schedule"]) == (40, {"min_votes": 3, "max_pairs": 40})
    ppo = shown["settings"]["ppo"]
    assert (ppo["preset"], ppo["updates"], ppo["kl_coef"], ppo["gamma"]) == ("vanilla", 3, 0.0, 1.0)
    cases = [({"updates": 0}, "updates"), ({"preset": "best"}, "preset"), ({"epochs": -1}, "epochs")]
    for path in ("plan", "runs"):
        for body, field in cases:
            refused = await admin.call("POST", f"/api/v1/{path}", body)
            assert (refused.status_code, refused.json()["field"]) == (422, field), refused.text
    assert (await admin.call("POST", "/api/v1/runs", {"max_pairs": 1})).json()["field"] == "max_pairs"
    assert await heed.parts.runs.current() is None


async def test_other_settings_are_kept_for_the_run_that_was_asked_for_and_no_later_one(
    heed: Any, admin: Any
) -> None:
    made = Run.model_validate((await admin.call("POST", "/api/v1/runs", {"updates": 3})).json())
    assert (await heed.parts.run_options.of(made.requested_by)).updates == 3
    assert await heed.parts.run_options.of("votes") == RunOptions()
    [entry] = [one for one in (await admin.get("/api/v1/audit"))["items"] if one["action"] == "train_now"]
    assert entry["after"] == {"updates": 3}
    await admin.call("POST", f"/api/v1/runs/{made.id}/cancel")
    await admin.call("POST", "/api/v1/runs")
    assert await heed.parts.run_options.of(made.requested_by) == RunOptions()
