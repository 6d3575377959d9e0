"""What a job may have to wait for before its locks: a pause, other jobs, a point in time.

Each gate is asked every time the job is considered; one that is shut wakes the job when it may have opened.
Locks are a matter of `jqueue.locks`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from jqueue.errors import GenericError, OpExecError
from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.status import FINALIZED
from jqueue.opcodes.base import OpCode
from jqueue.sched import outcome
from jqueue.sched.dependencies import UNKNOWN, Dependencies, Result, Verdict

LOCK = "lock"
DEPENDENCY = "dependency"
TIME = "not_before"
RETRY = "retry"
PAUSE = "paused"
GROUP = "group"
LOOKUP = "lookup"
BROKEN = "broken"

_LONGEST_TIMER = 600.0  # a wall clock may jump; look again at least this often
_LOOK_UP_AGAIN = 5.0  # seconds


@dataclass(frozen=True)
class Wait:
    """A job has to wait."""

    kind: str
    text: str
    since: float
    """When it began, in seconds of the reactor's clock."""
    shown: bool = True
    """Whether it counts as status `waiting`."""


@dataclass(frozen=True)
class End:
    """A job cannot run: it is cancelled, or fails with the problem."""

    problem: GenericError | None
    job_id: int | None = None
    """Which job, if it is another one of the group of the one that asked."""


class Gates:
    """The gates in front of a job's next opcode."""

    _log = Logger()

    def __init__(
        self,
        *,
        clock: IReactorTime,
        wall: Callable[[], float],
        status_of: Callable[[int], str | None],
        archived_status: Callable[[int], Deferred[str | None]],
        wake: Callable[[int], None],
    ) -> None:
        """Makes them.

        @param status_of: the status of a job of the queue, None if it is not there
        @param archived_status: looks a job up in the archive, None if it is not there either
        @param wake: has a job considered again
        """
        self._clock = clock
        self._wall = wall
        self._status_of = status_of
        self._archived_status = archived_status
        self._wake = wake
        self._archived: dict[int, dict[int, str | None]] = {}
        self._not_looked_up: dict[int, Failure] = {}
        self._timers: dict[int, IDelayedCall] = {}
        self.dependencies = Dependencies(lambda job_id: status_of(job_id) or UNKNOWN)

    def check(self, job: _QueuedJob, opcode: OpCode) -> Wait | End | None:
        """Looks whether the job may go on to its locks.

        @return: None if it may; a `Wait` leads to a wake-up later
        """
        if job.paused:
            return Wait(PAUSE, "it is paused; `jqueue resume` lets it go on", self._clock.seconds(), shown=False)
        # What deferred jobs depend on is settled before they take their locks, all at once.
        depends = None if job.deferred else opcode.depends
        return self.check_dependencies(job.id, depends) or self._check_time(job, opcode)

    def finished(self, job_id: int) -> None:
        """Wakes the jobs that wait for one that has ended."""
        for waiting in self.dependencies.finished(job_id):
            self._wake(waiting)

    def forget(self, job_id: int) -> None:
        """Forgets what a job waits for."""
        self.dependencies.forget(job_id)
        self._archived.pop(job_id, None)
        self._not_looked_up.pop(job_id, None)
        timer = self._timers.pop(job_id, None)
        if timer is not None and timer.active():
            timer.cancel()

    def check_dependencies(self, job_id: int, depends: Sequence[Sequence[Any]] | None) -> Wait | End | None:
        """Looks whether what a job depends on has come to its end.

        @return: as for `check`
        """
        if not depends:
            return None
        result = self.dependencies.check(job_id, depends, self._archived.get(job_id, {}))
        match result.verdict:
            case Verdict.CONTINUE:
                return None
            case Verdict.WAIT:
                return Wait(DEPENDENCY, f"job {result.dep_id} has not ended yet", self._clock.seconds())
            case Verdict.LOOKUP:
                if job_id not in self._not_looked_up:
                    self._look_up(job_id, result)
                if result.dep_id in self._archived.get(job_id, {}):  # answered at once
                    return self.check_dependencies(job_id, depends)
                text = f"job {result.dep_id} is looked up in the archive"
                if (failure := self._not_looked_up.get(job_id)) is not None:
                    text += f", which failed and is tried again: {failure.getErrorMessage()}"
                return Wait(LOOKUP, text, self._clock.seconds(), shown=False)
            case Verdict.CANCEL:
                return End(None)
            case _:
                return End(OpExecError(result.text))

    def _look_up(self, job_id: int, result: Result) -> None:
        dep_id = result.dep_id

        def found(status: str | None) -> None:
            if self._ended(job_id):
                return
            self._archived.setdefault(job_id, {})[dep_id] = status
            self._wake(job_id)

        def failed(failure: Failure) -> None:
            # Nobody knows how it ended, so the job must not end by that.
            self._log.error("Job {dep_id} could not be looked up: {failure}", dep_id=dep_id, failure=failure)
            if self._ended(job_id):
                return
            self._not_looked_up[job_id] = failure
            self._wake_in(job_id, _LOOK_UP_AGAIN)
            self._wake(job_id)

        self._archived_status(dep_id).addCallbacks(found, failed)

    def _ended(self, job_id: int) -> bool:
        """Whether a job was cancelled meanwhile, after which nothing is noted for it."""
        return self._status_of(job_id) in (None, *FINALIZED)

    def _check_time(self, job: _QueuedJob, opcode: OpCode) -> Wait | None:
        op = job.ops[outcome.current(job)]
        retry_at = outcome.retry_at(op)
        kind, at = (RETRY, retry_at) if retry_at is not None else (TIME, opcode.not_before)
        if at is None:
            return None
        left = at - self._wall()
        if left <= 0:
            return None
        when = _point_in_time(at)
        text = f"attempt {op.attempt + 1} starts at {when}" if kind == RETRY else f"it is not to start before {when}"
        self._wake_in(job.id, min(left, _LONGEST_TIMER))
        return Wait(kind, text, self._clock.seconds())

    def _wake_in(self, job_id: int, seconds: float) -> None:
        def wake() -> None:
            self._not_looked_up.pop(job_id, None)
            self._wake(job_id)

        old = self._timers.pop(job_id, None)
        if old is not None and old.active():
            old.cancel()
        self._timers[job_id] = self._clock.callLater(seconds, wake)


def _point_in_time(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return f"{seconds:g} seconds after 1970, which no calendar has"
