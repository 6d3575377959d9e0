"""Who hears of what, in which order, and what a listener can do to the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from twisted.logger import LogEvent, capturedLogs

from jqueue.events.bus import JOB_CHANGED, JOB_LOG, Bus, Subscription, describe
from jqueue.jobs.job import _QueuedJob

ENTRY = [0, 1, [1_700_000_000, 0], "message", "hello"]


class Ear:
    """A listener that remembers; told to, it does something first."""

    def __init__(self, bus: Bus, *, jobs: set[int] | None = None, changes: bool = True, log: bool = True) -> None:
        self.heard: list[tuple[str, Any]] = []
        self.first: Callable[[], object] = lambda: None
        chosen = frozenset(jobs) if jobs is not None else None
        self.cancel = bus.subscribe(Subscription(self.listen, chosen, changes, log))

    def listen(self, name: str, arguments: list[Any]) -> None:
        self.first()
        self.heard.append((name, arguments[0]["id"] if name == JOB_CHANGED else arguments[0]))


@pytest.fixture
def bus() -> Bus:
    return Bus()


@pytest.fixture
def logged() -> Iterator[Sequence[LogEvent]]:
    """What the daemon would have logged."""
    with capturedLogs() as events:
        yield events


def job(job_id: int, *ops: dict[str, object]) -> _QueuedJob:
    return _QueuedJob(None, job_id, list(ops or ({"OP_ID": "OP_TEST_DUMMY"},)))


def test_changes_and_log_entries_are_heard_in_the_order_in_which_they_came(bus: Bus) -> None:
    ear = Ear(bus)
    bus.job_changed(job(1))
    bus.job_logged(1, [ENTRY])
    bus.job_changed(job(2))
    assert ear.heard == [(JOB_CHANGED, 1), (JOB_LOG, 1), (JOB_CHANGED, 2)]


@pytest.mark.parametrize(
    ("changes", "log", "heard"), ((True, False, [JOB_CHANGED]), (False, True, [JOB_LOG]), (False, False, []))
)
def test_only_the_kinds_that_were_asked_for_are_heard(bus: Bus, changes: bool, log: bool, heard: list[str]) -> None:
    ear = Ear(bus, changes=changes, log=log)
    bus.job_changed(job(1))
    bus.job_logged(1, [ENTRY])
    assert [name for name, _ in ear.heard] == heard


def test_only_the_jobs_that_were_asked_for_are_heard_of(bus: Bus) -> None:
    some, none = Ear(bus, jobs={2, 3}), Ear(bus, jobs=set())
    for job_id in (1, 2, 3):
        bus.job_changed(job(job_id))
        bus.job_logged(job_id, [ENTRY])
    assert some.heard == [(JOB_CHANGED, 2), (JOB_LOG, 2), (JOB_CHANGED, 3), (JOB_LOG, 3)]
    assert none.heard == []


def test_who_has_cancelled_hears_nothing_more_and_may_cancel_again(bus: Bus) -> None:
    ear, other = Ear(bus), Ear(bus)
    ear.cancel()
    ear.cancel()
    bus.job_changed(job(1))
    assert (ear.heard, other.heard) == ([], [(JOB_CHANGED, 1)])


def test_a_listener_that_fails_is_dropped_and_the_others_still_hear(bus: Bus, logged: Sequence[LogEvent]) -> None:
    before, broken, after = Ear(bus), Ear(bus), Ear(bus)
    broken.first = lambda: 1 // 0
    for job_id in (1, 2):
        bus.job_changed(job(job_id))
    assert before.heard == after.heard == [(JOB_CHANGED, 1), (JOB_CHANGED, 2)]
    assert broken.heard == []
    assert len(logged) == 1
    broken.cancel()


def test_a_listener_may_cancel_itself_while_it_listens(bus: Bus) -> None:
    ear, other = Ear(bus), Ear(bus)
    ear.first = ear.cancel
    bus.job_changed(job(1))
    bus.job_changed(job(2))
    assert ear.heard == [(JOB_CHANGED, 1)]
    assert other.heard == [(JOB_CHANGED, 1), (JOB_CHANGED, 2)]


def test_a_listener_that_another_one_has_cancelled_does_not_hear_the_same_event_any_more(bus: Bus) -> None:
    first, second = Ear(bus), Ear(bus)
    first.first = second.cancel
    bus.job_changed(job(1))
    assert (first.heard, second.heard) == ([(JOB_CHANGED, 1)], [])


def test_who_subscribes_while_an_event_is_told_hears_from_the_next_one_on(bus: Bus) -> None:
    ear = Ear(bus)
    late: list[Ear] = []
    ear.first = lambda: late.append(Ear(bus)) if not late else None
    bus.job_changed(job(1))
    bus.job_changed(job(2))
    assert late[0].heard == [(JOB_CHANGED, 2)]


def test_an_event_says_what_became_of_the_job() -> None:
    said = describe(job(7, {"OP_ID": "OP_TEST_DELAY", "duration": 1.0, "priority": -10}, {"OP_ID": "OP_TEST_DUMMY"}))
    assert (said["id"], said["status"], said["lifecycle"], said["priority"]) == (7, "queued", "created", -10)
    assert (said["opstatus"], said["end_ts"]) == (["queued", "queued"], None)


def test_results_come_with_the_event_that_tells_of_the_end_and_not_before() -> None:
    running = job(7)
    assert "opresult" not in describe(running)
    running.MarkUnfinishedOps("success", {"written": 5})
    running.Finalize()
    said = describe(running)
    assert (said["status"], said["opresult"]) == ("success", [{"written": 5}])
    assert said["end_ts"] is not None
