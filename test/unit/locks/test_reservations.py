"""Fairness: when locks are kept for a waiter, and from whom."""

from __future__ import annotations

from twisted.internet.task import Clock

from jqueue.locks.manager import LockManager
from jqueue.locks.modes import ALL, EXCLUSIVE, SHARED, LockRequest, Mode
from jqueue.locks.reservations import SLICE
from jqueue.locks.waiter import Refusal

A, B, TAPE = ("resource", "a"), ("resource", "b"), ("resource", "tape")


class Locks:
    """A manager with `resource/tape` of 4 units, and who was woken; ranks are the owners."""

    def __init__(self, max_bypass: float = 60.0) -> None:
        self.clock = Clock()
        self.woken: list[int] = []
        self.manager = LockManager(self.clock, capacities={TAPE: 4}, max_bypass=max_bypass, on_wake=self.woken.append)

    def ask(self, owner: int, modes: dict[tuple[str, str], Mode]) -> Refusal | None:
        return self.manager.acquire(owner, LockRequest(modes), owner)


def blocked_writer() -> Locks:
    """1 shares a; 2 wants a and b exclusively."""
    locks = Locks()
    locks.ask(1, {A: SHARED})
    locks.ask(2, {A: EXCLUSIVE, B: EXCLUSIVE})
    return locks


def reserved_for(refusal: Refusal | None) -> int | None:
    assert refusal is not None
    return refusal.reserved_for


def test_a_younger_request_passes_until_the_older_one_has_waited_its_time() -> None:
    locks = blocked_writer()
    locks.clock.advance(59)
    assert locks.ask(3, {A: SHARED}) is None
    locks.clock.advance(1)
    refusal = locks.ask(4, {A: SHARED})
    assert refusal == Refusal(A, SHARED, (), 2, 2, 60.0)
    assert str(refusal) == "lock resource/a (shared) is kept for job 2; place 2 in its line"


def test_every_lock_of_the_request_is_reserved_also_free_ones_and_their_level() -> None:
    locks = blocked_writer()
    locks.clock.advance(60)
    assert reserved_for(locks.ask(3, {B: SHARED})) == 2
    assert reserved_for(locks.ask(4, {("resource", ALL): SHARED})) == 2
    assert locks.ask(5, {("resource", "c"): EXCLUSIVE}) is None


def test_a_level_that_is_kept_is_kept_from_further_names_of_a_holder_too() -> None:
    locks = Locks()
    locks.ask(5, {A: SHARED})
    locks.ask(2, {("resource", ALL): EXCLUSIVE})
    locks.clock.advance(60)
    assert reserved_for(locks.ask(5, {B: SHARED})) == 2
    assert locks.woken == [2]
    assert locks.ask(2, {}) is None


def test_an_older_request_is_not_held_back() -> None:
    locks = blocked_writer()
    locks.clock.advance(60)
    assert locks.manager.acquire(3, LockRequest({B: EXCLUSIVE}), rank=0) is None


def test_trying_again_does_not_start_the_waiting_time_anew() -> None:
    locks = blocked_writer()
    locks.clock.advance(40)
    refusal = locks.ask(2, {})
    assert refusal is not None and refusal.since == 0
    locks.clock.advance(20)
    assert reserved_for(locks.ask(3, {B: SHARED})) == 2


def test_the_grant_ends_the_reservation_and_wakes_whom_it_held_back() -> None:
    locks = Locks()
    locks.ask(1, {A: SHARED})
    locks.ask(2, {A: EXCLUSIVE, B: SHARED})
    locks.clock.advance(60)
    assert reserved_for(locks.ask(3, {B: EXCLUSIVE})) == 2
    assert reserved_for(locks.ask(4, {A: SHARED})) == 2
    locks.manager.release(1)
    assert locks.woken == [2]
    assert locks.ask(2, {}) is None
    assert locks.woken == [2]
    locks.manager.release(2)
    assert sorted(locks.woken) == [2, 3, 4]


