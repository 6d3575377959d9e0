"""The code that runs: one execution a job, which of them has a worker slot, and how requests reach it.

Code that is parked at a pause point, or has converged, gives its slot to others and wins it back to go on.
What is started when is decided by `jqueue.sched.processor`.
"""

from __future__ import annotations

from collections.abc import Callable

from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.lifecycle import PHASE_PREPARING, PHASE_WORK
from jqueue.jobs.status import CANCELING, RUNNING
from jqueue.sched.execution import Execution
from jqueue.sched.parts import Parts
from jqueue.workers.control import CANCEL


class Running:
    """All executions."""

    def __init__(
        self,
        parts: Parts,
        *,
        note_idle: Callable[[int], None],
        slot_freed: Callable[[], None],
        want_slot: Callable[[_QueuedJob], bool],
        moved: Callable[[_QueuedJob, bool], None],
    ) -> None:
        """Makes it without any.

        @param note_idle: told of each job whose code has lost its slot, or won it back
        @param slot_freed: told of each slot that is free
        @param want_slot: puts a job in line for a slot; false if there is no line any more
        @param moved: told of each job whose code stops at a pause point, goes on from there, or has converged; and
            whether it is the last
        """
        self._table = parts.table
        self._slots = parts.slots
        self._note_idle = note_idle
        self._slot_freed = slot_freed
        self._want_slot = want_slot
        self._moved = moved
        self.executions: dict[int, Execution] = {}

    def add(self, execution: Execution) -> None:
        """Adds an execution that is about to run, with a slot."""
        self.executions[execution.job_id] = execution
        self._slots.taken += 1

    def replace(self, execution: Execution, following: Execution) -> None:
        """Has another execution of the same job go on in the slot of one."""
        execution.control.close()
        following.holds_slot, execution.holds_slot = execution.holds_slot, False
        self.executions[following.job_id] = following

    def remove(self, job_id: int) -> Execution:
        """Takes the execution of a job out: nothing of it runs any more."""
        execution = self.executions.pop(job_id)
        execution.control.close()
        self.free_slot(execution)
        return execution

    def free_slot(self, execution: Execution) -> None:
        """Gives the slot of an execution to others, if it has one."""
        if execution.holds_slot:
            execution.holds_slot = False
            self._slots.taken -= 1
            self._slot_freed()

    def works(self, job_id: int) -> bool:
        """Whether code of a job has a slot."""
        execution = self.executions.get(job_id)
        return execution is not None and execution.holds_slot

    def in_line(self) -> list[int]:
        """Gives the jobs whose code waits for a slot to go on."""
        return [job_id for job_id, execution in self.executions.items() if execution.in_line]

    # What is asked of running code; each says whether there is any

    def hold(self, job_id: int) -> bool:
        """Has the code of a job stop at its next pause point."""
        execution = self.executions.get(job_id)
        if execution is None:
            return False
        execution.control.pause(True)
        return True

    def resume(self, job_id: int) -> bool:
        """Lets the code of a job that was paused go on, as soon as it has a slot again."""
        execution, job = self.executions.get(job_id), self._table.get(job_id)
        if execution is None:
            return False
        execution.control.pause(False)
        if execution.parked and job is not None:
            if not execution.keeps_up:
                self._line_up(execution, job)
                return True
            self._unpark(execution)  # to be ready it needs no slot
        self.complete(job_id)  # paused, it has lost its place in the line, also if its code has not noticed
        return True

    def complete(self, job_id: int) -> bool:
        """Has the code of a job that is ready come to its end, as soon as it has a slot again."""
        execution, job = self.executions.get(job_id), self._table.get(job_id)
        if execution is None:
            return False
        if execution.keeps_up and not execution.parked and job is not None and job.completion is not None:
            self._line_up(execution, job)
        return True

    def cancel(self, before: _QueuedJob, after: _QueuedJob) -> None:
        """Asks the code of a job to stop, which has just become canceling.

        Code that cannot be stopped is not kept from its end.
        """
        execution = self.executions.get(after.id)
        if execution is None:
            return
        has_begun = before.CalcStatus() == RUNNING
        if not has_begun or (after.phase in (PHASE_WORK, PHASE_PREPARING) and execution.opcode.stoppable):
            execution.control.stop(CANCEL)
        else:
            self.resume(after.id)

    # What running code says

    def parked(self, execution: Execution) -> None:
        """Takes the slot of code that has stopped at a pause point; its locks stay."""
        if execution.parked or self.executions.get(execution.job_id) is not execution:
            return
        if not execution.control.paused:  # resumed while the message was on its way
            execution.control.go_on()
            return
        execution.parked = True
        self._rest(execution, converged=False)

    def converged(self, execution: Execution) -> None:
        """Takes the slot of code that has converged; its locks stay."""
        if self.executions.get(execution.job_id) is execution:
            execution.converged = True
            self._rest(execution, converged=True)
            self.complete(execution.job_id)  # it may have been told before a crash

    def _rest(self, execution: Execution, *, converged: bool) -> None:
        execution.count_time(False)
        self.free_slot(execution)
        self._note_idle(execution.job_id)
        self._tell_moved(execution.job_id, converged)

    def _line_up(self, execution: Execution, job: _QueuedJob) -> None:
        if not execution.in_line:
            execution.in_line = True
            if not self._want_slot(job):
                self.go_on(execution, job)

    def go_on(self, execution: Execution, job: _QueuedJob) -> None:
        """Gives a slot to code that is parked, or has converged and was told to come to its end."""
        execution.in_line = False
        if job.paused and job.CalcStatus() != CANCELING:  # nothing stops a cancellation
            return
        self._take_slot(execution)
        if execution.keeps_up and job.completion is not None:
            execution.control.complete(job.completion)
        self._unpark(execution)
        self._note_idle(job.id)

    def _unpark(self, execution: Execution) -> None:
        was_parked, execution.parked = execution.parked, False
        execution.control.go_on()
        if was_parked:
            self._tell_moved(execution.job_id, False)

    def _take_slot(self, execution: Execution) -> None:
        execution.count_time(True)
        if not execution.holds_slot:
            execution.holds_slot = True
            self._slots.taken += 1

    def _tell_moved(self, job_id: int, converged: bool) -> None:
        job = self._table.get(job_id)
        if job is not None:
            self._moved(job, converged)
