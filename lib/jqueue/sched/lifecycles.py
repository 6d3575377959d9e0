"""The queue as QMP sees it: the verbs with QEMU's answers, every job described in QEMU's members, and `quit`.

What each verb does is in `jqueue.sched.verbs`; the protocol itself is in `jqueue.rpc.qmp`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from jqueue.events.bus import Subscription
from jqueue.jobs import fields, lifecycle, members
from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.status import CANCELED, ERROR, SUCCESS
from jqueue.sched.queue import JobQueue
from jqueue.sched.quitting import SIGNAL, Quitting, ended
from jqueue.sched.submission import Answer
from jqueue.sched.table import FinishedRow

JobInfo = dict[str, object]

Listener = Callable[[str, Mapping[str, object]], None]
"""Called with an event's name and its data."""

_FINALIZED = 1.0  # seconds in which a finalisation is waited for


class Lifecycles:
    """See `jqueue.rpc.qmp.api.QmpQueue`."""

    def __init__(self, queue: JobQueue, clock: IReactorTime) -> None:
        """Makes it.

        @param clock: the reactor, or a clock in tests
        """
        self._queue = queue
        self._clock = clock
        self._table = queue.table
        self._executions = queue.processor.executions
        self._events = queue.lifecycle_events
        self._verbs = queue.verbs

    # Verbs; see `jqueue.sched.verbs`

    def pause(self, job_id: int) -> Deferred[None]:
        """Pauses a job."""
        return self._verbs.pause(job_id).addCallback(_nothing)

    def resume(self, job_id: int) -> Deferred[None]:
        """Lets a paused job go on."""
        return self._verbs.resume(job_id).addCallback(_nothing)

    def cancel(self, job_id: int, force: bool) -> Deferred[None]:
        """Cancels a job; without force one that has converged keeps its result."""
        return self._verbs.cancel(job_id, soft=not force).addCallback(_nothing)

    def set_speed(self, job_id: int, speed: int) -> Deferred[None]:
        """Limits a job's speed, in bytes per second; 0 for no limit."""
        return self._verbs.set_speed(job_id, speed).addCallback(_nothing)

    def complete(self, job_id: int) -> Deferred[None]:
        """Tells a job that is ready to come to its end."""
        return self._verbs.complete(job_id).addCallback(_nothing)

    def finalize(self, job_id: int) -> Deferred[None]:
        """Finalises a pending job, and with it its group.

        Answered, as in QEMU, when that is done for all; or before, because callbacks may take their time.
        """

        async def finalize() -> None:
            job = self._table.get(job_id)
            last = job.members[0] if job is not None and job.members is not None else job_id
            await self._verbs.finalize(job_id)
            await ended(self._queue, self._clock, last, self._clock.seconds() + _FINALIZED)

        return Deferred.fromCoroutine(finalize())

    def dismiss(self, job_id: int) -> Deferred[None]:
        """Archives a concluded job."""
        return self._verbs.dismiss(job_id).addCallback(_nothing)

    def submit(
        self, jobs: list[object], options: dict[str, object], *, uid: int | None, admin: bool
    ) -> Deferred[Answer]:
        """Submits new jobs; see `JobQueue.submit`."""
        return self._queue.submit(jobs, options, uid=uid, admin=admin)

    # The end

    def quit(self) -> Deferred[None]:
        """Cancels all jobs, the newest first, after the event SHUTDOWN.

        @return: fires once every end is recorded; when that fails, the queue goes on
        """
        return Deferred.fromCoroutine(Quitting(self._queue, self._clock).quit())

    def stop_on_signal(self) -> None:
        """Tells that the daemon ends; its jobs stay."""
        self._events.shutdown(SIGNAL)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Tells of events until the function that is returned is called."""

        def hear(_name: str, arguments: list[Any]) -> None:
            (event,) = arguments
            listener(event["event"], event["data"])

        return self._queue.bus.subscribe(Subscription(hear, None, changes=False, log=False, lifecycle=True))

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
            "speed": fields.speed(job),
            "paused": (job.paused or (execution is not None and execution.parked)) and not job.final,
            "busy": execution is not None and execution.holds_slot,
            "ready": execution is not None and execution.converged and job.phase == lifecycle.PHASE_WORK,
            "auto-finalize": job.auto_finalize,
            "auto-dismiss": job.auto_dismiss,
            "name": job.name,
            "priority": job.CalcPriority(),
            "opstatus": [op.status for op in job.ops],
            "group": job.group,
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


def _nothing(_text: str) -> None:
    """A verb of QEMU says nothing about what it did."""
