"""What became of a job, in words and as an exit status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jqueue import errors
from jqueue.cli.exit import Exit, of_statuses
from jqueue.cli.terminal import Connection
from jqueue.jobs.status import FINALIZED


def lost(job_id: int) -> errors.JobLost:
    """The error for an id that no job has."""
    return errors.JobLost(
        f"there is no job {job_id}, neither in the queue nor in the archive; `jqueue list` shows the ids"
    )


def query(
    connection: Connection, ids: Sequence[int] | None, fields: Sequence[str], qfilter: object = None
) -> list[dict[str, Any]]:
    """Asks for fields of jobs.

    @param ids: None for all
    @return: a map of fields for each job, None for all but the id where there is no such job
    """
    rows = connection.call("QueryJobs", None if ids is None else list(ids), list(fields), qfilter)
    return [dict(zip(fields, row, strict=True)) for row in rows]


def failure_text(opresult: Sequence[Any] | None, opstatus: Sequence[str] | None = None) -> str | None:
    """Says why a job failed.

    @param opresult: the results of its opcodes
    @return: the text of the first error among them, on one line; None if there is none
    """
    for number, result in enumerate(opresult or ()):
        failed = opstatus is None or opstatus[number] in ("error", "canceled")
        if failed and result is not None:
            return " ".join(errors.decode(result).text.split())
    return None


def command_status(opstatus: Sequence[str], opresult: Sequence[Any]) -> int:
    """Gives the exit status that a job of one OP_RUN_COMMAND stands for, as a shell would.

    @return: the command's own; 128 + N if signal N ended it; that of the job's status if there is no such number
    """
    last = opresult[-1] if opresult else None
    if opstatus and opstatus[-1] == "success":
        return last if isinstance(last, int) and not isinstance(last, bool) and 0 <= last < 256 else Exit.OK
    if opstatus and opstatus[-1] == "error":
        kind, _, number = errors.decode(last).code.partition(":")
        offset = {"exit_status": 0, "signal": 128}.get(kind)
        if offset is not None and number.isdecimal() and 0 < offset + int(number) < 256:
            return offset + int(number)
    return of_statuses(opstatus)


def end_text(row: Mapping[str, Any]) -> str:
    """Says how a job ended: `success`, `canceled`, or `error: ` and why."""
    why = failure_text(row.get("opresult"), row.get("opstatus")) if row["status"] == "error" else None
    return f"{row['status']}: {why}" if why else str(row["status"])


def is_final(status: object) -> bool:
    """Whether a job with this status has ended."""
    return status in FINALIZED
