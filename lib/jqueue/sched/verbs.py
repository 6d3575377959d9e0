"""What users tell jobs after submission: the verbs of QEMU's background jobs, and another priority.

Which verb is legal when is in the table of `jqueue.jobs.lifecycle`; here is what each does, and what is checked first,
in QEMU's order and words. Each is durable before it is answered, and answered before it has its effect.
On a full disk each is refused, but for those that let running code come to its end: what space is left is for that.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from jqueue.errors import JobLost, OpPrereqError, WrongState
from jqueue.jobs import lifecycle, members
from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.status import CANCELING, PRIORITY_MAX, PRIORITY_MIN, SUBMITTABLE_PRIORITIES
from jqueue.opcodes.base import COMPLETE, LEAVE
from jqueue.sched import outcome, settling
from jqueue.sched.archiving import Archiving
from jqueue.sched.edits import Edits
from jqueue.sched.processor import Processor
from jqueue.sched.table import JobTable
from jqueue.workers.control import CANCEL

T = TypeVar("T")


class Verbs:
    """The verbs on jobs of the queue; each fails with `JobLost`, or with an `OpPrereqError` if it is not done."""

    def __init__(
        self,
        *,
        wall: Callable[[], float],
        table: JobTable,
        edits: Edits,
        processor: Processor,
        archiving: Archiving,
        state: Callable[[_QueuedJob], str],
    ) -> None:
        """Makes them.

        @param wall: wall time in seconds
        @param state: computes the lifecycle state of a version of a job
        """
        self._wall = wall
        self._table = table
        self._edits = edits
        self._processor = processor
        self._archiving = archiving
        self._state = state

    def pause(self, job_id: int) -> Deferred[str]:
        """Pauses a job: running code stops at its next pause point, nothing more of it starts; survives a restart.

        @return: fires with what was done, in words
        """

        def change(draft: _QueuedJob) -> bool:
            self._check(draft, lifecycle.PAUSE)
            if draft.paused:
                raise OpPrereqError("Job is already paused")
            draft.paused = True
            return draft.CalcStatus() != CANCELING  # nothing stops a cancellation

        async def pause() -> str:
            if await self._edit(job_id, lifecycle.PAUSE, change):
                self._processor.hold(job_id)
            return f"Job {job_id} is paused"

        return _run(pause())

    def resume(self, job_id: int) -> Deferred[str]:
        """Lets a paused job go on; that it is not paused is found before its state is looked at."""

        def change(draft: _QueuedJob) -> None:
            if not draft.paused:
                raise _not_paused()
            self._check(draft, lifecycle.RESUME)
            draft.paused = False

        async def resume() -> str:
            await self._edit(job_id, lifecycle.RESUME, change)
            self._processor.resume(job_id)
            return f"Job {job_id} goes on"

        return _run(resume())

    def cancel(
        self, job_id: int, *, soft: bool = False, kill: bool = False, even_unstoppable: bool = True
    ) -> Deferred[str]:
        """Cancels a job; running code is asked to stop.

        @param soft: a job that has converged keeps its result; one that is paused is not cancelled
        @param kill: do not leave a command time to end by itself
        @param even_unstoppable: of code that cannot be stopped throw away the result; otherwise such a job is refused
        """

        def change(draft: _QueuedJob) -> str:
            if draft.CalcStatus() == CANCELING and not even_unstoppable:
                return f"Job {job_id} is being canceled already"
            self._check(draft, lifecycle.CANCEL)
            if soft and draft.paused:
                raise OpPrereqError(f"The block job for device '{members.job_name(job_id)}' is currently paused")
            if soft and self._state(draft) == lifecycle.READY and draft.CalcStatus() != CANCELING:
                return self._cancel_softly(draft, even_unstoppable)
            return self._cancel(draft, even_unstoppable)

        async def cancel() -> str:
            runs = job_id in self._processor.executions
            text = await self._edit(job_id, lifecycle.CANCEL, change, refusable=not runs)
            self._processor.running.complete(job_id)
            execution, job = self._processor.executions.get(job_id), self._table.get(job_id)
            works = job is not None and job.phase == lifecycle.PHASE_WORK  # what is undone is not to be cut short
            if kill and works and execution is not None and execution.opcode.stoppable:
                execution.control.stop(CANCEL, kill=True)
            return text

        return _run(cancel())

    def _cancel_softly(self, draft: _QueuedJob, even_completed: bool) -> str:
        """Has a ready job end with what it has, unless its code was told to complete: that stands, as in QEMU."""
        execution = self._processor.executions.get(draft.id)
        if execution is None or execution.control.told is None:
            draft.completion = LEAVE
        elif draft.completion != LEAVE and not even_completed:
            raise OpPrereqError(f"Job {draft.id} is being completed already; only a cancel that is not soft stops that")
        return f"Job {draft.id} will end and keep what it has"

    def _cancel(self, draft: _QueuedJob, even_unstoppable: bool) -> str:
        runs = draft.id in self._processor.executions
        if even_unstoppable:
            draft.paused = False
            outcome.note_cancel(draft, self._wall(), code_runs=runs)
            return f"Job {draft.id} will be canceled"
        done, text = outcome.cancel(draft, self._wall(), code_runs=runs)
        if not done and outcome.is_decided(draft):
            raise OpPrereqError(text)
        if not done:
            running = draft.ops[outcome.current(draft)].input.get("OP_ID")
            raise OpPrereqError(f"Job {draft.id} runs {running}, which cannot be stopped; it goes on to its end")
        draft.paused = False
        return text

    def set_speed(self, job_id: int, speed: int) -> Deferred[str]:
        """Limits a job's speed, in bytes per second; 0 for no limit."""

        def change(draft: _QueuedJob) -> None:
            self._check(draft, lifecycle.SET_SPEED)
            if speed < 0:
                raise OpPrereqError("Parameter 'speed' expects a non-negative value")
            draft.speed = speed

        async def set_speed() -> str:
            await self._edit(job_id, lifecycle.SET_SPEED, change)
            execution = self._processor.executions.get(job_id)
            if execution is not None:
                execution.control.set_speed(speed)
            return f"Job {job_id} is limited to {speed} bytes a second" if speed else f"Job {job_id} has no speed limit"

        return _run(set_speed())

    def complete(self, job_id: int) -> Deferred[str]:
        """Tells a job that is ready to come to its end."""

        def change(draft: _QueuedJob) -> None:
            self._check(draft, lifecycle.COMPLETE)
            if draft.CalcStatus() == CANCELING or draft.completion == LEAVE:
                raise OpPrereqError(f"The active block job '{members.job_name(job_id)}' cannot be completed")
            draft.completion = COMPLETE

        async def complete() -> str:
            await self._edit(job_id, lifecycle.COMPLETE, change, refusable=False)
            self._processor.running.complete(job_id)
            return f"Job {job_id} will be completed"

        return _run(complete())

    def finalize(self, job_id: int) -> Deferred[str]:
        """Finalises a pending job, and with it its group; whether that succeeds shows when they have ended."""

        def change(drafts: list[_QueuedJob]) -> None:
            own = next((draft for draft in drafts if draft.id == job_id), None)
            if own is None:
                raise JobLost("it has ended meanwhile")
            self._check(own, lifecycle.FINALIZE)
            settling.prepare(drafts)

        async def finalize() -> str:
            job = self._table.get(job_id) if job_id in self._table.unfinished else None
            groups = self._processor.groups
            group = groups.of(job) if job is not None else None
            if group is None:
                self._check_published(job_id, lifecycle.FINALIZE)
            else:
                try:
                    await groups.edit(group, change, refusable=True)
                except JobLost:
                    self._check_published(job_id, lifecycle.FINALIZE)
                    raise
            return f"Job {job_id} is being finalized"

        return _run(finalize())

    def dismiss(self, job_id: int) -> Deferred[str]:
        """Archives a concluded job."""

        async def dismiss() -> str:
            self._check_published(job_id, lifecycle.DISMISS)
            if not await self._archiving.archive([job_id]):
                raise _lost(job_id)
            return f"Job {job_id} is archived"

        return _run(dismiss())

    def change_priority(self, job_id: int, priority: int, admin: bool) -> Deferred[tuple[bool, str]]:
        """Changes the priority of the opcodes of a job that have not started.

        @raise OpPrereqError: such a priority is not allowed
        """
        if not PRIORITY_MIN <= priority <= PRIORITY_MAX:
            raise OpPrereqError(f"priority: {PRIORITY_MIN} to {PRIORITY_MAX} expected, got {priority}")
        if priority not in SUBMITTABLE_PRIORITIES and not admin:
            raise OpPrereqError(f"priority: -10, 0 or 10 expected, got {priority}; an administrator may set any")
        if job_id in self._table.finished:
            return succeed((False, f"Job {job_id} is finished"))
        if job_id not in self._table.unfinished:
            return succeed((False, _lost(job_id).text))
        return self._edits.edit(job_id, lambda draft: draft.ChangePriority(priority), refusable=True)

    # Checks

    async def _edit(self, job_id: int, verb: str, change: Callable[[_QueuedJob], T], *, refusable: bool = True) -> T:
        """Changes a job; one that has concluded meanwhile is refused as such."""
        if job_id in self._table.unfinished:
            try:
                return await self._edits.edit(job_id, change, refusable=refusable)
            except JobLost:
                pass  # it has ended, or left, since; which of them is told below
        if job_id in self._table.finished and verb == lifecycle.RESUME:
            raise _not_paused()
        self._check_published(job_id, verb)
        raise _lost(job_id)

    def _check(self, job: _QueuedJob, verb: str) -> None:
        lifecycle.check_verb(self._state(job), verb, members.job_name(job.id))

    def _check_published(self, job_id: int, verb: str) -> None:
        if job_id in self._table.finished:
            lifecycle.check_verb(lifecycle.CONCLUDED, verb, members.job_name(job_id))
        else:
            job = self._table.get(job_id)
            if job is None:
                raise _lost(job_id)
            self._check(job, verb)


