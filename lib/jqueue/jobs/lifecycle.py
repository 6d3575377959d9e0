"""The lifecycle of a job in QEMU's words: states, legal transitions, which verb is legal in which state.

Computed from what is stored (phase, opcodes) and what only the running daemon knows (stopped at a pause point, ready).
Stored is the `phase`, whose words live here too; Ganeti's words live in `jqueue.jobs.status`, and the protocol's
error texts and event order in `jqueue.rpc.qmp`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jqueue import errors
from jqueue.jobs import status

if TYPE_CHECKING:
    from jqueue.jobs.job import _QueuedJob

UNDEFINED: Final = "undefined"
CREATED: Final = "created"
RUNNING: Final = "running"
PAUSED: Final = "paused"
READY: Final = "ready"
STANDBY: Final = "standby"
WAITING: Final = "waiting"
PENDING: Final = "pending"
ABORTING: Final = "aborting"
CONCLUDED: Final = "concluded"
NULL: Final = "null"

CANCEL: Final = "cancel"
PAUSE: Final = "pause"
RESUME: Final = "resume"
SET_SPEED: Final = "set-speed"
COMPLETE: Final = "complete"
FINALIZE: Final = "finalize"
DISMISS: Final = "dismiss"

LATE: Final = "late"
"""Marks the outcome of an opcode whose work was done, but must not be committed."""

PHASE_WORK: Final = "work"
PHASE_WAITING: Final = "waiting"
PHASE_PENDING: Final = "pending"
PHASE_PREPARING: Final = "preparing"
PHASE_COMMITTING: Final = "committing"
PHASE_ABORTING: Final = "aborting"
PHASE_DONE: Final = "done"

_COLUMNS: Final = {
    "C": CREATED,
    "R": RUNNING,
    "P": PAUSED,
    "Y": READY,
    "S": STANDBY,
    "W": WAITING,
    "D": PENDING,
    "X": ABORTING,
    "E": CONCLUDED,
    "N": NULL,
}

STATES: Final[tuple[str, ...]] = tuple(_COLUMNS.values())


def _read(table: str) -> dict[str, frozenset[str]]:
    header, *rows = (line.split() for line in table.strip().splitlines())
    return {
        name: frozenset(_COLUMNS[letter] for letter, mark in zip(header, marks, strict=True) if mark == "x")
        for name, *marks in rows
    }


TRANSITIONS: Final = _read("""
            C R P Y S W D X E N
undefined   x . . . . . . . . .
created     . x . . . . . x . x
running     . . x x . x . x . .
paused      . x . . . . . . . .
ready       . . . . x x . x . .
standby     . . . x . . . . . .
waiting     . . . . . . x x . .
pending     . . . . . . . x x .
aborting    . . . . . . . x x .
concluded   . . . . . . . . . x
null        . . . . . . . . . .
""")
"""State -> the states that may follow it."""

VERBS: Final = _read("""
            C R P Y S W D X E N
cancel      x x x x x x x . . .
pause       x x x x x . . . . .
resume      x x x x x . . . . .
set-speed   x x x x x . . . . .
complete    . . . x x . . . . .
finalize    . . . . . . x . . .
dismiss     . . . . . . . . x .
""")
"""Verb -> the states in which it is legal."""


def check_verb(state: str, verb: str, name: str | None = None) -> None:
    """Refuses a verb that is not legal in a state.

    @param state: the job's lifecycle state
    @param verb: one of `VERBS`
    @param name: what the asker calls the job, for the text
    @raise errors.WrongState: in QEMU's words, which its clients compare
    """
    if state not in VERBS[verb]:
        job = "Job" if name is None else f"Job '{name}'"
        raise errors.WrongState(f"{job} in state '{state}' cannot accept command verb '{verb}'", state=state, verb=verb)


def lifecycle(job: _QueuedJob, *, paused_now: bool = False, ready: bool = False) -> str:
    """Computes a job's lifecycle state.

    @param job: the job
    @param paused_now: whether its running opcode is stopped at a pause point
    @param ready: whether its running opcode has converged and waits to be completed
    @return: one of `STATES`
    """
    if job.archived:
        return NULL
    job_status = job.CalcStatus()
    if job.phase == PHASE_DONE or job_status in status.FINALIZED:
        return CONCLUDED
    settled = _of_phase(job)
    if settled is not None:
        return settled
    has_run = job_status == status.RUNNING or any(op.exec_timestamp is not None for op in job.ops)
    if not has_run:
        return ABORTING if job_status == status.CANCELING else CREATED
    # A cancel lifts the pause by itself, and is noticed only at the next checkpoint.
    stopped = job_status != status.CANCELING and (
        paused_now or (job.paused and job_status in (status.QUEUED, status.WAITING))
    )
    if ready:
        return STANDBY if stopped else READY
    return PAUSED if stopped else RUNNING


def is_refused_late(job: _QueuedJob) -> bool:
    """Whether all of a job's work was done, and only then its finalisation failed."""
    last = job.ops[-1]
    return last.status not in status.FINALIZED and last.outcome is not None and last.outcome[2:] == [LATE]


def _of_phase(job: _QueuedJob) -> str | None:
    """Gives the state of a job whose phase alone decides it, None for one that is still at work."""
    current = next((op for op in job.ops if op.status not in status.FINALIZED), None)
    if job.phase == PHASE_COMMITTING:
        # Each opcode of a job that is not deferred commits on its own: only after the last one the job's work is done.
        return PENDING if job.deferred or current is job.ops[-1] else None
    if job.phase == PHASE_ABORTING:
        retried = current is not None and current.outcome is not None and current.outcome[0] == "retry"
        return None if retried else ABORTING
    return {PHASE_WAITING: WAITING, PHASE_PENDING: PENDING, PHASE_PREPARING: PENDING}.get(job.phase)
