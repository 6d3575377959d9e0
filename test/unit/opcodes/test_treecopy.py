from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jqueue.errors import JobCanceled, OpExecError
from jqueue.opcodes import treecopy
from jqueue.opcodes.fake import FakeContext
from jqueue.opcodes.treecopy import Copied, FileCopier, Meter, Place, is_fresh

from .trees import Clock, Context, Rig, names, rules, snapshot

CHUNK = 256 << 10


class Bench:
    """A file `name` to copy from one open directory to another."""

    def __init__(self, rig: Rig, place: Place, copier: Callable[[FakeContext], FileCopier]) -> None:
        self.source = rig.source / "name"
        self.target = rig.target / "name"
        self.rig = rig
        self.ctx: FakeContext = rig.context
        self.place = place
        self._copier = copier
        self.way_made = 0

    def copy(self) -> Copied:
        return self._copier(self.ctx).copy(self.place, "name", self.make_way)

    def compare(self) -> Copied:
        return self._copier(self.ctx).compare(self.place, "name")

    def make_way(self) -> None:
        self.way_made += 1

    def left(self) -> list[str]:
        """Gives the names in the target's directory."""
        return names(self.rig.target)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def bench(tmp_path: Path, clock: Clock) -> Iterator[Bench]:
    rig = Rig(tmp_path, clock)
    with rig.trees() as (source, target), source.open("") as one, target.open("") as other:
        assert one is not None and other is not None
        place = Place("", one, other)
        yield Bench(rig, place, lambda ctx: FileCopier(ctx, source, target, rules(), Meter(ctx)))


def during(monkeypatch: pytest.MonkeyPatch, call: str, action: Callable[[], object]) -> None:
    """Has something happen at the end of the first system call of a kind."""
    real = getattr(os, call)
    done: list[str] = []

    def wrapped(*arguments: object, **keywords: object) -> object:
        result = real(*arguments, **keywords)
        if not done:
            done.append(call)
            action()
        return result

    monkeypatch.setattr(os, call, wrapped)


def test_a_copy_has_content_mode_time_and_owner(bench: Bench) -> None:
    bench.source.write_bytes(os.urandom(600_000))
    bench.source.chmod(0o1750)
    if os.geteuid() == 0:
        os.chown(bench.source, 12, 34)
        bench.source.chmod(0o6750)
    os.utime(bench.source, ns=(5, 1_234_567_891))
    assert bench.copy() is Copied.SETTLED
    assert snapshot(bench.rig.target)["name"] == snapshot(bench.rig.source)["name"]


def test_all_but_the_last_piece_is_paid_for_before_the_file_has_its_name(bench: Bench) -> None:
    there = []

    class Asking(Context):
        def throttle(self, n: int) -> None:
            there.append((n, bench.target.exists()))

    bench.ctx = Asking(bench.rig.clock)
    bench.source.write_bytes(b"x" * (2 * CHUNK + 1))
    bench.copy()
    assert there == [(CHUNK, False), (CHUNK, False)]


def test_a_former_file_stays_until_the_whole_new_one_takes_its_place(bench: Bench) -> None:
    seen = []

    class Asking(Context):
        def throttle(self, n: int) -> None:
            seen.append(bench.target.read_text())

    bench.ctx = Asking(bench.rig.clock)
    bench.source.write_bytes(b"x" * (2 * CHUNK))
    bench.target.write_text("former")
    assert bench.copy() is Copied.SETTLED
    assert seen == ["former"]
    assert bench.target.stat().st_size == 2 * CHUNK
    assert bench.way_made == 1


def test_a_link_in_the_target_is_replaced_and_never_written_through(bench: Bench) -> None:
    outside = bench.rig.top / "outside"
    outside.write_text("untouched")
    bench.target.symlink_to(outside)
    bench.source.write_text("new")
    assert bench.copy() is Copied.SETTLED
    assert not bench.target.is_symlink()
    assert outside.read_text() == "untouched"


