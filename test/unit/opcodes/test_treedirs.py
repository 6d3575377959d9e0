from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jqueue.errors import OpExecError
from jqueue.opcodes.treedirs import Tree, above, below, full, shown, sync_file_system

from .trees import NOT_UTF8, unprivileged


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    (tmp_path / "top").mkdir()
    with Tree(str(tmp_path / "top")) as opened:
        yield opened


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


def make_deep(top: Path, depth: int) -> None:
    """Makes directories below each other, deeper than any path can say."""
    descriptor = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d" * 50, dir_fd=descriptor)
        descriptor, former = os.open("d" * 50, os.O_RDONLY, dir_fd=descriptor), descriptor
        os.close(former)
    os.close(os.open("file", os.O_CREAT, dir_fd=descriptor))
    os.close(descriptor)


def test_paths_in_a_tree_are_told_as_people_read_them() -> None:
    assert (below("", "a"), below("a", "b"), above("a/b"), above("a"), above("")) == ("a", "a/b", "a", "", "")
    assert full("/top", "a", "b") == "/top/a/b"
    assert full("/top", "", "") == "/top"
    assert full("/", "", "") == "/"
    assert full("/", "", NOT_UTF8) == "/\\xff\\xfe"
    assert shown("ä") == "ä"


def test_a_directory_is_opened_by_its_name_from_the_top(tree: Tree) -> None:
    Path(tree.path, "a", "b").mkdir(parents=True)
    Path(tree.path, "a", "b", "file").touch()
    with tree.open("a/b") as descriptor:
        assert descriptor is not None and os.listdir(descriptor) == ["file"]
    with tree.open("") as descriptor:
        assert descriptor is not None and os.listdir(descriptor) == ["a"]


@pytest.mark.parametrize("name", ["none", "file", "link", "dangling", "fifo", "link/below", "file/below", "none/below"])
def test_what_is_no_directory_is_not_there_and_no_link_is_followed(tree: Tree, tmp_path: Path, name: str) -> None:
    (tmp_path / "other" / "below").mkdir(parents=True)
    Path(tree.path, "link").symlink_to(tmp_path / "other")
    Path(tree.path, "dangling").symlink_to("none")
    Path(tree.path, "file").touch()
    os.mkfifo(Path(tree.path, "fifo"))
    with tree.open(name) as descriptor:
        assert descriptor is None


def test_the_top_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "top").symlink_to("real")
    with Tree(str(tmp_path / "top")) as opened:
        opened.check_top()
        with opened.open("") as descriptor:
            assert descriptor is not None


def test_a_top_that_is_gone_or_another_is_noticed(tree: Tree, tmp_path: Path) -> None:
    tree.check_top()
    os.rename(tree.path, tmp_path / "moved")
    with pytest.raises(OpExecError, match=r"top is gone \(No such file or directory\); bring it back"):
        tree.check_top()
    os.mkdir(tree.path)
    with pytest.raises(OpExecError, match="is another directory than it was when the job began"):
        tree.check_top()


def test_the_other_tree_is_refused_wherever_it_is_found(tree: Tree) -> None:
    Path(tree.path, "a", "b").mkdir(parents=True)
    with Tree(os.path.join(tree.path, "a", "b")) as other:
        tree.forbidden = other.identity
    with tree.open("a"), pytest.raises(OpExecError, match="a/b is the other tree itself"), tree.open("a/b"):
        pass


