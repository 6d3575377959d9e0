"""Opcodes that show a test what the scheduler does with them: each notes what is called in a file of the test.

A daemon loads them with the setting `opcodes: {modules: [probing]}`.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from jqueue.errors import OpExecError
from jqueue.opcodes.base import EXCLUSIVE, LockSpec, OpCode, OpContext, param


def note(path: str, line: str) -> None:
    """Appends a line to a file of the test."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def wait_for(ctx: OpContext, path: str | None) -> None:
    """Sleeps until a file exists."""
    while path is not None and not os.path.exists(path):
        ctx.sleep(0.02)


class OpDeclare(OpCode):
    """Takes the locks whose names are in a file at the time."""

    OP_ID = "OP_DECLARE"
    stoppable = True

    trace: str = param("file to append notes to")
    names: str = param("file with names of resource locks")
    own: str | None = param("name of a resource lock taken without a look", default=None)
    until: str | None = param("file whose existence ends it", default=None)

    def locks(self) -> LockSpec:
        """See `OpCode.locks`."""
        return {"resource": {self.own: EXCLUSIVE}} if self.own is not None else {}

    def declare_locks(self, ctx: OpContext) -> LockSpec:
        """See `OpCode.declare_locks`."""
        with open(self.names, encoding="utf-8") as file:
            names = file.read().split()
        note(self.trace, f"declare {ctx.job_id} {' '.join(names)}")
        return {"resource": dict.fromkeys(names, EXCLUSIVE)}

    def exec(self, ctx: OpContext) -> None:
        """See `OpCode.exec`."""
        note(self.trace, f"exec {ctx.job_id}")
        wait_for(ctx, self.until)


class OpCallbacks(OpCode):
    """Notes which of its methods are called; cannot be stopped."""

    OP_ID = "OP_CALLBACKS"

    trace: str = param("file to append notes to")
    fail_in: list[str] = param("methods that raise", default_factory=list)
    attempts: int = param("the attempt from which on exec succeeds", default=1)
    until: str | None = param("file whose existence ends exec", default=None)

    def exec(self, ctx: OpContext) -> str:
        """See `OpCode.exec`."""
        self._called(ctx, "exec")
        wait_for(ctx, self.until)
        if ctx.attempt < self.attempts:
            raise OpExecError(f"attempt {ctx.attempt} fails")
        return "done"

    def prepare(self, ctx: OpContext) -> None:
        """See `OpCode.prepare`."""
        self._called(ctx, "prepare")

    def commit(self, ctx: OpContext) -> None:
        """See `OpCode.commit`."""
        self._called(ctx, "commit")

    def abort(self, ctx: OpContext) -> None:
        """See `OpCode.abort`."""
        self._called(ctx, "abort")

    def _called(self, ctx: OpContext, method: str) -> None:
        note(self.trace, f"{ctx.op_index} {method}")
        if method in self.fail_in:
            raise OpExecError(f"{method} was told to fail")


class OpStoppableCallbacks(OpCallbacks):
    """The same, but can be stopped, and run again after the daemon has died."""

    OP_ID = "OP_STOPPABLE_CALLBACKS"
    stoppable = True
    restartable = True


class OpParent(OpCode):
    """Submits children, notes their ids, and waits."""

    OP_ID = "OP_PARENT"
    stoppable = True
    restartable = True

    trace: str = param("file to append notes to")
    children: int = param("how many calls with two jobs each", default=1)
    until: str | None = param("file whose existence ends it", default=None)

    def exec(self, ctx: OpContext) -> list[int]:
        """See `OpCode.exec`."""
        ids: list[int] = []
        for number in range(self.children):
            ids += ctx.submit([[{"OP_ID": "OP_TEST_DUMMY", "result": [number, each]}] for each in range(2)])
        note(self.trace, " ".join(map(str, ids)))
        wait_for(ctx, self.until)
        return ids


class OpMisbehave(OpCode):
    """Ends in a way that an opcode should not."""

    OP_ID = "OP_MISBEHAVE"

    how: str = param("in which way", choices=("exit", "interrupt", "unstorable", "nan", "huge", "deep", "no text"))

    def exec(self, ctx: OpContext) -> Any:
        """See `OpCode.exec`."""
        match self.how:
            case "exit":
                sys.exit("good bye")
            case "interrupt":
                raise KeyboardInterrupt
            case "unstorable":
                return {"a": {1, 2}}
            case "nan":
                return float("nan")
            case "huge":
                return "x" * (2 << 20)
            case "deep":
                value: list[Any] = []
                for _ in range(100_000):
                    value = [value]
                return value
        raise ValueError


class OpCount(OpCode):
    """Logs lines until a file exists; runs again after the daemon has died."""

    OP_ID = "OP_COUNT"
    stoppable = True
    restartable = True

    until: str = param("file whose existence ends it")

    def exec(self, ctx: OpContext) -> int:
        """See `OpCode.exec`."""
        count = 0
        while not os.path.exists(self.until):
            count += 1
            ctx.log(f"{os.getpid()} {count}")
            ctx.sleep(0.005)
        return count
