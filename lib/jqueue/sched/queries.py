"""Questions about jobs: rows of fields, their logs, and waiting for a change.

Answered from published versions only. What is not in memory is read back off the reactor thread, and long answers are
made in slices, so that nobody waits for somebody else's list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from jqueue.events.joblog import Entry, JobLogs
from jqueue.events.waiters import ChangeWaiters
from jqueue.jobs import fields as job_fields
from jqueue.jobs.filters import compile_filter
from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.rows import Row, RowStream
from jqueue.jobs.status import QUEUED, RUNNING, WAITING
from jqueue.sched.outside import History, job_in, lost
from jqueue.sched.table import FinishedRow, JobTable

_SLICE = 0.002  # seconds
_CHUNK = 100  # jobs read back at once
_LOG_FIELD_ENTRIES = 1000
_ROW_FIELDS = frozenset(FinishedRow._fields) | {"id", "archived", "priority", "lifecycle", "progress"}
_STILL_MOVING = frozenset({QUEUED, WAITING, RUNNING})

Getter = Callable[[str], Any]
T = TypeVar("T")


class _OnDisk(Exception):
    """What is asked of a job is not in memory."""


class Queries:
    """Answers questions about jobs."""

    def __init__(
        self, *, clock: IReactorTime, table: JobTable, history: History, logs: JobLogs, waiters: ChangeWaiters
    ) -> None:
        self._clock = clock
        self._table = table
        self._history = history
        self._logs = logs
        self._waiters = waiters

    async def rows(self, ids: Sequence[int] | None, fields: Sequence[str], qfilter: object) -> RowStream | list[Row]:
        """Gives a row of values per job.

        @param ids: the jobs, in this order, archived ones too; None or none at all for every job of the queue, and of
            the archive too if the field `archived` is asked for
        @param fields: names of fields
        @param qfilter: keeps only the jobs that it is true for; None keeps all
        @return: for a job that is nowhere its id, then nulls
        @raise OpPrereqError: an unknown field, a filter that is none
        @raise StateError: the file of a job cannot be read
        """
        for name in fields:
            job_fields.get(name)
        if not ids and qfilter is None and set(fields) <= _ROW_FIELDS - {"archived"}:
            wanted = len(self._table.unfinished) + len(self._table.finished)
            return RowStream(wanted, self._rows_in_memory(self._table.ids(), fields))
        predicate = compile_filter(qfilter) if qfilter is not None else None
        if ids:
            chosen = iter(ids)
        else:
            chosen = self._table.ids(await self._history.archived_ids() if "archived" in fields else ())
        rows: list[Row] = []
        pace = _Pace(self._clock)
        while chunk := list(islice(chosen, _CHUNK)):
            rows += await self._some_rows(chunk, fields, predicate, pace, keep_missing=bool(ids))
        return rows

    def _rows_in_memory(self, ids: Iterable[int], fields: Sequence[str]) -> Iterator[Row]:
        for job_id in ids:
            getter = self._getter(job_id)
            if getter is None:
                # It was archived after the ids were collected.
                yield [job_id if name == "id" else None for name in fields]
            else:
                yield [getter(name) for name in fields]

    async def _some_rows(
        self,
        ids: Sequence[int],
        fields: Sequence[str],
        predicate: Callable[[Getter], bool] | None,
        pace: _Pace,
        keep_missing: bool,
    ) -> list[Row]:
        found: dict[int, Row | None] = {}
        on_disk = []
        for job_id in ids:
            await pace.rest()
            getter = None if "oplog" in fields else self._getter(job_id)
            try:
                if getter is None:
                    raise _OnDisk
                kept = predicate is None or predicate(getter)
                found[job_id] = [getter(name) for name in fields] if kept else None
            except _OnDisk:
                on_disk.append(job_id)
        if on_disk:
            loaded = await self._load(on_disk, "oplog" in fields, all_or_none=keep_missing)
            for job_id, job in loaded.items():
                await pace.rest()
                kept = predicate is None or predicate(job_getter(job))
                found[job_id] = job.GetInfo(fields) if kept else None
        rows = []
        for job_id in ids:
            if job_id in found:
                row = found[job_id]
                if row is not None:
                    rows.append(row)
            elif keep_missing and predicate is None:
                rows.append([job_id if name == "id" else None for name in fields])
        return rows

    async def _load(self, ids: Sequence[int], with_logs: bool, all_or_none: bool) -> dict[int, _QueuedJob]:
        """@param all_or_none: fail also for a file that is damaged, which otherwise hides no other job"""
        jobs = {job_id: job for job_id in ids if (job := self._table.get(job_id)) is not None}
        loaded = await self._history.load([job_id for job_id in ids if job_id not in jobs])
        for job_id, found in loaded.items():
            if isinstance(found, _QueuedJob):
                jobs[job_id] = found
            elif all_or_none or isinstance(found.__cause__, OSError):
                raise found
        if with_logs:
            return {job_id: await self._with_log(job) for job_id, job in jobs.items()}
        return jobs

    async def _with_log(self, job: _QueuedJob) -> _QueuedJob:
        job = job.copy()
        for op_index, serial, (seconds, microseconds), kind, message in await self._history.log_tail(
            job.id, _LOG_FIELD_ENTRIES
        ):
            if op_index < len(job.ops):
                job.ops[op_index].add_log((serial, (seconds, microseconds), kind, message))
        return job

    def _getter(self, job_id: int) -> Getter | None:
        job = self._table.get(job_id)
        if job is not None:
            return job_getter(job)
        row = self._table.finished.get(job_id)
        return None if row is None else row_getter(job_id, row)

    # Logs

    async def log(self, job_id: int, newer_than: int, limit: int) -> list[Entry]:
        """Gives log entries, oldest first.

        @param newer_than: only those with a larger serial
        @param limit: at most so many
        @raise JobLost: there is no such job
        """
        recent = self._logs.recent(job_id, newer_than)
        if recent is not None:
            return recent[:limit]
        job = self._table.get(job_id)
        if job is not None and all(op.start_timestamp is None for op in job.ops):
            return []
        entries = await self._history.log(job_id, newer_than, limit)
        if not entries and job is None and not await self._exists(job_id):
            raise lost(job_id)
        return entries

    async def _exists(self, job_id: int) -> bool:
        return job_id in self._table or job_id in await self._history.load([job_id])

    # Waiting

    async def wait_for_change(
        self,
        job_id: int,
        fields: Sequence[str],
        prev_info: object,
        prev_serial: int | None,
        timeout: float,
        peer_closed: Deferred[None] | None,
    ) -> list[Any] | None:
        """Waits until a job differs from what the caller knows of it; as Ganeti 3.0 (reference 5.6).

        @param prev_info: the values of the fields that the caller has seen last
        @param prev_serial: the serial of the last log entry that it has seen
        @param timeout: seconds, after which the unchanged values are the answer
        @param peer_closed: fires when nobody waits for the answer any more
        @return: the values, and the log entries that are new; None for a job that is nowhere
        @raise OpPrereqError: an unknown field
        """
        for name in fields:
            job_fields.get(name)
        deadline = self._clock.seconds() + timeout
        waiting = _Waiting()
        if peer_closed is not None:
            peer_closed.addBoth(waiting.give_up)
        while True:
            # Asked for before the look, so that no change falls between the two.
            changed = self._waiters.wait(job_id)
            changed.addErrback(_not_changed)
            timer = self._clock.callLater(max(deadline - self._clock.seconds(), 0), changed.cancel)
            try:
                answer = await self._look(job_id, fields, prev_info, prev_serial)
                if answer is None or answer[2] or deadline <= self._clock.seconds():
                    return None if answer is None else [answer[0], answer[1]]
                waiting.changed = changed
                await changed
                if peer_closed is not None and peer_closed.called:
                    return None
            finally:
                changed.cancel()
                if timer.active():
                    timer.cancel()

    async def _look(
        self, job_id: int, fields: Sequence[str], prev_info: object, prev_serial: int | None
    ) -> tuple[list[Any], list[Entry], bool] | None:
        """@return: the values, new log entries, whether that is worth telling; None for a job that is nowhere"""
        job = self._table.get(job_id) or job_in(await self._history.load([job_id]), job_id)
        if job is None:
            return None
        values = job.GetInfo(fields)
        entries = [entry[1:] for entry in await self.log(job_id, prev_serial or 0, _LOG_FIELD_ENTRIES)]
        moved = job.CalcStatus() not in _STILL_MOVING or not same(values, prev_info)
        return values, entries, moved or bool(entries)


class _Pace:
    """Gives the others their turn; by time, because one job may have a thousand times as many opcodes as another."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._until = clock.seconds() + _SLICE

    async def rest(self) -> None:
        """Waits for the next turn if this one has taken long."""
        if self._clock.seconds() >= self._until:
            await deferLater(self._clock, 0)
            self._until = self._clock.seconds() + _SLICE


