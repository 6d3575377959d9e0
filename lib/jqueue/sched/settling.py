"""How deferred jobs come to their end together: what is due next for a group, and what it does to its jobs.

Pure changes of drafts; a job that is deferred alone is a group of one. Whose callbacks run when is in
`jqueue.sched.groups`, what becomes of a single opcode in `jqueue.sched.outcome`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.lifecycle import (
    PHASE_ABORTING,
    PHASE_COMMITTING,
    PHASE_PENDING,
    PHASE_PREPARING,
    PHASE_WAITING,
)
from jqueue.jobs.status import CANCELING
from jqueue.sched import outcome

Jobs = Sequence[_QueuedJob]
"""The unfinished jobs of a group, the newest first: in this order they are finalised."""


@dataclass(frozen=True)
class Facts:
    """What the jobs themselves do not say."""

    runs: Callable[[int], bool]
    """Whether a worker runs code of a job."""
    has_callbacks: Callable[[_QueuedJob], bool]
    """Whether opcodes of a job that have run have something to prepare, commit or abort."""
    prepared: Collection[int]
    """The jobs whose prepares were all successful."""


def advance(jobs: Jobs, facts: Facts, now: float) -> None:
    """Moves the jobs of a group as far as they come without running code.

    @param jobs: drafts
    @param now: wall time in seconds
    """
    while (step := due(jobs, facts)) is not None:
        step(jobs, facts, now)
        jobs = [job for job in jobs if not job.final]


Step = Callable[[Jobs, Facts, float], None]


def due(jobs: Jobs, facts: Facts) -> Step | None:
    """Finds the next step of a group, if there is one that needs no code to run first."""
    if not jobs:
        return None
    if any(has_failed(job) for job in jobs):
        if not all(outcome.is_decided(job) or _is_stopping(job, facts) for job in jobs):
            return _give_up
        return _finish if _is_undoing(jobs, facts) and _needs_no_code(jobs[0], facts) else None
    phases = {job.phase for job in jobs}
    if phases == {PHASE_WAITING}:
        return _pend
    if phases == {PHASE_PENDING} and all(job.auto_finalize for job in jobs):
        return _prepare
    if phases == {PHASE_PREPARING} and all(_is_prepared(job, facts) for job in jobs):
        return _decide
    if phases == {PHASE_COMMITTING} and _needs_no_code(jobs[0], facts):
        return _finish
    return None


def turn(jobs: Jobs, facts: Facts) -> _QueuedJob | None:
    """Finds the job of a group whose callbacks are next, if it is time for callbacks."""
    if not jobs or any(facts.runs(job.id) for job in jobs):
        return None
    if _is_undoing(jobs, facts) or jobs[0].phase == PHASE_COMMITTING:
        return jobs[0]
    if any(has_failed(job) for job in jobs):
        return None
    return next((job for job in jobs if job.phase == PHASE_PREPARING and not _is_prepared(job, facts)), None)


def has_failed(job: _QueuedJob) -> bool:
    """Whether a job will not be successful, and its group neither."""
    return job.CalcStatus() == CANCELING or (job.phase == PHASE_ABORTING and outcome.is_decided(job))


def _is_stopping(job: _QueuedJob, facts: Facts) -> bool:
    return job.CalcStatus() == CANCELING and facts.runs(job.id)


def _is_undoing(jobs: Jobs, facts: Facts) -> bool:
    """Whether all of a group are to be undone, and no code of it runs that would have to end first."""
    return all(job.phase == PHASE_ABORTING and outcome.is_decided(job) and not facts.runs(job.id) for job in jobs)


def _is_prepared(job: _QueuedJob, facts: Facts) -> bool:
    return job.id in facts.prepared or _needs_no_code(job, facts)


def _needs_no_code(job: _QueuedJob, facts: Facts) -> bool:
    return not facts.runs(job.id) and not facts.has_callbacks(job)


# Steps


def _give_up(jobs: Jobs, facts: Facts, now: float) -> None:
    failed = [job for job in jobs if has_failed(job)]
    cause = next((job for job in failed if job.CalcStatus() != CANCELING), failed[0])
    because = f"Job {cause.id} of its group {'was canceled' if cause.CalcStatus() == CANCELING else 'failed'}"
    for job in jobs:
        outcome.give_up(job, code_runs=facts.runs(job.id), because=because)


def _pend(jobs: Jobs, facts: Facts, now: float) -> None:
    for job in jobs:
        job.phase = PHASE_PENDING


def _prepare(jobs: Jobs, facts: Facts, now: float) -> None:
    prepare(jobs)


def prepare(jobs: Jobs) -> None:
    """Begins the finalisation of the jobs of a group that are pending."""
    for job in jobs:
        if job.phase == PHASE_PENDING:
            job.phase = PHASE_PREPARING


def _decide(jobs: Jobs, facts: Facts, now: float) -> None:
    for job in jobs:
        job.phase = PHASE_COMMITTING


def _finish(jobs: Jobs, facts: Facts, now: float) -> None:
    """Ends the jobs from the newest on, up to one whose callbacks have to run first."""
    for job in jobs:
        if not _needs_no_code(job, facts):
            return
        ended = job.ops[outcome.current(job)].outcome
        assert ended is not None, f"job {job.id} is decided without an outcome"
        outcome.finish(job, ended, now)
