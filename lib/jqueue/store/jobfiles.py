"""Keeping the job files up to date: one readable `job-N` a job, a little behind the journal.

For jobs the journal is the truth, so a job file is neither synced nor waited for, and a change that is overtaken by a
newer one is never written. Everything that costs time, serialising included, is done in the file thread.
Where job files are read, moved and removed is `archive`; log files are `logfiles`.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.packing import unpack
from jqueue.store.files import Files
from jqueue.store.statedir import StateDirectory
from jqueue.store.thread import FileThread, InlineThread

Source: TypeAlias = "_QueuedJob | bytes | Callable[[], _QueuedJob]"

BATCH = 64  # files a call of the file thread, so that logs and archive moves get their turn
RETRY = 5.0  # seconds until a file that could not be written is tried again

_OPS_AT_ONCE = 100
_DISK_TROUBLE = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS}  # as good as certain for the next file too

_encode = json.JSONEncoder(ensure_ascii=False).encode


@dataclass
class _Change:
    number: int
    since: float
    source: Source


@dataclass
class _Outcome:
    failed: dict[int, Exception]
    settled: int  # so many from the start of the batch are written or failed for good reason; the rest must wait


def resolve(job_id: int, source: Source) -> _QueuedJob:
    """@return: the job that a source stands for"""
    if isinstance(source, bytes):
        return unpack(None, job_id, source)
    return source if isinstance(source, _QueuedJob) else source()


def encode_state(state: Mapping[str, Any]) -> bytes:
    """@return: a job's serialised state as its file has it: one line of JSON, readable with `cat`"""
    if len(state["ops"]) <= _OPS_AT_ONCE:
        text = _encode(state)
    else:  # opcode by opcode: one call for 100,000 of them would keep the interpreter from every other thread
        parts = [
            f"{_encode(key)}: " + (f"[{', '.join(map(_encode, value))}]" if key == "ops" else _encode(value))
            for key, value in state.items()
        ]
        text = "{" + ", ".join(parts) + "}"
    # Half surrogate pairs have no UTF-8; the escape that Python makes of them is JSON's as well.
    return f"{text}\n".encode("utf-8", "backslashreplace")


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
    ) -> None:
        """Starts with nothing to write.

        @param on_error: is told (job id, what happened) of a file that cannot be written; it is tried again by itself
        @param delay: seconds that a change waits for a newer one of the same job
        """
        self._state = state
        self._temporary = state.tmp
        self._files = files
        self._thread = thread
        self._clock = clock
        self._on_error = on_error
        self._delay = delay
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

    def final_failed(self) -> list[int]:
        """@return: the final jobs whose file could not be written when that was last tried"""
        failed = [self._failed, self._dirty] if self._held else [self._failed]
        return [
            job_id
            for group in failed
            for job_id, change in group.items()
            if isinstance(change.source, _QueuedJob) and change.source.final
        ]

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
        due = self._clock.seconds() - self._delay
        batch: dict[int, _Change] = {}
        for job_id, change in islice(self._dirty.items(), BATCH):
            if change.since > due and change.number > self._flush_to:
                break
            batch[job_id] = change
        for job_id in batch:
            del self._dirty[job_id]
        return batch

    @inlineCallbacks
    def _write(self) -> Generator[Deferred[_Outcome], _Outcome, None]:
        self._writing = True
        self._held = False
        while not self._held and (batch := self._take()):
            self._in_flight = batch
            try:
                outcome = yield self._thread.call(self._write_batch, [(i, c.source) for i, c in batch.items()])
            except Exception as error:
                outcome = _Outcome({next(iter(batch)): error}, settled=0)
            self._in_flight = {}
            self._settle(batch, outcome)
            if self._waiters:
                self._tell_waiters()
        self._writing = False
        self._tell_waiters()
        self._schedule()

    def _settle(self, batch: dict[int, _Change], outcome: _Outcome) -> None:
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

    # In the file thread

    def _write_batch(self, batch: list[tuple[int, Source]]) -> _Outcome:
        failed: dict[int, Exception] = {}
        for index, (job_id, source) in enumerate(batch):
            try:
                self._write_file(job_id, source)
            except Exception as error:
                failed[job_id] = error
                if isinstance(error, OSError) and error.errno in _DISK_TROUBLE:
                    return _Outcome(failed, settled=index)
        return _Outcome(failed, settled=len(batch))

    def _write_file(self, job_id: int, source: Source) -> None:
        temporary = self._temporary / f"job-{job_id}"
        self._files.write_file(temporary, encode_state(resolve(job_id, source).Serialize()), sync=False)
        self._files.rename(temporary, self._state.job_file(job_id))
