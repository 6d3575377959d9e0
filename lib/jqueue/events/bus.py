"""The one place where what happened is told, in order, once.

Subscribers are called on the reactor thread; what they do with it (which frame, which socket) does not live here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.logger import Logger

from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.status import FINALIZED

JOB_CHANGED = "JobChanged"
JOB_LOG = "JobLog"
JOB_LIFECYCLE = "JobLifecycle"

Listener = Callable[[str, list[Any]], None]
"""Called with the event's name and its arguments."""


@dataclass(eq=False)
class Subscription:
    """What one listener wants to hear."""

    listener: Listener
    jobs: frozenset[int] | None
    changes: bool
    log: bool
    lifecycle: bool = False
    ended: bool = False


class Bus:
    """Passes events on to subscribers; one that fails is dropped, the others still hear it."""

    _log = Logger()

    def __init__(self) -> None:
        self._of_all: dict[Subscription, None] = {}
        self._of_job: dict[int, dict[Subscription, None]] = {}

    def subscribe(self, subscription: Subscription) -> Callable[[], None]:
        """Adds a subscriber.

        @return: ends the subscription; may be called more than once
        """
        if subscription.jobs is None:
            self._of_all[subscription] = None
        for job_id in subscription.jobs or ():
            self._of_job.setdefault(job_id, {})[subscription] = None
        return lambda: self._end(subscription)

    def _end(self, subscription: Subscription) -> None:
        subscription.ended = True
        self._of_all.pop(subscription, None)
        for job_id in subscription.jobs or ():
            of_job = self._of_job.get(job_id, {})
            of_job.pop(subscription, None)
            if not of_job:
                self._of_job.pop(job_id, None)

    def _listening(self, job_id: int | None) -> list[Subscription]:
        if job_id is None:
            of_jobs = [subscription for of_job in self._of_job.values() for subscription in of_job]
            return [*self._of_all, *dict.fromkeys(of_jobs)]
        return [*self._of_all, *self._of_job.get(job_id, ())]

    def job_changed(self, job: _QueuedJob) -> None:
        """Tells of a newly published version of a job."""
        event: dict[str, Any] | None = None
        for subscription in self._listening(job.id):
            if subscription.changes:
                event = event or describe(job)
                self._tell(subscription, JOB_CHANGED, [event])

    def job_logged(self, job_id: int, entries: Sequence[Any]) -> None:
        """Tells of log entries that have reached the file."""
        for subscription in self._listening(job_id):
            if subscription.log:
                self._tell(subscription, JOB_LOG, [job_id, list(entries)])

    def wants_lifecycle(self, job_id: int | None) -> bool:
        """Whether anybody wants to hear of a job's steps."""
        return any(subscription.lifecycle for subscription in self._listening(job_id))

    def job_lifecycle(self, job_id: int | None, name: str, data: Mapping[str, object]) -> None:
        """Tells of a step in the life of a job.

        @param job_id: None if it concerns all
        @param name: QEMU's name of the event
        @param data: the members that QEMU has for it
        """
        event = {"event": name, "data": data, "id": job_id}
        for subscription in self._listening(job_id):
            if subscription.lifecycle:
                self._tell(subscription, JOB_LIFECYCLE, [event])

    def _tell(self, subscription: Subscription, name: str, arguments: list[Any]) -> None:
        if subscription.ended:
            return  # by a listener before it
        try:
            subscription.listener(name, arguments)
        except Exception:
            self._log.failure("A listener failed on {name} and is dropped", name=name)
            self._end(subscription)


def describe(job: _QueuedJob) -> dict[str, Any]:
    """What an event says of a job: enough to know what became of it without asking again."""
    status = job.CalcStatus()
    lifecycle, summary = job.GetInfo(["lifecycle", "summary"])
    event: dict[str, Any] = {
        "id": job.id,
        "name": job.name,
        "summary": summary,
        "status": status,
        "lifecycle": lifecycle,
        "priority": job.CalcPriority(),
        "opstatus": [op.status for op in job.ops],
        "end_ts": job.end_timestamp,
    }
    if status in FINALIZED:
        event["opresult"] = [op.result for op in job.ops]
    return event
