"""What the grant of a lock costs among many waiters, against among few; the lock manager alone, on a fake clock."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

from twisted.internet.task import Clock

from jqueue.locks.manager import LockManager
from jqueue.locks.modes import EXCLUSIVE, LockRequest

from .figure import Figure

_GRANTS = 10


def measure(few: int = 10, many: int = 10_000) -> Iterator[Figure]:
    """Measures releases of a lock that is waited for, each with the grant to the next."""
    for name, function in (("steps", _steps), ("time", _seconds)):
        small, large = (function(count + _GRANTS) for count in (few, many))
        cost = (
            f"{small:.0f} and {large:.0f} lines of Python"
            if name == "steps"
            else f"{small * 1e6:.1f} and {large * 1e6:.1f} us"
        )
        yield Figure(
            f"grant of a lock with {many:,} waiters against {few}, {name}",
            large / small,
            "x",
            f"LockManager.release and the next one's acquire, mean of {_GRANTS}; {cost}",
            "1.5",
        )


class _Line:
    """A lock that one holds and others wait for."""

    def __init__(self, waiters: int) -> None:
        self._woken: list[int] = []
        self._manager = LockManager(Clock(), capacities={}, on_wake=self._woken.append)
        self._holder = 0
        for owner in range(waiters + 1):
            self._manager.acquire(owner, LockRequest({("resource", "a"): EXCLUSIVE}), owner)

    def grant(self) -> None:
        """Passes the lock on."""
        self._manager.release(self._holder)
        self._holder = self._woken.pop()
        if self._manager.acquire(self._holder, LockRequest(), self._holder) is not None:
            raise RuntimeError("the next one did not get the lock")


def _seconds(waiters: int) -> float:
    times = []
    for _ in range(5):
        line = _Line(waiters)
        started = time.perf_counter()
        for _ in range(_GRANTS):
            line.grant()
        times.append((time.perf_counter() - started) / _GRANTS)
    return min(times)


def _steps(waiters: int) -> float:
    line = _Line(waiters)
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        for _ in range(_GRANTS):
            line.grant()
    finally:
        sys.settrace(before)
    return count / _GRANTS
