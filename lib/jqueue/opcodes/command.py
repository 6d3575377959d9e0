"""The opcode that runs a command.

How the process is started, watched and ended lives in `jqueue.workers.command`; it is reached through `ctx.command`.
"""

from __future__ import annotations

import shlex
import signal
from collections.abc import Mapping

from jqueue.errors import OpExecError
from jqueue.opcodes.base import OpCode, OpContext, param


def _check_argv(argv: list[str]) -> str | None:
    return None if argv and argv[0] else "at least the name of a program expected"


def _check_cwd(cwd: str | None) -> str | None:
    return None if cwd is None or cwd.startswith("/") else f'absolute path expected, got "{cwd}"'


def _check_env(env: Mapping[str, str]) -> str | None:
    bad = [name for name in env if not name or "=" in name]
    return f'"{bad[0]}" cannot be the name of a variable' if bad else None


class OpRunCommand(OpCode):
    """Runs a command, without a shell; its output becomes the job's log as it comes."""

    OP_ID = "OP_RUN_COMMAND"
    stoppable = True
    supports_dry_run = True

    argv: list[str] = param("the program and its arguments", check=_check_argv)
    cwd: str | None = param("absolute path of its working directory; / without one", default=None, check=_check_cwd)
    env: dict[str, str] = param("variables beside PATH, HOME and LANG", default_factory=dict, check=_check_env)
    stdin: str | None = param("text it reads; nothing without it", default=None)
    ok_exit_codes: list[int] = param("exit statuses that mean success", default_factory=lambda: [0])

    def exec(self, ctx: OpContext) -> int:
        """See `OpCode.exec`; the result is the exit status, of a failure the error's code tells it."""
        if ctx.dry_run:
            ctx.log(f"Would run: {shlex.join(self.argv)}")
            return self.ok_exit_codes[0] if self.ok_exit_codes else 0
        status = ctx.command(self.argv, cwd=self.cwd, env=self.env, stdin=self.stdin)
        if status in self.ok_exit_codes:
            return status
        code = f"exit_status:{status}" if status >= 0 else f"signal:{-status}"
        raise OpExecError(f"{self.argv[0]} {_how_it_ended(status)}; its output is in the job's log", code)


def _how_it_ended(status: int) -> str:
    if status >= 0:
        return f"ended with exit status {status}"
    try:
        return f"was ended by signal {-status} ({signal.Signals(-status).name})"
    except ValueError:
        return f"was ended by signal {-status}"
