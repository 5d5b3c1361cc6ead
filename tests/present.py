"""What a test knows to be there, said to the type checker and checked."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")


def present(value: T | None) -> T:
    """`value`, or an AssertionError where it is None."""
    assert value is not None, "None, where the test needs a value"
    return value
