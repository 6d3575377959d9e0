"""What the methods need of the queue.

`jqueue.sched.queue.JobQueue` provides it; tests have a small one of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from jqueue.errors import GenericError
from jqueue.jobs.rows import RowStream

Listener = Callable[[str, list[Any]], None]
"""Told of each event: its name and its arguments."""


class QueueApi(Protocol):
    """The queue as its clients see it; each call is made on the reactor's thread and fails with a `GenericError`."""

    def submit(
        self, jobs: list[object], options: dict[str, object], *, uid: int | None, admin: bool
    ) -> Deferred[list[int | GenericError | None]]:
        """Checks and records new jobs: all of them, or none if one is not valid.

        @param jobs: each a list of opcode maps or a description map
        @param options: what is said of all of them, see `SubmitManyJobs`
        @param uid: who submits; None if unknown
        @param admin: whether any priority may be given
        @return: fires, once they are durable, with an id for each, or what is wrong with its dependencies;
            in a dry run with None for each
        """
        ...

    def query_jobs(self, ids: list[int] | None, fields: list[str], qfilter: object) -> Deferred[RowStream | list[Any]]:
        """Gives one row for each id asked for (with nulls for a missing job), or for each job that matches."""
        ...

    def wait_for_change(
        self,
        job_id: int,
        fields: list[str],
        prev_info: object,
        prev_serial: int | None,
        timeout: float,
        peer_closed: Deferred[None] | None,
    ) -> Deferred[Any]:
        """Waits until a job differs from what the caller knows.

        @param timeout: seconds
        @param peer_closed: fires when nobody waits for the answer any more
        """
        ...

    def cancel(self, job_id: int, kill: bool, soft: bool) -> Deferred[tuple[bool, str]]:
        """Cancels a job; says whether it did, and why not.

        @param kill: do not leave a command time to end by itself
        @param soft: have a job that is ready keep what it has, and end with success; cancel any other as usual
        """
        ...

    def pause(self, job_id: int) -> Deferred[tuple[bool, str]]:
        """Pauses a job; says whether it did, and why not."""
        ...

    def resume(self, job_id: int) -> Deferred[tuple[bool, str]]:
        """Lets a paused job go on."""
        ...

    def set_speed(self, job_id: int, speed: int) -> Deferred[tuple[bool, str]]:
        """Limits the speed of a job.

        @param speed: units of its progress a second; 0 is no limit
        """
        ...

    def complete(self, job_id: int) -> Deferred[tuple[bool, str]]:
        """Tells a job that is ready to come to its end."""
        ...

    def finalize(self, job_id: int) -> Deferred[tuple[bool, str]]:
        """Finalises a pending job, and with it its group."""
        ...

    def change_priority(self, job_id: int, priority: int, *, admin: bool) -> Deferred[tuple[bool, str]]:
        """Gives the opcodes that have not run another priority."""
        ...

    def archive(self, job_id: int) -> Deferred[bool]:
        """Archives a final job."""
        ...

    def auto_archive(self, age: float, timeout: float) -> Deferred[tuple[int, int]]:
        """Archives jobs that ended more than `age` seconds ago, for at most `timeout` seconds.

        @return: fires with how many were archived and how many were not looked at
        """
        ...

    def set_drain(self, reason: str | None) -> Deferred[bool]:
        """Drains the queue, or with None takes new jobs again."""
        ...

    def retry(self, job_id: int, everything: bool, uid: int | None) -> Deferred[int]:
        """Submits what did not succeed of a final job, or all of it, as a new job."""
        ...

    def job_log(self, job_id: int, newer_than: int, limit: int) -> Deferred[list[Any]]:
        """Gives at most `limit` log entries whose serial is above `newer_than`, oldest first."""
        ...

    def explain(self, job_id: int) -> Deferred[dict[str, Any]]:
        """Says why a job does not run."""
        ...

    def query_locks(self) -> list[dict[str, Any]]:
        """Gives every lock that is held or wanted."""
        ...

    def query_workers(self) -> dict[str, Any]:
        """Says what the workers do."""
        ...

    def query_status(self) -> dict[str, Any]:
        """Says how the daemon is."""
        ...

    def subscribe(
        self, listener: Listener, *, jobs: set[int] | None, changes: bool, log: bool, lifecycle: bool
    ) -> Callable[[], None]:
        """Tells of events until the function that is returned is called.

        @param jobs: of these jobs only; None for all
        @param changes: whether of each change of a job
        @param log: whether of new log entries
        @param lifecycle: whether of each step in QEMU's words
        """
        ...
