"""The journal's twin in memory, for tests of what stands on it: a record is durable when the test says so.

It has the methods of `jqueue.store.journal.Journal`, touches no file and starts no thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.defer import Deferred, fail, succeed

from jqueue.errors import DiskFull, ShuttingDown, StoreFailed


class MemoryJournal:
    """Keeps records in a list."""

    def __init__(
        self,
        *,
        automatic: bool = False,
        on_failure: Callable[[BaseException], None] = lambda error: None,
        on_full: Callable[[bool], None] = lambda full: None,
    ) -> None:
        """Makes an empty journal.

        @param automatic: each record is synced as it comes, so that its Deferred has fired when `append` returns
        """
        self.full = False
        self.appended = 0
        self.syncs = 0
        self.last_sync_seconds = 0.0
        self.max_sync_seconds = 0.0
        self.next_sequence = 1
        self.records: list[tuple[int, bytes]] = []
        """Sequence and content of the records that are synced."""
        self._automatic = automatic
        self._on_failure = on_failure
        self._on_full = on_full
        self._pending: deque[tuple[bytes | None, Deferred[int]]] = deque()
        self._refusal: StoreFailed | ShuttingDown | None = None

    @property
    def unsynced_records(self) -> int:
        return len(self.unsynced)

    @property
    def unsynced(self) -> list[bytes]:
        """The records that wait for `sync`."""
        return [record for record, _ in self._pending if record is not None]

    def open(self, next_sequence: int) -> Deferred[None]:
        self.next_sequence = next_sequence
        return succeed(None)

    def append(self, record: bytes, *, refusable: bool = False) -> Deferred[int]:
        if refusable and self.full and self._refusal is None:
            return fail(DiskFull())
        self.appended += 1
        return self._add(record)

    def rotate(self) -> Deferred[int]:
        return fail(DiskFull()) if self.full else self._add(None)

    def sync(self, limit: int | None = None) -> None:
        """Makes what was appended durable, and fires its Deferreds.

        @param limit: how many entries; what is appended meanwhile waits for the next call
        """
        count = len(self._pending) if limit is None else min(limit, len(self._pending))
        self.syncs += 1
        for _ in range(count):
            record, done = self._pending.popleft()
            sequence = self.next_sequence
            if record is not None:
                self.next_sequence += 1
                self.records.append((sequence, record))
            done.callback(sequence)

    def set_full(self, full: bool) -> None:
        """Lets the disk be full, or no longer."""
        self.full = full
        self._on_full(full)

    def break_down(self) -> None:
        """Lets the disk fail: what waits, and all that comes, fails with `StoreFailed`."""
        self._refusal = StoreFailed()
        self._on_failure(self._refusal)
        waiting, self._pending = self._pending, deque()
        for _, done in waiting:
            done.errback(self._refusal)

    def drop_before(self, sequence: int) -> Deferred[None]:
        self.records = [entry for entry in self.records if entry[0] >= sequence]
        return succeed(None)

    def bytes_since(self, sequence: int) -> int:
        return sum(len(record) for number, record in self.records if number >= sequence)

    def retry_space(self) -> None:
        """Space comes back when the test calls `set_full`."""

    def close(self) -> Deferred[None]:
        self.sync()
        self._refusal = self._refusal or ShuttingDown()
        return succeed(None)

    def _add(self, record: bytes | None) -> Deferred[int]:
        if self._refusal is not None:
            return fail(self._refusal)
        done: Deferred[int] = Deferred()
        self._pending.append((record, done))
        if self._automatic:
            self.sync()
        return done
