"""Makes the numbers that test_bradley_terry.py is held to, with FastChat's own code. Not run by the tests.

    python -m venv /tmp/fastchat && /tmp/fastchat/bin/pip install scipy==1.17.1 pandas==3.1.1 tqdm pydantic
    curl -o /tmp/fastchat/rating_systems.py https://raw.githubusercontent.com/lm-sys/FastChat/\
0e6d3e4beaab66f4d3f93db72541a4abab8af28d/fastchat/serve/monitor/rating_systems.py
    PYTHONPATH=/tmp/fastchat:. /tmp/fastchat/bin/python tests/unit/store/statistics/fastchat_reference.py

Style control is asked for without FastChat's ridge of 0.5 (`reg=0`): ours has none that is felt.
"""

from __future__ import annotations

import math

import pandas  # type: ignore[import-untyped]
import rating_systems  # type: ignore[import-not-found]

from tests.unit.store.statistics.duels_of_reference import battles

WINNER = {"a": "model_a", "b": "model_b", "tie": "tie"}
rows = [
    {
        "model_a": f"v{one.version_a}",
        "model_b": f"v{one.version_b}",
        "winner": WINNER[one.choice],
        "conv_metadata": {
            f"{name}_{side}": value
            for side, style in (("a", one.style_a), ("b", one.style_b))
            for name, value in zip(
                ("sum_assistant", "header_count", "list_count", "bold_count"), style or (), strict=True
            )
        },
    }
    for one in battles()
]
for row in rows:
    said = row["conv_metadata"]
    assert isinstance(said, dict)
    for side in "ab":
        said[f"sum_assistant_{side}_tokens"] = said.pop(f"sum_assistant_{side}")
frame = pandas.DataFrame(rows)


def shown(ratings: pandas.Series) -> dict[str, float]:
    anchored = ratings - ratings["v1"] + 1000
    return {name: round(float(anchored[name]), 6) for name in sorted(ratings.index)}


print("ratings     ", shown(rating_systems.compute_bt(frame)))  # noqa: T201
ratings, effects = rating_systems.compute_style_control(frame, reg=0.0, tol=1e-12)
print("style       ", shown(ratings))  # noqa: T201
print("effects     ", [round(float(one) * 400 / math.log(10), 6) for one in effects])  # noqa: T201
spread = rating_systems.compute_bootstrap_bt(frame, num_round=4000, tol=1e-9, num_cpu=1)
for name in ("v2", "v3", "v4"):
    moved = spread[name] - spread["v1"] + 1000
    print("bootstrap   ", name, [round(float(moved.quantile(q)), 1) for q in (0.025, 0.975)])  # noqa: T201
