"""The lock manager: grants requests for several locks all at once or not at all, and says who should try again.

What a lock admits is in `jqueue.locks.lock`, when locks are kept for somebody in `jqueue.locks.reservations`, what
people are shown in `jqueue.locks.report`.

**No owner waits while holding.** A request that is refused leaves its owner with nothing: what it held is given back,
and it waits for all of it together. So no cycle of waiters can form.

**Waiting and waking.** A waiter is parked under exactly one lock that refused it. When a lock may admit more than
before, its waiters are woken in rank order as far as the lock would go round if all the woken ones took it. Woken
means: `on_wake` has told the scheduler to call `acquire` again; until then the waiter holds nothing. However that
ends (granted, refused by another lock, withdrawn) the lock is looked at again. So at any time the first waiter of
each mode of each lock is one that the lock refuses, and with nobody holding and nobody woken there is no waiter. A
lock has one line for each mode: a change costs O(log n) comparisons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice

from twisted.internet.interfaces import IReactorTime

from jqueue.locks.line import Place
from jqueue.locks.lock import Lock, LockTable
from jqueue.locks.modes import ALL, Key, LockRequest, Mode, key_text
from jqueue.locks.report import LockRow, lock_rows
from jqueue.locks.reservations import Reservations
from jqueue.locks.waiter import MAX_NAMED, Refusal, Waiter


@dataclass(slots=True, eq=False)
class _Holding:
    request: LockRequest
    wanted: dict[Key, Mode]
    idle: bool = False


class LockManager:
    """All locks, their holders and their waiters; owners are job ids (of a group: one of them)."""

    def __init__(
        self,
        clock: IReactorTime,
        *,
        capacities: Mapping[Key, int],
        on_wake: Callable[[int], None],
        max_bypass: float = 60.0,
    ) -> None:
        """Makes a manager without any locks.

        @param capacities: by (level, name) how many units of a lock there are; 1 for those not named
        @param on_wake: is told an owner that should call `acquire` again
        @param max_bypass: seconds after which the locks of a waiting request are kept for it
        """
        self._clock = clock
        self._on_wake = on_wake
        self._capacities = capacities
        self._locks = LockTable(capacities)
        self._holdings: dict[int, _Holding] = {}
        self._waiters: dict[int, Waiter] = {}
        self._changed: dict[Key, None] = {}
        self._reservations = Reservations(clock, self._locks, self._waiters, max_bypass, self._admits_more)

    def acquire(self, owner: int, request: LockRequest, rank: int) -> Refusal | None:
        """Grants a request as a whole, or parks it.

        The request is added to what the owner holds or waits for; to ask for less, `release` first. If it is refused,
        the owner holds nothing any more, and waits for the union. An owner that asks is not idle.

        @return: nothing if it is granted; else why not
        """
        self.set_idle(owner, False)
        waiter = self._waiters.get(owner)
        if waiter is not None:
            self._update(waiter, waiter.request.union(request), rank)
            refusing = self._first_refusing((rank, owner), waiter.wanted)
            self._unpark(waiter)
            if refusing is None:
                self._stop_waiting(waiter)
                self._hold(owner, waiter.request, waiter.wanted)
        else:
            refusing = self._ask(owner, request, rank)
        refusal = None if refusing is None else self._park(self._waiters[owner], refusing)
        self._settle()
        return refusal

    def _ask(self, owner: int, request: LockRequest, rank: int) -> Lock | None:
        """Grants the request of an owner that does not wait yet, or makes a waiter of it that is still to be parked.

        Its own hold of a lock is not in the way of a stronger one.

        @return: the lock that refuses
        """
        held = self._holdings.get(owner)
        union = held.request.union(request) if held is not None else request
        wanted = union.with_levels()
        old = held.wanted if held is not None else {}
        added = {key: mode for key, mode in wanted.items() if old.get(key) != mode}
        # A level that is kept for somebody else is kept from more of its names too.
        added |= {(level, ALL): wanted[level, ALL] for level, _ in added}
        own = added.keys() & old.keys()
        for key in own:
            self._locks.at(key).holders.remove(owner, old[key])
        refusing = self._first_refusing((rank, owner), added)
        if refusing is None:
            self._hold(owner, union, wanted)
            return None
        now = self._clock.seconds()
        for key in own:
            self._locks.at(key).holders.add(owner, old[key], now)
        self._give_back(owner)
        self._waiters[owner] = waiter = Waiter(owner, rank, union, wanted, now, refusing.key)
        self._reservations.begin(waiter)
        return refusing

    def release(self, owner: int) -> None:
        """Ends whatever an owner has to do with locks: what it holds, and what it waits for; any number of times."""
        self._give_back(owner)
        self.withdraw(owner)

    def withdraw(self, owner: int) -> None:
        """Ends the waiting of an owner, if it waits."""
        waiter = self._waiters.get(owner)
        if waiter is not None:
            self._unpark(waiter)
            self._stop_waiting(waiter)
        self._settle()

    def rerank(self, owner: int, rank: int) -> None:
        """Gives a waiter another rank; one that holds needs none."""
        waiter = self._waiters.get(owner)
        if waiter is None or waiter.rank == rank:
            return
        self._update(waiter, waiter.request, rank)
        self._settle()

    def set_idle(self, owner: int, idle: bool) -> None:
        """Says whether a holder is paused, standby or ready: no locks are kept for those in whose way it is."""
        held = self._holdings.get(owner)
        if held is None or held.idle == idle:
            return
        held.idle = idle
        for key, mode in held.wanted.items():
            lock = self._locks.at(key)
            if idle:
                lock.idle.add(owner, mode, self._clock.seconds())
                self._reservations.holder_idle(lock)
            else:
                lock.idle.remove(owner, mode)
                self._reservations.holder_not_idle(lock)
        self._settle()

    def empty_twin(self) -> LockManager:
        """Makes a manager with the same capacities, in which nobody holds anything: to try out what goes together."""
        return LockManager(self._clock, capacities=self._capacities, on_wake=lambda _owner: None)

    def impossible(self, request: LockRequest) -> str | None:
        """Why a request can never be granted.

        @return: the reason, for the one who submits it; nothing if it can
        """
        for key, mode in request.items():
            if isinstance(mode, str):
                continue
            if key[1] == ALL:
                return f"lock {key_text(key)}: a whole level is shared or exclusive, {mode} units of it cannot be had"
            capacity = self._locks.capacity(key)
            if mode > capacity:
                return (
                    f"lock {key_text(key)}: {mode} units are wanted, but its capacity is {capacity}; "
                    "ask for less, or raise its capacity in the configuration"
                )
        return None

    def explain(self, owner: int) -> Refusal | None:
        """Why an owner waits now.

        @return: nothing if no lock is in its way: it does not wait, or was woken and has not tried again yet
        """
        waiter = self._waiters.get(owner)
        if waiter is None or waiter.woken:
            return None
        return self._refusal(waiter, self._locks.at(waiter.parked))

    def held(self, owner: int) -> LockRequest:
        """What an owner holds; the empty request if nothing."""
        held = self._holdings.get(owner)
        return held.request if held is not None else LockRequest()

    def holders(self, key: Key) -> dict[int, Mode]:
        """Who holds a lock, and how."""
        lock = self._locks.get(key)
        if lock is None:
            return {}
        return {owner: mode for mode, owners in lock.holders.by_mode.items() for owner in owners}

    def report(self) -> list[LockRow]:
        """All locks that are held or waited for, see `jqueue.locks.report`."""
        return lock_rows(self._locks, self._waiters)

    def __len__(self) -> int:
        """How many locks are in memory."""
        return len(self._locks)

    def _first_refusing(self, place: Place, wanted: Mapping[Key, Mode]) -> Lock | None:
        for key, mode in wanted.items():
            lock = self._locks.get(key)
            if lock is not None and lock.refuses(place, mode):
                return lock
        return None

    def _hold(self, owner: int, request: LockRequest, wanted: dict[Key, Mode]) -> None:
        """Enters an owner at its locks, except where it is already."""
        now = self._clock.seconds()
        for key, mode in wanted.items():
            holders = self._locks.at(key).holders
            if owner not in holders.by_mode.get(mode, ()):
                holders.add(owner, mode, now)
        self._holdings[owner] = _Holding(request, wanted)

    def _give_back(self, owner: int) -> None:
        self.set_idle(owner, False)
        held = self._holdings.pop(owner, None)
        if held is not None:
            for key, mode in held.wanted.items():
                self._locks.at(key).holders.remove(owner, mode)
            self._admits_more(held.wanted)

    def _park(self, waiter: Waiter, lock: Lock) -> Refusal:
        waiter.parked, waiter.woken = lock.key, False
        lock.waiting.add(waiter.place, waiter.wanted[lock.key])
        return self._refusal(waiter, lock)

    def _unpark(self, waiter: Waiter) -> None:
        """Takes a waiter from the lock that it is parked under or was woken from, which the next one may have then."""
        lock = self._locks.at(waiter.parked)
        mode = waiter.wanted[waiter.parked]
        if waiter.woken:
            lock.woken.remove(waiter.owner, mode)
        else:
            lock.waiting.remove(waiter.place, mode)
        self._admits_more((waiter.parked,))

    def _stop_waiting(self, waiter: Waiter) -> None:
        del self._waiters[waiter.owner]
        self._reservations.end(waiter)

    def _update(self, waiter: Waiter, request: LockRequest, rank: int) -> None:
        """Changes the request or the rank of a waiter where it stands."""
        if waiter.rank == rank and waiter.request is request:
            return

        def change() -> None:
            waiter.request, waiter.wanted, waiter.rank = request, request.with_levels(), rank

        woken = waiter.woken
        self._unpark(waiter)
        self._reservations.change(waiter, change)
        lock = self._locks.at(waiter.parked)
        if woken:
            lock.woken.add(waiter.owner, waiter.wanted[waiter.parked], self._clock.seconds())
        else:
            lock.waiting.add(waiter.place, waiter.wanted[waiter.parked])

    def _refusal(self, waiter: Waiter, lock: Lock) -> Refusal:
        mode = waiter.wanted[lock.key]
        holders = tuple(islice(lock.holders.blocking(mode, lock.capacity - lock.woken.units), MAX_NAMED))
        reserved_for = lock.reserved_for(waiter.place, mode)
        if not holders and reserved_for is None:
            reserved_for = next(lock.woken.blocking(mode, lock.capacity), None)
        return Refusal(
            lock=lock.key,
            mode=mode,
            holders=holders,
            reserved_for=reserved_for,
            place=lock.waiting.before(waiter.place) + 1,
            since=waiter.since,
        )

    def _admits_more(self, keys: Iterable[Key]) -> None:
        """Notes locks at which somebody may be woken, or that nobody may use any more."""
        self._changed.update(dict.fromkeys(keys))

    def _settle(self) -> None:
        """Wakes who can be woken, after a change is complete."""
        while self._changed:
            key, _ = self._changed.popitem()
            lock = self._locks.get(key)
            if lock is None:
                continue
            while (found := lock.next_to_wake()) is not None:
                (_, owner), mode = found
                lock.waiting.remove(found[0], mode)
                lock.woken.add(owner, mode, self._clock.seconds())
                self._waiters[owner].woken = True
                self._on_wake(owner)
            self._locks.forget_unused((key,))
