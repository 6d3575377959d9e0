"""What each verb is to be answered in each state, by QMP and by our own protocol: the table and its deviations."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.lifecycle import PHASE_ABORTING, PHASE_COMMITTING, PHASE_WORK, READY, VERBS
from jqueue.jobs.status import CANCELING, RUNNING
from jqueue.opcodes.base import LEAVE
from jqueue.opcodes.registry import Registry
from jqueue.sched.lifecycles import Lifecycles
from jqueue.sched.queue import JobQueue

SOFT = "soft cancel"

QMP: dict[str, Callable[[Lifecycles, int], Deferred[None]]] = {
    "pause": Lifecycles.pause,
    "resume": Lifecycles.resume,
    "cancel": lambda queue, job_id: queue.cancel(job_id, True),
    SOFT: lambda queue, job_id: queue.cancel(job_id, False),
    "set-speed": lambda queue, job_id: queue.set_speed(job_id, 5),
    "complete": Lifecycles.complete,
    "finalize": Lifecycles.finalize,
    "dismiss": Lifecycles.dismiss,
}

RPC: dict[str, Callable[[JobQueue, int], Deferred[tuple[bool, str]]]] = {
    "pause": JobQueue.pause,
    "resume": JobQueue.resume,
    "cancel": lambda queue, job_id: queue.cancel(job_id, False, False),
    SOFT: lambda queue, job_id: queue.cancel(job_id, False, True),
    "set-speed": lambda queue, job_id: queue.set_speed(job_id, 5),
    "complete": JobQueue.complete,
    "finalize": JobQueue.finalize,
    "dismiss": lambda queue, job_id: queue.archive(job_id).addCallback(lambda done: (done, "")),
}

GONE = "There is no job {} in the queue; it may be archived"
_NOT_ADMITTED = "Job 'job{}' in state '{}' cannot accept command verb '{}'"
_ALREADY_PAUSED = "Job is already paused"
_NOT_PAUSED = "Can't resume a job that was not paused"
_IS_PAUSED = "The block job for device 'job{}' is currently paused"
_CANNOT_COMPLETE = "The active block job 'job{}' cannot be completed"


def verb_of(asked: str) -> str:
    """The verb of the table that is meant."""
    return "cancel" if asked == SOFT else asked


def by_qmp(job: _QueuedJob, state: str, asked: str) -> str | None:
    """The text of the error that a verb is answered with; None if it is accepted."""
    verb = verb_of(asked)
    if asked == "resume" and not job.paused:
        return _NOT_PAUSED
    if state not in VERBS[verb]:
        return _NOT_ADMITTED.format(job.id, state, verb)
    if asked == "pause" and job.paused:
        return _ALREADY_PAUSED
    if asked == SOFT and job.paused:
        return _IS_PAUSED.format(job.id)
    if asked == "complete" and (job.CalcStatus() == CANCELING or job.completion == LEAVE):
        return _CANNOT_COMPLETE.format(job.id)
    return None


def by_rpc(job: _QueuedJob, state: str, asked: str, registry: Registry, told: str | None) -> bool:
    """Whether a verb is accepted: as by QMP, but a cancel is refused that comes too late, or cannot stop the code.

    @param told: what its code was told already, if it has converged
    """
    if verb_of(asked) != "cancel":
        return by_qmp(job, state, asked) is None
    if job.CalcStatus() == CANCELING:
        return True
    if by_qmp(job, state, asked) is not None:
        return False
    if asked == SOFT and state == READY:
        return told is None or job.completion == LEAVE
    if job.CalcStatus() != RUNNING:
        return True
    if job.phase == PHASE_WORK:
        running = next(op for op in job.ops if op.status == RUNNING)
        return registry.get(running.input["OP_ID"]).stoppable
    return job.phase not in (PHASE_COMMITTING, PHASE_ABORTING)
