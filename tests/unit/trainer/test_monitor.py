"""The monitor: what it measures of the answers, and when its alarm warns, brakes and stops."""

from __future__ import annotations

import pytest
import torch

from tests.unit.trainer.ppo_toys import experience_of_two
from trainer.monitor import CollapseAlarm, repeats, reward_distribution
from trainer.rollout import Rollout


def test_repeats_counts_4_grams_said_before() -> None:
    # 1 2 1 2 1 2: 4-grams 1212, 2121, 1212 -> one of three was there before.
    assert repeats([1, 2, 1, 2, 1, 2]) == pytest.approx(1 / 3)
    assert repeats([1, 2]) == 0.0


CALM = {
    "ref_kl": 1.0, "entropy": 4.0, "repeat_share": 0.0, "response_length_mean": 50.0, "truncated_share": 0.1,
    "perplexity": 10.0,
}  # fmt: skip


def test_the_alarm_waits_for_three_updates_and_names_the_reason() -> None:
    alarm = CollapseAlarm(kl_stop=10.0)
    gone = CALM | {"ref_kl": 50.0}
    assert [alarm.look(row) for row in (CALM, gone, gone, CALM, gone, gone)] == [None] * 6
    assert alarm.level == 2
    assert "KL 50.0 nats per answer is above 10" in str(alarm.look(gone))


@pytest.mark.parametrize(
    ("sign", "word"), [({"entropy": 0.9}, "entropy 0.90"), ({"repeat_share": 0.6}, "repeat themselves (60%")]
)
def test_entropy_and_repeats_are_signs_of_their_own(sign: dict[str, float], word: str) -> None:
    alarm = CollapseAlarm(kl_stop=0.0)
    assert alarm.look(CALM | {"ref_kl": 1e6}) is None  # kl_stop 0 is off
    said = [alarm.look(CALM | sign) for _ in range(3)]
    assert word in str(said[-1])


@pytest.mark.parametrize(
    ("sign", "words"),
    [
        ({"ref_kl": 6.0}, "KL 6.0 nats per answer is above 5"),
        ({"entropy": 1.9}, "entropy 1.90 is below half of 4.00"),
        ({"repeat_share": 0.3}, "repeat themselves (30%"),
        ({"response_length_mean": 80.0}, "80 tokens, 50 at the start"),
        ({"response_length_mean": 10.0}, "10 tokens, 50 at the start"),
        ({"truncated_share": 0.25}, "25% of the answers run into the limit, 10% at the start"),
        ({"perplexity": 5.0}, "perplexity of the answers is 5.0, 10.0 at the start"),
        ({"perplexity": 21.0}, "perplexity of the answers is 21.0"),
    ],
)
def test_the_alarm_warns_before_anything_has_to_stop(sign: dict[str, float], words: str) -> None:
    alarm = CollapseAlarm(kl_stop=10.0)
    alarm.look(CALM)
    assert (alarm.warnings, alarm.level) == ([], 0)
    assert [alarm.look(CALM | sign) for _ in range(5)] == [None] * 5
    assert len(alarm.warnings) == alarm.level == 1
    assert words in alarm.warnings[0]


def test_a_resumed_alarm_measures_from_the_first_start() -> None:
    alarm = CollapseAlarm(kl_stop=10.0)
    alarm.look(CALM)
    again = CollapseAlarm(10.0, *alarm.state())
    again.look(CALM | {"response_length_mean": 90.0})
    assert "90 tokens, 50 at the start" in again.warnings[0]


def test_the_brake_goes_a_notch_further_for_each_warning_and_back_without_one() -> None:
    alarm = CollapseAlarm(kl_stop=10.0, notches=2)
    warns = CALM | {"ref_kl": 6.0}
    pulled = []
    for row in (CALM, warns, warns, warns, CALM, CALM, CALM):
        alarm.look(row)
        pulled.append(alarm.brake)
    assert pulled == [1, 2, 4, 4, 2, 1, 1]  # two notches at most


def test_without_notches_a_warning_only_warns() -> None:
    alarm = CollapseAlarm(kl_stop=10.0)
    alarm.look(CALM | {"ref_kl": 6.0})
    assert (alarm.level, alarm.brake) == (1, 1)


def test_a_resumed_alarm_holds_the_brake_where_it_was() -> None:
    alarm = CollapseAlarm(kl_stop=10.0, notches=3)
    alarm.look(CALM)
    alarm.look(CALM | {"ref_kl": 6.0})
    again = CollapseAlarm(10.0, *alarm.state(), notches=3)
    assert again.brake == 2
    again.look(CALM)
    assert again.brake == 1


def test_the_distribution_of_the_scores_by_hand() -> None:
    # Scores 0 and 1 for 2 and 7 tokens: quantiles on the line between, correlation 1.
    short = Rollout([1, 2, 3], [4, 5], [0.0, 0.0], True)
    long = Rollout([1] * 9, [6] * 7, [0.0] * 7, False)
    experience = experience_of_two(short, long)
    experience.scores = torch.tensor([0.0, 1.0])
    found = reward_distribution(experience)
    assert found == pytest.approx(
        {
            "reward_mean": 0.5, "reward_std": 0.5, "reward_p5": 0.05, "reward_p50": 0.5, "reward_p95": 0.95,
            "reward_length_correlation": 1.0,
        }
    )  # fmt: skip
