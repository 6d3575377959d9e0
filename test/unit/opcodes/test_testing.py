from __future__ import annotations

import socket
from typing import Any

import pytest

from jqueue.errors import JobCanceled, OpExecError, OpPrereqError
from jqueue.opcodes import testing
from jqueue.opcodes.fake import FakeContext
from jqueue.opcodes.testing import OpTestDelay, OpTestDummy, OpTestJqueue


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
