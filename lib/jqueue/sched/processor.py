"""The processor: takes the job that is next, finds out whether it can run, and runs one opcode of it.

A job comes back to the ready heap after every opcode, so that priorities count between opcodes too.
A job that cannot run is parked under the one thing it waits for and holds nothing meanwhile: no worker, no lock.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from jqueue.errors import GenericError, JobLost, ShuttingDown, StoreFailed
from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.lifecycle import PHASE_ABORTING, PHASE_WORK
from jqueue.jobs.status import CANCELING, WAITING
from jqueue.opcodes.base import OpCode
from jqueue.sched import outcome
from jqueue.sched.claims import Claims
from jqueue.sched.execution import Execution
from jqueue.sched.gates import BROKEN, GROUP, End, Wait
from jqueue.sched.groups import Group, Groups, awaits_turn
from jqueue.sched.parts import Parts
from jqueue.sched.runner import MakeExecution, Runner, next_opcode
from jqueue.sched.running import Running

_SLICE = 0.002  # seconds of work before the reactor gets to look at its sockets again


class Processor:
    """Runs jobs, opcode by opcode."""

    _log = Logger()

    def __init__(
        self,
        parts: Parts,
        *,
        may_start: Callable[[], bool],
        make_execution: MakeExecution,
        released: Callable[[Execution], None],
        moved: Callable[[_QueuedJob, bool], None],
    ) -> None:
        """Makes it; nothing runs before `start`.

        @param may_start: whether opcodes may be started now (the disk is not full)
        @param released: told of each execution that has ended
        @param moved: see `Running`
        """
        self._clock = parts.clock
        self._wall = parts.wall
        self._table = parts.table
        self._edits = parts.edits
        self._ready = parts.ready
        self._gates = parts.gates
        self._slots = parts.slots
        self._registry = parts.registry
        self._may_start = may_start
        self._make_execution = make_execution
        self._released = released
        self.parked: dict[int, Wait] = {}
        self.running = Running(
            parts, note_idle=self._note_idle, slot_freed=self.look, want_slot=self._want_slot, moved=moved
        )
        self.executions = self.running.executions
        self.groups = Groups(parts, runs=self.executions.__contains__, line_up=self._line_up)
        self.claims = Claims(parts, self.groups, wake_members=self._wake_members)
        self._runner = Runner(
            parts,
            self.groups,
            make_execution=make_execution,
            declared=self.claims.declared,
            code_ended=self.running.free_slot,
            replaced=self._replaced,
        )
        self._pump_call: IDelayedCall | None = None
        self._starts_opcodes = False
        self._starts_callbacks = False
        self._left: list[int] = []
        self._idle_waiters: list[Deferred[None]] = []

    # From outside

    def start(self) -> None:
        """Starts opcodes from now on."""
        self._starts_opcodes = True
        left, self._left = self._left, []
        for job_id in left:
            self._line_up(job_id)
        self.look()

    def stop(self, *, callbacks_too: bool = False) -> None:
        """Starts no more opcodes; what has ended may still be committed or undone.

        @param callbacks_too: start nothing at all
        """
        self._starts_callbacks = not callbacks_too
        self._starts_opcodes = False
        self.look()

    def busy(self) -> bool:
        """Whether code runs, or will although no opcode is started any more: commits and undos that are due."""
        may_end = self._starts_callbacks and self._may_start()
        return bool(self.executions) or (may_end and bool(set(self.groups.due()) - self.parked.keys()))

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

    def wake_with_group(self, job_id: int) -> None:
        """Has a job looked at again, or who asks for the locks of its group: what either waits for may be there."""
        group = self.groups.with_id(job_id)
        if group is not None and group.asker is not None:
            self.wake(group.asker)
        self.wake(job_id)

    def wake_owner(self, owner: int) -> None:
        """Has whoever waits for locks in the name of an owner looked at again."""
        group = self.groups.with_id(owner)
        self.wake(owner if group is None or group.asker is None else group.asker)

    def _line_up(self, job_id: int) -> None:
        job = self._table.get(job_id)
        if job is not None and not job.final:
            self.enqueue(job_id, job.CalcPriority())

    def look(self) -> None:
        """Looks at the heap soon."""
        if self._pump_call is None:
            self._pump_call = self._clock.callLater(0, self._pump)

    def hold(self, job_id: int) -> None:
        """Has the code of a paused job stop at its next pause point; without code it leaves the line for a lock."""
        if not self.running.hold(job_id):
            self.wake(job_id)

    def resume(self, job_id: int) -> None:
        """Lets a job that was paused go on, running code as soon as it has a slot again."""
        if not self.running.resume(job_id):
            self.wake(job_id)

    def published(self, before: _QueuedJob, after: _QueuedJob) -> None:
        """Acts on a new version of a job."""
        was_in_line = after.id not in self.parked and after.id not in self.executions
        if after.CalcStatus() == CANCELING and before.CalcStatus() != CANCELING:
            self.running.cancel(before, after)
        if after.final or awaits_turn(after):
            self._leave_line(after.id)
        elif after.id in self.parked and after.CalcStatus() == CANCELING:
            # It was parked for the locks that it had declared while the cancel was on its way to the disk.
            self._runner.end(after.id, None)
        elif before.CalcPriority() != after.CalcPriority():
            self.claims.rerank(after)
            if was_in_line:
                self.enqueue(after.id, after.CalcPriority())
        self.groups.changed(before, after)
        if was_in_line:
            self._ready.sweep(self.in_line)

    def _leave_line(self, job_id: int) -> None:
        """Ends the waiting of a job that takes nothing more up."""
        self._gates.forget(job_id)
        self.parked.pop(job_id, None)
        self.claims.forget(job_id)

    def in_line(self, rank: int, job_id: int) -> bool:
        """Whether an entry of the heap is not stale: the job is to be looked at, or its code wants its slot back."""
        job = self._table.unfinished.get(job_id)
        if job is None or job_id in self.parked:
            return False
        execution = self.executions.get(job_id)
        if execution is not None:
            return execution.in_line
        if isinstance(job, bytes):
            return True  # it has not been changed, so it has no other rank
        if awaits_turn(job):
            return self.groups.has_turn(job_id)
        return self._ready.rank(job_id, job.CalcPriority()) == rank

    # What is next

    def _pump(self) -> None:
        self._pump_call = None
        if self._is_started() and not self._may_start():
            self._end_what_runs()
        deadline = self._clock.seconds() + _SLICE
        while self._is_started() and self._slots.free > 0 and self._ready and self._may_start():
            if self._clock.seconds() > deadline:
                self.look()
                return
            rank, job_id = self._ready.pop()
            job = self._table.get(job_id) if self.in_line(rank, job_id) else None
            execution = self.executions.get(job_id)
            if job is not None and execution is not None:
                self.running.go_on(execution, job)
            elif job is not None and not self._starts_opcodes and job.phase == PHASE_WORK:
                self._left.append(job_id)
            elif job is not None:
                self._consider(job, rank)

    def _is_started(self) -> bool:
        return self._starts_opcodes or self._starts_callbacks

    def _end_what_runs(self) -> None:
        """Goes on with code that waits for its slot, and undoes, which may make room; all else stays in the heap."""
        found = [*self.running.in_line(), *self.groups.due(), *self.claims.retaken]
        for job in filter(None, map(self._table.get, found)):
            rank = self._ready.rank(job.id, job.CalcPriority())
            if self._slots.free > 0 and self.in_line(rank, job.id):
                if (execution := self.executions.get(job.id)) is not None:
                    self.running.go_on(execution, job)
                elif job.phase == PHASE_ABORTING:
                    self._consider(job, rank)

    def _consider(self, job: _QueuedJob, rank: int) -> None:
        try:
            index = next_opcode(job)
            opcode = self._registry.restore(job.ops[index].input, f"ops[{index}]")
            wait = self._wait_for_gates(job, opcode) or self.claims.ask(job, opcode, rank)
        except GenericError as problem:
            self._runner.end(job.id, problem)
            return
        if isinstance(wait, Wait):
            self._park(job, wait)
        elif isinstance(wait, End):
            self._runner.end(wait.job_id or job.id, wait.problem)
            if wait.job_id not in (None, job.id):
                self._park(job, Wait(GROUP, f"job {wait.job_id} of its group cannot run", self._clock.seconds()))
        else:
            self._start(job, opcode, index)

    def _wait_for_gates(self, job: _QueuedJob, opcode: OpCode) -> Wait | End | None:
        gate = self._gates.check(job, opcode) if job.phase == PHASE_WORK else None
        if gate is not None:
            self.claims.ask_no_more(job.id)
        return gate

    def _wake_members(self, group: Group) -> None:
        for job_id in group.members:
            wait = self.parked.get(job_id)
            if wait is not None and wait.kind == GROUP:
                self.wake(job_id)

    def _park(self, job: _QueuedJob, wait: Wait) -> None:
        self.parked[job.id] = wait
        if wait.shown and job.phase == PHASE_WORK and job.CalcStatus() != WAITING:
            self._runner.wait(job.id)

    # Running it

    def _start(self, job: _QueuedJob, opcode: OpCode, index: int) -> None:
        try:
            execution = self._make_execution(job, opcode, index)
        except Exception as problem:  # an author's mistake in what the opcode says of itself
            self.claims.release(job.id)
            self._runner.end(job.id, outcome.as_generic(problem))
            return
        self.running.add(execution)
        if job.deferred:
            self._note_idle(job.id)
            self.groups.begins_turn(job.id)
        Deferred.fromCoroutine(self._execute(execution, job)).addErrback(self._broken, job.id)

    async def _execute(self, execution: Execution, job: _QueuedJob) -> None:
        wait: Wait | None = None
        try:
            if awaits_turn(job):
                await self._runner.call_back_all(execution, job)
                return
            if job.phase == PHASE_WORK and execution.opcode.has_dynamic_locks():
                wait = await self.claims.declare(execution)
            if wait is None:
                await self._runner.run(execution, job.phase)
        except (StoreFailed, ShuttingDown, JobLost):
            raise
        except Exception as problem:
            # Its code may have run, so whatever went wrong here, it must not be started again.
            self._log.failure("Job {job_id} could not be run to its end", job_id=execution.job_id)
            ended = outcome.as_generic(problem)
            await self._edits.edit(execution.job_id, lambda draft: outcome.fail(draft, ended, self._wall()))
        finally:
            self._release(execution.job_id, wait)

    def _note_idle(self, job_id: int) -> None:
        self.claims.note_idle(job_id, self.running.works)

    def _want_slot(self, job: _QueuedJob) -> bool:
        if self._starts_opcodes:
            self.enqueue(job.id, job.CalcPriority())
        return self._starts_opcodes

    def _replaced(self, execution: Execution, following: Execution) -> None:
        self._released(execution)
        self.running.replace(execution, following)

    def _release(self, job_id: int, wait: Wait | None) -> None:
        self._released(self.running.remove(job_id))
        if wait is not None:
            self.parked[job_id] = wait
        else:
            self.claims.release(job_id)
            self.parked.pop(job_id, None)
            self._line_up(job_id)
        group = self.groups.with_id(job_id)
        if group is not None:
            self._note_idle(job_id)
            self.groups.look_soon(group)
        self.look()
        if not self.executions:
            waiters, self._idle_waiters = self._idle_waiters, []
            for waiter in waiters:
                waiter.callback(None)

    def _broken(self, failure: Failure, job_id: int) -> None:
        if not failure.check(ShuttingDown):  # else the next start goes on with it
            self._log.error("Job {job_id} could not be run to its end: {failure}", job_id=job_id, failure=failure)
        if failure.check(StoreFailed, ShuttingDown):
            # Nothing can be recorded any more, and nothing runs that is not.
            self.stop(callbacks_too=True)
        elif not failure.check(JobLost):
            # Its code may have run, and that could not be recorded: it must not run again.
            text = f"jqueue failed while it worked on this job ({failure.getErrorMessage()}); see the daemon's log"
            self.parked[job_id] = Wait(BROKEN, text, self._clock.seconds())
