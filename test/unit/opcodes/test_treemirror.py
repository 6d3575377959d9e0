from __future__ import annotations

import os
import select
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from jqueue.errors import JobCanceled, OpExecError
from jqueue.opcodes import treecopy
from jqueue.opcodes.base import COMPLETE, LEAVE
from jqueue.watch import TreeWatch

from .trees import NOT_UTF8, Change, Clock, Context, Rig, Watched, fill, names, snapshot


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    return Rig(tmp_path, Clock(monkeypatch))


def refuse_watches(monkeypatch: pytest.MonkeyPatch, refused: Callable[[str], bool]) -> None:
    """Has the watch of some directories refused, as by the limit of the system."""
    real = TreeWatch.add

    def add(self: TreeWatch, descriptor: int, directory: str) -> bool:
        if not refused(directory):
            return real(self, descriptor, directory)
        self.refused = "No space left on device"
        return False

    monkeypatch.setattr(TreeWatch, "add", add)


def write(path: Path, text: str = "text") -> Change:
    def change() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return change


# Following the changes; `Rig.run` compares the trees whenever the mirror says that they are in step


def test_the_first_scan_copies_everything_and_then_the_mirror_is_ready(rig: Rig) -> None:
    fill(rig.source)
    assert rig.run() == {"files": 3, "bytes": 700_003, "passes": 2, "completed": True}
    assert rig.same()
    seconds, descriptor = rig.context.readied[0]
    assert seconds == 60
    assert descriptor is not None and descriptor > 2


def test_every_kind_of_change_is_followed_without_another_scan(rig: Rig) -> None:
    fill(rig.source)
    s = rig.source
    result = rig.run(
        write(s / "new"),
        write(s / "file", "shorter"),
        write(s / "a" / "b" / "c" / "d" / "deep"),
        write(s / "a" / "b" / NOT_UTF8, "changed"),
        lambda: (s / NOT_UTF8).mkdir(),
        write(s / NOT_UTF8 / "below"),
        lambda: (s / "new").rename(s / "a" / "moved"),
        lambda: (s / "a").rename(s / "z"),
        write(s / "z" / "b" / "c" / "after"),
        lambda: (s / "z" / "moved").chmod(0o600),
        lambda: (s / "z").chmod(0o700),
        lambda: os.utime(s, ns=(1, 1)),
        lambda: (s / "z" / "link").unlink(),
        lambda: (s / "z" / "link").symlink_to("elsewhere"),
        lambda: shutil.rmtree(s / "z"),
        lambda: s.chmod(0o711),
        lambda: os.mkfifo(s / "fifo"),
    )
    assert result["passes"] == 2
    assert rig.same()


def test_a_file_and_a_directory_change_places(rig: Rig) -> None:
    def swap() -> None:
        (rig.source / "a").rename(rig.source / "t")
        (rig.source / "b").rename(rig.source / "a")
        (rig.source / "t").rename(rig.source / "b")

    write(rig.source / "a" / "below" / "file")()
    write(rig.source / "b")()
    result = rig.run(swap, write(rig.source / "b" / "below" / "file", "again"), swap, swap)
    assert result["passes"] == 2


def test_a_directory_that_takes_the_place_of_one_like_it_is_compared_by_content(rig: Rig) -> None:
    def make(name: str, text: str) -> None:
        write(rig.source / name / "below" / "file", text)()
        for path in (name, f"{name}/below", f"{name}/below/file"):
            os.utime(rig.source / path, ns=(1, 1))

    def swap() -> None:
        (rig.source / "current").rename(rig.source / "old")
        (rig.source / "next").rename(rig.source / "current")

    make("current", "one")
    make("next", "two")
    assert rig.run(swap)["completed"] is True


def test_a_file_that_is_written_without_another_size_and_time_is_copied_again(rig: Rig) -> None:
    def rewrite() -> None:
        (rig.source / "file").write_text("two")
        os.utime(rig.source / "file", ns=(1, 1))

    write(rig.source / "file", "one")()
    os.utime(rig.source / "file", ns=(1, 1))
    assert rig.run(rewrite)["files"] == 2


