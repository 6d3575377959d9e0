"""Cancel, pause, and the end of the daemon: how running and waiting jobs take them."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.logger import LogLevel, capturedLogs

from jqueue.errors import ShuttingDown
from jqueue.sched.gates import PAUSE
from jqueue.workers.control import SHUTDOWN

from .rig import START, Rig, locked, op


def stop(rig: Rig, *, everything: bool = False) -> None:
    """What SIGTERM does."""
    rig.queue.stopping = True
    rig.queue.processor.stop()
    for execution in rig.queue.processor.executions.values():
        if everything or execution.opcode.restartable:
            execution.control.stop(SHUTDOWN)


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
    assert rig.idle()
    assert rig.clock.getDelayedCalls() == []


def test_running_code_is_asked_to_stop_and_canceling_is_shown_until_it_has() -> None:
    rig = Rig()
    job_id = rig.submit_one(locked(), op())
    assert rig.now(rig.queue.cancel(job_id, False, False)) == (True, f"Job {job_id} will be canceled")
    assert rig.status(job_id) == "canceling"
    assert rig.now(rig.queue.cancel(job_id, False, False)) == (True, f"Job {job_id} is being canceled already")
    rig.step()
    assert rig.statuses(job_id) == ["canceled", "canceled"]
    assert rig.idle()


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


def test_what_stopped_the_code_does_not_stop_its_undoing() -> None:
    rig = Rig()
    job_id = rig.submit_one(op("OP_UNDO", undo_looks=True))
    rig.now(rig.queue.cancel(job_id, False, False))
    rig.finish()
    assert (rig.status(job_id), rig.ran_by(job_id)) == ("canceled", ["abort attempt 1"])


def test_who_loses_patience_does_not_stop_the_undoing() -> None:
    rig = Rig()
    job_id = rig.submit_one(op("OP_UNDO", undo_looks=True))
    rig.now(rig.queue.cancel(job_id, False, False))
    rig.step()
    assert rig.job(job_id).phase == "aborting"
    assert rig.now(rig.queue.cancel(job_id, True, False)) == (True, f"Job {job_id} is being canceled already")
    rig.finish()
    assert (rig.status(job_id), rig.ran_by(job_id)) == ("canceled", ["abort attempt 1"])


@pytest.mark.parametrize(("fails", "ended"), [(["exec"], "abort attempt 1"), ([], "commit attempt 1")])
def test_what_paused_the_code_does_not_pause_its_undoing_nor_its_commit(fails: list[str], ended: str) -> None:
    """Nobody could let it go on: a job whose end is decided takes no `resume`."""
    rig = Rig()
    job_id = rig.submit_one(op("OP_UNDO", undo_looks=True, looks=False, fails=fails), op())
    rig.now(rig.queue.pause(job_id))
    rig.finish()
    assert rig.ran_by(job_id)[-1] == ended
    assert rig.running() == []


def test_a_completion_outlives_a_pause_that_the_code_has_not_noticed() -> None:
    rig = Rig(size=1)
    job_id = rig.submit_one(op("OP_CONVERGE"))
    rig.finish()
    other = rig.submit_one(op())
    assert rig.now(rig.queue.complete(job_id))[0]
    assert rig.now(rig.queue.pause(job_id))[0]
    rig.step(1)
    assert rig.status(other) == "success"
    assert not rig.queue.processor.executions[job_id].parked
    assert rig.now(rig.queue.resume(job_id))[0]
    rig.finish()
    assert (rig.status(job_id), rig.result(job_id)) == ("success", "complete")


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
    assert rig.idle()


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
    assert rig.idle()


def test_a_paused_job_that_is_canceled_ends_without_a_worker() -> None:
    rig = Rig(size=1)
    job_id, other = rig.submit([op()], [op()])
    rig.now(rig.queue.pause(job_id))
    rig.step()
    rig.now(rig.queue.cancel(job_id, False, False))
    rig.finish()
    assert (rig.status(job_id), rig.status(other)) == ("canceled", "success")
    assert rig.idle()


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
    assert rig.idle()
    other = rig.crash()
    other.finish()
    assert other.status(job_id) == "success"


def test_an_opcode_that_is_not_restartable_ends_in_error_when_its_time_is_over() -> None:
    rig = Rig()
    job_id = rig.submit_one(op(retries={"attempts": 9}))
    stop(rig, everything=True)
    rig.finish()
    assert (rig.status(job_id), rig.result(job_id)[1][0]) == ("error", "daemon stopped")


def test_the_end_of_the_daemon_waits_between_the_commits_of_a_group() -> None:
    rig = Rig()
    ids = rig.submit(op("OP_UNDO"), op("OP_UNDO"), group=True, auto_finalize=False)
    rig.finish()
    rig.now(rig.queue.finalize(ids[0]))
    while rig.job(ids[1]).phase != "committing" or not rig.running():
        rig.step()
    stop(rig)
    busy: list[bool] = []
    rig.queue.processor.when_idle().addCallback(lambda _: busy.append(rig.queue.processor.busy()))
    rig.step()
    assert (busy, rig.status(ids[1]), rig.running()) == ([True], "success", [ids[0]])
    rig.finish()
    assert (rig.status(ids[0]), rig.queue.processor.busy()) == ("success", False)


@pytest.mark.parametrize("op_id", ["OP_UNDO", "OP_UNDO_AGAIN"])
def test_finished_work_outlives_an_end_of_the_daemon_that_cuts_its_finalisation_short(op_id: str) -> None:
    rig = Rig()
    ids = rig.submit(op("OP_UNDO"), op(op_id, prepare_looks=True), group=True, auto_finalize=False)
    rig.finish()
    rig.now(rig.queue.finalize(ids[0]))
    stop(rig, everything=True)
    rig.finish()
    assert [(rig.status(n), rig.job(n).phase) for n in ids] == [("running", "preparing")] * 2
    assert rig.running() == []
    other = rig.crash()
    other.finish()
    assert [other.status(n) for n in ids] == ["success", "success"]
    assert "abort attempt 1" not in [*other.ran_by(ids[0]), *other.ran_by(ids[1])]


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


@pytest.mark.parametrize("options", [{"auto_dismiss": True}, {"group": True}])
def test_what_is_due_when_nothing_is_recorded_any_more_is_no_failure(options: dict[str, Any]) -> None:
    """The next start finds it."""
    rig = Rig()
    job_id = rig.now(rig.queue.submit([[op(fails=["exec"])], [op()]], options, uid=0, admin=True))[0]
    rig.workers.perform()
    with capturedLogs() as events:
        rig.journal._refusal = ShuttingDown()
        rig.settle()
    assert [event for event in events if event["log_level"] >= LogLevel.warn] == []
    assert (job_id in rig.queue.table, rig.running()) == (True, [2])


def test_a_journal_that_breaks_stops_the_processor() -> None:
    rig = Rig()
    job_id = rig.submit_one(op(), op())
    rig.workers.perform()
    rig.journal.break_down()
    rig.clock.advance(0)
    assert (rig.status(job_id), rig.running(), rig.workers.steps) == ("running", [], [])
    assert rig.queue.query_workers()["running"] == 0
