"""Opcodes for trying out a queue: they sleep, answer, fail and talk to the client that tests them.

Names and parameters are Ganeti's, so that its test clients work here; OP_TEST_LIFECYCLE is ours.
"""

from __future__ import annotations

import os
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

from jqueue.errors import OpExecError
from jqueue.opcodes.base import EXCLUSIVE, LockSpec, OpCode, OpContext, param

_ACCEPT_SECONDS = 20
_CLOSE_SECONDS = 60
_METHODS = ("exec", "prepare", "commit", "abort")


def _at_least_zero(value: float) -> str | None:
    return f"at least 0 expected, got {value}" if value < 0 else None


def _at_least_one(value: int) -> str | None:
    return f"at least 1 expected, got {value}" if value < 1 else None


def _methods(names: list[str]) -> str | None:
    unknown = [name for name in names if name not in _METHODS]
    return f'some of {", ".join(_METHODS)} expected, got "{unknown[0]}"' if unknown else None


def _absolute(path: str | None) -> str | None:
    return None if path is None or path.startswith("/") else f'absolute path of a file expected, got "{path}"'


class OpTestDelay(OpCode):
    """Sleeps; pause and cancel act at once."""

    OP_ID = "OP_TEST_DELAY"
    stoppable = True
    supports_dry_run = True
    summary_parameter = "duration"

    duration: float = param("seconds to sleep", check=_at_least_zero)
    on_master: bool = param("Ganeti's; there is one machine here, it has no effect", default=True)
    on_nodes: list[str] = param("names whose node locks are taken, exclusively", default_factory=list)
    on_node_uuids: list[str] | None = param("Ganeti's; no effect", default=None)
    repeat: int = param(
        "how often to sleep, with a log line each; 0 is once without one", default=0, check=_at_least_zero
    )
    interruptible: bool = param("Ganeti's; every delay can be cancelled", default=False)
    no_locks: bool = param("take no node locks", default=False)

    def locks(self) -> LockSpec:
        """See `OpCode.locks`."""
        if self.no_locks or not self.on_nodes:
            return {}
        return {"node": dict.fromkeys(self.on_nodes, EXCLUSIVE)}

    def exec(self, ctx: OpContext) -> None:
        """See `OpCode.exec`."""
        for turn in range(max(self.repeat, 1)):
            if self.repeat:
                ctx.log(f"Delay {turn + 1} of {self.repeat}")
            ctx.sleep(0 if ctx.dry_run else self.duration)


class OpTestDummy(OpCode):
    """Logs, submits, and answers or fails as told."""

    OP_ID = "OP_TEST_DUMMY"
    supports_dry_run = True

    result: Any = param("what to answer", default=None)
    messages: Any = param("what to log: a list, or one message", default=None)
    fail: Any = param("whether to fail", default=None)
    submit_jobs: Any = param("jobs to submit: a list of lists of opcodes, or of descriptions", default=None)

    def exec(self, ctx: OpContext) -> object:
        """See `OpCode.exec`."""
        messages = self.messages if isinstance(self.messages, list) else [self.messages]
        for message in messages:
            if message is not None:
                ctx.log(message if isinstance(message, str) else str(message))
        children = ctx.submit(self.submit_jobs) if self.submit_jobs and not ctx.dry_run else []
        if self.fail:
            raise OpExecError("The opcode was told to fail")
        if children:
            return {"result": self.result, "jobs": [[True, job_id] for job_id in children]}
        result: object = self.result
        return result


class OpTestJqueue(OpCode):
    """Tells a test client, over a socket, how far it is, and waits for it at each step."""

    OP_ID = "OP_TEST_JQUEUE"

    notify_waitlock: bool = param("tell when it waits for its locks", default=False)
    notify_exec: bool = param("tell when it starts to run", default=False)
    log_messages: list[str] = param("what to log, telling after each", default_factory=list)
    fail: bool = param("whether to fail at the end", default=False)

    def declare_locks(self, ctx: OpContext) -> LockSpec:
        """See `OpCode.declare_locks`; takes none, it is the step that runs while the job waits."""
        if self.notify_waitlock:
            _notify(ctx, "expandnames", None)
        return {}

    def exec(self, ctx: OpContext) -> bool:
        """See `OpCode.exec`."""
        if self.notify_exec:
            _notify(ctx, "exec", None)
        if self.log_messages:
            _notify(ctx, "startmsg", len(self.log_messages))
        for number, message in enumerate(self.log_messages, 1):
            ctx.log(f"TESTMSG={message}")
            _notify(ctx, "logmsg", number)
        if self.fail:
            raise OpExecError("The opcode was told to fail")
        return True


