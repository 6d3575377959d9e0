from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from jqueue.errors import JournalDamaged, StateError, StoreFailed
from jqueue.store.interface import RecordJournal
from jqueue.store.journal import Journal, replay
from jqueue.store.thread import InlineThread

from ...crash.faulty import Fault, FaultyFiles

DIRECTORY = Path("/journal")
P = ParamSpec("P")
T = TypeVar("T")


class HeldThread(InlineThread):
    """Makes a call when the test says so: the time between is that of a slow disk."""

    def __init__(self) -> None:
        super().__init__("held")
        self.held: list[Callable[[], None]] = []

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        result: Deferred[T] = Deferred()
        make = super().call

        def step() -> None:
            make(function, *args, **kwargs).chainDeferred(result)

        self.held.append(step)
        return result

    def step(self) -> None:
        self.held.pop(0)()

    def run(self) -> None:
        while self.held:
            self.step()


class Log:
    """A journal on a disk in memory, and all that it says."""

    def __init__(self, files: FaultyFiles | None = None, segment_size: int = 4096, reserve_size: int = 1024) -> None:
        self.files = files or FaultyFiles(DIRECTORY)
        self.thread = HeldThread()
        self.turns: list[Callable[[], None]] = []
        self.failures: list[BaseException] = []
        self.full: list[bool] = []
        self.told: list[tuple[str, int | str]] = []
        self.journal = Journal(
            DIRECTORY,
            self.files,
            self.thread,
            later=self.turns.append,
            on_failure=self.failures.append,
            on_full=self.full.append,
            segment_size=segment_size,
            reserve_size=reserve_size,
        )

    def open(self, next_sequence: int = 1) -> Log:
        opened = self.journal.open(next_sequence)
        self.run()
        value(opened)
        return self

    def append(self, text: str, refusable: bool = False) -> None:
        self._listen(text, self.journal.append(text.encode(), refusable=refusable))

    def rotate(self) -> None:
        self._listen("rotate", self.journal.rotate())

    def turn(self) -> None:
        turns, self.turns[:] = list(self.turns), []
        for turn in turns:
            turn()

    def run(self) -> None:
        while self.turns or self.thread.held:
            self.turn()
            self.thread.run()

    def records(self, after: int = 0) -> list[str]:
        return [record.decode() for _, record in replay(DIRECTORY, self.files, after)]

    def names(self) -> list[str]:
        return sorted(name.lstrip("0") for name in self.files.listdir(DIRECTORY))

    def _listen(self, text: str, done: Deferred[int]) -> None:
        def failed(failure: Failure) -> None:
            self.told.append((text, type(failure.value).__name__))

        done.addCallbacks(lambda sequence: self.told.append((text, sequence)), failed)


def value(deferred: Deferred[T]) -> T:
    values: list[T] = []
    failures: list[Failure] = []
    deferred.addCallbacks(values.append, failures.append)
    if failures:
        failures[0].raiseException()
    return values[0]


def test_it_is_what_the_queue_asks_for() -> None:
    journal: RecordJournal = Log().journal
    assert not journal.full


def test_a_record_is_told_after_its_sync_and_not_before() -> None:
    log = Log().open()
    log.append("a")
    log.turn()
    assert log.told == []
    before = len(log.files.calls)
    log.thread.run()
    assert log.files.calls[before:] == [f"pwrite {1:020}.seg", f"fdatasync {1:020}.seg"]
    assert log.told == [("a", 1)]


def test_the_caller_makes_no_disk_call() -> None:
    log = Log().open()
    before = len(log.files.calls)
    log.append("a")
    log.rotate()
    log.append("b")
    log.turn()
    log.journal.retry_space()
    log.journal.drop_before(1)
    log.journal.close()
    assert len(log.files.calls) == before
    log.thread.run()
    assert log.told == [("a", 1), ("rotate", 2), ("b", 2)]


def test_what_comes_in_during_a_sync_is_one_batch() -> None:
    log = Log().open()
    log.append("first")
    log.turn()
    for number in range(20):
        log.append(str(number))
        log.turn()
    log.thread.step()
    assert log.told == [("first", 1)]
    log.thread.step()
    assert log.told[1:] == [(str(number), number + 2) for number in range(20)]
    assert log.journal.syncs == 2


