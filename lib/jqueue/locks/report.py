"""What people are shown about locks: who holds each and since when, and who waits for it, in order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import TypedDict

from jqueue.locks.lock import Lock
from jqueue.locks.modes import (
    EXCLUSIVE,
    INTENT_EXCLUSIVE,
    INTENT_SHARED,
    SHARED,
    SHARED_INTENT_EXCLUSIVE,
    Mode,
    key_text,
)
from jqueue.locks.waiter import Waiter

_STRONGEST_FIRST = (EXCLUSIVE, SHARED_INTENT_EXCLUSIVE, SHARED, INTENT_EXCLUSIVE, INTENT_SHARED)


class HolderRow(TypedDict):
    """One who holds a lock; `since` in seconds of the manager's clock."""

    owner: int
    mode: Mode
    since: float


class LockRow(TypedDict):
    """One lock.

    `name` is `level/name`; `mode` the strongest one in which it is held (of counts the sum), or nothing; `owners`
    hold it; `pending` are those who wait under it in the order of rank, those next to each other with the same mode
    in one entry; `reserved_for` is the oldest waiter for whom it is kept.
    """

    name: str
    mode: Mode | None
    owners: list[int]
    pending: list[tuple[Mode, list[int]]]
    holders: list[HolderRow]
    reserved_for: int | None


def lock_rows(locks: Iterable[Lock], waiters: Mapping[int, Waiter]) -> list[LockRow]:
    """Describes locks.

    @param waiters: by owner, all who wait under one of the locks or were woken from it
    @return: by name, numbers in it in their order; a level of which only names are held, and nobody waits for, is
        left out
    """
    rows = [_row(lock, waiters) for lock in locks if _worth_showing(lock)]
    return sorted(rows, key=lambda row: _natural(row["name"]))


def _worth_showing(lock: Lock) -> bool:
    only_intents = all(mode in (INTENT_SHARED, INTENT_EXCLUSIVE) for mode in lock.holders.by_mode)
    return not only_intents or bool(lock.waiting.by_mode or lock.woken.by_mode)


def _row(lock: Lock, waiters: Mapping[int, Waiter]) -> LockRow:
    holders: list[HolderRow] = [
        {"owner": owner, "mode": mode, "since": since}
        for mode, owners in lock.holders.by_mode.items()
        for owner, since in owners.items()
    ]
    waiting = [(place, mode) for mode, line in lock.waiting.by_mode.items() for place in line]
    waiting += [(waiters[owner].place, mode) for mode, owners in lock.woken.by_mode.items() for owner in owners]
    waiting.sort(key=lambda entry: entry[0])
    reserved = [line.first() for line in lock.reserved.by_mode.values()]
    return {
        "name": key_text(lock.key),
        "mode": _held_mode(lock),
        "owners": [holder["owner"] for holder in holders],
        "pending": [
            (mode, [owner for (_, owner), _ in group]) for mode, group in groupby(waiting, key=lambda entry: entry[1])
        ],
        "holders": holders,
        "reserved_for": min(reserved)[1] if reserved else None,
    }


def _held_mode(lock: Lock) -> Mode | None:
    if lock.holders.units:
        return lock.holders.units
    return next((mode for mode in _STRONGEST_FIRST if mode in lock.holders.by_mode), None)


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Sorts `disk2` before `disk10`."""
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d+)", name) if part]
