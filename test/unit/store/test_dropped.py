"""One dropped file: its identity, reading it, removing it, rejecting it."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from jqueue.store import dropped
from jqueue.store.dropped import SETTLE, Drop, Refusal, Sight
from jqueue.store.files import Files
from jqueue.store.statedir import StateDirectory

MAX = 100


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    directory = StateDirectory(tmp_path / "state")
    directory.prepare(Files())
    return directory


def read(state: StateDirectory, name: str) -> Drop:
    drop = dropped.read(state.incoming, name, MAX)
    assert isinstance(drop, Drop)
    return drop


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize("name", [".hidden", ".job.yaml.swp", "job.yaml~"])
def test_names_of_unfinished_files_are_ignored(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert list(dropped.walk(tmp_path)) == []


def test_a_directory_that_is_gone_holds_nothing(tmp_path: Path) -> None:
    assert list(dropped.walk(tmp_path / "gone")) == []


def test_a_file_is_read_with_its_owner_hash_and_identity(state: StateDirectory) -> None:
    (state.incoming / "a").write_bytes(b"ops: []")
    drop = read(state, "a")
    status = os.stat(state.incoming / "a")
    assert (drop.data, drop.owner, drop.sha256) == (b"ops: []", os.getuid(), hashlib.sha256(b"ops: []").hexdigest())
    assert drop.identity == dropped.identity_of("a", status)
    assert [sight.identity for sight in dropped.look(state.incoming, ["a", "gone"], 0.0)] == [drop.identity]


def test_another_content_name_or_file_is_another_identity(state: StateDirectory) -> None:
    path = state.incoming / "a"
    path.write_bytes(b"one")
    os.utime(path, ns=(5, 5))
    first = read(state, "a")
    os.utime(path, ns=(6, 6))
    touched = read(state, "a")
    os.link(path, state.incoming / "b")
    assert len({first.identity, touched.identity, read(state, "b").identity}) == 3


def test_a_name_that_is_not_utf8_has_an_identity_that_can_be_stored(state: StateDirectory) -> None:
    name = os.fsdecode(b"\xff.yaml")
    (state.incoming / name).write_bytes(b"x")
    assert read(state, name).identity.encode("utf-8").endswith(b"\\udcff.yaml")


def test_a_file_is_settled_when_its_last_change_is_long_enough_ago(state: StateDirectory) -> None:
    path = state.incoming / "a"
    path.touch()
    changed = path.stat().st_ctime
    os.utime(path, (0, 0))  # as copying with the times of the original does
    assert not dropped.look(state.incoming, ["a"], changed + SETTLE / 2)[0].settled
    assert dropped.look(state.incoming, ["a"], changed + SETTLE * 2)[0].settled


def make_link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def make_dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(os.path.relpath(path))


def make_large(path: Path) -> None:
    path.write_bytes(bytes(MAX + 1))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (make_link, "symbolic link"),
        (make_dangling, "symbolic link"),
        (os.mkfifo, "regular files"),
        (Path.mkdir, "regular files"),
        (make_socket, "regular files"),
        (make_large, "101 bytes, and 100 are allowed"),
    ],
)
def test_what_is_no_plain_file_of_a_sane_size_is_refused_and_moved(
    state: StateDirectory, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], reason: str
) -> None:
    monkeypatch.chdir(state.path)
    make(state.incoming / "a")
    refusal = dropped.read(state.incoming, "a", MAX)
    assert isinstance(refusal, Refusal)
    assert reason in refusal.reason
    assert dropped.reject(state, Files(), refusal) == state.rejected / "a"
    assert names(state.incoming) == []
    assert names(state.rejected) == ["a", "a.error"]
    assert reason in (state.rejected / "a.error").read_text()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_a_file_that_may_not_be_read_is_refused(
    state: StateDirectory, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    (state.incoming / "a").touch()

    def refuse(path: Path, flags: int) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("jqueue.store.dropped.os.open", refuse)
    refusal = dropped.read(state.incoming, "a", MAX)
    assert isinstance(refusal, Refusal) and "may not read it" in refusal.reason


def test_trouble_with_the_disk_refuses_nothing(state: StateDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, flags: int) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("jqueue.store.dropped.os.open", fail)
    with pytest.raises(OSError):
        dropped.read(state.incoming, "a", MAX)


def test_a_file_that_is_gone_is_nothing(state: StateDirectory) -> None:
    assert dropped.read(state.incoming, "a", MAX) is None


def test_a_file_that_grows_while_it_is_read_is_not_taken(
    state: StateDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = state.incoming / "a"
    path.write_bytes(b"half")
    real = os.fdopen

    def growing(descriptor: int, mode: str, closefd: bool) -> object:
        with path.open("ab") as writer:
            writer.write(b" and half")
        return real(descriptor, mode, closefd=closefd)

    monkeypatch.setattr("jqueue.store.dropped.os.fdopen", growing)
    seen = dropped.read(state.incoming, "a", MAX)
    assert isinstance(seen, Sight) and not seen.settled


def test_removed_files_are_gone_and_the_directory_is_synced_once(state: StateDirectory) -> None:
    synced: list[Path] = []

    class Counting(Files):
        def fsync_directory(self, path: Path) -> None:
            synced.append(path)

    for name in "ab":
        (state.incoming / name).write_text(name)
    drops = [read(state, "a"), read(state, "b")]
    (state.incoming / "b").unlink()
    assert dropped.remove(state, Counting(), drops) == {"a": None, "b": None}
    assert (names(state.incoming), names(state.tmp), synced) == ([], [], [state.incoming])


def test_another_file_put_there_meanwhile_is_not_removed(state: StateDirectory) -> None:
    path = state.incoming / "a"
    path.write_text("old")
    drop = read(state, "a")
    (state.path / "new").write_text("new one")
    (state.path / "new").rename(path)
    assert dropped.remove(state, Files(), [drop]) == {"a": None}
    assert dropped.reject(state, Files(), Refusal("a", drop.identity, "bad")) is None
    assert path.read_text() == "new one"
    assert (names(state.incoming), names(state.rejected), names(state.tmp)) == (["a"], [], [])


def test_a_failed_removal_or_sync_is_told(state: StateDirectory) -> None:
    class Failing(Files):
        def __init__(self, fail: str) -> None:
            self.fail = fail

        def rename(self, source: Path, target: Path) -> None:
            self.check("rename")
            super().rename(source, target)

        def fsync_directory(self, path: Path) -> None:
            self.check("sync")

        def check(self, call: str) -> None:
            if call == self.fail:
                raise OSError(errno.EIO, os.strerror(errno.EIO))

    (state.incoming / "a").write_text("a")
    drop = read(state, "a")
    for fail in ("rename", "sync"):
        assert isinstance(dropped.remove(state, Failing(fail), [drop])["a"], OSError)
    (state.incoming / "a").write_text("a")
    with pytest.raises(OSError):
        dropped.reject(state, Failing("rename"), Refusal("a", read(state, "a").identity, "bad"))
    assert (names(state.incoming), names(state.rejected)) == (["a"], [])


def test_rejected_files_never_replace_each_other(state: StateDirectory) -> None:
    for text in ("one", "two", "three"):
        (state.incoming / "a").write_text(text)
        dropped.reject(state, Files(), Refusal("a", read(state, "a").identity, text))
    found = names(state.rejected)
    assert len(found) == 6
    texts = {(state.rejected / name).read_text() for name in found if not name.endswith(".error")}
    assert texts == {"one", "two", "three"}


def test_a_name_as_long_as_can_be_is_shortened_where_it_is_rejected(state: StateDirectory) -> None:
    name = "ü" * 127
    (state.incoming / name).write_text("x")
    where = dropped.reject(state, Files(), Refusal(name, read(state, name).identity, "bad"))
    assert where is not None and where.name == "ü" * 100
