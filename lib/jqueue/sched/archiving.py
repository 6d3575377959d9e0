"""The archive as the queue sees it: final jobs leave, by their age, one by one, or because their file is gone.

Each is durable before it is answered; the files are moved a little later, by `jqueue.store.archive`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgpack
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from jqueue.errors import DiskFull
from jqueue.jobs.job import _QueuedJob
from jqueue.sched.edits import Edits, Journal, unless_stopping
from jqueue.sched.outside import History
from jqueue.sched.table import JobTable

_ARCHIVE_BATCH = 200
_FOREVER = 1e12


class Archiving:
    """Lets final jobs leave the queue."""

    _log = Logger()

    def __init__(
        self,
        *,
        clock: IReactorTime,
        wall: Callable[[], float],
        table: JobTable,
        edits: Edits,
        journal: Journal,
        history: History,
        archived: Callable[[int], None],
    ) -> None:
        """Makes it.

        @param wall: wall time in seconds
        @param archived: told of each job that has left the queue for good, once that is durable
        """
        self._clock = clock
        self._wall = wall
        self._table = table
        self._edits = edits
        self._journal = journal
        self._history = history
        self._told_archived = archived
        self._archiving: set[int] = set()

    def archive(self, job_ids: Iterable[int]) -> Deferred[int]:
        """Archives those of the jobs that are final.

        @return: fires with their number once that is durable; the files are moved a little later
        """
        chosen = [job_id for job_id in job_ids if job_id in self._table.finished and job_id not in self._archiving]
        if not chosen:
            return succeed(0)
        self._archiving.update(chosen)
        return self._journal.append(msgpack.packb(["archive", chosen]), refusable=True).addCallbacks(
            self._archived, self._not_archived, callbackArgs=(chosen,), errbackArgs=(chosen,)
        )

    def dismiss(self, job_id: int) -> None:
        """Archives a job that was to leave by itself; if that cannot be recorded, it stays until its time is over."""

        def failed(failure: Failure) -> None:
            if not failure.check(DiskFull):  # which is said anyway
                self._log.error("Job {job_id} could not leave by itself: {failure}", job_id=job_id, failure=failure)

        self.archive([job_id]).addErrback(unless_stopping).addErrback(failed)

    def _archived(self, _sequence: int, chosen: list[int]) -> int:
        self._archiving.difference_update(chosen)
        moved = [(job_id, self._table.get(job_id)) for job_id in chosen]
        for job_id in chosen:
            self._leave(job_id)
        self._history.archive(moved).addErrback(
            lambda failure: self._log.failure("Files could not be moved to the archive", failure)
        )
        return len(chosen)

    def _leave(self, job_id: int) -> None:
        if job_id in self._table.finished:  # otherwise it was archived and forgotten at the same time
            self._table.remove(job_id)
            self._told_archived(job_id)

    def _not_archived(self, failure: Failure, chosen: list[int]) -> Failure:
        self._archiving.difference_update(chosen)
        return failure

    async def auto_archive(self, age: float, timeout: float) -> tuple[int, int]:
        """Archives final jobs that ended at least so long ago, the oldest first.

        @param age: seconds since the end; negative: any
        @param timeout: seconds after which it stops
        @return: how many were archived, and how many were not looked at
        """
        deadline = self._clock.seconds() + timeout
        ended_before = self._wall() - age if age >= 0 else _FOREVER
        candidates = sorted(self._table.finished)
        archived = 0
        for start in range(0, len(candidates), _ARCHIVE_BATCH):
            if self._clock.seconds() > deadline:
                return archived, len(candidates) - start
            batch = [
                job_id for job_id in candidates[start : start + _ARCHIVE_BATCH] if self._ended(job_id) <= ended_before
            ]
            archived += await self.archive(batch)
            await deferLater(self._clock, 0)
        return archived, 0

    def _ended(self, job_id: int) -> float:
        row = self._table.finished.get(job_id)
        if row is None:
            return _FOREVER
        seconds, _microseconds = row.end_ts or row.start_ts or row.received_ts or (0, 0)
        return seconds

    def archives(self, job_id: int) -> bool:
        """Whether a job is on its way to the archive."""
        return job_id in self._archiving

    def forget(self, job_id: int) -> Deferred[None]:
        """Forgets a final job whose file an administrator has removed or moved away."""

        def make(job: _QueuedJob | None) -> bytes | None:
            return msgpack.packb(["forget", [job_id]]) if job_id in self._table.finished else None

        def done(recorded: bool) -> None:
            if recorded:
                self._leave(job_id)
                self._history.forget(job_id).addErrback(
                    lambda failure: self._log.failure("Files of a removed job are left", failure)
                )

        return self._edits.record(job_id, make).addCallback(done)
