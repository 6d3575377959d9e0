"""How the daemon is, for people and for whoever monitors it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from jqueue import __version__
from jqueue.sched.outside import Outside


def condition(
    outside: Outside, *, uptime: float, stopping: bool, jobs: Mapping[str, int], last_id: int, waiting_clients: int
) -> dict[str, Any]:
    """Says how the daemon is.

    @param uptime: seconds
    @param jobs: how many there are, by status
    @param waiting_clients: how many wait for a change
    """
    journal, job_files = outside.journal, outside.job_files
    return {
        "version": __version__,
        "pid": os.getpid(),
        "uptime": round(uptime, 3),
        "stopping": stopping,
        "drained": outside.drain.drained,
        "jobs": {status: count for status, count in jobs.items() if count},
        "last_id": last_id,
        "journal": {
            "full": journal.full,
            "records": journal.appended,
            "syncs": journal.syncs,
            "last_sync_seconds": journal.last_sync_seconds,
            "max_sync_seconds": journal.max_sync_seconds,
        },
        "job_files": {"pending": job_files.pending, "lag": round(job_files.lag, 3)},
        "waiting_clients": waiting_clients,
    }
