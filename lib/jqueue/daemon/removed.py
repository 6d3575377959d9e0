"""What follows when an administrator moves or removes a job file while the daemon runs.

How that is noticed lives in `jqueue.store.jobwatch`. A file is only taken for gone if it stays away for a moment:
editors and `sed -i` rename it, and put another in its place.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from jqueue.errors import DiskFull
from jqueue.sched.outside import History
from jqueue.sched.queue import JobQueue

_SETTLE = 0.2  # seconds


class RemovedFiles:
    """Archives the final jobs whose files were moved to the archive, and forgets those whose files are nowhere."""

    _log = Logger()

    def __init__(self, queue: JobQueue, history: History, clock: IReactorTime) -> None:
        self._queue = queue
        self._history = history
        self._clock = clock
        self._refused: set[int] = set()

    def gone(self, job_id: int) -> None:
        """Acts on a job file that is not under its name any more, or was not for a moment."""
        if job_id in self._queue.table.unfinished:
            self._log.warn(
                "The file of job {job_id} was removed, but the job has not ended; written again", job_id=job_id
            )
            self._queue.rewrite(job_id)
        elif self._is_missed(job_id):
            self._clock.callLater(_SETTLE, self._look, job_id)

    def retry(self) -> None:
        """Goes on with what a full disk refused."""
        refused, self._refused = self._refused, set()
        for job_id in refused:
            self._look(job_id)

    def _is_missed(self, job_id: int) -> bool:
        return job_id in self._queue.table.finished and not self._queue.archiving.archives(job_id)

    def _look(self, job_id: int) -> None:
        if not self._queue.stopping:
            Deferred.fromCoroutine(self._judge(job_id)).addErrback(self._failed, job_id)

    async def _judge(self, job_id: int) -> None:
        archived = await self._history.is_archived(job_id)
        if not self._is_missed(job_id):
            return
        if archived:
            self._log.info("The file of job {job_id} was moved to the archive; the job is archived", job_id=job_id)
            await self._queue.archiving.archive([job_id])
        elif archived is None:
            self._log.info("The file of job {job_id} was removed; the job is forgotten", job_id=job_id)
            await self._queue.archiving.forget(job_id)

    def _failed(self, failure: Failure, job_id: int) -> None:
        if failure.check(DiskFull):
            self._refused.add(job_id)
        else:
            self._log.error(
                "The file of job {job_id} is missing, but that cannot be noted: {failure}",
                job_id=job_id,
                failure=failure,
            )
