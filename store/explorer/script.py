"""In which script a text is mostly written: what can be told of its language without a model."""

from __future__ import annotations

_RANGES = {
    "kana": ((0x3040, 0x30FF),),
    "han": ((0x4E00, 0x9FFF), (0x3400, 0x4DBF)),
    "hangul": ((0xAC00, 0xD7AF), (0x1100, 0x11FF)),
    "cyrillic": ((0x0400, 0x04FF),),
    "arabic": ((0x0600, 0x06FF),),
    "devanagari": ((0x0900, 0x097F),),
    "greek": ((0x0370, 0x03FF),),
    "latin": ((0x41, 0x5A), (0x61, 0x7A), (0xC0, 0x24F)),
}
LOOKED_AT = 400


def script_of(text: str) -> str:
    """`latin`, `han`, `kana` (Japanese, whose text is part Han), ...; `other` when there are no letters."""
    letters = [ord(letter) for letter in text[:LOOKED_AT] if letter.isalpha()]
    if not letters:
        return "other"
    counts = {
        name: sum(any(low <= letter <= high for low, high in ranges) for letter in letters)
        for name, ranges in _RANGES.items()
    }
    if counts["kana"] * 10 > len(letters):
        return "kana"
    name = max(counts, key=lambda one: counts[one])
    return name if counts[name] else "other"
