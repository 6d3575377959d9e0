from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import pytest

from jqueue.errors import JobCanceled, OpExecError, OpPrereqError
from jqueue.opcodes import testing
from jqueue.opcodes.base import COMPLETE, LEAVE, OpCode
from jqueue.opcodes.fake import FakeContext
from jqueue.opcodes.testing import OpTestDelay, OpTestDummy, OpTestJqueue, OpTestLifecycle


def test_delay_sleeps_once_without_repeat() -> None:
    ctx = FakeContext()
    OpTestDelay(duration=1.5).exec(ctx)
    assert (ctx.slept, ctx.logged) == ([1.5], [])


def test_delay_repeats_with_a_line_each() -> None:
    ctx = FakeContext()
    OpTestDelay(duration=1, repeat=2).exec(ctx)
    assert (ctx.slept, len(ctx.logged)) == ([1, 1], 2)


def test_delay_can_be_cancelled() -> None:
    with pytest.raises(JobCanceled):
        OpTestDelay(duration=1).exec(FakeContext(stop_at=1))
    assert OpTestDelay.stoppable


def test_delay_takes_what_ganetis_client_sends() -> None:
    op = OpTestDelay.from_dict(
        {
            "OP_ID": "OP_TEST_DELAY",
            "duration": 2.5,
            "on_master": True,
            "on_nodes": ["a", "b"],
            "on_node_uuids": None,
            "repeat": 0,
            "interruptible": False,
            "no_locks": False,
            "priority": 0,
            "dry_run": None,
            "debug_level": 0,
            "comment": None,
            "depends": None,
            "reason": [["gnt:client:gnt-debug", "delay", 1]],
        }
    )
    assert op.all_locks() == {"node": {"a": "exclusive", "b": "exclusive"}}
    assert op.summary() == "TEST_DELAY(2.5)"


def test_delay_takes_no_locks_when_told_so() -> None:
    assert OpTestDelay(duration=0, on_nodes=["a"], no_locks=True).all_locks() == {}


def test_a_negative_delay_is_refused() -> None:
    with pytest.raises(OpPrereqError, match="duration: at least 0 expected, got -1"):
        OpTestDelay(duration=-1)


def test_dummy_answers_what_it_was_told() -> None:
    ctx = FakeContext()
    assert OpTestDummy(result={"a": [1]}, messages=["one", 2]).exec(ctx) == {"a": [1]}
    assert ctx.logged == [("message", "one"), ("message", "2")]


def test_dummy_fails_after_its_messages() -> None:
    ctx = FakeContext()
    with pytest.raises(OpExecError, match="told to fail"):
        OpTestDummy(messages="one", fail=True).exec(ctx)
    assert ctx.logged == [("message", "one")]


def test_dummy_submits_children_and_answers_their_ids() -> None:
    ctx = FakeContext()
    jobs = [[{"OP_ID": "OP_TEST_DUMMY"}], [{"OP_ID": "OP_TEST_DUMMY"}]]
    assert OpTestDummy(submit_jobs=jobs, result=1).exec(ctx) == {"result": 1, "jobs": [[True, 2], [True, 3]]}
    assert ctx.submitted == jobs


def test_jqueue_without_notifications_logs_nothing_and_succeeds() -> None:
    ctx = FakeContext()
    op = OpTestJqueue()
    assert op.declare_locks(ctx) == {}
    assert op.exec(ctx) is True
    assert ctx.logged == []


def test_jqueue_fails_when_told_so() -> None:
    with pytest.raises(OpExecError, match="told to fail"):
        OpTestJqueue(fail=True).exec(FakeContext())


class TestClient(FakeContext):
    """Connects to each socket it is told about, and hangs up."""

    __test__ = False

    def log(self, message: Any, type: str = "message") -> None:
        if type == "jqueue-test":
            path, test, argument = message
            message = [test, argument]
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
                client.connect(path)
        super().log(message, type)


def test_jqueue_tells_each_step_in_order_and_waits_for_the_client() -> None:
    ctx = TestClient()
    op = OpTestJqueue(notify_waitlock=True, notify_exec=True, log_messages=["a", "b"])
    op.declare_locks(ctx)
    assert op.exec(ctx) is True
    assert ctx.logged == [
        ("jqueue-test", ["expandnames", None]),
        ("jqueue-test", ["exec", None]),
        ("jqueue-test", ["startmsg", 2]),
        ("message", "TESTMSG=a"),
        ("jqueue-test", ["logmsg", 1]),
        ("message", "TESTMSG=b"),
        ("jqueue-test", ["logmsg", 2]),
    ]


def test_jqueue_fails_when_no_client_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testing, "_ACCEPT_SECONDS", 0.001)
    with pytest.raises(OpExecError, match="No test client connected"):
        OpTestJqueue(notify_exec=True).exec(FakeContext())


