"""Reading the daemon's report of locks: which of them a job has or wants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def of_job(locks: Sequence[Mapping[str, Any]], job_id: int) -> list[dict[str, Any]]:
    """Gives the locks that a job holds or waits for.

    @param locks: the result of QueryLocks
    @return: maps of name, mode and held
    """
    found: list[dict[str, Any]] = []
    for lock in locks:
        if job_id in lock["owners"]:
            found.append({"name": lock["name"], "mode": lock["mode"], "held": True})
        for mode, owners in lock["pending"]:
            if job_id in owners:
                found.append({"name": lock["name"], "mode": mode, "held": False})
    return found
