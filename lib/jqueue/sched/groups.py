"""Deferred jobs while the daemon runs: which belong together, what they hold, and whose callbacks are next.

A job that is deferred alone is a group of one. What is due for a group, and what it does to its jobs, is decided in
`jqueue.sched.settling`; callbacks themselves are run by `jqueue.sched.runner`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from jqueue.errors import GenericError
from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.lifecycle import PHASE_WORK
from jqueue.jobs.status import CANCELING
from jqueue.locks.modes import LockRequest, normalise
from jqueue.sched import outcome, settling
from jqueue.sched.edits import unless_stopping
from jqueue.sched.parts import Parts


@dataclass(eq=False)
class Group:
    """What is known of a group only while the daemon runs."""

    members: range
    """Ids of all its jobs, ended ones too."""
    opened: bool = False
    """Whether it has its locks: those of all its jobs, as one owner."""
    asker: int | None = None
    """The job that asks for them, for all."""
    prepared: set[int] = field(default_factory=set)
    """The jobs that have nothing against being committed."""
    turn: int | None = None
    """The job whose callbacks are next."""
    look: IDelayedCall | None = None

    @property
    def owner(self) -> int:
        """Who holds its locks; this job ends last."""
        return self.members[0]


class Groups:
    """The groups that have unfinished jobs."""

    _log = Logger()

    def __init__(
        self,
        parts: Parts,
        *,
        runs: Callable[[int], bool],
        line_up: Callable[[int], None],
    ) -> None:
        """Makes it without any group.

        @param runs: whether a worker runs code of a job
        @param line_up: puts a job on the heap, because its callbacks are next
        """
        self._clock = parts.clock
        self._wall = parts.wall
        self._table = parts.table
        self._edits = parts.edits
        self._ready = parts.ready
        self._locks = parts.locks
        self._registry = parts.registry
        self._runs = runs
        self._line_up = line_up
        self._of_job: dict[int, Group] = {}

    # Who belongs together

    def of(self, job: _QueuedJob) -> Group | None:
        """Gives the group of an unfinished job; None for one that is not deferred."""
        group = self._of_job.get(job.id)
        if group is None and job.deferred and not job.final:
            first, last = job.members or (job.id, job.id)
            group = Group(range(first, last + 1))
            self._of_job.update(dict.fromkeys(group.members, group))
        return group

    def with_id(self, job_id: int) -> Group | None:
        """Gives the group that a job is known to belong to."""
        return self._of_job.get(job_id)

    def owner(self, job_id: int) -> int:
        """Gives the job in whose name a job holds locks."""
        group = self._of_job.get(job_id)
        return job_id if group is None else group.owner

    def unfinished(self, group: Group) -> list[_QueuedJob]:
        """Gives the jobs that have not ended, the newest first."""
        found = (self._table.get(job_id) for job_id in self._unfinished_ids(group))
        return [job for job in found if job is not None]

    def _unfinished_ids(self, group: Group) -> list[int]:
        return [job_id for job_id in reversed(group.members) if job_id in self._table.unfinished]

    def at_rest(self) -> int:
        """Counts the jobs whose work has ended and whose callbacks are not to run now."""
        known = (self._table.unfinished.get(job_id) for job_id, group in self._of_job.items() if group.turn != job_id)
        return sum(isinstance(job, _QueuedJob) and awaits_turn(job) and not self._runs(job.id) for job in known)

    # What they need before they begin

    def wanted(self, group: Group) -> LockRequest:
        """Unites the locks of all opcodes of all jobs of a group; after a crash those of jobs that have ended as well.

        @raise GenericError: an opcode is of no known kind any more
        """
        return LockRequest.side_by_side(map(self._locks_of, filter(None, map(self._table.get, group.members))))

    def _locks_of(self, job: _QueuedJob) -> LockRequest:
        own = LockRequest()
        for opcode in self._opcodes(job):
            own = own.union(normalise(opcode.all_locks()))
        return own

    def depends(self, group: Group) -> Iterator[tuple[int, list[Sequence[Any]]]]:
        """Gives the jobs of a group that depend on others, and on which."""
        for job in self.unfinished(group):
            found = [one for opcode in self._opcodes(job) for one in opcode.depends or ()]
            if found:
                yield job.id, found

    def rank(self, group: Group) -> int:
        """Gives the rank of a group: that of its most urgent job."""
        return min(self._ready.rank(job.id, job.CalcPriority()) for job in self.unfinished(group))

    def has_begun(self, group: Group) -> bool:
        """Whether code of any of its jobs has run."""
        return any(op.exec_timestamp is not None for job in self.unfinished(group) for op in job.ops)

    def _opcodes(self, job: _QueuedJob) -> Iterable[Any]:
        return (self._registry.restore(op.input, f"job {job.id}, ops[{n}]") for n, op in enumerate(job.ops))

    # How they end

    def changed(self, before: _QueuedJob, after: _QueuedJob) -> None:
        """Looks what is due for the group of a job, if the job has changed in a way that matters to the others."""
        group = self.of(after)
        if group is None:
            return
        canceled = after.CalcStatus() == CANCELING and before.CalcStatus() != CANCELING
        moved = after.phase != before.phase or awaits_turn(after) != awaits_turn(before)
        if canceled or after.final or moved:
            self.look_soon(group)

    def look_soon(self, group: Group) -> None:
        """Looks what is due for a group once all that happens now has happened."""
        if group.look is None:
            group.look = self._clock.callLater(0, self._look, group)

    def _look(self, group: Group) -> None:
        group.look = None
        ids = self._unfinished_ids(group)
        if not ids:
            self.let_go(group)
        elif self.has_failed(group) or not any(isinstance(self._table.unfinished[one], bytes) for one in ids):
            self.settle(group).addErrback(unless_stopping).addErrback(
                lambda failure: self._log.error(
                    "What is due for the group of job {id} could not be recorded: {problem}",
                    id=group.owner,
                    problem=failure.getErrorMessage(),
                )
            )

    def has_failed(self, group: Group) -> bool:
        """Whether a group cannot be successful any more; jobs that are packed have not been looked at yet."""
        known = (self._table.unfinished.get(job_id) for job_id in group.members)
        return any(isinstance(job, _QueuedJob) and settling.has_failed(job) for job in known)

    def settle(self, group: Group) -> Deferred[None]:
        """Moves a group as far as it comes without code, and finds out whose callbacks are next."""
        jobs = self.unfinished(group)
        if settling.due(jobs, self.facts(group)) is None:
            self._take_turn(group, jobs)
            done: Deferred[None] = Deferred()
            done.callback(None)
            return done
        return self.edit(group, lambda drafts: None)

    async def recover(self, jobs: Iterable[_QueuedJob]) -> None:
        """Goes on with the groups that were found at the start."""
        found = (self.of(job) for job in jobs)
        await gatherResults([self.settle(group) for group in dict.fromkeys(found) if group is not None])

    def edit(
        self, group: Group, change: Callable[[list[_QueuedJob]], None], *, refusable: bool = False
    ) -> Deferred[None]:
        """Changes the unfinished jobs of a group in one record, and moves it as far as it comes then.

        @param change: called with drafts, the newest first
        @param refusable: as for `Edits.edit`
        """

        def change_all(drafts: list[_QueuedJob]) -> None:
            drafts = [draft for draft in drafts if not draft.final]
            change(drafts)
            settling.advance(drafts, self.facts(group), self._wall())

        return self._edits.edit_all(self._unfinished_ids(group), change_all, refusable=refusable)

    def settle_alone(self, draft: _QueuedJob) -> None:
        """Moves a job that is deferred alone, and whose code has just ended, as far as it comes, in the same record."""
        group = self.of(draft)
        if group is not None and len(group.members) == 1:
            facts = settling.Facts(lambda _job_id: False, self._has_callbacks, group.prepared)
            settling.advance([draft], facts, self._wall())

    def facts(self, group: Group) -> settling.Facts:
        """Gives what the jobs of a group do not say themselves."""
        return settling.Facts(self._runs, self._has_callbacks, group.prepared)

    def _has_callbacks(self, job: _QueuedJob) -> bool:
        return any(op.exec_timestamp is not None and self._opcode_has(str(op.input.get("OP_ID"))) for op in job.ops)

    def _opcode_has(self, op_id: str) -> bool:
        try:
            return self._registry.get(op_id).has_callbacks()
        except GenericError:
            return True  # running them says what is wrong

    def _take_turn(self, group: Group, jobs: Sequence[_QueuedJob]) -> None:
        next_one = settling.turn(jobs, self.facts(group))
        group.turn = None if next_one is None else next_one.id
        if next_one is not None:
            self._line_up(next_one.id)

    def due(self) -> Iterator[int]:
        """Gives jobs whose callbacks are next, and those of groups of which that is not found out yet."""
        for group in dict.fromkeys(self._of_job.values()):
            if group.turn is not None:
                yield group.turn
            elif group.look is not None:
                yield group.owner

    def begins_turn(self, job_id: int) -> None:
        """Notes that the callbacks of a job run, so that they do not run again before it is found out what is next."""
        group = self._of_job.get(job_id)
        if group is not None and group.turn == job_id:
            group.turn = None

    def has_turn(self, job_id: int) -> bool:
        """Whether the callbacks of a job are next in its group."""
        group = self._of_job.get(job_id)
        return group is not None and group.turn == job_id

    def let_go(self, group: Group) -> None:
        """Gives up the locks of a group that has ended."""
        if any(self._runs(job_id) for job_id in group.members):
            return
        self._locks.release(group.owner)
        if group.look is not None:
            group.look.cancel()
        for job_id in group.members:
            self._of_job.pop(job_id, None)


def awaits_turn(job: _QueuedJob) -> bool:
    """Whether a job is deferred and has come so far that only its group says what is next."""
    return job.deferred and job.phase != PHASE_WORK and (job.final or not _is_tried_again(job))


def _is_tried_again(job: _QueuedJob) -> bool:
    return outcome.is_retried(job.ops[outcome.current(job)])
