"""Fairness: who has waited so long that its locks are kept for it.

A request may be granted before an older one that has to wait; but once that one has waited `max_bypass`, all locks
that it wants are reserved for it, and later requests in conflict with it are refused. If an **idle** holder (paused,
standby, ready) is in its way, then it could not be served however long the others stood back: its reservation rests
until that is over.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from jqueue.locks.lock import Lock, LockTable
from jqueue.locks.modes import Key
from jqueue.locks.waiter import Claim, Waiter

SLICE = 200
"""How many waiters are dealt with in one turn of the reactor when many become old at once."""


class Reservations:
    """The reservations of all waiters, and the timer for the next one."""

    def __init__(
        self,
        clock: IReactorTime,
        locks: LockTable,
        waiters: Mapping[int, Waiter],
        max_bypass: float,
        admits_more: Callable[[Iterable[Key]], None],
    ) -> None:
        """Makes it.

        @param waiters: the manager's, by owner
        @param max_bypass: seconds from the first refusal to the reservation
        @param admits_more: is told the locks of a reservation that has ended or rests
        """
        self._clock = clock
        self._locks = locks
        self._waiters = waiters
        self._max_bypass = max_bypass
        self._admits_more = admits_more
        # In the order in which they started to wait, which is that of their deadlines.
        self._young: OrderedDict[int, Waiter] = OrderedDict()
        self._timer: IDelayedCall | None = None

    def begin(self, waiter: Waiter) -> None:
        """Somebody starts to wait."""
        self._young[waiter.owner] = waiter
        self._set_timer()

    def end(self, waiter: Waiter) -> None:
        """Somebody does not wait any more."""
        if waiter.claim is Claim.YOUNG:
            del self._young[waiter.owner]
            self._set_timer()
        else:
            self._lift(waiter)

    def change(self, waiter: Waiter, change: Callable[[], None]) -> None:
        """Lets somebody who waits change its rank or its request.

        @param change: does it
        """
        if waiter.claim is Claim.YOUNG:
            change()
            return
        self._lift(waiter)
        change()
        self._claim(waiter)

    def holder_idle(self, lock: Lock) -> None:
        """A lock has one more idle holder."""
        for _, owner in list(lock.reserved_places_stalled()):
            waiter = self._waiters[owner]
            self._lift(waiter)
            self._claim(waiter)

    def holder_not_idle(self, lock: Lock) -> None:
        """A lock has one idle holder less."""
        for owner in list(lock.stalled):
            waiter = self._waiters[owner]
            self._lift(waiter)
            self._claim(waiter)

    def _claim(self, waiter: Waiter) -> None:
        """Reserves what a waiter wants, or lets it rest under the first of its locks with an idle holder in its way."""
        for key, mode in waiter.wanted.items():
            lock = self._locks.get(key)
            if lock is not None and not lock.idle.admit(mode, lock.capacity):
                lock.stalled[waiter.owner] = None
                waiter.claim, waiter.stalled_at = Claim.STALLED, key
                return
        for key, mode in waiter.wanted.items():
            self._locks.at(key).reserved.add(waiter.place, mode)
        waiter.claim, waiter.stalled_at = Claim.RESERVED, None

    def _lift(self, waiter: Waiter) -> None:
        """Undoes what `_claim` did."""
        if waiter.stalled_at is not None:
            del self._locks.at(waiter.stalled_at).stalled[waiter.owner]
            self._admits_more((waiter.stalled_at,))
            return
        for key, mode in waiter.wanted.items():
            self._locks.at(key).reserved.remove(waiter.place, mode)
        self._admits_more(waiter.wanted)

    def _set_timer(self) -> None:
        """Keeps one timer running while anybody is young."""
        if not self._young:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        elif self._timer is None:
            oldest = next(iter(self._young.values()))
            delay = max(0.0, oldest.since + self._max_bypass - self._clock.seconds())
            self._timer = self._clock.callLater(delay, self._ripen)

    def _ripen(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        for _ in range(SLICE):
            waiter = next(iter(self._young.values()), None)
            if waiter is None or waiter.since + self._max_bypass > now:
                break
            del self._young[waiter.owner]
            self._claim(waiter)
        self._set_timer()