def answered(answer: Deferred[str], job_id: int) -> Deferred[tuple[bool, str]]:
    """Turns what became of a verb into the answer of our own protocol: whether it was done, and words for people."""

    def refused(failure: Failure) -> tuple[bool, str]:
        failure.trap(OpPrereqError, JobLost)
        problem = failure.value
        if isinstance(problem, WrongState):
            return False, _in_words(problem, job_id)
        return False, str(problem)

    return answer.addCallbacks(lambda text: (True, text), refused)


def _in_words(problem: WrongState, job_id: int) -> str:
    if problem.state == lifecycle.CONCLUDED:
        return f"Job {job_id} is finished"
    wanted = {
        lifecycle.COMPLETE: "only a job that is ready can be completed",
        lifecycle.FINALIZE: "only a job that is pending can be finalized",
        lifecycle.CANCEL: "its end is decided",
        lifecycle.DISMISS: "only a job that has ended can be archived",
    }
    return f"Job {job_id} is {problem.state}: {wanted.get(problem.verb, 'its work is done')}"


def _not_paused() -> OpPrereqError:
    return OpPrereqError("Can't resume a job that was not paused")


def _lost(job_id: int) -> JobLost:
    return JobLost(f"There is no job {job_id} in the queue; it may be archived")


def _run(work: Coroutine[Deferred[Any], Any, T]) -> Deferred[T]:
    return Deferred.fromCoroutine(work)
