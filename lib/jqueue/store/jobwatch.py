"""Noticing that an administrator moved or removed a job file while the daemon runs.

The daemon's own renames into the state directory make none of the events watched for here; those out of it (archiving)
do, so it is for the queue to know which of its jobs it archived itself. What a missing file means does not live here.
"""

from __future__ import annotations

from collections.abc import Callable

from jqueue.store.archive import job_id_of
from jqueue.store.statedir import StateDirectory
from jqueue.watch import DELETE, MOVED_FROM, DirectoryWatch


class JobWatch:
    """Tells of job files that went away; belongs to the reactor thread."""

    def __init__(self, state: StateDirectory, watch: DirectoryWatch, on_gone: Callable[[int], None]) -> None:
        """Tells nothing before `start`.

        @param on_gone: is called with the id of a job whose file was moved or removed; it may be there again by now
        """
        self._state = state
        self._watch = watch
        self._on_gone = on_gone

    def start(self) -> bool:
        """@return: False if the directory cannot be watched; then only the next start notices what went away"""
        return self._watch.watch(self._state.path, DELETE | MOVED_FROM, self._on_event, self._on_rescan)

    def _on_event(self, name: str, mask: int) -> None:
        if (job_id := job_id_of(name)) is not None:
            self._on_gone(job_id)

    def _on_rescan(self) -> None:
        """Lost events need no scan: a job file that went away unnoticed is written again, the journal is the truth."""
