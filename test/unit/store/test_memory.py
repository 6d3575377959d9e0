from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from jqueue.store.interface import RecordJournal
from jqueue.store.memory import MemoryJournal


class Told:
    def __init__(self) -> None:
        self.outcomes: list[int | str] = []

    def listen(self, done: Deferred[int]) -> None:
        def failed(failure: Failure) -> None:
            self.outcomes.append(type(failure.value).__name__)

        done.addCallbacks(self.outcomes.append, failed)


def test_it_is_what_the_queue_asks_for() -> None:
    journal: RecordJournal = MemoryJournal()
    assert not journal.full


def test_records_are_durable_when_the_test_says_so() -> None:
    journal, told = MemoryJournal(), Told()
    told.listen(journal.append(b"a"))
    told.listen(journal.append(b"b"))
    assert (told.outcomes, journal.records, journal.unsynced) == ([], [], [b"a", b"b"])
    journal.sync(1)
    assert (told.outcomes, journal.records, journal.unsynced_records) == ([1], [(1, b"a")], 1)
    journal.sync()
    assert (told.outcomes, journal.records) == ([1, 2], [(1, b"a"), (2, b"b")])


def test_what_is_appended_while_others_are_told_waits_for_the_next_sync() -> None:
    journal, told = MemoryJournal(), Told()
    journal.append(b"a").addCallback(lambda _: told.listen(journal.append(b"b")))
    journal.sync()
    assert (told.outcomes, journal.unsynced) == ([], [b"b"])


def test_an_automatic_one_is_durable_at_once() -> None:
    journal, told = MemoryJournal(automatic=True), Told()
    journal.open(7)
    told.listen(journal.append(b"a"))
    assert told.outcomes == [7]


def test_rotation_keeps_its_place_and_dropping_removes_what_is_before() -> None:
    journal, told = MemoryJournal(), Told()
    told.listen(journal.append(b"a"))
    told.listen(journal.rotate())
    told.listen(journal.append(b"bc"))
    journal.sync()
    assert told.outcomes == [1, 2, 2]
    assert journal.bytes_since(2) == 2
    journal.drop_before(2)
    assert journal.records == [(2, b"bc")]


def test_a_full_disk_refuses_what_may_be_refused() -> None:
    changes: list[bool] = []
    journal, told = MemoryJournal(on_full=changes.append), Told()
    journal.set_full(True)
    told.listen(journal.append(b"a", refusable=True))
    told.listen(journal.append(b"b"))
    told.listen(journal.rotate())
    journal.sync()
    assert told.outcomes == ["DiskFull", "DiskFull", 1]
    journal.set_full(False)
    assert changes == [True, False]


def test_a_broken_one_fails_what_waits_and_what_comes() -> None:
    errors: list[BaseException] = []
    journal, told = MemoryJournal(on_failure=errors.append), Told()
    told.listen(journal.append(b"a"))
    journal.break_down()
    told.listen(journal.append(b"b"))
    assert told.outcomes == ["StoreFailed", "StoreFailed"]
    assert len(errors) == 1
    assert journal.records == []


def test_a_closed_one_has_written_what_it_took() -> None:
    journal, told = MemoryJournal(), Told()
    told.listen(journal.append(b"a"))
    journal.close()
    told.listen(journal.append(b"b"))
    assert told.outcomes == [1, "ShuttingDown"]
