"""What the queue is given from outside: everything that is not on the reactor thread, or that only the daemon can make.

The interfaces are here; on disk they are `jqueue.store`'s, in tests there are twins in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from jqueue.errors import JobLost, StateError
from jqueue.events.joblog import Entry
from jqueue.jobs.job import Queue, _QueuedJob
from jqueue.sched.execution import MakeContext
from jqueue.store.interface import Loaded, RecordJournal
from jqueue.store.jobfile import Source
from jqueue.turns import Turns
from jqueue.workers.pool import Workers

T = TypeVar("T")


class JobFiles(Protocol):
    """The readable files of the jobs; see `jqueue.store.jobfiles.JobFiles`."""

    @property
    def pending(self) -> int: ...
    @property
    def lag(self) -> float: ...
    def changed(self, job_id: int, source: Source) -> None: ...
    def missing(self, job_ids: Iterable[int]) -> Deferred[list[int]]: ...


class History(Protocol):
    """Finished jobs, logs and the archive; see `jqueue.store.history.History`."""

    def load(self, job_ids: Iterable[int], queue: Queue | None = None) -> Deferred[Loaded]: ...
    def look_up(self, function: Callable[[], T]) -> Deferred[T]: ...
    def archived_ids(self) -> Deferred[list[int]]: ...
    def log(self, job_id: int, newer_than: int, limit: int) -> Deferred[list[Entry]]: ...
    def log_tail(self, job_id: int, count: int) -> Deferred[list[Entry]]: ...
    def write_log(self, entries: dict[int, list[Entry]]) -> Deferred[None]: ...
    def repair_log(self, job_id: int) -> Deferred[int]: ...
    def archive(self, jobs: Iterable[tuple[int, Source | None]]) -> Deferred[None]: ...
    def retry(self) -> Deferred[None]: ...
    def is_archived(self, job_id: int) -> Deferred[bool | None]: ...
    def forget(self, job_id: int) -> Deferred[None]: ...
    def remove_run_directory(self, job_id: int, op_index: int, attempt: int) -> Deferred[None]: ...


class Drain(Protocol):
    """`control/drained`; see `jqueue.store.control.Control`."""

    @property
    def drained(self) -> str | None: ...
    def set(self, reason: str | None) -> Deferred[None]: ...


@dataclass
class Outside:
    """The queue's surroundings."""

    clock: IReactorTime
    turns: Turns
    wall: Callable[[], float]
    """The wall time in seconds."""
    journal: RecordJournal
    job_files: JobFiles
    history: History
    workers: Workers
    drain: Drain
    make_context: MakeContext
    post: Callable[[Callable[[], None]], None]
    """Has a function called on the reactor thread, from any thread."""


def job_in(found: Loaded, job_id: int) -> _QueuedJob | None:
    """Takes a job out of what was loaded.

    @return: None for a job that is nowhere
    @raise StateError: its file cannot be read, so nobody knows
    """
    job = found.get(job_id)
    if isinstance(job, StateError):
        raise job
    return job


def archived_status(history: History, job_id: int) -> Deferred[str | None]:
    """Looks up how a job has ended that the queue does not know any more; None if it is nowhere."""

    def status(found: Loaded) -> str | None:
        job = job_in(found, job_id)
        # A file of an unfinished job that is not in the queue is of no use: nobody will ever finish it.
        return job.CalcStatus() if job is not None and job.final else None

    return history.load([job_id]).addCallback(status)


def lost(job_id: int) -> JobLost:
    """The error for a job that is nowhere."""
    return JobLost(f"There is no job {job_id}, neither in the queue nor in the archive; `jqueue list` shows the ids")
