from __future__ import annotations

import errno
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jqueue.errors import JobCanceled, OpExecError
from jqueue.opcodes import treecopy, treesync
from jqueue.opcodes.treediff import temporary_prefix
from jqueue.opcodes.treesync import TreeSync, describe, preview, remove_temporary

from .trees import NOT_UTF8, Clock, Context, Rig, fill, names, rules, snapshot, unprivileged


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def rig(tmp_path: Path, clock: Clock) -> Rig:
    return Rig(tmp_path, clock)


@contextmanager
def syncing(rig: Rig, *, delete: bool = True, owners: bool = True, log_steps: bool = False) -> Iterator[TreeSync]:
    with rig.trees() as (source, target):
        yield TreeSync(rig.context, source, target, rules(delete, owners), log_steps=log_steps)


def bring_all(rig: Rig, *, delete: bool = True, owners: bool = True, log_steps: bool = False) -> TreeSync:
    with syncing(rig, delete=delete, owners=owners, log_steps=log_steps) as sync:
        sync.bring_all()
    return sync


def steps(rig: Rig) -> list[str]:
    """Gives what there is to do."""
    with rig.trees() as (source, target):
        return [
            describe("S", "T", directory, step)
            for directory, step in preview(Context(rig.clock), source, target, rules())
        ]


def contents(top: Path) -> set[tuple[str, bytes]]:
    """Gives the files of a tree."""
    files = (path for path in top.rglob("*") if path.is_file() and not path.is_symlink())
    return {(str(path.relative_to(top)), path.read_bytes()) for path in files}


# What a tree may hold


def test_a_tree_with_some_of_everything_is_copied_and_then_there_is_nothing_to_do(rig: Rig) -> None:
    fill(rig.source)
    sync = bring_all(rig)
    assert rig.same()
    assert (sync.files, sync.meter.done) == (3, 700_003)
    assert bring_all(rig).steps == 0


def test_an_empty_tree_makes_an_empty_tree(rig: Rig) -> None:
    fill(rig.target)
    sync = bring_all(rig)
    assert names(rig.target) == []
    assert (rig.same(), sync.files) == (True, 0)


def test_all_that_is_not_in_the_source_is_removed(rig: Rig) -> None:
    fill(rig.source)
    bring_all(rig)
    shutil.rmtree(rig.source / "a")
    (rig.source / "dangling").unlink()
    bring_all(rig)
    assert rig.same()


def test_without_delete_what_is_not_in_the_source_stays(rig: Rig) -> None:
    (rig.source / "both").mkdir()
    (rig.target / "both").mkdir(parents=True)
    (rig.target / "both" / "extra").touch()
    (rig.target / "extra").mkdir()
    (rig.source / "both" / "new").touch()
    bring_all(rig, delete=False)
    assert names(rig.target) == ["both", "both/extra", "both/new", "extra"]


@pytest.mark.parametrize("before", ["file", "directory", "link"])
@pytest.mark.parametrize("after", ["file", "directory", "link"])
def test_everything_can_take_the_place_of_everything(rig: Rig, before: str, after: str) -> None:
    def make(path: Path, kind: str) -> None:
        match kind:
            case "file":
                path.write_text(kind)
            case "directory":
                (path / "a" / "b").mkdir(parents=True)
                (path / "a" / "file").write_text(kind)
            case "link":
                path.symlink_to("/etc")

    make(rig.source / "name", before)
    bring_all(rig)
    if before == "directory":
        shutil.rmtree(rig.source / "name")
    else:
        (rig.source / "name").unlink()
    make(rig.source / "name", after)
    bring_all(rig)
    assert rig.same()


def test_without_delete_a_directory_with_something_in_it_is_not_replaced(rig: Rig) -> None:
    (rig.source / "name").touch()
    (rig.target / "name" / "kept").mkdir(parents=True)
    with pytest.raises(OpExecError, match="target/name is a directory and its counterpart in the source is not"):
        bring_all(rig, delete=False)
    assert names(rig.target) == ["name", "name/kept"]
    (rig.target / "name" / "kept").rmdir()
    bring_all(rig, delete=False)
    assert rig.same()