@pytest.mark.parametrize("pieces", [1, 2])
def test_a_cancel_between_pieces_leaves_nothing_behind(bench: Bench, pieces: int) -> None:
    bench.ctx = Context(bench.rig.clock, stop_at=pieces)
    bench.source.write_bytes(b"x" * (3 * CHUNK))
    with pytest.raises(JobCanceled):
        bench.copy()
    assert bench.left() == []


@pytest.mark.parametrize("call", ["read", "fsync", "fchmod"])
def test_a_file_that_changes_while_it_is_copied_leaves_the_target_as_it_was(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    bench.source.write_text("first")
    bench.target.write_text("former")
    during(monkeypatch, call, lambda: bench.source.write_text("second"))
    assert bench.copy() is Copied.CHANGED
    assert bench.target.read_text() == "former"
    assert bench.left() == ["name"]
    assert bench.way_made == 0


def test_a_large_file_that_changes_is_given_up_at_the_next_piece(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.source.write_bytes(b"x" * (4 * CHUNK))
    during(monkeypatch, "read", lambda: os.utime(bench.source, (1, 1)))
    assert bench.copy() is Copied.CHANGED
    assert bench.ctx.throttled == []


def test_a_change_of_content_that_hides_its_time_is_noticed_by_the_time_of_status(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.source.write_text("first")
    os.utime(bench.source, ns=(1, 1))

    def change() -> None:
        bench.source.write_text("other")
        os.utime(bench.source, ns=(1, 1))

    during(monkeypatch, "read", change)
    assert bench.copy() is Copied.CHANGED


@pytest.mark.parametrize("kind", ["nothing", "fifo", "link", "directory"])
def test_what_is_no_regular_file_any_more_is_gone_and_holds_nobody(bench: Bench, kind: str) -> None:
    match kind:
        case "fifo":
            os.mkfifo(bench.source)
        case "link":
            bench.source.symlink_to("/etc/passwd")
        case "directory":
            bench.source.mkdir()
    assert bench.copy() is Copied.GONE
    assert bench.compare() is Copied.GONE
    assert bench.left() == []


def test_a_file_that_is_removed_while_it_is_copied_is_copied_whole_or_not_at_all(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.source.write_text("text")
    during(monkeypatch, "read", bench.source.unlink)
    assert bench.copy() is Copied.CHANGED
    assert bench.left() == []


@pytest.mark.parametrize("call", ["open", "read"])
def test_a_file_that_cannot_be_read_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    bench.source.write_text("text")

    def fail(*arguments: object, **keywords: object) -> None:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OpExecError, match="source/name cannot be read: Permission denied; put that right"):
        bench.copy()
    monkeypatch.undo()
    assert bench.left() == []


@pytest.mark.parametrize("call", ["write", "fsync", "rename", "fchmod", "ftruncate"])
def test_a_full_disk_is_told_with_the_file_and_leaves_nothing_half(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    bench.source.write_text("text")
    bench.target.write_text("former")

    def fail(*arguments: object, **keywords: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OpExecError, match="target/name cannot be written: No space left on device"):
        bench.copy()
    monkeypatch.undo()
    assert bench.left() == ["name"]
    assert bench.target.read_text() == "former"


def test_short_writes_are_continued(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.source.write_bytes(bytes(range(256)) * 10)
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:100]))
    assert bench.copy() is Copied.SETTLED
    assert bench.target.read_bytes() == bench.source.read_bytes()


def test_holes_stay_holes(bench: Bench) -> None:
    with open(bench.source, "wb") as file:
        file.write(b"begin")
        file.truncate(8 << 20)
        file.seek(4 << 20)
        file.write(b"middle")
    assert bench.copy() is Copied.SETTLED
    assert bench.target.read_bytes() == bench.source.read_bytes()
    assert bench.target.stat().st_blocks * 512 < 2 << 20


def test_a_file_that_says_a_wrong_size_is_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.source.write_text("text")
    real = os.read
    monkeypatch.setattr(os, "read", lambda descriptor, size: real(descriptor, size)[:3])
    with pytest.raises(OpExecError, match="source/name says that it has 4 bytes, but 3 came"):
        bench.copy()
    assert bench.left() == []


def test_a_time_that_the_target_cannot_keep_is_learned(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.source.write_text("text")
    os.utime(bench.source, ns=(1, 1_234_567_891))
    real = os.utime

    def coarse(path: int, *, ns: tuple[int, int]) -> None:
        real(path, ns=(ns[0], ns[1] // 1_000 * 1_000))

    monkeypatch.setattr(os, "utime", coarse)
    with bench.rig.trees() as (source, target):
        by = rules()
        FileCopier(bench.ctx, source, target, by, Meter(bench.ctx)).copy(bench.place, "name", bench.make_way)
    assert by.time_step == 1_000


# Files that changed just now


def test_a_file_that_changed_just_now_is_given_a_tick_and_then_copied(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [True, False]
    monkeypatch.setattr(treecopy, "is_fresh", lambda state: answers.pop(0))
    bench.source.write_text("text")
    assert bench.copy() is Copied.SETTLED
    assert bench.ctx.slept == [treecopy.TICK]


def test_a_file_that_changes_all_the_time_is_copied_and_not_trusted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(treecopy, "is_fresh", lambda state: True)
    bench.source.write_text("text")
    assert bench.copy() is Copied.FRESH
    assert bench.target.read_text() == "text"
    assert bench.compare() is Copied.FRESH


@pytest.mark.parametrize(
    ("ctime", "now", "expected"),
    [
        (5_000_000_001, 5_000_000_001, True),
        (5_000_000_001, 5_019_000_001, True),
        (5_000_000_001, 5_021_000_001, False),
        (5_000_000_001, 4_999_000_001, True),
        (5_000_000_001, 4_900_000_000, False),
        (5_000_000_000, 6_900_000_000, True),
        (5_000_000_000, 7_100_000_000, False),
    ],
)
def test_a_file_is_fresh_for_a_tick_of_its_file_system(
    monkeypatch: pytest.MonkeyPatch, ctime: int, now: int, expected: bool
) -> None:
    monkeypatch.setattr("time.time_ns", lambda: now)
    assert is_fresh(os.stat_result((0,) * 10, {"st_ctime_ns": ctime})) is expected


# Comparing


def test_content_is_compared_to_the_last_byte(bench: Bench) -> None:
    bench.source.write_bytes(b"x" * (2 * CHUNK + 1))
    bench.target.write_bytes(b"x" * (2 * CHUNK + 1))
    assert bench.compare() is Copied.SETTLED
    bench.target.write_bytes(b"x" * (2 * CHUNK) + b"y")
    assert bench.compare() is Copied.CHANGED
    bench.target.write_bytes(b"x" * (2 * CHUNK))
    assert bench.compare() is Copied.CHANGED


def test_a_comparison_can_be_cancelled_at_every_piece(bench: Bench) -> None:
    bench.ctx = Context(bench.rig.clock, stop_at=2)
    bench.source.write_bytes(b"x" * (2 * CHUNK))
    bench.target.write_bytes(b"x" * (2 * CHUNK))
    with pytest.raises(JobCanceled):
        bench.compare()


# The meter


def test_the_total_is_never_nothing_and_never_less_than_what_is_done() -> None:
    ctx = FakeContext()
    meter = Meter(ctx)
    meter.settle("idle")
    meter.expect(10)
    meter.begin(10)
    meter.moved(6)
    meter.moved(6)
    meter.begin(5)
    meter.moved(5)
    meter.settle("idle")
    assert [progress[:2] for progress in ctx.progressed] == [(1, 1), (6, 10), (12, 12), (17, 17), (17, 17)]


def test_expected_bytes_count_once() -> None:
    meter = Meter(FakeContext())
    meter.expect(10)
    meter.begin(6)
    meter.begin(6)
    assert meter.total == 12


def test_what_was_copied_is_paid_for_once() -> None:
    ctx = FakeContext()
    meter = Meter(ctx)
    meter.moved(3)
    meter.moved(4)
    meter.pay()
    meter.pay()
    assert ctx.throttled == [7]
