"""Serves a queue that is only in memory on a socket, for `test_rpc.py`: rpc_server.py SOCKET. Ends when stdin does."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor, stdio
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import globalLogBeginner, textFileLogObserver
from twisted.python.failure import Failure

from jqueue.errors import GenericError, JobLost, OpPrereqError
from jqueue.jobs.rows import RowStream
from jqueue.rpc.api import Listener
from jqueue.rpc.connection import Limits
from jqueue.rpc.dispatch import Dispatcher
from jqueue.rpc.listen import listen_unix
from jqueue.rpc.msgpackrpc import MessagePackFactory
from jqueue.rpc.output import OutputLimits
from jqueue.rpc.peer import Roles
from jqueue.turns import Turns

LIMITS = Limits(connections=1500, reserved=0, linger=2.0, output=OutputLimits(notices=1000, stalled=20.0))


class MemoryQueue:
    """Jobs that never run; a canceled one is told to those who wait for it."""

    def __init__(self) -> None:
        self._jobs: dict[int, list[object]] = {}
        self._canceled: set[int] = set()
        self._waiting: dict[int, list[Deferred[Any]]] = {}
        self._listeners: list[Listener] = []

    def submit(
        self, jobs: list[object], options: dict[str, object], *, uid: int | None, admin: bool
    ) -> Deferred[list[int | GenericError | None]]:
        results: list[int | GenericError | None] = []
        for job in jobs:
            if not isinstance(job, list) or not job:
                raise OpPrereqError("ops: a job needs at least one opcode")
            self._jobs[len(self._jobs) + 1] = job
            results.append(len(self._jobs))
        self._tell("JobChanged", [{"id": len(self._jobs), "status": "queued"}])
        return succeed(results)

    def query_jobs(self, ids: list[int] | None, fields: list[str], qfilter: object) -> Deferred[RowStream | list[Any]]:
        if ids == [1_000_000]:  # a large table
            return succeed(RowStream(200_000, ([number, "x" * 50] for number in range(200_000))))
        wanted = ids or sorted(self._jobs)
        return succeed([[self._value(job_id, field) for field in fields] for job_id in wanted])

    def _value(self, job_id: int, field: str) -> object:
        if field == "id":
            return job_id
        if job_id not in self._jobs:
            return None
        return {"status": "canceled" if job_id in self._canceled else "queued", "ops": self._jobs[job_id]}[field]

    def wait_for_change(
        self,
        job_id: int,
        fields: list[str],
        prev_info: object,
        prev_serial: int | None,
        timeout: float,
        peer_closed: Deferred[None] | None,
    ) -> Deferred[Any]:
        if job_id in self._canceled:
            return succeed([["canceled"], []])
        answer: Deferred[Any] = Deferred()
        self._waiting.setdefault(job_id, []).append(answer)
        return answer

    def cancel(self, job_id: int, kill: bool, soft: bool) -> Deferred[tuple[bool, str]]:
        if job_id not in self._jobs:
            raise JobLost(f"there is no job {job_id}")
        self._canceled.add(job_id)
        for answer in self._waiting.pop(job_id, []):
            answer.callback([["canceled"], []])
        return succeed((True, f"job {job_id} is canceled"))

    def pause(self, job_id: int) -> Deferred[tuple[bool, str]]:
        return succeed((False, "nothing runs here"))

    def resume(self, job_id: int) -> Deferred[tuple[bool, str]]:
        return succeed((False, "nothing is paused here"))

    def set_speed(self, job_id: int, speed: int) -> Deferred[tuple[bool, str]]:
        return succeed((False, "nothing runs here"))

    def complete(self, job_id: int) -> Deferred[tuple[bool, str]]:
        return succeed((False, "nothing is ready here"))

    def finalize(self, job_id: int) -> Deferred[tuple[bool, str]]:
        return succeed((False, "nothing is pending here"))

    def change_priority(self, job_id: int, priority: int, *, admin: bool) -> Deferred[tuple[bool, str]]:
        raise ValueError("a bug, for the test")

    def archive(self, job_id: int) -> Deferred[bool]:
        return succeed(True)

    def auto_archive(self, age: float, timeout: float) -> Deferred[tuple[int, int]]:
        return succeed((0, 0))

    def set_drain(self, reason: str | None) -> Deferred[bool]:
        return succeed(True)

    def retry(self, job_id: int, everything: bool, uid: int | None) -> Deferred[int]:
        return succeed(job_id)

    def job_log(self, job_id: int, newer_than: int, limit: int) -> Deferred[list[Any]]:
        """One megabyte, to fill what a client does not read."""
        self._tell("JobLog", [job_id, ["x" * 2**20]])
        return succeed([])

    def explain(self, job_id: int) -> Deferred[dict[str, Any]]:
        return succeed({"id": job_id})

    def query_locks(self) -> list[dict[str, Any]]:
        return []

    def query_workers(self) -> dict[str, Any]:
        return {}

    def query_status(self) -> dict[str, Any]:
        return {"waiting": sum(map(len, self._waiting.values())), "listeners": len(self._listeners)}

    def subscribe(
        self, listener: Listener, *, jobs: set[int] | None, changes: bool, log: bool, lifecycle: bool
    ) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _tell(self, name: str, arguments: list[Any]) -> None:
        for listener in list(self._listeners):
            listener(name, arguments)


class StopWithStdin(Protocol):
    """Ends the server when the test is gone."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        reactor.stop()


def main() -> None:
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)
    dispatcher = Dispatcher(MemoryQueue())
    running: Any = reactor
    listen_unix(running, Path(sys.argv[1]), MessagePackFactory(running, Turns(running), dispatcher, Roles(), LIMITS))
    stdio.StandardIO(StopWithStdin())
    reactor.run()


if __name__ == "__main__":
    main()
