from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from jqueue.errors import JobCanceled, OpExecError, OpPrereqError
from jqueue.opcodes.copyfile import OpCopyFile
from jqueue.opcodes.fake import FakeContext

DATA = os.urandom(700_000)


@pytest.fixture
def op(tmp_path: Path) -> OpCopyFile:
    (tmp_path / "source").write_bytes(DATA)
    (tmp_path / "out").mkdir()
    return OpCopyFile(source=str(tmp_path / "source"), target=str(tmp_path / "out" / "target"))


def files(op: OpCopyFile) -> list[str]:
    return sorted(os.listdir(os.path.dirname(op.target)))


def test_the_target_appears_with_commit_and_not_before(op: OpCopyFile) -> None:
    ctx = FakeContext()
    result = op.exec(ctx)
    (partial,) = files(op)
    assert partial.startswith(".jqueue-1.0-")
    op.prepare(ctx)
    op.commit(ctx)
    assert result == {"bytes": len(DATA), "sha256": hashlib.sha256(DATA).hexdigest()}
    assert files(op) == ["target"]
    assert Path(op.target).read_bytes() == DATA


def test_every_chunk_but_the_last_is_paid_for(op: OpCopyFile) -> None:
    ctx = FakeContext()
    op.exec(ctx)
    assert ctx.throttled == [256 << 10, 256 << 10]


def test_progress_grows_to_the_total_over_copying_and_verifying(op: OpCopyFile) -> None:
    ctx = FakeContext()
    op.exec(ctx)
    done = [progress[0] for progress in ctx.progressed]
    assert done == sorted(done)
    assert ctx.progressed[-1] == (2 * len(DATA), 2 * len(DATA), "verifying")


def test_an_empty_file_is_copied(op: OpCopyFile) -> None:
    Path(op.source).write_bytes(b"")
    ctx = FakeContext()
    assert op.exec(ctx) == {"bytes": 0, "sha256": hashlib.sha256(b"").hexdigest()}
    op.commit(ctx)
    assert Path(op.target).read_bytes() == b""


def test_the_permissions_are_copied(op: OpCopyFile) -> None:
    os.chmod(op.source, 0o640)
    ctx = FakeContext()
    op.exec(ctx)
    op.commit(ctx)
    assert os.stat(op.target).st_mode & 0o7777 == 0o640


@pytest.mark.parametrize("stop_at", [1, 2, 3, 4, 6])
def test_a_cancel_is_obeyed_at_each_chunk_and_abort_removes_the_partial_file(op: OpCopyFile, stop_at: int) -> None:
    ctx = FakeContext(stop_at=stop_at)
    with pytest.raises(JobCanceled):
        op.exec(ctx)
    assert len(files(op)) == 1
    op.abort(ctx)
    op.abort(ctx)
    assert files(op) == []


def test_callbacks_without_exec_do_nothing(op: OpCopyFile) -> None:
    ctx = FakeContext()
    op.prepare(ctx)
    op.commit(ctx)
    op.abort(ctx)
    assert files(op) == []


def test_commit_may_run_again_after_it_was_done(op: OpCopyFile) -> None:
    ctx = FakeContext()
    op.exec(ctx)
    op.commit(ctx)
    op.commit(ctx)
    assert files(op) == ["target"]


def test_commit_goes_on_where_a_crash_left_it(op: OpCopyFile) -> None:
    ctx = FakeContext()
    op.exec(ctx)
    os.link(ctx.saved["partial"], op.target)
    op.commit(ctx)
    assert files(op) == ["target"]


def test_commit_never_overwrites(op: OpCopyFile) -> None:
    ctx = FakeContext()
    op.exec(ctx)
    Path(op.target).write_text("another")
    with pytest.raises(OpExecError, match="File exists"):
        op.commit(ctx)
    assert Path(op.target).read_text() == "another"


def test_commit_says_when_the_copy_is_gone(op: OpCopyFile) -> None:
    ctx = FakeContext()
    op.exec(ctx)
    os.unlink(ctx.saved["partial"])
    with pytest.raises(OpExecError, match="is gone"):
        op.commit(ctx)


