"""What becomes of each job when the daemon has died, at every point of its life."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from jqueue.jobs.status import FINALIZED
from jqueue.sched import recovery
from jqueue.sched.gates import PAUSE, RETRY

from .rig import START, Rig, locked, op


@pytest.mark.parametrize(
    ("op_id", "status", "after"),
    [
        ("OP_WORK", "error", []),
        ("OP_STUBBORN", "error", []),
        ("OP_AGAIN", "running", ["exec"]),
        ("OP_UNDO", "running", ["abort attempt 1"]),
        ("OP_UNDO_AGAIN", "running", ["abort attempt 1", "exec", "prepare", "commit attempt 1"]),
    ],
)
def test_an_opcode_that_was_running_ends_in_error_or_is_run_again(op_id: str, status: str, after: list[str]) -> None:
    rig = Rig()
    job_id = rig.submit_one(op(op_id), op())
    other = rig.crash()
    assert other.status(job_id) == status
    other.finish()
    ended = "success" if op_id in ("OP_AGAIN", "OP_UNDO_AGAIN") else "error"
    assert (other.status(job_id), other.ran_by(job_id)) == (ended, [*after, "exec"] if ended == "success" else after)
    if ended == "error":
        assert "daemon died" in other.result(job_id)[1][0]


def test_an_attempt_that_the_daemon_did_not_survive_does_not_count() -> None:
    rig = Rig()
    job_id = rig.submit_one(op("OP_AGAIN", fails_until=1, retries={"attempts": 2}))
    for _ in range(3):
        rig = rig.crash()
    rig.finish()
    assert (rig.status(job_id), rig.job(job_id).ops[0].attempt) == ("success", 2)


def test_a_decision_to_commit_is_rolled_forward_under_the_same_locks() -> None:
    rig = Rig()
    job_id = rig.submit_one(locked(op_id="OP_UNDO", result=1))
    rig.step()
    assert rig.job(job_id).phase == "committing"
    other = rig.crash()
    assert other.queue.locks.held(job_id) == rig.queue.locks.held(job_id)
    other.finish()
    assert (other.status(job_id), other.result(job_id)) == ("success", 1)
    assert other.ran_by(job_id) == ["exec", "prepare", "commit attempt 1"]


@pytest.mark.parametrize("fails", [[], ["exec"]])
def test_locks_that_were_declared_are_had_again_for_what_was_decided(fails: list[str]) -> None:
    """The world may have changed: what would be declared now need not be what was locked."""
    rig = Rig()
    declares = {"resource": {"b": "exclusive"}, "node": {"*": "shared"}}
    job_id = rig.submit_one(locked("a", op_id="OP_DECLARE_UNDO", declares=declares, fails=fails))
    rig.step()
    rig.step()
    assert rig.job(job_id).phase == ("aborting" if fails else "committing")
    urgent = rig.submit_one(locked("b", priority=-10))
    other = rig.crash()
    assert other.queue.locks.held(job_id) == rig.queue.locks.held(job_id)
    assert other.waits_for(urgent) == "lock"
    other.finish()
    assert [other.status(n) for n in (job_id, urgent)] == ["error" if fails else "success", "success"]
    assert other.job(job_id).ops[0].held is None


def test_code_that_the_daemon_did_not_survive_is_undone_under_the_locks_that_it_had_declared() -> None:
    rig = Rig()
    job_id = rig.submit_one(op("OP_DECLARE_UNDO", declares={"resource": {"b": "exclusive"}}))
    rig.step()
    assert rig.status(job_id) == "running"
    other = rig.crash()
    assert other.queue.locks.held(job_id) == rig.queue.locks.held(job_id)
    other.finish()
    assert other.ran_by(job_id)[-1] == "abort attempt 1"
    assert other.idle()


def test_a_decision_to_abort_is_rolled_forward_and_the_error_is_the_first_one() -> None:
    rig = Rig()
    job_id = rig.submit_one(op("OP_UNDO", fails=["exec"]))
    rig.step()
    other = rig.crash()
    other.finish()
    assert (other.status(job_id), other.result(job_id)[1][0]) == ("error", "exec was told to fail")
    assert other.ran_by(job_id) == ["exec", "abort attempt 1"]


def test_a_commit_that_ran_before_its_end_was_durable_runs_again() -> None:
    rig = Rig()
    job_id = rig.submit_one(op("OP_UNDO"))
    rig.step()
    rig.workers.perform()
    other = rig.crash()
    other.finish()
    assert other.ran_by(job_id) == ["exec", "prepare", "commit attempt 1", "commit attempt 1"]


@pytest.mark.parametrize(("op_id", "after"), [("OP_WORK", []), ("OP_UNDO", ["abort attempt 1"])])
def test_a_cancel_that_was_noted_is_kept(op_id: str, after: list[str]) -> None:
    rig = Rig()
    job_id = rig.submit_one(op(op_id), op())
    rig.now(rig.queue.cancel(job_id, False, False))
    other = rig.crash()
    other.finish()
    assert (other.statuses(job_id), other.ran_by(job_id)) == (["canceled", "canceled"], after)


def test_a_cancel_during_a_declaration_is_kept_and_nothing_is_undone() -> None:
    rig = Rig()
    job_id = rig.submit_one(op("OP_DECLARE"))
    rig.now(rig.queue.cancel(job_id, False, False))
    other = rig.crash()
    assert (other.status(job_id), other.ran_by(job_id)) == ("canceled", [])


def test_a_waiting_job_waits_again_and_a_pause_stays() -> None:
    rig = Rig(size=3)
    first = rig.submit_one(op("OP_AGAIN", locks={"resource": {"a": "exclusive"}}))
    second, third = rig.submit([locked()], [op(depends=[[first, []]])])
    paused = rig.submit_one(op("OP_AGAIN"))
    rig.now(rig.queue.pause(paused))
    other = rig.crash()
    assert [other.status(n) for n in (first, second, third)] == ["running", "waiting", "waiting"]
    assert (other.status(paused), other.waits_for(paused)) == ("queued", PAUSE)
    other.finish()
    assert [other.status(n) for n in (first, second, third)] == ["success"] * 3


def test_the_wait_for_the_next_attempt_goes_on() -> None:
    rig = Rig()
    job_id = rig.submit_one(op(fails_until=1, retries={"attempts": 2, "delay": 100}))
    rig.step()
    other = rig.crash()
    assert (other.status(job_id), other.waits_for(job_id)) == ("waiting", RETRY)
    other.advance(100)
    other.finish()
    assert (other.status(job_id), other.job(job_id).ops[0].attempt) == ("success", 2)


def test_a_class_that_is_gone_ends_the_job_whatever_it_was_doing() -> None:
    rig = Rig(size=3)
    jobs = rig.submit([op("OP_UNDO")], [op("OP_UNDO")], [op("OP_UNDO")])
    rig.step()
    other = rig.crash(start=False)
    del other.queue.registry._classes["OP_UNDO"]
    other.queue.processor.start()
    other.finish()
    assert [other.status(job_id) for job_id in jobs] == ["error"] * 3


def test_serials_that_may_have_been_shown_are_not_used_again() -> None:
    rig = Rig()
    job_id = rig.submit_one(op(), op("OP_AGAIN"))
    rig.step()
    rig.workers.perform()
    shown = [entry[1] for entry in rig.disk.logs.pop(job_id)]
    other = rig.crash()
    other.finish()
    again = [entry[1] for entry in other.disk.logs[job_id]]
    assert (shown, min(again) > max(shown), other.job(job_id).log_serial) == ([1, 2], True, max(again))


def test_jobs_that_dismiss_themselves_are_archived_if_that_was_not_durable_yet() -> None:
    rig = Rig()
    (job_id,) = rig.submit([op()], auto_dismiss=True)
    rig.workers.perform()
    rig.journal.sync()
    assert rig.status(job_id) == "success"
    other = rig.crash()
    assert (other.status(job_id), job_id in other.disk.archived) == (None, True)


def test_what_was_archived_or_forgotten_stays_so_and_its_files_follow() -> None:
    rig = Rig()
    rig.submit([op()], [op()], [op()])
    rig.finish()
    rig.now(rig.queue.archive(1))
    rig.now(rig.queue.archiving.forget(2))
    rig.disk.files |= {1: rig.disk.archived.pop(1)}
    other = rig.crash()
    assert (list(other.queue.table), 1 in other.disk.archived, 2 in other.disk.gone) == ([3], True, True)


def test_files_that_may_be_stale_or_are_missing_are_written_again() -> None:
    rig = Rig()
    rig.submit([op()], [op()])
    rig.finish()
    rig.disk.files.clear()
    other = rig.crash()
    assert sorted(other.disk.files) == [1, 2]
    del other.disk.files[2]
    other.now(Deferred.fromCoroutine(recovery.rewrite_missing(other.queue, other.disk, other.clock)))
    assert sorted(other.disk.files) == [1, 2]


MOMENTS = (
    op("OP_UNDO", fails_until=1, retries={"attempts": 2}),
    op("OP_UNDO", fails=["prepare"]),
    op("OP_UNDO_AGAIN", saves=[1]),
    op("OP_DECLARE", declares={"resource": {"b": "exclusive"}}),
    op("OP_AGAIN", children=[[op()], [op()]]),
    op(not_before=START),
)


@pytest.mark.parametrize("first", MOMENTS)
@pytest.mark.parametrize("cancel_at", [None, 1, 3])
def test_after_a_crash_behind_any_record_all_jobs_end_and_what_ended_stays(
    first: dict[str, Any], cancel_at: int | None
) -> None:
    rig = Rig()
    job_id = rig.submit_one(first, op("OP_UNDO", result=2))
    rig.submit_one(locked("b"))
    for step in range(20):
        if step == cancel_at:
            rig.now(rig.queue.cancel(job_id, False, False))
        if not rig.workers.steps:
            break
        rig.step()
    records = list(rig.journal.records)
    for count in range(1, len(records) + 1):
        before = Rig(start=False)
        before.journal.records, before.journal.next_sequence = records[:count], records[count - 1][0] + 1
        other = before.crash()
        ended = {n: other.status(n) for n in other.queue.table if other.status(n) in FINALIZED}
        other.finish()
        other.advance(100)
        other.finish()
        assert not other.queue.table.unfinished
        assert len(other.queue.locks) == 0
        assert ended.items() <= {n: other.status(n) for n in other.queue.table}.items()
        said = other.ran_by(job_id)
        assert said.count("exec") <= 4
        again = other.crash()
        assert {n: again.status(n) for n in again.queue.table} == {n: other.status(n) for n in other.queue.table}
