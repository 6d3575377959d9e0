"""Which opcode runs when, and what it waits for."""

from __future__ import annotations

from typing import Any

import pytest

from jqueue.errors import StateError
from jqueue.sched.gates import DEPENDENCY, LOCK, TIME

from .rig import START, Disk, Rig, locked, op

# One job


def test_a_job_runs_its_opcodes_one_after_the_other_and_ends() -> None:
    rig = Rig()
    job_id = rig.submit_one(op(result=1), op(result={"a": [2]}))
    assert (rig.status(job_id), rig.statuses(job_id)) == ("running", ["running", "queued"])
    rig.step()
    assert rig.statuses(job_id) == ["success", "running"]
    rig.step()
    assert (rig.status(job_id), rig.result(job_id), rig.result(job_id, 1)) == ("success", 1, {"a": [2]})
    assert rig.idle()


def test_code_starts_only_after_the_record_that_it_runs_is_synced() -> None:
    rig = Rig()
    rig.queue.submit([[op()]], {}, uid=0, admin=True)
    rig.sync()
    rig.clock.advance(0)
    assert rig.journal.unsynced_records == 1
    assert (rig.status(1), rig.workers.steps) == ("queued", [])
    rig.journal.sync()
    assert (rig.status(1), len(rig.workers.steps)) == ("running", 1)


def test_the_end_is_shown_only_after_it_is_synced_and_locks_are_kept_until_then() -> None:
    rig = Rig()
    one, other = rig.submit([locked()], [locked()])
    rig.workers.perform()
    assert (rig.status(one), rig.waits_for(other)) == ("running", LOCK)
    rig.settle()
    assert (rig.status(one), rig.status(other)) == ("success", "running")


def test_a_failed_opcode_ends_the_job_and_the_rest_is_not_run() -> None:
    rig = Rig()
    job_id = rig.submit_one(op(), op(fails=["exec"]), op())
    rig.finish()
    assert rig.statuses(job_id) == ["success", "error", "error"]
    assert rig.result(job_id, 1) == ["OpExecError", ["exec was told to fail", "environment_error"]]
    assert "was not run" in rig.result(job_id, 2)[1][0]
    assert rig.ran_by(job_id) == ["exec", "exec"]


def test_a_result_that_cannot_be_stored_is_an_error_of_the_opcode() -> None:
    rig = Rig()
    job_id = rig.submit_one(op(result="x" * 2_000_000))
    rig.finish()
    assert rig.status(job_id) == "error"
    assert "larger than" in rig.result(job_id)[1][0]


def test_what_cannot_be_saved_is_an_error_of_the_opcode_and_is_not_saved() -> None:
    rig = Rig()
    job_id = rig.submit_one(op(saves="x" * 65_536))
    rig.finish()
    assert rig.status(job_id) == "error"
    assert "What the opcode saves is larger than 65536 bytes" in rig.result(job_id)[1][0]
    assert rig.job(job_id).ops[0].saved is None


def test_an_opcode_whose_class_is_gone_ends_the_job() -> None:
    rig = Rig(start=False)
    job_id = rig.submit_one(op())
    del rig.queue.registry._classes["OP_WORK"]
    rig.queue.processor.start()
    rig.settle()
    assert rig.status(job_id) == "error"
    assert "unknown opcode" in rig.result(job_id)[1][0]


def test_no_more_opcodes_run_than_there_are_workers_and_the_first_in_rank_goes_first() -> None:
    rig = Rig(size=2, start=False)
    rig.submit([op()], [op()], [op(priority=-10)], [op(priority=10)])
    rig.queue.processor.start()
    started: list[int] = []
    rig.settle()
    while rig.running():
        assert len(rig.running()) <= 2
        started += [job_id for job_id in rig.running() if job_id not in started]
        rig.step()
    assert started == [1, 3, 2, 4]


def test_priorities_count_between_the_opcodes_of_a_job() -> None:
    rig = Rig(size=1)
    slow = rig.submit_one(op(), op())
    urgent = rig.submit_one(op(priority=-10))
    rig.step()
    assert (rig.status(slow), rig.status(urgent)) == ("queued", "running")
    rig.finish()
    assert (rig.status(slow), rig.status(urgent)) == ("success", "success")


# Waiting


