"""The one place where what happened is told, in order, once.

Subscribers are called on the reactor thread; what they do with it (which frame, which socket) does not live here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.logger import Logger

from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.status import FINALIZED

JOB_CHANGED = "JobChanged"
JOB_LOG = "JobLog"

Listener = Callable[[str, list[Any]], None]
"""Called with the event's name and its arguments."""


@dataclass(eq=False)
class Subscription:
    """What one listener wants to hear."""

    listener: Listener
    jobs: frozenset[int] | None
    changes: bool
    log: bool

    def wants(self, job_id: int) -> bool:
        """Whether the job is one of those listened for."""
        return self.jobs is None or job_id in self.jobs


class Bus:
    """Passes events on to subscribers; one that fails is dropped, the others still hear it."""

    _log = Logger()

    def __init__(self) -> None:
        self._subscriptions: dict[Subscription, None] = {}

    def subscribe(self, subscription: Subscription) -> Callable[[], None]:
        """Adds a subscriber.

        @return: ends the subscription; may be called more than once
        """
        self._subscriptions[subscription] = None
        return lambda: self._subscriptions.pop(subscription, None)

    def job_changed(self, job: _QueuedJob) -> None:
        """Tells of a newly published version of a job."""
        event: dict[str, Any] | None = None
        for subscription in list(self._subscriptions):
            if subscription.changes and subscription.wants(job.id):
                event = event or describe(job)
                self._tell(subscription, JOB_CHANGED, [event])

    def job_logged(self, job_id: int, entries: Sequence[Any]) -> None:
        """Tells of log entries that have reached the file."""
        for subscription in list(self._subscriptions):
            if subscription.log and subscription.wants(job_id):
                self._tell(subscription, JOB_LOG, [job_id, list(entries)])

    def _tell(self, subscription: Subscription, name: str, arguments: list[Any]) -> None:
        if subscription not in self._subscriptions:  # ended by a listener before it
            return
        try:
            subscription.listener(name, arguments)
        except Exception:
            self._log.failure("A listener failed on {name} and is dropped", name=name)
            self._subscriptions.pop(subscription, None)


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
