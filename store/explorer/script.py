"""In which script a text is mostly written: what can be told of its language without a model."""

from __future__ import annotations

import re

LOOKED_AT = 300
_LETTERS = {
    "han": re.compile("[\u3400-\u4dbf\u4e00-\u9fff]"),
    "kana": re.compile("[\u3040-\u30ff]"),
    "hangul": re.compile("[\u1100-\u11ff\uac00-\ud7af]"),
    "cyrillic": re.compile("[\u0400-\u04ff]"),
    "arabic": re.compile("[\u0600-\u06ff]"),
    "devanagari": re.compile("[\u0900-\u097f]"),
    "greek": re.compile("[\u0370-\u03ff]"),
    "latin": re.compile("[A-Za-z\u00c0-\u024f]"),
}


def script_of(text: str) -> str:
    """`latin`, `han`, `kana` (Japanese, whose text is part Han), ...; `other` when there are no letters."""
    beginning = text[:LOOKED_AT]
    if beginning.isascii():
        return "latin" if _LETTERS["latin"].search(beginning) else "other"
    counts = {name: len(letters.findall(beginning)) for name, letters in _LETTERS.items()}
    if counts["kana"] * 10 > sum(counts.values()):
        return "kana"
    name = max(counts, key=lambda one: counts[one])
    return name if counts[name] else "other"
