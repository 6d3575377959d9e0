"""Whether the queue is drained: the file, its text, and what administrators do to it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from jqueue.errors import DiskFull, GenericError, StateError
from jqueue.store.control import Control
from jqueue.store.files import Files
from jqueue.store.statedir import StateDirectory
from jqueue.store.thread import InlineThread
from jqueue.watch import CLOSE_WRITE, CREATE, DELETE, MOVED_TO, DirectoryWatch


class FakeWatch(DirectoryWatch):
    def __init__(self) -> None:
        pass

    def watch(self, path: Path, mask: int, callback: Callable[[str, int], None], on_rescan: Callable[[], None]) -> bool:
        self.path, self.event, self.overflow = path, callback, on_rescan
        return True


class Rig:
    def __init__(self, path: Path) -> None:
        self.state = StateDirectory(path / "state")
        self.files = Files()
        self.state.prepare(self.files)
        self.clock = Clock()
        self.watch = FakeWatch()
        self.changes: list[str | None] = []
        self.control = Control(
            self.state, self.files, InlineThread(), self.watch, self.clock, self.changes.append, rescan=60.0
        )


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def outcome(deferred: Deferred[None]) -> object:
    seen: list[object] = []
    deferred.addBoth(lambda value: seen.append(getattr(value, "value", value)))
    assert seen, "it has not fired"
    return seen[0]


def test_without_the_file_the_queue_is_open(rig: Rig) -> None:
    assert outcome(rig.control.start()) is None
    assert (rig.control.drained, rig.changes) == (None, [])


def test_a_file_from_before_the_start_counts(rig: Rig) -> None:
    rig.state.drained.write_text("moving house\n")
    rig.control.start()
    assert (rig.control.drained, rig.changes) == ("moving house", ["moving house"])


@pytest.mark.parametrize("name", ["drained", "drain"])
def test_touch_and_rm_act_at_once(rig: Rig, name: str) -> None:
    rig.control.start()
    (rig.state.control / name).touch()
    rig.watch.event(name, CREATE)
    assert rig.control.drained == ""
    (rig.state.control / name).unlink()
    rig.watch.event(name, DELETE)
    assert rig.changes == ["", None]


def test_the_text_is_the_reason_as_soon_as_it_is_written(rig: Rig) -> None:
    rig.control.start()
    rig.state.drained.touch()
    rig.watch.event("drained", CREATE)
    rig.state.drained.write_text("  upgrade\nof the disk\t\n")
    rig.watch.event("drained", CLOSE_WRITE)
    rig.watch.event("drained", CLOSE_WRITE)
    assert rig.changes == ["", "upgrade of the disk"]


def test_other_names_mean_nothing(rig: Rig) -> None:
    rig.control.start()
    rig.state.drained.touch()
    rig.watch.event("README", MOVED_TO)
    assert rig.control.drained is None


@pytest.mark.parametrize("how", ["rescan", "lost events"])
def test_a_change_without_an_event_is_found(rig: Rig, how: str) -> None:
    rig.control.start()
    rig.state.drained.touch()
    if how == "rescan":
        rig.clock.advance(60)
    else:
        rig.watch.overflow()
    assert rig.control.drained == ""


def test_text_that_is_not_utf8_is_shown_escaped(rig: Rig) -> None:
    rig.state.drained.write_bytes(b"gr\xfc\x00n\x1b[31m")
    rig.control.start()
    assert rig.control.drained == "gr\\xfc n [31m"


def test_a_long_text_is_cut(rig: Rig) -> None:
    rig.state.drained.write_text("x" * 100_000)
    rig.control.start()
    assert rig.control.drained == "x" * 1000


def make_link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def make_dangling(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize("make", [Path.mkdir, make_link, make_dangling, os.mkfifo])
def test_anything_by_the_name_drains_but_only_a_file_gives_a_reason(rig: Rig, make: Callable[[Path], None]) -> None:
    make(rig.state.drained)
    rig.control.start()
    assert rig.control.drained == ""


@pytest.mark.parametrize("make", [Path.touch, make_link, make_dangling, os.mkfifo])
def test_setting_replaces_and_removes_whatever_is_there(rig: Rig, make: Callable[[Path], None]) -> None:
    make(rig.state.drained)
    rig.control.start()
    assert outcome(rig.control.set("by hand")) is None
    assert rig.state.drained.read_text() == "by hand\n"
    assert rig.state.drained.stat().st_mode & 0o007 == 0
    (rig.state.control / "drain").touch()
    assert outcome(rig.control.set(None)) is None
    assert list(rig.state.control.iterdir()) == []
    assert rig.changes == ["", "by hand", None]


@pytest.mark.parametrize("reason", ["by hand", None])
def test_a_directory_in_the_way_is_not_removed_but_told(rig: Rig, reason: str | None) -> None:
    rig.state.drained.mkdir()
    rig.control.start()
    error = outcome(rig.control.set(reason))
    assert isinstance(error, StateError)
    assert f"{rig.state.drained} is a directory" in str(error)
    assert rig.control.drained == ""


def test_setting_is_durable_before_it_is_told(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def spy(name: str) -> None:
        real = getattr(rig.files, name)

        def call(*args: object) -> None:
            calls.append(name)
            real(*args)

        monkeypatch.setattr(rig.files, name, call)

    for name in ("fsync", "rename", "fsync_directory"):
        spy(name)
    rig.control.set("x").addCallback(lambda _: calls.append("told"))
    assert calls == ["fsync", "rename", "fsync_directory", "told"]


@pytest.mark.parametrize("call", ["write_file", "rename", "fsync_directory"])
@pytest.mark.parametrize(
    "number, expected", [(errno.ENOSPC, DiskFull), (errno.EDQUOT, DiskFull), (errno.EIO, StateError)]
)
def test_a_setting_that_fails_changes_nothing_and_says_why(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, call: str, number: int, expected: type[GenericError]
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(rig.files, call, refuse)
    error = outcome(rig.control.set("x"))
    assert type(error) is expected
    assert f"{rig.state.drained} cannot be changed: {os.strerror(number)}; " in str(error)
    assert (rig.control.drained, rig.changes) == (None, [])


def test_a_disk_error_keeps_what_was_known_and_is_logged(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.state.drained.write_text("reason")
    rig.control.start()

    def fail(path: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as broken, capturedLogs() as events:
        broken.setattr("jqueue.store.control.os.lstat", fail)
        rig.watch.event("drained", CLOSE_WRITE)
    assert rig.control.drained == "reason"
    assert "cannot tell whether the queue is drained" in events[0]["log_format"]


def test_a_file_that_may_not_be_read_drains_without_a_reason(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.state.drained.write_text("secret")

    def refuse(path: Path, flags: int) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("jqueue.store.control.os.open", refuse)
    rig.control.start()
    assert rig.control.drained == ""


def test_after_stop_no_timer_runs(rig: Rig) -> None:
    rig.control.start()
    rig.control.stop()
    assert rig.clock.getDelayedCalls() == []