@pytest.mark.parametrize("existing", [False, True])
def test_without_hard_links_it_is_renamed_over_nothing(
    op: OpCopyFile, monkeypatch: pytest.MonkeyPatch, existing: bool
) -> None:
    def link(source: str, target: str) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM), source)

    ctx = FakeContext()
    op.exec(ctx)
    monkeypatch.setattr(os, "link", link)
    if existing:
        Path(op.target).write_text("another")
        with pytest.raises(OpExecError, match="File exists"):
            op.commit(ctx)
        assert Path(op.target).read_text() == "another"
    else:
        op.commit(ctx)
        assert files(op) == ["target"]
        assert Path(op.target).read_bytes() == DATA


def test_an_existing_target_is_refused_before_anything_is_written(op: OpCopyFile) -> None:
    os.symlink("dangling", op.target)
    with pytest.raises(OpExecError, match="exists already"):
        op.exec(FakeContext())
    assert files(op) == ["target"]


def test_a_target_that_appeared_meanwhile_is_refused_by_prepare(op: OpCopyFile) -> None:
    ctx = FakeContext()
    op.exec(ctx)
    Path(op.target).write_text("another")
    with pytest.raises(OpExecError, match="exists already"):
        op.prepare(ctx)


def test_a_source_that_changed_after_copying_is_refused_by_prepare(op: OpCopyFile) -> None:
    ctx = FakeContext()
    op.exec(ctx)
    Path(op.source).write_bytes(DATA + b"more")
    with pytest.raises(OpExecError, match="was changed after it was copied"):
        op.prepare(ctx)


def test_a_source_that_grows_while_it_is_copied_is_refused(op: OpCopyFile) -> None:
    class Growing(FakeContext):
        def throttle(self, n: int) -> None:
            with open(op.source, "ab") as source:
                source.write(b"x")

    with pytest.raises(OpExecError, match="was changed while it was copied"):
        op.exec(Growing())


def test_a_copy_that_reads_back_differently_is_an_error(op: OpCopyFile) -> None:
    class Flipping(FakeContext):
        def progress(self, done: int, total: int, text: str = "") -> None:
            if text == "copying" and done == len(DATA):
                with open(self.saved["partial"], "r+b") as copy:
                    copy.write(bytes([DATA[0] ^ 1]))

    with pytest.raises(OpExecError, match="differs from what was written"):
        op.exec(Flipping())


def test_a_source_that_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for source in ("fifo", ""):
        op = OpCopyFile(source=str(tmp_path / source), target=str(tmp_path / "target"))
        with pytest.raises(OpExecError, match="is not a regular file"):
            op.exec(FakeContext())


def test_a_missing_source_is_named(tmp_path: Path) -> None:
    op = OpCopyFile(source=str(tmp_path / "none"), target=str(tmp_path / "target"))
    with pytest.raises(OpExecError, match="No such file or directory"):
        op.exec(FakeContext())


def test_a_dry_run_writes_nothing(op: OpCopyFile) -> None:
    ctx = FakeContext(dry_run=True)
    assert op.exec(ctx) == {"bytes": len(DATA), "sha256": None}
    op.prepare(ctx)
    op.commit(ctx)
    assert files(op) == []


def test_the_locks_are_shared_for_the_source_and_exclusive_for_the_target(op: OpCopyFile) -> None:
    assert op.all_locks() == {"file": {os.path.realpath(op.source): "shared", os.path.realpath(op.target): "exclusive"}}


def test_speed_is_where_it_starts() -> None:
    assert OpCopyFile(source="/a", target="/b", speed=5).start_speed() == 5


@pytest.mark.parametrize("parameters", [{"source": "a"}, {"target": "b"}, {"target": "/b/"}, {"speed": -1}])
def test_bad_parameters_are_refused(parameters: dict[str, object]) -> None:
    with pytest.raises(OpPrereqError, match="expected, got"):
        OpCopyFile.from_dict({"source": "/a", "target": "/b", **parameters})
