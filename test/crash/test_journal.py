"""The journal and its checkpoints on a disk that stops, tears or fails at every single call.

What was acknowledged must be there afterwards; what was not, entirely or not at all, in order.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgpack
import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from jqueue.errors import DiskFull, StateError, StoreFailed
from jqueue.store.checkpoint import CheckpointWriter, read_latest
from jqueue.store.journal import Journal, replay
from jqueue.store.statedir import StateDirectory
from jqueue.store.thread import InlineThread

from .faulty import Crash, Fault, FaultyFiles

T = TypeVar("T")

STATE = StateDirectory(Path("/state"))
SEGMENT_SIZE = 300
RESERVE_SIZE = 200


def disk(fault: Fault | None = None) -> FaultyFiles:
    return FaultyFiles(STATE.path, STATE.journal, STATE.tmp, fault=fault)


class Queue:
    """As little of a queue as the journal needs: it keeps every record, in order, and checkpoints them all."""

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


def work(queue: Queue) -> None:
    """Makes every kind of call: batches of one and of more, full segments, a record larger than one, checkpoints."""
    queue.start()

    def append(size: int, refusable: bool = False) -> None:
        queue.append(f"{len(queue.asked):02}".encode().ljust(size, b"."), refusable)

    for _ in range(2):
        append(2)
        queue.turn()
    for size in (10, 20, 30):
        append(size, refusable=size == 20)
    queue.turn()
    for number in range(3):
        for size in (90, 100):
            append(size, refusable=size == 90)
            append(size)
            queue.turn()
        if number == 1:
            append(700)
            append(3)
            queue.turn()
        with suppress(DiskFull):
            queue.checkpoint()
    append(4)
    result(queue.journal.close())


def calls() -> list[str]:
    files = disk()
    work(Queue(files))
    return [call.split()[0] for call in files.calls]


CALLS = range(len(calls()))
NEED_SPACE = [number for number, call in enumerate(calls()) if call in ("open", "pwrite")]
FIRST_SEGMENT = calls().index("rename")


def interrupted(fault: Fault) -> Queue:
    """Works until the fault ends it, or to the end if it does not."""
    queue = Queue(disk(fault))
    with suppress(Crash, StateError):
        work(queue)
    return queue


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


def test_the_scenario_makes_every_kind_of_call() -> None:
    assert set(calls()) == {"open", "pwrite", "fsync", "fdatasync", "fsync_directory", "rename", "unlink"}


@pytest.mark.parametrize("kind", ["crash", "torn"])
@pytest.mark.parametrize("at", CALLS)
def test_a_crash_at_any_call_loses_nothing_acknowledged(at: int, kind: str) -> None:
    queue = interrupted(Fault(at, kind))
    assert queue.files.crashed
    for survivor in queue.files.survivors():
        check(queue, survivor)


@pytest.mark.parametrize("at", CALLS)
def test_what_is_shown_after_a_kill_is_durable(at: int) -> None:
    queue = interrupted(Fault(at, "torn"))
    check(queue, queue.files.killed())
    shown = recovered(queue.files.killed())
    for survivor in shown.files.survivors():
        assert recovered(survivor).records == shown.records


@pytest.mark.parametrize("at", CALLS[::3])
def test_a_crash_during_recovery_loses_nothing_either(at: int) -> None:
    queue = interrupted(Fault(at, "torn"))
    *_, survivor = queue.files.survivors()
    whole = recovered(survivor.killed())
    for step in range(len(whole.files.calls)):
        files = survivor.killed()
        files.fault = Fault(step, "torn")
        with suppress(Crash):
            Queue(files).start()
        assert files.crashed
        for again in files.survivors():
            assert recovered(again).records == whole.records


@pytest.mark.parametrize("at", CALLS)
def test_an_io_error_ends_the_journal_and_loses_nothing_acknowledged(at: int) -> None:
    queue = Queue(disk(Fault(at, errno.EIO)))
    with pytest.raises(StateError):
        work(queue)
        raise queue.failures[0]
    if queue.failures:
        assert [type(error) for error in queue.failures] == [StoreFailed]
        assert len(queue.files.calls) == queue.calls_at_failure
        queue.append(b"too late")
        assert queue.refused[-1] == b"too late"
        assert sorted(queue.asked) == sorted(queue.records + queue.refused)
    for survivor in queue.files.survivors():
        check(queue, survivor)


@pytest.mark.parametrize("at", [at for at in NEED_SPACE if at < FIRST_SEGMENT])
def test_a_first_start_without_space_is_refused_and_works_later(at: int) -> None:
    queue = Queue(disk(Fault(at, errno.ENOSPC)))
    with pytest.raises(StateError, match="/state/journal is full"):
        work(queue)
    work(Queue(queue.files.killed()))


@pytest.mark.parametrize("at", [at for at in NEED_SPACE if at > FIRST_SEGMENT])
def test_a_moment_without_space_refuses_only_what_may_be_refused(at: int) -> None:
    queue = Queue(disk(Fault(at, errno.ENOSPC)))
    work(queue)
    assert queue.failures == []
    assert all(len(record) in (20, 90) for record in queue.refused)
    assert queue.records == [record for record in queue.asked if record not in queue.refused]
    check(queue, queue.files.killed())


@pytest.mark.parametrize("at", [at for at in NEED_SPACE if at > FIRST_SEGMENT])
def test_a_disk_that_stays_full_loses_nothing_acknowledged_and_goes_on_when_there_is_space(at: int) -> None:
    queue = Queue(disk(Fault(at, errno.ENOSPC, lasting=True)))
    with suppress(StoreFailed):
        work(queue)
    assert queue.full[:1] == [True] or not queue.failures
    files = queue.files.killed()
    check(queue, files)
    later = recovered(files.killed())
    assert not later.journal.full
