"""Curves as SVG, written by hand: panels side by side; a run is its seeds' mean, in a band of min to max."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's palette: told apart by everybody."""
WIDTH, HEIGHT, GAP, LEFT, TOP = 220, 150, 46, 40, 44

Curves = Sequence[Sequence[float]]
"""Of one run and one number: a curve a seed, by update."""


def draw(path: Path, title: str, runs: Mapping[str, Mapping[str, Curves]]) -> None:
    """Writes a picture of each run's curves: a panel for each key that the inner mappings have alike."""
    panels = list(next(iter(runs.values())))
    width = LEFT + len(panels) * (WIDTH + GAP)
    height = TOP + HEIGHT + 26 + 16 * len(runs)
    body = [f'<text x="{LEFT}" y="16" font-size="13" font-weight="bold">{escape(title)}</text>']
    for index, label in enumerate(panels):
        of_panel = [curves[label] for curves in runs.values()]
        body += _panel(LEFT + index * (WIDTH + GAP), label, of_panel)
    for index, name in enumerate(runs):
        y = TOP + HEIGHT + 34 + 16 * index
        body.append(f'<path d="M{LEFT} {y - 4}h24" stroke="{_colour(index)}" stroke-width="2"/>')
        body.append(f'<text x="{LEFT + 30}" y="{y}">{escape(name)}</text>')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="11" fill="#222"><rect width="{width}" height="{height}" fill="#fff"/>\n'
        + "\n".join(body)
        + "\n</svg>\n",
        encoding="utf-8",
    )


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def _panel(left: float, label: str, runs: Sequence[Curves]) -> list[str]:
    values = [value for curves in runs for curve in curves for value in curve]
    low, high = min(0.0, *values), max(values)
    span = (high - low) or 1.0
    longest = max(len(curve) for curves in runs for curve in curves)
    marks = [
        f'<text x="{left}" y="{TOP - 8}">{escape(label)}</text>',
        f'<rect x="{left}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#ccc"/>',
        f'<text x="{left - 4}" y="{TOP + 9}" text-anchor="end">{high:.3g}</text>',
        f'<text x="{left - 4}" y="{TOP + HEIGHT}" text-anchor="end">{low:.3g}</text>',
        f'<text x="{left + WIDTH}" y="{TOP + HEIGHT + 13}" text-anchor="end">{longest} updates</text>',
    ]

    def points(curve: Iterable[float]) -> list[str]:
        return [
            f"{left + WIDTH * at / max(1, longest - 1):.1f},{TOP + HEIGHT * (1 - (value - low) / span):.1f}"
            for at, value in enumerate(curve)
        ]

    for index, curves in enumerate(runs):
        by_update = list(zip(*curves, strict=True))
        if len(curves) > 1:
            band = points(map(min, by_update)) + points(map(max, by_update))[::-1]
            marks.append(f'<polygon points="{" ".join(band)}" fill="{_colour(index)}" opacity="0.18"/>')
        mean = points(sum(values) / len(values) for values in by_update)
        marks.append(
            f'<polyline points="{" ".join(mean)}" fill="none" stroke="{_colour(index)}" stroke-width="1.6"/>'
        )
    return marks
