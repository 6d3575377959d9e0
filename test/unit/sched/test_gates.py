"""What a job waits for before its locks, and that it is woken when that may be over."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from jqueue.errors import StateError
from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.status import WAITING
from jqueue.sched.gates import DEPENDENCY, LOOKUP, PAUSE, RETRY, TIME, End, Gates, Wait

from .rig import Work, op


class Setup:
    """Gates for job 9; the wall clock can be set by itself."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.jumped = 0.0
        self.statuses = {9: "queued"}
        self.asked: dict[int, Deferred[str | None]] = {}
        self.woken: list[int] = []
        self.gates = Gates(
            clock=self.clock,
            wall=lambda: self.clock.seconds() + self.jumped,
            status_of=self.statuses.get,
            archived_status=self.archived_status,
            wake=self.woken.append,
        )
        self.job = _QueuedJob(None, 9, [op()])

    def archived_status(self, job_id: int) -> Deferred[str | None]:
        self.asked[job_id] = Deferred()
        return self.asked[job_id]

    def check(self, **parameters: Any) -> Wait | End | None:
        return self.gates.check(self.job, Work(**parameters))

    def kind(self, **parameters: Any) -> str | None:
        """What it waits for; None if for nothing."""
        found = self.check(**parameters)
        assert not isinstance(found, End)
        return None if found is None else found.kind


def test_a_job_without_conditions_goes_on() -> None:
    assert Setup().check() is None


def test_a_paused_job_waits_whatever_else_there_is_and_that_is_no_status() -> None:
    setup = Setup()
    setup.job.paused = True
    wait = setup.check(not_before=5, depends=[[1, []]])
    assert isinstance(wait, Wait) and (wait.kind, wait.shown) == (PAUSE, False)
    assert setup.clock.getDelayedCalls() == []


def test_the_end_of_a_dependency_wakes_all_who_wait_for_it() -> None:
    setup = Setup()
    setup.statuses[1] = "running"
    assert setup.kind(depends=[[1, []]]) == DEPENDENCY
    setup.gates.finished(2)
    assert setup.woken == []
    setup.statuses[1] = "success"
    setup.gates.finished(1)
    assert (setup.woken, setup.kind(depends=[[1, []]])) == ([9], None)


def test_a_dependency_that_is_not_there_is_looked_up_once() -> None:
    setup = Setup()
    assert setup.kind(depends=[[1, []]]) == LOOKUP
    asked = setup.asked.pop(1)
    asked.callback("success")
    assert (setup.woken, setup.kind(depends=[[1, []]]), setup.asked) == ([9], None, {})


@pytest.mark.parametrize(("status", "text"), [("error", "ended in error"), (None, "neither in the queue nor")])
def test_a_dependency_of_the_past_that_does_not_fit_ends_the_job(status: str | None, text: str) -> None:
    setup = Setup()
    setup.check(depends=[[1, ["success"]]])
    setup.asked[1].callback(status)
    found = setup.check(depends=[[1, ["success"]]])
    assert isinstance(found, End)
    assert text in str(found.problem)


def test_a_canceled_dependency_cancels() -> None:
    setup = Setup()
    setup.statuses[1] = "canceled"
    assert setup.check(depends=[[1, []]]) == End(None)


def test_an_archive_that_cannot_be_read_now_is_asked_again_later() -> None:
    setup = Setup()
    setup.check(depends=[[1, []]])
    setup.asked.pop(1).errback(StateError("the disk hiccups"))
    wait = setup.check(depends=[[1, []]])
    assert isinstance(wait, Wait) and (wait.kind, "the disk hiccups" in wait.text) == (LOOKUP, True)
    assert (setup.woken, setup.asked) == ([9], {})
    setup.clock.advance(600)
    assert setup.woken[1:] == [9]
    setup.check(depends=[[1, []]])
    setup.asked[1].callback("success")
    assert setup.check(depends=[[1, []]]) is None


@pytest.mark.parametrize("answer", ["success", StateError("broken")])
def test_a_job_that_is_canceled_while_it_is_looked_up_leaves_nothing_behind(answer: str | StateError) -> None:
    setup = Setup()
    setup.check(depends=[[1, []]])
    setup.statuses[9] = "canceled"
    setup.gates.forget(9)
    if isinstance(answer, str):
        setup.asked[1].callback(answer)
    else:
        setup.asked[1].errback(answer)
    assert (setup.gates._archived, setup.gates._not_looked_up, setup.clock.getDelayedCalls()) == ({}, {}, [])


def test_a_time_is_waited_for_and_looked_at_again_when_the_clock_jumps() -> None:
    setup = Setup()
    assert setup.kind(not_before=2000) == TIME
    setup.clock.advance(599)
    assert setup.woken == []
    setup.jumped = 5000
    setup.clock.advance(1)
    assert (setup.woken, setup.kind(not_before=2000)) == ([9], None)


def test_a_job_that_is_looked_at_again_has_one_timer() -> None:
    setup = Setup()
    for _ in range(3):
        assert setup.kind(not_before=100) == TIME
    assert len(setup.clock.getDelayedCalls()) == 1
    setup.gates.forget(9)
    assert setup.clock.getDelayedCalls() == []


def test_the_next_attempt_is_waited_for_and_the_time_of_the_first_is_over() -> None:
    setup = Setup()
    (current,) = setup.job.ops
    current.status, current.attempt, current.outcome = WAITING, 1, ["retry", ["OpExecError", ["x", "y"]], 30.0]
    wait = setup.check(not_before=5)
    assert isinstance(wait, Wait) and (wait.kind, wait.text[:9]) == (RETRY, "attempt 2")
    setup.clock.advance(30)
    assert (setup.woken, setup.check(not_before=5)) == ([9], None)
