"""A context for testing opcodes without a queue: it does nothing, at once, and remembers what it was asked.

The real one lives in `jqueue.workers.context`.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from jqueue.errors import JobCanceled
from jqueue.opcodes.base import COMPLETE


class FakeContext:
    """An `OpContext` whose doings are lists to look at."""

    def __init__(
        self,
        *,
        run_directory: Path = Path("/nonexistent"),
        dry_run: bool = False,
        stop_at: int | None = None,
        exit_status: int = 0,
        told: Sequence[str | None] = (),
    ) -> None:
        """Makes one.

        @param stop_at: which checkpoint, counted from 1, is told that the job was cancelled
        @param exit_status: how every command ends
        @param told: what each call of `ready` answers; every one after these is told to complete
        """
        self.job_id = 1
        self.op_index = 0
        self.attempt = 1
        self.dry_run = dry_run
        self.run_directory = run_directory
        self.saved: MutableMapping[str, Any] = {}
        self.logged: list[tuple[str, Any]] = []
        self.progressed: list[tuple[int, int, str]] = []
        self.throttled: list[int] = []
        self.slept: list[float] = []
        self.readied: list[tuple[float | None, int | None]] = []
        self.submitted: list[object] = []
        self.commands: list[dict[str, object]] = []
        self.checkpoints = 0
        self._stop_at = stop_at
        self._exit_status = exit_status
        self._told = list(told)

    def log(self, message: Any, type: str = "message") -> None:
        """See `OpContext.log`."""
        self.logged.append((type, message))

    def progress(self, done: int, total: int, text: str = "") -> None:
        """See `OpContext.progress`."""
        self.progressed.append((done, total, text))

    def checkpoint(self) -> None:
        """See `OpContext.checkpoint`."""
        self.checkpoints += 1
        if self.checkpoints == self._stop_at:
            raise JobCanceled()

    def throttle(self, n: int) -> None:
        """See `OpContext.throttle`."""
        self.throttled.append(n)
        self.checkpoint()

    def sleep(self, seconds: float) -> None:
        """See `OpContext.sleep`."""
        self.slept.append(seconds)
        self.checkpoint()

    def ready(self, seconds: float | None = None, descriptor: int | None = None) -> str | None:
        """See `OpContext.ready`."""
        self.readied.append((seconds, descriptor))
        self.checkpoint()
        return self._told.pop(0) if self._told else COMPLETE

    def submit(self, jobs: Sequence[object]) -> list[int]:
        """See `OpContext.submit`."""
        first = self.job_id + len(self.submitted) + 1
        self.submitted.extend(jobs)
        return list(range(first, first + len(jobs)))

    def command(
        self,
        argv: Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
    ) -> int:
        """See `OpContext.command`."""
        self.checkpoint()
        self.commands.append({"argv": list(argv), "cwd": cwd, "env": dict(env or {}), "stdin": stdin})
        return self._exit_status
