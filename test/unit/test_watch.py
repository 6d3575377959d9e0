"""The watches, on real inotify events; they are there as soon as the system call that causes them returns."""

from __future__ import annotations

import errno
import logging
import os
import select
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor, IWriteDescriptor
from twisted.logger import capturedLogs
from zope.interface import implementer

from jqueue import watch
from jqueue.watch import CLOSE_WRITE, DELETE, MOVED_FROM, MOVED_TO, DirectoryWatch, TreeWatch

Q_OVERFLOW = 0x4000
UNMOUNT = 0x2000
CALLS = "pyinotify._CtypesLibcINotifyWrapper"


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


# The watch of a tree


@contextmanager
def tree_watch(top: Path, directories: Iterable[str] = ("",)) -> Iterator[TreeWatch]:
    watcher = TreeWatch()
    try:
        for directory in directories:
            assert add(watcher, top, directory)
        yield watcher
    finally:
        watcher.close()


def add(watcher: TreeWatch, top: Path, directory: str) -> bool:
    descriptor = os.open(top / directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return watcher.add(descriptor, directory)
    finally:
        os.close(descriptor)


def readable(watcher: TreeWatch) -> bool:
    return bool(select.select([watcher.fileno()], [], [], 0)[0])


def test_every_kind_of_change_in_a_tree_is_told_by_its_directory(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    old = tmp_path / "a" / "old"
    changes: list[Callable[[], object]] = [
        old.touch,
        lambda: old.write_text("x"),
        lambda: old.chmod(0o600),
        lambda: os.utime(old, (1, 1)),
        lambda: old.rename(tmp_path / "a" / "new"),
        lambda: os.symlink("new", tmp_path / "a" / "link"),
        (tmp_path / "a" / "new").unlink,
        lambda: (tmp_path / "a").chmod(0o700),
    ]
    with tree_watch(tmp_path, ["", "a"]) as watcher:
        assert watcher.read() == {}
        for change in changes:
            change()
            assert readable(watcher)
            told = watcher.read()
            assert told is not None and "a" in told and not readable(watcher)


def test_names_are_told_whose_content_may_be_another(tmp_path: Path) -> None:
    for name in ("written", "touched", "old", "removed", "closed"):
        (tmp_path / name).write_text("x")
    with tree_watch(tmp_path) as watcher:
        (tmp_path / "written").write_text("y")
        os.utime(tmp_path / "touched", (1, 1))
        (tmp_path / "old").rename(tmp_path / "new")
        (tmp_path / "removed").unlink()
        os.link(tmp_path / "new", tmp_path / "linked")
        (tmp_path / "closed").open("a").close()
        assert watcher.read() == {"": {"written", "new", "linked"}}


def test_what_is_read_in_a_tree_is_no_change(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    with tree_watch(tmp_path) as watcher:
        (tmp_path / "a").read_text()
        os.listdir(tmp_path)
        assert watcher.read() == {}


def test_a_new_directory_is_told_and_not_watched_until_it_is_added(tmp_path: Path) -> None:
    with tree_watch(tmp_path) as watcher:
        (tmp_path / "a" / "b").mkdir(parents=True)
        assert watcher.read() == {"": {"a"}, "a": set()}
        assert watcher.watches("") and not watcher.watches("a")
        add(watcher, tmp_path, "a")
        (tmp_path / "a" / "b" / "c").mkdir()
        assert watcher.read() == {}
        add(watcher, tmp_path, "a/b")
        (tmp_path / "a" / "b" / "file").touch()
        assert watcher.read() == {"a/b": {"file"}}


def test_a_directory_moved_in_is_told_as_new_even_where_another_was_watched(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with tree_watch(tmp_path, ["", "a", "b"]) as watcher:
        (tmp_path / "a").rename(tmp_path / "gone")
        (tmp_path / "b").rename(tmp_path / "a")
        assert watcher.read() == {"": {"gone", "a"}, "gone": set(), "a": set()}
        assert not watcher.watches("a")


def test_a_renamed_directory_is_told_under_its_new_name_once_it_is_added_again(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with tree_watch(tmp_path, ["", "a"]) as watcher:
        (tmp_path / "a").rename(tmp_path / "b")
        add(watcher, tmp_path, "b")
        watcher.read()
        add(watcher, tmp_path, "b")
        (tmp_path / "b" / "file").touch()
        assert watcher.read() == {"b": {"file"}}
        assert not watcher.watches("a")


def test_a_removed_directory_is_watched_no_more(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with tree_watch(tmp_path, ["", "a"]) as watcher:
        (tmp_path / "a").rmdir()
        assert watcher.read() == {"": set()}
        assert not watcher.watches("a")


def test_after_a_scan_what_it_did_not_add_is_watched_no_more(tmp_path: Path) -> None:
    tree, outside = tmp_path / "tree", tmp_path / "outside"
    (tree / "a" / "b").mkdir(parents=True)
    with tree_watch(tree, ["", "a", "a/b"]) as watcher:
        (tree / "a").rename(outside)
        watcher.read()
        watcher.begin_scan()
        add(watcher, tree, "")
        watcher.end_scan()
        (outside / "b" / "file").touch()
        assert watcher.read() == {}
        assert watcher.watches("") and not watcher.watches("a/b")


def test_a_link_put_in_the_place_of_a_directory_is_never_watched_through(tmp_path: Path) -> None:
    (tmp_path / "tree" / "a").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    with tree_watch(tmp_path / "tree") as watcher:
        descriptor = os.open(tmp_path / "tree" / "a", os.O_RDONLY)
        (tmp_path / "tree" / "a").rmdir()
        (tmp_path / "tree" / "a").symlink_to(tmp_path / "other")
        watcher.add(descriptor, "a")
        os.close(descriptor)
        watcher.read()
        (tmp_path / "other" / "file").touch()
        assert watcher.read() == {}


def test_names_of_directories_need_not_be_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\xfe")
    with tree_watch(tmp_path) as watcher:
        (tmp_path / name).mkdir()
        assert watcher.read() == {"": {name}, name: set()}
        add(watcher, tmp_path, name)
        (tmp_path / name / "file").touch()
        assert watcher.read() == {name: {"file"}}


@pytest.mark.parametrize("event", [(-1, Q_OVERFLOW), (1, UNMOUNT)])
def test_after_lost_events_everything_may_have_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, event: tuple[int, int]
) -> None:
    with tree_watch(tmp_path) as watcher:
        (tmp_path / "a").touch()
        read = os.read
        lost = [struct.pack("iIII", *event, 0, 0)]
        monkeypatch.setattr(os, "read", lambda *arguments: lost.pop() if lost else read(*arguments))
        assert watcher.read() is None
        assert watcher.read() == {}


def test_when_the_top_is_moved_or_removed_everything_may_have_changed(tmp_path: Path) -> None:
    (tmp_path / "top").mkdir()
    with tree_watch(tmp_path / "top") as watcher:
        (tmp_path / "top").rename(tmp_path / "moved")
        assert watcher.read() is None
        (tmp_path / "moved").rmdir()
        assert watcher.read() is None
        assert not watcher.watches("")


def test_a_refused_tree_watch_says_why_and_forgets_what_had_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    with tree_watch(tmp_path, ["", "a"]) as watcher:
        with monkeypatch.context() as patch:
            patch.setattr(f"{CALLS}.inotify_add_watch", lambda *_: -1)
            patch.setattr(f"{CALLS}.get_errno", lambda _: errno.ENOSPC)
            assert not add(watcher, tmp_path, "a")
        assert watcher.refused == "No space left on device; raise the sysctl fs.inotify.max_user_watches"
        assert not watcher.watches("a")
        watcher.begin_scan()
        assert add(watcher, tmp_path, "") and add(watcher, tmp_path, "a")
        watcher.end_scan()
        assert watcher.refused is None


def test_without_inotify_a_tree_watch_refuses_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{CALLS}.inotify_init", lambda _: -1)
    monkeypatch.setattr(f"{CALLS}.get_errno", lambda _: errno.EMFILE)
    watcher = TreeWatch()
    assert not add(watcher, tmp_path, "")
    watcher.begin_scan()
    watcher.end_scan()
    assert (watcher.fileno(), watcher.read()) == (-1, {})
    assert watcher.refused == "Too many open files; raise the sysctl fs.inotify.max_user_instances"
    watcher.close()


def test_the_descriptor_of_a_tree_watch_is_closed_once_and_not_inherited(tmp_path: Path) -> None:
    watcher = TreeWatch()
    descriptor = watcher.fileno()
    assert not os.get_inheritable(descriptor)
    watcher.close()
    watcher.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
