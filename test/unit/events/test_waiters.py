"""Waiting for the next change of a job, and giving up."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from jqueue.events.waiters import ChangeWaiters


class Waiting:
    """One who waits, and what came of it."""

    def __init__(self, waiters: ChangeWaiters, job_id: int) -> None:
        self.outcome: object = None
        self.done: Deferred[bool] = waiters.wait(job_id)
        self.done.addCallbacks(self.fired, self.failed)

    def fired(self, value: bool) -> None:
        self.outcome = value

    def failed(self, failure: Failure) -> None:
        failure.trap(CancelledError)
        self.outcome = "cancelled"


@pytest.fixture
def waiters() -> ChangeWaiters:
    return ChangeWaiters()


def test_everybody_who_waits_for_a_job_is_woken_by_its_change_and_nobody_else(waiters: ChangeWaiters) -> None:
    ours, others = [Waiting(waiters, 1) for _ in range(3)], Waiting(waiters, 2)
    waiters.changed(1)
    assert [waiting.outcome for waiting in ours] == [True, True, True]
    assert others.outcome is None


def test_a_change_wakes_once(waiters: ChangeWaiters) -> None:
    first = Waiting(waiters, 1)
    waiters.changed(1)
    second = Waiting(waiters, 1)
    assert (first.outcome, second.outcome) == (True, None)
    waiters.changed(1)
    assert second.outcome is True


def test_a_change_that_nobody_waits_for_leaves_nothing_behind(waiters: ChangeWaiters) -> None:
    waiters.changed(1)
    assert len(waiters) == 0
    assert Waiting(waiters, 1).outcome is None


def test_who_waits_again_when_woken_waits_for_the_next_change(waiters: ChangeWaiters) -> None:
    first = Waiting(waiters, 1)
    again: list[Waiting] = []
    first.done.addCallback(lambda _: again.append(Waiting(waiters, 1)))
    waiters.changed(1)
    assert [waiting.outcome for waiting in again] == [None]
    waiters.changed(1)
    assert [waiting.outcome for waiting in again] == [True]


def test_who_gives_up_is_forgotten_and_the_others_go_on_waiting(waiters: ChangeWaiters) -> None:
    one, other = Waiting(waiters, 1), Waiting(waiters, 1)
    one.done.cancel()
    assert (one.outcome, other.outcome, len(waiters)) == ("cancelled", None, 1)
    waiters.changed(1)
    assert (one.outcome, other.outcome, len(waiters)) == ("cancelled", True, 0)


def test_the_last_one_who_gives_up_leaves_nothing_behind(waiters: ChangeWaiters) -> None:
    for waiting in [Waiting(waiters, 1), Waiting(waiters, 1)]:
        waiting.done.cancel()
    assert waiters._waiters == {}


def test_giving_up_after_the_change_does_not_take_along_who_came_later(waiters: ChangeWaiters) -> None:
    early = Waiting(waiters, 1)
    waiters.changed(1)
    late = Waiting(waiters, 1)
    early.done.cancel()
    waiters.changed(1)
    assert late.outcome is True


def test_who_is_woken_may_make_all_others_give_up(waiters: ChangeWaiters) -> None:
    group = [Waiting(waiters, 1) for _ in range(4)]

    def end_all(_value: object) -> None:
        for waiting in group:
            waiting.done.cancel()

    for waiting in group:
        waiting.done.addCallback(end_all)
    waiters.changed(1)
    assert sorted(str(waiting.outcome) for waiting in group) == ["True", "cancelled", "cancelled", "cancelled"]
    assert len(waiters) == 0
