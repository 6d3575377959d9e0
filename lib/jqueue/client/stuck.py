"""Finding jobs that do not get on, from what the daemon says of its workers: behind a paused job, or for very long.

Why one job waits is the daemon's to explain (`jqueue why`); this looks over all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from jqueue.client.checks import OK, WARN, Check, span

LONG = 3600.0
"""Seconds after which a wait for a lock, or for a worker, is worth a word."""


class Caller(Protocol):
    """What is needed of a connection."""

    def call(self, method: str, *args: object, timeout: float | None = None) -> Any:
        """Calls a method and waits for its result."""


def stuck(connection: Caller) -> Iterator[Check]:
    """Looks for such jobs.

    @raise GenericError: the daemon does not answer
    """
    pool = connection.call("QueryWorkers")
    found = [*_behind_locks(pool, _paused(connection, pool)), *_behind_workers(pool)]
    yield from found
    if not found:
        yield Check(OK, "waiting", f"{pool['waiting']} jobs wait, none behind a paused job or for over {span(LONG)}")


def _paused(connection: Caller, pool: Mapping[str, Any]) -> set[int]:
    holders = {holder["id"] for job in pool["jobs"] for holder in job.get("holders") or ()}
    paused = {job["id"] for job in pool["jobs"] if job["state"] == "paused"}
    rows = connection.call("QueryJobs", sorted(holders), ["id", "paused"], None) if holders else []
    return paused | {job_id for job_id, is_paused in rows if is_paused}


def _behind_locks(pool: Mapping[str, Any], paused: set[int]) -> Iterator[Check]:
    waiting: dict[tuple[str, tuple[int, ...]], list[Mapping[str, Any]]] = {}
    for job in pool["jobs"]:
        holders = tuple(sorted(holder["id"] for holder in job.get("holders") or ()))
        if holders and (job["since"] >= LONG or paused.intersection(holders)):
            waiting.setdefault((job["lock"], holders), []).append(job)
    for (lock, holders), jobs in waiting.items():
        longest = max(jobs, key=lambda job: float(job["since"]))
        others = f" (and {len(jobs) - 1} more)" if len(jobs) > 1 else ""
        text = f"job {longest['id']}{others} has waited {span(longest['since'])} for {lock}, which {_jobs(holders)}"
        if asleep := sorted(paused.intersection(holders)):
            cure = f"`jqueue resume {_ids(asleep)}` or `jqueue cancel {_ids(asleep)}`"
            yield Check(
                WARN,
                "waiting",
                f"{text}; it is paused" if len(holders) == 1 else f"{text}; paused: {_ids(asleep)}",
                cure,
            )
        else:
            cure = f"`jqueue info {holders[0]}` shows what that does, `jqueue cancel {holders[0]}` stops it"
            yield Check(WARN, "waiting", text, cure)


def _behind_workers(pool: Mapping[str, Any]) -> Iterator[Check]:
    ages = [float(job["since"]) for job in pool["jobs"] if job["state"] == "running"]
    if ages and pool["queued"] and pool["running"] >= pool["size"] and min(ages) >= LONG:
        text = f"all {pool['size']} workers have been busy for over {span(min(ages))}, {pool['queued']} jobs are queued"
        yield Check(WARN, "workers", text, "`jqueue workers` shows with what; workers.size sets how many there are")


def _jobs(ids: tuple[int, ...]) -> str:
    return f"job {ids[0]} has" if len(ids) == 1 else f"jobs {_ids(ids)} have"


def _ids(ids: list[int] | tuple[int, ...]) -> str:
    return ",".join(map(str, ids))