def test_fifty_pipelining_clients_share_their_syncs() -> None:
    log = Log(segment_size=1 << 20, reserve_size=1 << 20).open()

    def client(rounds: int) -> None:
        if rounds:
            log.journal.append(b"x" * 170).addCallback(lambda _: client(rounds - 1))

    for _ in range(50):
        client(40)
    log.run()
    assert log.journal.appended == 2000
    assert log.journal.syncs <= log.journal.appended / 20
    assert len(log.records()) == 2000


def test_a_batch_is_bounded_in_records_and_bytes() -> None:
    log = Log(segment_size=1 << 20, reserve_size=1 << 20).open()
    for _ in range(600):
        log.append("x")
    log.run()
    assert log.journal.syncs == 3
    for _ in range(4):
        log.append("y" * (200 << 10))
    log.run()
    assert log.journal.syncs == 5


def test_records_are_told_in_order_even_if_telling_appends_more() -> None:
    log = Log().open()
    log.journal.append(b"a").addCallback(lambda _: log.append("nested"))
    log.append("b")
    log.run()
    assert log.told == [("b", 2), ("nested", 3)]
    assert log.records() == ["a", "b", "nested"]


def test_the_next_batch_is_on_its_way_while_the_last_one_is_told() -> None:
    log = Log().open()
    busy: list[int] = []
    log.journal.append(b"a").addCallback(lambda _: busy.append(len(log.thread.held)))
    log.turn()
    log.append("b")
    log.thread.step()
    assert busy == [1]


def test_rotation_fires_between_the_records_before_and_after_it() -> None:
    log = Log().open()
    log.append("a")
    log.rotate()
    log.append("b")
    log.rotate()
    log.rotate()
    log.run()
    assert log.told == [("a", 1), ("rotate", 2), ("b", 2), ("rotate", 3), ("rotate", 3)]
    assert log.names() == ["1.seg", "2.seg", "3.seg", "next", "reserve"]
    assert log.records() == ["a", "b"]
    assert log.records(after=1) == ["b"]


def test_old_segments_are_dropped_whole() -> None:
    log = Log().open()
    for text in "abc":
        log.append(text)
        log.append(text)
        log.rotate()
    log.run()
    log.journal.drop_before(4)
    log.run()
    assert log.names() == ["3.seg", "5.seg", "7.seg", "next", "reserve"]
    log.journal.drop_before(1000)
    log.run()
    assert log.names() == ["7.seg", "next", "reserve"]


def test_a_full_segment_is_followed_by_a_prepared_one() -> None:
    log = Log(segment_size=200, reserve_size=200).open()
    for number in range(8):
        log.append(str(number) * 50)
        log.run()
    assert log.names() == ["1.seg", "3.seg", "5.seg", "7.seg", "next", "reserve"]
    assert log.records() == [str(number) * 50 for number in range(8)]


def test_a_record_larger_than_a_segment_gets_one_of_its_own() -> None:
    log = Log().open()
    for text in ("a", "b" * 10_000, "c"):
        log.append(text)
        log.run()
    assert log.records() == ["a", "b" * 10_000, "c"]
    assert log.names() == ["1.seg", "2.seg", "3.seg", "next", "reserve"]


def test_it_goes_on_after_a_restart_and_knows_what_a_replay_would_read() -> None:
    log = Log().open()
    log.append("a" * 100)
    log.rotate()
    log.append("b" * 200)
    log.run()
    size = log.journal.bytes_since(2)
    assert 200 < size < 300
    assert log.journal.bytes_since(1) > size + 100
    assert log.journal.bytes_since(3) == 0
    again = Log(log.files.killed()).open(3)
    again.append("c")
    again.run()
    assert again.records() == ["a" * 100, "b" * 200, "c"]
    assert again.journal.next_sequence == 4
    assert again.journal.bytes_since(2) >= size
    assert again.names() == ["1.seg", "2.seg", "3.seg", "next", "reserve"]


def test_a_restart_without_records_leaves_no_more_files() -> None:
    log = Log().open()
    for _ in range(3):
        log = Log(log.files.killed()).open()
    assert log.names() == ["1.seg", "next", "reserve"]


