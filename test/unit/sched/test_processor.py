"""Which opcode runs when, and what its end means."""

from __future__ import annotations

from typing import Any

import pytest

from jqueue.errors import StateError
from jqueue.sched.gates import DEPENDENCY, LOCK, PAUSE, RETRY, TIME
from jqueue.workers.control import SHUTDOWN

from .rig import START, Disk, Rig, locked, op


def stop(rig: Rig, *, everything: bool = False) -> None:
    """What SIGTERM does."""
    rig.queue.stopping = True
    rig.queue.processor.stop()
    for execution in rig.queue.processor.executions.values():
        if everything or execution.opcode.restartable:
            execution.control.stop(SHUTDOWN)


def idle(rig: Rig) -> bool:
    """Whether nothing is held by anybody."""
    processor = rig.queue.processor
    workers = rig.queue.query_workers()
    return (
        not processor.executions
        and workers["running"] == 0
        and not any(row["owners"] for row in rig.queue.query_locks())
    )


# One job


def test_a_job_runs_its_opcodes_one_after_the_other_and_ends() -> None:
    rig = Rig()
    job_id = rig.submit_one(op(result=1), op(result={"a": [2]}))
    assert (rig.status(job_id), rig.statuses(job_id)) == ("running", ["running", "queued"])
    rig.step()
    assert rig.statuses(job_id) == ["success", "running"]
    rig.step()
    assert (rig.status(job_id), rig.result(job_id), rig.result(job_id, 1)) == ("success", 1, {"a": [2]})
    assert idle(rig)


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
    assert idle(rig)


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
    rig.now(rig.queue.verbs.forget(first))
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


# Cancel


def test_a_queued_job_is_canceled_at_once() -> None:
    rig = Rig(size=1)
    rig.submit_one(op())
    job_id = rig.submit_one(op(), op())
    assert rig.now(rig.queue.cancel(job_id, False, False)) == (True, f"Job {job_id} canceled")
    assert rig.statuses(job_id) == ["canceled", "canceled"]
    rig.finish()
    assert rig.ran_by(job_id) == []


@pytest.mark.parametrize(
    "how", [{"not_before": START + 9}, {"locks": {"resource": {"a": "shared"}}}, {"depends": [[1, []]]}]
)
def test_a_waiting_job_is_canceled_at_once_and_leaves_nothing(how: dict[str, Any]) -> None:
    rig = Rig()
    rig.submit_one(locked())
    job_id = rig.submit_one(op(**how))
    assert rig.status(job_id) == "waiting"
    assert rig.now(rig.queue.cancel(job_id, False, False))[0]
    assert (rig.status(job_id), rig.waits_for(job_id)) == ("canceled", None)
    rig.finish()
    assert idle(rig)
    assert rig.clock.getDelayedCalls() == []


def test_running_code_is_asked_to_stop_and_canceling_is_shown_until_it_has() -> None:
    rig = Rig()
    job_id = rig.submit_one(locked(), op())
    assert rig.now(rig.queue.cancel(job_id, False, False)) == (True, f"Job {job_id} will be canceled")
    assert rig.status(job_id) == "canceling"
    assert rig.now(rig.queue.cancel(job_id, False, False)) == (True, f"Job {job_id} is being canceled already")
    rig.step()
    assert rig.statuses(job_id) == ["canceled", "canceled"]
    assert idle(rig)


def test_code_that_cannot_be_stopped_goes_on() -> None:
    rig = Rig()
    job_id = rig.submit_one(op("OP_STUBBORN"))
    assert rig.now(rig.queue.cancel(job_id, False, False))[0] is False
    rig.finish()
    assert rig.status(job_id) == "success"


def test_a_cancel_beats_the_failure_that_follows_it() -> None:
    rig = Rig()
    job_id = rig.submit_one(op(retries={"attempts": 5}))
    rig.now(rig.queue.cancel(job_id, False, False))
    rig.finish()
    assert (rig.status(job_id), rig.job(job_id).ops[0].attempt) == ("canceled", 1)


def test_a_job_between_two_opcodes_is_canceled_at_once() -> None:
    rig = Rig(size=1)
    job_id = rig.submit_one(op(), op())
    rig.submit_one(op(priority=-10))
    rig.step()
    assert rig.statuses(job_id) == ["success", "queued"]
    assert rig.now(rig.queue.cancel(job_id, False, False))[0]
    assert rig.statuses(job_id) == ["success", "canceled"]
    rig.finish()


