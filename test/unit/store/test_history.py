"""Jobs that are read back from their files, log lines on their way into theirs, and jobs that leave the queue."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from jqueue.errors import DiskFull, JobQueueError, StateError
from jqueue.events.joblog import Entry
from jqueue.jobs import packing
from jqueue.jobs.job import _QueuedJob
from jqueue.store.archive import archived_job_file, archived_log_file
from jqueue.store.files import Files
from jqueue.store.history import History
from jqueue.store.jobfiles import JobFiles
from jqueue.store.logfiles import LogFiles
from jqueue.store.statedir import StateDirectory
from jqueue.store.thread import InlineThread

P = ParamSpec("P")
T = TypeVar("T")


class Disk(Files):
    """A disk that fails for some files."""

    def __init__(self) -> None:
        self.bad: set[Path] = set()

    def open(self, path: Path, flags: int, mode: int = 0o640) -> int:
        self._check(path)
        return super().open(path, flags, mode)

    def rename(self, source: Path, target: Path) -> None:
        self._check(source)
        super().rename(source, target)

    def _check(self, path: Path) -> None:
        if path in self.bad:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))


class Store:
    """A state directory and what works on it, without threads."""

    def __init__(self, path: Path, writer: InlineThread | None = None) -> None:
        self.files = Disk()
        self.state = StateDirectory(path)
        self.state.prepare(self.files)
        self.clock = Clock()
        thread = InlineThread()
        self.job_files = JobFiles(self.state, self.files, writer or thread, self.clock, lambda job_id, error: None)
        self.log_files = LogFiles(self.state, self.files)
        self.history = History(
            self.state,
            self.files,
            reader=thread,
            writer=writer or thread,
            job_files=self.job_files,
            log_files=self.log_files,
        )

    def write(self, *job_ids: int) -> None:
        """Writes the files of jobs, each with a line of log."""
        now(self.job_files.write_now([(job_id, job(job_id)) for job_id in job_ids]))
        now(self.history.write_log({job_id: [entry(1, f"of {job_id}")] for job_id in job_ids}))

    def found(self, *job_ids: int) -> dict[int, bool]:
        """Loads jobs; tells of those that can be read whether they are archived."""
        loaded = now(self.history.load(job_ids)).items()
        return {job_id: bool(job.archived) for job_id, job in loaded if isinstance(job, _QueuedJob)}

    def problem(self, job_id: int) -> str:
        """Why a job cannot be loaded."""
        error = now(self.history.load([job_id]))[job_id]
        assert isinstance(error, StateError)
        return str(error)

    def messages(self, job_id: int) -> list[Any]:
        return [row[4] for row in now(self.history.log(job_id, 0, 1000))]


def now(done: Deferred[Any]) -> Any:
    """Gives an answer that has come already, or raises what it failed with."""
    answers: list[Any] = []
    problems: list[BaseException] = []
    done.addCallbacks(answers.append, lambda failure: problems.append(failure.value))
    if problems:
        raise problems[0]
    return answers[0]


def job(job_id: int) -> _QueuedJob:
    return _QueuedJob(None, job_id, [{"OP_ID": "OP_TEST_DUMMY"}])


def entry(serial: int, message: object, kind: Any = "message") -> Entry:
    return [0, serial, [1_700_000_000, 0], kind, message]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "state")
    yield made
    made.job_files.stop()
    made.log_files.close()


# Reading


def test_jobs_are_found_live_and_archived_and_those_that_are_nowhere_are_left_out(store: Store) -> None:
    store.write(1, 2)
    now(store.history.archive([(2, None)]))
    assert store.found(1, 2, 3) == {1: False, 2: True}
    assert now(store.history.archived_ids()) == [2]


def test_a_job_is_loaded_as_it_is_although_its_file_is_behind(store: Store) -> None:
    store.write(1)
    newer, packed = job(1), packing.pack(job(2))
    newer.name = "newer"
    store.job_files.changed(1, newer)
    store.job_files.changed(2, packed)
    loaded = now(store.history.load([1, 2]))
    assert (loaded[1].name, loaded[1].archived, loaded[2].id) == ("newer", False, 2)
    store.files.bad.add(store.state.job_file(1))
    assert now(store.history.load([1]))[1].name == "newer"


def test_a_job_that_is_read_back_is_as_it_was_and_cannot_be_changed(store: Store) -> None:
    made = job(1)
    made.name = "nightly"
    made.ops[0].result = {"written": [5]}
    now(store.job_files.write_now([(1, made)]))
    found = now(store.history.load([1]))[1]
    assert found.Serialize() == made.Serialize()
    assert (found.name, found.writable) == ("nightly", False)


@pytest.mark.parametrize(
    "content",
    (
        "",
        "\0" * 100,
        '{"id": 1, "ops"',
        "[]",
        '{"id": 1}',
        '{"id": 1, "ops": {}}',
        '{"id": 1, "ops": [7]}',
        '{"id": 1, "ops": [null]}',
        '{"id": 1, "ops": [{"input": 7}]}',
        '{"id": 1, "ops": [{"input": {}, "status": []}]}',
        '{"id": 1, "ops": [], "end_timestamp": "x"}',
        '{"id": 1, "ops": [{"input": {}, "jqueue": 7}], "jqueue": {"ops": [7]}}',
        "[" * 100_000,
    ),
)
def test_a_damaged_file_is_said_and_does_not_hide_the_others(store: Store, content: str) -> None:
    store.write(1, 2)
    store.state.job_file(1).write_text(content)
    with capturedLogs() as events:
        assert store.found(1, 2) == {2: False}
    assert [event["job_id"] for event in events] == [1]
    assert " is damaged" in store.problem(1)


@pytest.mark.parametrize("number", (errno.EIO, errno.EMFILE, errno.EACCES))
def test_a_file_that_cannot_be_read_is_not_one_that_is_missing(
    store: Store, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    store.write(1)

    def refuse(*arguments: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("jqueue.store.archive.os.open", refuse)
    assert f"job 1 cannot be read ([Errno {number}] {os.strerror(number)})" in store.problem(1)
    for answer in (store.history.log(1, 0, 10), store.history.log_tail(1, 10)):
        with pytest.raises(StateError, match=f"the log of job 1 cannot be read: {os.strerror(number)}"):
            now(answer)


def test_an_archive_that_cannot_be_read_is_an_error(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> list[str]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("jqueue.store.archive.os.listdir", refuse)
    with pytest.raises(StateError, match="archive cannot be read: Too many open files"):
        now(store.history.archived_ids())


def test_a_file_without_our_own_key_is_read_as_ganeti_wrote_it(store: Store) -> None:
    op: dict[str, object] = {"input": {"OP_ID": "OP_TEST_DELAY"}, "status": "success", "result": None, "log": []}
    state = {"id": 7, "ops": [{**op, "start_timestamp": None, "exec_timestamp": None, "end_timestamp": None}]}
    times = {"received_timestamp": [1, 0], "start_timestamp": [1, 0], "end_timestamp": [2, 0]}
    store.state.job_file(7).write_text(json.dumps({**state, **times}))
    assert now(store.history.load([7]))[7].CalcStatus() == "success"


# Logs


def test_lines_are_appended_to_the_log_of_each_job(store: Store) -> None:
    now(store.history.write_log({1: [entry(1, "a"), entry(2, "b")], 2: [entry(1, "c")]}))
    now(store.history.write_log({1: [entry(3, "d")]}))
    assert (store.messages(1), store.messages(2)) == (["a", "b", "d"], ["c"])
    assert [row[1] for row in now(store.history.log_tail(1, 2))] == [2, 3]


def test_a_log_that_cannot_be_written_is_said_and_costs_the_other_jobs_nothing(store: Store) -> None:
    store.files.bad.add(store.state.log_file(1))
    with capturedLogs() as events:
        now(store.history.write_log({1: [entry(1, "lost")], 2: [entry(1, "kept")]}))
    assert [event["job_id"] for event in events] == [1]
    assert store.messages(2) == ["kept"]


def test_an_entry_that_no_file_can_hold_is_said_and_costs_the_other_jobs_nothing(store: Store) -> None:
    with capturedLogs() as events:
        now(store.history.write_log({1: [entry(1, object())], 2: [entry(1, "kept")]}))
    assert [event["job_id"] for event in events] == [1]
    assert store.messages(2) == ["kept"]


def test_a_torn_line_is_cut_off_and_the_last_serial_told(store: Store) -> None:
    store.write(1)
    with store.state.log_file(1).open("a") as log:
        log.write("[0, 2, [17")
    assert now(store.history.repair_log(1)) == 1
    assert store.state.log_file(1).read_text().endswith("\n")
    assert now(store.history.repair_log(2)) == 0


# Leaving the queue


def test_archiving_writes_the_last_state_before_it_moves_the_files(store: Store) -> None:
    store.write(1)
    ended = job(1)
    ended.MarkUnfinishedOps("success", "done")
    now(store.history.archive([(1, ended)]))
    assert now(store.history.load([1]))[1].CalcStatus() == "success"
    assert sorted(path.name for path in archived_job_file(store.state, 1).parent.iterdir()) == ["job-1", "job-1.log"]
    assert store.messages(1) == ["of 1"]


def test_a_job_that_never_had_a_file_has_one_in_the_archive(store: Store) -> None:
    now(store.history.archive([(1, job(1))]))
    assert store.found(1) == {1: True}


def test_what_waits_to_be_written_of_an_archived_job_does_not_bring_its_file_back(store: Store) -> None:
    store.job_files.changed(1, job(1))
    now(store.history.archive([(1, job(1))]))
    store.clock.advance(60)
    assert not store.state.job_file(1).exists()
    assert store.found(1) == {1: True}


def test_a_job_that_cannot_be_moved_is_said_and_the_others_are_moved(store: Store) -> None:
    store.write(1, 2)
    store.files.bad.add(store.state.job_file(1))
    with capturedLogs() as events:
        now(store.history.archive([(1, None), (2, None)]))
    assert [event["job_id"] for event in events] == [1]
    assert store.found(1, 2) == {1: True, 2: True}
    assert store.state.job_file(1).exists()


def test_archiving_again_goes_on_where_it_stopped(store: Store) -> None:
    store.write(1)
    store.files.bad.add(store.state.job_file(1))
    with capturedLogs():
        now(store.history.archive([(1, None)]))
    assert archived_log_file(store.state, 1).exists()
    store.files.bad.clear()
    now(store.history.archive([(1, None)]))
    assert (store.found(1), store.messages(1)) == ({1: True}, ["of 1"])


class HeldThread(InlineThread):
    """Makes no call before the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Callable[[], None]] = []

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        done: Deferred[T] = Deferred()
        self.calls.append(lambda: done.callback(function(*args, **kwargs)))
        return done

    def go_on(self) -> None:
        while self.calls:
            self.calls.pop(0)()


