"""Judging: both orders, what counts, and what the verdicts say about the judge."""

from __future__ import annotations

from itertools import count

import pytest

from tests.unit.trainer.judges import TasteJudge, case, longer
from trainer.errors import TrainerError
from trainer.judging import Agreement, Case, Decision, Verdict, agreement, decide, judge_bias
from trainer.win_rates import share, win_rate


def test_a_verdict_counts_when_both_orders_give_it() -> None:
    judge = TasteJudge(longer)

    decisions = decide(judge, [case("long answer", "short"), case("x", "yy"), case("ab", "cd")])

    assert [decision.outcome for decision in decisions] == ["a", "b", "tie"]
    shown = [(one.a.text, one.b.text) for one in judge.seen]
    assert shown[0] == ("long answer", "short")
    assert shown[3] == ("short", "long answer")


def test_a_judge_that_always_takes_the_first_decides_nothing() -> None:
    cases = [case("yes", "no"), case("up", "down"), case("left", "right")]

    decisions = decide(TasteJudge(lambda _: "a"), cases)
    bias = judge_bias(cases, decisions)

    assert [decision.outcome for decision in decisions] == ["tie"] * 3
    assert (bias.inconsistent, bias.first_place) == (share(3, 3), share(6, 6))
    assert (bias.first_both_times, bias.second_both_times, bias.longer) == (3, 0, None)
    assert win_rate(["tie"] * 3).rate == 0.5


def test_equal_answers_are_a_tie_without_a_question() -> None:
    judge = TasteJudge(lambda _: "a")

    decisions = decide(judge, [case("same", "same \n"), case("one", "other")])

    assert [(decision.outcome, decision.asked) for decision in decisions] == [("tie", False), ("tie", True)]
    assert len(judge.seen) == 2
    assert judge_bias([case("same", "same"), case("one", "other")], decisions).duels == 1


def test_bias_by_hand() -> None:
    decisions = [
        Decision("a", "a"),  # a won in both orders: once first, once second
        Decision("a", "b"),  # the first place won both times
        Decision("b", "a"),  # the second place won both times
        Decision("a", "tie"),  # first, then a tie
        Decision(None, "a"),  # unreadable, then second
    ]
    cases = [case("longer", "short"), *[case("x", "y")] * 4]

    bias = judge_bias(cases, decisions)

    assert (bias.duels, bias.unreadable) == (5, 1)
    # Three of the four that can be read changed with the order.
    assert bias.inconsistent == share(3, 4)
    assert (bias.first_both_times, bias.second_both_times) == (1, 1)
    # First: rows 1, 2 twice, 4. Second: rows 1, 3 twice, 5.
    assert bias.first_place == share(4, 8)
    # Only the first duel is decided, for the longer answer.
    assert bias.longer == share(1, 1)


def test_a_reply_that_cannot_be_read_leaves_its_duel_out() -> None:
    replies = count()

    def mumbles(_: Case) -> Verdict | None:
        return None if next(replies) == 0 else "tie"

    decisions = decide(TasteJudge(mumbles), [case("one", "other"), case("this", "that")])

    assert [decision.outcome for decision in decisions] == [None, "tie"]


def test_agreement_with_people_by_hand() -> None:
    people: list[Verdict] = ["a", "a", "tie", "tie", "a"]
    said = [
        Decision("a", "a"), Decision("b", "b"), Decision("a", "b"), Decision("a", "a"), Decision(None, "a"),
    ]  # fmt: skip

    # Readable: a a, a b, tie tie, tie a: two of four alike; both decided in the first two: one of two.
    assert agreement(people, said) == Agreement(all=share(2, 4), decided=share(1, 2), unreadable=1)


def test_a_cancel_is_noticed_between_two_parts() -> None:
    class Stop(TrainerError):
        pass

    pauses = count(1)

    def pause() -> None:
        if next(pauses) == 2:
            raise Stop

    judge = TasteJudge(longer)
    with pytest.raises(Stop):
        decide(judge, [case(f"one {number}", "other") for number in range(40)], pause)
    assert len(judge.seen) == 2 * 32
