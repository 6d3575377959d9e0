"""What follows when an administrator moves, replaces or removes a job file; on a fake clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.logger import LogEvent, capturedLogs

from jqueue.daemon.removed import RemovedFiles

from ..sched.rig import Rig, op

MOMENT = 0.21


class House:
    """A queue with two final jobs."""

    def __init__(self) -> None:
        self.rig = Rig()
        self.removed = RemovedFiles(self.rig.queue, self.rig.disk, self.rig.clock)
        self.rig.submit(op(), op())
        self.rig.finish()

    def remove(self, job_id: int, to_archive: bool = False) -> None:
        """Takes a job's file away."""
        source = self.rig.disk.files.pop(job_id)
        if to_archive:
            self.rig.disk.archived[job_id] = source
        self.removed.gone(job_id)

    def finished(self) -> list[int]:
        return sorted(self.rig.queue.table.finished)


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def logged() -> Iterator[Sequence[LogEvent]]:
    with capturedLogs() as events:
        yield events


def said(events: Sequence[LogEvent]) -> list[tuple[str, object]]:
    """The level of each event, and the job that it is about."""
    return [(event["log_level"].name, event.get("job_id")) for event in events]


def test_the_file_of_a_final_job_that_was_removed_is_the_end_of_the_job(house: House) -> None:
    house.remove(1)
    house.rig.advance(0.19)
    assert house.finished() == [1, 2]
    house.rig.advance(0.02)
    assert house.finished() == [2]
    assert house.rig.disk.gone == {1}
    assert sorted(house.rig.crash(start=False).queue.table.finished) == [2]


def test_it_is_forgotten_once_that_is_durable(house: House) -> None:
    house.remove(1)
    house.rig.clock.advance(MOMENT)
    assert (house.finished(), house.rig.disk.gone) == ([1, 2], set())
    house.rig.settle()
    assert (house.finished(), house.rig.disk.gone) == ([2], {1})


def test_a_file_that_is_back_after_a_moment_was_only_replaced(house: House, logged: Sequence[LogEvent]) -> None:
    source = house.rig.disk.files[1]
    before = len(house.rig.journal.records)
    house.remove(1)
    house.rig.disk.files[1] = source
    house.rig.advance(MOMENT)
    assert (house.finished(), house.rig.disk.gone, said(logged)) == ([1, 2], set(), [])
    assert len(house.rig.journal.records) == before


def test_a_file_that_was_moved_to_the_archive_archives_the_job(house: House) -> None:
    house.remove(1, to_archive=True)
    house.rig.advance(MOMENT)
    assert (house.finished(), sorted(house.rig.disk.archived), house.rig.disk.gone) == ([2], [1], set())
    state = house.rig.crash(start=False)
    assert sorted(state.queue.table.finished) == [2]
    assert sorted(state.disk.archived) == [1]


def test_the_file_of_an_unfinished_job_is_written_again_with_a_warning(
    house: House, logged: Sequence[LogEvent]
) -> None:
    running, queued = house.rig.submit(op(), op(not_before=4e9))
    house.remove(running)
    house.remove(queued)
    assert {running, queued} <= house.rig.disk.files.keys()
    assert said(logged) == [("warn", running), ("warn", queued)]
    house.rig.finish()
    assert house.rig.status(running) == "success"


def test_a_file_that_the_queue_itself_moves_to_the_archive_is_not_missed(
    house: House, logged: Sequence[LogEvent]
) -> None:
    archived = house.rig.queue.archive(1)
    house.removed.gone(1)
    assert house.rig.now(archived)
    house.removed.gone(1)
    house.removed.gone(99)
    house.rig.advance(MOMENT)
    assert (house.rig.disk.gone, sorted(house.rig.disk.archived), said(logged)) == (set(), [1], [])


def test_a_job_that_is_archived_while_its_file_is_looked_for_is_left_alone(house: House) -> None:
    house.remove(1)
    house.rig.now(house.rig.queue.archive(1))
    before = len(house.rig.journal.records)
    house.rig.advance(MOMENT)
    assert len(house.rig.journal.records) == before


def test_a_file_that_is_missed_twice_is_forgotten_once(house: House) -> None:
    before = len(house.rig.journal.records)
    house.remove(1)
    house.removed.gone(1)
    house.rig.advance(MOMENT)
    assert len(house.rig.journal.records) == before + 1


def test_a_job_that_cannot_be_forgotten_is_said_and_stays(house: House, logged: Sequence[LogEvent]) -> None:
    house.rig.journal.break_down()
    house.remove(1)
    house.rig.advance(MOMENT)
    assert house.finished() == [1, 2]
    assert said(logged)[-1] == ("error", 1)


def test_where_nobody_can_look_nothing_is_taken_for_gone(
    house: House, logged: Sequence[LogEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(job_id: int) -> Deferred[bool | None]:
        return fail(OSError(5, "Input/output error"))

    monkeypatch.setattr(house.rig.disk, "is_archived", refuse)
    house.remove(1)
    house.rig.advance(MOMENT)
    assert (house.finished(), said(logged)) == ([1, 2], [("error", 1)])


@pytest.mark.parametrize("to_archive", (False, True))
def test_what_a_full_disk_refuses_is_done_when_there_is_space_again(house: House, to_archive: bool) -> None:
    house.rig.journal.set_full(True)
    house.remove(1, to_archive)
    house.rig.advance(MOMENT)
    assert house.finished() == [1, 2]
    house.rig.journal.set_full(False)
    house.removed.retry()
    house.rig.settle()
    assert house.finished() == [2]
    house.removed.retry()
    house.rig.settle()
    assert house.finished() == [2]


def test_nothing_is_looked_for_when_the_daemon_stops(house: House) -> None:
    house.remove(1)
    house.rig.queue.stopping = True
    house.rig.advance(MOMENT)
    assert house.finished() == [1, 2]
