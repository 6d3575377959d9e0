"""Opcodes that stop at each stage of a job's life until a test lets them go on, and note what is called.

A daemon loads them with the setting `opcodes: {modules: [staging]}`; `test/integration/stages.py` is the test's side.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from jqueue.errors import JobCanceled, OpExecError
from jqueue.opcodes.base import EXCLUSIVE, LockSpec, OpCode, OpContext, param


class OpStage(OpCode):
    """Notes each of its methods when it begins and when it is done; waits in them for files."""

    OP_ID = "OP_STAGE"
    stoppable = True

    notes: str = param("file to append notes to: JOB.OP METHOD, and again with `done` behind it")
    gates: dict[str, str] = param("by method, or `told`: the file whose existence lets it go on", default_factory=dict)
    takes: float = param("seconds that each method takes", default=0.0)
    fails: list[str] = param("methods that fail, at their end", default_factory=list)
    deaf: bool = param("do not hear a wish to stop or to pause", default=False)
    convergent: bool = param("become ready, and wait to be told", default=False, name="converges")

    def converges(self) -> bool:
        """See `OpCode.converges`."""
        return self.convergent

    def exec(self, ctx: OpContext) -> str | None:
        """See `OpCode.exec`; the result has what a ready job was told."""
        told = None
        with self._stage(ctx, "exec"):
            while self.convergent and told is None:
                told = ctx.ready()
            if told is not None:
                self._note(ctx, f"told {told}")
                self._wait(ctx, "told")
        return told

    def prepare(self, ctx: OpContext) -> None:
        """See `OpCode.prepare`."""
        with self._stage(ctx, "prepare"):
            pass

    def commit(self, ctx: OpContext) -> None:
        """See `OpCode.commit`."""
        with self._stage(ctx, "commit"):
            pass

    def abort(self, ctx: OpContext) -> None:
        """See `OpCode.abort`."""
        with self._stage(ctx, "abort"):
            pass

    @contextmanager
    def _stage(self, ctx: OpContext, method: str) -> Iterator[None]:
        self._note(ctx, method)
        try:
            if self.takes:
                ctx.sleep(self.takes)
            self._wait(ctx, method)
            yield
        except JobCanceled:
            self._note(ctx, f"{method} stopped")
            raise
        if method in self.fails:
            raise OpExecError(f"{method} was told to fail")
        self._note(ctx, f"{method} done")

    def _wait(self, ctx: OpContext, stage: str) -> None:
        gate = self.gates.get(stage)
        while gate is not None and not os.path.exists(gate):
            if self.deaf:
                time.sleep(0.02)
            else:
                ctx.sleep(0.02)

    def _note(self, ctx: OpContext, what: str) -> None:
        descriptor = os.open(self.notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.write(descriptor, f"{ctx.job_id}.{ctx.op_index} {what}\n".encode())
        finally:
            os.close(descriptor)


class OpStageAgain(OpStage):
    """The same, but may be run again after the daemon has died."""

    OP_ID = "OP_STAGE_AGAIN"
    restartable = True


class OpStageDeclared(OpStage):
    """The same, but finds out which locks it needs only when it is about to run."""

    OP_ID = "OP_STAGE_DECLARED"

    declares: list[str] = param("names of the resources that it locks")

    def declare_locks(self, ctx: OpContext) -> LockSpec:
        """See `OpCode.declare_locks`."""
        return {"resource": dict.fromkeys(self.declares, EXCLUSIVE)}
