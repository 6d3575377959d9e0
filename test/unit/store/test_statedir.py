from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jqueue.errors import StateDirLocked, StateError
from jqueue.store.files import Files
from jqueue.store.statedir import DirectoryLock, StateDirectory

from ...crash.faulty import Crash, Fault, FaultyFiles


def test_everything_has_its_place() -> None:
    state = StateDirectory(Path("/state"))
    assert state.job_file(42) == Path("/state/job-42")
    assert state.log_file(42) == Path("/state/job-42.log")
    assert state.run_directory(42, 0, 1) == Path("/state/run/42.0.1")
    assert state.drained == Path("/state/control/drained")
    assert [state.archive_directory(job_id).name for job_id in (1, 9_999, 10_000, 123_456)] == ["0", "0", "1", "12"]


def test_a_missing_directory_is_set_up(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "a" / "b")
    state.prepare(Files())
    assert state.version.read_text() == "1\n"
    assert sorted(os.listdir(state.path)) == [
        "archive",
        "control",
        "incoming",
        "journal",
        "rejected",
        "run",
        "tmp",
        "version",
    ]
    assert all(path.stat().st_mode & 0o007 == 0 for path in (state.path, state.journal, state.version))


def test_preparing_again_adds_what_is_missing_and_changes_nothing_else(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    state.prepare(Files())
    state.job_file(1).write_text("{}")
    (state.tmp / "half").write_text("")
    state.incoming.rmdir()
    state.prepare(Files())
    assert state.incoming.is_dir()
    assert state.job_file(1).exists()
    assert (state.tmp / "half").exists()
    state.clean(Files())
    assert os.listdir(state.tmp) == []


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_text("")
    with pytest.raises(StateError, match=r"holiday\.jpg.*name an empty directory"):
        StateDirectory(tmp_path).prepare(Files())
    assert os.listdir(tmp_path) == ["holiday.jpg"]


def test_another_layout_is_refused(tmp_path: Path) -> None:
    (tmp_path / "version").write_text("2\n")
    with pytest.raises(StateError, match="version says layout '2'"):
        StateDirectory(tmp_path).prepare(Files())


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="file: Not a directory; a file is in the way"):
        StateDirectory(tmp_path / "file").prepare(Files())
    state = StateDirectory(tmp_path / "state")
    state.prepare(Files())
    state.run.rmdir()
    state.run.write_text("")
    with pytest.raises(StateError, match="state/run must be a directory"):
        state.prepare(Files())


def test_links_that_lead_nowhere_are_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("missing")
    for name in ("loop", "dangling"):
        with pytest.raises(StateError, match="symbolic link"):
            StateDirectory(tmp_path / name).prepare(Files())


def test_a_link_to_a_directory_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    StateDirectory(tmp_path / "link").prepare(Files())
    assert (tmp_path / "real" / "version").exists()


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EACCES, "the right to write"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "check the disk"),
    ],
)
def test_a_disk_that_refuses_is_named_with_what_to_do(number: int, advice: str) -> None:
    files = FaultyFiles(Path("/"))
    state = StateDirectory(Path("/state"))
    state.prepare(files)
    for at in range(len(files.calls)):
        with pytest.raises(StateError, match=f"/state.*{advice}"):
            state.prepare(FaultyFiles(Path("/"), fault=Fault(at, number)))


def test_a_crash_while_it_is_set_up_leaves_nothing_that_is_refused_later() -> None:
    files = FaultyFiles(Path("/"))
    state = StateDirectory(Path("/state"))
    state.prepare(files)
    for at in range(len(files.calls)):
        crashing = FaultyFiles(Path("/"), fault=Fault(at, "torn"))
        with pytest.raises(Crash):
            state.prepare(crashing)
        for survivor in crashing.survivors():
            state.prepare(survivor)
            assert survivor.read_file(state.version) == b"1\n"


def test_a_second_daemon_is_told_who_holds_the_lock(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    first, second = DirectoryLock(state), DirectoryLock(state)
    first.acquire()
    with pytest.raises(
        StateDirLocked, match=rf"{tmp_path} is in use: process {os.getpid()} \(since 2.*\) holds .*/lock"
    ):
        second.acquire()
    first.release()
    second.acquire()
    second.release()


def test_children_do_not_inherit_the_lock(tmp_path: Path) -> None:
    lock = DirectoryLock(StateDirectory(tmp_path))
    lock.acquire()
    script = "import os; print([os.readlink(e.path) for e in os.scandir('/proc/self/fd') if os.path.lexists(e.path)])"
    opened = subprocess.run([sys.executable, "-c", script], close_fds=False, capture_output=True, text=True, check=True)
    assert "/lock" not in opened.stdout
    lock.release()


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to("elsewhere")
    with pytest.raises(StateError, match="lock"):
        DirectoryLock(StateDirectory(tmp_path)).acquire()
    assert not (tmp_path / "elsewhere").exists()
