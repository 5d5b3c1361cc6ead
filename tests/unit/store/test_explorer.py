"""The explorer's query language and its table: what is found, counted and paged."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from store.explorer.counted import counted
from store.explorer.query import QueryError, parse
from store.explorer.script import script_of
from store.explorer.table import VoteRow, VoteTable
from store.records import Vote, VotedAnswer

START = datetime(2026, 11, 1, 12, tzinfo=UTC)


def row(
    n: int, choice: str = "a", *, annotator: str = "ann", prompt: str = "Which river?", **more: Any
) -> VoteRow:
    given = {"margin", "used", "review", "deleted", "versions"}
    kept = {name: more.pop(name) for name in given & more.keys()}
    leak = more.pop("leak", None)
    vote = Vote(
        id=f"vote_{n}",
        kind=more.pop("kind", "duel"),
        conversation_id=f"conv_{n}",
        duel_id=f"duel_{n}",
        annotator_id=f"acc_{annotator}",
        choice=choice,
        answers=(VotedAnswer(answer_id="x", version=2, position=1, leak=leak),),
        idempotency_key=str(n),
        created_at=START + timedelta(days=n),
        **more,
    )
    fields: dict[str, Any] = {"versions": (2, 1), **kept}
    return VoteRow(
        vote=vote, annotator=annotator, prompt=prompt, script="latin", unit=f"u{n}", label="x", **fields
    )


def table(*rows: VoteRow) -> VoteTable:
    made = VoteTable()
    for one in rows:
        made.put(one)
    return made


def ids(found: list[VoteRow]) -> list[str]:
    return [one.vote.id for one in found]


VOTES = [
    row(0, "a", tags=("incorrect", "too long"), margin=1.5),
    row(1, "tie", annotator="bob", versions=(3, 2)),
    row(2, "b", prompt="Longest RIVER of Europe?", margin=2.5, used=(3,)),
    row(3, "both_bad", annotator="bob", status="excluded"),
    row(4, "a", leak="Heed", versions=(2, 3), margin=-0.2),
]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [0, 1, 2, 3, 4]),
        ("annotator:bob", [1, 3]),
        ("annotator:bob outcome:tie", [1]),
        ("outcome:tie outcome:b", [1, 2]),
        ("-annotator:bob", [0, 2, 4]),
        ("version:v3", [1, 4]),
        ("pair:v2-v3", [1, 4]),
        ("pair:3-2", [1, 4]),
        ('tag:"too long"', [0]),
        ("rm:disagree", [2, 4]),
        ("rm:disagree margin:>1", [2]),
        ("status:excluded", [3]),
        ("flag:leaked", [4]),
        ("used:v3", [2]),
        ("used:never outcome:a", [0, 4]),
        ("river europe", [2]),
        ('"longest river"', [2]),
        ("before:2026-11-03", [0, 1]),
        ("after:2026-11-03 before:2026-11-05", [2, 3]),
        ("outcome:nothing", []),
    ],
)
def test_a_query_finds(query: str, found: list[int]) -> None:
    assert ids(table(*VOTES).select(parse(query))) == [f"vote_{n}" for n in found]


@pytest.mark.parametrize("query", ["colour:red", "before:soon", "margin:wide", "pair:v1"])
def test_a_query_that_cannot_be_read_says_what_could(query: str) -> None:
    with pytest.raises(QueryError, match=r"use one of|write it as"):
        parse(query)


def test_facets_count_what_a_click_would_find() -> None:
    facets = table(*VOTES).facets(parse("annotator:bob"))
    assert facets["outcome"] == [("both_bad", 1), ("tie", 1)]
    # A facet's own choice does not narrow it: the other annotator can still be added.
    assert facets["annotator"] == [("ann", 3), ("bob", 2)]
    assert dict(facets["tag"]) == {}
    assert dict(table(*VOTES).facets(parse(""))["tag"]) == {"incorrect": 1, "too long": 1}


def test_pages_go_on_where_the_last_one_ended_though_votes_come_in() -> None:
    made = table(*VOTES)
    first = made.page(parse(""), limit=2)
    assert (ids(first.rows), first.total) == (["vote_4", "vote_3"], 5)
    made.put(row(5))
    second = made.page(parse(""), first.next, limit=2)
    assert ids(second.rows) == ["vote_2", "vote_1"]
    last = made.page(parse(""), second.next, limit=2)
    assert (ids(last.rows), last.next) == (["vote_0"], None)


def test_a_changed_vote_moves_between_facets_and_keeps_its_place() -> None:
    made = table(*VOTES)
    changed = VOTES[0].vote.model_copy(update={"status": "excluded", "choice": "b"})
    made.put(VOTES[0]._replace(vote=changed))
    assert len(made) == 5
    assert ids(made.select(parse("status:excluded"))) == ["vote_0", "vote_3"]
    assert ids(made.select(parse("outcome:a"))) == ["vote_4"]


def test_a_table_grows_past_its_first_size() -> None:
    made = table(*(row(n, "a" if n % 2 else "b") for n in range(2500)))
    assert dict(made.facets(parse(""))["outcome"]) == {"a": 1250, "b": 1250}
    assert made.page(parse("outcome:a"), limit=1).rows[0].vote.id == "vote_2499"


def test_the_histogram_keeps_the_whole_time_while_a_part_is_chosen() -> None:
    bars = table(*VOTES).histogram(parse("after:2026-11-03"))
    assert sum(bar.votes for bar in bars) == 5
    years = table(row(0), row(700)).histogram(parse(""))
    assert len(years) <= 61
    assert sum(bar.votes for bar in years) == 2


def test_only_blind_active_duels_without_a_name_are_counted_and_the_rest_is_named() -> None:
    rows = [
        *VOTES,
        row(5, "up", kind="thumb", versions=(2,)),
        row(6, "a", blind=False),
        row(7, "a", check="gold"),
        row(8, "skip"),
        row(9, "a", status="undone"),
        row(10, "a", deleted=True),
        row(11, "a", asked="uncertain"),
        row(12, "b", asked="random"),
        row(13, "a", status="excluded", flags=("too_quick",)),
    ]
    found = counted(rows)
    assert [one.choice for one in found.duels] == ["a", "tie", "b", "b"]
    left_out = found.left_out.model_dump()
    assert left_out == {
        "undone": 1, "excluded": 1, "checks": 1, "leaked": 1, "open": 1, "deleted": 1, "skipped": 1,
        "asked": 1, "flagged": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Hello, wörld", "latin"),
        ("你好，世界", "han"),
        ("これは日本語です", "kana"),
        ("Привет", "cyrillic"),
        ("12 + 3", "other"),
    ],
)
def test_the_script_of_a_text(text: str, script: str) -> None:
    assert script_of(text) == script
