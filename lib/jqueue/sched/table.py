"""The job table: every job the daemon knows, in its published version.

Unfinished jobs are whole; a queued one stays packed until it is looked at.
Of finished ones a row is kept, and the newest ones whole, packed; the rest is on disk, which is not read here.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from jqueue.jobs import packing
from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.status import FINALIZED, QUEUED

_WHOLE_BYTES = 64 << 20
_WHOLE_OPS = 1000  # more take too long to pack while others wait

Times = tuple[int, int]


class FinishedRow(NamedTuple):
    """What is kept of a finished job, so that lists need no disk."""

    status: str
    received_ts: Times | None
    start_ts: Times | None
    end_ts: Times | None
    name: str | None
    summary: list[str]
    owner: int | None


class JobHost(Protocol):
    """What jobs ask of the queue they belong to: the time, and what the pure package cannot know."""

    def time(self) -> float:
        """Wall time in seconds."""
        ...


class JobTable:
    """Jobs by id; changed only by publishing."""

    def __init__(self, host: JobHost, keep_whole: int, keep_bytes: int = _WHOLE_BYTES) -> None:
        """Makes an empty table.

        @param host: the `queue` of the jobs that are unpacked
        @param keep_whole: how many finished jobs stay in memory whole
        @param keep_bytes: how many bytes they may be: one may have megabytes of results
        """
        self._host = host
        self._keep_whole = keep_whole
        self._keep_bytes = keep_bytes
        self.unfinished: dict[int, bytes | _QueuedJob] = {}
        self.finished: dict[int, FinishedRow] = {}
        self._whole: dict[int, bytes] = {}
        self._whole_bytes = 0
        self.counts: Counter[str] = Counter()
        self._unpacked: tuple[bytes, _QueuedJob] | None = None

    def add_packed(self, job_id: int, packed: bytes) -> None:
        """Adds a job that has never been looked at; it is queued."""
        self.unfinished[job_id] = packed
        self.counts[QUEUED] += 1

    def get(self, job_id: int) -> _QueuedJob | None:
        """Gives a job's published version, if it is in memory."""
        job = self.unfinished.get(job_id) or self._whole.get(job_id)
        if isinstance(job, bytes):
            # Who looks at a queued job usually changes it next, and asks again for that.
            if self._unpacked is None or self._unpacked[0] is not job:
                self._unpacked = job, packing.unpack(self._host, job_id, job)
            return self._unpacked[1]
        return job

    def status(self, job_id: int) -> str | None:
        """The status of a job that is not archived, without unpacking it."""
        job = self.unfinished.get(job_id)
        if job is None:
            row = self.finished.get(job_id)
            return row.status if row else None
        return QUEUED if isinstance(job, bytes) else job.CalcStatus()

    def put(self, job: _QueuedJob) -> None:
        """Replaces a job's published version."""
        before = self.status(job.id)
        if before is not None:
            self.counts[before] -= 1
        status = job.CalcStatus()
        self.counts[status] += 1
        if status not in FINALIZED:
            self.unfinished[job.id] = job
            return
        self.unfinished.pop(job.id, None)
        self.finished[job.id] = finished_row(job)
        self._drop_whole(job.id)
        if len(job.ops) <= _WHOLE_OPS:
            self._whole[job.id] = packed = packing.pack(job)
            self._whole_bytes += len(packed)
            self._unpacked = packed, job
        while len(self._whole) > self._keep_whole or self._whole_bytes > self._keep_bytes:
            self._drop_whole(next(iter(self._whole)))

    def _drop_whole(self, job_id: int) -> None:
        self._whole_bytes -= len(self._whole.pop(job_id, b""))

    def add_finished(self, job_id: int, row: FinishedRow) -> None:
        """Adds a finished job of which only the row is known."""
        self.finished[job_id] = row
        self.counts[row.status] += 1

    def packed_finished(self, job_id: int) -> bytes | None:
        """Gives a finished job packed, if it is in memory whole."""
        return self._whole.get(job_id)

    def remove(self, job_id: int) -> None:
        """Forgets a job that has left the queue."""
        status = self.status(job_id)
        if status is not None:
            self.counts[status] -= 1
        self.unfinished.pop(job_id, None)
        self.finished.pop(job_id, None)
        self._drop_whole(job_id)

    def ids(self, others: Iterable[int] = ()) -> Iterator[int]:
        """All ids as they are now, ascending; merged while they are asked for, because a million takes its time.

        @param others: more ids, ascending
        """
        return _without_repeats(heapq.merge(list(self.unfinished), sorted(self.finished), others))

    def __contains__(self, job_id: object) -> bool:
        return job_id in self.unfinished or job_id in self.finished

    def __iter__(self) -> Iterator[int]:
        yield from self.unfinished
        yield from self.finished


def _without_repeats(ascending: Iterable[int]) -> Iterator[int]:
    last = 0
    for job_id in ascending:
        if job_id != last:
            last = job_id
            yield job_id


def finished_row(job: _QueuedJob) -> FinishedRow:
    """The row of a job that has just become final."""
    (summary,) = job.GetInfo(["summary"])
    return FinishedRow(
        job.CalcStatus(),
        job.received_timestamp,
        job.start_timestamp,
        job.end_timestamp,
        job.name,
        summary,
        job.owner,
    )
