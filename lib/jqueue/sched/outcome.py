"""How a job changes when one of its opcodes starts, ends, fails, is cancelled or tried again.

Pure changes of a draft, used by the processor and by recovery alike; what runs when does not live here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jqueue.errors import GenericError, OpExecError, encode, text_of
from jqueue.jobs.job import CANCELED_TEXT, _QueuedJob
from jqueue.jobs.lifecycle import LATE, PHASE_ABORTING, PHASE_COMMITTING, PHASE_PREPARING, PHASE_WAITING, PHASE_WORK
from jqueue.jobs.opcode import Outcome, Timestamp, _QueuedOpCode, split_timestamp
from jqueue.jobs.status import CANCELED, CANCELING, ERROR, FINALIZED, QUEUED, RUNNING, SUCCESS, WAITING
from jqueue.jobs.storable import storable

MAX_RESULT_SIZE = 1024 * 1024
MAX_TEXT_SIZE = 64 * 1024
"""Bytes of an error's text as UTF-8."""

_SUCCESS = "success"
_ERROR = "error"
_CANCELED = "canceled"
_RETRY = "retry"


def success(value: Any) -> Outcome:
    """The outcome of code that returned.

    @return: an error outcome instead if the value cannot be stored, or is larger than 1 MiB
    """
    if value is None:
        return [_SUCCESS, None]
    try:
        return [_SUCCESS, storable(value, MAX_RESULT_SIZE, "The opcode's result")]
    except OpExecError as problem:
        return error(problem)


def error(problem: BaseException) -> Outcome:
    """The outcome of code that raised; a text of more than 64 KiB is cut."""
    return [_ERROR, _encoded(problem)]


def late(problem: BaseException) -> Outcome:
    """The outcome of code that has done its work, whose `prepare` then refused to commit it."""
    return [*error(problem), LATE]


def _encoded(problem: BaseException) -> list[Any]:
    name, [text, code] = encode(problem)
    return [name, [shortened(str(text)), shortened(str(code))]]


