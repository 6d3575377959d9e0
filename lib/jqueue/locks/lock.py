"""One lock: who holds it, who waits under it, for whom it is reserved; and the table of all locks in use.

What happens across locks (a request for several, waking, deadlines) is in `jqueue.locks.manager` and
`jqueue.locks.reservations`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from jqueue.locks.line import Line, Place
from jqueue.locks.modes import Key, Mode, compatible

DEFAULT_CAPACITY = 1


class Users:
    """Owners by the mode in which they use a lock, each with the time since when."""

    __slots__ = ("by_mode", "units")

    def __init__(self) -> None:
        self.by_mode: dict[Mode, dict[int, float]] = {}
        self.units = 0

    def add(self, owner: int, mode: Mode, since: float) -> None:
        self.by_mode.setdefault(mode, {})[owner] = since
        if isinstance(mode, int):
            self.units += mode

    def remove(self, owner: int, mode: Mode) -> None:
        owners = self.by_mode[mode]
        del owners[owner]
        if not owners:
            del self.by_mode[mode]
        if isinstance(mode, int):
            self.units -= mode

    def admit(self, mode: Mode, capacity: int) -> bool:
        """Whether one more can use the lock beside these."""
        if isinstance(mode, int) and self.units + mode > capacity:
            return False
        return all(compatible(used, mode) for used in self.by_mode)

    def blocking(self, mode: Mode, capacity: int) -> Iterator[int]:
        """Those because of whom `admit` says no."""
        full = isinstance(mode, int) and self.units + mode > capacity
        for used, owners in self.by_mode.items():
            if not compatible(used, mode) or (full and isinstance(used, int)):
                yield from owners


class Lines:
    """One line for each mode, so that who can be served next is found by looking at the first of each."""

    __slots__ = ("by_mode",)

    def __init__(self) -> None:
        self.by_mode: dict[Mode, Line] = {}

    def add(self, place: Place, mode: Mode) -> None:
        line = self.by_mode.get(mode)
        if line is None:
            line = self.by_mode[mode] = Line()
        line.add(place)

    def remove(self, place: Place, mode: Mode) -> None:
        line = self.by_mode[mode]
        line.remove(place)
        if not line:
            del self.by_mode[mode]

    def before(self, place: Place) -> int:
        return sum(line.before(place) for line in self.by_mode.values())


class Lock:
    """One name at one level, or a whole level.

    `woken` are those who were told to try again and have not yet: the lock is spoken for as if they held it, when it
    comes to waking more. `idle` are those holders who are paused, standby or ready, `stalled` the waiters whose
    reservations rest because of them.
    """

    __slots__ = ("capacity", "holders", "idle", "key", "reserved", "stalled", "waiting", "woken")

    def __init__(self, key: Key, capacity: int) -> None:
        self.key = key
        self.capacity = capacity
        self.holders = Users()
        self.idle = Users()
        self.woken = Users()
        self.waiting = Lines()
        self.reserved = Lines()
        self.stalled: dict[int, None] = {}

    def unused(self) -> bool:
        """Whether it may be forgotten."""
        return not (
            self.holders.by_mode or self.woken.by_mode or self.waiting.by_mode or self.reserved.by_mode or self.stalled
        )

    def reserved_for(self, place: Place, mode: Mode) -> int | None:
        """The owner with the smallest rank for whom the lock is kept from a request.

        @param place: of the one who asks; reservations of later ones do not count
        """
        older = [
            line.first()
            for kept, line in self.reserved.by_mode.items()
            if line.first() < place and self._conflict(kept, mode)
        ]
        return min(older)[1] if older else None

    def _conflict(self, kept: Mode, mode: Mode) -> bool:
        if isinstance(kept, int) and isinstance(mode, int):
            return self.holders.units + kept + mode > self.capacity
        return not compatible(kept, mode)

    def refuses(self, place: Place, mode: Mode) -> bool:
        """Whether a request has to wait."""
        return not self.holders.admit(mode, self.capacity) or self.reserved_for(place, mode) is not None

    def next_to_wake(self) -> tuple[Place, Mode] | None:
        """The first waiter who could have the lock if all who were woken took it."""
        best: tuple[Place, Mode] | None = None
        for mode, line in self.waiting.by_mode.items():
            place = line.first()
            if (best is None or place < best[0]) and self._can_wake(place, mode):
                best = (place, mode)
        return best

    def _can_wake(self, place: Place, mode: Mode) -> bool:
        units = self.woken.units if isinstance(mode, int) else 0
        return (
            self.holders.admit(mode, self.capacity - units)
            and self.woken.admit(mode, self.capacity)
            and self.reserved_for(place, mode) is None
        )

    def reserved_places_stalled(self) -> Iterator[Place]:
        """The reservations that cannot help, because an idle holder is in their way."""
        for mode, line in self.reserved.by_mode.items():
            if not self.idle.admit(mode, self.capacity):
                yield from line


class LockTable:
    """All locks that somebody holds, waits for or has reserved; the others take no memory."""

    def __init__(self, capacities: Mapping[Key, int]) -> None:
        self._capacities = capacities
        self._locks: dict[Key, Lock] = {}

    def __len__(self) -> int:
        return len(self._locks)

    def __iter__(self) -> Iterator[Lock]:
        return iter(self._locks.values())

    def capacity(self, key: Key) -> int:
        """How many units of a lock there are."""
        return self._capacities.get(key, DEFAULT_CAPACITY)

    def get(self, key: Key) -> Lock | None:
        """The lock, if it is in use."""
        return self._locks.get(key)

    def at(self, key: Key) -> Lock:
        """The lock, made if need be."""
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = Lock(key, self.capacity(key))
        return lock

    def forget_unused(self, keys: Iterable[Key]) -> None:
        """Drops those that nobody uses any more."""
        for key in keys:
            lock = self._locks.get(key)
            if lock is not None and lock.unused():
                del self._locks[key]
