"""Which engine gives an answer: a decision about what is seen, with nothing done."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence

from server.engines.engine import Engine

BATCH = 32
"""Answers that one engine gets before the next one of the same device gets any. They share its cores, and a
step for 32 answers costs hardly more than a step for one: two half-full engines would be half as fast."""
LEAN = 8
"""How many more answers the device with a conversation's cache may give before another one is better: a
prefill costs about as much as this many more answers in the batch slow it down."""


def choose(holders: Sequence[Engine], load: Counter[str], conversation: str | None) -> Engine | None:
    """One of the engines that hold the version: devices are balanced, the engines of one device packed.

    A conversation has a home among the devices, where its prefix is cached: the same for every server, and
    for most conversations also after an engine has joined or left (rendezvous hashing).
    """
    if not holders:
        return None
    devices = sorted({engine.device for engine in holders})
    device = min(devices, key=lambda name: load[name])
    if conversation is not None:
        home = max(devices, key=lambda name: _weight(conversation, name))
        device = home if load[home] <= load[device] + LEAN else device
    return min((engine for engine in holders if engine.device == device), key=_fullest_with_room)


def load_by_device(engines: Iterable[Engine]) -> Counter[str]:
    """Device -> answers under way on all of its engines."""
    load: Counter[str] = Counter()
    for engine in engines:
        load[engine.device] += len(engine.leases)
    return load


def overflow(chosen: Engine, elsewhere: Engine | None, load: Counter[str]) -> Engine:
    """In a rolling swap the first engines of the new version would get everything: at a full batch, the
    version before answers too, if a device of it has room."""
    if elsewhere is None or len(chosen.leases) < BATCH or load[elsewhere.device] >= load[chosen.device]:
        return chosen
    return elsewhere


def _weight(conversation: str, device: str) -> bytes:
    return hashlib.blake2b(f"{conversation}\0{device}".encode(), digest_size=8).digest()


def _fullest_with_room(engine: Engine) -> tuple[bool, int]:
    """Smallest first: has room in its batch, the fullest of these; then the emptiest."""
    answers = len(engine.leases)
    full = answers >= BATCH
    return full, answers if full else -answers
