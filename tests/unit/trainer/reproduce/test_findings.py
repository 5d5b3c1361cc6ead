"""The verdicts: what each finding asks of its runs, on made-up numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from trainer.config import PPOConfig
from trainer.errors import ConfigError
from trainer.reporting import Reporter
from trainer.reproduce import command
from trainer.reproduce.checks import Check, collapsed, stability
from trainer.reproduce.findings import FINDINGS
from trainer.reproduce.report import judge, verdict
from trainer.reproduce.run import SIZE, Run, Setting
from trainer.reproduce.settings import PPO_MAX, SETTINGS

START = {"proxy": 3.0, "gold": 3.5, "truncated_share": 0.05, "perplexity": 16.0, "ref_kl": 0.0}
HACKED = {"proxy": 7.0, "gold": 0.5, "truncated_share": 1.0, "perplexity": 6.0, "ref_kl": 25.0}
KEPT = {"proxy": 4.2, "gold": 3.6, "truncated_share": 0.02, "perplexity": 14.0, "ref_kl": 1.0}


def run(end: dict[str, float], **curve: float) -> Run:
    rest = {"response_length_mean": 12.0, "source_nll": 2.9}
    return Run([{**end, **rest, **curve}] * 3, START | rest, end | rest)


def holds(name: str, runs: dict[str, Run]) -> list[bool]:
    finding = next(finding for finding in FINDINGS if finding.name == name)
    assert finding.check is not None
    return [check.holds for check in finding.check(runs)]


def of_topics(*proxies: float, **rest: float) -> Run:
    topics = {f"proxy_{topic}": proxy for topic, proxy in enumerate(proxies)}
    return run({**KEPT, **topics, "proxy": sum(proxies) / len(proxies), **rest})


def test_a_collapse_is_more_reward_for_worse_answers() -> None:
    assert all(check.holds for check in collapsed(run(HACKED)))
    assert not any(check.holds for check in collapsed(run(KEPT)))


def test_ppo_max_has_to_end_better_and_nearer_than_vanilla() -> None:
    assert holds("collapse", {"vanilla": run(HACKED), "ppo-max": run(KEPT)}) == [True] * 6
    assert holds("collapse", {"vanilla": run(HACKED), "ppo-max": run(HACKED)}) == [True] * 4 + [False] * 2


def test_the_kl_sweep_must_fall_at_every_step() -> None:
    def sweep(*proxies: float) -> dict[str, Run]:
        coefs = (0.05, 0.1, 0.2, 0.5)
        ends = ({**KEPT, "proxy": proxy, "ref_kl": proxy} for proxy in proxies)
        return {f"kl-{coef}": run(end) for coef, end in zip(coefs, ends, strict=True)}

    assert holds("kl-sweep", sweep(7, 6, 5, 4)) == [True, True]
    assert holds("kl-sweep", sweep(7, 5, 6, 4)) == [False, False]


def test_the_alarm_must_fire_on_one_and_be_silent_on_the_other() -> None:
    silent, fired = run(KEPT, alarm=0.0), run(HACKED, alarm=1.0)
    assert holds("alarm", {"vanilla": fired, "ppo-max": silent}) == [True, True]
    assert holds("alarm", {"vanilla": silent, "ppo-max": fired}) == [False, False]


def test_one_seed_that_fails_is_a_finding_not_reproduced() -> None:
    good, bad = collapsed(run(HACKED)), collapsed(run(KEPT))
    assert verdict({"seed 0": good, "seed 1": good}) == "reproduced"
    assert verdict({"seed 0": good, "seed 1": bad, "seed 2": good}) == "not reproduced (2 of 3 seeds)"


def test_learned_groups_must_narrow_the_gap_and_not_by_making_all_worse() -> None:
    control = {"groups-off": of_topics(5, 5, 3), "groups-random": of_topics(5, 5, 3)}
    assert holds("groups", {**control, "groups-learned": of_topics(5, 5, 4)}) == [True] * 3
    assert holds("groups", {**control, "groups-learned": of_topics(5, 5, 2)}) == [False] * 3
    assert holds("groups", {**control, "groups-learned": of_topics(3, 3, 3)}) == [True, True, False]


def test_learned_groups_must_beat_the_baselines() -> None:
    runs = {"groups-dro": of_topics(5, 5, 3), "groups-quantile": of_topics(5, 5, 2.5)}
    assert holds("group-baselines", {**runs, "groups-learned": of_topics(5, 5, 4)}) == [True, True]
    assert holds("group-baselines", {**runs, "groups-learned": of_topics(5, 5, 2.6)}) == [True, False]
    for hard, narrower in ((2.0, True), (4.0, False)):
        assert holds("group-dro", {**runs, "groups-off": of_topics(5, 5, hard)}) == [narrower]


def test_both_parts_of_the_groups_must_add_and_the_bound_must_hold() -> None:
    parts = {"groups-shaping": of_topics(5, 5, 3), "groups-kl": of_topics(5, 5, 4)}
    parts |= {"groups-published": of_topics(5, 5, 4, ref_kl=9.0)}
    assert holds("group-parts", {**parts, "groups-learned": of_topics(5, 5, 4.5, ref_kl=3.0)}) == [True] * 3
    assert holds("group-parts", {**parts, "groups-learned": of_topics(5, 5, 2.5, ref_kl=9.5)}) == [False] * 3


def test_an_unseen_topic_must_end_better_and_nearer() -> None:
    plain = of_topics(5, 3, 2, gold_2=3.0)
    for gold, proxy in ((3.5, 2.5), (2.5, 1.5)):
        learned = of_topics(5, 3, proxy, gold_2=gold)
        better = gold > 3
        assert holds("unseen", {"unseen-off": plain, "unseen-learned": learned}) == [better, better]


def test_a_finding_sees_its_own_runs_only() -> None:
    runs = {"vanilla": run(HACKED, alarm=1.0), "ppo-max": run(KEPT, alarm=0.0), "sgd": run(HACKED)}
    seen: list[set[str]] = []

    def check(of_seed: Mapping[str, Run]) -> list[Check]:
        seen.append(set(of_seed))
        return []

    judge(FINDINGS[1]._replace(check=check), {0: runs})
    assert seen == [{"vanilla", "ppo-max"}]


def test_only_vanilla_may_grow_a_tail() -> None:
    def tail(end: float) -> Run:
        one = run({**KEPT, "reward_p50": 1.0, "reward_p95": 1.0 + end})
        return one._replace(start={**one.start, "reward_p50": 0.0, "reward_p95": 1.0})

    assert holds("reward-tail", {"vanilla-learned-proxy": tail(2.5), "flipped-0.0": tail(1.2)}) == [True] * 2
    assert holds("reward-tail", {"vanilla-learned-proxy": tail(1.2), "flipped-0.0": tail(2.5)}) == [False] * 2


def test_stability_is_a_deviation_over_three_seeds() -> None:
    steady, shaky = (1.0, 1.0, 1.1), (1.0, 2.0, 3.0)

    def over(best: tuple[float, ...], other: tuple[float, ...]) -> dict[int, dict[str, Run]]:
        names = {"ppo-max": best, "groups-learned": best, "vanilla": other, "groups-off": other}
        return {
            seed: {name: run({**KEPT, "gold": golds[seed]}) for name, golds in names.items()}
            for seed in range(3)
        }

    assert [check.holds for check in stability(over(steady, shaky))] == [True, True]
    assert [check.holds for check in stability(over(shaky, steady))] == [False, False]
    assert [check.holds for check in stability({0: over(steady, shaky)[0]})] == [False]
    finding = next(finding for finding in FINDINGS if finding.name == "stability")
    assert verdict(judge(finding, over(shaky, steady))) == "not reproduced"


def test_every_finding_names_runs_of_the_table_and_every_run_has_a_valid_config() -> None:
    assert {name for finding in FINDINGS for name in finding.settings} <= set(SETTINGS)
    for setting in SETTINGS.values():
        assert setting.config(seed=1).seed == 1


def test_vanilla_and_ppo_max_are_the_trainers_presets_but_for_the_size_and_two_numbers() -> None:
    for preset, own in (("vanilla", {}), ("ppo-max", PPO_MAX)):
        trainers = PPOConfig(preset=preset).model_dump()
        toy = SETTINGS[preset].config(seed=0).model_dump()
        assert {name for name in toy if toy[name] != trainers[name]} - set(SIZE) == set(own)


def test_an_unknown_row_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="there is no such finding"):
        command.chosen(["colapse"])


def test_runs_that_are_done_are_not_run_again(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def fake(setting: Setting, seed: int, reporter: Reporter) -> Run:
        ran.append(f"{setting.name} {seed}")
        return run(HACKED if setting.name == "vanilla" else KEPT)

    monkeypatch.setattr(command, "train", fake)
    first = command.reproduce(tmp_path, ["collapse"], 1, Reporter())
    assert first["findings"] == {"collapse": "reproduced"}
    second = command.reproduce(tmp_path, ["collapse"], 2, Reporter())
    assert ran == ["vanilla 0", "ppo-max 0", "vanilla 1", "ppo-max 1"]
    assert second["runs"] == 4
    report = (tmp_path / "report.md").read_text()
    assert "| collapse | Vanilla PPO collapses, PPO-max does not (5.2, 5.4) | 2 | reproduced |" in report
    assert "| vanilla | 7.00 | 0.50 | 12.00 | 1.00 | 25.00 | 6.00 | 2.90 |" in report
    assert (tmp_path / "collapse.svg").read_text().startswith("<svg")
