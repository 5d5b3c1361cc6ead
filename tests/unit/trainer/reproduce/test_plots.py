"""The pictures, by their coordinates."""

from __future__ import annotations

from pathlib import Path

from trainer.reproduce.panels import COMMON, SMOOTHED, topic_gap
from trainer.reproduce.plots import HEIGHT, TOP, WIDTH, draw
from trainer.reproduce.run import Run


def test_a_run_is_the_mean_of_its_seeds_in_a_band_from_min_to_max(tmp_path: Path) -> None:
    # Two seeds, two updates: 0 then 4, and 0 then 2; the mean ends at 3 of 4.
    curves = {label: [[0.0, 4.0], [0.0, 2.0]] for label in COMMON}
    draw(tmp_path / "one.svg", "a < b", {"run": curves})
    picture = (tmp_path / "one.svg").read_text()
    left, bottom = 40, TOP + HEIGHT
    right = left + WIDTH
    assert f'polyline points="{left:.1f},{bottom:.1f} {right:.1f},{TOP + HEIGHT / 4:.1f}"' in picture
    band = [(left, bottom), (right, TOP + HEIGHT / 2), (right, TOP), (left, bottom)]
    assert " ".join(f"{x:.1f},{y:.1f}" for x, y in band) in picture
    assert "a &lt; b" in picture


def test_one_seed_has_no_band(tmp_path: Path) -> None:
    draw(tmp_path / "one.svg", "", {"run": {label: [[0.0, 1.0]] for label in COMMON}})
    assert "polygon" not in (tmp_path / "one.svg").read_text()


def test_each_panel_has_its_label_beside_the_one_before(tmp_path: Path) -> None:
    draw(tmp_path / "one.svg", "", {"run": {"one": [[0.0, 1.0]], "two": [[0.0, 1.0]]}})
    picture = (tmp_path / "one.svg").read_text()
    assert picture.index(">one</text>") < picture.index(">two</text>")
    assert picture.count("<polyline") == 2


def test_the_gap_is_between_the_easy_topics_and_the_hard_one_over_the_last_updates() -> None:
    # Easy ones at 5 and 3, their mean 4; the hard one at 4 - update: a gap of 0, 1, 2 ...
    curve = [{"proxy_0": 5.0, "proxy_1": 3.0, "proxy_2": 4.0 - update} for update in range(SMOOTHED + 2)]
    drawn = topic_gap(Run(curve, {}, {}))
    assert drawn[:3] == [0.0, 0.5, 1.0]
    assert drawn[-1] == sum(range(2, SMOOTHED + 2)) / SMOOTHED
