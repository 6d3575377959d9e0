"""Reading back what is no longer in memory: finished and archived jobs, and older log entries.

The calls go to the reader thread; what is asked of the jobs lives in `queries`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from twisted.internet.defer import Deferred

from jqueue.events.joblog import Entry
from jqueue.jobs.job import _QueuedJob


class History(Protocol):
    """The jobs and logs on disk."""

    def load(self, job_ids: Iterable[int]) -> Deferred[dict[int, _QueuedJob]]:
        """Loads jobs, live or archived; those that are nowhere, or cannot be read, are missing from the answer."""
        ...

    def archived_ids(self) -> Deferred[list[int]]:
        """The ids of all archived jobs, ascending."""
        ...

    def log(self, job_id: int, newer_than: int, limit: int) -> Deferred[list[Entry]]:
        """At most `limit` log entries of a job, oldest first."""
        ...

    def log_tail(self, job_id: int, count: int) -> Deferred[list[Entry]]:
        """The last log entries of a job, oldest first."""
        ...
