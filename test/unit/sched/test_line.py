"""The line of jobs that wait for a worker: who is next, and what those leave behind who are not any more."""

from __future__ import annotations

from .rig import Rig, op


def next_ones(rig: Rig) -> list[int]:
    return [row["id"] for row in rig.queue.query_workers()["jobs"] if row["state"] == "next"]


def place(rig: Rig, job_id: int) -> object:
    (reason,) = rig.now(rig.queue.explain(job_id))["reasons"]
    return reason["place"]


def test_cancelled_jobs_are_not_next_and_not_counted() -> None:
    rig = Rig(size=1)
    running, *rest = rig.submit(op(), op(), op(), op())
    rig.now(rig.queue.cancel(rest[0], False, False))
    assert next_ones(rig) == [rest[1]]
    workers = rig.queue.query_workers()
    assert (workers["running"], workers["waiting"], workers["queued"]) == (1, 0, 2)
    assert place(rig, rest[2]) == 2


def test_a_job_with_another_priority_has_one_place_in_line() -> None:
    rig = Rig(size=2)
    rig.submit(op(), op())
    first, second, third = rig.submit(op(), op(), op())
    rig.now(rig.queue.change_priority(third, -10, admin=True))
    assert next_ones(rig) == [third, first]
    rig.now(rig.queue.change_priority(third, 10, admin=True))
    assert next_ones(rig) == [first, second]
    assert [place(rig, job_id) for job_id in (first, second, third)] == [1, 2, 3]
    assert rig.queue.query_workers()["queued"] == 3
    rig.now(rig.queue.change_priority(third, -10, admin=True))
    assert next_ones(rig) == [third, first]
    assert [place(rig, job_id) for job_id in (first, second, third)] == [2, 3, 1]


def test_a_paused_job_is_not_next_however_often_it_was_paused() -> None:
    rig = Rig(size=1)
    rig.submit(op())
    paused, other = rig.submit(op(), op())
    for _ in range(5):
        rig.now(rig.queue.pause(paused))
        rig.now(rig.queue.resume(paused))
    rig.now(rig.queue.pause(paused))
    rig.finish()
    assert (rig.status(paused), rig.status(other)) == ("queued", "success")
    workers = rig.queue.query_workers()
    assert [row["state"] for row in workers["jobs"]] == ["waiting"]
    assert (workers["waiting"], workers["queued"]) == (1, 0)


def test_what_leaves_the_line_leaves_no_memory_behind() -> None:
    rig = Rig(size=1)
    rig.submit(op())
    jobs = rig.submit(*[op()] * 300)
    for job_id in jobs[1:]:
        rig.now(rig.queue.cancel(job_id, False, False))
    assert len(rig.queue.ready) < 50
    for number in range(300):
        rig.now(rig.queue.change_priority(jobs[0], number % 2, admin=True))
        rig.now(rig.queue.pause(jobs[0]))
        rig.now(rig.queue.resume(jobs[0]))
    assert len(rig.queue.ready) < 50
    rig.finish()
    assert rig.status(jobs[0]) == "success"


def test_code_that_is_resumed_again_and_again_stands_in_line_for_its_worker_once() -> None:
    rig = Rig(size=1)
    job_id = rig.submit_one(op())
    rig.now(rig.queue.pause(job_id))
    rig.step()
    rig.submit(op())
    for _ in range(20):
        rig.now(rig.queue.resume(job_id))
        rig.now(rig.queue.pause(job_id))
    assert len(rig.queue.ready) == 1
    rig.now(rig.queue.resume(job_id))
    rig.finish()
    assert rig.status(job_id) == "success"
