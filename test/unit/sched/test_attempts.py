"""Callbacks, retries and timeouts, and locks that are declared late."""

from __future__ import annotations

from typing import Any

import pytest

from jqueue.sched.gates import LOCK, PAUSE, RETRY

from .rig import Rig, locked, op

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
    assert rig.idle()


def test_a_cancel_runs_abort_and_then_the_job_is_canceled() -> None:
    rig = Rig()
    job_id = rig.submit_one(op("OP_UNDO", locks={"resource": {"a": "exclusive"}}))
    rig.now(rig.queue.cancel(job_id, False, False))
    rig.step()
    assert (rig.status(job_id), rig.job(job_id).phase) == ("canceling", "aborting")
    assert rig.queue.locks.held(job_id)
    rig.step()
    assert (rig.status(job_id), rig.ran_by(job_id)) == ("canceled", ["abort attempt 1"])
    assert rig.idle()


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
    assert rig.idle()
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
    assert rig.idle()


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
    assert rig.idle()


@pytest.mark.parametrize(
    "declares", [{"resource": {"tape": 4}}, {"resource": "everything"}, {"nowhere": {"x": "shared"}}]
)
def test_locks_that_cannot_be_had_end_the_job(declares: dict[str, Any]) -> None:
    rig = Rig()
    job_id = rig.submit_one(op("OP_DECLARE", declares=declares))
    rig.finish()
    assert (rig.status(job_id), rig.ran_by(job_id)) == ("error", ["declare"])
    assert rig.idle()


def test_a_declaration_that_fails_ends_the_job() -> None:
    rig = Rig()
    job_id = rig.submit_one(locked(op_id="OP_DECLARE", fails=["declare"]), op())
    rig.finish()
    assert rig.statuses(job_id) == ["error", "error"]
    assert rig.idle()


def test_a_cancel_during_a_declaration_is_complete_only_when_its_code_has_stopped() -> None:
    rig = Rig()
    job_id = rig.submit_one(op("OP_DECLARE"), op())
    assert rig.now(rig.queue.cancel(job_id, False, False))[0]
    assert rig.status(job_id) == "canceling"
    rig.step()
    assert rig.statuses(job_id) == ["canceled", "canceled"]
    assert rig.ran_by(job_id) == []
    rig.finish()
    assert rig.idle()


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
    assert rig.idle()


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
