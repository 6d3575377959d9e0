"""Opcodes for trying out a queue: they sleep, answer, fail and talk to the client that tests them.

Names and parameters are Ganeti's, so that its test clients work here.
"""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path
from typing import Any

from jqueue.errors import OpExecError
from jqueue.opcodes.base import EXCLUSIVE, LockSpec, OpCode, OpContext, param

_ACCEPT_SECONDS = 20
_CLOSE_SECONDS = 60


def _at_least_zero(value: float) -> str | None:
    return f"at least 0 expected, got {value}" if value < 0 else None


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