class _Waiting:
    """What a client waits for at the moment."""

    changed: Deferred[bool] | None = None

    def give_up(self, closed: T) -> T:
        """Ends the waiting of a client that is gone."""
        if self.changed is not None:
            self.changed.cancel()
        return closed


def _not_changed(failure: Failure) -> bool:
    failure.trap(CancelledError)
    return False


def same(values: object, other: object) -> bool:
    """Whether two answers are the same after their way over a wire, where tuples become lists."""
    if isinstance(values, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(values) == len(other) and all(map(same, values, other))
    if isinstance(values, dict) and isinstance(other, dict):
        return values.keys() == other.keys() and all(same(value, other[key]) for key, value in values.items())
    return values == other


def job_getter(job: _QueuedJob) -> Getter:
    """Gives the fields of a job by name."""
    return lambda name: job_fields.get(name).get(job)


def row_getter(job_id: int, row: FinishedRow) -> Getter:
    """Gives the fields of a finished job of which only the row is in memory.

    @raise _OnDisk: from the getter, for any other field
    """

    def get(name: str) -> Any:
        match name:
            case "id":
                return job_id
            case "archived":
                return False
            case "priority":
                return 0
            case "lifecycle":
                return "concluded"
            case "progress":
                return None
        if name not in _ROW_FIELDS:
            raise _OnDisk
        return getattr(row, name)

    return get
