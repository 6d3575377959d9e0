"""When a checkpoint is taken, and in which order, so that nothing is lost at any point.

Job files of finished jobs written, one syncfs, checkpoint synced and renamed; then old checkpoints and segments go.
What is in one lives in `snapshot`, its file in `jqueue.store.checkpoint`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from jqueue.errors import JobQueueError

_AGAIN = 60.0  # seconds after one that was given up


class Journal(Protocol):
    """What checkpoints need of the journal."""

    def rotate(self) -> Deferred[int]: ...
    def drop_before(self, sequence: int) -> Deferred[None]: ...
    def bytes_since(self, sequence: int) -> int: ...


class Writer(Protocol):
    """What writes a checkpoint's file."""

    def begin(self, sequence: int) -> Deferred[None]: ...
    def add(self, chunk: bytes) -> Deferred[None]: ...
    def finish(self) -> Deferred[None]: ...
    def abandon(self) -> Deferred[None]: ...
    def drop_old(self, keep: int = 2) -> Deferred[int]: ...


class Checkpointing:
    """Takes checkpoints, one at a time."""

    _log = Logger()

    def __init__(
        self,
        *,
        clock: IReactorTime,
        journal: Journal,
        writer: Writer,
        flush: Callable[[], Deferred[None]],
        chunks: Callable[[], Iterator[bytes]],
        after: int,
        failed: Callable[[BaseException], None],
    ) -> None:
        """Makes it.

        @param flush: writes all job files, carries out all archive moves, and syncs them; fails with `JobQueueError`
            while only the journal has something of a final job
        @param chunks: the queue's state
        @param after: bytes of journal behind the last checkpoint at which the next one is due
        @param failed: told that the disk failed in a way that must not be retried
        """
        self._clock = clock
        self._journal = journal
        self._writer = writer
        self._flush = flush
        self._chunks = chunks
        self._after = after
        self._failed = failed
        self._since = 0
        self._size = 0
        self._not_before = 0.0
        self._running: Deferred[None] | None = None

    def start(self, sequence: int) -> None:
        """Says where the journal behind the last checkpoint begins."""
        self._since = sequence

    def look(self) -> None:
        """Takes a checkpoint if one is due; called now and then."""
        # A large queue makes large checkpoints: they may not cost more than the journal itself.
        due = self._journal.bytes_since(self._since) > max(self._after, self._size)
        if due and self._running is None and self._clock.seconds() >= self._not_before:
            self.take()

    def take(self) -> Deferred[None]:
        """Takes a checkpoint now, or waits for the one that is being taken.

        @return: fires when it is done, or has been given up, which is logged
        """
        done: Deferred[None] = Deferred()
        running = self._running
        if running is None:
            self._running = running = Deferred()
            Deferred.fromCoroutine(self._take()).addErrback(self._given_up).addBoth(self._end)
        running.addCallback(lambda _: done.callback(None))
        return done

    async def _take(self) -> None:
        await self._flush()  # before a segment is started for nothing
        first = await self._journal.rotate()
        # From here on every record has a sequence of `first` or more, and what older ones say is in the table.
        await self._flush()
        try:
            size = await self._write(first)
        except JobQueueError:
            await self._writer.abandon()
            raise
        self._since, self._size = first, size
        oldest = await self._writer.drop_old()
        await self._journal.drop_before(oldest + 1)

    async def _write(self, first: int) -> int:
        """@return: its size in bytes"""
        await self._writer.begin(first - 1)
        size = 0
        for chunk in self._chunks():
            size += len(chunk)
            await self._writer.add(chunk)
            await deferLater(self._clock, 0)
        # Jobs that finished while the chunks were made need their files on the disk as well.
        await self._flush()
        await self._writer.finish()
        return size

    def _given_up(self, failure: object) -> None:
        problem = getattr(failure, "value", failure)
        self._not_before = self._clock.seconds() + _AGAIN
        if isinstance(problem, JobQueueError):
            self._log.warn(
                "No checkpoint could be taken, the journal keeps everything meanwhile: {problem}", problem=problem
            )
            return
        self._log.error("A checkpoint failed: {problem}", problem=problem)
        if isinstance(problem, BaseException):
            self._failed(problem)

    def _end(self, _result: object) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.callback(None)
