"""The journal: records in, and word back once they are on the disk. Group commit, and what happens when the disk fails.

All records that come in while a sync runs are the next batch; one batch is in flight. Everything here runs on the
reactor's thread and makes no disk call. Those live in `jqueue.store.writer`, the format in `jqueue.store.segment`,
reading back in `jqueue.store.replay`. What records mean is not known here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from jqueue.errors import DiskFull, ShuttingDown, StateError, StoreFailed
from jqueue.store.files import Files
from jqueue.store.replay import replay
from jqueue.store.segment import HEADER_SIZE
from jqueue.store.thread import FileThread, InlineThread
from jqueue.store.writer import Position, SegmentWriter

__all__ = ["RESERVE_SIZE", "SEGMENT_SIZE", "Journal", "replay"]

SEGMENT_SIZE = 16 << 20
RESERVE_SIZE = 4 << 20

_BATCH_RECORDS = 256
"""Telling their senders takes the reactor a few milliseconds; more would hold up everybody else."""
_BATCH_BYTES = 1 << 20


class _Entry(NamedTuple):
    """Something to be done in order: a record to write, or, without one, a segment to start."""

    record: bytes | None
    done: Deferred[int]
    refusable: bool


class Journal:
    """The journal of one state directory, open for appending."""

    def __init__(
        self,
        directory: Path,
        files: Files,
        thread: FileThread | InlineThread,
        *,
        later: Callable[[Callable[[], None]], object],
        on_failure: Callable[[BaseException], None],
        on_full: Callable[[bool], None],
        segment_size: int = SEGMENT_SIZE,
        reserve_size: int = RESERVE_SIZE,
    ) -> None:
        """Makes the journal; nothing is touched before `open`.

        @param directory: `StateDirectory.journal`
        @param thread: makes the disk calls; nothing else should keep it busy
        @param later: runs a function in the reactor's next turn, so that what arrives in one turn is one batch
        @param on_failure: told once, with a `StoreFailed`, that nothing will be written any more
        @param on_full: told True when there is no room for another segment, False when there is again
        @param segment_size: bytes of a segment
        @param reserve_size: bytes kept for the time when the disk is full
        """
        self.full = False
        """There is no room for another segment: records that may be refused are."""
        self.appended = 0
        """Records taken so far."""
        self.syncs = 0
        """Batches synced so far."""
        self.last_sync_seconds = 0.0
        """What the last batch took to write and sync."""
        self.max_sync_seconds = 0.0
        """The longest of these."""
        self._directory = directory
        self._thread = thread
        self._later = later
        self._on_failure = on_failure
        self._on_full = on_full
        self._writer = SegmentWriter(directory, files, segment_size, reserve_size)
        self._batch_bytes = min(_BATCH_BYTES, segment_size // 2, reserve_size // 2)
        self._sizes: dict[int, int] = {}
        self._next_sequence = 0
        self._pending: deque[_Entry] = deque()
        self._synced: deque[tuple[Deferred[int], int]] = deque()
        self._busy = False
        self._sending_later = False
        self._telling = False
        self._allocating = False
        self._preparing: list[Deferred[None]] = []
        self._failure: StoreFailed | None = None
        self._closed: Deferred[None] | None = None
        self._closing_files = False

    @property
    def next_sequence(self) -> int:
        """The sequence of the first record that is not on the disk yet."""
        return self._next_sequence

    def open(self, next_sequence: int) -> Deferred[None]:
        """Makes what `replay` has read durable and gets ready to append; nothing read may be shown before.

        @param next_sequence: one more than that of the last record there is, in the journal or a checkpoint
        @return: fails with `StateError` when the journal cannot be used
        """
        self._next_sequence = next_sequence
        self._busy = True

        def opened(result: tuple[list[tuple[int, int]], Position, bool]) -> None:
            older, position, full = result
            self._sizes = dict(older)
            self._busy = False
            self._set_full(full)
            self._note(position)
            self._send()

        def failed(failure: Failure) -> Failure:
            self._busy = False
            if isinstance(failure.value, OSError):
                error = failure.value
                raise StateError(
                    f"the journal in {self._directory} cannot be opened: {error.filename or ''} {error.strerror};"
                    " check the disk and start again"
                ) from error
            return failure

        return self._thread.call(self._writer.open, next_sequence).addCallbacks(opened, failed)

    def append(self, record: bytes, *, refusable: bool = False) -> Deferred[int]:
        """Appends a record.

        @param record: any bytes
        @param refusable: rather fail than use up the reserve when the disk is full
        @return: fires with the record's sequence once it is on the disk, in the order of the calls;
            fails with `DiskFull` (only if refusable), `ShuttingDown` or `StoreFailed`
        """
        if refusable and self.full and self._failure is None:
            return fail(DiskFull())
        self.appended += 1
        return self._add(_Entry(record, Deferred(), refusable))

    def rotate(self) -> Deferred[int]:
        """Starts a segment, so that the older ones can be dropped after a checkpoint.

        @return: fires with the sequence S of its first record, after all records before S and before any from S on;
            fails with `DiskFull` when there is no room for it
        """
        return self._add(_Entry(None, Deferred(), True))

    def drop_before(self, sequence: int) -> Deferred[None]:
        """Removes the segments that hold nothing from `sequence` on.

        @param sequence: what `rotate` fired with before the oldest checkpoint that is kept
        """
        if self._failure is not None:
            return fail(self._failure)

        def dropped(_: None) -> None:
            firsts = sorted(self._sizes)
            for first, following in zip(firsts, firsts[1:], strict=False):
                if following <= sequence:
                    del self._sizes[first]
            if self.full:
                self.retry_space()

        return self._thread.call(self._writer.drop_before, sequence).addCallback(dropped).addErrback(self._fail)

    def bytes_since(self, sequence: int) -> int:
        """@return: bytes in use of the segments that begin at `sequence` or later: what a replay would read"""
        return sum(size for first, size in self._sizes.items() if first >= sequence)

    def retry_space(self) -> None:
        """Looks whether there is room again, when the disk was full; to be called every few seconds."""
        if not self._allocating and self._failure is None and self._closed is None:
            self._allocating = True
            self._thread.call(self._writer.allocate_step).addCallbacks(self._allocated, self._not_allocated)

    def prepared(self) -> Deferred[None]:
        """Fires once what is allocated in advance is there, or cannot be; before, batches wait for each piece of it."""
        done: Deferred[None] = Deferred()
        self._preparing.append(done)
        if not self._allocating:
            self._tell_prepared()
        return done

    def _tell_prepared(self) -> None:
        waiting, self._preparing = self._preparing, []
        for done in waiting:
            done.callback(None)

    def close(self) -> Deferred[None]:
        """Takes no more records, and closes the files once those taken are on the disk."""
        if self._closed is None:
            self._closed = Deferred()
            if self._failure is not None:
                self._close_files()
            else:
                self._send()
        result: Deferred[None] = Deferred()
        self._closed.chainDeferred(result)
        return result

    def _add(self, entry: _Entry) -> Deferred[int]:
        if self._failure is not None:
            return fail(self._failure)
        if self._closed is not None:
            return fail(ShuttingDown())
        self._pending.append(entry)
        if not self._busy and not self._sending_later:
            self._sending_later = True
            self._later(self._send)
        return entry.done

    def _send(self) -> None:
        """Gives the next batch, or the next wish for a segment, to the thread, unless it is at one."""
        self._sending_later = False
        if self._busy or self._failure is not None:
            return
        if not self._pending:
            if self._closed is not None:
                self._close_files()
            return
        self._busy = True
        if self._pending[0].record is None:
            entry = self._pending.popleft()
            call = self._thread.call(self._writer.rotate, self._next_sequence)
            call.addCallbacks(self._rotated, self._not_written, (entry,), errbackArgs=([entry],))
        else:
            batch, records = self._take_batch()
            call = self._thread.call(self._writer.write, self._next_sequence, records, self.full)
            call.addCallbacks(self._written, self._not_written, (batch,), errbackArgs=(batch,))

    def _take_batch(self) -> tuple[list[_Entry], list[bytes]]:
        pending = self._pending
        batch: list[_Entry] = []
        records: list[bytes] = []
        size = 0
        while pending and len(batch) < _BATCH_RECORDS and (record := pending[0].record) is not None:
            size += len(record)
            if batch and size > self._batch_bytes:
                break
            batch.append(pending.popleft())
            records.append(record)
        return batch, records

    def _written(self, position: Position, batch: list[_Entry]) -> None:
        self._synced.extend((entry.done, self._next_sequence + index) for index, entry in enumerate(batch))
        self._next_sequence += len(batch)
        self.syncs += 1
        self.last_sync_seconds = position.seconds
        self.max_sync_seconds = max(self.max_sync_seconds, position.seconds)
        self._go_on(position)

    def _rotated(self, position: Position, entry: _Entry) -> None:
        self._synced.append((entry.done, self._next_sequence))
        self._go_on(position)

    def _go_on(self, position: Position) -> None:
        self._busy = False
        self._note(position)
        self._send()  # first, so that the disk has work while everybody is told
        self._tell()

    def _note(self, position: Position) -> None:
        self._sizes[position.first] = position.size - HEADER_SIZE
        if not position.prepared and not self.full:
            self.retry_space()

    def _tell(self) -> None:
        """Tells the senders, in order: also when one of them makes the next batch complete meanwhile."""
        if self._telling:
            return
        self._telling = True
        while self._synced:
            done, sequence = self._synced.popleft()
            done.callback(sequence)
        self._telling = False

    def _not_written(self, failure: Failure, batch: list[_Entry]) -> None:
        self._pending.extendleft(reversed(batch))
        if not failure.check(DiskFull):
            self._fail(failure)
            return
        self._busy = False
        refused = [entry for entry in self._pending if entry.refusable]
        self._pending = deque(entry for entry in self._pending if not entry.refusable)
        self._set_full(True)
        for entry in refused:
            entry.done.errback(DiskFull())
        self._send()

    def _set_full(self, full: bool) -> None:
        if full != self.full:
            self.full = full
            self._on_full(full)

    def _allocated(self, complete: bool) -> None:
        self._allocating = False
        if not complete:
            self.retry_space()
        else:
            self._set_full(False)
            self._tell_prepared()

    def _not_allocated(self, failure: Failure) -> None:
        self._allocating = False
        self._tell_prepared()
        if failure.check(DiskFull):
            self._set_full(True)
        else:
            self._fail(failure)

    def _fail(self, failure: Failure) -> Failure:
        """Ends it: after a failed write or sync nobody knows what the disk holds, so nothing is tried again."""
        first = self._failure is None
        error = self._failure = self._failure or self._store_failed(failure.value)
        if first:
            self._on_failure(error)
        waiting, self._pending = self._pending, deque()
        for entry in waiting:
            entry.done.errback(error)
        if self._closed is not None:
            self._close_files()
        return Failure(error)

    def _store_failed(self, reason: BaseException | None) -> StoreFailed:
        what = (
            f"{reason.filename or self._directory}: {reason.strerror}" if isinstance(reason, OSError) else str(reason)
        )
        error = StoreFailed(
            f"the journal in {self._directory} cannot be written ({what}); nothing more is written."
            " Check the disk and start the daemon again: what was acknowledged is recovered"
        )
        error.__cause__ = reason
        return error

    def _close_files(self) -> None:
        closed = self._closed
        if closed is not None and not self._closing_files:
            self._closing_files = True
            self._thread.call(self._writer.close).chainDeferred(closed)
