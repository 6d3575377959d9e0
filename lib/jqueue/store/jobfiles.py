"""Keeping the job files up to date: one readable `job-N` a job, a little behind the journal.

For jobs the journal is the truth, so a job file is neither synced nor waited for, and a change that is overtaken by a
newer one is never written. Everything that costs time, serialising included, is done in the file thread.
Where job files are read, moved and removed is `archive`; log files are `logfiles`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from jqueue.jobs.job import _QueuedJob
from jqueue.store.files import Files
from jqueue.store.jobfile import Outcome, Source, write_batch
from jqueue.store.statedir import StateDirectory
from jqueue.store.thread import FileThread, InlineThread

BATCH = 128  # files a call of the file thread, so that logs and archive moves get their turn
RETRY = 5.0  # seconds until a file that could not be written is tried again

_CALM = 256  # pending files from which on a job that goes on has to wait for its file
_SCANNED = 4 * BATCH


@dataclass
class _Change:
    number: int
    since: float
    source: Source

    @property
    def final(self) -> bool:
        return isinstance(self.source, _QueuedJob) and self.source.final


class JobFiles:
    """The changes that are not in the job files yet; belongs to the reactor thread."""

    def __init__(
        self,
        state: StateDirectory,
        files: Files,
        thread: FileThread | InlineThread,
        clock: IReactorTime,
        on_error: Callable[[int, Exception], None],
        delay: float = 0.05,
        max_delay: float = 2.0,
        write: Callable[[Sequence[tuple[int, Source]]], Outcome] | None = None,
    ) -> None:
        """Starts with nothing to write.

        @param on_error: is told (job id, what happened) of a file that cannot be written; it is tried again by itself
        @param delay: seconds that a change waits for a newer one of the same job
        @param max_delay: the same for a job that has not ended while many files are pending: most end before it is over
        @param write: writes a batch, in the file thread; None does it there and then
        """
        self._state = state
        self._write_batch = write or partial(write_batch, state, files)
        self._files = files
        self._thread = thread
        self._clock = clock
        self._on_error = on_error
        self._delay = delay
        self._max_delay = max_delay
        self._dirty: dict[int, _Change] = {}  # oldest first
        self._in_flight: dict[int, _Change] = {}
        self._failed: dict[int, _Change] = {}
        self._number = 0
        self._flush_to = 0
        self._held = False
        self._writing = False
        self._timer: IDelayedCall | None = None
        self._retry: IDelayedCall | None = None
        self._waiters: list[tuple[int, Deferred[int]]] = []

    @property
    def pending(self) -> int:
        """How many jobs have a newer state than their file."""
        return len(self._dirty) + len(self._in_flight) + len(self._failed)

    @property
    def lag(self) -> float:
        """Seconds since the oldest change that is not in its file yet; 0.0 without one."""
        oldest = [change.since for change in self._failed.values()]
        oldest += [change.since for group in (self._in_flight, self._dirty) for change in islice(group.values(), 1)]
        return self._clock.seconds() - min(oldest) if oldest else 0.0

    def changed(self, job_id: int, source: Source) -> None:
        """Notes that a job's file is to be written.

        @param source: the published job, its packed form, or a function that gives the job; the latter two are only
          resolved in the file thread
        """
        self._failed.pop(job_id, None)
        if change := self._dirty.get(job_id):
            change.source = source
            return
        self._number += 1
        self._dirty[job_id] = _Change(self._number, self._clock.seconds(), source)
        self._schedule()

    def forget(self, job_id: int) -> None:
        """Drops what is not written yet; a call of the file thread made after this finds no later write."""
        self._dirty.pop(job_id, None)
        self._failed.pop(job_id, None)

    def flush(self) -> Deferred[int]:
        """Writes all that is pending now, without delay.

        @return: fires with the number of files that could not be written, once every change of before was tried
        """
        self._requeue_failed()
        self._flush_to = self._number
        waiter: Deferred[int] = Deferred()
        self._waiters.append((self._number, waiter))
        self._start()
        return waiter

    def write_now(self, jobs: Iterable[tuple[int, Source]]) -> Deferred[int]:
        """Writes the files of these jobs, and all that is pending, without delay; answers as `flush`."""
        for job_id, source in jobs:
            self.changed(job_id, source)
        return self.flush()

    def unwritten(self, job_ids: Iterable[int]) -> set[int]:
        """@return: those of the jobs that have a newer state than their file"""
        pending = (self._dirty, self._in_flight, self._failed)
        return {job_id for job_id in job_ids if any(job_id in group for group in pending)}

    def newest(self, job_id: int) -> Source | None:
        """@return: the state of a job that its file does not have yet; None if the file is up to date"""
        for group in (self._dirty, self._in_flight, self._failed):
            if job_id in group:
                return group[job_id].source
        return None

    def final_failed(self) -> list[int]:
        """@return: the final jobs whose file could not be written when that was last tried"""
        failed = [self._failed, self._dirty] if self._held else [self._failed]
        return [job_id for group in failed for job_id, change in group.items() if change.final]

    def sync(self) -> Deferred[None]:
        """@return: fires when everything written before this call is on the disk; fails with the `OSError`"""
        return self._thread.call(self._files.syncfs, self._state.path)

    def missing(self, job_ids: Iterable[int]) -> Deferred[list[int]]:
        """@return: fires with those of the jobs that have no file among the live ones"""
        wanted = list(job_ids)

        def look() -> list[int]:
            names = set(self._files.listdir(self._state.path))
            return [job_id for job_id in wanted if f"job-{job_id}" not in names]

        return self._thread.call(look)

    def stop(self) -> None:
        """Writes nothing more by itself; call it after the last `flush`."""
        for timer in (self._timer, self._retry):
            if timer is not None and timer.active():
                timer.cancel()
        self._timer = self._retry = None

    # Deciding when to write

    def _schedule(self) -> None:
        if self._writing or self._held or self._timer is not None or not self._dirty:
            return
        first = next(iter(self._dirty.values()))
        self._timer = self._clock.callLater(max(0.0, first.since + self._delay - self._clock.seconds()), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._start()

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._writing:
            self._write()

    def _take(self) -> dict[int, _Change]:
        now = self._clock.seconds()
        patience = self._delay if len(self._dirty) <= _CALM else self._max_delay
        batch: dict[int, _Change] = {}
        for job_id, change in islice(self._dirty.items(), _SCANNED):
            age = now - change.since
            if change.number > self._flush_to and age < self._delay:
                break
            if change.number <= self._flush_to or age >= patience or change.final:
                batch[job_id] = change
                if len(batch) == BATCH:
                    break
        for job_id in batch:
            del self._dirty[job_id]
        return batch

    @inlineCallbacks
    def _write(self) -> Generator[Deferred[Outcome], Outcome, None]:
        self._writing = True
        self._held = False
        while not self._held and (batch := self._take()):
            self._in_flight = batch
            try:
                outcome = yield self._thread.call(self._write_batch, [(i, c.source) for i, c in batch.items()])
            except Exception as error:
                outcome = Outcome({next(iter(batch)): error}, settled=0)
            self._in_flight = {}
            self._settle(batch, outcome)
            if self._waiters:
                self._tell_waiters()
        self._writing = False
        self._tell_waiters()
        self._schedule()

    def _settle(self, batch: dict[int, _Change], outcome: Outcome) -> None:
        back = dict(islice(batch.items(), outcome.settled, None))
        if back:
            self._held = True
            for job_id, change in self._dirty.items():
                if job_id in back:
                    back[job_id].source = change.source
                else:
                    back[job_id] = change
            self._dirty = back
        for job_id, error in outcome.failed.items():
            if job_id not in self._dirty:
                self._failed[job_id] = batch[job_id]
            self._on_error(job_id, error)
        if (self._held or self._failed) and self._retry is None:
            self._retry = self._clock.callLater(RETRY, self._on_retry)

    def _on_retry(self) -> None:
        self._retry = None
        self._requeue_failed()
        self._start()

    def _requeue_failed(self) -> None:
        failed, self._failed = self._failed, {}
        for job_id, change in failed.items():
            self._number += 1
            self._dirty[job_id] = _Change(self._number, change.since, change.source)

    def _tell_waiters(self) -> None:
        first = next(iter(self._dirty.values()), None)
        waiters, self._waiters = self._waiters, []
        for number, waiter in waiters:
            if self._held or first is None or first.number > number:
                waiter.callback(len(self._failed) + sum(change.number <= number for change in self._dirty.values()))
            else:
                self._waiters.append((number, waiter))