def test_a_directory_that_cannot_be_opened_is_named(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(tree.path, "a").mkdir()
    real = os.open

    def refuse(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == "a":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OpExecError, match="top/a cannot be opened: Input/output error; put that right"), tree.open("a"):
        pass


def test_entries_are_read_with_what_links_say(tree: Tree) -> None:
    Path(tree.path, NOT_UTF8).touch()
    Path(tree.path, "link").symlink_to(NOT_UTF8)
    with tree.open("") as descriptor:
        assert descriptor is not None
        listing = tree.read(descriptor, "")
    assert listing.keys() == {NOT_UTF8, "link"}
    assert listing["link"].link == NOT_UTF8
    assert stat.S_ISREG(listing[NOT_UTF8].state.st_mode)


def test_entries_that_vanish_or_become_others_while_they_are_read_do_no_harm(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("gone", "other"):
        Path(tree.path, name).symlink_to("x")
    real = os.readlink

    def late(path: str, *, dir_fd: int | None = None) -> str:
        os.unlink(path, dir_fd=dir_fd)
        if path == "other":
            Path(tree.path, path).touch()
        return real(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "readlink", late)
    with tree.open("") as descriptor:
        assert descriptor is not None
        listing = tree.read(descriptor, "")
    assert [(name, stat.S_ISREG(each.state.st_mode)) for name, each in listing.items()] == [("other", True)]


def test_a_tree_of_any_depth_is_removed_and_no_link_is_followed(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    Path(tree.path, "a", "b").mkdir(parents=True)
    Path(tree.path, "a", "b", "link").symlink_to(tmp_path / "kept")
    make_deep(Path(tree.path, "a"), 150)
    Path(tree.path, "stays").touch()
    removed = list(tree.remove("a"))
    assert os.listdir(tree.path) == ["stays"]
    assert (tmp_path / "kept" / "file").exists()
    assert len(removed) == 2 + 150 + 2


def test_removing_what_is_gone_already_is_no_error(tree: Tree) -> None:
    Path(tree.path, "a").mkdir()
    Path(tree.path, "a", "file").touch()
    for _ in tree.remove("a"):
        Path(tree.path, "a", "file").unlink(missing_ok=True)
    assert os.listdir(tree.path) == []
    assert list(tree.remove("a")) == ["a"]


def test_rights_that_are_missing_in_the_own_tree_are_taken_and_remembered(open_to_all: Path) -> None:
    (open_to_all / "a" / "b").mkdir(parents=True)
    (open_to_all / "a" / "b").chmod(0o500)
    (open_to_all / "a").chmod(0o000)
    with unprivileged(open_to_all):
        with Tree(str(open_to_all), own=True) as tree:
            with tree.open("a/b") as descriptor:
                assert descriptor is not None
                os.mkdir("c", dir_fd=descriptor)
            assert tree.relaxed == {"a", "a/b"}
            list(tree.remove("a"))
            assert tree.relaxed == set()
        assert os.listdir(open_to_all) == []


def test_rights_that_are_missing_in_a_foreign_tree_are_an_error(open_to_all: Path) -> None:
    (open_to_all / "a").mkdir(mode=0o000)
    with unprivileged(open_to_all):
        with Tree(str(open_to_all)) as tree:
            with pytest.raises(OpExecError, match="a cannot be opened: Permission denied"), tree.open("a"):
                pass
        assert stat.S_IMODE((open_to_all / "a").stat().st_mode) == 0


def test_no_rights_are_taken_through_a_link(open_to_all: Path) -> None:
    (open_to_all / "hidden").mkdir(mode=0o000)
    (open_to_all / "top").mkdir()
    (open_to_all / "top" / "a").mkdir(mode=0o000)
    with unprivileged(open_to_all), Tree(str(open_to_all / "top"), own=True) as tree:
        real = os.open
        swapped: list[str] = []

        def swap(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
            if flags & os.O_PATH and not swapped:
                swapped.append(path)
                (open_to_all / "top" / "a").rmdir()
                (open_to_all / "top" / "a").symlink_to(open_to_all / "hidden")
            return real(path, flags, mode, dir_fd=dir_fd)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "open", swap)
            with tree.open("a") as descriptor:
                assert descriptor is None
    assert swapped == ["a"]
    assert stat.S_IMODE((open_to_all / "hidden").stat().st_mode) == 0


def test_a_file_system_is_synced_or_the_failure_is_told(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    sync_file_system(descriptor)
    os.close(descriptor)
    with pytest.raises(OSError, match="Bad file descriptor"):
        sync_file_system(descriptor)


def test_directories_that_were_removed_or_moved_are_not_taken_for_those_that_have_their_names_now(tree: Tree) -> None:
    top = Path(tree.path)

    def entries(directory: str) -> list[str] | None:
        with tree.open(directory) as descriptor:
            return None if descriptor is None else sorted(os.listdir(descriptor))

    (top / "a" / "b" / "old").mkdir(parents=True)
    assert entries("a/b/old") == entries("a/b/old") == []
    list(tree.remove("a"))
    (top / "a" / "b" / "new").mkdir(parents=True)
    assert (entries("a/b"), entries("a/b/old")) == (["new"], None)
    (top / "a").rename(top / "moved")
    (top / "a" / "b").mkdir(parents=True)
    tree.forget()
    assert entries("a/b") == []


def test_few_directories_are_kept_open(tree: Tree) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for number in range(100):
        Path(tree.path, str(number)).mkdir()
        with tree.open(str(number)):
            pass
    assert len(os.listdir("/proc/self/fd")) <= before + 32
    tree.forget()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("mode", [0o405, 0o045, 0o111, 0o311])
def test_every_directory_on_the_way_is_made_passable(open_to_all: Path, mode: int) -> None:
    (open_to_all / "a" / "b" / "c").mkdir(parents=True)
    (open_to_all / "a" / "b").chmod(mode)
    (open_to_all / "a").chmod(mode)
    with unprivileged(open_to_all), Tree(str(open_to_all), own=True) as tree, tree.open("a/b/c") as descriptor:
        assert descriptor is not None
        assert tree.relaxed == {"a", "a/b"}
