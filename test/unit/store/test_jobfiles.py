"""Job files: what is written, when, and what happens when the disk refuses."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.packing import pack
from jqueue.store.files import Files
from jqueue.store.jobfile import encode_state
from jqueue.store.jobfiles import BATCH, RETRY, JobFiles
from jqueue.store.statedir import StateDirectory
from jqueue.store.thread import InlineThread

P = ParamSpec("P")
T = TypeVar("T")


class FailingFiles(Files):
    """A disk that refuses to write some files."""

    def __init__(self) -> None:
        self.refuse: Callable[[str], int | None] = lambda name: None
        self.tried: list[str] = []

    def write_file(self, path: Path, data: bytes, *, sync: bool, mode: int = 0o640) -> None:
        self.tried.append(path.name)
        if number := self.refuse(path.name):
            raise OSError(number, os.strerror(number), str(path))
        super().write_file(path, data, sync=sync, mode=mode)


class SteppedThread(InlineThread):
    """Makes its calls when told to, as a busy file thread does."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[Callable[[], None]] = []

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        later: Deferred[T] = Deferred()
        self.waiting.append(lambda: later.callback(function(*args, **kwargs)))
        return later

    def step(self) -> None:
        self.waiting.pop(0)()


class Rig:
    def __init__(self, path: Path) -> None:
        self.state = StateDirectory(path / "state")
        self.files = FailingFiles()
        self.state.prepare(self.files)
        self.files.tried.clear()
        self.clock = Clock()
        self.errors: list[tuple[int, Exception]] = []
        self.job_files = self.on(InlineThread())

    def on(self, thread: InlineThread) -> JobFiles:
        return JobFiles(self.state, self.files, thread, self.clock, lambda job, error: self.errors.append((job, error)))

    def on_disk(self, job_id: int) -> dict[str, object]:
        value: dict[str, object] = json.loads(self.state.job_file(job_id).read_text())
        return value

    def names(self) -> list[str]:
        return sorted(path.name for path in self.state.path.glob("job-*"))


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def job(job_id: int, name: str | None = None) -> _QueuedJob:
    made = _QueuedJob(None, job_id, [{"OP_ID": "OP_TEST_DUMMY"}])
    made.name = name
    return made


def result(deferred: Deferred[T]) -> T:
    seen: list[T] = []
    deferred.addCallback(seen.append)
    assert seen, "it has not fired"
    return seen[0]


def test_a_change_is_written_after_the_delay_as_one_line_of_json(rig: Rig) -> None:
    rig.job_files.changed(7, job(7, "nightly"))
    rig.clock.advance(0.049)
    assert rig.names() == []
    rig.clock.advance(0.002)
    text = rig.state.job_file(7).read_text()
    assert text.endswith("}\n") and text.count("\n") == 1
    assert list(json.loads(text)) == ["id", "ops", "received_timestamp", "start_timestamp", "end_timestamp", "jqueue"]
    assert rig.job_files.pending == 0
    assert rig.clock.getDelayedCalls() == []


def test_the_file_is_readable_for_the_group_and_nothing_stays_in_tmp(rig: Rig) -> None:
    old = os.umask(0)
    try:
        result(rig.job_files.write_now([(1, job(1))]))
    finally:
        os.umask(old)
    assert rig.state.job_file(1).stat().st_mode & 0o777 == 0o640
    assert list(rig.state.tmp.iterdir()) == []


def test_a_job_that_ends_meanwhile_is_written_once(rig: Rig) -> None:
    for number in range(5):
        rig.job_files.changed(1, job(1, f"version {number}"))
        rig.clock.advance(0.01)
    rig.clock.advance(0.01)
    assert rig.files.tried == ["job-1"]
    assert rig.on_disk(1)["jqueue"] == {"name": "version 4"}


def test_changes_of_a_job_that_never_rests_still_reach_the_disk(rig: Rig) -> None:
    for _ in range(30):
        rig.job_files.changed(1, job(1))
        rig.clock.advance(0.01)
    assert len(rig.files.tried) >= 4


