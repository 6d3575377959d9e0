"""What the daemon does from time to time, and when an administrator's hand shows; on a fake clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from twisted.logger import LogEvent, capturedLogs

from jqueue.config import Config, Queue
from jqueue.daemon.housekeeping import Housekeeping
from jqueue.sched.checkpointing import Checkpointing
from jqueue.store.incoming import Incoming
from jqueue.store.memory import MemoryJournal

from ..sched.rig import Rig, op

MINUTE = 60
HOUR = 3600


class Looks(Checkpointing):
    """Counts the looks whether a checkpoint is due."""

    def __init__(self) -> None:
        self.looks = 0

    def look(self) -> None:
        self.looks += 1


class Inbox(Incoming):
    """Counts how often dropped files are tried again."""

    def __init__(self) -> None:
        self.retries = 0

    def retry(self) -> None:
        self.retries += 1


class FullJournal(MemoryJournal):
    """Counts how often space is looked for."""

    def __init__(self) -> None:
        super().__init__()
        self.retries = 0

    def retry_space(self) -> None:
        self.retries += 1


class House:
    """A queue that is kept."""

    def __init__(self) -> None:
        self.rig = Rig()
        self.jumped = 0.0
        self.journal = FullJournal()
        self.checkpointing = Looks()
        self.incoming = Inbox()
        self.keeping = Housekeeping(
            Config(queue=Queue(archive_after=6 * HOUR, max_finished=3)),
            self.rig.queue,
            clock=self.rig.clock,
            turns=self.rig.turns,
            wall=lambda: self.rig.wall() + self.jumped,
            journal=self.journal,
            checkpointing=self.checkpointing,
            incoming=self.incoming,
            history=self.rig.disk,
        )
        self.keeping.start()

    def advance(self, seconds: float) -> None:
        """Lets time go by, five seconds at a time."""
        for _ in range(int(seconds // 5)):
            self.rig.advance(5)

    def finish(self, count: int = 1) -> list[int]:
        """Has so many jobs run to their end."""
        ids = self.rig.submit(*[op()] * count)
        self.rig.finish()
        return ids

    def finished(self) -> list[int]:
        return sorted(self.rig.queue.table.finished)


@pytest.fixture
def house() -> Iterator[House]:
    made = House()
    yield made
    made.keeping.stop()


@pytest.fixture
def logged() -> Iterator[Sequence[LogEvent]]:
    with capturedLogs() as events:
        yield events


def said(events: Sequence[LogEvent]) -> list[tuple[str, object]]:
    """The level of each event, and the job that it is about."""
    return [(event["log_level"].name, event.get("job_id")) for event in events]


# Every few seconds


def test_every_five_seconds_it_looks_whether_a_checkpoint_is_due(house: House) -> None:
    house.rig.advance(4.9)
    assert house.checkpointing.looks == 0
    house.advance(20)
    assert house.checkpointing.looks == 4


def test_it_looks_for_space_as_long_as_there_is_none(house: House) -> None:
    house.advance(10)
    assert house.journal.retries == 0
    house.journal.full = True
    house.advance(10)
    assert house.journal.retries == 2


def test_once_stopped_nothing_is_left_to_do_and_it_may_be_stopped_again(house: House) -> None:
    house.rig.settle()
    house.keeping.stop()
    assert house.rig.clock.getDelayedCalls() == []
    house.keeping.stop()


def test_every_five_seconds_moves_to_the_archive_that_failed_are_tried_again(house: House) -> None:
    house.advance(20)
    assert house.rig.disk.retries == 4


# Every minute


def test_jobs_are_archived_when_their_time_is_over_and_not_before(house: House) -> None:
    house.finish(2)
    house.advance(6 * HOUR - 2 * MINUTE)
    assert house.finished() == [1, 2]
    house.advance(4 * MINUTE)
    assert house.finished() == []
    assert sorted(house.rig.disk.archived) == [1, 2]


def test_on_a_full_disk_nothing_is_archived_by_itself(house: House) -> None:
    house.finish(5)
    house.journal.full = True
    house.advance(2 * MINUTE)
    assert house.finished() == [1, 2, 3, 4, 5]
    house.journal.full = False
    house.advance(MINUTE)
    assert house.finished() == [3, 4, 5]


def test_an_unfinished_job_is_never_archived(house: House) -> None:
    job_id = house.rig.submit_one(op())
    house.advance(7 * HOUR)
    assert house.rig.status(job_id) == "running"


def test_of_too_many_finished_jobs_the_oldest_are_archived_before_their_time(house: House) -> None:
    house.finish(5)
    house.advance(2 * MINUTE)
    assert house.finished() == [3, 4, 5]


def test_when_the_clock_jumps_nothing_expires_in_that_minute_but_in_the_next(
    house: House, logged: Sequence[LogEvent]
) -> None:
    house.finish(2)
    house.rig.advance(1)
    house.jumped = -2.0 * HOUR
    house.finish(3)
    house.advance(MINUTE + 5)
    assert house.finished() == [1, 2, 3, 4, 5]
    assert said(logged) == [("warn", None)]
    house.advance(MINUTE)
    assert house.finished() == [3, 4, 5]
    assert len(logged) == 1


def test_a_clock_that_is_set_by_less_than_an_hour_changes_nothing(house: House, logged: Sequence[LogEvent]) -> None:
    house.finish(5)
    house.jumped = 0.9 * HOUR
    house.advance(MINUTE + 5)
    assert house.finished() == [3, 4, 5]
    assert said(logged) == []


def test_a_request_is_remembered_for_a_day_after_its_jobs_have_ended(house: House) -> None:
    def again() -> list[int]:
        return house.rig.submit(op(), request_id="nightly")

    first = again()
    house.advance(25 * HOUR)
    assert again() == first
    house.rig.finish()
    house.advance(23 * HOUR)
    assert again() == first
    house.advance(2 * HOUR)
    assert again() != first


def test_archiving_that_fails_is_said_and_tried_again_in_the_next_minute(
    house: House, logged: Sequence[LogEvent]
) -> None:
    house.finish(5)
    works, house.rig.queue.archiving._journal = house.rig.queue.archiving._journal, MemoryJournal()
    house.rig.queue.archiving._journal.close()
    house.advance(MINUTE + 5)
    assert (house.finished(), said(logged)) == ([1, 2, 3, 4, 5], [("critical", None)])
    house.rig.queue.archiving._journal = works
    house.advance(MINUTE)
    assert house.finished() == [3, 4, 5]


def test_while_an_archiving_is_on_its_way_no_other_begins(house: House) -> None:
    house.finish(5)
    slow = MemoryJournal()
    works, house.rig.queue.archiving._journal = house.rig.queue.archiving._journal, slow
    house.advance(3 * MINUTE)
    assert len(slow.unsynced) == 1
    slow.sync()
    assert house.finished() == [3, 4, 5]
    house.rig.queue.archiving._journal = works
    house.finish(1)
    house.advance(2 * MINUTE)
    assert house.finished() == [4, 5, 6]


# What others notice


def test_when_there_is_space_again_jobs_are_started_and_dropped_files_tried(
    house: House, logged: Sequence[LogEvent]
) -> None:
    *_, last = house.rig.submit(op(), op(), op())
    house.rig.journal.set_full(True)
    house.keeping.disk_full(True)
    house.rig.step()
    assert (house.rig.status(last), house.incoming.retries) == ("queued", 0)
    house.rig.journal.set_full(False)
    house.keeping.disk_full(False)
    house.rig.settle()
    assert (house.rig.status(last), house.incoming.retries) == ("running", 1)
    assert [level for level, _ in said(logged)] == ["error", "info"]


def test_a_queue_that_is_no_longer_drained_tries_dropped_files(house: House, logged: Sequence[LogEvent]) -> None:
    house.keeping.drained("maintenance")
    house.keeping.drained("")
    assert house.incoming.retries == 0
    house.keeping.drained(None)
    assert house.incoming.retries == 1
    assert [event.get("reason") for event in logged] == ["maintenance", "no reason given", None]
