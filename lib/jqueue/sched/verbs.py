"""What users do to jobs after submission: cancel, change the priority, archive, submit again.

Each is durable before it is answered. On a full disk each is refused, but for a cancel that ends running code: what
space is left is for that. What a verb means for a job's statuses is in `outcome` and `_QueuedJob`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgpack
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from jqueue.errors import JobLost, OpPrereqError
from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.status import CANCELING, PRIORITY_MAX, PRIORITY_MIN, SUBMITTABLE_PRIORITIES, SUCCESS
from jqueue.sched import outcome
from jqueue.sched.edits import Edits, Journal
from jqueue.sched.outside import History
from jqueue.sched.processor import Processor
from jqueue.sched.table import JobTable
from jqueue.workers.control import CANCEL

_ARCHIVE_BATCH = 200
_FOREVER = 1e12


class Verbs:
    """The verbs on jobs of the queue."""

    _log = Logger()

    def __init__(
        self,
        *,
        clock: IReactorTime,
        wall: Callable[[], float],
        table: JobTable,
        edits: Edits,
        journal: Journal,
        processor: Processor,
        history: History,
        archived: Callable[[int], None],
    ) -> None:
        """Makes them.

        @param wall: wall time in seconds
        @param archived: told of each job that has left the queue for good, once that is durable
        """
        self._clock = clock
        self._wall = wall
        self._table = table
        self._edits = edits
        self._journal = journal
        self._processor = processor
        self._history = history
        self._told_archived = archived
        self._archiving: set[int] = set()

    def cancel(self, job_id: int, kill: bool) -> Deferred[tuple[bool, str]]:
        """Cancels a job; running code is asked to stop, and the answer does not wait for it.

        @param kill: do not leave a command time to end by itself
        """

        def change(draft: _QueuedJob) -> tuple[bool, str]:
            if draft.final:
                return False, f"Job {job_id} is no longer waiting in the queue"
            if draft.CalcStatus() == CANCELING:
                return True, f"Job {job_id} is being canceled already"
            done, text = outcome.cancel(draft, self._wall(), code_runs=job_id in self._processor.executions)
            if not done:
                running = draft.ops[outcome.current(draft)].input.get("OP_ID")
                text = f"Job {job_id} runs {running}, which cannot be stopped; it goes on to its end"
            return done, text

        return self._edit_unfinished(job_id, change, cancels=True).addCallback(self._stop_code, job_id, kill)

    def _stop_code(self, answer: tuple[bool, str], job_id: int, kill: bool) -> tuple[bool, str]:
        execution = self._processor.executions.get(job_id)
        if answer[0] and execution is not None:
            execution.control.stop(CANCEL, kill=kill)
        return answer

    def pause(self, job_id: int) -> Deferred[tuple[bool, str]]:
        """Pauses a job: running code stops at its next pause point, nothing more of it starts; survives a restart."""

        def change(draft: _QueuedJob) -> tuple[bool, str]:
            if draft.final:
                return False, f"Job {job_id} is finished"
            if draft.paused:
                return False, "Job is already paused"
            draft.paused = True
            return True, f"Job {job_id} is paused"

        def stop_code(answer: tuple[bool, str]) -> tuple[bool, str]:
            if answer[0] and self._table.status(job_id) != CANCELING:  # nothing stops a cancellation
                self._processor.hold(job_id)
            return answer

        return self._edit_unfinished(job_id, change).addCallback(stop_code)

    def resume(self, job_id: int) -> Deferred[tuple[bool, str]]:
        """Lets a paused job go on."""

        def change(draft: _QueuedJob) -> tuple[bool, str]:
            if draft.final:
                return False, f"Job {job_id} is finished"
            if not draft.paused:
                return False, "Can't resume a job that was not paused"
            draft.paused = False
            return True, f"Job {job_id} goes on"

        def go_on(answer: tuple[bool, str]) -> tuple[bool, str]:
            if answer[0]:
                self._processor.resume(job_id)
            return answer

        return self._edit_unfinished(job_id, change).addCallback(go_on)

    def _edit_unfinished(
        self, job_id: int, change: Callable[[_QueuedJob], tuple[bool, str]], *, cancels: bool = False
    ) -> Deferred[tuple[bool, str]]:
        if job_id not in self._table.unfinished:
            return succeed((False, self._not_unfinished(job_id)))
        # What is left of a full disk is for the code that runs: it may end, and be told to.
        ends_code = cancels and job_id in self._processor.executions
        return self._edits.edit(job_id, change, refusable=not ends_code)

    def change_priority(self, job_id: int, priority: int, admin: bool) -> Deferred[tuple[bool, str]]:
        """Changes the priority of the opcodes of a job that have not started.

        @raise OpPrereqError: such a priority is not allowed
        """
        if not PRIORITY_MIN <= priority <= PRIORITY_MAX:
            raise OpPrereqError(f"priority: {PRIORITY_MIN} to {PRIORITY_MAX} expected, got {priority}")
        if priority not in SUBMITTABLE_PRIORITIES and not admin:
            raise OpPrereqError(f"priority: -10, 0 or 10 expected, got {priority}; an administrator may set any")
        return self._edit_unfinished(job_id, lambda draft: draft.ChangePriority(priority))

    def _not_unfinished(self, job_id: int) -> str:
        if job_id in self._table.finished:
            return f"Job {job_id} is finished"
        return f"There is no job {job_id} in the queue; it may be archived"

    def archive(self, job_ids: Iterable[int]) -> Deferred[int]:
        """Archives those of the jobs that are final.

        @return: fires with their number once that is durable; the files are moved a little later
        """
        chosen = [job_id for job_id in job_ids if job_id in self._table.finished and job_id not in self._archiving]
        if not chosen:
            return succeed(0)
        self._archiving.update(chosen)
        return self._journal.append(msgpack.packb(["archive", chosen]), refusable=True).addCallbacks(
            self._archived, self._not_archived, callbackArgs=(chosen,), errbackArgs=(chosen,)
        )

    def _archived(self, _sequence: int, chosen: list[int]) -> int:
        self._archiving.difference_update(chosen)
        moved = [(job_id, self._table.get(job_id)) for job_id in chosen]
        for job_id in chosen:
            self._leave(job_id)
        self._history.archive(moved).addErrback(
            lambda failure: self._log.failure("Files could not be moved to the archive", failure)
        )
        return len(chosen)

    def _leave(self, job_id: int) -> None:
        if job_id in self._table.finished:  # otherwise it was archived and forgotten at the same time
            self._table.remove(job_id)
            self._told_archived(job_id)

    def _not_archived(self, failure: Failure, chosen: list[int]) -> Failure:
        self._archiving.difference_update(chosen)
        return failure

    async def auto_archive(self, age: float, timeout: float) -> tuple[int, int]:
        """Archives final jobs that ended at least so long ago, the oldest first.

        @param age: seconds since the end; negative: any
        @param timeout: seconds after which it stops
        @return: how many were archived, and how many were not looked at
        """
        deadline = self._clock.seconds() + timeout
        ended_before = self._wall() - age if age >= 0 else _FOREVER
        candidates = sorted(self._table.finished)
        archived = 0
        for start in range(0, len(candidates), _ARCHIVE_BATCH):
            if self._clock.seconds() > deadline:
                return archived, len(candidates) - start
            batch = [
                job_id for job_id in candidates[start : start + _ARCHIVE_BATCH] if self._ended(job_id) <= ended_before
            ]
            archived += await self.archive(batch)
            await deferLater(self._clock, 0)
        return archived, 0

    def _ended(self, job_id: int) -> float:
        row = self._table.finished.get(job_id)
        if row is None:
            return _FOREVER
        seconds, _microseconds = row.end_ts or row.start_ts or row.received_ts or (0, 0)
        return seconds

    def archives(self, job_id: int) -> bool:
        """Whether a job is on its way to the archive."""
        return job_id in self._archiving

    def forget(self, job_id: int) -> Deferred[None]:
        """Forgets a final job whose file an administrator has removed or moved away."""

        def make(job: _QueuedJob | None) -> bytes | None:
            return msgpack.packb(["forget", [job_id]]) if job_id in self._table.finished else None

        def done(recorded: bool) -> None:
            if recorded:
                self._leave(job_id)
                self._history.forget(job_id).addErrback(
                    lambda failure: self._log.failure("Files of a removed job are left", failure)
                )

        return self._edits.record(job_id, make).addCallback(done)


def again(job: _QueuedJob, everything: bool) -> dict[str, Any]:
    """Describes the job that does once more what a final one has not achieved.

    @param everything: also the opcodes that were successful
    @return: a description map
    @raise OpPrereqError: there is nothing to do, or the job has not ended
    """
    if not job.final:
        raise OpPrereqError(f"Job {job.id} has not ended; cancel it first, or wait for it")
    ops = [_fresh(op.input, job.id) for op in job.ops if everything or op.status != SUCCESS]
    if not ops:
        raise OpPrereqError(f"Job {job.id} was successful; `jqueue retry --all {job.id}` runs all of it again")
    description: dict[str, Any] = {"ops": ops, "auto_dismiss": job.auto_dismiss}
    if job.name is not None:
        description["name"] = job.name
    return description


def _fresh(state: Mapping[str, Any], job_id: int) -> dict[str, Any]:
    # What it depended on has been waited for; the jobs may be gone by now.
    fresh = {key: value for key, value in state.items() if key not in ("depends", "not_before", "lock_paths")}
    fresh["reason"] = [*(state.get("reason") or ()), ["jqueue:client:retry", f"job={job_id}", 0]]
    return fresh


def lost(job_id: int) -> JobLost:
    """The error for a job that is nowhere."""
    return JobLost(f"There is no job {job_id}, neither in the queue nor in the archive; `jqueue list` shows the ids")
