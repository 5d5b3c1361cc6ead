"""Guidelines: every version kept, nobody's change lost."""

from __future__ import annotations

import pytest

from store.connection import Redis
from store.guidelines import GuidelineBook, GuidelinesChanged

pytestmark = pytest.mark.anyio


async def test_every_version_is_kept_and_a_change_of_an_older_one_refused(client: Redis) -> None:
    book = GuidelineBook(client)
    assert (await book.newest(), await book.number()) == (None, None)
    first = await book.write("Prefer what is true.", "boss", after=0)
    second = await book.write("Prefer what is true and short.", "boss", after=1)
    assert (first.version, second.version, await book.number()) == (1, 2, 2)
    with pytest.raises(GuidelinesChanged):
        await book.write("Prefer what is long.", "other", after=1)
    assert (await book.newest(), await book.version(1), await book.version(3)) == (second, first, None)


async def test_what_a_person_has_read_never_goes_back(client: Redis) -> None:
    book = GuidelineBook(client)
    await book.mark_read("ann", 2)
    await book.mark_read("ann", 1)
    assert (await book.read_by("ann"), await book.read_by("bob")) == (2, 0)
