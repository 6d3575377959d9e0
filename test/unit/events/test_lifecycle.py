"""Lifecycle events of jobs that are changed by hand; those of real runs are in `test/unit/sched/test_lifecycles.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import pytest

from jqueue.errors import OpExecError, ProgrammerError, encode
from jqueue.events.bus import Bus, Subscription
from jqueue.events.lifecycle import LifecycleEvents, steps
from jqueue.jobs import lifecycle
from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.lifecycle import STATES, TRANSITIONS

Change = Callable[[_QueuedJob], object]


class Told:
    """What a listener has heard: statuses, and the names of other events."""

    def __init__(self) -> None:
        self.paused: set[int] = set()
        self.ready: set[int] = set()
        self.computed = 0
        self.bus = Bus()
        self.events = LifecycleEvents(self.bus, self._state, lambda job_id: [1, 4, "a quarter"])
        self.heard: list[str] = []
        self.data: list[Mapping[str, object]] = []

    def _state(self, job: _QueuedJob) -> str:
        self.computed += 1
        return lifecycle.lifecycle(job, paused_now=job.id in self.paused, ready=job.id in self.ready)

    def listen(self) -> Callable[[], None]:
        return self.bus.subscribe(Subscription(self._hear, None, changes=False, log=False, lifecycle=True))

    def _hear(self, _name: str, arguments: list[Any]) -> None:
        (event,) = arguments
        self.data.append(event["data"])
        self.heard.append(str(event["data"].get("status", event["event"])))

    def change(self, job: _QueuedJob, change: Change) -> _QueuedJob:
        after = job.copy()
        change(after)
        self.events.changed(job, after)
        return after


@pytest.fixture
def told() -> Told:
    return Told()


def job(count: int = 1) -> _QueuedJob:
    return _QueuedJob(None, 42, [{"OP_ID": "OP_TEST_DELAY"}] * count)


def running(draft: _QueuedJob) -> None:
    op = next(op for op in draft.ops if op.status != "success")
    op.status = "running"
    op.exec_timestamp = (1, 0)


def success(draft: _QueuedJob) -> None:
    next(op for op in draft.ops if op.status == "running").status = "success"


def canceled(draft: _QueuedJob) -> None:
    draft.MarkUnfinishedOps("canceled", "Job canceled by request")


def failed(draft: _QueuedJob) -> None:
    draft.MarkUnfinishedOps("error", encode(OpExecError("it broke")))


def test_a_success_goes_through_waiting_and_pending(told: Told) -> None:
    told.listen()
    told.events.created(42)
    told.change(told.change(job(), running), success)
    expected = ["created", "running", "waiting", "pending", "BLOCK_JOB_COMPLETED", "concluded"]
    assert told.heard == expected
    assert told.data[0] == {"status": "created", "id": "job42"}
    assert told.data[4] == {"device": "job42", "type": "test_delay", "len": 100, "offset": 100, "speed": 0}


def test_a_failure_goes_through_aborting_and_has_its_error(told: Told) -> None:
    told.listen()
    told.change(told.change(job(2), running), failed)
    assert told.heard == ["running", "aborting", "BLOCK_JOB_COMPLETED", "concluded"]
    assert told.data[2] == {
        "device": "job42",
        "type": "test_delay",
        "len": 200,
        "offset": 0,
        "speed": 0,
        "error": "it broke",
    }


def test_a_job_that_never_ran_has_no_event_of_a_block_job(told: Told) -> None:
    told.listen()
    told.events.created(42)
    told.change(job(), canceled)
    assert told.heard == ["created", "aborting", "concluded"]


def test_a_paused_job_is_running_again_before_it_is_aborted(told: Told) -> None:
    told.listen()
    runs = told.change(job(), running)
    told.paused.add(42)
    told.events.moved(runs, False)
    told.events.moved(runs, False)
    told.change(runs, canceled)
    assert told.heard == ["running", "paused", "running", "aborting", "BLOCK_JOB_CANCELLED", "concluded"]


def test_a_job_is_ready_once_however_often_it_stands_by(told: Told) -> None:
    told.listen()
    runs = told.change(job(), running)
    told.ready.add(42)
    told.events.moved(runs, True)
    told.paused.add(42)
    told.events.moved(runs, False)
    told.paused.discard(42)
    told.events.moved(runs, False)
    told.change(runs, success)
    expected = ["running", "ready", "BLOCK_JOB_READY", "standby", "ready"]
    assert told.heard == [*expected, "waiting", "pending", "BLOCK_JOB_COMPLETED", "concluded"]


def test_who_listens_before_a_job_converges_hears_that_it_does(told: Told) -> None:
    runs = told.change(job(), running)
    told.listen()
    told.ready.add(42)
    told.events.moved(runs, True)
    assert told.heard == ["ready", "BLOCK_JOB_READY"]


def test_only_a_job_that_waits_for_its_user_is_told_as_pending(told: Told) -> None:
    def pending(draft: _QueuedJob) -> None:
        draft.phase = "pending"

    def manual(draft: _QueuedJob) -> None:
        draft.auto_finalize = False

    told.listen()
    asks, waits = job(), job()
    manual(asks)
    waits.members = [42, 43]
    told.change(told.change(asks, running), pending)
    assert told.heard == ["running", "waiting", "pending", "BLOCK_JOB_PENDING"]
    assert told.data[-1] == {"id": "job42", "type": "test_delay"}
    told.events.dismissed(42)
    del told.heard[:]
    told.change(told.change(waits, running), pending)
    assert told.heard == ["running", "waiting", "pending"]


def test_a_change_that_is_no_step_is_not_told(told: Told) -> None:
    told.listen()
    runs = told.change(job(2), running)
    between = told.change(runs, success)
    told.change(between, running)
    assert told.heard == ["running"]


def test_nothing_is_computed_while_nobody_listens(told: Told) -> None:
    end = told.listen()
    end()
    told.events.created(42)
    runs = told.change(job(), running)
    told.events.moved(runs, False)
    told.events.dismissed(42)
    assert (told.heard, told.computed) == ([], 0)


def test_who_listens_later_hears_what_follows(told: Told) -> None:
    runs = told.change(job(), running)
    told.paused.add(42)
    told.listen()
    told.paused.discard(42)
    told.events.moved(runs, False)
    told.change(runs, success)
    told.events.dismissed(42)
    expected = ["running", "waiting", "pending", "BLOCK_JOB_COMPLETED", "concluded", "null"]
    assert told.heard == expected


def test_a_job_that_leaves_with_the_daemon_is_told_once(told: Told) -> None:
    told.listen()
    told.events.let_go(42)
    told.events.let_go(42)
    told.events.dismissed(42)
    assert told.heard == ["null"]


def test_the_end_of_the_daemon_is_told(told: Told) -> None:
    told.listen()
    told.events.shutdown("host-signal")
    assert (told.heard, told.data) == (["SHUTDOWN"], [{"guest": False, "reason": "host-signal"}])


@pytest.mark.parametrize("before", STATES)
@pytest.mark.parametrize("after", STATES)
@pytest.mark.parametrize("successful", [True, False])
def test_steps_are_legal_or_refused(before: str, after: str, successful: bool) -> None:
    try:
        way = steps(before, after, success=successful)
    except ProgrammerError:
        assert after not in TRANSITIONS[before] or after == "concluded"
    else:
        assert [before, *way][-1] == after
        assert all(second in TRANSITIONS[first] for first, second in pairwise([before, *way]))


@pytest.mark.parametrize(("before", "after"), [("waiting", "running"), ("concluded", "running"), ("null", "created")])
def test_a_step_that_no_way_leads_to_is_refused(before: str, after: str) -> None:
    with pytest.raises(ProgrammerError, match=f"from the lifecycle state {before} to {after}"):
        steps(before, after)


def test_a_job_that_takes_an_impossible_step_goes_on(told: Told) -> None:
    told.listen()
    waits = told.change(job(), running)

    def waiting(draft: _QueuedJob) -> None:
        draft.phase = "waiting"

    def works(draft: _QueuedJob) -> None:
        draft.phase = "work"

    works_again = told.change(told.change(waits, waiting), works)
    told.change(works_again, failed)
    assert told.heard == ["running", "waiting", "aborting", "BLOCK_JOB_COMPLETED", "concluded"]
