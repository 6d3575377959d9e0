"""The jobs that are in memory, and how."""

from __future__ import annotations

from jqueue.jobs import packing
from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.status import CANCELED, RUNNING, SUCCESS
from jqueue.sched.table import FinishedRow, JobTable

from .rig import op


class Host:
    def time(self) -> float:
        return 5.0


def job(job_id: int, status: str | None = None) -> _QueuedJob:
    made = _QueuedJob(Host(), job_id, [op()])
    made.name = f"job {job_id}"
    if status is not None:
        made.MarkUnfinishedOps(status, None)
        if made.final:
            made.Finalize()
    return made


def counts(table: JobTable) -> dict[str, int]:
    return {status: count for status, count in table.counts.items() if count}


def test_a_queued_job_stays_packed_and_can_be_looked_at() -> None:
    table = JobTable(Host(), 10)
    packed = packing.pack(job(1))
    table.add_packed(1, packed)
    found = table.get(1)
    assert found is not None and (found.name, found.id) == ("job 1", 1)
    assert (table.unfinished[1] is packed, table.status(1), counts(table)) == (True, "queued", {"queued": 1})


def test_two_packed_jobs_are_told_apart() -> None:
    table = JobTable(Host(), 10)
    for job_id in (1, 2):
        table.add_packed(job_id, packing.pack(job(job_id)))
    names = [found.name for job_id in (1, 2, 1, 1, 2) if (found := table.get(job_id)) is not None]
    assert names == ["job 1", "job 2", "job 1", "job 1", "job 2"]


def test_a_new_version_replaces_the_old_one_and_is_counted_once() -> None:
    table = JobTable(Host(), 10)
    table.add_packed(1, packing.pack(job(1)))
    table.put(job(1, RUNNING))
    assert (table.status(1), counts(table)) == ("running", {"running": 1})
    table.put(job(1, SUCCESS))
    assert (table.status(1), counts(table), list(table.unfinished)) == ("success", {"success": 1}, [])


def test_of_finished_jobs_the_newest_stay_whole_and_the_others_as_a_row() -> None:
    table = JobTable(Host(), 2)
    for job_id in (1, 2, 3):
        table.put(job(job_id, CANCELED))
    assert [table.get(job_id) is not None for job_id in (1, 2, 3)] == [False, True, True]
    assert [table.packed_finished(job_id) is not None for job_id in (1, 2, 3)] == [False, True, True]
    row = table.finished[1]
    assert (row.status, row.name, row.end_ts) == ("canceled", "job 1", (5, 0))
    assert (table.status(1), counts(table), list(table.ids())) == ("canceled", {"canceled": 3}, [1, 2, 3])


def test_finished_jobs_with_large_results_stay_whole_as_far_as_there_is_room() -> None:
    def large(job_id: int, size: int) -> _QueuedJob:
        made = job(job_id)
        made.MarkUnfinishedOps(SUCCESS, "x" * size)
        made.Finalize()
        return made

    def whole() -> list[int]:
        return [job_id for job_id in table.finished if table.get(job_id) is not None]

    table = JobTable(Host(), 10, keep_bytes=1000)
    for job_id in (1, 2, 3):
        table.put(large(job_id, 300))
    assert whole() == [2, 3]
    table.put(large(3, 350))
    assert whole() == [2, 3]
    table.remove(2)
    table.put(large(4, 400))
    assert whole() == [3, 4]
    table.put(large(5, 2000))
    assert (whole(), table.status(5)) == ([], "success")
    table.put(large(6, 10))
    found = table.get(6)
    assert found is not None and (found.ops[0].result, found.final, found.queue is not None) == ("x" * 10, True, True)


def test_a_finished_job_of_very_many_opcodes_does_not_stay_whole() -> None:
    table = JobTable(Host(), 10)
    for job_id, count in ((1, 1000), (2, 1001)):
        made = _QueuedJob(Host(), job_id, [op()] * count)
        made.MarkUnfinishedOps(SUCCESS, None)
        table.put(made)
    assert [table.get(job_id) is not None for job_id in (1, 2)] == [True, False]
    assert table.status(2) == "success"


def test_a_row_stands_for_a_job_until_the_job_itself_comes() -> None:
    table = JobTable(Host(), 10)
    table.add_finished(1, FinishedRow("error", None, None, None, None, [], None))
    assert (table.status(1), table.get(1), 1 in table) == ("error", None, True)
    table.put(job(1, SUCCESS))
    assert (table.status(1), counts(table)) == ("success", {"success": 1})


def test_a_removed_job_leaves_nothing_behind() -> None:
    table = JobTable(Host(), 10)
    table.add_packed(1, packing.pack(job(1)))
    table.put(job(2, SUCCESS))
    for job_id in (1, 2, 3):
        table.remove(job_id)
    assert (list(table.ids()), list(table), counts(table), table.get(2), table.status(1)) == ([], [], {}, None, None)