def test_hard_links_become_files_of_their_own(rig: Rig) -> None:
    (rig.source / "one").write_text("text")
    os.link(rig.source / "one", rig.source / "two")
    bring_all(rig)
    assert rig.same()
    assert (rig.target / "one").stat().st_nlink == 1


def test_sockets_fifos_and_devices_are_skipped_with_one_line_each(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(rig.source / "fifo")
    monkeypatch.chdir(rig.source)
    with socket.socket(socket.AF_UNIX) as listener, syncing(rig) as sync:
        listener.bind("socket")
        sync.bring_all()
        sync.bring_all()
    assert names(rig.target) == []
    assert rig.context.lines() == [
        f"skip {rig.source}/fifo: it is no file, directory or link",
        f"skip {rig.source}/socket: it is no file, directory or link",
    ]
    assert sync.steps == 1  # the time of the top


def test_what_a_special_file_took_the_place_of_is_removed(rig: Rig) -> None:
    (rig.source / "name").touch()
    bring_all(rig)
    (rig.source / "name").unlink()
    os.mkfifo(rig.source / "name")
    bring_all(rig)
    assert names(rig.target) == []


def test_a_very_deep_tree_is_brought_in_step(rig: Rig) -> None:
    path = rig.source.joinpath(*["d"] * 400)
    path.mkdir(parents=True)
    (path / "file").write_text("deep")
    bring_all(rig)
    assert rig.target.joinpath(*["d"] * 400, "file").read_text() == "deep"


# Attributes


def test_attributes_are_set_in_place(rig: Rig) -> None:
    fill(rig.source)
    bring_all(rig)
    inode = (rig.target / "file").stat().st_ino
    (rig.source / "file").chmod(0o400)
    (rig.source / "a").chmod(0o1770)
    os.utime(rig.source / "a" / "link", ns=(1, 77), follow_symlinks=False)
    if os.geteuid() == 0:
        for name in ("file", "a", "a/link"):
            os.chown(rig.source / name, 12, 34, follow_symlinks=False)
    sync = bring_all(rig)
    assert rig.same()
    assert (rig.target / "file").stat().st_ino == inode
    assert (sync.files, sync.steps) == (0, 3)


def test_the_mode_of_a_file_is_never_set_through_a_link(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = rig.top / "outside"
    outside.touch(mode=0o600)
    (rig.source / "name").write_text("x")
    bring_all(rig)
    (rig.source / "name").chmod(0o666)
    real = os.open

    def swap(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == "name":
            (rig.target / "name").unlink()
            (rig.target / "name").symlink_to(outside)
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", swap)
    with pytest.raises(OpExecError, match="target/name cannot be written"):
        bring_all(rig)
    assert outside.stat().st_mode & 0o777 == 0o600


def test_a_daemon_that_is_not_root_works_in_directories_it_may_not_write_to(clock: Clock) -> None:
    with tempfile.TemporaryDirectory() as top:
        rig = Rig(Path(top), clock)
        (rig.source / "a" / "b").mkdir(parents=True)
        (rig.source / "a" / "b" / "file").write_text("one")
        for name in ("a/b", "a"):
            (rig.source / name).chmod(0o555)
        with unprivileged(Path(top)):
            bring_all(rig, owners=False)
            assert rig.same()
            (rig.source / "a" / "b" / "file").write_text("two, and longer")
            (rig.target / "a").chmod(0o055)
            with syncing(rig, owners=False) as sync:
                sync.bring("a/b", deep=False)
            assert rig.same()
            assert bring_all(rig, owners=False).steps == 0


def test_the_top_of_the_target_may_belong_to_somebody_else(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    (rig.source / "file").touch()
    rig.target.mkdir(mode=0o700)
    rig.source.chmod(0o755)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    bring_all(rig, owners=False)
    assert rig.target.stat().st_mode & 0o777 == 0o700
    assert (rig.target / "file").exists()


# Links that lead elsewhere


def test_a_link_in_the_source_is_copied_and_not_followed(rig: Rig) -> None:
    (rig.top / "outside").mkdir()
    (rig.top / "outside" / "secret").touch()
    (rig.source / "link").symlink_to(rig.top / "outside")
    bring_all(rig)
    assert names(rig.target) == ["link"]
    assert os.readlink(rig.target / "link") == str(rig.top / "outside")


def test_a_link_in_the_target_in_the_place_of_a_directory_is_replaced_and_not_followed(rig: Rig) -> None:
    fill(rig.source)
    bring_all(rig)
    (rig.target / "a").rename(rig.top / "outside")
    (rig.target / "a").symlink_to(rig.top / "outside")
    before = snapshot(rig.top / "outside")
    (rig.source / "a" / "b" / "new").touch()
    (rig.source / "a" / "none").unlink()
    with syncing(rig) as sync:
        sync.bring("a/b", deep=False)
        assert sync.due() == ["a"]
        sync.bring("a", deep=False)
        assert sync.due() == [""]
        sync.bring("", deep=False)
        assert sync.due() == []
    assert rig.same()
    assert snapshot(rig.top / "outside") == before


def test_a_directory_of_the_source_that_becomes_a_link_meanwhile_is_not_followed(rig: Rig) -> None:
    (rig.top / "outside").mkdir()
    (rig.top / "outside" / "secret").touch()
    (rig.source / "a").mkdir()

    class Swapping(Context):
        def checkpoint(self) -> None:
            if self.checkpoints == 2:
                (rig.source / "a").rmdir()
                (rig.source / "a").symlink_to(rig.top / "outside")
            super().checkpoint()

    rig.context = Swapping(rig.clock)
    with syncing(rig) as sync:
        sync.bring_all()
        assert names(rig.target) == ["a"]
        assert sync.due() == [""]
        sync.bring("", deep=False)
    assert (rig.target / "a").is_symlink()


# What a crash left


def test_what_a_crash_left_is_removed(rig: Rig) -> None:
    (rig.source / "a").mkdir()
    (rig.target / "a").mkdir(parents=True)
    (rig.target / "a" / f"{temporary_prefix(1, 0)}0a1b2c3d.part").touch()
    (rig.target / f"{temporary_prefix(1, 0)}0a1b2c3d.part").symlink_to("x")
    bring_all(rig, delete=False)
    assert names(rig.target) == ["a"]


def test_only_the_temporary_files_of_one_opcode_are_removed_and_nothing_else(rig: Rig) -> None:
    fill(rig.target)
    mine, foreign = (f"{temporary_prefix(job, 0)}0a1b2c3d.part" for job in (1, 2))
    for directory in ("", "a/b"):
        (rig.target / directory / mine).touch()
        (rig.target / directory / foreign).touch()
    before = names(rig.target)
    with rig.trees() as (_, target):
        remove_temporary(target, temporary_prefix(1, 0))
    assert names(rig.target) == [name for name in before if not name.endswith(mine)]


def test_wherever_it_is_cancelled_no_file_is_half_and_a_second_try_ends_it(rig: Rig) -> None:
    fill(rig.source)
    bring_all(rig)
    shutil.copytree(rig.target, rig.top / "former", symlinks=True)
    shutil.rmtree(rig.source / "a" / "b")
    (rig.source / "a" / "b").write_bytes(b"now a file" * 60_000)
    (rig.source / "file").write_bytes(b"other" * 160_000)
    whole = contents(rig.source) | contents(rig.target)
    rig.context = Context(rig.clock)
    bring_all(rig)
    for stop_at in range(1, rig.context.checkpoints + 1):
        shutil.rmtree(rig.target)
        shutil.copytree(rig.top / "former", rig.target, symlinks=True)
        rig.context = Context(rig.clock, stop_at=stop_at)
        with pytest.raises(JobCanceled):
            bring_all(rig)
        assert contents(rig.target) <= whole
        rig.context = Context(rig.clock)
        bring_all(rig)
        assert rig.same()
    assert stop_at > 10


# Changes meanwhile


def test_a_file_that_changes_while_it_is_copied_is_copied_later_and_waited_for_ever_longer(rig: Rig) -> None:
    (rig.source / "name").write_bytes(b"x" * 300_000)
    (rig.source / "other").touch()

    class Writing(Context):
        writes = True

        def progress(self, done: int, total: int, text: str = "") -> None:
            if self.writes:
                with open(rig.source / "name", "ab") as file:
                    file.write(b"y")

    rig.context = Writing(rig.clock)
    delays = []
    with syncing(rig) as sync:
        sync.bring_all()
        assert names(rig.target) == ["other"]
        for _ in range(11):
            assert sync.restless
            wait = sync.wait()
            assert wait is not None
            delays.append(round(wait, 3))
            sync.bring("", deep=False)
            assert sync.wait() == wait, "it is not tried before its time"
            rig.clock.now += wait
            sync.bring("", deep=False)
        assert delays == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30]
        assert len(rig.context.lines()) == 10
        Writing.writes = False
        sync.hurry()
        sync.bring("", deep=False)
        assert not sync.restless and sync.wait() is None
    assert rig.same()


def test_a_file_that_is_gone_when_it_is_to_be_copied_is_no_error(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    (rig.source / "name").touch()
    real = os.open

    def remove(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == "name":
            (rig.source / "name").unlink(missing_ok=True)
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", remove)
    with syncing(rig) as sync:
        sync.bring_all()
        assert sync.due() == [""]
        sync.bring("", deep=False)
        assert sync.due() == []
    assert rig.same()


def test_what_is_known_of_directories_that_are_gone_is_forgotten(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(treecopy, "is_fresh", lambda state: True)
    (rig.source / "a").mkdir()
    (rig.source / "a" / "file").touch()
    with syncing(rig) as sync:
        sync.bring_all()
        assert sync.wait() == treecopy.TICK
        shutil.rmtree(rig.source / "a")
        sync.doubt_tree("a")
        sync.bring_all()
        assert sync.wait() is None
        for tree in (rig.source, rig.target):
            (tree / "a").mkdir()
            (tree / "a" / "file").write_text(tree.name)
            os.utime(tree / "a" / "file", ns=(1, 1))
        sync.bring_all()
    assert (rig.target / "a" / "file").read_text() == "target"


def test_directories_are_reached_anew_each_time(rig: Rig) -> None:
    (rig.source / "a" / "b").mkdir(parents=True)
    with syncing(rig) as sync:
        sync.bring_all()
        for tree in (rig.source, rig.target):
            (tree / "a").rename(rig.top / f"former {tree.name}")
            (tree / "a" / "b").mkdir(parents=True)
        (rig.source / "a" / "b" / "file").touch()
        sync.bring("a/b", deep=False)
    assert (rig.target / "a" / "b" / "file").exists()
    assert names(rig.top / "former target") == ["b"]


def test_no_directory_stays_open_afterwards(rig: Rig) -> None:
    fill(rig.source)
    with syncing(rig) as sync:
        before = len(os.listdir("/proc/self/fd"))
        sync.bring_all()
        assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_that_was_fresh_is_compared_a_tick_later_and_copied_again_if_it_differs(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = True
    monkeypatch.setattr(treecopy, "is_fresh", lambda state: fresh)
    (rig.source / "name").write_text("one")
    os.utime(rig.source / "name", ns=(1, 1))
    with syncing(rig) as sync:
        sync.bring_all()
        (rig.source / "name").write_text("two")
        os.utime(rig.source / "name", ns=(1, 1))
        assert (sync.wait(), sync.restless) == (treecopy.TICK, False)
        fresh = False
        sync.bring("", deep=False)
        assert sync.wait() is None
    assert rig.same()
    assert sync.files == 2


def test_doubted_files_are_compared_by_content_and_others_are_not(rig: Rig) -> None:
    for name in ("one", "two", "a/one", "a/b/one"):
        (rig.source / name).parent.mkdir(parents=True, exist_ok=True)
        (rig.source / name).write_text("former")
        os.utime(rig.source / name, ns=(1, 1))
    bring_all(rig)
    for name in ("one", "two", "a/one", "a/b/one"):
        (rig.source / name).write_text("latter")
        os.utime(rig.source / name, ns=(1, 1))
    with syncing(rig) as sync:
        sync.doubt("", {"one", "gone", "a"})
        sync.bring_all()
        assert [(rig.target / name).read_text() for name in ("one", "two", "a/one")] == ["latter", "former", "former"]
        sync.doubt_tree("a")
        sync.bring("a", deep=True)
        assert [(rig.target / name).read_text() for name in ("two", "a/one", "a/b/one")] == ["former"] + 2 * ["latter"]
        assert sync.wait() is None


# What is told


def test_a_directory_that_cannot_be_read_is_named(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "scandir", fail)
    with pytest.raises(OpExecError, match="source cannot be read: Input/output error; put that right"):
        bring_all(rig)


@pytest.mark.parametrize("call", ["mkdir", "symlink", "unlink", "chmod"])
def test_a_target_that_cannot_be_changed_is_named(rig: Rig, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    fill(rig.source)
    bring_all(rig)
    (rig.source / "new").mkdir()
    (rig.source / "dangling").unlink()
    (rig.source / "link").symlink_to("x")
    (rig.source / "a" / "none").chmod(0o606)

    def fail(*arguments: object, **keywords: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OpExecError, match=r"target/[a-z/]+ cannot be written: Read-only file system"):
        bring_all(rig)


def test_a_link_that_does_not_get_its_name_leaves_nothing_behind(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    (rig.source / "link").symlink_to("x")

    def fail(*arguments: object, **keywords: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(OpExecError, match="target/link cannot be written: Input/output error"):
        bring_all(rig)
    assert os.listdir(rig.target) == []


def test_a_preview_tells_every_step_and_changes_nothing(rig: Rig) -> None:
    fill(rig.source)
    (rig.source / "a" / "b" / "file").write_text("four")
    (rig.target / "a" / "b" / "old").mkdir(parents=True)
    (rig.target / "a" / "none").touch()
    os.utime(rig.target / "a" / "none", ns=(1, (rig.source / "a" / "none").stat().st_mtime_ns))
    (rig.target / "empty").touch()
    os.mkfifo(rig.source / "fifo")
    before = snapshot(rig.target)
    assert steps(rig) == [
        "make link T/dangling",
        "make directory T/empty",
        "skip S/fifo: it is no file, directory or link",
        "copy T/file, 700000 bytes",
        "make link T/a/link",
        "set attributes of T/a/none",
        "remove T/a/b/old",
        "copy T/a/b/file, 4 bytes",
        "copy T/a/b/\\xff\\xfe, 3 bytes",
    ]
    assert snapshot(rig.target) == before


def test_every_step_is_logged_when_asked_for(rig: Rig) -> None:
    (rig.source / NOT_UTF8).write_text("odd")
    sync = bring_all(rig, log_steps=True)
    assert rig.context.lines() == [
        f"copy {rig.target}/\\xff\\xfe, 3 bytes",
        f"set attributes of {rig.target}",
    ]
    assert sync.last == f"{rig.source}/\\xff\\xfe"


def test_the_same_steps_for_the_same_files_leave_the_same_fingerprint(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    (rig.source / "one").touch()
    (rig.source / "two").touch()
    prints = []
    with syncing(rig) as sync:
        for name in ("one", "one", "two"):
            sync.bring_all()
            (rig.target / name).unlink()
            sync.fingerprint = 0
            sync.bring_all()
            prints.append(sync.fingerprint)
    assert prints[0] == prints[1] != prints[2]


def test_every_file_system_that_was_written_to_is_synced(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(rig.source)
    synced = []
    monkeypatch.setattr(treesync, "sync_file_system", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    with syncing(rig) as sync:
        sync.sync()
        assert synced == []
        sync.bring_all()
        sync.sync()
    assert synced == [rig.target.stat().st_ino]


def test_a_failed_sync_is_told(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    (rig.source / "name").touch()
    monkeypatch.setattr(treesync, "sync_file_system", fail)
    with syncing(rig) as sync:
        sync.bring_all()
        with pytest.raises(OpExecError, match="target cannot be synced: Input/output error"):
            sync.sync()
