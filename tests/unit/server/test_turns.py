"""Turns over HTTP: streamed, replayed, stopped, failed, kept through outages."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import TypeAdapter

from server.events import TurnEvent
from server.settings import ServerSettings
from store import keys
from store.connection import StoreUnavailable
from store.records import Answer, Message, Sampling, new_id, now
from store.streams import AnswerStream
from tests.fakes import Script, ScriptedPool
from tests.running import Person, serving

pytestmark = pytest.mark.anyio
ODD = ("Grüße, ", "世界 ", "\u2028", "🦉", "\r\ndata: x\n\n", "\x00", " end")


async def until(condition: Callable[[], Any], timeout_s: float = 5) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)


async def saved(person: Any, turn: Any) -> dict[str, Any]:
    tree = await person.get(f"/api/v1/conversations/{turn['conversation']}")
    return {answer["id"]: answer for answer in tree["answers"]}


async def test_a_single_answer_streams_what_is_saved(heed: Any, ann: Any) -> None:
    heed.pool.say(Script(ODD))
    turn = await ann.say("Hi")
    assert turn["duel"] is None
    seen = await ann.follow(turn["stream"])
    answer_id = turn["answers"][0]["id"]
    assert seen.texts() == {answer_id: "".join(ODD)}
    assert seen.kinds()[0] == "answer.start"
    assert seen.kinds()[-2:] == ["answer.end", "turn.end"]
    answer = (await saved(ann, turn))[answer_id]
    assert answer["text"] == "".join(ODD)
    assert (answer["state"], answer["finish_reason"], answer["policy_version"]) == ("finished", "stop", 1)
    assert heed.pool.in_flight == 0


async def test_every_event_is_one_of_the_union(heed: Any, ann: Any) -> None:
    turn = await ann.say("Hi", mode="duel")
    seen = await ann.follow(turn["stream"])
    for event in seen.events:
        TypeAdapter(TurnEvent).validate_python(event)
    assert seen.kinds()[:2] == ["answer.start", "answer.start"]
    assert [event["side"] for event in seen.events[:2]] == ["a", "b"]
    assert seen.kinds()[-2:] == ["duel.ready", "turn.end"]


async def test_replay_from_every_event_id_gives_the_same_text(heed: Any, ann: Any) -> None:
    heed.pool.say(*(Script([f"{side}{n} " for n in range(8)], pause_s=0.04) for side in "xy"))
    turn = await ann.say("Hi", mode="duel")
    whole = await ann.follow(turn["stream"])
    assert len(whole.ids) == len(whole.events) > 8
    for cut in range(len(whole.ids) - 1):
        rest = await ann.follow(turn["stream"], after=whole.ids[cut])
        assert whole.events[: cut + 1] + rest.events == whole.events


async def test_a_second_tab_gets_the_same_stream(heed: Any, ann: Any) -> None:
    heed.pool.say(Script([f"{n} " for n in range(20)], pause_s=0.02))
    turn = await ann.say("Hi")
    first, second = await asyncio.gather(*(ann.follow(turn["stream"]) for _ in range(2)))
    assert first == second


async def test_a_finished_stream_tells_a_browser_to_stop_reconnecting(heed: Any, ann: Any) -> None:
    turn = await ann.say("Hi")
    seen = await ann.follow(turn["stream"])
    response = await ann.call("GET", turn["stream"], **{"Last-Event-ID": seen.ids[-1]})
    assert response.status_code == 204


async def test_an_expired_stream_is_gone(heed: Any, ann: Any) -> None:
    turn = await ann.say("Hi")
    await ann.follow(turn["stream"])
    await heed.parts.streams._redis.delete(f"heed:stream:{turn['stream'].rsplit('/', 1)[1]}")
    assert (await ann.call("GET", turn["stream"])).status_code == 410


async def test_a_client_that_leaves_does_not_stop_the_answer(heed: Any, ann: Any) -> None:
    gate = asyncio.Event()
    heed.pool.say(Script(("begun", " and done"), gate=gate))
    turn = await ann.say("Hi")
    await ann.follow(turn["stream"], stop_at="answer.delta")
    gate.set()
    seen = await ann.follow(turn["stream"])
    assert list(seen.texts().values()) == ["begun and done"]


async def test_stop_keeps_what_was_said_and_frees_the_engine(heed: Any, ann: Any) -> None:
    heed.pool.say(Script(("one", " two"), hangs=True))
    turn = await ann.say("Hi")
    answer_id = turn["answers"][0]["id"]
    await ann.follow(turn["stream"], stop_at="answer.delta")
    response = await ann.call("POST", f"/api/v1/answers/{answer_id}/stop")
    assert response.status_code == 202
    seen = await ann.follow(turn["stream"])
    end = next(event for event in seen.events if event["type"] == "answer.end")
    assert (end["state"], end["finish_reason"]) == ("stopped", "stopped")
    assert (await saved(ann, turn))[answer_id]["text"] == seen.texts()[answer_id] == "one two"
    assert heed.pool.clients[0].aborted == 1
    assert heed.pool.in_flight == 0


async def test_a_stop_that_another_replica_took_is_heard(heed: Any, ann: Any) -> None:
    heed.pool.say(Script(hangs=True))
    turn = await ann.say("Hi")
    await heed.parts.streams.request_stop(turn["answers"][0]["id"])
    seen = await ann.follow(turn["stream"])
    assert seen.events[-2]["state"] == "stopped"


async def test_a_stopped_side_makes_the_duel_not_votable(heed: Any, ann: Any) -> None:
    heed.pool.say(Script(hangs=True), Script())
    turn = await ann.say("Hi", mode="duel")
    await until(lambda: len(heed.pool.clients[0].asked) == 2)
    for answer in turn["answers"]:
        await ann.call("POST", f"/api/v1/answers/{answer['id']}/stop")
    seen = await ann.follow(turn["stream"])
    assert "duel.ready" not in seen.kinds()
    duel = await ann.get(f"/api/v1/duels/{turn['duel']['id']}")
    assert (duel["ready"], duel["reason"]) == (False, "an answer was stopped before its end")
    response = await ann.vote(duel["id"])
    assert response.status_code == 409
    assert "stopped" in response.json()["detail"]
    assert response.json()["remedy"]


async def test_an_engine_that_fails_before_its_first_word_is_asked_again(heed: Any, ann: Any) -> None:
    heed.pool.say(Script((), fails=True), Script(("fine",)))
    turn = await ann.say("Hi")
    seen = await ann.follow(turn["stream"])
    assert list(seen.texts().values()) == ["fine"]
    assert seen.events[-2]["state"] == "finished"


async def test_an_engine_that_breaks_off_in_the_middle_is_asked_to_go_on_once(heed: Any, ann: Any) -> None:
    heed.pool.say(Script(("half", " of"), fails=True), Script((" it",)))
    turn = await ann.say("Hi")
    seen = await ann.follow(turn["stream"])
    assert list(seen.texts().values()) == ["half of it"]
    answer = await heed.parts.conversations.answer(turn["answers"][0]["id"])
    assert (answer.state, answer.continued) == ("finished", (7,))
    assert heed.pool.in_flight == 0


async def test_a_failure_in_the_middle_is_told_without_naming_the_engine(heed: Any, ann: Any) -> None:
    heed.pool.say(Script(("half",), fails=True), Script(("whole",)), Script((), fails=True))
    turn = await ann.say("Hi", mode="duel")
    seen = await ann.follow(turn["stream"])
    states = sorted(event["state"] for event in seen.events if event["type"] == "answer.end")
    assert states == ["failed", "finished"]
    assert "duel.ready" not in seen.kinds()
    assert not any(b"engine-1" in one for one in ann.seen)
    response = await ann.vote(turn["duel"]["id"])
    assert response.status_code == 409
    assert response.json()["detail"] == "an answer failed"


async def test_an_answer_that_spans_two_versions_cannot_be_voted_on(heed: Any, ann: Any) -> None:
    gate = asyncio.Event()
    heed.pool.say(Script(gate=gate), Script())
    turn = await ann.say("Hi", mode="duel")
    await until(lambda: heed.pool.in_flight == 1)
    for lease in heed.pool.engines[0].leases:
        lease.versions += (2,)
    gate.set()
    assert "duel.ready" not in (await ann.follow(turn["stream"])).kinds()
    response = await ann.vote(turn["duel"]["id"])
    assert response.status_code == 409
    assert "swapped" in response.json()["detail"]


async def test_the_prompt_is_the_branch_with_its_system_prompt(heed: Any, ann: Any) -> None:
    conversation = await ann.conversation(system_prompt="Be brief.")
    first = await ann.say("One", conversation=conversation)
    await ann.follow(first["stream"])
    second = await ann.say("Two", conversation=conversation, parent_id=first["answers"][0]["id"])
    await ann.follow(second["stream"])
    turns = [(turn.role, turn.content) for turn in heed.pool.clients[0].asked[-1][0]]
    said = [("system", "Be brief."), ("user", "One"), ("assistant", "Hello there"), ("user", "Two")]
    assert turns == said
    tree = await ann.get(f"/api/v1/conversations/{conversation}")
    assert tree["conversation"]["title"] == "One"
    assert tree["conversation"]["leaf_id"] == second["answers"][0]["id"]


async def test_sides_with_a_seed_do_not_draw_the_same_answer(heed: Any, ann: Any) -> None:
    turn = await ann.say("Hi", mode="duel", sampling={"seed": 7, "max_tokens": 5})
    await ann.follow(turn["stream"])
    assert [sampling.seed for _, sampling in heed.pool.clients[0].asked] == [7, 8]


async def test_a_prompt_beyond_the_context_is_refused_with_both_numbers(heed: Any, ann: Any) -> None:
    conversation = await ann.conversation()
    path = f"/api/v1/conversations/{conversation}/messages"
    response = await ann.call("POST", path, {"text": "word " * 3000})
    assert response.status_code == 422
    assert "3000" in response.json()["detail"]
    assert "2048" in response.json()["detail"]
    assert response.json()["field"] == "text"
    assert (await ann.get(f"/api/v1/conversations/{conversation}"))["messages"] == []


async def test_an_answer_gets_what_the_context_leaves(heed: Any, ann: Any) -> None:
    turn = await ann.say("word " * 2000, sampling={"max_tokens": 100})
    await ann.follow(turn["stream"])
    assert heed.pool.clients[0].asked[0][1].max_tokens == 48  # 2048 - 2000


async def test_without_an_engine_the_message_is_kept_and_can_be_answered_later(heed: Any, ann: Any) -> None:
    heed.pool.go_down()
    conversation = await ann.conversation()
    path = f"/api/v1/conversations/{conversation}/messages"
    response = await ann.call("POST", path, {"text": "Do not lose me", "mode": "duel"})
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) >= 1
    tree = await ann.get(f"/api/v1/conversations/{conversation}")
    assert [message["text"] for message in tree["messages"]] == ["Do not lose me"]
    message_id = tree["messages"][0]["id"]
    assert f"/api/v1/conversations/{conversation}/answers" in response.json()["remedy"]
    assert message_id in response.json()["remedy"]

    heed.pool.come_back()
    again = await ann.call(
        "POST", f"/api/v1/conversations/{conversation}/answers", {"parent_id": message_id, "mode": "duel"}
    )
    assert again.status_code == 202
    assert len((await ann.follow(again.json()["stream"])).texts()) == 2


async def test_who_waits_sees_how_many_go_first_and_then_the_answer(heed: Any, ann: Any) -> None:
    heed.pool.places = 1
    gate = asyncio.Event()
    heed.pool.say(Script(gate=gate))
    first = await ann.say("First")
    waiting = [await ann.say(text) for text in ("Second", "Third")]
    assert heed.parts.admission.length == 2
    seen = await ann.follow(waiting[1]["stream"], stop_at="turn.waiting")
    assert seen.events[-1] == {"type": "turn.waiting", "ahead": 1}
    gate.set()
    turns = await asyncio.gather(*(ann.follow(turn["stream"]) for turn in (first, *waiting)))
    assert [list(turn.texts().values()) for turn in turns] == [["Hello there"]] * 3
    assert turns[0].kinds().count("turn.waiting") == 0
    told = [event["ahead"] for event in turns[2].events if event["type"] == "turn.waiting"]
    assert told in ([1], [1, 0])
    assert heed.pool.in_flight == heed.parts.admission.length == 0


async def test_a_turn_that_waits_can_be_stopped_and_gives_its_place_back(heed: Any, ann: Any) -> None:
    heed.pool.places = 2
    heed.pool.say(Script(hangs=True))
    speaks, waits = await ann.say("Hi"), await ann.say("Hi", mode="duel")
    for answer in waits["answers"]:
        await ann.call("POST", f"/api/v1/answers/{answer['id']}/stop")
    seen = await ann.follow(waits["stream"])
    ends = [event["state"] for event in seen.events if event["type"] == "answer.end"]
    assert ends == ["stopped", "stopped"]
    assert (heed.pool.in_flight, heed.parts.admission.length) == (1, 0)
    await ann.call("POST", f"/api/v1/answers/{speaks['answers'][0]['id']}/stop")


async def test_a_full_queue_is_429_and_keeps_the_message(settings: ServerSettings) -> None:
    assert settings.config is not None
    settings.config.write_text("[queue]\nlength = 1\n")
    async with serving(settings, ScriptedPool(1, places=1)) as heed:
        ann = await heed.person("ann")
        heed.pool.say(Script(hangs=True))
        turns = [await ann.say("Hi") for _ in range(2)]
        conversation = await ann.conversation()
        path = f"/api/v1/conversations/{conversation}/messages"
        response = await ann.call("POST", path, {"text": "Do not lose me"})
        assert response.status_code == 429
        assert int(response.headers["retry-after"]) >= 1
        assert "/answers" in response.json()["remedy"]
        tree = await ann.get(f"/api/v1/conversations/{conversation}")
        assert [message["text"] for message in tree["messages"]] == ["Do not lose me"]
        assert (heed.pool.in_flight, heed.parts.admission.length) == (1, 1)
        for turn in turns:
            await ann.call("POST", f"/api/v1/answers/{turn['answers'][0]['id']}/stop")


async def test_a_message_cannot_follow_an_answer_that_is_still_written(heed: Any, ann: Any) -> None:
    heed.pool.say(Script(hangs=True))
    turn = await ann.say("Hi")
    path = f"/api/v1/conversations/{turn['conversation']}/messages"
    response = await ann.call("POST", path, {"text": "More", "parent_id": turn["answers"][0]["id"]})
    assert response.status_code == 409
    assert response.json()["field"] == "parent_id"
    unknown = await ann.call("POST", path, {"text": "More", "parent_id": "ans_nothing"})
    assert unknown.status_code == 422
    await ann.call("POST", f"/api/v1/answers/{turn['answers'][0]['id']}/stop")


async def test_a_turn_outlives_a_restart_of_redis(heed: Any, ann: Any, redis_server: Any) -> None:
    pieces = [f"{n} " for n in range(60)]
    heed.pool.say(Script(pieces, pause_s=0.05))
    turn = await ann.say("Hi")
    follower = asyncio.create_task(ann.follow(turn["stream"]))
    await asyncio.sleep(0.5)
    redis_server.stop(signal.SIGKILL)
    await asyncio.sleep(1)
    redis_server.start()
    seen = await follower
    assert list(seen.texts().values()) == ["".join(pieces)]
    replayed = await ann.follow(turn["stream"])
    assert replayed.events == seen.events
    answer = (await saved(ann, turn))[turn["answers"][0]["id"]]
    assert (answer["state"], answer["text"]) == ("finished", "".join(pieces))


class LosesReplies(AnswerStream):
    """Every third write is done, but its reply never arrives; every fifth is not done at all."""

    writes = 0

    async def append(self, stream_id: str, event: str, data: dict[str, Any]) -> str:
        self.writes += 1
        if self.writes % 5 == 0:
            raise StoreUnavailable("the connection broke before the write")
        entry = await super().append(stream_id, event, data)
        if self.writes % 3 == 0:
            raise StoreUnavailable("the connection broke before the reply")
        return entry


async def test_a_write_whose_reply_was_lost_is_neither_repeated_nor_left_out(
    settings: ServerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.app.AnswerStream", LosesReplies)
    monkeypatch.setattr("server.generation.POLL_S", 0.01)
    monkeypatch.setattr("store.tail.BLOCK_MS", 50)
    async with serving(settings, ScriptedPool(1)) as heed:
        ann = await heed.person("ann")
        pieces = ["again "] * 12
        heed.pool.say(Script(pieces, pause_s=0.05))
        turn = await ann.say("Hi")
        seen = await ann.follow(turn["stream"])
        assert list(seen.texts().values()) == ["".join(pieces)]
        assert seen.kinds().count("answer.end") == 1
        assert seen.kinds().count("turn.end") == 1
        streams = heed.parts.turns._streams
        assert isinstance(streams, LosesReplies)
        assert streams.writes > len(seen.events)


async def test_answers_of_a_server_that_is_gone_are_marked_failed(heed: Any, ann: Any) -> None:
    conversation = await ann.conversation()
    message = Message(
        id=new_id("msg"), conversation_id=conversation, parent_id=None, text="Hi", created_at=now()
    )
    answer = Answer(
        id=new_id("ans"),
        conversation_id=conversation,
        parent_id=message.id,
        stream_id=f"{conversation}.turn_1",
        policy_version=1,
        versions=(1,),
        sampling=Sampling(),
        created_at=now(),
    )
    await heed.parts.conversations.open_turn(message, [answer])
    said = {"type": "answer.delta", "answer_id": answer.id, "text": "I was say"}
    await heed.parts.streams.append(answer.stream_id, "answer.delta", said)

    tree = await ann.get(f"/api/v1/conversations/{conversation}")
    assert (tree["answers"][0]["state"], tree["answers"][0]["text"]) == ("failed", "I was say")
    assert "went away" in tree["answers"][0]["error"]
    seen = await ann.follow(f"/api/v1/streams/{answer.stream_id}")
    assert seen.kinds() == ["answer.delta", "answer.end", "turn.end"]


async def test_a_turn_that_was_saved_but_never_said_to_be_over_gets_its_end(
    ann: Any, redis_server: Any
) -> None:
    """A server killed between the records and the stream leaves a page that waits for ever."""
    turn = await ann.say("Hi")
    await ann.follow(turn["stream"])
    stream_id = turn["stream"].rpartition("/")[2]
    stream = keys.answer_stream(stream_id)
    redis = redis_server.client()
    *_, answer_end, turn_end = redis.xrange(stream)
    redis.xdel(stream, answer_end[0], turn_end[0])
    seen = await ann.follow(turn["stream"])
    assert seen.kinds()[-3:] == ["answer.delta", "answer.end", "turn.end"]
    [end] = [event for event in seen.events if event["type"] == "answer.end"]
    assert (end["state"], end["finish_reason"]) == ("finished", "stop")


async def test_a_server_that_stops_marks_what_it_could_not_finish(
    settings: ServerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.turns.DRAIN_S", 0.1)
    async with serving(settings, ScriptedPool(1)) as first:
        ann = await first.person("ann")
        first.pool.say(Script(("half",), hangs=True))
        turn = await ann.say("Hi")
        await ann.follow(turn["stream"], stop_at="answer.delta")
    async with serving(settings, ScriptedPool(1)) as second:
        answer = await second.parts.conversations.answer(turn["answers"][0]["id"])
        assert answer is not None
        assert (answer.state, answer.text, answer.error) == ("failed", "half", "the server was restarted")


async def go_on(person: Any, answer_id: str) -> Any:
    return await person.call("POST", f"/api/v1/answers/{answer_id}/continue")


async def test_what_a_restarted_server_left_can_be_continued_in_place(
    settings: ServerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.turns.DRAIN_S", 0.1)
    async with serving(settings, ScriptedPool(1)) as first:
        ann = await first.person("ann")
        first.pool.say(Script(("half",), hangs=True))
        turn = await ann.say("Hi")
        await ann.follow(turn["stream"], stop_at="answer.delta")
        key = str(ann.http.headers["authorization"])
    async with serving(settings, ScriptedPool(1)) as second:
        ann = Person(second.url, key.removeprefix("Bearer "), ann.account_id)
        second.people.append(ann)
        second.pool.say(Script((" and half",)))
        answer_id = turn["answers"][0]["id"]
        response = await go_on(ann, answer_id)
        assert response.status_code == 202
        assert response.json()["answers"][0]["id"] == answer_id
        assert response.json()["stream"] != turn["stream"]
        seen = await ann.follow(response.json()["stream"])
        assert seen.texts() == {answer_id: "half and half"}
        answer = await second.parts.conversations.answer(answer_id)
        assert answer is not None
        assert (answer.state, answer.text, answer.error) == ("finished", "half and half", None)
        assert (answer.versions, answer.continued) == ((1,), (4,))
        turns, _ = second.pool.clients[0].asked[-1]
        assert [(one.role, one.content) for one in turns] == [("user", "Hi"), ("assistant", "half")]


async def test_an_answer_continued_by_another_version_names_both_and_does_not_count(
    heed: Any, ann: Any
) -> None:
    heed.pool.say(Script(("half",), fails=True), Script(("whole",)), Script((), fails=True))
    turn = await ann.say("Hi", mode="duel")
    await ann.follow(turn["stream"])
    broken = next(id for id, answer in (await saved(ann, turn)).items() if answer["state"] == "failed")
    heed.pool.engines[0].version = 2
    heed.pool.route()
    response = await go_on(ann, broken)
    seen = await ann.follow(response.json()["stream"])
    assert list(seen.texts()) == [broken]
    assert "duel.ready" not in seen.kinds()
    assert (await heed.parts.conversations.answer(broken)).versions == (1, 2)
    assert "swapped" in (await ann.vote(turn["duel"]["id"])).json()["detail"]
    assert not any(b'policy_version":2' in one or b'policy_version":1' in one for one in ann.seen)


async def test_one_side_continued_makes_the_duel_whole(heed: Any, ann: Any) -> None:
    heed.pool.say(Script(("half",), fails=True), Script(("whole",)), Script((), fails=True))
    turn = await ann.say("Hi", mode="duel")
    await ann.follow(turn["stream"])
    broken = next(id for id, answer in (await saved(ann, turn)).items() if answer["state"] == "failed")
    seen = await ann.follow((await go_on(ann, broken)).json()["stream"])
    assert seen.kinds()[-2:] == ["duel.ready", "turn.end"]
    assert (await ann.vote(turn["duel"]["id"])).status_code == 201
    assert (await go_on(ann, broken)).status_code == 409


async def test_only_what_broke_off_at_the_end_of_a_conversation_is_continued(heed: Any, ann: Any) -> None:
    turn = await ann.say("Hi")
    await ann.follow(turn["stream"])
    finished = await go_on(ann, turn["answers"][0]["id"])
    assert (finished.status_code, finished.json()["type"]) == (409, "urn:heed:not_interrupted")

    heed.pool.say(Script(("one",), hangs=True))
    turn = await ann.say("Hi")
    streaming = await go_on(ann, turn["answers"][0]["id"])
    assert (streaming.status_code, streaming.json()["type"]) == (409, "urn:heed:not_interrupted")
    await ann.follow(turn["stream"], stop_at="answer.delta")
    await ann.call("POST", f"/api/v1/answers/{turn['answers'][0]['id']}/stop")
    await ann.follow(turn["stream"])
    conversation, parent = turn["conversation"], turn["answers"][0]["id"]
    later = await ann.say("More", conversation=conversation, parent_id=parent)
    await ann.follow(later["stream"])
    followed = await go_on(ann, parent)
    assert (followed.status_code, followed.json()["type"]) == (409, "urn:heed:not_last")


async def test_two_who_continue_at_once_make_one_answer(heed: Any, ann: Any) -> None:
    heed.pool.say(Script(("half",), fails=True), Script((), fails=True))
    turn = await ann.say("Hi")
    await ann.follow(turn["stream"])
    answer_id = turn["answers"][0]["id"]
    responses = await asyncio.gather(*(go_on(ann, answer_id) for _ in range(4)))
    assert sorted(response.status_code for response in responses) == [202, 409, 409, 409]
    started = next(response for response in responses if response.status_code == 202).json()
    seen = await ann.follow(started["stream"])
    assert list(seen.texts().values()) == ["halfHello there"]
    assert heed.pool.in_flight == 0


async def test_deleting_a_conversation_ends_what_is_under_way(heed: Any, ann: Any) -> None:
    heed.pool.say(Script(hangs=True))
    turn = await ann.say("Hi")
    await until(lambda: heed.pool.clients[0].asked)
    path = f"/api/v1/conversations/{turn['conversation']}"
    assert (await ann.call("DELETE", path)).status_code == 204
    assert heed.pool.in_flight == 0
    assert (await ann.call("GET", path)).status_code == 404
    assert (await ann.call("GET", turn["stream"])).status_code == 404
