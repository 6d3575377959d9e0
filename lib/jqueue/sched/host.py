"""What jobs ask of the queue they belong to (their `queue`): the time, and what the pure package cannot know."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jqueue.errors import GenericError
from jqueue.events.joblog import JobLogs
from jqueue.jobs import fields
from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.lifecycle import lifecycle
from jqueue.opcodes.registry import Registry
from jqueue.sched.execution import Execution


class Host:
    """The `queue` of every live job."""

    def __init__(self, wall: Callable[[], float], registry: Registry, logs: JobLogs) -> None:
        """Makes it; the processor puts its executions in later.

        @param wall: wall time in seconds
        """
        self.time = wall
        self._registry = registry
        self._logs = logs
        self.executions: Mapping[int, Execution] = {}

    def is_stoppable(self, state: Mapping[str, Any]) -> bool:
        """Whether running code of an opcode ends soon after a cancel.

        @param state: the opcode's input
        """
        try:
            return self._registry.get(str(state.get("OP_ID"))).stoppable
        except GenericError:
            return False

    def progress(self, job_id: int) -> list[Any] | None:
        """How far a running job is: done, total, text."""
        execution = self.executions.get(job_id)
        return list(execution.progress) if execution is not None and execution.progress is not None else None

    def lifecycle(self, job: _QueuedJob) -> str:
        """The lifecycle state of a job, with what only the running daemon knows."""
        execution = self.executions.get(job.id)
        if execution is None:
            return lifecycle(job)
        return lifecycle(job, paused_now=execution.parked, ready=execution.converged)

    def log_serial(self, job: _QueuedJob) -> int:
        """The serial of the last entry in a job's log; what is published of a running job is behind."""
        return max(job.log_serial, self._logs.written(job.id))

    def start_speed(self, state: Mapping[str, Any]) -> int:
        """With which speed limit an opcode starts.

        @param state: the opcode's input
        """
        try:
            cls = self._registry.get(str(state.get("OP_ID")))
            return cls.restore(state).start_speed() if cls.has_start_speed() else 0
        except Exception:
            return 0  # a mistake of its author's, which is an error when it runs

    def summary(self, state: Mapping[str, Any]) -> str:
        """An opcode in one word."""
        try:
            return fields.summary(state, self._registry.get(str(state.get("OP_ID"))).summary_parameter)
        except GenericError:
            return fields.summary(state)
