"""What QMP needs of the queue.

Job ids are numbers here, `job42` on the wire, except in events, which come as they go out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from twisted.internet.defer import Deferred

from jqueue.errors import GenericError

JobInfo = Mapping[str, object]
"""What there is to say of a job, by the names of `query-jobs` and `query-block-jobs`: `id` (the number), `type`,
`status`, `current-progress`, `total-progress`, `speed`, `paused`, `busy`, `ready`, `auto-finalize`, `auto-dismiss`,
`error` (only if there is one); and ours: `name`, `priority`, `opstatus`, `group`."""

Listener = Callable[[str, Mapping[str, object]], None]
"""Told of each event: its name and its data."""


class QmpQueue(Protocol):
    """The queue as QMP sees it; each call is made on the reactor's thread.

    A verb fires once it is durable. It fails with `JobLost`, or with a `GenericError` that has QEMU's own text,
    whose check of a state is in QEMU's order.
    """

    def job_infos(self) -> Iterable[JobInfo]:
        """Describes every job that is not dismissed, the newest first, each when it is asked for."""
        ...

    def pause(self, job_id: int) -> Deferred[None]:
        """Pauses a job."""
        ...

    def resume(self, job_id: int) -> Deferred[None]:
        """Lets a paused job go on."""
        ...

    def cancel(self, job_id: int, force: bool) -> Deferred[None]:
        """Cancels a job; without force, one that is ready keeps its result."""
        ...

    def complete(self, job_id: int) -> Deferred[None]:
        """Tells a job that is ready to come to its end."""
        ...

    def finalize(self, job_id: int) -> Deferred[None]:
        """Finalises a pending job, and with it its group."""
        ...

    def dismiss(self, job_id: int) -> Deferred[None]:
        """Lets go of a concluded job."""
        ...

    def set_speed(self, job_id: int, speed: int) -> Deferred[None]:
        """Limits a job's speed.

        @param speed: bytes per second, 0 for no limit; a negative one is refused here, after the check of the state,
            with `Parameter 'speed' expects a non-negative value`
        """
        ...

    def submit(
        self, jobs: list[object], options: dict[str, object], *, uid: int | None, admin: bool
    ) -> Deferred[list[int | GenericError | None]]:
        """Checks and records new jobs, see `jqueue.rpc.api.QueueApi.submit`."""
        ...

    def quit(self) -> Deferred[None]:
        """Cancels all jobs, after the event SHUTDOWN; fires once that is recorded."""
        ...

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Tells of events until the function that is returned is called."""
        ...
