"""A job in the members that QEMU has for one: type, progress, error.

Which of them an answer or an event has is decided there; the lifecycle itself is in `jqueue.jobs.lifecycle`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from jqueue.jobs import status

if TYPE_CHECKING:
    from jqueue.jobs.job import _QueuedJob

CANCELED_ERROR: Final = "Operation canceled"
"""The error of a job that was cancelled: the text of ECANCELED."""

OPCODE_UNITS: Final = 100
"""What one opcode counts for in the progress of its job."""

_QEMU_TYPES: Final = {"OP_MIRROR_TREE": "mirror"}
"""What QEMU calls that kind of job, where it has a word for it."""


def job_name(job_id: int) -> str:
    """What a job is called in QEMU's dialect."""
    return f"job{job_id}"


def job_type(op_id: object) -> str:
    """The type of a job, from the OP_ID of its first opcode."""
    return _QEMU_TYPES.get(str(op_id)) or str(op_id).removeprefix("OP_").lower()


def progress(job: _QueuedJob, share: Sequence[object] | None) -> tuple[int, int]:
    """How far a job is; only the ratio counts, and nothing is decided by it.

    @param share: done and total of the opcode that runs, if it has said so
    @return: done, total; the total is never 0
    """
    done = 0
    for op in job.ops:
        if op.status == status.SUCCESS or (op.outcome is not None and op.outcome[0] == "success"):
            done += OPCODE_UNITS
        elif op.status in (status.RUNNING, status.CANCELING) and share is not None:
            done += _part(share)
            share = None
        elif op.progress is not None:
            done += _part(op.progress)
    return done, OPCODE_UNITS * max(len(job.ops), 1)


def _part(share: Sequence[object]) -> int:
    done, total = share[0], share[1]
    if not isinstance(done, int) or not isinstance(total, int) or total <= 0:
        return 0
    return min(max(done, 0) * OPCODE_UNITS // total, OPCODE_UNITS)


def error(job: _QueuedJob) -> str | None:
    """Why a job that has ended was not successful; None if it was, or has not ended."""
    job_status = job.CalcStatus()
    if job_status == status.CANCELED:
        return CANCELED_ERROR
    if job_status != status.ERROR:
        return None
    return next((_text(op.result) for op in job.ops if op.status == status.ERROR), "")


def _text(result: object) -> str:
    # Ours is [class, [text, code]]; a job file from elsewhere may have anything.
    match result:
        case [_, [str(text), *_]]:
            return text
        case _:
            return str(result)
