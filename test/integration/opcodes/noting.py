"""Opcodes that write down in a file of the test when they start and end, so that it can count how often they ran.

A daemon loads them with the setting `opcodes: {modules: [noting]}`; `test/integration/notes.py` is the test's side.
"""

from __future__ import annotations

import os
import time

from jqueue.opcodes.base import OpCode, OpContext, param


class OpNote(OpCode):
    """Notes its start and its end; between them it sleeps, or waits for a file."""

    OP_ID = "OP_NOTE"
    stoppable = True

    path: str = param("file to append the notes to")
    hold: float = param("seconds to sleep", default=0.0)
    until: str | None = param("file whose existence ends the sleep", default=None)
    deaf: bool = param("do not hear a wish to stop", default=False)

    def exec(self, ctx: OpContext) -> str:
        """See `OpCode.exec`."""
        who = f"{ctx.job_id}.{ctx.op_index}.{ctx.attempt}"
        self._note(f"start {who}")
        try:
            ctx.log(f"note {who}")
            if self.until is not None:
                while not os.path.exists(self.until):
                    self._sleep(ctx, 0.02)
            elif self.hold:
                self._sleep(ctx, self.hold)
        finally:
            self._note(f"end {who}")
        return who

    def _sleep(self, ctx: OpContext, seconds: float) -> None:
        if self.deaf:
            time.sleep(seconds)
        else:
            ctx.sleep(seconds)

    def _note(self, line: str) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.write(descriptor, f"{line}\n".encode())
        finally:
            os.close(descriptor)


class OpNoteAgain(OpNote):
    """The same, but may be run again after the daemon has died."""

    OP_ID = "OP_NOTE_AGAIN"
    restartable = True
