"""What the queue asks of a journal: the seam where another engine can be put in.

`jqueue.store.journal.Journal` is the one on disk, `jqueue.store.memory.MemoryJournal` its twin for tests.
"""

from __future__ import annotations

from typing import Protocol, TypeAlias

from twisted.internet.defer import Deferred

from jqueue.errors import StateError
from jqueue.jobs.job import _QueuedJob

Loaded: TypeAlias = "dict[int, _QueuedJob | StateError]"
"""Jobs that were read back by id; in the place of one whose file cannot be read, why. Those that are nowhere lack."""


class RecordJournal(Protocol):
    """Takes records in order and says, in that order, when they are durable; see `Journal` for each member."""

    @property
    def full(self) -> bool: ...

    @property
    def appended(self) -> int: ...

    @property
    def syncs(self) -> int: ...

    @property
    def last_sync_seconds(self) -> float: ...

    @property
    def max_sync_seconds(self) -> float: ...

    @property
    def next_sequence(self) -> int: ...

    def open(self, next_sequence: int) -> Deferred[None]: ...

    def append(self, record: bytes, *, refusable: bool = False) -> Deferred[int]: ...

    def rotate(self) -> Deferred[int]: ...

    def drop_before(self, sequence: int) -> Deferred[None]: ...

    def bytes_since(self, sequence: int) -> int: ...

    def retry_space(self) -> None: ...

    def close(self) -> Deferred[None]: ...
