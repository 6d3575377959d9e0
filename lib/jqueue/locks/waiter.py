"""One owner who waits for locks, and what it is told about it."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from jqueue.locks.line import Place
from jqueue.locks.modes import Key, LockRequest, Mode, key_text

MAX_NAMED = 10


class Claim(enum.Enum):
    """How far a waiter has come with the reservation of its locks."""

    YOUNG = enum.auto()
    RESERVED = enum.auto()
    STALLED = enum.auto()


@dataclass(slots=True, eq=False)
class Waiter:
    """A request that could not be granted, parked under exactly one lock, or woken from it and expected to try
    again."""

    owner: int
    rank: int
    request: LockRequest
    wanted: dict[Key, Mode]
    since: float
    parked: Key
    woken: bool = False
    claim: Claim = Claim.YOUNG
    stalled_at: Key | None = None

    @property
    def place(self) -> Place:
        return (self.rank, self.owner)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request was not granted.

    - `lock`, `mode`: the one lock that it waits under, and how it wants it; an intent mode if that is a whole level
      of which it wants names
    - `holders`: owners who hold the lock in its way, at most `MAX_NAMED` of them; none if only a reservation is in
      its way
    - `reserved_for`: the older waiter for whom the lock is kept, or who was woken to take it, if there is one
    - `place`: in the line of that lock, 1 is next
    - `since`: when the request was first refused, in seconds of the manager's clock
    """

    lock: Key
    mode: Mode
    holders: tuple[int, ...]
    reserved_for: int | None
    place: int
    since: float

    def __str__(self) -> str:
        blockers = f"kept for job {self.reserved_for}"
        if self.holders:
            blockers = f"held by job {', '.join(map(str, self.holders))}"
        return f"lock {key_text(self.lock)} ({self.mode}) is {blockers}; place {self.place} in its line"
