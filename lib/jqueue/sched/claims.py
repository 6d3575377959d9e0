"""The locks of jobs: who asks for which, in whose name, and when they are given back.

A job asks for the locks of its next opcode and gives them back after it. Deferred jobs ask once, as one owner for their
whole group, and keep what they have until the last of them has ended. Granting and waiting is `jqueue.locks`' business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.logger import Logger

from jqueue.errors import GenericError, JobCanceled, OpPrereqError
from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.lifecycle import PHASE_WORK
from jqueue.locks.modes import LockRequest, normalise
from jqueue.opcodes.base import OpCode
from jqueue.opcodes.lockspec import LockSet
from jqueue.sched import outcome
from jqueue.sched.execution import Execution
from jqueue.sched.gates import GROUP, LOCK, End, Wait
from jqueue.sched.groups import Group, Groups
from jqueue.sched.parts import Parts


class Claims:
    """Gets jobs their locks."""

    _log = Logger()

    def __init__(
        self,
        parts: Parts,
        groups: Groups,
        *,
        wake_members: Callable[[Group], None],
    ) -> None:
        """Makes it.

        @param wake_members: has those jobs of a group looked at again that wait for its locks
        """
        self._clock = parts.clock
        self._wall = parts.wall
        self._table = parts.table
        self._edits = parts.edits
        self._ready = parts.ready
        self._locks = parts.locks
        self._gates = parts.gates
        self._groups = groups
        self._registry = parts.registry
        self._wake_members = wake_members
        self._declared: dict[int, LockRequest] = {}
        self.retaken: list[int] = []
        """The jobs without a group that were found, at the start, in the middle of a commit or an undo."""

    # Asking

    def ask(self, job: _QueuedJob, opcode: OpCode, rank: int) -> Wait | End | None:
        """Asks for what a job needs to run now.

        @param opcode: its next one
        @return: None if it has it
        @raise GenericError: an opcode of its group is of no known kind any more
        """
        group = self._groups.of(job)
        if group is not None:
            return None if group.opened else self._ask_for_group(group, job)
        locks = normalise(opcode.all_locks())
        if (declared := self._declared.get(job.id)) is not None:
            locks = locks.union(declared)
        refusal = self._locks.acquire(job.id, locks, rank) if locks else None
        return None if refusal is None else Wait(LOCK, str(refusal), self._clock.seconds())

    def _ask_for_group(self, group: Group, job: _QueuedJob) -> Wait | End | None:
        """Asks for the locks of a group, when nothing is outstanding that any of its jobs depends on.

        Otherwise one of them would keep locks from a job that another of them waits for.
        """
        if group.asker not in (None, job.id):
            return Wait(GROUP, f"job {group.asker} asks for the locks of all of its group", self._clock.seconds())
        has_begun = self._groups.has_begun(group)
        if not has_begun and self._groups.has_failed(group):
            return Wait(GROUP, "its group ends, because another job of it has failed", self._clock.seconds())
        gate = None if has_begun else self._wait_for_dependencies(group)
        if gate is None:
            refusal = self._locks.acquire(group.owner, self._groups.wanted(group), self._groups.rank(group))
            gate = None if refusal is None else Wait(LOCK, str(refusal), self._clock.seconds())
        # Not before: who cannot even ask, because an opcode is not known any more, must not keep others from it.
        group.asker = None if gate is None else job.id
        if gate is None:
            group.opened = True
            self._wake_members(group)
        return gate

    def _wait_for_dependencies(self, group: Group) -> Wait | End | None:
        for member, depends in self._groups.depends(group):
            gate = self._gates.check_dependencies(member, depends)
            if isinstance(gate, End):
                return End(gate.problem, member)
            if gate is not None:
                return gate
        return None

    def ask_no_more(self, job_id: int) -> None:
        """Ends the asking of a job that cannot run now; another one of its group goes on with it.

        If a lock has just woken it, the next in line is woken in its place.
        """
        group = self._groups.with_id(job_id)
        if group is None:
            self._locks.withdraw(job_id)
        elif group.asker == job_id:
            group.asker = None
            self._locks.withdraw(group.owner)
            self._wake_members(group)

    def rerank(self, job: _QueuedJob) -> None:
        """Gives the request that waits for a job, or for all of its group, the new rank."""
        group = self._groups.with_id(job.id)
        if group is None:
            self._locks.rerank(job.id, self._ready.rank(job.id, job.CalcPriority()))
        elif group.asker is not None:
            self._locks.rerank(group.owner, self._groups.rank(group))

    async def declare(self, execution: Execution) -> Wait | None:
        """Has the opcode declare its locks.

        @return: None to go on: it holds all of them, or is not to run any more;
            else it waits for the union, holding nothing
        """
        job_id = execution.job_id
        if not await self._edits.edit(job_id, lambda draft: outcome.mark_waiting(draft, self._wall())):
            return None
        try:
            declared = normalise(await execution.declare_locks())
            impossible = self._locks.impossible(declared)
            if impossible is not None:
                raise OpPrereqError(impossible)
        except Exception as error:
            if isinstance(error, JobCanceled) and execution.control.stop_requested:
                return None
            problem = outcome.as_generic(error)
            await self._edits.edit(job_id, lambda draft: outcome.fail(draft, problem, self._wall()))
            return None
        job = self._table.get(job_id)
        if job is None or job.final or job.paused or execution.control.stop_requested:
            return None
        union = normalise(execution.opcode.all_locks()).union(declared)
        refusal = self._locks.acquire(job_id, union, self._ready.rank(job_id, job.CalcPriority()))
        if refusal is None:
            return None
        self._declared[job_id] = union
        return Wait(LOCK, str(refusal), self._clock.seconds())

    # Having

    def declared(self, execution: Execution) -> LockSet | None:
        """Gives all locks that an opcode is about to run under, if a crash could not tell them from its parameters."""
        if not execution.opcode.has_dynamic_locks():
            return None
        held: LockSet = {}
        for (level, name), mode in self._locks.held(execution.job_id).items():
            held.setdefault(level, {})[name] = mode
        return held

    def retake(self, jobs: Iterable[_QueuedJob]) -> None:
        """Gives jobs that a crash has interrupted their locks back, before anybody else asks for any."""
        for job in jobs:
            group = self._groups.of(job)
            try:
                if group is not None and not group.opened and self._groups.has_begun(group):
                    self._ask_for_group(group, job)
                elif group is None and job.phase != PHASE_WORK:
                    self.retaken.append(job.id)
                    self._locks.acquire(job.id, self._current_locks(job), 0)
            except GenericError as problem:
                self._log.error("Job {job_id} cannot have its locks back: {problem}", job_id=job.id, problem=problem)

    def _current_locks(self, job: _QueuedJob) -> LockRequest:
        index = outcome.current(job)
        held = job.ops[index].held
        if held is not None:
            return normalise(held)
        return normalise(self._registry.restore(job.ops[index].input, f"ops[{index}]").all_locks())

    def note_idle(self, job_id: int, works: Callable[[int], bool]) -> None:
        """Says whether code works under the locks of a job: if not, nothing is kept for those whom they keep out.

        @param works: whether code of a job has a worker slot
        """
        group = self._groups.with_id(job_id)
        if group is None:
            self._locks.set_idle(job_id, not works(job_id))
        else:
            self._locks.set_idle(group.owner, not any(map(works, group.members)))

    def release(self, job_id: int) -> None:
        """Gives back what a job has for an opcode that has ended; a group keeps what it has."""
        self._declared.pop(job_id, None)
        if self._groups.with_id(job_id) is None:
            self._locks.release(job_id)

    def forget(self, job_id: int) -> None:
        """Ends the waiting of a job that takes nothing more up."""
        self._declared.pop(job_id, None)
        self.ask_no_more(job_id)
