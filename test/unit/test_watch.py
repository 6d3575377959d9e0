"""The directory watch, on real inotify events; they are there as soon as the system call that causes them returns."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor, IWriteDescriptor
from twisted.logger import capturedLogs
from zope.interface import implementer

from jqueue import watch
from jqueue.watch import CLOSE_WRITE, DELETE, MOVED_FROM, MOVED_TO, DirectoryWatch

Q_OVERFLOW = 0x4000


@implementer(IReactorFDSet)
class FakeReactor:
    def __init__(self) -> None:
        self.readers: list[IReadDescriptor] = []

    def addReader(self, reader: IReadDescriptor) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: IReadDescriptor) -> None:
        self.readers.remove(reader)

    def getReaders(self) -> list[IReadDescriptor]:
        return self.readers

    def addWriter(self, writer: IWriteDescriptor) -> None:
        raise NotImplementedError

    def removeWriter(self, writer: IWriteDescriptor) -> None:
        raise NotImplementedError

    def getWriters(self) -> list[IWriteDescriptor]:
        return []

    def removeAll(self) -> list[IReadDescriptor | IWriteDescriptor]:
        raise NotImplementedError

    def pump(self) -> None:
        """Reads as often as the longest of these tests has events for."""
        for reader in self.readers:
            for _ in range(10):
                reader.doRead()


class Seen:
    def __init__(self) -> None:
        self.names: list[str] = []
        self.rescans = 0

    def name(self, name: str, mask: int) -> None:
        self.names.append(name)

    def rescan(self) -> None:
        self.rescans += 1


def test_a_rename_into_the_directory_is_told_once(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    reactor, seen = FakeReactor(), Seen()
    watcher = DirectoryWatch(reactor)
    assert watcher.watch(inside, MOVED_TO, seen.name, seen.rescan)
    (outside / "a").write_text("x")
    (outside / "a").rename(inside / "a")
    reactor.pump()
    assert (seen.names, seen.rescans) == (["a"], 0)
    watcher.stop()


def test_only_the_events_asked_for_are_told(tmp_path: Path) -> None:
    reactor, seen = FakeReactor(), Seen()
    watcher = DirectoryWatch(reactor)
    watcher.watch(tmp_path, DELETE | MOVED_FROM, seen.name, seen.rescan)
    (tmp_path / "a").write_text("x")
    (tmp_path / "a").rename(tmp_path / "b")
    (tmp_path / "b").unlink()
    reactor.pump()
    assert seen.names == ["a", "b"]
    watcher.stop()


def test_a_name_that_is_not_utf8_is_told_and_loses_nothing(tmp_path: Path) -> None:
    reactor, seen = FakeReactor(), Seen()
    watcher = DirectoryWatch(reactor)
    watcher.watch(tmp_path, CLOSE_WRITE, seen.name, seen.rescan)
    names = [b"before", b"\xff\xfe", b"after"]
    for name in names:
        os.close(os.open(os.path.join(os.fsencode(tmp_path), name), os.O_CREAT | os.O_WRONLY))
    reactor.pump()
    assert [os.fsencode(name) for name in seen.names] == names
    watcher.stop()


def test_watching_again_does_not_tell_twice(tmp_path: Path) -> None:
    reactor, seen = FakeReactor(), Seen()
    watcher = DirectoryWatch(reactor)
    for _ in range(3):
        assert watcher.watch(tmp_path, CLOSE_WRITE, seen.name, seen.rescan)
    (tmp_path / "a").write_text("x")
    reactor.pump()
    assert seen.names == ["a"]
    watcher.stop()


def test_one_read_takes_a_bounded_number_of_events(tmp_path: Path) -> None:
    reactor, seen = FakeReactor(), Seen()
    watcher = DirectoryWatch(reactor)
    watcher.watch(tmp_path, CLOSE_WRITE, seen.name, seen.rescan)
    for number in range(1000):
        (tmp_path / str(number)).touch()
    watcher.doRead()
    assert 0 < len(seen.names) < 1000
    reactor.pump()
    assert seen.names == [str(number) for number in range(1000)]
    watcher.stop()


def test_lost_events_ask_for_a_scan_of_every_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reactor, one, two = FakeReactor(), Seen(), Seen()
    watcher = DirectoryWatch(reactor)
    for name, seen in (("one", one), ("two", two)):
        (tmp_path / name).mkdir()
        watcher.watch(tmp_path / name, MOVED_TO, seen.name, seen.rescan)
    overflow = watch._HEAD.pack(-1, Q_OVERFLOW, 0, 0)
    monkeypatch.setattr("jqueue.watch.os.read", lambda descriptor, size: overflow)
    with capturedLogs() as events:
        watcher.doRead()
    assert (one.rescans, two.rescans) == (1, 1)
    assert "events are lost" in events[0]["log_format"]
    watcher.stop()


def test_a_directory_that_goes_asks_for_a_scan_and_can_be_watched_when_it_is_back(tmp_path: Path) -> None:
    reactor, seen = FakeReactor(), Seen()
    watcher = DirectoryWatch(reactor)
    directory = tmp_path / "d"
    directory.mkdir()
    watcher.watch(directory, CLOSE_WRITE, seen.name, seen.rescan)
    directory.rmdir()
    reactor.pump()
    assert seen.rescans == 1
    directory.mkdir()
    assert watcher.watch(directory, CLOSE_WRITE, seen.name, seen.rescan)
    (directory / "a").touch()
    reactor.pump()
    assert seen.names == ["a"]
    watcher.stop()


@pytest.mark.parametrize("name", ["missing", "a file"])
def test_what_cannot_be_watched_is_answered_with_false_and_one_warning(tmp_path: Path, name: str) -> None:
    (tmp_path / "a file").touch()
    reactor, seen = FakeReactor(), Seen()
    watcher = DirectoryWatch(reactor)
    with capturedLogs() as events:
        for _ in range(3):
            assert not watcher.watch(tmp_path / name, MOVED_TO, seen.name, seen.rescan)
    assert [event["path"] for event in events] == [str(tmp_path / name)]
    watcher.stop()


def test_without_inotify_nothing_is_watched_and_nothing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OSError("Too many open files")

    monkeypatch.setattr("jqueue.watch.pyinotify.WatchManager", refuse)
    reactor, seen = FakeReactor(), Seen()
    with capturedLogs() as events:
        watcher = DirectoryWatch(reactor)
    assert "Too many open files" in str(events[0]["error"])
    assert not watcher.watch(tmp_path, MOVED_TO, seen.name, seen.rescan)
    assert reactor.readers == []
    watcher.stop()


def test_a_callback_that_raises_is_logged_and_the_watch_goes_on(tmp_path: Path) -> None:
    reactor, seen = FakeReactor(), Seen()
    watcher = DirectoryWatch(reactor)

    def picky(name: str, mask: int) -> None:
        if name == "bad":
            raise ValueError(name)
        seen.names.append(name)

    watcher.watch(tmp_path, CLOSE_WRITE, picky, seen.rescan)
    (tmp_path / "bad").touch()
    (tmp_path / "good").touch()
    with capturedLogs() as events:
        reactor.pump()
    assert seen.names == ["good"]
    assert isinstance(events[0]["log_failure"].value, ValueError)
    watcher.stop()


def test_after_stop_the_reactor_holds_nothing(tmp_path: Path) -> None:
    reactor, seen = FakeReactor(), Seen()
    watcher = DirectoryWatch(reactor)
    watcher.watch(tmp_path, MOVED_TO, seen.name, seen.rescan)
    assert reactor.readers == [watcher]
    watcher.stop()
    watcher.stop()
    assert reactor.readers == []
    assert not watcher.watch(tmp_path, MOVED_TO, seen.name, seen.rescan)


def test_the_descriptor_is_not_inherited_by_children(tmp_path: Path) -> None:
    watcher = DirectoryWatch(FakeReactor())
    assert not os.get_inheritable(watcher.fileno())
    watcher.stop()


def test_the_import_is_silent_and_leaves_no_second_log_handler() -> None:
    assert logging.getLogger("pyinotify").handlers == []
    code = "import jqueue.watch, warnings; warnings.warn('other', DeprecationWarning)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert "DeprecationWarning: other" in done.stderr
    assert "asyncore" not in done.stderr
