"""Lifecycle events: each step of each job along the edges of the transition table, in QEMU's words.

Told once, in order, after what they tell of is durable; nothing is computed while nobody listens.
What a job's state is gets computed in `jqueue.jobs.lifecycle`; the protocol around an event is in `jqueue.rpc.qmp`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

from twisted.logger import Logger

from jqueue.errors import ProgrammerError
from jqueue.events.bus import Bus
from jqueue.jobs import fields, members, status
from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.lifecycle import (
    ABORTING,
    CONCLUDED,
    CREATED,
    NULL,
    PAUSED,
    PENDING,
    READY,
    RUNNING,
    STANDBY,
    TRANSITIONS,
    WAITING,
    is_refused_late,
)

JOB_STATUS_CHANGE = "JOB_STATUS_CHANGE"
BLOCK_JOB_READY = "BLOCK_JOB_READY"
BLOCK_JOB_PENDING = "BLOCK_JOB_PENDING"
BLOCK_JOB_COMPLETED = "BLOCK_JOB_COMPLETED"
BLOCK_JOB_CANCELLED = "BLOCK_JOB_CANCELLED"
SHUTDOWN = "SHUTDOWN"
_BEFORE = {PAUSED: RUNNING, RUNNING: PAUSED, STANDBY: READY, READY: STANDBY}


@cache
def steps(before: str, after: str, *, success: bool = True) -> tuple[str, ...]:
    """Gives the states that a job goes through from one to another, which it ends with.

    @param success: whether a job that has concluded was successful; the others go through aborting
    @raise ProgrammerError: no legal way leads there
    """
    if after == CONCLUDED and before not in (ABORTING, CONCLUDED):
        last = PENDING if success else ABORTING
        return *steps(before, last), CONCLUDED
    # The way to aborting never needs a detour through the states of success, nor the other way round.
    avoided = {ABORTING, CONCLUDED, NULL} if after != ABORTING else {WAITING, PENDING, CONCLUDED, NULL}
    ways: list[tuple[str, ...]] = [()]
    seen = {before}
    for way in ways:
        here = way[-1] if way else before
        if here == after:
            return way
        for state in sorted(TRANSITIONS[here] - seen):
            if state == after or state not in avoided:
                seen.add(state)
                ways.append((*way, state))
    raise ProgrammerError(f"no legal step leads from the lifecycle state {before} to {after}")


class LifecycleEvents:
    """Tells of the steps of all jobs on the bus."""

    _log = Logger()

    def __init__(
        self, bus: Bus, state: Callable[[_QueuedJob], str], share: Callable[[int], list[object] | None]
    ) -> None:
        """Makes it.

        @param state: computes the lifecycle state of a version of a job
        @param share: how far the running opcode of a job is: done, total, text
        """
        self._bus = bus
        self._state = state
        self._share = share
        self._told: dict[int, str] = {}
        self._let_go: set[int] = set()

    # What happened

    def created(self, job_id: int) -> None:
        """A new job is durable."""
        if self._is_wanted(job_id):
            self._become(job_id, CREATED)

    def changed(self, before: _QueuedJob, after: _QueuedJob) -> None:
        """A new version of a job is durable."""
        if self._is_wanted(after.id):
            self._move(after, self._told.get(after.id) or self._state(before))

    def moved(self, job: _QueuedJob, converged: bool) -> None:
        """The code of a job has stopped at a pause point, goes on from there, or has just converged."""
        if self._is_wanted(job.id):
            # Without an earlier event, it is the state that leads to this one without a change of the job.
            state = self._state(job)
            before = RUNNING if converged else _BEFORE.get(state, state)
            self._move(job, self._told.get(job.id) or before)

    def dismissed(self, job_id: int) -> None:
        """A job that had concluded is archived; or, when all ends, would be."""
        if job_id not in self._let_go and self._is_wanted(job_id):
            self._become(job_id, NULL)
        self._told.pop(job_id, None)

    def _is_wanted(self, job_id: int) -> bool:
        if self._bus.wants_lifecycle(job_id):
            return True
        self._told.pop(job_id, None)
        return False

    def let_go(self, job_id: int) -> None:
        """A job that has concluded leaves with the daemon; it is told once, also if it is archived as well."""
        self.dismissed(job_id)
        self._let_go.add(job_id)

    def shutdown(self, reason: str) -> None:
        """The daemon begins to end.

        @param reason: QEMU's word for what asked for that
        """
        self._bus.job_lifecycle(None, SHUTDOWN, {"guest": False, "reason": reason})

    # Telling

    def _move(self, job: _QueuedJob, before: str) -> None:
        after = self._state(job)
        try:
            way = steps(before, after, success=job.CalcStatus() not in (status.ERROR, status.CANCELED))
            if after == ABORTING and before != ABORTING and is_refused_late(job):
                way = *steps(before, PENDING), *way[-1:]
        except ProgrammerError as problem:
            # Whoever has changed the job must go on, or it would never move again.
            self._log.error("Events of job {job_id} are left out: {problem}", job_id=job.id, problem=problem)
            self._told[job.id] = after
            return
        for state in way:
            if state == CONCLUDED and any(op.exec_timestamp is not None for op in job.ops):
                self._block_job_ended(job)
            self._become(job.id, state)
            if state == READY and before != STANDBY:
                self._tell(job.id, BLOCK_JOB_READY, self._described(job))
            before = state
        if way and after == PENDING and not job.auto_finalize:
            kind = members.job_type(job.ops[0].input.get("OP_ID"))
            self._tell(job.id, BLOCK_JOB_PENDING, {"type": kind, "id": members.job_name(job.id)})

    def _become(self, job_id: int, state: str) -> None:
        self._tell(job_id, JOB_STATUS_CHANGE, {"status": state, "id": members.job_name(job_id)})
        if state in (CONCLUDED, NULL):
            # Its next step, if there is one, can only be the last.
            self._told.pop(job_id, None)
        else:
            self._told[job_id] = state

    def _block_job_ended(self, job: _QueuedJob) -> None:
        canceled = job.CalcStatus() == status.CANCELED
        data = self._described(job)
        error = None if canceled else members.error(job)
        if error is not None:
            data["error"] = error
        self._tell(job.id, BLOCK_JOB_CANCELLED if canceled else BLOCK_JOB_COMPLETED, data)

    def _described(self, job: _QueuedJob) -> dict[str, object]:
        done, total = members.progress(job, self._share(job.id))
        return {
            "device": members.job_name(job.id),
            "type": members.job_type(job.ops[0].input.get("OP_ID")),
            "len": total,
            "offset": done,
            "speed": fields.speed(job),
        }

    def _tell(self, job_id: int, name: str, data: Mapping[str, object]) -> None:
        self._bus.job_lifecycle(job_id, name, data)
