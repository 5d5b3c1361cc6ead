"""What the reward model thought, over HTTP: after the vote, to whom it belongs, and in the explorer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from server.hacking import watched
from store.explorer.table import VoteRow
from store.hacking import Told
from store.opinions import Opinion, ScoredAnswer, Thought
from store.records import GateCheck, GateReport, PolicyVersion, Vote, now
from store.statistics.hacking import Step, judge
from tests.running import Heed, Person

pytestmark = pytest.mark.anyio

NOT_SCORED: dict[str, Any] = {
    "reward_model": None, "answers": [], "prefers": None, "chance": None, "learned_from": False,
}  # fmt: skip


async def reward_model(heed: Heed) -> None:
    """The version that answers was trained to please reward model 1."""
    await heed.parts.policies.register(
        PolicyVersion(number=1, reward_model=1, folder="v0001", sha256="x", created_at=now())
    )


async def thought(heed: Heed, vote: Any, *scores: float, learned: bool = False) -> None:
    answers = tuple(
        ScoredAnswer(answer_id=answer["answer_id"], score=score)
        for answer, score in zip(vote["answers"], scores, strict=True)
    )
    opinion = Opinion(vote_id=vote["id"], reward_model=1, answers=answers, learned_from=learned, at=now())
    await heed.parts.opinions.add([opinion])


async def voted(person: Person, choice: str = "a", text: str = "Hello?") -> Any:
    turn = await person.duel(text)
    response = await person.vote(turn["duel"]["id"], choice, key=turn["duel"]["id"])
    return response.json()["vote"]


async def test_it_waits_then_says_scores_choice_and_chance(heed: Heed, ann: Person) -> None:
    await reward_model(heed)
    vote = await voted(ann)
    path = f"/api/v1/votes/{vote['id']}/opinion"
    assert await ann.get(path) == {"state": "waiting", **NOT_SCORED}

    await thought(heed, vote, 1.3, -0.2)

    found = await ann.get(path)
    assert found.pop("chance") == pytest.approx(0.8176, abs=1e-4)  # 1 / (1 + exp(-1.5))
    assert found == {
        "state": "scored",
        "reward_model": 1,
        "answers": [
            {"answer_id": vote["answers"][0]["answer_id"], "score": 1.3},
            {"answer_id": vote["answers"][1]["answer_id"], "score": -0.2},
        ],
        "prefers": "a",
        "learned_from": False,
    }


async def test_none_where_none_will_come(heed: Heed, ann: Person) -> None:
    before = await voted(ann)
    assert (await ann.get(f"/api/v1/votes/{before['id']}/opinion"))["state"] == "none"  # no reward model
    await reward_model(heed)
    skipped = await voted(ann, "skip")
    assert (await ann.get(f"/api/v1/votes/{skipped['id']}/opinion"))["state"] == "none"
    passed_over = await voted(ann)
    await heed.parts.votes.advance("scored_through", await heed.parts.votes.newest())
    assert (await ann.get(f"/api/v1/votes/{passed_over['id']}/opinion"))["state"] == "none"


async def test_a_score_is_seen_after_the_vote_only_and_not_by_others(
    heed: Heed, ann: Person, admin: Person
) -> None:
    await reward_model(heed)
    vote = await voted(ann)
    await thought(heed, vote, 91.5, -0.25)
    bob = await heed.person("bob")
    path = f"/api/v1/votes/{vote['id']}/opinion"
    assert (await bob.call("GET", path)).status_code == 404
    assert (await bob.call("GET", "/api/v1/votes/vote_nothing/opinion")).status_code == 404
    assert (await admin.get(path))["state"] == "scored"  # who may watch sees every vote

    ann.seen.clear()
    await ann.call("DELETE", f"/api/v1/votes/{vote['id']}")
    assert (await ann.get(path))["state"] == "none"
    await ann.get(f"/api/v1/duels/{vote['duel_id']}")
    await ann.get(f"/api/v1/conversations/{vote['conversation_id']}")
    await ann.get("/api/v1/votes/mine")
    assert b"91.5" not in b"".join(ann.seen)
    assert b"score" not in b"".join(ann.seen)


async def test_equal_scores_prefer_none(heed: Heed, ann: Person) -> None:
    await reward_model(heed)
    vote = await voted(ann)
    await thought(heed, vote, 0.5, 0.5, learned=True)
    found = await ann.get(f"/api/v1/votes/{vote['id']}/opinion")
    assert (found["prefers"], found["chance"], found["learned_from"]) == (None, None, True)


async def test_the_explorer_and_the_statistics_take_the_prediction(
    heed: Heed, ann: Person, admin: Person
) -> None:
    await reward_model(heed)
    right = await voted(ann)
    wrong, seen = await voted(ann, "b", "Why?"), await voted(ann, "b", "When?")
    assert (await admin.get("/api/v1/statistics"))["reward_model"]["accuracy"]["n"] == 0

    await thought(heed, right, 2.0, 0.5)
    await thought(heed, wrong, 2.0, 0.5)
    await thought(heed, seen, 2.0, 0.5, learned=True)

    items = {one["id"]: one for one in (await admin.get("/api/v1/votes"))["items"]}
    assert [items[vote["id"]]["margin"] for vote in (right, wrong, seen)] == [1.5, 1.5, None]
    assert items[wrong["id"]]["reward_model"] == "disagree"
    accuracy = (await admin.get("/api/v1/statistics"))["reward_model"]["accuracy"]
    assert (accuracy["share"], accuracy["n"]) == (0.5, 2)


async def test_the_feed_tells_who_watches(heed: Heed, ann: Person, admin: Person) -> None:
    await reward_model(heed)
    vote = await voted(ann)
    start = await heed.parts.feed.last_id()
    await thought(heed, vote, 2.0, 0.5)
    async with admin.http.stream("GET", f"/api/v1/events?after={start}") as response:
        async for line in response.aiter_lines():
            if line.startswith("event:"):
                assert line == "event: opinions"
            if line.startswith("data:"):
                assert json.loads(line[5:]) == {"votes": [vote["id"]]}
                break


async def test_the_watch_over_http_version_by_version_on_the_strip_and_the_system_page(
    heed: Heed, admin: Person, ann: Person
) -> None:
    empty: dict[str, Any] = {
        "level": "quiet", "words": "", "since": None, "judged": [], "look_back": 3, "versions": [],
    }  # fmt: skip
    assert await admin.get("/api/v1/hacking") == empty
    assert (await ann.call("GET", "/api/v1/hacking")).status_code == 403

    await reward_model(heed)
    await thought(heed, await voted(ann), 2.0, 0.5)
    (one,) = (await admin.get("/api/v1/hacking"))["versions"]
    assert (one["number"], one["people"]["n"], one["lead"]) == (1, 0, None)  # one version met itself
    assert (one["predicted"]["share"], one["predicted"]["n"]) == (1.0, 1)

    finding = judge([Step(4, 6, 34, 40, 1.0)], versions=3, warn_error=0.05, stop_error=0.01)
    await heed.parts.hacking.tell(Told(finding=finding, words="people in 15%", since=now()))
    said = await admin.get("/api/v1/hacking")
    assert (said["level"], said["judged"], said["words"]) == ("stop", [4], "people in 15%")
    assert (await admin.get("/api/v1/status"))["warnings"][-1] == "Reward hacking: people in 15%"
    problems = {one["kind"]: one for one in (await admin.get("/api/v1/system"))["problems"]}
    assert (problems["reward_hacking"]["severity"], problems["reward_hacking"]["what"]) == (
        "bad",
        "people in 15%",
    )


async def test_the_watch_sees_versions_that_met() -> None:
    rows = [
        row("v1", (3, 2), "b"),
        row("v2", (2, 3), "b"),
        row("v3", (3, 2), "a", blind=False),
        row("v4", (3, 3), "a"),
    ]
    thoughts = {
        "v1": Thought(3, (1.0, 0.0), False),  # the model likes v3, people do not
        "v2": Thought(3, (0.0, 3.0), False),  # both like v3
        "v3": Thought(3, (1.0, 0.0), False),
        "v4": Thought(3, (0.0, 1.0), False),  # the model is wrong
    }
    check = GateCheck(name="length", value=1.5, threshold=2, passed=True, reason="")
    version = PolicyVersion(
        number=3, folder="v3", sha256="x", created_at=now(), report=GateReport(passed=True, checks=(check,))
    )

    (one,) = watched(rows, thoughts, {3: version})

    assert (one.number, one.people.share, one.model.share, one.people.n, one.lead) == (3, 0.5, 1.0, 2, 2.0)
    assert (one.predicted.share, one.predicted.n) == (1 / 3, 3)
    assert (one.length, one.entropy) == (1.5, None)


def row(vote_id: str, versions: tuple[int, int], choice: str, *, blind: bool = True) -> VoteRow:
    vote = Vote(
        id=vote_id, kind="duel", conversation_id="c", duel_id=vote_id, annotator_id="ann", choice=choice,
        blind=blind, idempotency_key=vote_id, created_at=now(),
    )  # fmt: skip
    return VoteRow(vote, "ann", "", versions, "latin", vote_id, choice)
