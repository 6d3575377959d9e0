"""Files that cannot be read: nobody may take them for jobs that are nowhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from jqueue.errors import JobLost, StateError
from jqueue.sched.queue import JobQueue

from .rig import Rig, op


def damaged() -> StateError:
    return StateError("the file of job 1 is damaged")


def unreadable() -> StateError:
    error = StateError("the file of job 1 cannot be read")
    error.__cause__ = OSError(24, "Too many open files")
    return error


@pytest.fixture
def rig() -> Rig:
    """A queue that has archived job 1 and knows job 2."""
    made = Rig()
    made.submit(op(), op())
    made.finish()
    made.now(made.queue.archive(1))
    return made


@pytest.mark.parametrize("problem", (damaged(), unreadable()), ids=str)
@pytest.mark.parametrize(
    "ask",
    (
        lambda queue: queue.query_jobs([2, 1], ["id", "status"], None),
        lambda queue: queue.wait_for_change(1, ["status"], None, None, 1.0, None),
        lambda queue: queue.explain(1),
        lambda queue: queue.retry(1, True, 7),
    ),
    ids=("query", "wait", "explain", "retry"),
)
def test_who_asks_for_a_job_whose_file_cannot_be_read_is_told_so(
    rig: Rig, ask: Callable[[JobQueue], Deferred[Any]], problem: StateError
) -> None:
    rig.disk.unreadable[1] = problem
    with pytest.raises(StateError, match="the file of job 1 "):
        rig.now(ask(rig.queue))


def test_a_damaged_file_hides_no_other_job_from_a_list_of_all(rig: Rig) -> None:
    rig.disk.unreadable[1] = damaged()
    assert rig.now(rig.queue.query_jobs(None, ["id", "archived"], None)) == [[2, False]]


def test_a_list_of_all_fails_rather_than_leave_out_what_cannot_be_read_now(rig: Rig) -> None:
    rig.disk.unreadable[1] = unreadable()
    with pytest.raises(StateError, match="cannot be read"):
        rig.now(rig.queue.query_jobs(None, ["id", "archived"], None))


def test_the_log_of_a_job_whose_file_cannot_be_read_is_no_log_of_a_lost_job(rig: Rig) -> None:
    rig.disk.logs.clear()
    rig.disk.unreadable[1] = unreadable()
    assert rig.now(rig.queue.job_log(1, 0, 10)) == []
    with pytest.raises(JobLost):
        rig.now(rig.queue.job_log(3, 0, 10))
