"""Recovery: what the daemon does with the jobs it finds when it starts (design 2, promise 3).

Reading them is `snapshot`'s; what becomes of one is `outcome.recover`'s. Nothing is shown or run before this is done.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from jqueue.errors import DiskFull, GenericError
from jqueue.jobs.job import _QueuedJob
from jqueue.opcodes.base import OpCode
from jqueue.opcodes.registry import Registry
from jqueue.sched import outcome, snapshot
from jqueue.sched.outside import History, JobFiles
from jqueue.sched.queue import JobQueue

_STEP = 500
_LOST_SERIALS = 1000
"""Serials skipped after a crash: entries that were shown, but did not reach the disk, may have used them."""


def restore(queue: JobQueue, state: snapshot.Recovered, now: float) -> None:
    """Puts what was read into the queue's memory.

    @param now: wall time in seconds
    """
    snapshot.fill(queue.table, state, queue.host)
    queue.submission.last_id = state.last_id
    queue.requests.restore(state.requests)
    for _step in queue.requests.expire(now, lambda job_id: job_id in queue.table.unfinished):
        pass
    queue.identities |= state.identities


async def settle(queue: JobQueue, state: snapshot.Recovered, files: History, job_files: JobFiles, now: float) -> None:
    """Brings every job to a state from which it can go on, durably, and every file up to date.

    @param now: wall time in seconds
    """
    await files.archive(state.archived.items())
    for job_id in state.forgotten:
        await files.forget(job_id)
    for job_id in state.touched:
        _file_stale(queue, job_files, job_id)
    interrupted = [job for job in queue.table.unfinished.values() if isinstance(job, _QueuedJob)]
    for job in interrupted:
        if any(op.exec_timestamp is not None for op in job.ops) or _may_have_logged(queue, job):
            serial = max(await files.repair_log(job.id), job.log_serial)
            queue.logs.start(job.id, serial + _LOST_SERIALS)
    await gatherResults([_recover(queue, job.id, now) for job in interrupted], consumeErrors=True)
    queue.processor.claims.retake([job for job in queue.table.unfinished.values() if isinstance(job, _QueuedJob)])
    await queue.processor.groups.recover(interrupted)
    queue.ready.extend(_ready(queue, state))
    dismissed = [job_id for job_id in list(queue.table.finished) if _dismisses_itself(queue, job_id)]
    with suppress(DiskFull):  # they stay, as others do, until their time is over
        await queue.archiving.archive(dismissed)


async def rewrite_missing(queue: JobQueue, job_files: JobFiles, clock: IReactorTime) -> None:
    """Writes the job files that somebody has removed while no daemon ran, of all jobs that are known whole."""
    missing = await job_files.missing(list(queue.table))
    for start in range(0, len(missing), _STEP):
        for job_id in missing[start : start + _STEP]:
            _file_stale(queue, job_files, job_id)
        await deferLater(clock, 0)


def _may_have_logged(queue: JobQueue, job: _QueuedJob) -> bool:
    """Whether a job whose code has never run has declared its locks, which may log."""
    cls = _opcode_class(queue.registry, job)
    return cls is not None and cls.has_dynamic_locks() and job.start_timestamp is not None


def _file_stale(queue: JobQueue, job_files: JobFiles, job_id: int) -> None:
    source = queue.table.unfinished.get(job_id) or queue.table.get(job_id)
    if source is not None:
        job_files.changed(job_id, source)


def _recover(queue: JobQueue, job_id: int, now: float) -> Deferred[None]:
    def change(draft: _QueuedJob) -> None:
        cls = _opcode_class(queue.registry, draft)
        serial = queue.logs.serial(job_id)
        if serial:
            draft.log_serial = serial
        outcome.recover(
            draft,
            now,
            restartable=cls is not None and cls.restartable,
            has_callbacks=cls is not None and cls.has_callbacks(),
        )

    return queue.edits.edit(job_id, change)


def _opcode_class(registry: Registry, job: _QueuedJob) -> type[OpCode] | None:
    try:
        return registry.get(str(job.ops[outcome.current(job)].input.get("OP_ID")))
    except GenericError:
        return None


def _ready(queue: JobQueue, state: snapshot.Recovered) -> Iterable[tuple[int, int]]:
    for job_id, job in queue.table.unfinished.items():
        yield job_id, state.queued[job_id] if isinstance(job, bytes) else job.CalcPriority()


def _dismisses_itself(queue: JobQueue, job_id: int) -> bool:
    job: _QueuedJob | None = queue.table.get(job_id)
    return job is not None and job.auto_dismiss
