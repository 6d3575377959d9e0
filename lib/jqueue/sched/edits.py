"""Edits: the one way in which a job changes (see doc/design/core.md).

Copy, change the copy, journal the difference, publish the copy once it is synced; several jobs at once likewise, in one
record, so that no crash comes between.
What a change means (a status, a cancel) is decided by the callers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import msgpack
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from jqueue.errors import JobLost, ShuttingDown
from jqueue.jobs import packing
from jqueue.jobs.job import _QueuedJob
from jqueue.sched.table import JobTable

T = TypeVar("T")

Change = Callable[[_QueuedJob], T]
"""Changes the copy of a job that it is given, and says something about it."""


def unless_stopping(failure: Failure) -> Failure | None:
    """Takes it for no failure that the daemon stops and records nothing more: the next start finds out what is due."""
    return None if failure.check(ShuttingDown) else failure


class Journal(Protocol):
    """What an edit needs of the journal."""

    def append(self, record: bytes, *, refusable: bool = False) -> Deferred[int]:
        """Makes a record durable."""
        ...


class Edits:
    """Makes changes of jobs durable, then visible; those of one job one after the other."""

    _log = Logger()

    def __init__(self, table: JobTable, journal: Journal, published: Callable[[_QueuedJob, _QueuedJob], None]) -> None:
        """Makes it.

        @param published: called with the version before and the one after, when the latter is in the table
        """
        self._table = table
        self._journal = journal
        self._published = published
        self._turns: dict[int, deque[Callable[[], Deferred[None] | None]]] = {}

    def edit(self, job_id: int, change: Change[T], *, refusable: bool = False) -> Deferred[T]:
        """Changes a job.

        @param change: called with a copy of the job, once earlier edits of it are published
        @param refusable: fail with `DiskFull` rather than use up what running work needs to come to its end
        @return: what `change` returned, once that is durable and published; it fails with what `change` raised
            (then nothing has changed), or with `JobLost` if there is no such job in memory
        """
        done: Deferred[T] = Deferred()

        def turn() -> Deferred[None] | None:
            before = self._table.get(job_id)
            if before is None:
                done.errback(JobLost(f"There is no job {job_id} that can be changed; finished ones cannot"))
                return None
            after = before.copy()
            try:
                value = change(after)
                update = packing.diff(before, after)
            except Exception:
                done.errback(Failure())
                return None
            if not update:
                done.callback(value)
                return None

            def publish(_sequence: int) -> None:
                self._publish([(before, after)])
                done.callback(value)

            synced = self._journal.append(msgpack.packb(["update", job_id, update]), refusable=refusable)
            return synced.addCallbacks(publish, done.errback)

        self._take(job_id, turn)
        return done

    def edit_all(
        self, job_ids: Sequence[int], change: Callable[[list[_QueuedJob]], T], *, refusable: bool = False
    ) -> Deferred[T]:
        """Changes several jobs in one record.

        @param job_ids: at least one
        @param change: called with copies of those that are in memory, in the order of their ids here, once earlier
            edits of all of them are published
        @param refusable: as for `edit`
        @return: as for `edit`; they are published in that order
        """
        done: Deferred[T] = Deferred()
        released: list[Deferred[None]] = []

        def turn() -> Deferred[None]:
            mine: Deferred[None] = Deferred()
            released.append(mine)
            if len(released) == len(job_ids):
                self._edit_all(job_ids, change, refusable).addBoth(end)
            return mine

        def end(result: T | Failure) -> None:
            # As for one job: whoever asked goes on before the next edit.
            if isinstance(result, Failure):
                done.errback(result)
            else:
                done.callback(result)
            for one in released:
                one.callback(None)

        for job_id in job_ids:
            self._take(job_id, turn)
        return done

    def _edit_all(
        self, job_ids: Sequence[int], change: Callable[[list[_QueuedJob]], T], refusable: bool
    ) -> Deferred[T]:
        found = [self._table.get(job_id) for job_id in job_ids]
        versions = [(before, before.copy()) for before in found if before is not None]
        try:
            value = change([after for _before, after in versions])
            diffs = [packing.diff(before, after) for before, after in versions]
        except Exception:
            return fail(Failure())
        changed = [version for version, diff in zip(versions, diffs, strict=True) if diff]
        if not changed:
            return succeed(value)
        updates = [[version[1].id, diff] for version, diff in zip(versions, diffs, strict=True) if diff]

        def publish(_sequence: int) -> T:
            self._publish(changed)
            return value

        synced = self._journal.append(msgpack.packb(["updates", updates]), refusable=refusable)
        return synced.addCallback(publish)

    def _publish(self, versions: Sequence[tuple[_QueuedJob, _QueuedJob]]) -> None:
        for _before, after in versions:
            self._table.put(after)
        for before, after in versions:
            try:
                self._published(before, after)
            except Exception:
                # Whoever made the change must go on, or the job would never move again.
                self._log.failure("What follows from a change of job {job_id} failed", job_id=after.id)

    def record(self, job_id: int, make: Callable[[_QueuedJob | None], bytes | None]) -> Deferred[bool]:
        """Journals a record about a job in the order of its edits.

        @param make: called with the published version; gives the record, or None if there is nothing to do after all
        @return: whether there was a record, once it is durable; fails with `DiskFull` when there is no space
        """
        done: Deferred[bool] = Deferred()

        def turn() -> Deferred[None] | None:
            record = make(self._table.get(job_id))
            if record is None:
                done.callback(False)
                return None
            synced = self._journal.append(record, refusable=True)
            return synced.addCallbacks(lambda _: done.callback(True), done.errback)

        self._take(job_id, turn)
        return done

    def _take(self, job_id: int, turn: Callable[[], Deferred[None] | None]) -> None:
        turns = self._turns.get(job_id)
        if turns is None:
            self._turns[job_id] = deque([turn])
            self._run(job_id)
        else:
            turns.append(turn)

    def _run(self, job_id: int) -> None:
        turns = self._turns[job_id]
        while turns:
            on_its_way = turns[0]()
            if on_its_way is not None:
                on_its_way.addErrback(self._failed, job_id)
                if not on_its_way.called:
                    on_its_way.addCallback(self._next, job_id)
                    return
            turns.popleft()
        del self._turns[job_id]

    def _failed(self, failure: Failure, job_id: int) -> None:
        self._log.failure("What follows from a change of job {job_id} failed", failure, job_id=job_id)

    def _next(self, _result: None, job_id: int) -> None:
        self._turns[job_id].popleft()
        self._run(job_id)
