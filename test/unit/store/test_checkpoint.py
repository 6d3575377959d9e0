from __future__ import annotations

import errno
import re
from pathlib import Path
from typing import TypeVar

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from jqueue.errors import DiskFull, JournalDamaged, StateError, StoreFailed
from jqueue.store.checkpoint import CheckpointWriter, checkpoint_path, list_checkpoints, read_latest
from jqueue.store.files import Files
from jqueue.store.segment import new_header, segment_path
from jqueue.store.statedir import StateDirectory
from jqueue.store.thread import InlineThread

from ...crash.faulty import Fault, FaultyFiles

STATE = StateDirectory(Path("/state"))
T = TypeVar("T")


def value(deferred: Deferred[T]) -> T:
    values: list[T] = []
    failures: list[Failure] = []
    deferred.addCallbacks(values.append, failures.append)
    if failures:
        failures[0].raiseException()
    return values[0]


def disk() -> FaultyFiles:
    return FaultyFiles(STATE.path, STATE.journal, STATE.tmp)


def writer(files: Files, state: StateDirectory = STATE) -> CheckpointWriter:
    return CheckpointWriter(state, files, InlineThread())


def take(files: Files, sequence: int, chunks: list[bytes], state: StateDirectory = STATE) -> None:
    checkpoint = writer(files, state)
    value(checkpoint.begin(sequence))
    for chunk in chunks:
        value(checkpoint.add(chunk))
    value(checkpoint.finish())


def add_segment(files: Files, first: int) -> None:
    files.write_file(segment_path(STATE.journal, first), new_header(), sync=True)


def latest(files: Files, state: StateDirectory = STATE) -> tuple[int, list[bytes]]:
    sequence, chunks = read_latest(state.journal, files)
    return sequence, list(chunks)


def change(files: Files, sequence: int, data: bytes) -> None:
    files.write_file(checkpoint_path(STATE.journal, sequence), data, sync=True)


@pytest.mark.parametrize("chunks", [[], [b""], [b"one", b"", b"three"], [bytes(3 << 20), b"x"]])
def test_chunks_come_back_as_they_were(tmp_path: Path, chunks: list[bytes]) -> None:
    state = StateDirectory(tmp_path)
    state.prepare(Files())
    take(Files(), 42, chunks, state)
    assert latest(Files(), state) == (42, chunks)
    assert list(state.tmp.iterdir()) == []


def test_without_a_checkpoint_the_journal_has_it_all() -> None:
    assert latest(disk()) == (0, [])


def test_the_newest_one_counts() -> None:
    files = disk()
    for sequence in (9, 100, 20):
        take(files, sequence, [b"%d" % sequence])
    assert latest(files) == (100, [b"100"])


def test_one_that_is_not_finished_does_not_count_and_can_be_given_up() -> None:
    files = disk()
    take(files, 1, [b"old"])
    checkpoint = writer(files)
    value(checkpoint.begin(2))
    value(checkpoint.add(b"new"))
    assert latest(files) == (1, [b"old"])
    value(checkpoint.abandon())
    value(checkpoint.abandon())
    assert files.listdir(STATE.tmp) == []
    take(files, 3, [b"newer"])
    assert latest(files) == (3, [b"newer"])


def test_it_is_durable_when_told_so() -> None:
    files = disk()
    take(files, 1, [b"x"])
    for survivor in files.survivors():
        assert latest(survivor) == (1, [b"x"])


def test_any_flipped_or_missing_byte_is_found_and_the_one_before_taken() -> None:
    files = disk()
    add_segment(files, 4)
    take(files, 3, [b"old"])
    take(files, 7, [b"one", b"two"])
    whole = files.read_file(checkpoint_path(STATE.journal, 7))
    for position in range(len(whole)):
        data = bytearray(whole)
        data[position] ^= 0x10
        for bad in (bytes(data), whole[:position]):
            change(files, 7, bad)
            assert latest(files) == (3, [b"old"])
    change(files, 7, whole + b"x")
    assert latest(files) == (3, [b"old"])
    change(files, 7, whole)
    assert latest(files) == (7, [b"one", b"two"])


def test_a_damaged_one_is_refused_when_the_journal_does_not_reach_back() -> None:
    files = disk()
    add_segment(files, 8)
    take(files, 3, [b"old"])
    take(files, 7, [b"one"])
    path = checkpoint_path(STATE.journal, 7)
    change(files, 7, files.read_file(path)[:-1])
    with pytest.raises(JournalDamaged, match=rf"{re.escape(str(path))}, byte \d+: .*jqueue fsck"):
        latest(files)


def test_a_damaged_only_one_is_no_loss_while_the_journal_is_whole() -> None:
    files = disk()
    take(files, 7, [b"one"])
    change(files, 7, b"")
    with pytest.raises(JournalDamaged):
        latest(files)
    add_segment(files, 1)
    assert latest(files) == (0, [])


def test_old_ones_are_dropped_and_the_oldest_that_is_kept_is_told() -> None:
    files = disk()
    assert value(writer(files).drop_old()) == 0
    take(files, 3, [])
    assert value(writer(files).drop_old()) == 0
    take(files, 5, [])
    assert value(writer(files).drop_old()) == 3
    take(files, 9, [])
    assert value(writer(files).drop_old()) == 5
    assert list_checkpoints(STATE.journal, files) == [9, 5]


@pytest.mark.parametrize("at", range(6))
def test_a_full_disk_gives_it_up_and_its_space_back(at: int) -> None:
    files = disk()
    files.fault = Fault(at, errno.ENOSPC)
    with pytest.raises(DiskFull):
        take(files, 1, [b"x"])
    assert files.listdir(STATE.tmp) == []
    take(files, 2, [b"y"])
    assert latest(files) == (2, [b"y"])


@pytest.mark.parametrize("at", range(7))
def test_a_failed_write_or_sync_is_told_with_the_file(at: int) -> None:
    files = disk()
    files.fault = Fault(at, errno.EIO)
    with pytest.raises(StoreFailed, match="a checkpoint of the journal in /state/journal failed .*Input/output error"):
        take(files, 1, [b"x"])


def test_a_directory_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="missing cannot be read"):
        read_latest(tmp_path / "missing", Files())