def test_a_cancel_that_meets_the_record_of_the_start_comes_after_it() -> None:
    rig = Rig()
    rig.queue.submit([[op()]], {}, uid=0, admin=True)
    rig.sync()
    rig.clock.advance(0)
    answer = rig.queue.cancel(1, False, False)
    assert rig.now(answer)[0]
    assert rig.status(1) == "canceling"
    rig.finish()
    assert rig.status(1) == "canceled"


def test_a_cancel_that_comes_first_keeps_the_code_from_running() -> None:
    rig = Rig(size=1, start=False)
    job_id = rig.submit_one(op())
    answer = rig.queue.cancel(job_id, False, False)
    rig.queue.processor.start()
    rig.clock.advance(0)
    assert rig.now(answer)[0]
    assert (rig.status(job_id), rig.workers.steps) == ("canceled", [])
    assert idle(rig)


# Callbacks


def test_prepare_and_commit_follow_exec() -> None:
    rig = Rig()
    job_id = rig.submit_one(op("OP_UNDO", result=5), op("OP_UNDO"))
    rig.step()
    assert (rig.status(job_id), rig.job(job_id).phase, rig.ran_by(job_id)) == (
        "running",
        "committing",
        ["exec", "prepare"],
    )
    rig.step()
    assert rig.statuses(job_id) == ["success", "running"]
    rig.finish()
    assert (rig.status(job_id), rig.result(job_id)) == ("success", 5)
    assert rig.ran_by(job_id) == ["exec", "prepare", "commit attempt 1"] * 2


@pytest.mark.parametrize("method", ["exec", "prepare"])
def test_a_failure_is_undone_and_earlier_successes_stand(method: str) -> None:
    rig = Rig()
    job_id = rig.submit_one(op("OP_UNDO"), op("OP_UNDO", fails=[method]))
    rig.finish()
    assert rig.statuses(job_id) == ["success", "error"]
    assert rig.ran_by(job_id)[-1] == "abort attempt 1"
    assert rig.ran_by(job_id).count("commit attempt 1") == 1


@pytest.mark.parametrize("method", ["commit", "abort"])
def test_a_callback_that_fails_makes_the_job_an_error(method: str) -> None:
    rig = Rig()
    job_id = rig.submit_one(op("OP_UNDO", fails=["commit"] if method == "commit" else ["exec", "abort"]))
    rig.finish()
    assert rig.status(job_id) == "error"
    assert f"could not {method}" in rig.result(job_id)[1][0]
    assert f"could not {method}" in rig.said(job_id)[-1]
    assert idle(rig)


def test_a_cancel_runs_abort_and_then_the_job_is_canceled() -> None:
    rig = Rig()
    job_id = rig.submit_one(op("OP_UNDO", locks={"resource": {"a": "exclusive"}}))
    rig.now(rig.queue.cancel(job_id, False, False))
    rig.step()
    assert (rig.status(job_id), rig.job(job_id).phase) == ("canceling", "aborting")
    assert rig.queue.locks.held(job_id)
    rig.step()
    assert (rig.status(job_id), rig.ran_by(job_id)) == ("canceled", ["abort attempt 1"])
    assert idle(rig)


def test_a_pause_does_not_hold_up_a_commit() -> None:
    rig = Rig()
    job_id = rig.submit_one(op("OP_UNDO"), op("OP_UNDO"))
    rig.step()
    rig.now(rig.queue.pause(job_id))
    rig.step()
    assert (rig.statuses(job_id), rig.waits_for(job_id)) == (["success", "queued"], PAUSE)


# Retries and timeouts


def test_a_failed_attempt_is_followed_by_another_after_its_delay() -> None:
    rig = Rig()
    job_id = rig.submit_one(locked(fails_until=2, retries={"attempts": 3, "delay": 10, "factor": 3}))
    rig.step()
    assert (rig.status(job_id), rig.waits_for(job_id)) == ("waiting", RETRY)
    assert idle(rig)
    rig.advance(9)
    assert rig.waits_for(job_id) == RETRY
    rig.advance(1)
    assert rig.status(job_id) == "running"
    rig.step()
    rig.advance(29)
    assert rig.waits_for(job_id) == RETRY
    rig.advance(1)
    rig.step()
    assert (rig.status(job_id), rig.job(job_id).ops[0].attempt) == ("success", 3)