def test_a_torn_tail_is_cut_so_that_it_never_comes_back() -> None:
    log = Log().open()
    log.append("a")
    log.run()
    log.files.fault = Fault(len(log.files.calls), "torn")
    log.append("torn" * 10)
    log.run()
    survivor = list(log.files.survivors())[1]
    path = DIRECTORY / f"{1:020}.seg"
    assert b"torn" in survivor.read_file(path)
    again = Log(survivor).open(2)
    assert b"torn" not in survivor.read_file(path)
    again.append("b")
    again.run()
    assert again.records() == ["a", "b"]


def test_opening_where_the_journal_does_not_end_is_refused() -> None:
    log = Log().open()
    log.append("a")
    log.run()
    with pytest.raises(JournalDamaged, match=r"ends before record 2, .* up to record 5"):
        Log(log.files.killed()).open(5)


def test_a_disk_that_fails_at_the_start_is_named() -> None:
    with pytest.raises(StateError, match="/journal cannot be opened: .*Input/output error; check the disk"):
        Log(FaultyFiles(DIRECTORY, fault=Fault(0, errno.EIO))).open()


@pytest.mark.parametrize("call", ["pwrite", "fdatasync"])
def test_a_failed_write_or_sync_ends_it_at_once(call: str) -> None:
    log = Log().open()
    log.append("a")
    log.append("b", refusable=True)
    log.turn()
    log.append("waiting")
    log.rotate()
    log.files.fault = Fault(len(log.files.calls) + ["pwrite", "fdatasync"].index(call), errno.EIO)
    log.run()
    log.append("late", refusable=True)
    log.rotate()
    log.journal.retry_space()
    with pytest.raises(StoreFailed):
        value(log.journal.drop_before(1))
    assert log.told == [(text, "StoreFailed") for text in ("a", "b", "waiting", "rotate", "late", "rotate")]
    assert [type(error) for error in log.failures] == [StoreFailed]
    assert "Input/output error" in str(log.failures[0])
    assert log.files.calls[-1].startswith(call)
    calls = len(log.files.calls)
    closed = log.journal.close()
    log.run()
    value(closed)
    assert len(log.files.calls) == calls


def full_disk(reserve_size: int) -> Log:
    """@return: a journal with two records, on a disk that got full when the segment after the next was made"""
    log = Log(segment_size=200, reserve_size=reserve_size).open()
    log.append("a" * 100)
    log.run()
    log.files.fault = Fault(len(log.files.calls) + 4, errno.ENOSPC, lasting=True)
    log.append("b" * 100)
    log.run()
    assert log.full == [True]
    assert log.told == [("a" * 100, 1), ("b" * 100, 2)]
    return log


def test_a_full_disk_is_told_and_refuses_only_what_may_be_refused() -> None:
    log = full_disk(reserve_size=400)
    assert log.journal.full
    log.append("refused", refusable=True)
    log.append("c" * 100)
    log.append("d" * 20)
    log.rotate()
    log.run()
    assert log.told[2:] == [("refused", "DiskFull"), ("c" * 100, 3), ("d" * 20, 4), ("rotate", "DiskFull")]
    log.journal.retry_space()
    log.run()
    assert log.full == [True]
    log.files.fault = None
    log.journal.retry_space()
    log.run()
    assert log.full == [True, False]
    log.append("e", refusable=True)
    log.run()
    assert log.told[-1] == ("e", 5)
    assert log.records() == ["a" * 100, "b" * 100, "c" * 100, "d" * 20, "e"]
    assert log.failures == []


def test_a_reserve_that_is_used_up_ends_it() -> None:
    log = full_disk(reserve_size=200)
    for text in "cde":
        log.append(text * 100)
        log.run()
    assert [outcome for _, outcome in log.told] == [1, 2, 3, "StoreFailed", "StoreFailed"]
    assert "no reserve left" in str(log.failures[0])


class SmallDisk(FaultyFiles):
    """A disk of so many bytes; of what it holds already nothing is lost."""

    def __init__(self, room: int, before: FaultyFiles | None = None) -> None:
        super().__init__(DIRECTORY)
        if before is not None:
            self.__dict__.update(before.killed().__dict__)
        self.room = room

    def pwrite(self, descriptor: int, data: bytes, offset: int) -> None:
        grows = offset + len(data) - len(self._opened(descriptor).node.data)
        if grows > 0 and self.used() + grows > self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().pwrite(descriptor, data, offset)

    def used(self) -> int:
        return sum(self.stat(DIRECTORY / name).st_size for name in self.listdir(DIRECTORY))


