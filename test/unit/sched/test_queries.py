"""What questions about jobs are answered from while they run."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from jqueue.events.joblog import Entry

from .rig import START, Disk, Rig, op


class SlowLog(Disk):
    """Log files that are written when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[Deferred[None]] = []

    def write_log(self, entries: dict[int, list[Entry]]) -> Deferred[None]:
        super().write_log(entries)
        self.waiting.append(Deferred())
        return self.waiting[-1]


def ask(rig: Rig, job_id: int, *fields: str) -> list[Any]:
    (row,) = rig.now(rig.queue.query_jobs([job_id], list(fields), None))
    return list(row)


def log(rig: Rig, job_id: int, *lines: str) -> None:
    rig.queue.logs.add(job_id, 0, [(START, "message", line) for line in lines])


def test_the_log_serial_of_a_running_job_is_that_of_its_last_line() -> None:
    rig = Rig()
    job_id = rig.submit_one(op())
    assert ask(rig, job_id, "log_serial") == [0]
    log(rig, job_id, "one", "two")
    assert ask(rig, job_id, "status", "log_serial") == ["running", 2]
    rig.finish()
    assert ask(rig, job_id, "status", "log_serial") == ["success", 3]


def test_the_log_serial_counts_no_line_that_cannot_be_read_yet() -> None:
    disk = SlowLog()
    rig = Rig(disk=disk)
    job_id = rig.submit_one(op())
    log(rig, job_id, "one")
    log(rig, job_id, "two")
    assert ask(rig, job_id, "log_serial") == [0]
    disk.waiting.pop().callback(None)
    assert ask(rig, job_id, "log_serial") == [1]


class SlowClock(Clock):
    """Time that goes on by itself, a little with each look at it."""

    step = 0.0

    def seconds(self) -> float:
        self.rightNow += self.step
        return self.rightNow


def turns_of_others(rig: Rig, done: Deferred[Any]) -> int:
    """How often others get their turn before there is an answer."""
    count = 0

    def other() -> None:
        nonlocal count
        if not done.called:
            count += 1
            rig.clock.callLater(0, other)

    other()
    rig.clock.advance(0)
    return count


@pytest.mark.parametrize(
    ("fields", "keep"), [(["ops"], 1000), (["id", "opstatus"], 1000), (["opresult"], 0), (["id", "status"], 1000)]
)
def test_a_list_gives_others_their_turn_when_it_has_taken_its_time(fields: list[str], keep: int) -> None:
    clock = SlowClock()
    rig = Rig(clock=clock, keep=keep, limit=1000)
    jobs = rig.submit(*[op()] * 60)
    rig.finish()
    qfilter = [">", "id", 0]
    assert turns_of_others(rig, rig.queue.query_jobs(None, fields, qfilter)) == 0
    clock.step = 0.0004
    asked = rig.queue.query_jobs(None, fields, qfilter)
    assert 10 <= turns_of_others(rig, asked) <= 60
    clock.step = 0.0
    assert len(rig.now(asked)) == len(jobs)
