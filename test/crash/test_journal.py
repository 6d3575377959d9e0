"""The journal and its checkpoints on a disk that stops, tears or fails at every single call.

What was acknowledged must be there afterwards; what was not, entirely or not at all, in order.
"""

from __future__ import annotations

import errno
from contextlib import suppress

import pytest

from jqueue.errors import DiskFull, StateError, StoreFailed

from .faulty import Crash, Fault
from .recorder import Queue, check, disk, recovered, result


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


def test_the_scenario_makes_every_kind_of_call() -> None:
    assert set(calls()) == {"open", "pwrite", "fsync", "fdatasync", "fsync_directory", "rename", "unlink"}


@pytest.mark.parametrize("kind", ["crash", "torn"])
@pytest.mark.parametrize("at", CALLS)
def test_a_crash_at_any_call_loses_nothing_acknowledged(at: int, kind: str) -> None:
    queue = interrupted(Fault(at, kind))
    assert queue.files.crashed
    for survivor in queue.files.survivors():
        check(queue, survivor)


@pytest.mark.parametrize("kind", ["crash", "torn"])
@pytest.mark.parametrize("at", CALLS)
def test_what_is_shown_after_a_kill_is_durable(at: int, kind: str) -> None:
    queue = interrupted(Fault(at, kind))
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
    queue = Queue(disk(Fault(at, errno.ENOSPC, lasting=True)))
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
