"""Lifecycle events: each step of each job along the edges of the transition table, in QEMU's words.

Told once, in order, after what they tell of is durable; nothing is computed while nobody listens.
What a job's state is gets computed in `jqueue.jobs.lifecycle`; the protocol around an event is in `jqueue.rpc.qmp`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

from twisted.logger import Logger

from jqueue.errors import ProgrammerError
from jqueue.jobs import members, status
from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.lifecycle import (
    ABORTING,
    CONCLUDED,
    CREATED,
    NULL,
    PENDING,
    TRANSITIONS,
    WAITING,
)

JOB_STATUS_CHANGE = "JOB_STATUS_CHANGE"
BLOCK_JOB_COMPLETED = "BLOCK_JOB_COMPLETED"
BLOCK_JOB_CANCELLED = "BLOCK_JOB_CANCELLED"
SHUTDOWN = "SHUTDOWN"

Listener = Callable[[str, Mapping[str, object]], None]
"""Called with the event's name and its data."""


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
    """Tells listeners of the steps of all jobs."""

    _log = Logger()

    def __init__(self, state: Callable[[_QueuedJob], str], share: Callable[[int], list[object] | None]) -> None:
        """Makes it.

        @param state: computes the lifecycle state of a version of a job
        @param share: how far the running opcode of a job is: done, total, text
        """
        self._state = state
        self._share = share
        self._listeners: dict[object, Listener] = {}
        self._told: dict[int, str] = {}
        self._let_go: set[int] = set()

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Tells of events until the function that is returned is called."""
        key = object()
        self._listeners[key] = listener
        return lambda: self._end(key)

    def _end(self, key: object) -> None:
        self._listeners.pop(key, None)
        if not self._listeners:
            self._told.clear()

    # What happened

    def created(self, job_id: int) -> None:
        """A new job is durable."""
        if self._listeners:
            self._become(job_id, CREATED)

    def changed(self, before: _QueuedJob, after: _QueuedJob) -> None:
        """A new version of a job is durable."""
        if self._listeners:
            self._move(after, self._told.get(after.id) or self._state(before))

    def stopped_or_went_on(self, job: _QueuedJob) -> None:
        """The code of a job has stopped at a pause point, or goes on from there."""
        if self._listeners:
            # Without an earlier event, it is the other one of the two states that matter here.
            self._move(job, self._told.get(job.id) or self._state_before(job))

    def dismissed(self, job_id: int) -> None:
        """A job that had concluded is archived; or, when all ends, would be."""
        if self._listeners and job_id not in self._let_go:
            self._become(job_id, NULL)
        self._told.pop(job_id, None)

    def let_go(self, job_id: int) -> None:
        """A job that has concluded leaves with the daemon; it is told once, also if it is archived as well."""
        self.dismissed(job_id)
        self._let_go.add(job_id)

    def shutdown(self, reason: str) -> None:
        """The daemon begins to end.

        @param reason: QEMU's word for what asked for that
        """
        self._tell(SHUTDOWN, {"guest": False, "reason": reason})

    # Telling

    def _state_before(self, job: _QueuedJob) -> str:
        from_table = {"paused": "running", "running": "paused", "standby": "ready", "ready": "standby"}
        state = self._state(job)
        return from_table.get(state, state)

    def _move(self, job: _QueuedJob, before: str) -> None:
        after = self._state(job)
        try:
            way = steps(before, after, success=job.CalcStatus() not in (status.ERROR, status.CANCELED))
        except ProgrammerError as problem:
            # Whoever has changed the job must go on, or it would never move again.
            self._log.error("Events of job {job_id} are left out: {problem}", job_id=job.id, problem=problem)
            self._told[job.id] = after
            return
        for state in way:
            if state == CONCLUDED and any(op.exec_timestamp is not None for op in job.ops):
                self._block_job_ended(job)
            self._become(job.id, state)

    def _become(self, job_id: int, state: str) -> None:
        self._tell(JOB_STATUS_CHANGE, {"status": state, "id": members.job_name(job_id)})
        if state in (CONCLUDED, NULL):
            # Its next step, if there is one, can only be the last.
            self._told.pop(job_id, None)
        else:
            self._told[job_id] = state

    def _block_job_ended(self, job: _QueuedJob) -> None:
        done, total = members.progress(job, self._share(job.id))
        canceled = job.CalcStatus() == status.CANCELED
        error = None if canceled else members.error(job)
        data: dict[str, object] = {
            "device": members.job_name(job.id),
            "type": members.job_type(job.ops[0].input.get("OP_ID")),
            "len": total,
            "offset": done,
            "speed": job.speed,
        }
        if error is not None:
            data["error"] = error
        self._tell(BLOCK_JOB_CANCELLED if canceled else BLOCK_JOB_COMPLETED, data)

    def _tell(self, name: str, data: Mapping[str, object]) -> None:
        for key, listener in list(self._listeners.items()):
            try:
                listener(name, data)
            except Exception:
                self._log.failure("A listener failed on {name} and is dropped", name=name)
                self._end(key)