def test_directories_made_between_the_watch_and_the_scan_are_found(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    real = TreeWatch.add
    made: list[str] = []

    def add(self: TreeWatch, descriptor: int, directory: str) -> bool:
        before = not self.watches(directory) and len(made) < 20
        if before and len(made) % 2:
            made.append(directory)
            write(rig.source / directory / f"early{len(made)}" / "file")()
        result = real(self, descriptor, directory)
        if before and len(made) % 2 == 0:
            made.append(directory)
            write(rig.source / directory / f"late{len(made)}" / "file")()
        return result

    monkeypatch.setattr(TreeWatch, "add", add)
    rig.run(write(rig.source / "new" / "file"))
    assert len(made) == 21
    assert len(list(rig.target.rglob("file"))) == 22


def test_changes_during_the_first_scan_are_followed(rig: Rig) -> None:
    fill(rig.source)

    class Changing(Watched):
        def checkpoint(self) -> None:
            super().checkpoint()
            match self.checkpoints:
                case 8:
                    write(rig.source / "a" / "b" / "late")()
                case 9:
                    (rig.source / "a" / "none").unlink()
                case 10:
                    (rig.source / "a").rename(rig.source / "empty" / "a")
                case 12:
                    shutil.rmtree(rig.source / "empty")

    context = Changing(rig.clock, rig.source, rig.target, [], COMPLETE)
    rig.op().exec(context)
    assert rig.same()
    assert names(rig.source) == ["dangling", "file"]


# When inotify does not tell


def test_after_an_overflow_everything_is_scanned(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    real = TreeWatch.read

    def overflow() -> None:
        write(rig.source / "a" / "b" / "unseen")()
        monkeypatch.setattr(TreeWatch, "read", lost)

    def lost(self: TreeWatch) -> None:
        real(self)
        monkeypatch.setattr(TreeWatch, "read", real)

    fill(rig.source)
    assert rig.run(overflow, write(rig.source / "seen"))["passes"] == 3
    assert rig.same()


@pytest.mark.parametrize("refused", ["all", "a", "a/b"])
def test_what_cannot_be_watched_is_found_by_the_next_scan(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    refuse_watches(monkeypatch, lambda directory: refused in ("all", directory))
    fill(rig.source)
    rig.run(
        write(rig.source / "a" / "b" / "new"),
        write(rig.source / "a" / "b" / "c" / "new"),
        write(rig.source / "a" / "new"),
        write(rig.source / "new"),
        lambda: shutil.rmtree(rig.source / "a"),
        rescan=5,
    )
    assert rig.same()
    assert rig.context.lines() == [
        "Not every directory of the source can be watched (No space left on device);"
        " there, changes are found by the scan every 5 s"
    ]


def test_without_inotify_the_scans_do(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyinotify._CtypesLibcINotifyWrapper.inotify_init", lambda _: -1)
    fill(rig.source)
    result = rig.run(write(rig.source / "a" / "b" / "new"), lambda: shutil.rmtree(rig.source / "a"), rescan=7)
    assert result["passes"] == 4
    assert rig.context.readied[0] == (7, None)


def test_full_scans_come_at_their_time_and_repair_the_target(rig: Rig) -> None:
    def spoil() -> None:
        (rig.target / "file").unlink()
        (rig.target / "extra").mkdir()

    fill(rig.source)
    assert rig.run(spoil, spoil)["passes"] == 4
    assert rig.same()


def test_directories_that_left_the_tree_wake_nobody_after_the_next_scan(rig: Rig) -> None:
    def write_outside() -> None:
        watched = rig.context.readied[-1][1]
        assert watched is not None
        write(rig.top / "outside" / "b" / "file")()
        assert not select.select([watched], [], [], 0)[0]

    fill(rig.source)
    assert rig.run(lambda: (rig.source / "a").rename(rig.top / "outside"), lambda: None, write_outside)["passes"] == 4


def test_a_slow_scan_is_given_nine_times_its_time_to_rest(rig: Rig) -> None:
    class Slow(Watched):
        def checkpoint(self) -> None:
            super().checkpoint()
            rig.clock.now += 1 if not self.readied else 0

    context = Slow(rig.clock, rig.source, rig.target, [], COMPLETE)
    rig.op(rescan=2).exec(context)
    assert context.readied[0][0] == 9


# Becoming ready


def test_it_is_not_ready_while_a_file_changes_whenever_it_is_copied(rig: Rig) -> None:
    write(rig.source / "file")()

    class Writing(Watched):
        def progress(self, done: int, total: int, text: str = "") -> None:
            if text == "copying" and len(self.slept) < 3:
                with open(rig.source / "file", "a") as file:
                    file.write("more")

    context = Writing(rig.clock, rig.source, rig.target, [], COMPLETE)
    rig.op().exec(context)
    assert [round(seconds, 3) for seconds in context.slept[:3]] == [0.1, 0.2, 0.4]
    assert context.lines()[0] == f"{rig.source}/file changed while it was copied; it is copied again in 0.1 s"
    assert rig.same()


def test_it_is_not_ready_before_changes_are_brought_over_within_a_second(rig: Rig) -> None:
    class Slow(Watched):
        def throttle(self, n: int) -> None:
            super().throttle(n)
            rig.clock.now += 2
            if len(self.throttled) < 4:
                write(rig.source / str(len(self.throttled)))()

    write(rig.source / "0")()
    context = Slow(rig.clock, rig.source, rig.target, [], COMPLETE)
    rig.op().exec(context)
    assert len(context.throttled) == 4
    assert len(context.readied) == 1


def test_a_tree_that_changes_all_the_time_and_little_is_in_step(rig: Rig) -> None:
    class Busy(Context):
        def checkpoint(self) -> None:
            super().checkpoint()
            if not self.readied:
                write(rig.source / "file", str(self.checkpoints))()

    context = Busy(rig.clock)
    rig.op().exec(context)
    assert len(context.readied) == 1


def test_a_fresh_file_is_looked_at_again_a_tick_later(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [True, True, True, False]
    monkeypatch.setattr(treecopy, "is_fresh", lambda state: answers.pop(0))
    write(rig.source / "file")()
    rig.run()
    assert answers == []
    waits = [seconds for seconds, _ in rig.context.readied]
    assert waits == pytest.approx([treecopy.TICK, treecopy.TICK, 60 - 2 * treecopy.TICK])


# The end


def test_a_soft_cancel_leaves_what_is_there_and_scans_no_more(rig: Rig) -> None:
    fill(rig.source)

    class Leaving(Context):
        def ready(self, seconds: float | None = None, descriptor: int | None = None) -> str | None:
            write(rig.source / "too late")()
            return LEAVE

    context = Leaving(rig.clock)
    assert rig.op().exec(context) == {"files": 3, "bytes": 700_003, "passes": 1, "completed": False}
    assert not (rig.target / "too late").exists()
    assert context.progressed[-1] == (700_003, 700_003, "left")


def test_completing_takes_the_last_changes_along(rig: Rig) -> None:
    fill(rig.source)

    class Completing(Context):
        def ready(self, seconds: float | None = None, descriptor: int | None = None) -> str | None:
            write(rig.source / "last" / "file")()
            return COMPLETE

    assert rig.op().exec(Completing(rig.clock)) == {"files": 4, "bytes": 700_007, "passes": 3, "completed": True}
    assert rig.same()


def test_completing_goes_on_until_a_scan_finds_nothing_and_says_what_keeps_it(rig: Rig) -> None:
    class Writing(Context):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            if len(self.slept) < 9:
                write(rig.source / "file", "x" * len(self.slept))()

        def ready(self, seconds: float | None = None, descriptor: int | None = None) -> str | None:
            write(rig.source / "file", "first")()
            return COMPLETE

    context = Writing(rig.clock)
    assert rig.op().exec(context)["passes"] == 1 + 10
    assert rig.same()
    assert context.slept == pytest.approx([0.05 * number for number in range(1, 10)])
    assert context.lines() == [f"{rig.source}/file differed again in scan 8; stop what writes to the source"]


def test_what_the_target_cannot_keep_does_not_hold_up_the_end(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(rig.source)
    monkeypatch.setattr(os, "fchmod", lambda descriptor, mode: None)
    monkeypatch.setattr(os, "chmod", lambda path, mode: None)
    context = Context(rig.clock)
    assert rig.op().exec(context)["passes"] == 3
    assert (rig.target / "a" / "none").read_bytes() == b""


def test_completing_does_not_wait_for_the_delay_of_a_file_that_changed(rig: Rig) -> None:
    class Writing(Watched):
        def progress(self, done: int, total: int, text: str = "") -> None:
            if self.readied and not self.told:
                with open(rig.source / "file", "a") as file:
                    file.write("more")

        told = False

        def ready(self, seconds: float | None = None, descriptor: int | None = None) -> str | None:
            self.readied.append((seconds, descriptor))
            if len(self.readied) < 8:
                self.clock.now += seconds or 0
                write(rig.source / "file", "second")()
                return None
            self.told = True
            return COMPLETE

    context = Writing(rig.clock, rig.source, rig.target, [], COMPLETE)
    rig.op().exec(context)
    assert len(context.lines()) > 3, "the delay has grown"
    assert sum(context.slept) < 0.1
    assert rig.same()


def test_completing_does_not_end_while_a_file_waits_to_be_copied_again(rig: Rig) -> None:
    class Writing(Context):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            self.clock.now -= seconds / 2  # as if it had ended a little early

        def progress(self, done: int, total: int, text: str = "") -> None:
            if text == "completing" and not self.slept:
                write(rig.source / "file", "third")()

        def ready(self, seconds: float | None = None, descriptor: int | None = None) -> str | None:
            write(rig.source / "file", "second")()
            return COMPLETE

    write(rig.source / "file", "first")()
    rig.op().exec(Writing(rig.clock))
    assert rig.same()


def test_completing_heeds_what_inotify_told_last(rig: Rig) -> None:
    class Rewriting(Context):
        def ready(self, seconds: float | None = None, descriptor: int | None = None) -> str | None:
            (rig.source / "file").write_text("two")
            os.utime(rig.source / "file", ns=(1, 1))
            return COMPLETE

    write(rig.source / "file", "one")()
    os.utime(rig.source / "file", ns=(1, 1))
    rig.op().exec(Rewriting(rig.clock))
    assert rig.same()


def test_all_that_was_written_is_on_the_disk_in_the_end(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[object] = []
    monkeypatch.setattr("jqueue.opcodes.treesync.sync_file_system", lambda _: synced.append(snapshot(rig.target)))
    fill(rig.source)
    rig.run(end=LEAVE)
    assert synced == [snapshot(rig.source)]


@pytest.mark.parametrize("tree", ["source", "target"])
def test_a_tree_that_is_taken_away_ends_it_and_nothing_is_removed(rig: Rig, tree: str) -> None:
    def take_away() -> None:
        (rig.top / tree).rename(rig.top / "moved")
        (rig.top / tree).mkdir()
        os.utime(rig.source)

    fill(rig.source)
    with pytest.raises(OpExecError, match=f"{tree} is another directory than it was"):
        rig.run(take_away)
    assert (rig.top / ("target" if tree == "source" else "moved") / "file").exists()


def test_a_source_that_is_removed_ends_it(rig: Rig) -> None:
    fill(rig.source)
    with pytest.raises(OpExecError, match="source is gone"):
        rig.run(lambda: shutil.rmtree(rig.source))


# Progress


def test_progress_counts_bytes_and_its_total_is_known_from_the_start(rig: Rig) -> None:
    fill(rig.source)
    rig.run(write(rig.source / "new", "1234"))
    done = [progress[:2] for progress in rig.context.progressed]
    assert done[0] == (0, 1)
    assert {total for _, total in done[1:5]} == {700_003}
    assert all(0 <= part <= total > 0 for part, total in done)
    assert [part for part, _ in done] == sorted(part for part, _ in done)
    assert rig.context.progressed[-1] == (700_007, 700_007, "in step")
    assert {text for _, _, text in rig.context.progressed} == {"comparing", "copying", "in step"}


def test_every_byte_is_paid_for(rig: Rig) -> None:
    fill(rig.source)
    rig.run()
    assert sum(rig.context.throttled) == 700_003
    assert max(rig.context.throttled) == 256 << 10


def test_it_can_be_cancelled_while_it_compares_copies_waits_and_completes(rig: Rig) -> None:
    fill(rig.source)
    rig.run()
    total = rig.context.checkpoints
    for stop_at in range(1, total + 1):
        shutil.rmtree(rig.target)
        with pytest.raises(JobCanceled):
            rig.op().exec(Context(rig.clock, stop_at=stop_at))
    assert total > 20
    assert rig.op().exec(Context(rig.clock))["files"] == 0
