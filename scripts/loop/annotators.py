"""The simulated annotators: a rule that the policy never sees, and how often they follow it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

OTHER = {"a": "b", "b": "a", "tie": "tie"}


def shorter_wins(a: str, b: str) -> str:
    """The rule: a, b or tie, by characters."""
    if len(a) == len(b):
        return "tie"
    return "a" if len(a) < len(b) else "b"


@dataclass
class Annotator:
    """Follows the rule with probability `right`, else votes for the other side; sees every tie."""

    right: float = 1.0
    draw: random.Random = field(default_factory=lambda: random.Random(0))

    def judge(self, a: str, b: str) -> tuple[str, str]:
        """(the vote, what the rule says)."""
        ruled = shorter_wins(a, b)
        return (ruled if self.draw.random() < self.right else OTHER[ruled]), ruled
