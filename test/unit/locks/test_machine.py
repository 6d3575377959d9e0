"""The lock manager against a naive model, in every order of events that Hypothesis can think of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from twisted.internet.task import Clock

from jqueue.locks.manager import LockManager
from jqueue.locks.modes import ALL, EXCLUSIVE, SHARED, Key, LockRequest, Mode, key_text

MAX_BYPASS = 60
CAPACITIES = {("resource", "a"): 3, ("resource", "b"): 2}
OWNERS = range(1, 9)

names = st.sampled_from(["a", "b"])
word_modes = st.sampled_from([SHARED, EXCLUSIVE])
items = st.one_of(
    st.tuples(st.tuples(st.sampled_from(["node", "resource"]), names), word_modes),
    st.tuples(st.just(("node", ALL)), word_modes),
    st.tuples(st.just(("resource", "a")), st.integers(1, 3)),
    st.tuples(st.just(("resource", "b")), st.integers(1, 2)),
)
requests = st.lists(items, min_size=1, max_size=3).map(lambda chosen: LockRequest(dict(chosen)))
owners = st.sampled_from(OWNERS)
ranks = st.integers(-10, 10)


def overlap(one: Key, other: Key) -> bool:
    return one[0] == other[0] and (one[1] == other[1] or ALL in (one[1], other[1]))


def units(requests: Iterable[Mapping[Key, Mode]], key: Key) -> int:
    return sum(mode for request in requests if isinstance(mode := request.get(key), int))


def conflict(wanted: Mapping[Key, Mode], users: list[LockRequest]) -> bool:
    """Whether somebody cannot have what it wants beside some users, each against each."""
    for key, mode in wanted.items():
        for user in users:
            for used, used_mode in user.items():
                if overlap(key, used) and EXCLUSIVE in (mode, used_mode):
                    return True
        if isinstance(mode, int) and units(users, key) + mode > CAPACITIES[key]:
            return True
    return False


class Waiting:
    def __init__(self, request: LockRequest, rank: int, since: float) -> None:
        self.request = request
        self.rank = rank
        self.since = since
        self.woken = False


class LockMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.manager = LockManager(
            self.clock, capacities=CAPACITIES, max_bypass=float(MAX_BYPASS), on_wake=self.on_wake
        )
        self.held: dict[int, LockRequest] = {}
        self.idle: set[int] = set()
        self.waiting: dict[int, Waiting] = {}

    def on_wake(self, owner: int) -> None:
        assert not self.waiting[owner].woken
        self.waiting[owner].woken = True

    # the model

    def reserved(self, waiter: Waiting) -> bool:
        """Whether the locks of a waiter are kept for it."""
        old = self.clock.seconds() - waiter.since >= MAX_BYPASS
        return old and not conflict(waiter.request, [self.held[owner] for owner in self.idle])

    def refused(self, owner: int, wanted: Mapping[Key, Mode], rank: int, users: list[LockRequest]) -> bool:
        """Whether somebody has to wait, because of users or of older ones whose locks are reserved."""
        if conflict(wanted, users):
            return True
        for other, waiter in self.waiting.items():
            if (waiter.rank, other) < (rank, owner) and self.reserved(waiter):
                shared_out = {key: mode for key, mode in wanted.items() if isinstance(mode, int)}
                plain = {key: mode for key, mode in wanted.items() if key not in shared_out}
                if conflict(plain, [waiter.request]) or any(
                    conflict(
                        {key: mode}, [*(users if isinstance(waiter.request.get(key), int) else ()), waiter.request]
                    )
                    for key, mode in shared_out.items()
                ):
                    return True
        return False

    def others(self, owner: int) -> list[LockRequest]:
        return [request for other, request in self.held.items() if other != owner]

    def added(self, owner: int, union: LockRequest) -> dict[Key, Mode]:
        """What is new in the request of a holder; a whole level counts as new with any name of it."""
        held = self.held.get(owner, LockRequest())
        new = {key: mode for key, mode in union.items() if held.get(key) != mode}
        levels = {level for level, _ in new}
        return {key: mode for key, mode in union.items() if key in new or (key[1] == ALL and key[0] in levels)}

    # the events

    @rule(owner=owners, request=requests, rank=ranks)
    def acquire(self, owner: int, request: LockRequest, rank: int) -> None:
        waiter = self.waiting.get(owner)
        before = waiter.request if waiter else self.held.get(owner, LockRequest())
        union = before.union(request)
        self.idle.discard(owner)
        if waiter:
            waiter.rank = rank
            waiter.request = union
        expected = self.refused(owner, self.added(owner, union), rank, self.others(owner))
        if expected:
            self.held.pop(owner, None)
            if waiter is None:
                self.waiting[owner] = Waiting(union, rank, self.clock.seconds())
            else:
                waiter.woken = False
        else:
            self.held[owner] = union
            self.waiting.pop(owner, None)
        refusal = self.manager.acquire(owner, request, rank)
        assert (refusal is not None) == expected
        if refusal is not None:
            assert refusal.lock in union.with_levels()
            assert set(refusal.holders) <= self.held.keys()
            assert refusal.holders or refusal.reserved_for in self.waiting
            assert refusal.since == self.waiting[owner].since

    @initialize(asked=st.lists(st.tuples(requests, ranks), min_size=len(OWNERS), max_size=len(OWNERS)))
    def everybody_asks(self, asked: list[tuple[LockRequest, int]]) -> None:
        for owner, (request, rank) in zip(OWNERS, asked, strict=True):
            self.acquire(owner, request, rank)

    @precondition(lambda self: len(self.held) + len(self.waiting) < len(OWNERS))
    @rule(data=st.data(), request=requests)
    def newcomer(self, data: st.DataObject, request: LockRequest) -> None:
        free = [owner for owner in OWNERS if owner not in self.held and owner not in self.waiting]
        self.acquire(data.draw(st.sampled_from(free)), request, 20)

    @precondition(lambda self: any(waiter.woken for waiter in self.waiting.values()))
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        owner = data.draw(st.sampled_from([owner for owner, waiter in self.waiting.items() if waiter.woken]))
        self.acquire(owner, LockRequest(), self.waiting[owner].rank)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        self.end(data.draw(st.sampled_from(list(self.held))))

    def end(self, owner: int) -> None:
        self.held.pop(owner)
        self.idle.discard(owner)
        self.manager.release(owner)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        owner = data.draw(st.sampled_from(list(self.waiting)))
        self.waiting.pop(owner)
        self.manager.withdraw(owner)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), rank=ranks)
    def rerank(self, data: st.DataObject, rank: int) -> None:
        owner = data.draw(st.sampled_from(list(self.waiting)))
        self.waiting[owner].rank = rank
        self.manager.rerank(owner, rank)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def toggle_idle(self, data: st.DataObject) -> None:
        owner = data.draw(st.sampled_from(list(self.held)))
        self.idle ^= {owner}
        self.manager.set_idle(owner, owner in self.idle)

    @rule(seconds=st.sampled_from([30, 60]))
    def advance(self, seconds: int) -> None:
        self.clock.advance(seconds)

    # what must always be true

    @invariant()
    def nobody_holds_what_another_one_excludes(self) -> None:
        for owner in OWNERS:
            assert self.manager.held(owner) == self.held.get(owner, {})
        for owner, request in self.held.items():
            assert not conflict(request, self.others(owner))

    @invariant()
    def whoever_is_parked_has_a_reason(self) -> None:
        """No wake-up is lost: the woken ones count as if they held what they want."""
        users = list(self.held.values()) + [waiter.request for waiter in self.waiting.values() if waiter.woken]
        for owner, waiter in self.waiting.items():
            explained = self.manager.explain(owner)
            assert (explained is None) == waiter.woken
            assert waiter.woken or self.refused(owner, waiter.request, waiter.rank, users)

    @invariant()
    def the_report_tells_it_as_it_is(self) -> None:
        rows = {row["name"]: row for row in self.manager.report()}
        for owner, request in self.held.items():
            for key in request:
                assert owner in rows[key_text(key)]["owners"]
        pending = [[owner for _, group in row["pending"] for owner in group] for row in rows.values()]
        assert sorted(owner for line in pending for owner in line) == sorted(self.waiting)
        for line in pending:
            assert line == sorted(line, key=lambda owner: (self.waiting[owner].rank, owner))

    @invariant()
    def nothing_is_kept_without_a_user(self) -> None:
        young = any(self.clock.seconds() - waiter.since < MAX_BYPASS for waiter in self.waiting.values())
        assert len(self.clock.getDelayedCalls()) == young
        if not self.held and not self.waiting:
            assert len(self.manager) == 0

    def teardown(self) -> None:
        """Everybody is granted in the end, if holders release and the woken ones retry."""
        for _ in range(3 * len(OWNERS)):
            for owner in list(self.held):
                self.end(owner)
            for owner in [owner for owner, waiter in self.waiting.items() if waiter.woken]:
                if self.waiting[owner].woken:
                    self.acquire(owner, LockRequest(), self.waiting[owner].rank)
        assert not self.waiting
        assert not self.held
        assert len(self.manager) == 0


TestLockMachine = LockMachine.TestCase
TestLockMachine.settings = settings(max_examples=100, stateful_step_count=50, deadline=None, derandomize=True)