def test_a_job_is_known_all_the_way_into_the_archive_also_before_it_ever_had_a_file(tmp_path: Path) -> None:
    writer = HeldThread()
    store = Store(tmp_path / "state", writer)
    made = job(1)
    made.MarkUnfinishedOps("success", [5])
    moved = store.history.archive([(1, made), (2, packing.pack(job(2)))])
    steps = 0
    while writer.calls:
        found = now(store.history.load([1, 2, 3]))
        assert {job_id: (job.archived, job.writable) for job_id, job in found.items()} == dict.fromkeys(
            (1, 2), (True, False)
        )
        assert found[1].Serialize() == made.Serialize() and found[1] is not made
        assert now(store.history.archived_ids()) == [1, 2]
        writer.calls.pop(0)()
        steps += 1
    assert steps == 2
    now(moved)
    assert store.found(1, 2) == {1: True, 2: True}
    assert archived_job_file(store.state, 1).exists()
    assert made.archived is False
    store.job_files.stop()


def test_a_job_that_is_only_on_disk_is_archived_before_its_file_has_moved(tmp_path: Path) -> None:
    writer = HeldThread()
    store = Store(tmp_path / "state", writer)
    store.job_files.changed(1, job(1))
    store.clock.advance(1)
    writer.go_on()
    moved = store.history.archive([(1, None)])
    assert store.found(1) == {1: True}
    writer.go_on()
    now(moved)
    assert store.found(1) == {1: True}
    store.job_files.stop()


