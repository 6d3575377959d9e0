"""Opcodes that do as they are told; what they did is in the log of their job."""

from __future__ import annotations

from typing import Any, TypeVar

from jqueue.errors import JobCanceled, OpExecError
from jqueue.opcodes.base import LockSpec, OpCode, OpContext, param

T = TypeVar("T")


class Unspeakable(Exception):
    """An error of an author who has made another one."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


class Work(OpCode):
    """Does as it is told; each thing it does is a line of the job's log."""

    OP_ID = "OP_WORK"
    stoppable = True

    result: Any = param("what to answer", default=None)
    fails: list[str] = param("which of its methods fail", default_factory=list)
    fails_until: int = param("attempts whose exec fails", default=0)
    saves: Any = param("what to save before it ends", default=None)
    children: list[Any] = param("jobs to submit", default_factory=list)
    declares: dict[str, Any] = param("what declare_locks gives", default_factory=dict)
    looks: bool = param("whether it looks if it is to stop or to pause", default=True)
    undo_looks: bool = param("whether abort and commit look if they are to stop or to pause", default=False)
    prepare_looks: bool = param("whether prepare does", default=False)
    speed: int = param("the speed to start with; a negative one is a mistake of the author", default=0)

    def _do(self, ctx: OpContext, name: str) -> None:
        ctx.log(name)
        if name in self.fails:
            raise OpExecError(f"{name} was told to fail")

    def start_speed(self) -> int:
        if self.speed < 0:
            raise ZeroDivisionError("a mistake in an opcode")
        return self.speed

    def exec(self, ctx: OpContext) -> object:
        if self.looks:
            ctx.checkpoint()
        if self.saves is not None:
            ctx.saved["state"] = self.saves
        found = ctx.submit(self.children) if self.children else None
        self._do(ctx, "exec")
        if "unspeakable" in self.fails:
            raise Unspeakable
        if ctx.attempt <= self.fails_until:
            raise OpExecError(f"attempt {ctx.attempt} was told to fail")
        result: object = self.result if found is None else found
        return result


class Stubborn(Work):
    """Does not look whether it is to stop."""

    OP_ID = "OP_STUBBORN"
    stoppable = False


class Again(Work):
    """May be run again after a crash."""

    OP_ID = "OP_AGAIN"
    restartable = True


class Undo(Work):
    """Has something to prepare, commit and abort."""

    OP_ID = "OP_UNDO"

    def prepare(self, ctx: OpContext) -> None:
        if self.prepare_looks:
            ctx.checkpoint()
        self._do(ctx, "prepare")

    def commit(self, ctx: OpContext) -> None:
        if self.undo_looks:
            ctx.checkpoint()
        self._do(ctx, f"commit attempt {ctx.attempt}" if "commit" not in self.fails else "commit")

    def abort(self, ctx: OpContext) -> None:
        if self.undo_looks:
            ctx.checkpoint()
        self._do(ctx, f"abort attempt {ctx.attempt}" if "abort" not in self.fails else "abort")


class UndoAgain(Undo):
    """Both."""

    OP_ID = "OP_UNDO_AGAIN"
    restartable = True


class Declare(Work):
    """Learns which locks it needs from a look at the world."""

    OP_ID = "OP_DECLARE"

    def declare_locks(self, ctx: OpContext) -> LockSpec:
        if self.looks:
            ctx.checkpoint()
        self._do(ctx, "declare")
        if "declare by cancel" in self.fails:
            raise JobCanceled
        return self.declares


class DeclareUndo(Declare, Undo):
    """Both."""

    OP_ID = "OP_DECLARE_UNDO"


class Converge(Undo):
    """Converges, and answers how it was told to come to its end."""

    OP_ID = "OP_CONVERGE"

    def converges(self) -> bool:
        return True

    def exec(self, ctx: OpContext) -> object:
        ctx.checkpoint()
        told = ctx.ready()
        super().exec(ctx)
        return told


class ConvergeAgain(Converge):
    """Does so again after a crash."""

    OP_ID = "OP_CONVERGE_AGAIN"
    restartable = True


class ConvergeForEver(Converge):
    """A mistake of its author's: nobody could end it."""

    OP_ID = "OP_CONVERGE_FOR_EVER"
    stoppable = False


OPCODES = (Work, Stubborn, Again, Undo, UndoAgain, Declare, DeclareUndo, Converge, ConvergeAgain, ConvergeForEver)


def op(op_id: str = "OP_WORK", **parameters: object) -> dict[str, object]:
    """Describes an opcode."""
    return {"OP_ID": op_id, **parameters}


def locked(name: str = "a", mode: object = "exclusive", op_id: str = "OP_WORK", **more: object) -> dict[str, object]:
    """Describes an opcode that needs a lock of the level `resource`."""
    return op(op_id, locks={"resource": {name: mode}}, **more)
