"""Serials, what memory keeps, when entries are told, and what a disk that fails does to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, capturedLogs

from jqueue.events.joblog import Entry, JobLogs


class Disk:
    """The log files: each write ends when the test says so, and how it says."""

    def __init__(self, memory: int = 3) -> None:
        self.batches: list[dict[int, list[Entry]]] = []
        self.told: list[tuple[int, list[int]]] = []
        self.ended: list[str] = []
        self._writing: list[Deferred[None]] = []
        self.logs = JobLogs(self.write, memory=memory, written=self.tell)

    def write(self, entries: dict[int, list[Entry]]) -> Deferred[None]:
        self.batches.append(entries)
        done: Deferred[None] = Deferred()
        self._writing.append(done)
        return done

    def tell(self, job_id: int, entries: Sequence[Entry]) -> None:
        self.told.append((job_id, [entry[1] for entry in entries]))

    def add(self, job_id: int, *messages: object, name: str = "") -> None:
        lines = [(1_700_000_000.25, "message", message) for message in messages]
        self.logs.add(job_id, 0, lines).addCallback(lambda _: self.ended.append(name))

    def wrote(self) -> None:
        self._writing.pop(0).callback(None)

    def failed(self) -> None:
        self._writing.pop(0).errback(OSError("no space"))

    def recent(self, job_id: int, newer_than: int | None) -> list[int] | None:
        found = self.logs.recent(job_id, newer_than)
        return None if found is None else [entry[1] for entry in found]


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def logged() -> Iterator[Sequence[LogEvent]]:
    """What the daemon would have logged."""
    with capturedLogs() as events:
        yield events


# Writing


def test_an_entry_has_opcode_serial_time_type_and_message(disk: Disk) -> None:
    disk.logs.add(7, 2, [(1_700_000_000.25, "message", "hello")])
    assert disk.batches == [{7: [[2, 1, [1_700_000_000, 250_000], "message", "hello"]]}]


def test_a_time_that_rounds_up_to_a_second_is_the_next_second(disk: Disk) -> None:
    disk.logs.add(7, 0, [(1_700_000_000.9999999, "message", "")])
    assert disk.batches[0][7][0][2] == [1_700_000_001, 0]


def test_an_entry_is_told_and_its_writer_answered_when_it_is_in_the_file_and_not_before(disk: Disk) -> None:
    disk.add(1, "a", "b", name="both")
    assert (disk.told, disk.ended, disk.recent(1, None)) == ([], [], None)
    disk.wrote()
    assert (disk.told, disk.ended, disk.recent(1, None)) == ([(1, [1, 2])], ["both"], [1, 2])


def test_what_comes_while_a_write_runs_is_one_write_of_all_jobs_afterwards(disk: Disk) -> None:
    disk.add(1, "a", name="first")
    disk.add(1, "b", name="second")
    disk.add(2, "c", name="third")
    assert len(disk.batches) == 1
    disk.wrote()
    assert disk.ended == ["first"]
    assert [list(batch) for batch in disk.batches] == [[1], [1, 2]]
    disk.wrote()
    assert disk.ended == ["first", "second", "third"]
    assert disk.told == [(1, [1]), (1, [2]), (2, [1])]


def test_an_entry_that_is_added_when_another_is_answered_is_written_too(disk: Disk) -> None:
    disk.logs.add(1, 0, [(0.0, "message", "a")]).addCallback(lambda _: disk.add(1, "b", name="second"))
    disk.wrote()
    disk.wrote()
    assert (disk.told, disk.ended) == ([(1, [1]), (1, [2])], ["second"])


def test_a_write_that_fails_is_said_lets_nobody_wait_and_does_not_hold_up_the_next(
    disk: Disk, logged: Sequence[LogEvent]
) -> None:
    disk.add(1, "a", name="lost")
    disk.add(1, "b", name="kept")
    disk.failed()
    assert disk.ended == ["lost"]
    assert [event["jobs"] for event in logged] == [[1]]
    disk.wrote()
    assert disk.ended == ["lost", "kept"]
    assert disk.logs.serial(1) == 2


# Serials


def test_each_job_counts_for_itself_across_opcodes(disk: Disk) -> None:
    disk.add(1, "a")
    disk.add(2, "b")
    disk.logs.add(1, 1, [(0.0, "message", "c")])
    assert (disk.logs.serial(1), disk.logs.serial(2), disk.logs.serial(3)) == (2, 1, 0)


def test_after_a_restart_the_count_goes_on_from_where_it_was(disk: Disk) -> None:
    disk.logs.start(1, 1041)
    disk.add(1, "a")
    disk.wrote()
    assert (disk.told, disk.logs.serial(1)) == ([(1, [1042])], 1042)


def test_the_count_never_goes_back(disk: Disk) -> None:
    disk.logs.start(1, 10)
    disk.logs.start(1, 5)
    disk.add(1, "a")
    disk.logs.start(1, 3)
    assert disk.logs.serial(1) == 11


# Memory


def test_memory_gives_what_is_newer_than_a_serial(disk: Disk) -> None:
    disk.add(1, "a", "b", "c")
    disk.wrote()
    assert [disk.recent(1, newer) for newer in (None, 0, 1, 2)] == [[1, 2, 3], [1, 2, 3], [2, 3], [3]]


@pytest.mark.parametrize("newer_than", (3, 4, 1000))
def test_to_who_has_seen_the_newest_entry_memory_says_that_there_is_nothing(disk: Disk, newer_than: int) -> None:
    disk.add(1, "a", "b", "c")
    disk.wrote()
    assert disk.recent(1, newer_than) == []


def test_memory_keeps_the_last_entries_and_for_older_ones_the_file_has_to_be_read(disk: Disk) -> None:
    disk.add(1, *"abcde")
    disk.wrote()
    assert [disk.recent(1, newer) for newer in (0, 1, 2, 3)] == [None, None, [3, 4, 5], [4, 5]]


def test_an_entry_on_its_way_to_the_file_is_not_given_and_does_not_hide_those_before(disk: Disk) -> None:
    disk.add(1, "a")
    disk.wrote()
    disk.add(1, "b")
    assert (disk.recent(1, 0), disk.recent(1, 1)) == ([1], [])
    disk.wrote()
    assert disk.recent(1, 1) == [2]


def test_of_the_time_before_a_restart_memory_knows_nothing(disk: Disk) -> None:
    disk.logs.start(1, 1041)
    assert (disk.recent(1, 0), disk.recent(1, 41), disk.recent(1, 1041)) == (None, None, [])
    disk.add(1, "a")
    disk.wrote()
    assert (disk.recent(1, 41), disk.recent(1, 1041)) == (None, [1042])


def test_of_a_job_that_never_logged_the_file_has_to_be_read(disk: Disk) -> None:
    assert disk.recent(1, None) is None


def test_no_lines_at_all_change_nothing(disk: Disk) -> None:
    disk.logs.start(1, 5)
    disk.add(1)
    disk.wrote()
    assert (disk.recent(1, 0), disk.recent(1, 5)) == (None, [])


def test_a_job_that_has_ended_is_forgotten(disk: Disk) -> None:
    disk.add(1, "a")
    disk.wrote()
    disk.logs.forget(1)
    assert (disk.recent(1, None), disk.logs.serial(1)) == (None, 0)


def test_entries_that_are_not_written_when_their_job_is_forgotten_are_told_but_not_kept(disk: Disk) -> None:
    disk.add(1, "a", name="first")
    disk.add(1, "b", name="second")
    disk.logs.forget(1)
    disk.wrote()
    disk.wrote()
    assert (disk.told, disk.ended) == ([(1, [1]), (1, [2])], ["first", "second"])
    assert disk.recent(1, None) is None
    assert disk.logs._tails == {}


def test_the_serial_that_is_written_follows_the_file_and_not_what_is_on_its_way(disk: Disk) -> None:
    disk.logs.start(7, 1000)
    assert disk.logs.written(7) == 0
    disk.add(7, "a", "b")
    assert (disk.logs.serial(7), disk.logs.written(7)) == (1002, 0)
    disk.wrote()
    assert disk.logs.written(7) == 1002
