"""The processor: takes the job that is next, finds out whether it can run, and runs one opcode of it.

A job comes back to the ready heap after every opcode, so that priorities count between opcodes too.
A job that cannot run is parked under the one thing it waits for and holds nothing meanwhile: no worker, no lock.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from jqueue.errors import GenericError, JobCanceled, JobLost, OpPrereqError, ShuttingDown, StoreFailed
from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.lifecycle import PHASE_ABORTING, PHASE_COMMITTING, PHASE_WORK
from jqueue.jobs.opcode import Outcome
from jqueue.jobs.status import CANCELING, WAITING
from jqueue.locks.manager import LockManager
from jqueue.locks.modes import LockRequest, normalise
from jqueue.opcodes.base import OpCode
from jqueue.opcodes.registry import Registry
from jqueue.sched import outcome
from jqueue.sched.edits import Edits
from jqueue.sched.execution import Execution
from jqueue.sched.gates import BROKEN, LOCK, Gates, Wait
from jqueue.sched.ready import ReadyHeap
from jqueue.sched.slots import Slots
from jqueue.sched.table import JobTable
from jqueue.workers.control import SHUTDOWN

_SLICE = 0.002  # seconds of work before the reactor gets to look at its sockets again


class Processor:
    """Runs jobs, opcode by opcode."""

    _log = Logger()

    def __init__(
        self,
        *,
        clock: IReactorTime,
        wall: Callable[[], float],
        table: JobTable,
        edits: Edits,
        ready: ReadyHeap,
        locks: LockManager,
        gates: Gates,
        registry: Registry,
        slots: Slots,
        may_start: Callable[[], bool],
        make_execution: Callable[[_QueuedJob, OpCode], Execution],
        released: Callable[[Execution], None],
        parked_or_went_on: Callable[[_QueuedJob], None],
    ) -> None:
        """Makes it; nothing runs before `start`.

        @param wall: wall time in seconds
        @param gates: what a job may have to wait for besides locks
        @param released: told of each execution that has ended
        @param parked_or_went_on: told of each job whose code stops at a pause point, or goes on from there
        @param may_start: whether opcodes may be started now (the disk is not full)
        """
        self._clock = clock
        self._wall = wall
        self._table = table
        self._edits = edits
        self._ready = ready
        self._locks = locks
        self._gates = gates
        self._registry = registry
        self._slots = slots
        self._may_start = may_start
        self._make_execution = make_execution
        self._released = released
        self._parked_or_went_on = parked_or_went_on
        self._pump_call: IDelayedCall | None = None
        self._running = False
        self.executions: dict[int, Execution] = {}
        self.parked: dict[int, Wait] = {}
        self._declared: dict[int, LockRequest] = {}
        self._idle_waiters: list[Deferred[None]] = []

    # From outside

    def start(self) -> None:
        """Starts opcodes from now on."""
        self._running = True
        self.look()

    def stop(self) -> None:
        """Starts no more opcodes."""
        self._running = False

    def when_idle(self) -> Deferred[None]:
        """Fires once no opcode is being worked on."""
        idle: Deferred[None] = Deferred()
        if self.executions:
            self._idle_waiters.append(idle)
        else:
            idle.callback(None)
        return idle

    def enqueue(self, job_id: int, priority: int) -> None:
        """Puts a job on the heap."""
        self._ready.push(job_id, priority)
        self.look()

    def wake(self, job_id: int) -> None:
        """Has a parked job looked at again: what it waited for may be there."""
        if self.parked.pop(job_id, None) is not None:
            self._line_up(job_id)

    def _line_up(self, job_id: int) -> None:
        job = self._table.get(job_id)
        if job is not None and not job.final:
            self.enqueue(job_id, job.CalcPriority())

    def look(self) -> None:
        """Looks at the heap soon."""
        if self._pump_call is None:
            self._pump_call = self._clock.callLater(0, self._pump)

    def code_parked(self, execution: Execution) -> None:
        """Takes the slot of running code that has stopped at a pause point; its locks stay."""
        if execution.holds_slot and self.executions.get(execution.job_id) is execution:
            if not execution.control.paused:  # resumed while the message was on its way
                execution.control.go_on()
                return
            execution.parked = True
            execution.count_time(False)
            self._locks.set_idle(execution.job_id, True)
            self._free_slot(execution)
            job = self._table.get(execution.job_id)
            if job is not None:
                self._parked_or_went_on(job)

    def hold(self, job_id: int) -> None:
        """Has the code of a paused job stop at its next pause point; without code it leaves the line for a lock."""
        execution = self.executions.get(job_id)
        if execution is not None:
            execution.control.pause(True)
        else:
            self.wake(job_id)

    def resume(self, job_id: int) -> None:
        """Lets a job that was paused go on, running code as soon as it has a slot again."""
        execution = self.executions.get(job_id)
        if execution is None:
            self.wake(job_id)
            return
        execution.control.pause(False)
        job = self._table.get(job_id)
        if execution.parked and not self._running and job is not None:
            self._unpark_code(execution, job)  # nothing is taken from the heap any more
        elif execution.parked and not execution.in_line and job is not None:
            execution.in_line = True
            self.enqueue(job_id, job.CalcPriority())

    def published(self, before: _QueuedJob, after: _QueuedJob) -> None:
        """Acts on a new version of a job."""
        was_in_line = after.id not in self.parked and after.id not in self.executions
        if after.final:
            self._locks.withdraw(after.id)
            self._gates.forget(after.id)
            self.parked.pop(after.id, None)
            self._declared.pop(after.id, None)
        elif after.id in self.parked and after.CalcStatus() == CANCELING:
            # It was parked for the locks that it had declared while the cancel was on its way to the disk.
            self._end(after.id, None)
        elif before.CalcPriority() != after.CalcPriority():
            priority = after.CalcPriority()
            if after.id in self.parked:
                self._locks.rerank(after.id, self._ready.rank(after.id, priority))
            elif was_in_line:
                self.enqueue(after.id, priority)
        if was_in_line:
            self._ready.sweep(self.in_line)

    def in_line(self, rank: int, job_id: int) -> bool:
        """Whether an entry of the heap is not stale: the job is to be looked at, or its code wants its slot back."""
        job = self._table.unfinished.get(job_id)
        if job is None or job_id in self.parked:
            return False
        execution = self.executions.get(job_id)
        if execution is not None:
            return execution.in_line
        # A job that is still packed has not been changed, so it has no other rank.
        return isinstance(job, bytes) or self._ready.rank(job_id, job.CalcPriority()) == rank

    # What is next

    def _pump(self) -> None:
        self._pump_call = None
        deadline = self._clock.seconds() + _SLICE
        while self._running and self._slots.free > 0 and self._ready and self._may_start():
            if self._clock.seconds() > deadline:
                self.look()
                return
            rank, job_id = self._ready.pop()
            job = self._table.get(job_id) if self.in_line(rank, job_id) else None
            execution = self.executions.get(job_id)
            if job is not None and execution is not None:
                self._unpark_code(execution, job)
            elif job is not None:
                self._consider(job, rank)

    def _unpark_code(self, execution: Execution, job: _QueuedJob) -> None:
        execution.in_line = False
        if execution.parked and not job.paused:
            execution.parked = False
            execution.holds_slot = True
            execution.count_time(True)
            self._slots.taken += 1
            self._locks.set_idle(job.id, False)
            execution.control.go_on()
            self._parked_or_went_on(job)

    def _consider(self, job: _QueuedJob, rank: int) -> None:
        index = outcome.current(job)
        try:
            opcode = self._registry.restore(job.ops[index].input, f"ops[{index}]")
            locks = self._wanted(job.id, opcode)
        except GenericError as problem:
            self._end(job.id, problem)
            return
        if job.phase == PHASE_WORK:
            gate = self._gates.check(job, opcode)
            if isinstance(gate, Wait):
                # If a lock has just woken it, the next in line must be woken in its place.
                self._locks.withdraw(job.id)
                self._park(job, gate)
                return
            if gate is not None:
                self._end(job.id, gate.problem)
                return
        refusal = self._locks.acquire(job.id, locks, rank) if locks else None
        if refusal is not None:
            self._park(job, Wait(LOCK, str(refusal), self._clock.seconds()))
            return
        self._start(job, opcode)

    def _wanted(self, job_id: int, opcode: OpCode) -> LockRequest:
        wanted = normalise(opcode.all_locks())
        declared = self._declared.get(job_id)
        return wanted if declared is None else wanted.union(declared)

    def _park(self, job: _QueuedJob, wait: Wait) -> None:
        self.parked[job.id] = wait
        if wait.shown and job.CalcStatus() != WAITING:
            self._edits.edit(job.id, lambda draft: outcome.mark_waiting(draft, self._wall())).addErrback(
                self._edit_failed, job.id
            )

    def _end(self, job_id: int, problem: GenericError | None) -> None:
        """Ends a job that cannot run: cancelled without a problem, else in error."""

        def change(draft: _QueuedJob) -> None:
            if problem is not None:
                outcome.fail(draft, problem, self._wall())
            elif not draft.final:
                outcome.cancel(draft, self._wall(), code_runs=False)

        self._edits.edit(job_id, change).addErrback(self._edit_failed, job_id)

    def _edit_failed(self, failure: object, job_id: int) -> None:
        self._log.error("Job {job_id} could not be changed: {failure}", job_id=job_id, failure=failure)

    # Running it

    def _start(self, job: _QueuedJob, opcode: OpCode) -> None:
        try:
            execution = self._make_execution(job, opcode)
        except Exception as problem:  # an author's mistake in what the opcode says of itself
            self._locks.release(job.id)
            self._end(job.id, outcome.as_generic(problem))
            return
        self.executions[job.id] = execution
        self._slots.taken += 1
        Deferred.fromCoroutine(self._execute(execution, job.phase)).addErrback(self._broken, job.id)

    async def _execute(self, execution: Execution, phase: str) -> None:
        keep_waiting = False
        try:
            if phase == PHASE_WORK and execution.opcode.has_dynamic_locks():
                keep_waiting = not await self._declare(execution)
            if not keep_waiting:
                await self._run(execution, phase)
        except (StoreFailed, ShuttingDown, JobLost):
            raise
        except Exception as problem:
            # Its code may have run, so whatever went wrong here, it must not be started again.
            self._log.failure("Job {job_id} could not be run to its end", job_id=execution.job_id)
            ended = outcome.as_generic(problem)
            await self._edits.edit(execution.job_id, lambda draft: outcome.fail(draft, ended, self._wall()))
        finally:
            self._release(execution, keep_waiting)

    async def _run(self, execution: Execution, phase: str) -> None:
        job_id = execution.job_id

        def start(draft: _QueuedJob) -> bool:
            return outcome.mark_running(draft, self._wall(), stopping=execution.control.stop_reason == SHUTDOWN)

        if phase == PHASE_WORK:
            if not await self._edits.edit(job_id, start):
                return
            ended = await execution.run()
            if not execution.opcode.has_callbacks():
                # Its code has ended; while that is being synced, another may use the worker.
                self._free_slot(execution)
            phase = await self._edits.edit(job_id, lambda draft: self._conclude(draft, execution, ended))
        if phase in (PHASE_COMMITTING, PHASE_ABORTING):
            await self._call_back(execution, phase)

    def _conclude(self, draft: _QueuedJob, execution: Execution, ended: Outcome) -> str:
        draft.log_serial = execution.log_serial()
        return outcome.conclude(draft, ended, self._wall(), has_callbacks=execution.opcode.has_callbacks())

    async def _call_back(self, execution: Execution, phase: str) -> None:
        job = self._table.get(execution.job_id)
        stored = job.ops[execution.index].outcome if job is not None else None
        if stored is None:
            raise GenericError(f"Job {execution.job_id} has phase {phase}, but opcode {execution.index} has no outcome")
        function = execution.opcode.commit if phase == PHASE_COMMITTING else execution.opcode.abort
        ended = await execution.call_back(function, stored)

        def change(draft: _QueuedJob) -> None:
            draft.log_serial = execution.log_serial()
            outcome.finish(draft, ended, self._wall())

        await self._edits.edit(execution.job_id, change)

    async def _declare(self, execution: Execution) -> bool:
        """Has the opcode declare its locks.

        @return: whether to go on: it holds all of them, or is not to run any more;
            if not it is parked for the union, holding nothing
        """
        job_id = execution.job_id
        if not await self._edits.edit(job_id, lambda draft: outcome.mark_waiting(draft, self._wall())):
            return True
        try:
            declared = normalise(await execution.declare_locks())
            impossible = self._locks.impossible(declared)
            if impossible is not None:
                raise OpPrereqError(impossible)
        except Exception as error:
            if isinstance(error, JobCanceled) and execution.control.stop_requested:
                return True
            problem = outcome.as_generic(error)
            await self._edits.edit(job_id, lambda draft: outcome.fail(draft, problem, self._wall()))
            return True
        job = self._table.get(job_id)
        if job is None or job.final or job.paused or execution.control.stop_requested:
            return True
        union = normalise(execution.opcode.all_locks()).union(declared)
        refusal = self._locks.acquire(job_id, union, self._ready.rank(job_id, job.CalcPriority()))
        if refusal is None:
            return True
        self._declared[job_id] = union
        self.parked[job_id] = Wait(LOCK, str(refusal), self._clock.seconds())
        return False

    def _free_slot(self, execution: Execution) -> None:
        if execution.holds_slot:
            execution.holds_slot = False
            self._slots.taken -= 1
            self.look()

    def _release(self, execution: Execution, keep_waiting: bool) -> None:
        job_id = execution.job_id
        execution.control.close()
        self._released(execution)
        del self.executions[job_id]
        self._free_slot(execution)
        if not keep_waiting:
            self._declared.pop(job_id, None)
            self._locks.release(job_id)
            self.parked.pop(job_id, None)
            self._line_up(job_id)
        self.look()
        if not self.executions:
            waiters, self._idle_waiters = self._idle_waiters, []
            for waiter in waiters:
                waiter.callback(None)

    def _broken(self, failure: Failure, job_id: int) -> None:
        self._log.error("Job {job_id} could not be run to its end: {failure}", job_id=job_id, failure=failure)
        if failure.check(StoreFailed, ShuttingDown):
            # Nothing can be recorded any more, and nothing runs that is not.
            self.stop()
        elif not failure.check(JobLost):
            # Its code may have run, and that could not be recorded: it must not run again.
            text = f"jqueue failed while it worked on this job ({failure.getErrorMessage()}); see the daemon's log"
            self.parked[job_id] = Wait(BROKEN, text, self._clock.seconds())