def test_the_withdrawal_ends_the_reservation_and_wakes_whom_it_held_back() -> None:
    locks = blocked_writer()
    locks.clock.advance(60)
    locks.ask(3, {A: SHARED})
    locks.ask(4, {B: EXCLUSIVE})
    locks.manager.withdraw(2)
    assert sorted(locks.woken) == [3, 4]


def test_a_later_rank_gives_up_what_it_kept_from_those_before() -> None:
    locks = blocked_writer()
    locks.clock.advance(60)
    locks.ask(3, {B: EXCLUSIVE})
    locks.manager.rerank(2, 100)
    assert locks.woken == [3]


def test_an_idle_holder_in_the_way_suspends_the_reservation_and_wakes_whom_it_held_back() -> None:
    locks = blocked_writer()
    locks.clock.advance(60)
    locks.ask(3, {B: SHARED})
    locks.manager.set_idle(1, True)
    assert locks.woken == [3]
    assert locks.ask(3, {}) is None
    assert locks.ask(4, {A: SHARED}) is None
    locks.manager.set_idle(1, False)
    assert reserved_for(locks.ask(5, {A: SHARED})) == 2


def test_a_holder_that_was_idle_before_the_time_came_suspends_the_reservation_too() -> None:
    locks = blocked_writer()
    locks.manager.set_idle(1, True)
    locks.clock.advance(60)
    assert locks.ask(3, {B: SHARED}) is None
    locks.manager.release(1)
    assert reserved_for(locks.ask(4, {B: SHARED})) == 2


def test_an_idle_holder_that_is_not_in_the_way_changes_nothing() -> None:
    locks = Locks()
    locks.ask(1, {A: SHARED, TAPE: 1})
    locks.ask(5, {B: SHARED})
    locks.ask(2, {B: EXCLUSIVE, A: SHARED, TAPE: 3})
    locks.clock.advance(60)
    locks.manager.set_idle(1, True)
    assert reserved_for(locks.ask(3, {B: SHARED})) == 2


def test_a_holder_that_asks_for_more_is_not_idle() -> None:
    locks = blocked_writer()
    locks.manager.set_idle(1, True)
    locks.clock.advance(60)
    assert locks.ask(1, {("resource", "c"): SHARED}) is None
    assert reserved_for(locks.ask(3, {B: SHARED})) == 2


def test_units_that_the_older_one_will_not_miss_are_not_kept() -> None:
    locks = Locks()
    locks.ask(9, {A: EXCLUSIVE})
    locks.ask(1, {A: EXCLUSIVE, TAPE: 2})
    locks.clock.advance(60)
    assert locks.ask(3, {TAPE: 1}) is None
    assert locks.ask(4, {TAPE: 1}) is None
    assert reserved_for(locks.ask(5, {TAPE: 1})) == 1


def test_there_is_one_timer_however_many_wait_and_none_without_waiters() -> None:
    locks = blocked_writer()
    locks.clock.advance(10)
    for owner in range(3, 50):
        locks.ask(owner, {A: EXCLUSIVE})
    assert [call.getTime() for call in locks.clock.getDelayedCalls()] == [60]
    for owner in range(2, 50):
        locks.manager.release(owner)
    assert locks.clock.getDelayedCalls() == []


def test_more_than_a_slice_may_become_old_at_once() -> None:
    locks = Locks()
    locks.ask(0, {A: EXCLUSIVE})
    for owner in range(1, SLICE + 2):
        locks.ask(owner, {A: EXCLUSIVE, ("resource", f"own{owner}"): EXCLUSIVE})
    locks.clock.advance(60)
    assert reserved_for(locks.ask(1000, {("resource", f"own{SLICE + 1}"): SHARED})) == SLICE + 1


def test_without_any_bypass_the_order_of_rank_is_kept_from_the_next_turn_on() -> None:
    locks = Locks(max_bypass=0.0)
    locks.ask(1, {A: SHARED})
    locks.ask(2, {A: EXCLUSIVE})
    locks.clock.advance(0)
    assert reserved_for(locks.ask(3, {A: SHARED})) == 2
