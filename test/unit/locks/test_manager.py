"""The lock manager: granting, waiting, waking."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from twisted.internet.task import Clock

from jqueue.locks.manager import LockManager
from jqueue.locks.modes import ALL, EXCLUSIVE, SHARED, LockRequest, Mode
from jqueue.locks.waiter import Refusal


class Locks:
    """A manager, and who was woken."""

    def __init__(self, **capacities: int) -> None:
        self.clock = Clock()
        self.woken: list[int] = []
        self.manager = LockManager(
            self.clock,
            capacities={("resource", name): capacity for name, capacity in capacities.items()},
            on_wake=self.woken.append,
        )

    def ask(self, owner: int, rank: int | None = None, **names: Mode) -> Refusal | None:
        """Asks for locks at the level `resource`; the rank is the owner without one."""
        request = LockRequest({("resource", name): mode for name, mode in names.items()})
        return self.manager.acquire(owner, request, owner if rank is None else rank)

    def retry(self, owner: int) -> Refusal | None:
        return self.manager.acquire(owner, LockRequest(), owner)

    def taken(self) -> list[int]:
        woken, self.woken[:] = list(self.woken), []
        return woken


def level(mode: Mode) -> LockRequest:
    return LockRequest({("resource", ALL): mode})


def test_an_exclusive_lock_has_one_holder_and_the_refusal_names_it() -> None:
    locks = Locks()
    assert locks.ask(1, a=EXCLUSIVE) is None
    locks.clock.advance(5)
    assert locks.ask(2, a=SHARED) == Refusal(("resource", "a"), SHARED, (1,), None, 1, 5.0)
    locks.clock.advance(5)
    assert locks.ask(3, a=EXCLUSIVE) == Refusal(("resource", "a"), EXCLUSIVE, (1,), None, 2, 10.0)
    assert str(locks.manager.explain(3)) == "lock resource/a (exclusive) is held by job 1; place 2 in its line"


def test_shared_holders_are_together_and_an_exclusive_one_waits_for_all() -> None:
    locks = Locks()
    assert locks.ask(1, a=SHARED) is None
    assert locks.ask(2, a=SHARED) is None
    refusal = locks.ask(3, a=EXCLUSIVE)
    assert refusal is not None and refusal.holders == (1, 2)
    locks.manager.release(1)
    assert locks.taken() == []
    locks.manager.release(2)
    assert locks.taken() == [3]


def test_a_counted_lock_is_shared_out_up_to_its_capacity() -> None:
    locks = Locks(tape=3)
    assert locks.ask(1, tape=2) is None
    assert locks.ask(2, tape=2) is not None
    assert locks.ask(3, tape=1) is None
    assert locks.ask(4, tape=SHARED) is None
    assert locks.ask(5, tape=EXCLUSIVE) is not None
    locks.manager.release(3)
    assert locks.taken() == []
    locks.manager.release(1)
    assert locks.taken() == [2]


def test_more_than_the_capacity_is_impossible_and_so_is_a_count_of_a_whole_level() -> None:
    manager = Locks(tape=3).manager
    assert manager.impossible(LockRequest({("resource", "tape"): 3})) is None
    assert "4 units are wanted, but its capacity is 3" in str(
        manager.impossible(LockRequest({("resource", "tape"): 4}))
    )
    assert "capacity is 1" in str(manager.impossible(LockRequest({("resource", "other"): 2})))
    assert "whole level" in str(manager.impossible(level(1)))


def test_a_set_is_granted_as_a_whole_or_not_at_all() -> None:
    locks = Locks()
    locks.ask(1, b=EXCLUSIVE)
    assert locks.ask(2, a=EXCLUSIVE, b=EXCLUSIVE) is not None
    assert locks.manager.holders(("resource", "a")) == {}
    assert locks.ask(3, a=EXCLUSIVE) is None


def test_who_asks_for_what_it_holds_has_it_even_if_it_is_wanted_by_an_older_one() -> None:
    locks = Locks()
    locks.ask(5, a=EXCLUSIVE)
    locks.ask(1, a=EXCLUSIVE)
    locks.clock.advance(60)
    assert locks.ask(5, a=SHARED) is None
    assert locks.manager.held(5) == {("resource", "a"): EXCLUSIVE}


def test_a_holder_extends_what_it_holds_and_makes_it_stronger() -> None:
    locks = Locks()
    locks.ask(1, a=SHARED)
    assert locks.ask(1, a=EXCLUSIVE, b=SHARED) is None
    assert locks.manager.held(1) == {("resource", "a"): EXCLUSIVE, ("resource", "b"): SHARED}
    assert locks.manager.acquire(1, level(EXCLUSIVE), 1) is None
    locks.manager.release(1)
    assert len(locks.manager) == 0


def test_a_holder_that_is_refused_gives_everything_back_and_waits_for_the_union() -> None:
    locks = Locks()
    locks.ask(1, b=EXCLUSIVE)
    locks.ask(2, a=EXCLUSIVE)
    locks.ask(3, a=EXCLUSIVE)
    assert locks.ask(2, b=SHARED) is not None
    assert locks.taken() == [3]
    assert locks.retry(3) is None
    locks.manager.release(1)
    assert locks.taken() == [2]
    refusal = locks.retry(2)
    assert refusal is not None and refusal.lock == ("resource", "a")
    locks.manager.release(3)
    assert locks.taken() == [2]
    assert locks.retry(2) is None
    assert locks.manager.held(2) == {("resource", "a"): EXCLUSIVE, ("resource", "b"): SHARED}


def test_two_holders_that_want_each_others_lock_both_get_on() -> None:
    locks = Locks()
    locks.ask(1, a=EXCLUSIVE)
    locks.ask(2, b=EXCLUSIVE)
    assert locks.ask(1, b=EXCLUSIVE) is not None
    assert locks.ask(2, a=EXCLUSIVE) is None
    locks.manager.release(2)
    assert locks.taken() == [1]
    assert locks.retry(1) is None


def test_waiters_are_woken_by_rank_one_exclusive_at_a_time() -> None:
    locks = Locks()
    locks.ask(9, a=EXCLUSIVE)
    for owner in (4, 2, 3):
        locks.ask(owner, a=EXCLUSIVE)
    locks.manager.release(9)
    assert locks.taken() == [2]
    assert locks.manager.explain(2) is None
    refusal = locks.manager.explain(3)
    assert refusal is not None and (refusal.holders, refusal.reserved_for, refusal.place) == ((), 2, 1)
    locks.retry(2)
    assert locks.taken() == []
    locks.manager.release(2)
    assert locks.taken() == [3]


def test_of_equal_ranks_the_smaller_owner_is_first() -> None:
    locks = Locks()
    locks.ask(9, a=EXCLUSIVE)
    locks.ask(3, rank=0, a=EXCLUSIVE)
    locks.ask(2, rank=0, a=EXCLUSIVE)
    locks.manager.release(9)
    assert locks.taken() == [2]


def test_all_sharing_waiters_are_woken_with_the_first_of_them() -> None:
    locks = Locks()
    locks.ask(9, a=EXCLUSIVE)
    for owner, mode in ((1, SHARED), (2, EXCLUSIVE), (3, SHARED)):
        locks.ask(owner, a=mode)
    locks.manager.release(9)
    assert locks.taken() == [1, 3]


def test_a_woken_waiter_that_another_lock_refuses_lets_the_next_one_try() -> None:
    locks = Locks()
    locks.ask(8, b=EXCLUSIVE)
    locks.ask(9, a=EXCLUSIVE)
    locks.ask(1, a=EXCLUSIVE, b=EXCLUSIVE)
    locks.ask(2, a=EXCLUSIVE)
    locks.manager.release(9)
    assert locks.taken() == [1]
    refusal = locks.retry(1)
    assert refusal is not None and (refusal.lock, refusal.holders) == (("resource", "b"), (8,))
    assert locks.taken() == [2]


def test_a_woken_waiter_that_never_tries_passes_the_lock_on() -> None:
    locks = Locks()
    locks.ask(9, a=EXCLUSIVE)
    for owner in (1, 2, 3):
        locks.ask(owner, a=EXCLUSIVE)
    locks.manager.release(9)
    locks.manager.release(1)
    assert locks.taken() == [1, 2]
    locks.manager.withdraw(2)
    assert locks.taken() == [3]


def test_a_withdrawn_request_is_never_woken_and_release_can_be_repeated() -> None:
    locks = Locks()
    locks.ask(9, a=EXCLUSIVE)
    locks.ask(1, a=EXCLUSIVE)
    locks.manager.withdraw(1)
    locks.manager.withdraw(9)
    assert locks.manager.held(9)
    locks.manager.release(9)
    locks.manager.release(9)
    assert locks.taken() == []
    assert len(locks.manager) == 0


def test_a_release_wakes_only_those_who_wait_for_what_was_released() -> None:
    locks = Locks()
    locks.ask(8, b=EXCLUSIVE)
    locks.ask(9, a=EXCLUSIVE)
    locks.ask(1, b=EXCLUSIVE)
    locks.ask(2, a=EXCLUSIVE)
    locks.manager.release(9)
    assert locks.taken() == [2]


def test_a_new_rank_moves_a_waiter_in_its_line() -> None:
    locks = Locks()
    locks.ask(9, a=EXCLUSIVE)
    locks.ask(1, a=EXCLUSIVE)
    locks.ask(2, a=EXCLUSIVE)
    locks.manager.rerank(2, -100)
    refusal = locks.manager.explain(2)
    assert refusal is not None and refusal.place == 1
    locks.manager.release(9)
    assert locks.taken() == [2]


def test_a_whole_level_excludes_names_that_nobody_has_used_yet() -> None:
    locks = Locks()
    assert locks.manager.acquire(1, level(EXCLUSIVE), 1) is None
    refusal = locks.ask(2, never_seen=SHARED)
    assert refusal is not None and (refusal.lock, refusal.holders) == (("resource", ALL), (1,))
    locks.manager.release(1)
    assert locks.taken() == [2]


def test_a_whole_level_waits_for_the_holders_of_its_names() -> None:
    locks = Locks()
    locks.ask(1, a=SHARED)
    locks.ask(2, b=EXCLUSIVE)
    refusal = locks.manager.acquire(3, level(SHARED), 3)
    assert refusal is not None and refusal.holders == (2,)
    locks.manager.release(2)
    assert locks.taken() == [3]
    assert locks.manager.acquire(3, level(SHARED), 3) is None
    assert locks.ask(4, c=SHARED) is None
    assert locks.ask(5, c=EXCLUSIVE) is not None


def test_a_refusal_names_ten_holders_at_most() -> None:
    locks = Locks()
    for owner in range(1, 100):
        locks.ask(owner, a=SHARED)
    refusal = locks.ask(100, a=EXCLUSIVE)
    assert refusal is not None and refusal.holders == tuple(range(1, 11))


class CountedRank(int):
    """A rank that counts how often it is compared."""

    compared = 0

    def __lt__(self, other: int) -> bool:
        CountedRank.compared += 1
        return int(self) < int(other)

    def __eq__(self, other: object) -> bool:
        CountedRank.compared += 1
        return int(self) == other

    def __hash__(self) -> int:
        return int(self)


def steps_of_a_grant(waiters: int) -> int:
    """Lines executed and ranks compared while a lock goes from its holder to the first of its waiters."""
    locks = Locks()
    request = LockRequest({("resource", "a"): EXCLUSIVE, ("resource", "b"): SHARED})
    locks.manager.acquire(0, request, CountedRank(0))
    for owner in range(1, waiters + 1):
        locks.manager.acquire(owner, request, CountedRank(owner))
    locks.clock.advance(60)
    for _ in range(-(-waiters // 200)):
        locks.clock.advance(0)
    lines = 0

    def count(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        return None if frame.f_code.co_filename == __file__ else count

    before = CountedRank.compared
    previous = sys.gettrace()
    sys.settrace(count)
    try:
        locks.manager.release(0)
        granted = locks.manager.acquire(locks.woken[0], request, CountedRank(locks.woken[0]))
    finally:
        sys.settrace(previous)
    assert locks.woken == [1] and granted is None
    return lines + CountedRank.compared - before


def test_a_grant_among_ten_thousand_waiters_takes_hardly_more_steps_than_among_ten() -> None:
    assert steps_of_a_grant(10_000) <= 1.5 * steps_of_a_grant(10)


def test_the_holders_of_a_lock_are_told_with_their_modes() -> None:
    locks = Locks(tape=4)
    locks.ask(1, tape=2)
    locks.ask(2, tape=SHARED)
    assert locks.manager.holders(("resource", "tape")) == {1: 2, 2: SHARED}