def test_the_last_attempt_decides() -> None:
    rig = Rig()
    job_id = rig.submit_one(op(fails_until=2, retries={"attempts": 2}))
    rig.finish()
    assert (rig.status(job_id), rig.result(job_id)[1][0]) == ("error", "attempt 2 was told to fail")


def test_each_attempt_is_undone_before_the_next() -> None:
    rig = Rig()
    job_id = rig.submit_one(op("OP_UNDO", fails_until=1, retries={"attempts": 2}))
    rig.finish()
    assert rig.ran_by(job_id) == ["exec", "abort attempt 1", "exec", "prepare", "commit attempt 2"]
    assert rig.status(job_id) == "success"


def test_a_job_that_waits_for_its_next_attempt_is_canceled_at_once() -> None:
    rig = Rig()
    job_id = rig.submit_one(op(fails_until=9, retries={"attempts": 9, "delay": 100}))
    rig.step()
    assert rig.now(rig.queue.cancel(job_id, False, False))[0]
    assert rig.status(job_id) == "canceled"


def test_a_delay_beyond_all_numbers_does_not_run_the_opcode_twice() -> None:
    rig = Rig()
    job_id = rig.submit_one(op(fails_until=9, retries={"attempts": 9, "delay": 1e200, "factor": 1e200}))
    rig.finish()
    for _ in range(3):
        rig.advance(600)
        rig.finish()
    assert (rig.waits_for(job_id), rig.ran_by(job_id)) == (RETRY, ["exec"])


def test_a_timeout_stops_the_code_and_is_an_error() -> None:
    rig = Rig()
    job_id = rig.submit_one(op(timeout=5))
    rig.advance(5)
    rig.step()
    assert rig.status(job_id) == "error"
    assert "longer than its timeout of 5 s" in rig.result(job_id)[1][0]
    assert rig.clock.getDelayedCalls() == []


def test_a_timeout_counts_as_a_failed_attempt() -> None:
    rig = Rig()
    job_id = rig.submit_one(op(timeout=5, retries={"attempts": 2}))
    rig.advance(5)
    rig.step()
    assert rig.status(job_id) == "running"
    rig.finish()
    assert (rig.status(job_id), rig.job(job_id).ops[0].attempt) == ("success", 2)


def test_code_that_ends_in_time_leaves_no_timer() -> None:
    rig = Rig()
    rig.submit_one(op(timeout=5))
    rig.finish()
    assert rig.clock.getDelayedCalls() == []


# Mistakes of authors


def test_an_opcode_that_cannot_tell_its_speed_ends_its_job_only() -> None:
    rig = Rig()
    bad, good = rig.submit([locked(speed=-1)], [locked()])
    rig.finish()
    assert (rig.status(bad), rig.status(good)) == ("error", "success")
    assert "a mistake in an opcode" in rig.result(bad)[1][0]
    assert idle(rig)


def test_an_error_that_cannot_be_told_ends_the_job_and_runs_nothing_twice() -> None:
    rig = Rig()
    job_id = rig.submit_one(locked(fails=["unspeakable"], retries={"attempts": 3}))
    rig.finish()
    assert (rig.status(job_id), rig.ran_by(job_id)) == ("error", ["exec"])
    assert idle(rig)


# Declared locks


def test_locks_are_declared_while_the_job_waits_and_held_while_it_runs() -> None:
    rig = Rig()
    job_id = rig.submit_one(op("OP_DECLARE", declares={"node": {"n1": "exclusive"}}))
    assert rig.status(job_id) == "waiting"
    rig.step()
    assert rig.status(job_id) == "running"
    assert dict(rig.queue.locks.held(job_id)) == {("node", "n1"): "exclusive"}
    rig.finish()
    assert (rig.status(job_id), rig.ran_by(job_id)) == ("success", ["declare", "exec"])
    assert idle(rig)


def test_a_declared_lock_that_is_taken_is_waited_for_with_empty_hands_and_declared_anew() -> None:
    rig = Rig(size=3)
    holder = rig.submit_one(locked("b"))
    job_id = rig.submit_one(locked("a", op_id="OP_DECLARE", declares={"resource": {"b": "exclusive"}}))
    rig.step(1)
    assert (rig.status(job_id), rig.waits_for(job_id)) == ("waiting", LOCK)
    assert not rig.queue.locks.held(job_id)
    other = rig.submit_one(locked("a"))
    assert rig.status(other) == "running"
    rig.step()
    rig.step()
    assert (rig.status(holder), rig.status(other)) == ("success", "success")
    rig.finish()
    assert (rig.status(job_id), rig.ran_by(job_id)) == ("success", ["declare", "declare", "exec"])
    assert idle(rig)


