"""Explanations for people: why a job does not run, and what the workers do and will do next.

Only looks at the scheduler's state; rows of job fields are in `queries`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from twisted.internet.interfaces import IReactorTime

from jqueue.jobs import lifecycle
from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.lifecycle import PHASE_ABORTING, PHASE_COMMITTING, PHASE_PREPARING
from jqueue.jobs.status import CANCELING, RUNNING
from jqueue.locks.manager import LockManager
from jqueue.locks.modes import key_text
from jqueue.opcodes.base import OpCode
from jqueue.sched import outcome
from jqueue.sched.dependencies import Dependencies
from jqueue.sched.execution import Execution
from jqueue.sched.gates import DEPENDENCY, LOCK, Wait
from jqueue.sched.groups import awaits_turn
from jqueue.sched.processor import Processor
from jqueue.sched.ready import ReadyHeap
from jqueue.sched.slots import Slots
from jqueue.sched.table import JobTable

_LISTED = 1000


class Report:
    """Says what goes on."""

    def __init__(
        self,
        *,
        clock: IReactorTime,
        table: JobTable,
        ready: ReadyHeap,
        locks: LockManager,
        processor: Processor,
        slots: Slots,
        dependencies: Dependencies,
        standing_still: Callable[[], str | None],
    ) -> None:
        """Makes it.

        @param standing_still: why no opcode is started at all now, if that is so
        """
        self._clock = clock
        self._table = table
        self._ready = ready
        self._locks = locks
        self._processor = processor
        self._groups = processor.groups
        self._slots = slots
        self._dependencies = dependencies
        self._standing_still = standing_still

    def explain(self, job: _QueuedJob) -> dict[str, Any]:
        """Says why a job does not run, or what it does.

        @return: its id, status, the locks that it has as `held`, and `reasons`, each with a `kind`, a `text`, and what
            the kind has besides
        """
        status = job.CalcStatus()
        held = [
            {"name": key_text(key), "mode": mode} for key, mode in self._locks.held(self._groups.owner(job.id)).items()
        ]
        reasons = [self._final(job)] if job.final else self._unfinished(job)
        return {"id": job.id, "status": status, "held": held, "reasons": reasons}

    def _final(self, job: _QueuedJob) -> dict[str, Any]:
        where = "it is archived" if job.archived else "it has ended"
        return {"kind": "final", "text": f"{where}: {job.CalcStatus()}"}

    def _unfinished(self, job: _QueuedJob) -> list[dict[str, Any]]:
        execution = self._processor.executions.get(job.id)
        index = outcome.current(job)
        if execution is not None:
            kind, doing = _doing(job, execution.opcode)
            if execution.keeps_up:
                kind, doing = "ready", f"has converged and waits for you: `jqueue complete {job.id}` ends it"
            if execution.keeps_up and job.completion is not None:
                kind, doing = "workers", "was told to come to its end, and does so when a worker is free"
            if execution.parked and not execution.keeps_up:
                kind, doing = "workers", "was resumed and goes on when a worker is free"
            if execution.parked and job.paused:
                kind, doing = "paused", "is paused; `jqueue resume` lets it go on"
            text = f"opcode {index + 1} of {len(job.ops)} ({execution.opcode.summary()}) {doing}"
            return [{"kind": kind, "text": text, "since": self._ago(execution.since), "op": index}]
        still = self._standing_still()
        reasons = [{"kind": "daemon", "text": still}] if still is not None else []
        wait = self._processor.parked.get(job.id)
        if wait is not None:
            return [*reasons, self._waiting(job, wait)]
        group = self._groups.of(job)
        if group is not None and awaits_turn(job):
            kind, text = _of_group(job, self._groups.unfinished(group))
            return [*reasons, {"kind": kind, "text": text}]
        return [*reasons, self._queued(job)]

    def _waiting(self, job: _QueuedJob, wait: Wait) -> dict[str, Any]:
        reason: dict[str, Any] = {"kind": wait.kind, "text": wait.text, "since": self._ago(wait.since)}
        refusal = self._locks.explain(self._groups.owner(job.id)) if wait.kind == LOCK else None
        if refusal is not None:
            reason |= {
                "text": str(refusal),
                "lock": key_text(refusal.lock),
                "mode": refusal.mode,
                "holders": [self._holder(owner) for owner in refusal.holders],
                "reserved_for": refusal.reserved_for,
                "place": refusal.place,
                "since": self._ago(refusal.since),
            }
        dep_id = self._dependencies.waiting_for(job.id) if wait.kind == DEPENDENCY else None
        if dep_id is not None:
            status = self._table.status(dep_id)
            reason |= {"text": f"{wait.text}: it is {status}", "job": dep_id, "status": status}
        return reason

    def _holder(self, owner: int) -> dict[str, Any]:
        execution = self._processor.executions.get(owner)
        holder: dict[str, Any] = {"id": owner}
        if execution is not None:
            holder |= {"op": execution.opcode.summary(), "since": self._ago(execution.since)}
        return holder

    def _queued(self, job: _QueuedJob) -> dict[str, Any]:
        before = self._ready.place(job.id, job.CalcPriority(), self._processor.in_line)
        place = None if before is None else before + 1
        if self._slots.free > 0:
            return {"kind": "ready", "text": "it is about to be looked at", "place": place}
        number = f"number {place}" if place is not None else "far back"
        text = f"all {self._slots.size} workers are busy; it is {number} in line"
        return {"kind": "workers", "text": text, "place": place, "size": self._slots.size}

    def _ago(self, since: float) -> float:
        return round(self._clock.seconds() - since, 3)

    def workers(self) -> dict[str, Any]:
        """Says which jobs have a worker, which wait for what, and who is next.

        @return: `size`, `running`, `jobs` (each with its id and `state`), and how many are `waiting` for something and
            `queued`, waiting for a worker only
        """
        rows = [
            {
                "id": execution.job_id,
                "state": _state(execution),
                "op": execution.index,
                "summary": execution.opcode.summary(),
                "since": self._ago(execution.since),
                "progress": list(execution.progress) if execution.progress is not None else None,
            }
            for execution in list(self._processor.executions.values())
        ]
        parked = self._processor.parked
        for job_id in list(islice(parked, _LISTED)):
            job = self._table.get(job_id)
            if job is not None and not job.final:
                rows.append({"id": job_id, "state": "waiting", **self._waiting(job, parked[job_id])})
        upcoming = self._ready.first(self._slots.size, self._processor.in_line)
        rows += [{"id": job_id, "state": "next", "place": place} for place, job_id in enumerate(upcoming, 1)]
        return {
            "size": self._slots.size,
            "running": self._slots.taken,
            "waiting": len(parked),
            "queued": len(self._table.unfinished)
            - len(parked)
            - len(self._processor.executions)
            - self._groups.at_rest(),
            "jobs": rows,
        }

    def locks(self) -> list[dict[str, Any]]:
        """Says of each lock that is held or wanted who has it and who waits for it."""
        return [dict(row) for row in self._locks.report()]


def _state(execution: Execution) -> str:
    if execution.parked:
        return "standby" if execution.converged else "paused"
    return "ready" if execution.converged else "running"


def _of_group(job: _QueuedJob, unfinished: Sequence[_QueuedJob]) -> tuple[str, str]:
    """Says what a deferred job waits for whose own work is done, or has failed.

    @param unfinished: the jobs of its group
    @return: kind, words
    """
    others = [other for other in unfinished if other is not job]
    match job.phase:
        case lifecycle.PHASE_WAITING:
            working = ", ".join(str(other.id) for other in others if not awaits_turn(other))
            return "group", f"its work is done; job {working} of its group still has to end"
        case lifecycle.PHASE_PENDING:
            return "pending", f"its work is done and waits for you: `jqueue finalize {job.id}` makes it count"
        case lifecycle.PHASE_ABORTING:
            return "group", "it is about to be undone, when no code of its group runs any more"
        case _:
            return "group", "it is being finalized with its group, the newest job first"


def _doing(job: _QueuedJob, opcode: OpCode) -> tuple[str, str]:
    """Says what a worker does with an opcode of a job: what is published, not what the worker may be at already.

    @return: kind, words
    """
    if job.phase == PHASE_PREPARING:
        return "running", "is done and is looked at once more before it is committed"
    if job.phase == PHASE_COMMITTING:
        return "running", "is done and is being committed"
    if job.phase == PHASE_ABORTING:
        return "running", "has ended and is being undone"
    match job.ops[outcome.current(job)].status:
        case status if status == RUNNING:
            return "running", "is running"
        case status if status == CANCELING:
            return "running", "was asked to stop and has not stopped yet"
        case _ if opcode.has_dynamic_locks():
            return "starting", "finds out which locks it needs"
        case _:
            return "starting", "is about to run"
