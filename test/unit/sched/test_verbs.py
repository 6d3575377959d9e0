"""What users may still do to jobs when the disk is full."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from jqueue.errors import DiskFull
from jqueue.sched.queue import JobQueue

from .rig import Rig, op

Verb = Callable[[JobQueue, int], Deferred[Any]]


def cancel(queue: JobQueue, job_id: int) -> Deferred[Any]:
    return queue.cancel(job_id, False, False)


def change_priority(queue: JobQueue, job_id: int) -> Deferred[Any]:
    return queue.change_priority(job_id, 10, admin=False)


@pytest.fixture
def rig() -> Rig:
    """One worker; job 1 is final, 2 runs, 3 is queued, 4 is paused, and then the disk is full."""
    made = Rig(size=1)
    made.submit_one(op())
    made.finish()
    made.submit([op()], [op()], [op()])
    assert made.now(made.queue.pause(4))[0]
    made.journal.set_full(True)
    return made


@pytest.mark.parametrize(
    "job_id, verb",
    (
        (3, cancel),
        (4, cancel),
        (2, JobQueue.pause),
        (3, JobQueue.pause),
        (4, JobQueue.resume),
        (3, change_priority),
        (1, JobQueue.archive),
    ),
)
def test_a_verb_that_running_work_does_not_need_is_refused_on_a_full_disk_and_changes_nothing(
    rig: Rig, job_id: int, verb: Verb
) -> None:
    before = list(rig.journal.records), [rig.job(each).Serialize() for each in range(1, 5)]
    with pytest.raises(DiskFull):
        rig.now(verb(rig.queue, job_id))
    assert (list(rig.journal.records), [rig.job(each).Serialize() for each in range(1, 5)]) == before
    rig.journal.set_full(False)
    assert rig.now(verb(rig.queue, job_id))


def test_running_code_can_be_cancelled_on_a_full_disk(rig: Rig) -> None:
    assert rig.now(cancel(rig.queue, 2))[0]
    rig.finish()
    assert rig.status(2) == "canceled"


def test_jobs_that_end_on_a_full_disk_and_dismiss_themselves_stay_for_now() -> None:
    rig = Rig()
    (job_id,) = rig.submit({"ops": [op()], "auto_dismiss": True})
    rig.journal.set_full(True)
    rig.finish()
    assert rig.status(job_id) == "success"


def test_a_start_on_a_full_disk_comes_up_with_jobs_that_would_dismiss_themselves() -> None:
    rig = Rig()
    (job_id,) = rig.submit({"ops": [op()], "auto_dismiss": True})
    rig.journal.set_full(True)
    rig.finish()
    assert rig.crash(full=True).status(job_id) == "success"
    assert rig.crash().status(job_id) is None
