"""Noticing dropped files and feeding them to the queue, each once; on a fake clock and without threads."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from jqueue.errors import JobQueueDrainError, OpPrereqError, StoreFailed
from jqueue.store.dropped import SETTLE, Drop
from jqueue.store.files import Files
from jqueue.store.incoming import POLL, Incoming
from jqueue.store.intake import MAX_ACTIVE, MAX_ACTIVE_BYTES
from jqueue.store.statedir import StateDirectory
from jqueue.store.thread import InlineThread
from jqueue.watch import CLOSE_WRITE, CREATE, MOVED_TO, DirectoryWatch

LATER = 1e12  # a wall time at which every file has been there for long


class FakeWatch(DirectoryWatch):
    def __init__(self, answer: bool = True) -> None:
        self.answer = answer

    def watch(self, path: Path, mask: int, callback: Callable[[str, int], None], on_rescan: Callable[[], None]) -> bool:
        self.path, self.event, self.overflow = path, callback, on_rescan
        return self.answer


class FakeQueue:
    """Takes submissions; `answer` says how."""

    def __init__(self) -> None:
        self.submitted: list[Drop] = []
        self.remembered: set[str] = set()
        self.forgotten: list[str] = []
        self.answer: Callable[[Drop], Deferred[object]] = lambda drop: succeed(None)

    def submit(self, drop: Drop) -> Deferred[object]:
        self.submitted.append(drop)
        return self.answer(drop)

    def known(self, identity: str) -> bool:
        return identity in self.remembered

    def done(self, identities: list[str]) -> None:
        self.remembered.difference_update(identities)
        self.forgotten += identities

    @property
    def texts(self) -> list[str]:
        return [drop.data.decode() for drop in self.submitted]


class Rig:
    def __init__(self, path: Path, watched: bool = True, settle: float = SETTLE) -> None:
        self.state = StateDirectory(path / "state")
        self.state.prepare(Files())
        self.clock = Clock()
        self.watch = FakeWatch(watched)
        self.queue = FakeQueue()
        self.wall = LATER
        threads = InlineThread(), InlineThread()
        self.incoming = Incoming(
            self.state,
            Files(),
            threads,
            self.watch,
            self.clock,
            self.queue,
            settle=settle,
            max_bytes=1 << 20,
            now=lambda: self.wall,
        )

    def drop(self, name: str, text: str = "a job") -> Path:
        path = self.state.incoming / name
        path.write_text(text)
        return path

    def names(self) -> list[str]:
        return sorted(os.listdir(self.state.incoming))

    def rejected(self) -> list[str]:
        return sorted(os.listdir(self.state.rejected))


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_what_was_dropped_before_the_start_is_submitted_once_and_removed(rig: Rig) -> None:
    rig.drop("a", "one")
    rig.drop("b", "two")
    rig.incoming.start()
    assert sorted(rig.queue.texts) == ["one", "two"]
    assert rig.names() == []
    assert sorted(rig.queue.forgotten) == sorted(drop.identity for drop in rig.queue.submitted)
    assert rig.incoming.pending == 0


@pytest.mark.parametrize("mask", [MOVED_TO, CLOSE_WRITE])
def test_a_file_renamed_in_or_closed_after_writing_is_submitted_at_once(rig: Rig, mask: int) -> None:
    rig.wall = 0.0
    rig.incoming.start()
    rig.drop("a")
    rig.watch.event("a", mask)
    assert (rig.queue.texts, rig.names()) == (["a job"], [])


def test_unfinished_names_are_not_even_looked_at(rig: Rig) -> None:
    rig.incoming.start()
    for name in (".a", "a~"):
        rig.drop(name)
        rig.watch.event(name, MOVED_TO)
    rig.watch.overflow()
    assert (rig.queue.texts, rig.incoming.pending) == ([], 0)


def test_how_long_a_file_must_not_change_is_configured(tmp_path: Path) -> None:
    rig = Rig(tmp_path, settle=10 * SETTLE)
    rig.incoming.start()
    changed = rig.drop("a").stat().st_mtime
    rig.wall = changed + 9 * SETTLE
    rig.watch.overflow()
    assert rig.queue.texts == []
    rig.wall = changed + 11 * SETTLE
    rig.clock.advance(10 * SETTLE)
    assert rig.queue.texts == ["a job"]


def test_a_linked_file_is_submitted_once_it_did_not_change_for_a_while(rig: Rig) -> None:
    rig.wall = 0.0
    rig.incoming.start()
    rig.drop("a")
    rig.watch.event("a", CREATE)
    rig.clock.advance(SETTLE)
    rig.drop("a", "changed")
    rig.clock.advance(SETTLE)
    assert rig.queue.texts == []
    rig.clock.advance(SETTLE)
    assert rig.queue.texts == ["changed"]
    assert len(rig.clock.getDelayedCalls()) == 1  # the rescan


def test_a_file_that_goes_while_it_settles_is_forgotten(rig: Rig) -> None:
    rig.wall = 0.0
    rig.incoming.start()
    rig.watch.event("never there", CREATE)
    rig.clock.advance(SETTLE)
    assert rig.incoming.pending == 0


def test_the_scan_takes_fresh_files_only_when_they_have_settled(rig: Rig) -> None:
    rig.wall = 0.0
    rig.drop("a")
    rig.incoming.start()
    assert rig.queue.texts == []
    rig.clock.advance(SETTLE)
    assert rig.queue.texts == ["a job"]


@pytest.mark.parametrize(("watched", "seconds"), [(True, 60.0), (False, POLL)])
def test_files_are_found_without_events_more_often_where_there_are_none(
    tmp_path: Path, watched: bool, seconds: float
) -> None:
    rig = Rig(tmp_path, watched)
    rig.incoming.start()
    rig.drop("a")
    rig.clock.advance(seconds - 0.1)
    assert rig.queue.texts == []
    rig.clock.advance(0.2)
    assert rig.queue.texts == ["a job"]


def test_lost_events_make_a_scan(rig: Rig) -> None:
    rig.incoming.start()
    rig.drop("a")
    rig.watch.overflow()
    assert rig.queue.texts == ["a job"]


def test_a_bad_description_is_rejected_with_the_reason(rig: Rig) -> None:
    rig.queue.answer = lambda drop: fail(OpPrereqError("ops[0].argv: missing"))
    rig.drop("a.yaml")
    with capturedLogs() as events:
        rig.incoming.start()
    assert (rig.names(), rig.rejected()) == ([], ["a.yaml", "a.yaml.error"])
    assert "ops[0].argv: missing" in (rig.state.rejected / "a.yaml.error").read_text()
    assert "rejected a dropped file" in events[0]["log_format"]
    assert rig.incoming.pending == 0


def test_a_fault_of_ours_rejects_the_file_and_is_logged(rig: Rig) -> None:
    rig.queue.answer = lambda drop: fail(ZeroDivisionError("oops"))
    rig.drop("a")
    with capturedLogs() as events:
        rig.incoming.start()
    assert rig.rejected() == ["a", "a.error"]
    assert isinstance(events[0]["log_failure"].value, ZeroDivisionError)


@pytest.mark.parametrize("error", [JobQueueDrainError(), StoreFailed()])
def test_files_stay_while_the_queue_takes_none_and_are_tried_again_when_told(rig: Rig, error: Exception) -> None:
    rig.queue.answer = lambda drop: fail(error)
    for number in range(50):
        rig.drop(f"{number:02}")
    rig.incoming.start()
    tried = len(rig.queue.submitted)
    assert tried <= 20  # one read of the directory, not one for each file
    assert len(rig.names()) == 50
    rig.drop("late")
    rig.watch.event("late", MOVED_TO)
    assert len(rig.queue.submitted) == tried
    rig.queue.answer = lambda drop: succeed(None)
    rig.queue.submitted.clear()
    rig.incoming.retry()
    assert (len(rig.queue.submitted), rig.names()) == (51, [])


def test_files_that_stayed_are_tried_at_the_next_scan(rig: Rig) -> None:
    rig.queue.answer = lambda drop: fail(JobQueueDrainError())
    rig.drop("a")
    rig.incoming.start()
    rig.queue.answer = lambda drop: succeed(None)
    rig.clock.advance(60)
    assert rig.names() == []


def test_a_file_that_was_submitted_before_a_crash_is_only_removed(rig: Rig) -> None:
    submitting: Deferred[object] = Deferred()
    rig.queue.answer = lambda drop: submitting
    rig.drop("a")
    rig.incoming.start()
    identity = rig.queue.submitted[0].identity
    queue = FakeQueue()
    queue.remembered.add(identity)
    threads = InlineThread(), InlineThread()
    Incoming(rig.state, Files(), threads, FakeWatch(), Clock(), queue, now=lambda: LATER).start()
    assert (queue.submitted, rig.names(), queue.forgotten) == ([], [], [identity])


def test_identities_without_a_file_need_not_be_remembered(rig: Rig) -> None:
    submitting: Deferred[object] = Deferred()
    rig.queue.answer = lambda drop: submitting
    rig.drop("a")
    rig.incoming.start()
    there = rig.queue.submitted[0].identity
    gone: list[list[str]] = []
    rig.incoming.gone([there, "1.2.3.x"]).addCallback(gone.append)
    assert gone == [["1.2.3.x"]]


def test_many_files_are_in_work_a_bounded_number_at_a_time(rig: Rig) -> None:
    waiting: list[Deferred[object]] = []

    def later(drop: Drop) -> Deferred[object]:
        waiting.append(Deferred())
        return waiting[-1]

    rig.queue.answer = later
    for number in range(MAX_ACTIVE * 3):
        rig.drop(str(number), str(number))
    rig.incoming.start()
    assert len(waiting) == MAX_ACTIVE
    most = 0
    while waiting:
        waiting.pop(0).callback(None)
        most = max(most, len(waiting))
    assert most <= MAX_ACTIVE + 20
    assert sorted(rig.queue.texts, key=int) == [str(number) for number in range(MAX_ACTIVE * 3)]
    assert rig.names() == []


def test_large_files_in_work_are_bounded_by_their_bytes(rig: Rig) -> None:
    waiting: list[Deferred[object]] = []

    def later(drop: Drop) -> Deferred[object]:
        waiting.append(Deferred())
        return waiting[-1]

    rig.queue.answer = later
    for number in range(60):
        rig.drop(str(number), "x" * (1 << 20))
    rig.incoming.start()
    assert len(waiting) << 20 <= MAX_ACTIVE_BYTES * 3 // 2
    while waiting:
        waiting.pop().callback(None)
    assert (len(rig.queue.submitted), rig.names(), rig.incoming.pending) == (60, [], 0)


def test_a_file_replaced_while_it_is_submitted_is_submitted_as_well(rig: Rig) -> None:
    first: Deferred[object] = Deferred()
    rig.queue.answer = lambda drop: first
    rig.incoming.start()
    rig.drop("a", "one")
    rig.watch.event("a", CLOSE_WRITE)
    new = rig.state.path / "new"
    new.write_text("two")
    new.rename(rig.state.incoming / "a")
    rig.watch.event("a", MOVED_TO)
    rig.queue.answer = lambda drop: succeed(None)
    first.callback(None)
    assert (rig.queue.texts, rig.names()) == (["one", "two"], [])


def test_an_event_for_a_file_that_is_already_gone_is_harmless(rig: Rig) -> None:
    rig.incoming.start()
    rig.watch.event("a", MOVED_TO)
    assert (rig.queue.texts, rig.incoming.pending) == ([], 0)


def test_a_removal_that_fails_is_logged_and_tried_again_without_another_submission(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def remember(drop: Drop) -> Deferred[object]:
        rig.queue.remembered.add(drop.identity)
        return succeed(None)

    def refuse(*args: object) -> None:
        raise PermissionError(13, "Permission denied")

    rig.queue.answer = remember
    path = rig.drop("a")
    with monkeypatch.context() as broken, capturedLogs() as events:
        broken.setattr(Files, "rename", refuse)
        rig.incoming.start()
    assert events[0]["path"] == str(path)
    assert rig.names() == ["a"]
    rig.clock.advance(60)
    assert (len(rig.queue.submitted), rig.names()) == (1, [])


def test_after_stop_nothing_is_taken_and_no_timer_runs(rig: Rig) -> None:
    rig.wall = 0.0
    rig.drop("fresh")
    rig.incoming.start()
    rig.incoming.stop()
    rig.watch.event("fresh", MOVED_TO)
    rig.watch.overflow()
    assert (rig.queue.texts, rig.clock.getDelayedCalls()) == ([], [])
