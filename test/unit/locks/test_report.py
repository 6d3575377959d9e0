"""What people are shown about locks."""

from __future__ import annotations

from twisted.internet.task import Clock

from jqueue.locks.manager import LockManager
from jqueue.locks.modes import ALL, EXCLUSIVE, SHARED, LockRequest, Mode


def manager_with(*requests: tuple[int, dict[tuple[str, str], Mode]], tape: int = 4) -> LockManager:
    """Asks for each request a second after the one before; owner and rank are the same."""
    clock = Clock()
    manager = LockManager(clock, capacities={("resource", "tape"): tape}, on_wake=lambda owner: None)
    for owner, modes in requests:
        manager.acquire(owner, LockRequest(modes), owner)
        clock.advance(1)
    return manager


def test_a_lock_is_reported_with_its_holders_and_its_line_in_order() -> None:
    disk: tuple[str, str] = ("image", "/disk")
    manager = manager_with(
        (9, {disk: EXCLUSIVE}), (4, {disk: SHARED}), (3, {disk: SHARED}), (5, {disk: EXCLUSIVE}), (6, {disk: SHARED})
    )
    assert manager.report() == [
        {
            "name": "image//disk",
            "mode": EXCLUSIVE,
            "owners": [9],
            "pending": [(SHARED, [3, 4]), (EXCLUSIVE, [5]), (SHARED, [6])],
            "holders": [{"owner": 9, "mode": EXCLUSIVE, "since": 0.0}],
            "reserved_for": None,
        }
    ]


def test_units_in_use_are_the_mode_of_a_counted_lock() -> None:
    tape = ("resource", "tape")
    (row,) = manager_with((1, {tape: 2}), (2, {tape: 1}), (3, {tape: SHARED})).report()
    assert (row["mode"], row["owners"]) == (3, [1, 2, 3])


def test_somebody_who_was_woken_still_counts_as_waiting() -> None:
    manager = manager_with((1, {("node", "n"): EXCLUSIVE}), (2, {("node", "n"): EXCLUSIVE}))
    manager.release(1)
    (row,) = manager.report()
    assert (row["mode"], row["owners"], row["pending"]) == (None, [], [(EXCLUSIVE, [2])])


def test_the_lock_of_a_level_is_shown_when_somebody_wants_or_has_the_whole_level() -> None:
    manager = manager_with((1, {("node", "n"): EXCLUSIVE}))
    assert [row["name"] for row in manager.report()] == ["node/n"]
    manager.acquire(2, LockRequest({("node", ALL): SHARED}), 2)
    assert [(row["name"], row["mode"], row["owners"], row["pending"]) for row in manager.report()] == [
        ("node/*", "intent-exclusive", [1], [(SHARED, [2])]),
        ("node/n", EXCLUSIVE, [1], []),
    ]
    manager.release(1)
    manager.acquire(2, LockRequest(), 2)
    assert [(row["name"], row["mode"]) for row in manager.report()] == [("node/*", SHARED)]


def test_rows_are_sorted_with_numbers_in_their_order() -> None:
    manager = manager_with((1, {("node", "n10"): SHARED, ("node", "n9"): SHARED, ("image", "x"): SHARED}))
    assert [row["name"] for row in manager.report()] == ["image/x", "node/n9", "node/n10"]


def test_the_one_for_whom_a_lock_is_kept_is_told() -> None:
    clock = Clock()
    manager = LockManager(clock, capacities={}, on_wake=lambda owner: None)
    manager.acquire(1, LockRequest({("node", "a"): SHARED}), 1)
    manager.acquire(2, LockRequest({("node", "a"): EXCLUSIVE, ("node", "b"): SHARED}), 2)
    clock.advance(60)
    assert {row["name"]: row["reserved_for"] for row in manager.report()} == {"node/a": 2}
    manager.acquire(3, LockRequest({("node", "b"): EXCLUSIVE}), 3)
    assert {row["name"]: row["reserved_for"] for row in manager.report()} == {"node/a": 2, "node/b": 2}