def test_what_could_not_be_moved_is_tried_again_and_known_as_archived_meanwhile(store: Store) -> None:
    store.write(1, 2)
    ended = job(1)
    ended.MarkUnfinishedOps("success", [5])
    store.files.bad.add(store.state.log_file(1))
    with capturedLogs():
        now(store.history.archive([(1, ended), (2, None)]))
        now(store.history.retry())
    assert set(store.history.not_moved) == {1}
    assert store.found(1, 2) == {1: True, 2: True}
    store.files.bad.clear()
    now(store.history.retry())
    assert not store.history.not_moved
    assert archived_job_file(store.state, 1).exists() and archived_log_file(store.state, 1).exists()
    assert now(store.history.load([1]))[1].CalcStatus() == "success"
    now(store.history.retry())


def test_a_job_whose_last_state_cannot_be_written_is_not_moved_before_it_is(store: Store) -> None:
    store.write(1)
    ended = job(1)
    ended.MarkUnfinishedOps("success", [5])
    store.files.bad.add(store.state.tmp / "job-1")
    now(store.history.archive([(1, ended)]))
    assert (set(store.history.not_moved), archived_job_file(store.state, 1).exists()) == ({1}, False)
    assert now(store.history.load([1]))[1].CalcStatus() == "success"
    store.files.bad.clear()
    store.clock.advance(10)
    now(store.history.retry())
    assert (set(store.history.not_moved), store.state.job_file(1).exists()) == (set(), False)
    assert now(store.history.load([1]))[1].CalcStatus() == "success"
    store.clock.advance(10)
    assert not store.state.job_file(1).exists()


