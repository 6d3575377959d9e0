"""Opcodes are tested without a queue: `FakeContext` does nothing, at once, and remembers what it was asked."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path

import pytest
from site_opcodes import OpListChecksums, OpWaitForPort

from jqueue.errors import JobCanceled, OpPrereqError
from jqueue.opcodes.fake import FakeContext


@pytest.fixture
def op(tmp_path: Path) -> OpListChecksums:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "one").write_bytes(b"1")
    (tmp_path / "data" / "two.tmp").write_bytes(b"22")
    return OpListChecksums(directory=str(tmp_path / "data"), target=str(tmp_path / "list"), skip=[".tmp"])


def test_the_list_appears_with_commit(op: OpListChecksums) -> None:
    ctx = FakeContext()
    assert op.exec(ctx) == {"files": 1, "bytes": 1}
    assert not Path(op.target).exists()
    op.prepare(ctx)
    op.commit(ctx)
    op.commit(ctx)
    assert Path(op.target).read_text() == f"{hashlib.sha256(b'1').hexdigest()}  {op.directory}/one\n"


def test_a_cancelled_one_leaves_nothing(op: OpListChecksums, tmp_path: Path) -> None:
    ctx = FakeContext(stop_at=1)
    with pytest.raises(JobCanceled):
        op.exec(ctx)
    op.abort(ctx)
    op.abort(ctx)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_bad_parameters_are_refused_at_submission() -> None:
    with pytest.raises(OpPrereqError, match='algorithm: one of "sha256", "sha512" expected, got "md5"'):
        OpListChecksums.from_dict({"directory": "/a", "target": "/b", "algorithm": "md5"})


def test_waiting_ends_when_the_port_answers() -> None:
    with socket.create_server(("localhost", 0)) as server:
        assert OpWaitForPort(port=server.getsockname()[1]).exec(FakeContext()) == 1


def test_waiting_can_be_cancelled() -> None:
    with socket.socket() as unused:
        unused.bind(("localhost", 0))
        ctx = FakeContext(stop_at=3)
        with pytest.raises(JobCanceled):
            OpWaitForPort(port=unused.getsockname()[1], interval=0.5).exec(ctx)
    assert ctx.slept == [0.5, 0.5, 0.5]