def test_a_job_waits_for_its_locks_and_holds_nothing_meanwhile() -> None:
    rig = Rig(size=3)
    first, second = rig.submit([locked("a")], [op(locks={"resource": {"a": "exclusive", "b": "exclusive"}})])
    third = rig.submit_one(locked("b"))
    assert [rig.status(job_id) for job_id in (first, second, third)] == ["running", "waiting", "running"]
    assert rig.queue.query_workers()["running"] == 2
    rig.step()
    assert rig.status(second) == "waiting"
    rig.step()
    assert rig.status(second) == "running"
    rig.finish()
    assert rig.idle()


def test_a_dependency_holds_a_job_back_until_the_other_has_ended() -> None:
    rig = Rig()
    first, second = rig.submit([op()], [op(depends=[[-1, ["success"]]])])
    assert (rig.status(second), rig.waits_for(second)) == ("waiting", DEPENDENCY)
    rig.step()
    assert (rig.status(first), rig.status(second)) == ("success", "running")


@pytest.mark.parametrize(
    ("first", "accepted", "end"),
    [
        ({"fails": ["exec"]}, ["success"], "error"),
        ({"fails": ["exec"]}, [], "success"),
        ({}, ["error"], "error"),
    ],
)
def test_a_dependency_that_cannot_be_met_ends_the_job(first: dict[str, Any], accepted: list[str], end: str) -> None:
    rig = Rig()
    _, second = rig.submit([op(**first)], [op(depends=[[-1, accepted]])])
    rig.finish()
    assert rig.status(second) == end


def test_the_cancel_of_a_dependency_cancels_the_job_too() -> None:
    rig = Rig(size=1)
    rig.submit_one(op())
    first, second = rig.submit([op()], [op(depends=[[-1, ["success"]]])])
    rig.now(rig.queue.cancel(first, False, False))
    rig.finish()
    assert (rig.status(first), rig.status(second)) == ("canceled", "canceled")


def test_a_dependency_in_the_archive_is_looked_up() -> None:
    rig = Rig()
    first = rig.submit_one(op())
    rig.finish()
    assert rig.now(rig.queue.archive(first))
    second = rig.submit_one(op(depends=[[first, ["success"]]]))
    third = rig.submit_one(op(depends=[[first, ["error"]]]))
    rig.finish()
    assert (rig.status(second), rig.status(third)) == ("success", "error")


def test_a_dependency_that_was_forgotten_ends_the_job() -> None:
    rig = Rig()
    first = rig.submit_one(op())
    rig.finish()
    rig.now(rig.queue.archiving.forget(first))
    second = rig.submit_one(op(depends=[[first, []]]))
    rig.finish()
    assert rig.status(second) == "error"
    assert "neither in the queue nor in the archive" in rig.result(second)[1][0]


@pytest.mark.parametrize("slow", (False, True))
def test_a_dependency_that_cannot_be_looked_up_is_waited_for_and_looked_up_again(slow: bool) -> None:
    rig = Rig()
    first = rig.submit_one(op())
    rig.finish()
    rig.now(rig.queue.archive(first))
    rig.disk.slow = slow
    rig.disk.unreadable[first] = StateError("the file of job 1 cannot be read (Input/output error); check the disk")
    second = rig.submit_one(op(depends=[[first, []]]))
    for _ in range(3):
        rig.disk.answer()
        rig.settle()
        assert (rig.status(second), rig.waits_for(second)) == ("queued", "lookup")
        assert "Input/output error" in rig.queue.processor.parked[second].text
        rig.advance(4.9)
        assert rig.disk.asked == []
        rig.advance(0.2)
        assert bool(rig.disk.asked) == slow
    del rig.disk.unreadable[first]
    rig.disk.answer()
    rig.advance(5)
    rig.disk.answer()
    rig.finish()
    assert rig.status(second) == "success"


def test_a_job_that_ends_while_its_dependency_cannot_be_looked_up_leaves_nothing_behind() -> None:
    rig = Rig()
    rig.disk.unreadable[1] = StateError("the file of job 1 cannot be read")
    first = rig.submit_one(op())
    rig.finish()
    rig.now(rig.queue.archive(first))
    second = rig.submit_one(op(depends=[[first, []]]))
    assert rig.now(rig.queue.cancel(second, False, False))[0]
    rig.settle()
    assert rig.clock.getDelayedCalls() == []
    assert rig.status(second) == "canceled"


