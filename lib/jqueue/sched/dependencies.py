"""Dependencies between jobs: may a job go on, what does it wait for, and whom does the end of a job concern.

Pure; what a verdict does to the job, and how the archive is asked, is for `jqueue.sched.gates`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from jqueue.errors import OpPrereqError
from jqueue.jobs.status import CANCELED, FINALIZED


class Unknown(enum.Enum):
    """The type of `UNKNOWN`."""

    UNKNOWN = "unknown"


UNKNOWN: Final = Unknown.UNKNOWN
"""In the place of a status: the queue does not know the job, the archive may."""

StatusOf = Callable[[int], str | Unknown | None]
Depends = Sequence[Sequence[Any]]
"""Each one `[job id, accepted statuses]`; no statuses: every final one except canceled."""


class Verdict(enum.Enum):
    """What follows from a job's dependencies."""

    CONTINUE = enum.auto()
    WAIT = enum.auto()
    LOOKUP = enum.auto()
    CANCEL = enum.auto()
    ERROR = enum.auto()
    WRONGSTATUS = enum.auto()


@dataclass(frozen=True, slots=True)
class Result:
    """A verdict, the dependency that led to it (0 for `CONTINUE`), and for a person why."""

    verdict: Verdict
    dep_id: int = 0
    text: str = ""


class Dependencies:
    """Who waits for which job; a job waits for one at a time, the first of its dependencies that has not ended."""

    def __init__(self, status_of: StatusOf) -> None:
        """Makes it without any waiters.

        @param status_of: the status of a job, None if there is no such job, `UNKNOWN` if the archive has to be asked
        """
        self._status_of = status_of
        self._waits_for: dict[int, int] = {}
        # In the order in which they began to wait.
        self._waiters: dict[int, dict[int, None]] = {}

    def check(self, job_id: int, depends: Depends, looked_up: Mapping[int, str | None] | None = None) -> Result:
        """Judges the dependencies of a job in their order, and registers it as a waiter if it has to wait.

        @param looked_up: the statuses that the archive gave after a `LOOKUP`, None for a job that is not there either
        """
        self.forget(job_id)
        for dep_id, statuses in depends:
            result = self._check_one(job_id, int(dep_id), statuses or (), looked_up or {})
            if result.verdict is Verdict.WAIT:
                self._waits_for[job_id] = result.dep_id
                self._waiters.setdefault(result.dep_id, {})[job_id] = None
            if result.verdict is not Verdict.CONTINUE:
                return result
        return Result(Verdict.CONTINUE)

    def _check_one(
        self, job_id: int, dep_id: int, accepted: Sequence[str], looked_up: Mapping[int, str | None]
    ) -> Result:
        if dep_id == job_id:
            return Result(Verdict.ERROR, dep_id, f"Job {job_id} depends on itself; submit it without that dependency")
        status = self._status_of(dep_id)
        if status is UNKNOWN:
            if dep_id not in looked_up:
                return Result(Verdict.LOOKUP, dep_id, f"job {dep_id} is looked up in the archive")
            status = looked_up[dep_id]
        if status is None:
            text = f"Job {job_id} depends on job {dep_id}, which is neither in the queue nor in the archive"
            return Result(Verdict.ERROR, dep_id, text)
        if status not in FINALIZED:
            return Result(Verdict.WAIT, dep_id, f"job {dep_id} is {status}")
        if status == CANCELED and CANCELED not in accepted:
            return Result(Verdict.CANCEL, dep_id, f"Job {job_id} depends on job {dep_id}, which was cancelled")
        if not accepted or status in accepted:
            return Result(Verdict.CONTINUE, dep_id)
        text = f"Job {job_id} depends on job {dep_id} to end in {' or '.join(accepted)}, but that ended in {status}"
        return Result(Verdict.WRONGSTATUS, dep_id, text)

    def finished(self, dep_id: int) -> list[int]:
        """Takes out those who wait for a job that has ended, in the order in which they began."""
        waiting = list(self._waiters.pop(dep_id, ()))
        for job_id in waiting:
            del self._waits_for[job_id]
        return waiting

    def forget(self, job_id: int) -> None:
        """Takes a job out, if it waits."""
        dep_id = self._waits_for.pop(job_id, None)
        if dep_id is None:
            return
        waiters = self._waiters[dep_id]
        del waiters[job_id]
        if not waiters:
            del self._waiters[dep_id]

    def waiting_for(self, job_id: int) -> int | None:
        """The job that a job waits for."""
        return self._waits_for.get(job_id)

    def waiters(self) -> dict[int, list[int]]:
        """For reports: by the job that is waited for, those who wait for it."""
        return {dep_id: list(waiting) for dep_id, waiting in self._waiters.items()}


def resolve_relative(depends: Depends | None, earlier: Sequence[int | None] | None) -> list[list[Any]]:
    """Replaces relative ids by real ones; -1 is the job before this one in the same submission.

    @param depends: of one opcode, None for none
    @param earlier: the ids of the jobs before this one in the submission, None for one that was refused;
        None instead of them all where the job is submitted alone
    @return: the dependencies with real ids
    @raise OpPrereqError: one of them means no job
    """
    return [[_absolute(int(dep_id), earlier), list(statuses or ())] for dep_id, statuses in depends or ()]


def _absolute(dep_id: int, earlier: Sequence[int | None] | None) -> int:
    if dep_id > 0:
        return dep_id
    if dep_id == 0:
        raise OpPrereqError("depends: 0 is no job id; give an id, or -1 for the job before in the same submission")
    if earlier is None:
        raise OpPrereqError(f"depends: {dep_id} is relative, which only jobs submitted together can be; give an id")
    if -dep_id > len(earlier):
        raise OpPrereqError(f"depends: {dep_id} is out of range, this is job {len(earlier) + 1} of its submission")
    target = earlier[dep_id]
    if target is None:
        raise OpPrereqError(
            f"depends: {dep_id} is a job of this submission that was refused itself; correct that first"
        )
    return target