@pytest.mark.parametrize(
    "declares", [{"resource": {"tape": 4}}, {"resource": "everything"}, {"nowhere": {"x": "shared"}}]
)
def test_locks_that_cannot_be_had_end_the_job(declares: dict[str, Any]) -> None:
    rig = Rig()
    job_id = rig.submit_one(op("OP_DECLARE", declares=declares))
    rig.finish()
    assert (rig.status(job_id), rig.ran_by(job_id)) == ("error", ["declare"])
    assert idle(rig)


def test_a_declaration_that_fails_ends_the_job() -> None:
    rig = Rig()
    job_id = rig.submit_one(locked(op_id="OP_DECLARE", fails=["declare"]), op())
    rig.finish()
    assert rig.statuses(job_id) == ["error", "error"]
    assert idle(rig)


def test_a_cancel_during_a_declaration_is_complete_only_when_its_code_has_stopped() -> None:
    rig = Rig()
    job_id = rig.submit_one(op("OP_DECLARE"), op())
    assert rig.now(rig.queue.cancel(job_id, False, False))[0]
    assert rig.status(job_id) == "canceling"
    rig.step()
    assert rig.statuses(job_id) == ["canceled", "canceled"]
    assert rig.ran_by(job_id) == []
    rig.finish()
    assert idle(rig)


def test_a_cancel_that_meets_the_refusal_of_declared_locks_ends_the_job() -> None:
    rig = Rig(size=3)
    rig.submit_one(locked("b"))
    job_id = rig.submit_one(locked("a", op_id="OP_DECLARE", declares={"resource": {"b": "exclusive"}}))
    answer = rig.queue.cancel(job_id, False, False)
    rig.workers.perform(1)
    assert rig.waits_for(job_id) == LOCK
    assert rig.now(answer)[0]
    assert (rig.status(job_id), rig.waits_for(job_id), rig.queue.locks.explain(job_id)) == ("canceled", None, None)
    rig.finish()
    assert idle(rig)


def test_a_declaration_that_calls_itself_canceled_ends_the_job() -> None:
    rig = Rig()
    job_id = rig.submit_one(op("OP_DECLARE", fails=["declare by cancel"]))
    rig.finish()
    assert (rig.status(job_id), rig.ran_by(job_id)) == ("error", ["declare"])


def test_a_job_paused_while_it_declares_waits_for_nothing_else() -> None:
    rig = Rig(size=3)
    rig.submit_one(locked("b"))
    job_id = rig.submit_one(locked("a", op_id="OP_DECLARE", looks=False, declares={"resource": {"b": "exclusive"}}))
    rig.now(rig.queue.pause(job_id))
    rig.step(1)
    assert rig.waits_for(job_id) == PAUSE
    assert rig.queue.locks.explain(job_id) is None
    rig.step()
    rig.now(rig.queue.resume(job_id))
    rig.finish()
    assert rig.status(job_id) == "success"


# Pause


def test_a_paused_job_does_not_start_until_it_is_resumed() -> None:
    rig = Rig(start=False)
    job_id = rig.submit_one(op())
    assert rig.now(rig.queue.pause(job_id))[0]
    rig.queue.processor.start()
    rig.settle()
    assert (rig.status(job_id), rig.waits_for(job_id)) == ("queued", PAUSE)
    assert rig.now(rig.queue.resume(job_id))[0]
    assert rig.status(job_id) == "running"


def test_running_code_gives_up_its_worker_at_a_pause_point_and_keeps_its_locks() -> None:
    rig = Rig(size=1)
    job_id, other = rig.submit([locked()], [op()])
    rig.now(rig.queue.pause(job_id))
    rig.step()
    assert (rig.status(job_id), rig.status(other)) == ("running", "running")
    assert (rig.queue.query_workers()["running"], bool(rig.queue.locks.held(job_id))) == (1, True)
    rig.now(rig.queue.resume(job_id))
    rig.step()
    assert rig.status(job_id) == "running"
    rig.step(1)
    assert (rig.status(job_id), rig.status(other)) == ("running", "success")
    rig.finish()
    assert rig.status(job_id) == "success"
    assert idle(rig)


def test_a_paused_job_that_is_canceled_ends_without_a_worker() -> None:
    rig = Rig(size=1)
    job_id, other = rig.submit([op()], [op()])
    rig.now(rig.queue.pause(job_id))
    rig.step()
    rig.now(rig.queue.cancel(job_id, False, False))
    rig.finish()
    assert (rig.status(job_id), rig.status(other)) == ("canceled", "success")
    assert idle(rig)


