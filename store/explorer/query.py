"""The explorer's query language: `annotator:ann outcome:tie -tag:spam before:2026-11-01 rivers`.

Different keys must all hold, the same key twice is either of both, `-` in front means not. What has no key is
searched in prompts and comments.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

FACETS = (
    "kind", "outcome", "strength", "version", "pair", "annotator", "tag", "guideline", "flag", "rm",
    "status", "review", "used", "script",
)  # fmt: skip
KEYS = (*FACETS, "after", "before", "margin")

_TOKEN = re.compile(r'(-?)(?:([A-Za-z_]+):)?(?:"([^"]*)"|(\S+))')


class QueryError(Exception):
    """A query that cannot be understood; the message says which part and what would be."""


class Query(NamedTuple):
    any_of: dict[str, frozenset[str]]
    none_of: dict[str, frozenset[str]]
    words: tuple[str, ...] = ()
    """In lower case; all must be found."""
    after: float | None = None
    """Seconds since 1970, inclusive; of a day its start in UTC."""
    before: float | None = None
    """Exclusive."""
    margin: float | None = None
    """The reward model's scores are at least this far apart."""


def parse(text: str) -> Query:
    """Raises QueryError."""
    any_of: dict[str, set[str]] = {}
    none_of: dict[str, set[str]] = {}
    words: list[str] = []
    limits: dict[str, float] = {}
    for minus, key, quoted, plain in _TOKEN.findall(text):
        value = (quoted or plain).strip()
        if not key:
            words.append((minus + value).lower())
        elif key in ("after", "before"):
            limits[key] = _moment(key, value)
        elif key == "margin":
            limits[key] = _margin(value)
        elif key in FACETS:
            (none_of if minus else any_of).setdefault(key, set()).add(
                _pair(value) if key == "pair" else value
            )
        else:
            raise QueryError(f"`{key}:` is not known; use one of {', '.join(KEYS)}, or quote the words")
    return Query(
        any_of={key: frozenset(values) for key, values in any_of.items()},
        none_of={key: frozenset(values) for key, values in none_of.items()},
        words=tuple(word for word in words if word),
        after=limits.get("after"),
        before=limits.get("before"),
        margin=limits.get("margin"),
    )


def pair_name(one: int, other: int) -> str:
    """`v3-v2`: the newer version first."""
    return f"v{max(one, other)}-v{min(one, other)}"


def _pair(value: str) -> str:
    found = re.fullmatch(r"v?(\d+)-v?(\d+)", value)
    if found is None:
        raise QueryError(f"`pair:{value}` is not two versions; write it as `pair:v3-v2`")
    return pair_name(int(found[1]), int(found[2]))


def _moment(key: str, value: str) -> float:
    """`2026-11-01`, a whole time, or `7d` ago."""
    if found := re.fullmatch(r"(\d{1,4})d", value):
        return (datetime.now(UTC) - timedelta(days=int(found[1]))).timestamp()
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        raise QueryError(
            f"`{key}:{value}` is not a day; write it as `{key}:2026-11-01` or `{key}:7d`"
        ) from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _margin(value: str) -> float:
    try:
        return float(value.removeprefix(">"))
    except ValueError:
        raise QueryError(f"`margin:{value}` is not a number; write it as `margin:>1.5`") from None