def test_a_file_of_an_unfinished_job_that_nobody_runs_is_no_reason_to_wait_for_ever() -> None:
    other = Rig(start=False)
    other.submit([op()], [op()])
    disk = Disk()
    disk.files[1] = other.disk.files[1]
    rig = Rig(disk=disk)
    rig.queue.submission.last_id = 1
    job_id = rig.submit_one(op(depends=[[1, []]]))
    rig.finish()
    assert rig.status(job_id) == "error"


def test_a_job_waits_for_its_time() -> None:
    rig = Rig()
    job_id = rig.submit_one(op(not_before=START + 1000))
    assert (rig.status(job_id), rig.waits_for(job_id)) == ("waiting", TIME)
    rig.advance(999)
    assert rig.status(job_id) == "waiting"
    rig.advance(1)
    assert rig.status(job_id) == "running"


@pytest.mark.parametrize("when", [1e18, 1e300])
def test_a_time_beyond_all_calendars_is_waited_for_and_stops_nobody_else(when: float) -> None:
    rig = Rig()
    far, near = rig.submit([op(not_before=when)], [op()])
    assert (rig.waits_for(far), rig.status(near)) == (TIME, "running")


def test_nothing_is_started_while_the_disk_is_full_and_what_runs_is_finished() -> None:
    rig = Rig(size=1)
    first, second = rig.submit([op(), op()], [op()])
    rig.journal.set_full(True)
    rig.finish()
    assert (rig.statuses(first), rig.status(second)) == (["success", "queued"], "queued")
    rig.journal.set_full(False)
    rig.queue.processor.look()
    rig.finish()
    assert (rig.status(first), rig.status(second)) == ("success", "success")


# Priority


def test_a_new_priority_changes_the_place_in_every_line() -> None:
    rig = Rig(size=1)
    rig.submit_one(op())
    second, third = rig.submit([op()], [op()])
    assert rig.now(rig.queue.change_priority(third, -10, admin=False))[0]
    rig.step()
    assert (rig.status(second), rig.status(third)) == ("queued", "running")
    rig.finish()


def test_a_new_priority_changes_the_place_in_the_line_for_a_lock() -> None:
    rig = Rig(size=3)
    _, second, third = rig.submit([locked()], [locked()], [locked()])
    rig.now(rig.queue.change_priority(third, -10, admin=False))
    rig.step()
    assert (rig.status(second), rig.status(third)) == ("waiting", "running")
    rig.finish()
    assert rig.status(second) == "success"


# Mistakes of authors


def test_an_opcode_that_cannot_tell_its_speed_ends_its_job_only() -> None:
    rig = Rig()
    bad, good = rig.submit([locked(speed=-1)], [locked()])
    rig.finish()
    assert (rig.status(bad), rig.status(good)) == ("error", "success")
    assert "a mistake in an opcode" in rig.result(bad)[1][0]
    assert rig.idle()


def test_an_error_that_cannot_be_told_is_an_error_like_any_other() -> None:
    rig = Rig()
    job_id = rig.submit_one(locked(op_id="OP_UNDO", fails=["unspeakable"], retries={"attempts": 2}))
    rig.finish()
    assert rig.ran_by(job_id) == ["exec", "abort attempt 1", "exec", "abort attempt 2"]
    assert (rig.status(job_id), rig.result(job_id)[1][0]) == ("error", "Unspeakable")
    assert rig.idle()


# Logs


def test_serials_go_on_over_opcodes_and_attempts() -> None:
    rig = Rig()
    job_id = rig.submit_one(op("OP_UNDO", fails_until=1, retries={"attempts": 2}), op())
    rig.finish()
    assert [entry[1] for entry in rig.disk.logs[job_id]] == [1, 2, 3, 4, 5, 6]
    assert rig.job(job_id).log_serial == 6


def test_serials_are_not_used_again_when_a_declaration_is_canceled() -> None:
    rig = Rig()
    job_id = rig.submit_one(op(), op("OP_DECLARE", looks=False))
    rig.step()
    rig.now(rig.queue.cancel(job_id, False, False))
    rig.finish()
    assert [entry[1] for entry in rig.disk.logs[job_id]] == [1, 2]
    assert rig.status(job_id) == "canceled"


# What is saved


def test_what_an_opcode_saves_is_durable_and_belongs_to_it() -> None:
    rig = Rig()
    job_id = rig.submit_one(op("OP_UNDO", saves=[1, 2]), op())
    rig.step()
    assert [current.saved for current in rig.job(job_id).ops] == [{"state": [1, 2]}, None]
    other = rig.crash()
    assert other.job(job_id).ops[0].saved == {"state": [1, 2]}