def test_a_dry_run_of_a_dummy_submits_nothing() -> None:
    ctx = FakeContext(dry_run=True)
    assert OpTestDummy(submit_jobs=[[{"OP_ID": "OP_TEST_DUMMY"}]], result=3, dry_run=True).exec(ctx) == 3
    assert ctx.submitted == []


def test_lifecycle_reports_each_piece_and_pays_for_all_but_the_last() -> None:
    ctx = FakeContext()
    assert OpTestLifecycle(chunks=3, chunk_size=10).exec(ctx) == {"told": None}
    assert [progress[:2] for progress in ctx.progressed] == [(10, 30), (20, 30), (30, 30)]
    assert ctx.throttled == [10, 10]
    assert ctx.checkpoints == 3
    assert ctx.readied == []


def test_lifecycle_pays_for_the_last_piece_when_told_so() -> None:
    ctx = FakeContext()
    OpTestLifecycle(chunks=2, chunk_size=10, pay_last=True).exec(ctx)
    assert ctx.throttled == [10, 10]


def test_lifecycle_without_pieces_does_nothing() -> None:
    ctx = FakeContext()
    assert OpTestLifecycle(chunks=0).exec(ctx) == {"told": None}
    assert (ctx.progressed, ctx.checkpoints) == ([], 0)


@pytest.mark.parametrize("told", [COMPLETE, LEAVE])
def test_lifecycle_is_ready_until_it_is_told(told: str) -> None:
    op = OpTestLifecycle(converges=True)
    ctx = FakeContext(told=[None, told])
    assert op.exec(ctx) == {"told": told}
    assert ctx.readied == [(None, None)] * 2
    assert op.converges() and not OpTestLifecycle().converges()


@pytest.mark.parametrize("stop_at", [1, 2, 3])
def test_lifecycle_can_be_cancelled_at_each_piece_and_while_it_is_ready(stop_at: int) -> None:
    with pytest.raises(JobCanceled):
        OpTestLifecycle(chunks=2, converges=True).exec(FakeContext(stop_at=stop_at))
    assert OpTestLifecycle.stoppable and not OpTestLifecycle.restartable


def test_lifecycle_is_deaf_while_it_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[object] = []

    class Listening(FakeContext):
        def progress(self, done: int, total: int, text: str = "") -> None:
            order.append(done)

        def checkpoint(self) -> None:
            order.append("checkpoint")

    monkeypatch.setattr(time, "sleep", order.append)
    OpTestLifecycle(chunks=2, chunk_size=1, busy=0.5).exec(Listening())
    assert order == [0.5, 1, "checkpoint", 0.5, 2, "checkpoint"]


def run(op: OpCode, ctx: FakeContext, method: str) -> None:
    getattr(op, method)(ctx)


@pytest.mark.parametrize("method", ["exec", "prepare", "commit", "abort"])
def test_lifecycle_fails_where_it_is_told_to(method: str) -> None:
    op = OpTestLifecycle(fails=[method])
    for each in ("exec", "prepare", "commit", "abort"):
        if each == method:
            with pytest.raises(OpExecError, match=f"told to fail in {method}"):
                run(op, FakeContext(), each)
        else:
            run(op, FakeContext(), each)


def test_lifecycle_fails_only_after_its_pieces_and_after_it_was_ready() -> None:
    ctx = FakeContext()
    with pytest.raises(OpExecError):
        OpTestLifecycle(chunks=2, converges=True, fails=["exec"]).exec(ctx)
    assert len(ctx.progressed) == 2
    assert len(ctx.readied) == 1


def test_lifecycle_notes_every_method_before_it_fails(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    op = OpTestLifecycle(notes=str(notes), fails=["abort"])
    for method in ("exec", "prepare", "commit"):
        run(op, FakeContext(), method)
    with pytest.raises(OpExecError, match="told to fail"):
        op.abort(FakeContext())
    assert notes.read_text() == "1.0 exec\n1.0 prepare\n1.0 commit\n1.0 abort\n"


def test_lifecycle_says_when_its_notes_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OpExecError, match="cannot be written: No such file or directory"):
        OpTestLifecycle(notes=str(tmp_path / "none" / "notes")).exec(FakeContext())


def test_lifecycle_starts_at_its_speed() -> None:
    assert OpTestLifecycle(speed=5).start_speed() == 5


@pytest.mark.parametrize(
    "parameters",
    [{"chunks": -1}, {"chunk_size": 0}, {"speed": -1}, {"busy": -1}, {"fails": ["run"]}, {"notes": "relative"}],
)
def test_lifecycle_refuses_bad_parameters(parameters: dict[str, object]) -> None:
    with pytest.raises(OpPrereqError, match="expected, got"):
        OpTestLifecycle.from_dict(parameters)