def shortened(text: str) -> str:
    """Cuts a text that is too long for a job, and says so; what UTF-8 cannot hold is escaped."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= MAX_TEXT_SIZE:
        return data.decode()
    return f"{data[:MAX_TEXT_SIZE].decode(errors='ignore')} [cut: {len(data)} bytes]"


def canceled(because: object = None) -> Outcome:
    """The outcome of code that stopped because it was asked to.

    @param because: why, if it was not a user who asked
    """
    return [_CANCELED, because if isinstance(because, str) else CANCELED_TEXT]


def retry(problem: BaseException, at: float | None) -> Outcome:
    """The outcome of an attempt that is to be followed by another.

    @param at: not before this wall time, in seconds; None if the attempt does not count, and the next may start at once
    """
    return [_RETRY, _encoded(problem), at]


def current(job: _QueuedJob) -> int:
    """The index of the opcode that runs or is next.

    @raise ValueError: all of them are final
    """
    for index, op in enumerate(job.ops):
        if op.status not in FINALIZED:
            return index
    raise ValueError(f"job {job.id} has no unfinished opcode")


def retry_at(op: _QueuedOpCode) -> float | None:
    """The wall time before which an opcode is not tried again, if it is to be tried again."""
    return op.outcome[2] if op.outcome is not None and is_retried(op) else None


def is_retried(op: _QueuedOpCode) -> bool:
    """Whether the last attempt at an opcode is to be followed by another."""
    return op.outcome is not None and op.outcome[0] == _RETRY


def mark_waiting(draft: _QueuedJob, now: float) -> bool:
    """Says that the next opcode waits for something.

    @return: whether the job can still run
    """
    if draft.phase != PHASE_WORK or draft.final or draft.CalcStatus() == CANCELING:
        return False
    op = draft.ops[current(draft)]
    if op.status == QUEUED:
        _start(draft, op, split_timestamp(now))
        op.status = WAITING
    return True


def mark_running(
    draft: _QueuedJob, now: float, *, stopping: bool, held: Mapping[str, Mapping[str, Any]] | None = None
) -> bool:
    """Says that the next opcode runs; ends a job that was cancelled while it declared its locks.

    @param stopping: whether nothing is started any more
    @param held: the locks that it has declared
    @return: whether it may: false if the job was cancelled, or paused, in the meantime
    """
    if draft.phase == PHASE_WORK and draft.CalcStatus() == CANCELING:
        conclude(draft, canceled(), now, has_callbacks=False)
    if draft.phase != PHASE_WORK or draft.final or draft.paused or stopping:
        return False
    op = draft.ops[current(draft)]
    when = split_timestamp(now)
    _start(draft, op, when)
    op.status = RUNNING
    op.result = None
    op.outcome = None
    op.held = None if held is None else dict(held)
    op.progress = None
    op.attempt += 1
    op.exec_timestamp = when
    return True


def _start(draft: _QueuedJob, op: _QueuedOpCode, when: Timestamp) -> None:
    op.start_timestamp = op.start_timestamp or when
    draft.start_timestamp = draft.start_timestamp or when


def conclude(draft: _QueuedJob, outcome: Outcome, now: float, *, has_callbacks: bool) -> str:
    """Notes what the running opcode's code ended with.

    A cancel that was noted while it ran beats its success.

    @param has_callbacks: whether its commit or abort has to run before the end is published
    @return: the phase the job is in now
    """
    op = draft.ops[current(draft)]
    if op.status == CANCELING:
        outcome = canceled(op.result)
    if draft.deferred and outcome[0] != _RETRY:
        return defer(draft, outcome, now)
    if not has_callbacks:
        return finish(draft, outcome, now)
    op.outcome = outcome
    draft.phase = PHASE_COMMITTING if outcome[0] == _SUCCESS else PHASE_ABORTING
    return draft.phase


def defer(draft: _QueuedJob, outcome: Outcome, now: float) -> str:
    """Keeps what an opcode of a deferred job has ended with, until the whole job, or its group, has ended.

    @return: the phase the job is in now
    """
    op = draft.ops[current(draft)]
    _note_done(op)
    op.outcome = outcome
    if outcome[0] != _SUCCESS:
        draft.phase = PHASE_ABORTING
    elif op is draft.ops[-1]:
        draft.phase = PHASE_WAITING
    else:
        op.outcome = None
        op.status, op.result, op.end_timestamp = SUCCESS, outcome[1], split_timestamp(now)
        draft.phase = PHASE_WORK
    return draft.phase


def refuse(draft: _QueuedJob, outcome: Outcome, now: float) -> None:
    """Notes that a deferred job must not be committed; a cancel that was noted is stronger."""
    op = draft.ops[current(draft)]
    defer(draft, canceled(op.result) if op.status == CANCELING else outcome, now)


def finish(draft: _QueuedJob, outcome: Outcome, now: float) -> str:
    """Publishes an outcome as the status of the opcode, and of what follows from it for the rest of the job.

    @return: the phase the job is in now
    """
    op = draft.ops[current(draft)]
    canceling = op.status == CANCELING
    if canceling and outcome[0] == _RETRY:
        outcome = canceled(op.result)
        if draft.deferred:
            return defer(draft, outcome, now)
    kind, value = outcome[0], outcome[1]
    draft.phase = PHASE_WORK
    op.outcome = None
    op.held = None
    if kind == _RETRY:
        _again(op, outcome)
        return draft.phase
    op.end_timestamp = split_timestamp(now)
    if kind == _SUCCESS:
        op.status = SUCCESS
        op.result = value
        if canceling:  # it came while the work of this opcode was committed, which is not undone
            draft.MarkUnfinishedOps(CANCELED, CANCELED_TEXT)
        if draft.final:
            draft.Finalize()
    elif kind == _CANCELED:
        draft.MarkUnfinishedOps(CANCELED, value)
        draft.Finalize()
    else:
        op.status = ERROR
        op.result = value
        draft.MarkUnfinishedOps(ERROR, encode(OpExecError("An opcode before this one failed, so it was not run")))
        draft.Finalize()
    return draft.phase


def _again(op: _QueuedOpCode, outcome: Outcome) -> None:
    if outcome[2] is None:
        op.attempt -= 1
        op.status = QUEUED
    else:
        op.status = WAITING
        op.outcome = outcome


def fail(draft: _QueuedJob, problem: GenericError, now: float) -> None:
    """Ends a job whose next opcode cannot be run at all; a cancel that was noted is stronger."""
    if not draft.final:
        op = draft.ops[current(draft)]
        _start(draft, op, split_timestamp(now))
        ended = canceled(op.result) if op.status == CANCELING else error(problem)
        if draft.deferred and not is_decided(draft):
            defer(draft, ended, now)
        else:
            finish(draft, ended, now)


def cancel(draft: _QueuedJob, now: float, *, code_runs: bool) -> tuple[bool, str]:
    """Cancels a job; one that has no code running ends at once, because nobody else would end it.

    @param code_runs: whether a worker runs code of it, be it only to declare its locks
    @return: as `_QueuedJob.Cancel`
    """
    if draft.deferred:
        return _cancel_deferred(draft, code_runs=code_runs)
    done, text = (True, "") if draft.CalcStatus() == CANCELING else draft.Cancel()
    if done and not code_runs and not draft.final and draft.phase == PHASE_WORK:
        finish(draft, canceled(), now)
        text = f"Job {draft.id} canceled"
    return done, text


def _cancel_deferred(draft: _QueuedJob, *, code_runs: bool) -> tuple[bool, str]:
    op = draft.ops[current(draft)]
    if draft.phase == PHASE_COMMITTING:
        return False, f"Job {draft.id} is being committed; it is too late to cancel it"
    if is_decided(draft):
        return op.status == CANCELING, f"Job {draft.id} is being undone"
    if code_runs and op.status == RUNNING and not draft._is_stoppable(op):
        return False, ""
    give_up(draft, code_runs=code_runs)
    return True, f"Job {draft.id} will be canceled"


def give_up(draft: _QueuedJob, *, code_runs: bool, because: str | None = None) -> None:
    """Cancels a deferred job whatever it does, but for one whose end is decided; it is undone when no code runs.

    @param code_runs: as for `cancel`
    @param because: what becomes the result, if it was not a user who asked
    """
    if is_decided(draft):
        return
    op = draft.ops[current(draft)]
    draft.paused = False
    if op.status in (QUEUED, WAITING):
        draft.MarkUnfinishedOps(CANCELING, because)
    op.result = because if op.status != CANCELING else op.result
    op.status = CANCELING
    if not code_runs:
        _note_done(op)
        op.outcome = canceled(op.result)
        draft.phase = PHASE_ABORTING


def _note_done(op: _QueuedOpCode) -> None:
    """Keeps in mind that an opcode had done its work, although it will not count."""
    if op.outcome is not None and op.outcome[0] == _SUCCESS:
        op.progress = [1, 1]


def is_decided(job: _QueuedJob) -> bool:
    """Whether it is decided how a job ends, so that only commits or aborts are still to come."""
    if job.phase != PHASE_ABORTING:
        return job.phase == PHASE_COMMITTING or job.final
    return not is_retried(job.ops[current(job)])


def note_cancel(draft: _QueuedJob, now: float, *, code_runs: bool) -> None:
    """Cancels a job whatever its code does; code that cannot be stopped runs to its end, but its success is lost.

    What is being committed stays; nothing is started after it.

    @param code_runs: as for `cancel`
    """
    if draft.deferred:
        give_up(draft, code_runs=code_runs)
        return
    done, _text = cancel(draft, now, code_runs=code_runs)
    if done:
        return
    op = draft.ops[current(draft)]
    if draft.phase == PHASE_COMMITTING and op is draft.ops[-1]:
        return
    op.status = CANCELING
    if draft.phase == PHASE_WORK and not code_runs:
        finish(draft, canceled(), now)


def recover(draft: _QueuedJob, now: float, *, restartable: bool, has_callbacks: bool) -> None:
    """Brings an unfinished job to a state from which it can go on after the daemon has died (design 2, promise 3).

    @param restartable: whether its current opcode may be run again from its start
    @param has_callbacks: whether its current opcode has to be undone first
    """
    if draft.final:
        return
    op = draft.ops[current(draft)]
    if draft.phase == PHASE_PREPARING and op.status == CANCELING:
        defer(draft, canceled(op.result), now)
    if draft.phase != PHASE_WORK:
        return
    if op.status == WAITING:
        op.status = QUEUED
    elif op.status == CANCELING:
        conclude(draft, canceled(op.result), now, has_callbacks=has_callbacks and op.exec_timestamp is not None)
    elif op.status == RUNNING:
        problem = OpExecError("The daemon died while this opcode ran")
        outcome = retry(problem, None) if restartable else error(problem)
        conclude(draft, outcome, now, has_callbacks=has_callbacks)


def as_generic(problem: Exception) -> GenericError:
    """Gives any exception of opcode code a place in the error tree."""
    return problem if isinstance(problem, GenericError) else GenericError(text_of(problem))