@pytest.mark.parametrize("source", [pack(job(3, "n")), lambda: job(3, "n")])
def test_packed_jobs_and_functions_are_turned_into_jobs_in_the_thread(
    rig: Rig, source: bytes | Callable[[], _QueuedJob]
) -> None:
    thread = SteppedThread()
    job_files = rig.on(thread)
    flushed = job_files.write_now([(3, source)])
    assert rig.names() == []
    thread.step()
    assert result(flushed) == 0
    assert rig.on_disk(3)["jqueue"] == {"name": "n"}


def test_many_changes_go_in_bounded_batches(rig: Rig) -> None:
    thread = SteppedThread()
    job_files = rig.on(thread)
    flushed = job_files.write_now((number, job(number)) for number in range(BATCH + 1))
    thread.step()
    assert (len(rig.names()), job_files.pending, flushed.called) == (BATCH, 1, False)
    thread.step()
    assert (len(rig.names()), job_files.pending, result(flushed)) == (BATCH + 1, 0, 0)


def test_flush_does_not_wait_for_changes_made_after_it(rig: Rig) -> None:
    thread = SteppedThread()
    job_files = rig.on(thread)
    flushed = job_files.write_now([(1, job(1))])
    job_files.changed(2, job(2))
    thread.step()
    assert result(flushed) == 0
    assert job_files.pending == 1


def test_a_change_during_the_write_of_the_same_job_is_written_afterwards(rig: Rig) -> None:
    thread = SteppedThread()
    job_files = rig.on(thread)
    job_files.write_now([(1, job(1, "old"))])
    job_files.changed(1, job(1, "new"))
    thread.step()
    assert rig.on_disk(1)["jqueue"] == {"name": "old"}
    rig.clock.advance(0.1)
    thread.step()
    assert rig.on_disk(1)["jqueue"] == {"name": "new"}


def test_the_lag_is_the_age_of_the_oldest_unwritten_change(rig: Rig) -> None:
    job_files = rig.on(SteppedThread())
    assert job_files.lag == 0.0
    job_files.changed(1, job(1))
    rig.clock.advance(2)
    job_files.changed(2, job(2))
    job_files.changed(1, job(1))
    rig.clock.advance(1)
    assert job_files.lag == 3.0


def test_a_file_that_cannot_be_written_is_told_and_tried_again_without_holding_up_others(rig: Rig) -> None:
    rig.state.job_file(1).mkdir()
    assert result(rig.job_files.write_now([(1, job(1)), (2, job(2))])) == 1
    assert [(job_id, type(error)) for job_id, error in rig.errors] == [(1, IsADirectoryError)]
    assert rig.on_disk(2)["id"] == 2
    assert rig.job_files.pending == 1
    rig.state.job_file(1).rmdir()
    rig.clock.advance(RETRY)
    rig.clock.advance(0.05)
    assert rig.on_disk(1)["id"] == 1
    assert (rig.job_files.pending, len(rig.errors)) == (0, 1)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT])
def test_on_a_disk_in_trouble_one_file_is_tried_at_a_time(rig: Rig, number: int) -> None:
    rig.files.refuse = lambda name: number
    assert result(rig.job_files.write_now((n, job(n)) for n in range(1, 4))) == 3
    assert rig.files.tried == ["job-1"]
    assert [job_id for job_id, _ in rig.errors] == [1]
    rig.clock.advance(RETRY / 2)
    rig.job_files.changed(4, job(4))
    rig.clock.advance(RETRY / 2)
    assert rig.files.tried == ["job-1", "job-1"]
    rig.files.refuse = lambda name: None
    rig.clock.advance(RETRY)
    assert rig.names() == ["job-1", "job-2", "job-3", "job-4"]
    assert rig.job_files.pending == 0


def test_after_disk_trouble_the_newest_version_is_written(rig: Rig) -> None:
    rig.files.refuse = lambda name: errno.ENOSPC
    rig.job_files.write_now([(1, job(1, "old"))])
    rig.job_files.changed(1, job(1, "new"))
    rig.files.refuse = lambda name: None
    rig.clock.advance(RETRY)
    assert rig.on_disk(1)["jqueue"] == {"name": "new"}
    assert rig.job_files.pending == 0