class OpTestLifecycle(OpCode):
    """Works in pieces of a known size, converges and fails as told: for bringing a job into every state there is."""

    OP_ID = "OP_TEST_LIFECYCLE"
    stoppable = True
    summary_parameter = "chunks"

    chunks: int = param("pieces of work", default=1, check=_at_least_zero)
    chunk_size: int = param("bytes that each piece counts for", default=65536, check=_at_least_one)
    speed: int = param("bytes a second to start with; 0 is no limit", default=0, check=_at_least_zero)
    pay_last: bool = param(
        "pay for the last piece as well, as QEMU's mirror does and its backup does not", default=False
    )
    busy: float = param("seconds that each piece takes, deaf to pause and cancel", default=0, check=_at_least_zero)
    # The method `converges` has the name already.
    convergent: bool = param("become ready after the pieces, and wait to be told", default=False, name="converges")
    fails: list[str] = param(
        "which of exec, prepare, commit, abort fail; exec does so at its end", default_factory=list, check=_methods
    )
    notes: str | None = param(
        "absolute path of a file; each method that runs adds a line JOB.OP METHOD", default=None, check=_absolute
    )

    def start_speed(self) -> int:
        """See `OpCode.start_speed`."""
        return self.speed

    def converges(self) -> bool:
        """See `OpCode.converges`."""
        return self.convergent

    def exec(self, ctx: OpContext) -> dict[str, str | None]:
        """See `OpCode.exec`; the result has what a ready job was told."""
        self._note(ctx, "exec")
        for piece in range(1, self.chunks + 1):
            time.sleep(self.busy)
            ctx.progress(piece * self.chunk_size, self.chunks * self.chunk_size)
            if piece < self.chunks or self.pay_last:
                ctx.throttle(self.chunk_size)
            else:
                ctx.checkpoint()
        told = None
        while self.convergent and told is None:
            told = ctx.ready()
        self._fail("exec")
        return {"told": told}

    def prepare(self, ctx: OpContext) -> None:
        """See `OpCode.prepare`."""
        self._note(ctx, "prepare")
        self._fail("prepare")

    def commit(self, ctx: OpContext) -> None:
        """See `OpCode.commit`."""
        self._note(ctx, "commit")
        self._fail("commit")

    def abort(self, ctx: OpContext) -> None:
        """See `OpCode.abort`."""
        self._note(ctx, "abort")
        self._fail("abort")

    def _fail(self, method: str) -> None:
        if method in self.fails:
            raise OpExecError(f"The opcode was told to fail in {method}")

    def _note(self, ctx: OpContext, method: str) -> None:
        if self.notes is None:
            return
        try:
            notes = os.open(self.notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                os.write(notes, f"{ctx.job_id}.{ctx.op_index} {method}\n".encode())
            finally:
                os.close(notes)
        except OSError as error:
            raise OpExecError(f"{self.notes} cannot be written: {error.strerror}; create its directory") from error


def _notify(ctx: OpContext, test: str, argument: object) -> None:
    """Offers a socket through the log, and waits until the client has connected and hung up."""
    with (
        tempfile.TemporaryDirectory(prefix="jqueue-") as directory,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener,
    ):
        path = str(Path(directory) / "notify")
        listener.bind(path)
        listener.listen(1)
        listener.settimeout(_ACCEPT_SECONDS)
        ctx.log([path, test, argument], "jqueue-test")
        try:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(_CLOSE_SECONDS)
                connection.recv(1)
        except TimeoutError:
            raise OpExecError(f"No test client connected to {path}, and hung up, in time") from None
        except OSError as error:
            raise OpExecError(f"The test client at {path} broke off: {error}") from error
