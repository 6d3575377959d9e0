"""A shell for the tests of `jqueue.cli`: runs one command line against a scripted daemon, on a fake clock."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from jqueue import errors
from jqueue.cli.main import main

NOW = 1_700_000_000.0  # 2023-11-14T22:13:20Z


class Result(NamedTuple):
    status: int
    out: str
    err: str


class Clock:
    def __init__(self) -> None:
        self.now = NOW
        self.slept: list[float] = []

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class Daemon:
    """Answers calls from a table; an answer is a value, an error to raise, or a function of the arguments.

    `pushed` is a list of what each wait for notifications gives: a list of them, or an error to raise.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.answers: dict[str, Any] = {"Subscribe": True, "Unsubscribe": True}
        self.pushed: list[Any] = []
        self.calls: list[tuple[Any, ...]] = []
        self.connections: list[str | None] = []
        self.refuse: list[Exception] = []
        self.refuse_after_first: Exception | None = None
        self.closed = 0

    def connect(self, path: str | None) -> Daemon:
        self.connections.append(path)
        if self.refuse_after_first is not None and len(self.connections) > 1:
            raise self.refuse_after_first
        if self.refuse:
            raise self.refuse.pop(0)
        return self

    def call(self, method: str, *args: object, timeout: float | None = None) -> Any:
        self.calls.append((method, *args))
        answer = self.answers[method]
        answer = answer(*args) if callable(answer) else answer
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def notifications(self, timeout: float | None = None) -> Iterator[tuple[str, list[Any]]]:
        assert self.pushed, "waits, but nothing more would come"
        notes = self.pushed.pop(0)
        if isinstance(notes, BaseException):
            raise notes
        yield from notes
        self.clock.now += timeout or 0.0

    def close(self) -> None:
        self.closed += 1

    def jobs(self, *jobs: dict[str, Any]) -> None:
        """Has QueryJobs answer from these jobs; it ignores filters."""

        def query(ids: list[int] | None, fields: list[str], qfilter: object = None) -> list[list[Any]]:
            by_id = {job["id"]: job for job in jobs}
            wanted = [by_id.get(job_id, {"id": job_id}) for job_id in ids] if ids else list(jobs)
            return [[row.get(field) for field in fields] for row in wanted]

        self.answers["QueryJobs"] = query

    def log(self, job_id: int, entries: list[list[Any]]) -> None:
        """Has QueryJobLog answer from these entries, which may grow."""

        def query(asked: int, newer_than: int, limit: int) -> list[list[Any]]:
            assert asked == job_id
            return [entry for entry in entries if entry[1] > newer_than][:limit]

        self.answers["QueryJobLog"] = query


class Stream(io.StringIO):
    def __init__(self, tty: bool) -> None:
        super().__init__()
        self._tty = tty

    def isatty(self) -> bool:
        return self._tty


class Shell:
    """Runs command lines."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.daemon = Daemon(self.clock)
        self.environ: dict[str, str] = {}

    def __call__(self, *argv: str, stdin: bytes = b"", tty: bool = False) -> Result:
        stdout, stderr = Stream(tty), Stream(tty)
        status = main(
            argv,
            connect=self.daemon.connect,
            stdin=io.BytesIO(stdin),
            stdout=stdout,
            stderr=stderr,
            environ=self.environ,
            clock=self.clock,
        )
        return Result(status, stdout.getvalue(), stderr.getvalue())


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield Shell()
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def gone() -> errors.DaemonUnreachable:
    return errors.DaemonUnreachable()
