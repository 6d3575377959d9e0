"""Where a job is in its life, in words: how far it is, what holds it up, and what its user has to say to it.

A state is named in QEMU's words, `jqueue.jobs.lifecycle`, and only where that says more than the status does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jqueue.cli.rates import rate_text
from jqueue.cli.terminal import Terminal
from jqueue.cli.words import progress_text
from jqueue.jobs import lifecycle, status

Row = Mapping[str, Any]

DETAILS = ("phase", "paused", "speed", "group", "members", "completion")
"""Fields that say more about a job, as long as it has not ended."""

COMPLETE = "complete"
FINALIZE = "finalize"


def needs(row: Row) -> str | None:
    """Gives the verb that a job waits for from its user.

    @param row: with lifecycle, phase and completion
    @return: `complete` or `finalize`; None if it waits for nobody
    """
    if row["lifecycle"] == lifecycle.READY and row.get("completion") is None:
        return COMPLETE
    # A job that is being finalised is pending as well.
    if row["lifecycle"] == lifecycle.PENDING and row.get("phase") == lifecycle.PHASE_PENDING:
        return FINALIZE
    return None


def note(job: Row, verb: str | None) -> str:
    """Says what the lifecycle adds to the status of a job.

    @param verb: what `needs` gave
    @return: empty if it adds nothing
    """
    state = job.get("lifecycle")
    if state in (lifecycle.PAUSED, lifecycle.READY, lifecycle.STANDBY):
        return str(state)
    if state == lifecycle.WAITING:
        return "waiting for its group"
    if state == lifecycle.PENDING and verb == FINALIZE:
        return lifecycle.PENDING
    return lifecycle.ABORTING if state == lifecycle.ABORTING and job["status"] == status.RUNNING else ""


def stage_text(row: Row) -> str | None:
    """Says where a job is, for a table.

    @param row: with id, status, lifecycle, progress and, if it has not ended, `DETAILS`
    @return: None if the status says it all
    """
    state, verb = row["lifecycle"], needs(row)
    so_far = progress_text(row["progress"]) if row.get("progress") else ""
    limit = limit_text(row.get("speed"))
    parts: list[str] = []
    if state == lifecycle.CREATED:
        parts = ["paused" if row.get("paused") else ""]
    elif state == lifecycle.RUNNING:
        pausing = row.get("paused") and row["status"] == status.RUNNING
        parts = [so_far, limit, "pausing" if pausing else ""]
    elif state == lifecycle.PAUSED:
        parts = [f"paused at {so_far}" if so_far else "paused"]
    elif state == lifecycle.READY:
        parts = ["ready: `jqueue complete {id}`".format(**row)] if verb else ["ready, told to end", limit]
    elif state == lifecycle.STANDBY:
        parts = ["standby: `jqueue resume {id}`".format(**row)] if row.get("paused") else ["standby"]
    elif state == lifecycle.WAITING:
        who = [row.get("group") or "", f"({ids_text(row['members'])})" if row.get("members") else ""]
        parts = [" ".join(filter(None, ["done, waits for its group", *who]))]
    elif state == lifecycle.PENDING:
        parts = ["pending: `jqueue finalize {id}`".format(**row)] if verb else ["being finalized"]
    elif state == lifecycle.ABORTING:
        parts = ["aborting" if row["status"] == status.RUNNING else ""]
    return ", ".join(filter(None, parts)) or None


def limit_text(speed: float | None) -> str:
    """Says what limit there is to the speed of a job; nothing if there is none."""
    return f"at most {rate_text(speed)}" if speed else ""


def ids_text(members: Any) -> str:
    """Gives the first and the last id of a group as one writes them for a verb."""
    first, last = members
    return f"{first}-{last}" if first != last else str(first)


class Advice:
    """Tells the user what jobs wait for from them; each once."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._told: set[tuple[object, ...]] = set()

    def give(self, job_id: int, verb: str | None, members: Any = None) -> bool:
        """Tells it, unless it was told before.

        @param verb: what `needs` gave
        @param members: of the job's group
        @return: whether nothing more needs to be said of the state that the job is in
        """
        if verb is None:
            return False
        grouped = verb == FINALIZE and _several(members)
        key = (verb, *members) if grouped else (verb, job_id)
        if key in self._told:
            return grouped
        self._told.add(key)
        self._terminal.say(advice_text(job_id, verb, members))
        return True


def advice_text(job_id: int, verb: str, members: Any = None) -> str:
    """Says what a job waits for from its user, and how to do it."""
    if verb == COMPLETE:
        return f"job {job_id} is ready: `jqueue complete {job_id}` ends it"
    if not _several(members):
        return f"job {job_id} is pending: `jqueue finalize {job_id}` ends it"
    return f"the group of jobs {ids_text(members)} is pending: `jqueue finalize {members[0]}` ends it"


def _several(members: Any) -> bool:
    return bool(members) and members[0] != members[1]
