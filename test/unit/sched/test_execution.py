"""One attempt at an opcode: what it logs is in the file before anybody is told that it has ended."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from jqueue.events.joblog import Entry

from .rig import Disk, Rig, locked, op


class SlowLog(Disk):
    """Log files that are written when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[Deferred[None]] = []

    def write_log(self, entries: dict[int, list[Entry]]) -> Deferred[None]:
        super().write_log(entries)
        done: Deferred[None] = Deferred()
        self.waiting.append(done)
        return done

    def write(self) -> None:
        while self.waiting:
            self.waiting.pop(0).callback(None)


@pytest.fixture
def disk() -> SlowLog:
    return SlowLog()


@pytest.fixture
def rig(disk: SlowLog) -> Rig:
    return Rig(disk=disk)


def write(rig: Rig, disk: SlowLog) -> None:
    disk.write()
    rig.settle()


def test_an_opcode_has_not_ended_before_its_log_is_in_the_file(rig: Rig, disk: SlowLog) -> None:
    job_id = rig.submit_one(op())
    rig.step()
    assert rig.status(job_id) == "running"
    write(rig, disk)
    assert rig.status(job_id) == "success"


@pytest.mark.parametrize("fails", ([], ["exec"]))
def test_a_job_has_not_ended_before_the_log_of_its_callback_is_in_the_file(
    rig: Rig, disk: SlowLog, fails: list[str]
) -> None:
    job_id = rig.submit_one(op("OP_UNDO", fails=fails))
    rig.step()
    write(rig, disk)
    rig.step()
    assert rig.status(job_id) == "running"
    write(rig, disk)
    assert rig.status(job_id) == ("error" if fails else "success")


def test_a_declaration_that_fails_ends_the_job_once_its_log_is_in_the_file(rig: Rig, disk: SlowLog) -> None:
    job_id = rig.submit_one(locked(op_id="OP_DECLARE", fails=["declare"]))
    rig.step()
    assert rig.status(job_id) == "waiting"
    write(rig, disk)
    assert rig.status(job_id) == "error"