def test_on_a_full_disk_it_can_be_opened_again_and_again() -> None:
    log = Log().open()
    log.append("a")
    log.run()
    log.files.unlink(DIRECTORY / "next")  # another program has taken that space
    room = SmallDisk(0, log.files).used()
    records = ["a"]
    for number in range(6):
        log = Log(SmallDisk(room, log.files)).open(len(records) + 1)
        assert log.journal.full
        log.append("refused", refusable=True)
        log.run()
        assert log.told == [("refused", "DiskFull")]
        if number % 2:
            log.append(str(number))
            records.append(str(number))
            log.run()
        assert log.records() == records
        assert log.failures == []


def test_that_the_disk_is_full_is_known_before_anything_can_be_started() -> None:
    log = Log().open()
    log.files.unlink(DIRECTORY / "next")
    log = Log(SmallDisk(0, log.files))
    opened = log.journal.open(1)
    log.thread.step()
    value(opened)
    assert log.journal.full and log.full == [True]


def test_without_a_reserve_what_room_is_left_is_used() -> None:
    log = Log(SmallDisk(2 * 4096 + 1024 + 700)).open()
    taken: list[str] = []
    while not log.failures:
        text = f"{len(taken):03}" * 50
        log.append(text)
        log.run()
        taken.append(text)
    assert log.full == [True]
    assert log.told[-1][1] == "StoreFailed"
    assert log.records() == taken[:-1]
    sizes = [log.files.stat(DIRECTORY / name).st_size for name in log.files.listdir(DIRECTORY)]
    assert sorted(sizes)[-3:] == [1024, 4096, 4096] and len(sizes) > 3, "also where neither of these fits"


def test_a_start_without_any_room_says_what_to_do() -> None:
    log = Log().open()
    log.append("a" * 3000)
    log.append("b" * 1000)
    log.run()
    for name in ("next", "reserve"):
        log.files.unlink(DIRECTORY / name)
    with pytest.raises(
        StateError, match=r"/journal is full and .* free some space, for example in /archive, where old"
    ):
        Log(SmallDisk(0, log.files)).open(3)


def test_dropping_segments_looks_for_space_again() -> None:
    log = full_disk(reserve_size=200)
    log.files.fault = None
    log.journal.drop_before(2)
    log.run()
    assert log.full == [True, False]


def test_closing_writes_what_was_taken_and_refuses_the_rest() -> None:
    log = Log().open()
    log.append("a")
    log.turn()
    log.append("b")
    first, second = log.journal.close(), log.journal.close()
    log.append("late")
    assert log.told == [("late", "ShuttingDown")]
    log.run()
    value(first)
    value(second)
    assert log.told[1:] == [("a", 1), ("b", 2)]
    assert log.records() == ["a", "b"]


def test_the_time_of_syncs_is_known() -> None:
    log = Log().open()
    assert log.journal.max_sync_seconds == 0
    log.append("a")
    log.run()
    assert log.journal.max_sync_seconds >= log.journal.last_sync_seconds > 0


def test_a_disk_without_room_even_where_zeros_are_ends_it_instead_of_trying_for_ever() -> None:
    class CopyOnWrite(FaultyFiles):
        def pwrite(self, descriptor: int, data: bytes, offset: int) -> None:
            if b"last" in data:
                raise OSError(errno.ENOSPC, "No space left on device")
            super().pwrite(descriptor, data, offset)

    files = CopyOnWrite(DIRECTORY)
    log = Log(files).open()
    files.fault = Fault(len(files.calls), errno.ENOSPC)
    log.append("a")
    log.run()
    assert (log.told, log.full) == ([("a", 1)], [True])
    log.journal.retry_space()
    log.run()
    assert log.full == [True, False]
    log.append("b")
    log.run()
    log.append("last")
    log.run()
    assert log.told[-1] == ("last", "StoreFailed")
    assert log.records() == ["a", "b"]


def test_what_a_crash_left_half_made_is_removed() -> None:
    log = Log().open()
    for name in ("next.new", "oversize"):
        log.files.write_file(DIRECTORY / name, b"x", sync=True)
    assert Log(log.files.killed()).open().names() == ["1.seg", "next", "reserve"]
