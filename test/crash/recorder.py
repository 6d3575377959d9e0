"""As little of a queue as the journal needs, for tests of the journal on a faulty disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgpack
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from jqueue.errors import DiskFull, StoreFailed
from jqueue.store.checkpoint import CheckpointWriter, read_latest
from jqueue.store.journal import Journal, replay
from jqueue.store.statedir import StateDirectory
from jqueue.store.thread import InlineThread

from .faulty import Fault, FaultyFiles

T = TypeVar("T")

STATE = StateDirectory(Path("/state"))
SEGMENT_SIZE = 300
RESERVE_SIZE = 200


def disk(fault: Fault | None = None) -> FaultyFiles:
    return FaultyFiles(STATE.path, STATE.journal, STATE.tmp, fault=fault)


class Queue:
    """Keeps every record, in order, and checkpoints them all."""

    def __init__(self, files: FaultyFiles) -> None:
        self.files = files
        self.records: list[bytes] = []
        self.asked: list[bytes] = []
        self.refused: list[bytes] = []
        self.failures: list[BaseException] = []
        self.calls_at_failure = 0
        self.full: list[bool] = []
        self._turns: deque[Callable[[], None]] = deque()
        thread = InlineThread()
        self.journal = Journal(
            STATE.journal,
            files,
            thread,
            later=self._turns.append,
            on_failure=self._failed,
            on_full=self.full.append,
            segment_size=SEGMENT_SIZE,
            reserve_size=RESERVE_SIZE,
        )
        self.checkpoints = CheckpointWriter(STATE, files, thread)

    def start(self) -> None:
        """Recovers and opens."""
        last, chunks = read_latest(STATE.journal, self.files)
        for chunk in chunks:
            self.records.extend(msgpack.unpackb(chunk))
        assert last == len(self.records)
        for sequence, record in replay(STATE.journal, self.files, last):
            self.records.append(record)
            assert sequence == len(self.records)
        self.asked = list(self.records)
        result(self.journal.open(len(self.records) + 1))

    def append(self, record: bytes, refusable: bool = False) -> None:
        self.asked.append(record)

        def refused(failure: Failure) -> None:
            failure.trap(DiskFull, StoreFailed)
            self.refused.append(record)

        def synced(sequence: int) -> None:
            self.records.append(record)
            if not self.refused:
                assert sequence == len(self.records)

        self.journal.append(record, refusable=refusable).addCallbacks(synced, refused)

    def turn(self) -> None:
        while self._turns:
            self._turns.popleft()()

    def checkpoint(self) -> None:
        rotated: Deferred[list[bytes]] = self.journal.rotate().addCallback(
            lambda sequence: self.records[: sequence - 1]
        )
        self.turn()
        records = result(rotated)
        if self.failures:
            raise self.failures[0]
        result(self.checkpoints.begin(len(records)))
        result(self.checkpoints.add(msgpack.packb(records[:3])))
        result(self.checkpoints.add(msgpack.packb(records[3:])))
        result(self.checkpoints.finish())
        result(self.journal.drop_before(result(self.checkpoints.drop_old()) + 1))

    def _failed(self, error: BaseException) -> None:
        self.failures.append(error)
        self.calls_at_failure = len(self.files.calls)


def result(deferred: Deferred[T]) -> T:
    values: list[T] = []
    failures: list[Failure] = []
    deferred.addCallbacks(values.append, failures.append)
    if failures:
        failures[0].raiseException()
    return values[0]


def recovered(files: FaultyFiles) -> Queue:
    queue = Queue(files)
    queue.start()
    return queue


def check(before: Queue, files: FaultyFiles) -> None:
    """Recovers, and compares with what clients had been told; then goes on, and recovers again."""
    after = recovered(files)
    accepted = [record for record in before.asked if record not in before.refused or record in after.records]
    assert after.records == accepted[: len(after.records)]
    assert len(after.records) >= len(before.records)
    after.append(b"after")
    after.turn()
    assert after.records[-1] == b"after"
    assert recovered(files.killed()).records == after.records
