"""Why a job does not run, and what the workers do."""

from __future__ import annotations

from typing import Any

import pytest

from jqueue.errors import JobLost

from .rig import START, Rig, locked, op


def why(rig: Rig, job_id: int) -> dict[str, Any]:
    """The last reason; the ones before it hold for all jobs."""
    answer = rig.now(rig.queue.explain(job_id))
    reason: dict[str, Any] = answer["reasons"][-1]
    assert answer["id"] == job_id
    return reason


def test_running_code_is_named_with_the_time_that_it_runs() -> None:
    rig = Rig()
    job_id = rig.submit_one(op(), op())
    rig.advance(5)
    reason = why(rig, job_id)
    assert (reason["kind"], reason["since"], reason["op"]) == ("running", 5.0, 0)
    assert "opcode 1 of 2 (WORK)" in reason["text"]


def test_code_that_is_paused_says_so_and_after_that_what_it_waits_for() -> None:
    rig = Rig(size=1)
    job_id, other = rig.submit([op()], [op()])
    rig.now(rig.queue.pause(job_id))
    rig.step()
    assert why(rig, job_id)["kind"] == "paused"
    rig.now(rig.queue.resume(job_id))
    assert why(rig, job_id)["kind"] == "workers"
    rig.step(1)
    assert (why(rig, job_id)["kind"], rig.status(other)) == ("running", "success")
    rig.finish()


def test_a_lock_is_named_with_who_holds_it_and_the_place_in_its_line() -> None:
    rig = Rig(size=3)
    first, second, third = rig.submit([locked()], [locked()], [locked()])
    rig.advance(3)
    reason = why(rig, third)
    assert (reason["kind"], reason["lock"], reason["mode"], reason["place"]) == ("lock", "resource/a", "exclusive", 2)
    assert reason["holders"] == [{"id": first, "op": "WORK", "since": 3.0}]
    assert reason["since"] == 3.0
    rig.step()
    assert why(rig, third)["holders"][0]["id"] == second
    rig.finish()


@pytest.mark.parametrize(
    ("parameters", "kind", "text"),
    [
        ({"depends": [[1, []]]}, "dependency", "job 1 has not ended"),
        ({"not_before": START + 50}, "not_before", "not to start before 2023-11-14T22:14:10+00:00"),
        ({"fails_until": 1, "retries": {"attempts": 2, "delay": 9}}, "retry", "attempt 2 starts at"),
    ],
)
def test_each_thing_that_is_waited_for_is_named(parameters: dict[str, Any], kind: str, text: str) -> None:
    rig = Rig()
    rig.submit_one(op())
    job_id = rig.submit_one(op(**parameters))
    if kind == "retry":
        rig.step(1)
    reason = why(rig, job_id)
    assert (reason["kind"], text in reason["text"]) == (kind, True)


def test_a_job_behind_busy_workers_is_told_its_place() -> None:
    rig = Rig(size=1)
    jobs = rig.submit(*[[op()]] * 4)
    reason = why(rig, jobs[3])
    assert (reason["kind"], reason["place"]) == ("workers", 3)
    assert "all 1 workers are busy; it is number 3 in line" in reason["text"]


def test_what_holds_for_all_jobs_comes_first() -> None:
    rig = Rig(size=1)
    _, second = rig.submit([op()], [op()])
    rig.journal.set_full(True)
    reasons = rig.now(rig.queue.explain(second))["reasons"]
    assert [reason["kind"] for reason in reasons] == ["daemon", "workers"]
    assert "disk is full" in reasons[0]["text"]
    rig.journal.set_full(False)
    rig.queue.stopping = True
    assert "stopping" in rig.now(rig.queue.explain(second))["reasons"][0]["text"]


def test_a_job_that_has_ended_says_how_also_from_the_archive() -> None:
    rig = Rig()
    job_id = rig.submit_one(op())
    rig.finish()
    assert why(rig, job_id) == {"kind": "final", "text": "it has ended: success"}
    rig.now(rig.queue.archive(job_id))
    assert why(rig, job_id) == {"kind": "final", "text": "it is archived: success"}
    with pytest.raises(JobLost):
        why(rig, 99)


def test_the_workers_are_told_with_all_they_have_and_will_get() -> None:
    rig = Rig(size=2)
    rig.submit([locked()], [op()], [locked()], [op()])
    rig.submit_one(op())
    rig.now(rig.queue.pause(2))
    rig.step(1)
    found = rig.queue.query_workers()
    assert (found["size"], found["running"], found["waiting"]) == (2, 2, 1)
    assert [(row["id"], row["state"]) for row in found["jobs"]] == [
        (1, "running"),
        (2, "paused"),
        (4, "running"),
        (3, "waiting"),
        (5, "next"),
    ]
    assert found["jobs"][3]["holders"] == [{"id": 1, "op": "WORK", "since": 0.0}]


def test_locks_are_told_with_who_holds_and_who_waits() -> None:
    rig = Rig()
    rig.submit([locked()], [locked(mode="shared")])
    rows = {row["name"]: row for row in rig.queue.query_locks()}
    assert (rows["resource/a"]["owners"], rows["resource/a"]["pending"]) == ([1], [("shared", [2])])


# Explanations


def test_a_dependency_is_told_with_its_status() -> None:
    rig = Rig()
    first, second = rig.submit(op(not_before=START + 99), op(depends=[[-1, []]]))
    found = why(rig, second)
    assert (found["kind"], found["job"], found["status"]) == ("dependency", first, "waiting")
    assert found["text"] == f"job {first} has not ended yet: it is waiting"


def test_an_explanation_has_the_locks_that_a_job_holds_and_whom_it_waits_for() -> None:
    rig = Rig()
    holder, waiter = rig.submit(locked("a"), locked("a", "shared"))
    rig.advance(5)
    answer = rig.now(rig.queue.explain(holder))
    assert answer["held"] == [{"name": "resource/a", "mode": "exclusive"}]
    assert rig.now(rig.queue.explain(waiter))["held"] == []
    assert why(rig, waiter)["holders"] == [{"id": holder, "op": "WORK", "since": 5.0}]
    rig.finish()
    assert rig.now(rig.queue.explain(holder))["held"] == []


def test_what_a_worker_does_is_told_as_far_as_it_is_durable() -> None:
    rig = Rig()
    rig.queue.submit([[op("OP_UNDO")]], {}, uid=0, admin=True)
    rig.sync()
    rig.clock.advance(0)
    assert told(rig, 1) == ("starting", "is about to run")
    rig.settle()
    assert told(rig, 1) == ("running", "is running")
    rig.step()
    assert told(rig, 1) == ("running", "is done and is being committed")


def test_code_that_declares_its_locks_is_not_called_running() -> None:
    rig = Rig()
    job_id = rig.submit_one(op("OP_DECLARE"))
    assert told(rig, job_id) == ("starting", "finds out which locks it needs")
    rig.step()
    assert told(rig, job_id) == ("running", "is running")


def test_code_that_was_cancelled_is_told_to_be_stopping_and_then_to_be_undone() -> None:
    rig = Rig()
    job_id = rig.submit_one(op("OP_UNDO"))
    rig.now(rig.queue.cancel(job_id, False, False))
    assert told(rig, job_id) == ("running", "was asked to stop and has not stopped yet")
    rig.step()
    assert told(rig, job_id) == ("running", "has ended and is being undone")


def told(rig: Rig, job_id: int) -> tuple[str, str]:
    """The kind and the words, of what is published now."""
    (only,) = rig.queue.report.explain(rig.job(job_id))["reasons"]
    return only["kind"], only["text"].partition(") ")[2]
