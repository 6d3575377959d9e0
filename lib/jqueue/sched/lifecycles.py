"""The queue as QMP drives it: the verbs of QEMU's background jobs, and every job described in QEMU's members.

Which verb is legal when is in the table of `jqueue.jobs.lifecycle`; here is what each does, and what is checked first.
Groups, late finalisation and the state ready are not here yet, so nothing can be completed or finalised by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredList, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from jqueue.errors import GenericError, JobLost, OpPrereqError
from jqueue.events.lifecycle import Listener
from jqueue.jobs import lifecycle, members
from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.status import CANCELED, CANCELING, ERROR, RUNNING, SUCCESS
from jqueue.sched import outcome
from jqueue.sched.queue import JobQueue
from jqueue.sched.submission import Answer
from jqueue.sched.table import FinishedRow
from jqueue.workers.control import CANCEL

T = TypeVar("T")

JobInfo = dict[str, object]

QUIT = "host-qmp-quit"
SIGNAL = "host-signal"
"""QEMU's words for what ends the daemon."""

_IN_ORDER = 2.0  # seconds in which each job is waited for before the next is cancelled


class Lifecycles:
    """See `jqueue.rpc.qmp.api.QmpQueue`."""

    def __init__(self, queue: JobQueue, clock: IReactorTime, wall: Callable[[], float]) -> None:
        """Makes it.

        @param clock: the reactor, or a clock in tests
        @param wall: wall time in seconds
        """
        self._queue = queue
        self._clock = clock
        self._wall = wall
        self._table = queue.table
        self._executions = queue.processor.executions
        self._events = queue.lifecycle_events

    # Verbs

    def pause(self, job_id: int) -> Deferred[None]:
        """Pauses a job."""

        def change(draft: _QueuedJob) -> bool:
            self._check(draft, lifecycle.PAUSE)
            if draft.paused:
                raise OpPrereqError("Job is already paused")
            draft.paused = True
            # Nothing stops a cancellation.
            return draft.CalcStatus() != CANCELING

        async def pause() -> None:
            if await self._edit(job_id, lifecycle.PAUSE, change):
                self._queue.processor.hold(job_id)

        return _run(pause())

    def resume(self, job_id: int) -> Deferred[None]:
        """Lets a paused job go on; that it is not paused is found before its state is looked at."""

        def change(draft: _QueuedJob) -> None:
            if not draft.paused:
                raise _not_paused()
            self._check(draft, lifecycle.RESUME)
            draft.paused = False

        async def resume() -> None:
            await self._edit(job_id, lifecycle.RESUME, change)
            self._queue.processor.resume(job_id)

        return _run(resume())

    def cancel(self, job_id: int, force: bool) -> Deferred[None]:
        """Cancels a job; with force also one that is paused.

        Code that cannot be stopped goes on to its end, but nothing of the job follows it, and its success is lost.
        """

        def change(draft: _QueuedJob) -> bool:
            self._check(draft, lifecycle.CANCEL)
            if draft.paused and not force:
                raise OpPrereqError(f"The block job for device '{members.job_name(job_id)}' is currently paused")
            draft.paused = False
            stoppable = self._stoppable(draft)
            outcome.note_cancel(draft, self._wall(), code_runs=job_id in self._executions)
            return stoppable

        async def cancel() -> None:
            stoppable = await self._edit(job_id, lifecycle.CANCEL, change, refusable=job_id not in self._executions)
            execution = self._executions.get(job_id)
            if execution is not None and stoppable:
                execution.control.stop(CANCEL)
            elif execution is not None:
                self._queue.processor.resume(job_id)

        return _run(cancel())

    def _stoppable(self, job: _QueuedJob) -> bool:
        op = job.ops[outcome.current(job)]
        runs = op.status in (RUNNING, CANCELING)
        return not runs or (job.phase == lifecycle.PHASE_WORK and self._queue.host.is_stoppable(op.input))

    def set_speed(self, job_id: int, speed: int) -> Deferred[None]:
        """Limits a job's speed, in bytes per second; 0 for no limit."""

        def change(draft: _QueuedJob) -> None:
            self._check(draft, lifecycle.SET_SPEED)
            if speed < 0:
                raise OpPrereqError("Parameter 'speed' expects a non-negative value")
            draft.speed = speed

        async def set_speed() -> None:
            await self._edit(job_id, lifecycle.SET_SPEED, change)
            execution = self._executions.get(job_id)
            if execution is not None:
                execution.control.set_speed(speed)

        return _run(set_speed())

    def complete(self, job_id: int) -> Deferred[None]:
        """Refuses to complete a job: none is ever ready."""

        async def complete() -> None:
            self._check_published(job_id, lifecycle.COMPLETE)

        return _run(complete())

    def finalize(self, job_id: int) -> Deferred[None]:
        """Accepts a job that is being finalised as it is, and refuses any other: each is finalised by itself."""

        async def finalize() -> None:
            self._check_published(job_id, lifecycle.FINALIZE)

        return _run(finalize())

    def dismiss(self, job_id: int) -> Deferred[None]:
        """Archives a concluded job."""

        async def dismiss() -> None:
            self._check_published(job_id, lifecycle.DISMISS)
            if not await self._queue.verbs.archive([job_id]):
                raise _lost(job_id)

        return _run(dismiss())

    def submit(
        self, jobs: list[object], options: dict[str, object], *, uid: int | None, admin: bool
    ) -> Deferred[Answer]:
        """Submits new jobs; see `JobQueue.submit`."""
        return self._queue.submit(jobs, options, uid=uid, admin=admin)

    async def _edit(self, job_id: int, verb: str, change: Callable[[_QueuedJob], T], *, refusable: bool = True) -> T:
        """Changes a job; one that has concluded meanwhile is refused as such."""
        if job_id in self._table.unfinished:
            try:
                return await self._queue.edits.edit(job_id, change, refusable=refusable)
            except JobLost:
                pass  # it has ended, or left, since; which of them is told below
        if job_id in self._table.finished and verb == lifecycle.RESUME:
            raise _not_paused()
        self._check_published(job_id, verb)
        raise _lost(job_id)

    def _check(self, job: _QueuedJob, verb: str) -> None:
        lifecycle.check_verb(self._queue.host.lifecycle(job), verb, members.job_name(job.id))

    def _check_published(self, job_id: int, verb: str) -> None:
        if job_id in self._table.finished:
            lifecycle.check_verb(lifecycle.CONCLUDED, verb, members.job_name(job_id))
        else:
            job = self._table.get(job_id)
            if job is None:
                raise _lost(job_id)
            self._check(job, verb)

    # The end

    def quit(self) -> Deferred[None]:
        """Cancels all jobs, the newest first, after the event SHUTDOWN.

        @return: fires once every end is recorded; when that fails, the queue goes on
        """
        return _run(self._quit())

    async def _quit(self) -> None:
        self._queue.stopping = True
        self._queue.processor.stop()
        self._events.shutdown(QUIT)
        try:
            await self._cancel_all()
        except GenericError:
            self._queue.stopping = False
            self._queue.processor.start()
            raise
        for job_id in sorted(self._table.finished, reverse=True):
            self._events.let_go(job_id)

    async def _cancel_all(self) -> None:
        """Cancels one job after the other; code that does not stop soon is waited for at the end."""
        idle: list[Deferred[None]] = []
        patience = self._clock.seconds() + _IN_ORDER
        for job_id in sorted(self._table.unfinished, reverse=True):
            if job_id not in self._executions:
                idle.append(self._cancel(job_id))
                continue
            await _all(idle)
            idle = []
            await self._cancel(job_id)
            execution = self._executions.get(job_id)
            if execution is not None and execution.opcode.stoppable:
                await self._ended(job_id, patience)
        await _all(idle)
        await self._queue.processor.when_idle()

    def _cancel(self, job_id: int) -> Deferred[None]:
        def ended(failure: Failure) -> None:
            failure.trap(JobLost, OpPrereqError)  # it has come to its end by itself, or is coming to it

        def let_go(_result: None) -> None:
            if job_id in self._table.finished:
                self._events.let_go(job_id)

        return self.cancel(job_id, True).addErrback(ended).addCallback(let_go)

    async def _ended(self, job_id: int, patience: float) -> None:
        while job_id in self._table.unfinished and job_id in self._executions:
            left = patience - self._clock.seconds()
            try:
                await self._queue.waiters.wait(job_id).addTimeout(max(left, 0), self._clock)
            except TimeoutError:
                return
        if job_id in self._table.finished:
            self._events.let_go(job_id)

    def stop_on_signal(self) -> None:
        """Tells that the daemon ends; its jobs stay."""
        self._events.shutdown(SIGNAL)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Tells of events until the function that is returned is called."""
        return self._events.listen(listener)

    # Descriptions

    def job_infos(self) -> Iterator[JobInfo]:
        """Describes every job that is not dismissed, the newest first, each as it is when it is asked for."""
        for job_id in sorted(self._table, reverse=True):
            job = self._table.get(job_id)
            row = self._table.finished.get(job_id)
            if job is not None:
                yield self._info(job)
            elif row is not None:
                yield _info_of_row(job_id, row)

    def _info(self, job: _QueuedJob) -> JobInfo:
        execution = self._executions.get(job.id)
        done, total = members.progress(job, self._queue.host.progress(job.id))
        info: JobInfo = {
            "id": job.id,
            "type": members.job_type(job.ops[0].input.get("OP_ID")),
            "status": self._queue.host.lifecycle(job),
            "current-progress": done,
            "total-progress": total,
            "speed": job.speed,
            "paused": job.paused and not job.final,
            "busy": execution is not None and not execution.parked,
            "ready": False,
            "auto-finalize": job.auto_finalize,
            "auto-dismiss": job.auto_dismiss,
            "name": job.name,
            "priority": job.CalcPriority(),
            "opstatus": [op.status for op in job.ops],
        }
        error = members.error(job)
        if error is not None:
            info["error"] = error
        return info


def _info_of_row(job_id: int, row: FinishedRow) -> JobInfo:
    """Describes a job that has ended long ago: what is not in its row would have to be read from the disk."""
    total = members.OPCODE_UNITS * max(len(row.summary), 1)
    info: JobInfo = {
        "id": job_id,
        "type": members.job_type(row.summary[0].partition("(")[0] if row.summary else ""),
        "status": lifecycle.CONCLUDED,
        "current-progress": total if row.status == SUCCESS else 0,
        "total-progress": total,
        "speed": 0,
        "paused": False,
        "busy": False,
        "ready": False,
        "auto-finalize": True,
        "auto-dismiss": False,
        "name": row.name,
    }
    if row.status == CANCELED:
        info["error"] = members.CANCELED_ERROR
    elif row.status == ERROR:
        info["error"] = f"the job failed; `jqueue info {job_id}` shows why"
    return info


def _not_paused() -> OpPrereqError:
    return OpPrereqError("Can't resume a job that was not paused")


def _lost(job_id: int) -> JobLost:
    return JobLost(f"There is no job {job_id} in the queue; it may be archived")


async def _all(answers: list[Deferred[None]]) -> None:
    for _done, result in await DeferredList(answers, consumeErrors=True):
        if isinstance(result, Failure):
            result.raiseException()


def _run(work: Coroutine[Deferred[Any], Any, T]) -> Deferred[T]:
    return Deferred.fromCoroutine(work)
