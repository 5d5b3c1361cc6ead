"""The pictures, by their coordinates."""

from __future__ import annotations

from pathlib import Path

from trainer.reproduce.plots import HEIGHT, PANELS, TOP, WIDTH, draw


def test_a_run_is_the_mean_of_its_seeds_in_a_band_from_min_to_max(tmp_path: Path) -> None:
    # Two seeds, two updates: 0 then 4, and 0 then 2; the mean ends at 3 of 4.
    curves = {key: [[0.0, 4.0], [0.0, 2.0]] for key, _ in PANELS}
    draw(tmp_path / "one.svg", "a < b", {"run": curves})
    picture = (tmp_path / "one.svg").read_text()
    left, bottom = 40, TOP + HEIGHT
    right = left + WIDTH
    assert f'polyline points="{left:.1f},{bottom:.1f} {right:.1f},{TOP + HEIGHT / 4:.1f}"' in picture
    band = [(left, bottom), (right, TOP + HEIGHT / 2), (right, TOP), (left, bottom)]
    assert " ".join(f"{x:.1f},{y:.1f}" for x, y in band) in picture
    assert "a &lt; b" in picture


def test_one_seed_has_no_band(tmp_path: Path) -> None:
    draw(tmp_path / "one.svg", "", {"run": {key: [[0.0, 1.0]] for key, _ in PANELS}})
    assert "polygon" not in (tmp_path / "one.svg").read_text()
