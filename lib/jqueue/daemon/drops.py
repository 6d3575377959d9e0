"""Between `incoming/` and the queue: from the bytes of a dropped file to a submission."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from jqueue.jobs import description
from jqueue.jobs.description import Submission
from jqueue.sched.queue import JobQueue
from jqueue.sched.submission import Answer
from jqueue.store.dropped import Drop
from jqueue.store.thread import FileThread, InlineThread


class Drops:
    """Submits dropped files; see `jqueue.store.intake.Submitter`."""

    def __init__(self, queue: JobQueue, reader: FileThread | InlineThread, max_size: int) -> None:
        """Makes it.

        @param reader: the thread that descriptions are parsed in; large ones take a while
        @param max_size: bytes of a description, above which it is refused
        """
        self._queue = queue
        self._reader = reader
        self._max_size = max_size

    def submit(self, drop: Drop) -> Deferred[Any]:
        """Submits a description; fires once it is durable together with the file's identity."""
        read = self._reader.call(description.load, drop.data, drop.name, self._max_size)
        return read.addCallback(self._submit, drop)

    def _submit(self, read: Submission, drop: Drop) -> Deferred[Answer]:
        return self._queue.submit_drop(list(read.jobs), read.options, drop.owner, drop.identity)

    def known(self, identity: str) -> bool:
        """Whether that file was submitted, and is still remembered."""
        return identity in self._queue.identities

    def done(self, identities: list[str]) -> None:
        """Forgets files whose removal is durable."""
        self._queue.drops_removed(identities)
