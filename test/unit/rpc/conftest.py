"""A queue that answers from a table, for the tests of `jqueue.rpc`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from jqueue.errors import GenericError
from jqueue.jobs.rows import RowStream
from jqueue.rpc.api import Listener

from .fakes import Scripted


class ScriptedQueue(Scripted):
    """The queue of `jqueue.rpc.api`."""

    def __init__(self) -> None:
        super().__init__()
        self.listeners: list[Listener] = []

    def submit(
        self, jobs: list[object], options: dict[str, object], *, uid: int | None, admin: bool
    ) -> Deferred[list[int | GenericError | None]]:
        return self._later("submit", jobs, options, uid, admin)

    def query_jobs(self, ids: list[int] | None, fields: list[str], qfilter: object) -> Deferred[RowStream | list[Any]]:
        return self._later("query_jobs", ids, fields, qfilter)

    def wait_for_change(
        self,
        job_id: int,
        fields: list[str],
        prev_info: object,
        prev_serial: int | None,
        timeout: float,
        peer_closed: Deferred[None] | None,
    ) -> Deferred[Any]:
        return self._later("wait_for_change", job_id, fields, prev_info, prev_serial, timeout, peer_closed)

    def cancel(self, job_id: int, kill: bool, soft: bool) -> Deferred[tuple[bool, str]]:
        return self._later("cancel", job_id, kill, soft)

    def pause(self, job_id: int) -> Deferred[tuple[bool, str]]:
        return self._later("pause", job_id)

    def resume(self, job_id: int) -> Deferred[tuple[bool, str]]:
        return self._later("resume", job_id)

    def set_speed(self, job_id: int, speed: int) -> Deferred[tuple[bool, str]]:
        return self._later("set_speed", job_id, speed)

    def complete(self, job_id: int) -> Deferred[tuple[bool, str]]:
        return self._later("complete", job_id)

    def finalize(self, job_id: int) -> Deferred[tuple[bool, str]]:
        return self._later("finalize", job_id)

    def change_priority(self, job_id: int, priority: int, *, admin: bool) -> Deferred[tuple[bool, str]]:
        return self._later("change_priority", job_id, priority, admin)

    def archive(self, job_id: int) -> Deferred[bool]:
        return self._later("archive", job_id)

    def auto_archive(self, age: float, timeout: float) -> Deferred[tuple[int, int]]:
        return self._later("auto_archive", age, timeout)

    def set_drain(self, reason: str | None) -> Deferred[bool]:
        return self._later("set_drain", reason)

    def retry(self, job_id: int, everything: bool, uid: int | None) -> Deferred[int]:
        return self._later("retry", job_id, everything, uid)

    def job_log(self, job_id: int, newer_than: int, limit: int) -> Deferred[list[Any]]:
        return self._later("job_log", job_id, newer_than, limit)

    def explain(self, job_id: int) -> Deferred[dict[str, Any]]:
        return self._later("explain", job_id)

    def query_locks(self) -> list[dict[str, Any]]:
        locks: list[dict[str, Any]] = self._answer("query_locks")
        return locks

    def query_workers(self) -> dict[str, Any]:
        workers: dict[str, Any] = self._answer("query_workers")
        return workers

    def query_status(self) -> dict[str, Any]:
        status: dict[str, Any] = self._answer("query_status")
        return status

    def subscribe(
        self, listener: Listener, *, jobs: set[int] | None, changes: bool, log: bool, lifecycle: bool
    ) -> Callable[[], None]:
        self._answer("subscribe", jobs, changes, log, lifecycle)
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)


@pytest.fixture
def queue() -> ScriptedQueue:
    return ScriptedQueue()