def test_a_paused_waiter_gives_way_to_those_behind_it() -> None:
    rig = Rig(size=3)
    first, second, third = rig.submit([locked()], [locked()], [locked()])
    rig.now(rig.queue.pause(second))
    assert rig.waits_for(second) == PAUSE
    rig.step()
    assert (rig.status(first), rig.status(third)) == ("success", "running")
    rig.now(rig.queue.resume(second))
    rig.finish()
    assert rig.status(second) == "success"


def test_a_waiter_that_is_paused_right_when_it_is_woken_gives_way_too() -> None:
    rig = Rig(size=3)
    _, second, third = rig.submit([locked()], [locked()], [locked()])
    rig.workers.perform()
    answer = rig.queue.pause(second)
    assert rig.now(answer)[0]
    assert (rig.waits_for(second), rig.status(third)) == (PAUSE, "running")


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


# The end of the daemon


def test_a_stop_starts_nothing_and_lets_run_what_runs() -> None:
    rig = Rig(size=1)
    first, second = rig.submit([op(), op()], [op()])
    stop(rig)
    done = rig.queue.processor.when_idle()
    assert not done.called
    rig.finish()
    assert done.called
    assert (rig.statuses(first), rig.status(second)) == (["success", "queued"], "queued")


def test_a_restartable_opcode_goes_back_to_queued_and_the_attempt_does_not_count() -> None:
    rig = Rig()
    job_id = rig.submit_one(op("OP_UNDO_AGAIN"))
    stop(rig)
    rig.finish()
    assert (rig.status(job_id), rig.job(job_id).ops[0].attempt) == ("queued", 0)
    assert rig.ran_by(job_id) == ["abort attempt 1"]
    assert idle(rig)
    other = rig.crash()
    other.finish()
    assert other.status(job_id) == "success"


def test_an_opcode_that_is_not_restartable_ends_in_error_when_its_time_is_over() -> None:
    rig = Rig()
    job_id = rig.submit_one(op(retries={"attempts": 9}))
    stop(rig, everything=True)
    rig.finish()
    assert (rig.status(job_id), rig.result(job_id)[1][0]) == ("error", "daemon stopped")


def test_what_runs_on_while_the_daemon_stops_still_gets_its_children() -> None:
    rig = Rig()
    job_id = rig.submit_one(op("OP_AGAIN", looks=False, children=[[op()]]))
    stop(rig)
    rig.finish()
    assert (rig.status(job_id), rig.status(job_id + 1)) == ("success", "queued")


def test_the_time_of_a_pause_does_not_count_towards_the_timeout() -> None:
    rig = Rig()
    job_id = rig.submit_one(op(timeout=10))
    execution = rig.queue.processor.executions[job_id]
    rig.clock.advance(6)
    execution.count_time(False)
    rig.clock.advance(100)
    execution.count_time(True)
    rig.clock.advance(3)
    assert execution.control.stop_reason is None
    rig.clock.advance(1)
    assert execution.control.stop_reason == "timeout"


def test_a_stop_during_a_declaration_leaves_the_job_as_it_was() -> None:
    rig = Rig()
    job_id = rig.submit_one(op("OP_DECLARE"))
    stop(rig, everything=True)
    rig.finish()
    assert rig.status(job_id) == "waiting"
    assert rig.queue.query_workers()["running"] == 0
    other = rig.crash()
    other.finish()
    assert (other.status(job_id), other.ran_by(job_id)) == ("success", ["declare", "exec"])


def test_a_stop_while_the_start_is_recorded_does_not_run_the_code() -> None:
    rig = Rig()
    rig.queue.submit([[op("OP_DECLARE")]], {}, uid=0, admin=True)
    rig.settle()
    rig.workers.perform()
    stop(rig, everything=True)
    rig.finish()
    assert (rig.status(1), rig.ran_by(1)) == ("error", ["declare"])


def test_a_journal_that_breaks_stops_the_processor() -> None:
    rig = Rig()
    job_id = rig.submit_one(op(), op())
    rig.workers.perform()
    rig.journal.break_down()
    rig.clock.advance(0)
    assert (rig.status(job_id), rig.running(), rig.workers.steps) == ("running", [], [])
    assert rig.queue.query_workers()["running"] == 0


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