def test_what_is_in_the_middle_of_a_batch_when_the_disk_fails_is_not_lost(rig: Rig) -> None:
    rig.files.refuse = lambda name: errno.ENOSPC if name == "job-2" else None
    assert result(rig.job_files.write_now((n, job(n)) for n in range(1, 4))) == 2
    assert rig.names() == ["job-1"]
    rig.files.refuse = lambda name: None
    assert result(rig.job_files.flush()) == 0
    assert rig.names() == ["job-1", "job-2", "job-3"]


def test_a_forgotten_job_is_not_written(rig: Rig) -> None:
    rig.job_files.changed(1, job(1))
    rig.job_files.forget(1)
    rig.clock.advance(1)
    assert rig.files.tried == []


def test_missing_names_the_jobs_without_a_file(rig: Rig) -> None:
    result(rig.job_files.write_now([(2, job(2))]))
    assert result(rig.job_files.missing([3, 1, 2])) == [3, 1]


def test_sync_syncs_the_file_system(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(rig.files, "syncfs", synced.append)
    assert result(rig.job_files.sync()) is None
    assert synced == [rig.state.path]


def test_after_stop_no_timer_is_left(rig: Rig) -> None:
    rig.state.job_file(1).mkdir()
    result(rig.job_files.write_now([(1, job(1))]))
    rig.job_files.changed(2, job(2))
    rig.job_files.stop()
    assert rig.clock.getDelayedCalls() == []


def test_a_thread_that_is_stopped_loses_nothing_silently(rig: Rig) -> None:
    thread = InlineThread()
    job_files = rig.on(thread)
    thread.stop()
    assert result(job_files.write_now([(1, job(1))])) == 1
    assert rig.errors[0][0] == 1


def test_text_stays_readable_and_half_surrogates_are_escaped() -> None:
    line = encode_state({"id": 1, "ops": [{"a": "Zürich"}, {"b": "\udcff"}], "x": None})
    assert line == '{"id": 1, "ops": [{"a": "Zürich"}, {"b": "\\udcff"}], "x": null}\n'.encode()
    assert json.loads(line)["ops"][1]["b"] == "\udcff"


@pytest.mark.parametrize("count", [1, 100, 101, 5000])
def test_any_number_of_opcodes_makes_the_same_form(count: int) -> None:
    state = {"id": 1, "ops": [{"n": number} for number in range(count)], "jqueue": {}}
    assert encode_state(state) == json.dumps(state).encode() + b"\n"


def test_the_jobs_that_are_behind_their_file_are_known(rig: Rig) -> None:
    thread = SteppedThread()
    job_files = rig.on(thread)
    for job_id in (1, 2):
        job_files.changed(job_id, job(job_id))
    job_files.flush()
    job_files.changed(3, job(3))
    assert job_files.unwritten([1, 2, 3, 4]) == {1, 2, 3}
    rig.files.refuse = lambda name: errno.EISDIR if name == "job-2" else None
    thread.step()
    assert job_files.unwritten([1, 2, 3, 4]) == {2, 3}
    job_files.stop()


@pytest.mark.parametrize("number", [errno.EISDIR, errno.ENOSPC])
def test_the_final_jobs_whose_file_could_not_be_written_are_known(rig: Rig, number: int) -> None:
    final = [job(1), job(3)]
    for ended in final:
        ended.MarkUnfinishedOps("success", None)
    rig.files.refuse = lambda name: number if name != "job-3" else None
    for changed in (job(0), *final):
        rig.job_files.changed(changed.id, changed)
    assert rig.job_files.final_failed() == [], "not tried yet"
    result(rig.job_files.flush())
    assert rig.job_files.final_failed() == ([1] if number == errno.EISDIR else [1, 3])
    rig.files.refuse = lambda name: None
    result(rig.job_files.flush())
    assert rig.job_files.final_failed() == []
    rig.job_files.stop()
