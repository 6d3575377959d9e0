"""Waiting for a job to change, without a thread and without polling.

What counts as a change is compared here; how long lists of log entries are read back does not live here.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred


class ChangeWaiters:
    """Those who wait for jobs to change, by job."""

    def __init__(self) -> None:
        self._waiters: dict[int, set[Deferred[bool]]] = {}

    def wait(self, job_id: int) -> Deferred[bool]:
        """Waits for the next change of a job.

        @return: fires with true at the next change; its canceller forgets it
        """
        waiters = self._waiters.setdefault(job_id, set())

        def forget(done: Deferred[bool]) -> None:
            waiters.discard(done)
            if not waiters and self._waiters.get(job_id) is waiters:
                del self._waiters[job_id]

        done: Deferred[bool] = Deferred(forget)
        waiters.add(done)
        return done

    def changed(self, job_id: int) -> None:
        """Wakes everybody who waits for this job."""
        waiters = self._waiters.pop(job_id, set())
        # One by one, because who is woken may cancel others.
        while waiters:
            waiters.pop().callback(True)

    def __len__(self) -> int:
        return sum(map(len, self._waiters.values()))