def test_a_job_without_any_file_is_not_tried_again(store: Store) -> None:
    with capturedLogs() as events:
        now(store.history.archive([(1, None)]))
    assert [event["job_id"] for event in events] == [1]
    assert (store.found(1), set(store.history.not_moved)) == ({}, set())


# Before a checkpoint


def test_a_flush_writes_and_moves_everything_and_then_syncs(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write(1)
    store.files.bad.add(store.state.log_file(1))
    with capturedLogs():
        now(store.history.archive([(1, None)]))
    store.files.bad.clear()
    store.job_files.changed(2, job(2))
    synced: list[tuple[bool, bool]] = []
    monkeypatch.setattr(
        store.files,
        "syncfs",
        lambda path: synced.append((archived_job_file(store.state, 1).exists(), store.state.job_file(2).exists())),
    )
    now(store.history.flush())
    assert synced == [(True, True)]


def test_a_flush_fails_while_only_the_journal_has_a_final_job(store: Store) -> None:
    ended = job(1)
    ended.MarkUnfinishedOps("success", None)
    store.job_files.changed(1, ended)
    store.files.bad.add(store.state.tmp / "job-1")
    with pytest.raises(JobQueueError, match="the files of 1 finished jobs cannot be written or moved, job 1 is the"):
        now(store.history.flush())
    store.files.bad.clear()
    now(store.history.flush())


def test_a_flush_does_not_care_for_the_file_of_a_job_that_the_checkpoint_has_whole(store: Store) -> None:
    store.job_files.changed(1, job(1))
    store.files.bad.add(store.state.tmp / "job-1")
    now(store.history.flush())


def test_a_flush_fails_while_an_archived_job_cannot_be_moved(store: Store) -> None:
    store.write(1)
    store.files.bad.add(store.state.job_file(1))
    with capturedLogs() as events:
        now(store.history.archive([(1, None)]))
        for _ in range(2):
            with pytest.raises(JobQueueError, match="job 1 is the first"):
                now(store.history.flush())
    assert len(events) == 1, "said once"
    store.files.bad.clear()
    now(store.history.flush())


@pytest.mark.parametrize("number, expected", ((errno.ENOSPC, DiskFull), (errno.EDQUOT, DiskFull), (errno.EIO, OSError)))
def test_a_sync_that_finds_the_disk_full_is_no_damage(
    store: Store, monkeypatch: pytest.MonkeyPatch, number: int, expected: type[Exception]
) -> None:
    def refuse(path: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(store.files, "syncfs", refuse)
    with pytest.raises(expected, match=os.strerror(number)):
        now(store.history.flush())


# Gone


def test_a_forgotten_job_leaves_no_file_and_no_change_on_its_way_brings_one_back(store: Store) -> None:
    store.write(1, 2)
    store.job_files.changed(1, job(1))
    now(store.history.forget(1))
    store.clock.advance(60)
    assert store.found(1, 2) == {2: False}
    assert not store.state.log_file(1).exists()
    now(store.history.forget(1))


@pytest.mark.parametrize("leave", ("archive", "forget"))
def test_no_descriptor_keeps_the_log_of_a_job_that_has_left(store: Store, leave: str) -> None:
    before = open_files(store)
    store.write(1)
    assert open_files(store) == before + 1
    now(store.history.archive([(1, None)]) if leave == "archive" else store.history.forget(1))
    assert open_files(store) == before


def open_files(store: Store) -> int:
    """How many descriptors lead below the state directory."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(f"/proc/self/fd/{name}").startswith(str(store.state.path))
        except FileNotFoundError:  # the one that listed them
            continue
    return count


def test_the_directory_of_a_command_is_removed_if_there_is_one(store: Store) -> None:
    directory = store.state.run_directory(1, 0, 2)
    directory.mkdir(parents=True)
    (directory / "output").write_text("all of it")
    now(store.history.remove_run_directory(1, 0, 2))
    assert not directory.exists() and store.state.run.exists()
    now(store.history.remove_run_directory(1, 0, 2))
