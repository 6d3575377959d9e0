"""Runs the code of one job's turn in a worker, and records what comes of it: an opcode, or the callbacks of a job.

What comes of a turn that a job cannot take is recorded here too.

Which job has its turn is decided by `jqueue.sched.processor`; what a record says, in `jqueue.sched.outcome`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from twisted.logger import Logger
from twisted.python.failure import Failure

from jqueue.errors import GenericError
from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.lifecycle import PHASE_ABORTING, PHASE_COMMITTING, PHASE_PREPARING, PHASE_WORK
from jqueue.jobs.opcode import Outcome
from jqueue.jobs.status import CANCELING
from jqueue.opcodes.base import OpCode
from jqueue.opcodes.lockspec import LockSet
from jqueue.sched import outcome
from jqueue.sched.edits import unless_stopping
from jqueue.sched.execution import Execution
from jqueue.sched.groups import Groups, awaits_turn
from jqueue.sched.parts import Parts
from jqueue.workers.control import SHUTDOWN

MakeExecution = Callable[[_QueuedJob, OpCode, int], Execution]


class Runner:
    """Runs what a job's turn is."""

    _log = Logger()

    def __init__(
        self,
        parts: Parts,
        groups: Groups,
        *,
        make_execution: MakeExecution,
        declared: Callable[[Execution], LockSet | None],
        code_ended: Callable[[Execution], None],
        replaced: Callable[[Execution, Execution], None],
    ) -> None:
        """Makes it.

        @param declared: see `Claims`
        @param code_ended: told that an execution needs no worker any more, though its end is not recorded yet
        @param replaced: told, for the callbacks of several opcodes, that the first execution is followed by the second
        """
        self._wall = parts.wall
        self._table = parts.table
        self._edits = parts.edits
        self._groups = groups
        self._registry = parts.registry
        self._make_execution = make_execution
        self._declared = declared
        self._code_ended = code_ended
        self._replaced = replaced

    # What cannot run

    def wait(self, job_id: int) -> None:
        """Records that a job waits for something."""
        self._edit_aside(job_id, lambda draft: outcome.mark_waiting(draft, self._wall()))

    def end(self, job_id: int, problem: GenericError | None) -> None:
        """Ends a job that cannot run: cancelled without a problem, else in error."""

        def change(draft: _QueuedJob) -> None:
            if awaits_turn(draft) and not self._groups.has_turn(job_id):
                return  # that it cannot run was found before
            if problem is not None:
                outcome.fail(draft, problem, self._wall())
            elif not draft.final:
                outcome.cancel(draft, self._wall(), code_runs=False)

        self._edit_aside(job_id, change)

    def _edit_aside(self, job_id: int, change: Callable[[_QueuedJob], object]) -> None:
        def failed(failure: Failure) -> None:
            self._log.error("Job {job_id} could not be changed: {failure}", job_id=job_id, failure=failure)

        self._edits.edit(job_id, change).addErrback(unless_stopping).addErrback(failed)

    # One opcode

    async def run(self, execution: Execution, phase: str) -> None:
        """Runs an opcode; one with an outcome already is committed or undone.

        @param phase: the phase that the job is in when its turn begins
        """
        job_id = execution.job_id

        def start(draft: _QueuedJob) -> bool:
            stopping = execution.control.stop_reason == SHUTDOWN
            return outcome.mark_running(draft, self._wall(), stopping=stopping, held=self._declared(execution))

        if phase == PHASE_WORK:
            if not await self._edits.edit(job_id, start):
                return
            ended = await execution.run()
            if execution.deferred or not execution.opcode.has_callbacks():
                # Its code has ended; while that is being synced, another may use the worker.
                self._code_ended(execution)
            await self._edits.edit(job_id, lambda draft: self._conclude(draft, execution, ended))
        job = self._table.get(job_id)
        if job is not None and job.phase in (PHASE_COMMITTING, PHASE_ABORTING) and not awaits_turn(job):
            await self._call_back(execution, job)

    def _conclude(self, draft: _QueuedJob, execution: Execution, ended: Outcome) -> None:
        draft.log_serial = execution.log_serial()
        if ended[0] != "success" or draft.CalcStatus() == CANCELING:
            draft.ops[execution.index].progress = execution.share()
        outcome.conclude(draft, ended, self._wall(), has_callbacks=execution.opcode.has_callbacks())
        self._groups.settle_alone(draft)

    async def _call_back(self, execution: Execution, job: _QueuedJob) -> None:
        stored = job.ops[execution.index].outcome
        if stored is None:
            raise GenericError(f"Job {job.id} has phase {job.phase}, but opcode {execution.index} has no outcome")
        function = execution.opcode.commit if job.phase == PHASE_COMMITTING else execution.opcode.abort
        execution.control.forget()
        ended = await execution.call_back(function, stored)
        # Of a deferred job only an attempt that is to be followed by another is undone here.
        failed = job.deferred and ended is not stored
        await self._record(execution, outcome.defer if failed else outcome.finish, ended)

    async def _record(
        self, execution: Execution, change: Callable[[_QueuedJob, Outcome, float], object], ended: Outcome
    ) -> None:
        def note(draft: _QueuedJob) -> None:
            draft.log_serial = execution.log_serial()
            change(draft, ended, self._wall())

        await self._edits.edit(execution.job_id, note)

    # The callbacks of a deferred job

    async def call_back_all(self, execution: Execution, job: _QueuedJob) -> None:
        """Prepares, commits or undoes all opcodes of a deferred job that have run.

        @param execution: of the first of them
        """
        stored = job.ops[outcome.current(job)].outcome
        if stored is None:
            raise GenericError(f"Job {job.id} has phase {job.phase}, but its last opcode has no outcome")
        ended = stored
        for index in _callback_order(job):
            if index != execution.index:
                opcode = self._registry.restore(job.ops[index].input, f"ops[{index}]")
                following = self._make_execution(job, opcode, index)
                self._replaced(execution, following)
                execution = following
            if not execution.opcode.has_callbacks():
                continue
            if job.phase == PHASE_PREPARING:
                refused = await execution.prepare()
                if refused is not None:
                    await self._record(execution, outcome.refuse, refused)
                    return
            else:
                function = execution.opcode.commit if job.phase == PHASE_COMMITTING else execution.opcode.abort
                called = await execution.call_back(function, stored)
                ended = ended if called is stored else called
        if job.phase != PHASE_PREPARING:
            await self._record(execution, outcome.finish, ended)
        elif (group := self._groups.with_id(job.id)) is not None:
            # Asked anew after a crash, so it is not recorded.
            group.prepared.add(job.id)


def next_opcode(job: _QueuedJob) -> int:
    """Tells with which opcode the turn of a job begins."""
    first = next(_callback_order(job), None) if awaits_turn(job) else None
    return outcome.current(job) if first is None else first


def _callback_order(job: _QueuedJob) -> Iterator[int]:
    """Gives the opcodes of a deferred job that have run, in the order in which their callbacks are due."""
    indexes = [index for index, op in enumerate(job.ops) if op.exec_timestamp is not None]
    return reversed(indexes) if job.phase == PHASE_ABORTING else iter(indexes)
