from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from jqueue.errors import JobCanceled, OpPrereqError
from jqueue.opcodes.base import COMPLETE, EXCLUSIVE, LEAVE, SHARED, LockSpec, OpCode, OpContext, param
from jqueue.opcodes.fake import FakeContext


class OpCopy(OpCode):
    OP_ID = "OP_COPY"
    summary_parameter = "source"

    source: str = param("what to read")
    names: list[str] = param("which", default_factory=list)

    def locks(self) -> LockSpec:
        return {"file": {self.source: SHARED}}

    def exec(self, ctx: OpContext) -> None:
        ctx.log(self.source)


class OpFlip(OpCopy):
    OP_ID = "OP_FLIP"
    summary_parameter = "names"

    def commit(self, ctx: OpContext) -> None:
        ctx.log("flip")

    def declare_locks(self, ctx: OpContext) -> LockSpec:
        return {"file": dict.fromkeys(self.names, SHARED)}


class OpBadLocks(OpCopy):
    OP_ID = "OP_BAD_LOCKS"

    def locks(self) -> LockSpec:
        if self.source == "raise":
            raise KeyError("oops")
        return {"fiel": {"a": SHARED}}


def test_to_dict_gives_what_was_given_and_no_defaults() -> None:
    assert OpCopy.from_dict({"OP_ID": "OP_COPY", "source": "/a"}).to_dict() == {"OP_ID": "OP_COPY", "source": "/a"}


def test_one_can_be_made_from_python_and_is_checked() -> None:
    assert OpCopy(source="/a").to_dict() == {"OP_ID": "OP_COPY", "source": "/a"}
    with pytest.raises(OpPrereqError, match="OP_COPY.source: text expected, got 7"):
        OpCopy(source=7)


def test_a_dry_run_of_one_that_would_run_for_real_is_refused() -> None:
    class OpCareful(OpCopy):
        OP_ID = "OP_CAREFUL"
        supports_dry_run = True

    assert OpCareful.from_dict({"source": "/a", "dry_run": True}).dry_run
    assert not OpCopy.from_dict({"source": "/a", "dry_run": False}).dry_run
    for make in (OpCopy.from_dict, OpCopy.restore):
        with pytest.raises(OpPrereqError, match=r"ops\[3\].dry_run: OP_COPY has no dry run, it would run for real"):
            make({"source": "/a", "dry_run": True}, "ops[3]")


def test_it_survives_being_stored() -> None:
    op = OpCopy.from_dict({"source": "/a", "names": ["x"], "locks": {"node": "shared"}})
    restored = OpCopy.restore(op.to_dict())
    assert (restored.to_dict(), restored.all_locks()) == (op.to_dict(), op.all_locks())


def test_a_map_of_another_opcode_is_refused() -> None:
    with pytest.raises(OpPrereqError, match='OP_COPY expected, got "OP_X"'):
        OpCopy.from_dict({"OP_ID": "OP_X", "source": "/a"})


def test_something_that_is_no_map_is_refused() -> None:
    with pytest.raises(OpPrereqError, match=r"ops\[3\]: map expected, got null"):
        OpCopy.from_dict(None, "ops[3]")


def test_the_summary_has_the_descriptive_parameter() -> None:
    assert OpCopy(source="/a").summary() == "COPY(/a)"
    assert OpFlip(source="/a", names=["x", "y"]).summary() == "FLIP(x,y)"


def test_callbacks_and_dynamic_locks_are_told_from_the_class() -> None:
    assert (OpCopy.has_callbacks(), OpCopy.has_dynamic_locks()) == (False, False)
    assert (OpFlip.has_callbacks(), OpFlip.has_dynamic_locks()) == (True, True)


def test_the_locks_parameter_is_added_and_the_stronger_mode_wins() -> None:
    op = OpCopy(source="/nonexistent/a", locks={"file": {"/nonexistent/a": EXCLUSIVE}, "resource": {"r": 2}})
    assert op.all_locks() == {"file": {"/nonexistent/a": EXCLUSIVE}, "resource": {"r": 2}}


def test_path_names_of_locks_are_looked_up_at_submission_only(tmp_path: Path) -> None:
    real = tmp_path.resolve()
    link = real / "link"
    link.symlink_to("data")
    op = OpCopy.from_dict({"source": str(link)})
    link.unlink()
    link.symlink_to("other")
    assert op.source == str(link)
    assert OpCopy.restore(op.to_dict()).all_locks() == {"file": {f"{real}/data": SHARED}}


def test_what_a_client_says_paths_stand_for_is_not_believed() -> None:
    op = OpCopy.from_dict({"source": "/nonexistent/a", "lock_paths": {"/nonexistent/a": "/b"}})
    assert op.all_locks() == {"file": {"/nonexistent/a": SHARED}}
    assert "lock_paths" not in op.to_dict()


def test_path_names_of_dynamic_locks_are_looked_up_when_they_are_declared(tmp_path: Path) -> None:
    real = tmp_path.resolve()
    (real / "link").symlink_to("data")
    op = OpFlip(source="/nonexistent/a", names=[f"{real}/link"])
    assert op.dynamic_locks(FakeContext()) == {"file": {f"{real}/data": SHARED}}


@pytest.mark.parametrize(
    ("source", "text"),
    [("raise", "OP_BAD_LOCKS cannot tell its locks: KeyError"), ("a", r"locks\(\).fiel: unknown lock level")],
)
def test_an_opcode_that_cannot_tell_its_locks_is_refused_at_submission(source: str, text: str) -> None:
    with pytest.raises(OpPrereqError, match=text):
        OpBadLocks.from_dict({"source": source})


def test_a_class_without_exec_cannot_be_made() -> None:
    class OpLazy(OpCode):
        OP_ID = "OP_LAZY"

    with pytest.raises(TypeError, match="exec"):
        cast(type[OpCode], OpLazy)()


def test_an_opcode_comes_to_its_end_by_itself_unless_it_says_otherwise() -> None:
    assert not OpCopy(source="/a").converges()


def test_the_fake_context_is_told_as_its_script_says_and_then_to_complete() -> None:
    ctx = FakeContext(told=[None, LEAVE])
    assert [ctx.ready(), ctx.ready(seconds=1, descriptor=2), ctx.ready()] == [None, LEAVE, COMPLETE]
    assert ctx.readied == [(None, None), (1, 2), (None, None)]


def test_the_fake_context_may_be_cancelled_while_it_is_ready() -> None:
    with pytest.raises(JobCanceled):
        FakeContext(stop_at=1).ready()
