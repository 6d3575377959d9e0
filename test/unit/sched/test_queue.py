"""The facade: what is told to whom, and how the parts work together."""

from __future__ import annotations

from typing import Any

from jqueue.jobs.job import _QueuedJob

from .rig import Rig, op


def listener(rig: Rig, **wanted: Any) -> list[tuple[str, Any]]:
    """@return: a list that fills with the events"""
    heard: list[tuple[str, Any]] = []
    options = {"jobs": None, "changes": True, "log": True, **wanted}
    rig.queue.subscribe(lambda name, arguments: heard.append((name, arguments)), **options)
    return heard


def changes(heard: list[tuple[str, Any]]) -> list[tuple[int, str]]:
    return [(arguments[0]["id"], arguments[0]["status"]) for name, arguments in heard if name == "JobChanged"]


def test_every_status_is_told_once_in_order_and_only_when_it_is_durable() -> None:
    rig = Rig()
    heard = listener(rig, log=False)
    rig.queue.submit([[op(), op()]], {}, uid=1, admin=False)
    while rig.turns.waiting:
        rig.turns.take()
    assert heard == []
    rig.settle()
    rig.workers.perform()
    assert changes(heard) == [(1, "queued"), (1, "running")]
    rig.finish()
    assert changes(heard) == [(1, "queued"), (1, "running"), (1, "queued"), (1, "running"), (1, "success")]


def test_log_lines_are_told_before_the_end_of_the_code_that_wrote_them() -> None:
    rig = Rig()
    heard = listener(rig)
    job_id = rig.submit_one(op("OP_UNDO"))
    rig.finish()
    told = [name for name, _ in heard]
    assert told.count("JobLog") == 3
    assert told[-1] == "JobChanged"
    entries = [entry for name, arguments in heard if name == "JobLog" for entry in arguments[1]]
    assert [(entry[0], entry[1], entry[4]) for entry in entries] == [
        (0, 1, "exec"),
        (0, 2, "prepare"),
        (0, 3, "commit attempt 1"),
    ]
    assert rig.disk.logs[job_id] == entries


def test_a_listener_hears_what_it_asked_for_until_it_ends() -> None:
    rig = Rig(start=False)
    heard: list[str] = []
    end = rig.queue.subscribe(lambda name, _: heard.append(name), jobs={2}, changes=True, log=False)
    rig.submit([op()], [op()], [op()])
    assert heard == ["JobChanged"]
    end()
    end()
    rig.now(rig.queue.cancel(2, False, False))
    assert heard == ["JobChanged"]


def test_a_listener_that_fails_does_not_hold_up_a_job() -> None:
    rig = Rig()

    def broken(name: str, arguments: list[Any]) -> None:
        raise ZeroDivisionError

    rig.queue.subscribe(broken, jobs=None, changes=True, log=True)
    job_id = rig.submit_one(op())
    rig.finish()
    assert rig.status(job_id) == "success"


def test_a_dropped_file_is_remembered_from_its_submission_to_its_durable_removal() -> None:
    rig = Rig(start=False)
    assert rig.now(rig.queue.submit_drop([[op()]], {}, 5, "identity")) == [1]
    assert (rig.queue.identities, rig.job(1).owner) == ({"identity"}, 5)
    assert rig.crash(start=False).queue.identities == {"identity"}
    rig.queue.drops_removed(["identity"])
    rig.sync()
    assert rig.crash(start=False).queue.identities == set()


def test_a_file_that_was_removed_is_written_again() -> None:
    rig = Rig(start=False)
    job_id = rig.submit_one(op())
    rig.disk.files.clear()
    rig.queue.rewrite(job_id)
    rig.queue.rewrite(99)
    assert list(rig.disk.files) == [job_id]


def test_the_files_have_the_last_state_of_each_job() -> None:
    rig = Rig()
    job_id = rig.submit_one(op(result=7))
    rig.finish()
    loaded = rig.now(rig.disk.load([job_id]))[job_id]
    assert isinstance(loaded, _QueuedJob) and loaded.ops[0].result == 7


def test_the_status_counts_jobs_and_records() -> None:
    rig = Rig(size=1)
    rig.submit([op()], [op()])
    rig.now(rig.queue.set_drain("why not"))
    rig.advance(4)
    status = rig.queue.query_status()
    assert (status["jobs"], status["last_id"], status["drained"]) == ({"running": 1, "queued": 1}, 2, "why not")
    assert (status["uptime"], status["stopping"]) == (4.0, False)
    assert status["journal"]["records"] == rig.journal.appended


def test_memory_holds_nothing_of_jobs_that_have_ended_and_left() -> None:
    rig = Rig()
    rig.submit([op("OP_UNDO")], [op(locks={"resource": {"a": "shared"}}, depends=[[-1, []]])], auto_dismiss=True)
    rig.finish()
    queue = rig.queue
    assert (len(queue.locks), len(queue.ready), len(queue.waiters), queue.edits._turns) == (0, 0, 0, {})
    assert (queue.logs._serials, queue.logs._tails, queue.gates._archived, queue.gates._timers) == ({}, {}, {}, {})
    assert (queue.processor.parked, queue.processor.claims._declared, list(queue.table)) == ({}, {}, [])
