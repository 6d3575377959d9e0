"""A real queue on a fake clock: no thread, no file, every sync and every step of an opcode when the test says so.

What is not the scheduler has a twin in memory: journal and workers (the library's own), job files, history, drain.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from jqueue.config import Config, Locks, Queue, Workers
from jqueue.jobs.job import _QueuedJob
from jqueue.opcodes.registry import Registry
from jqueue.sched import recovery, snapshot
from jqueue.sched.execution import Execution
from jqueue.sched.outside import Outside
from jqueue.sched.queue import JobQueue
from jqueue.store.memory import MemoryJournal
from jqueue.workers.context import Context
from jqueue.workers.mailbox import Mailbox

from .scripted import OPCODES
from .scripted import Work as Work
from .scripted import locked as locked
from .scripted import op as op
from .twins import Disk as Disk
from .twins import HeldTurns, MemoryDrain, NoWait, SteppedContext, Steps

T = TypeVar("T")

START = 1_700_000_000.0
"""Wall time at which the fake clock begins."""


class Rig:
    """A queue and its surroundings."""

    def __init__(
        self,
        *,
        size: int = 2,
        capacities: dict[str, int] | None = None,
        disk: Disk | None = None,
        clock: Clock | None = None,
        keep: int = 1000,
        limit: int = 1000,
        start: bool = True,
    ) -> None:
        """Makes one.

        @param size: workers
        @param keep: finished jobs kept in memory
        @param limit: unfinished jobs that are taken
        """
        self.clock = clock or Clock()
        self.disk = disk or Disk()
        self.journal = MemoryJournal()
        self.workers = Steps()
        self.drain = MemoryDrain()
        self.turns = HeldTurns(self.clock)
        self.mailbox = Mailbox(lambda deliver: deliver())
        self.config = Config(
            workers=Workers(size=size),
            queue=Queue(keep_in_memory=keep, max_unfinished=limit, max_jobs_per_group=50),
            locks=Locks(capacities=capacities or {"resource/tape": 3}),
        )
        registry = Registry()
        for cls in OPCODES:
            registry.add(cls)
        self.queue = JobQueue(
            self.config,
            registry,
            Outside(
                clock=self.clock,
                wall=self.wall,
                journal=self.journal,
                job_files=self.disk,
                history=self.disk,
                workers=self.workers,
                drain=self.drain,
                make_context=self._make_context,
                post=self.mailbox.post,
                turns=self.turns,
            ),
        )
        if start:
            self.queue.processor.start()

    def wall(self) -> float:
        return START + self.clock.seconds()

    def _make_context(self, execution: Execution, job: _QueuedJob) -> Context:
        current = job.ops[execution.index]
        context = SteppedContext(
            job_id=job.id,
            op_index=execution.index,
            attempt=execution.attempt,
            saved=current.saved or {},
            dry_run=execution.opcode.dry_run,
            run_directory=lambda: Path("/nonexistent"),
            control=execution.control,
            desk=execution,
            mailbox=self.mailbox,
        )
        context.sync = self.sync
        execution.control._changed = NoWait(context.begin_anew)
        return context

    # Time

    def sync(self) -> None:
        """Goes on with long work, and syncs, until nothing waits for either."""
        while self.turns.waiting or self.journal.unsynced_records:
            self.turns.take()
            self.journal.sync()

    def settle(self) -> None:
        """Lets everything happen that needs neither time nor the code of an opcode."""
        while True:
            self.sync()
            self.clock.advance(0)
            if not self.turns.waiting and not self.journal.unsynced_records:
                return

    def step(self, index: int = 0) -> None:
        """Runs the code of one step, and lets everything happen that follows."""
        self.workers.perform(index)
        self.settle()

    def finish(self) -> None:
        """Runs all code that can run until there is no more."""
        self.settle()
        index = 0
        while index < len(self.workers.steps):
            before = self.workers.steps[index]
            self.step(index)
            stays = index < len(self.workers.steps) and self.workers.steps[index] is before
            index = index + 1 if stays else 0

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.settle()

    # Verbs

    def now(self, answer: Deferred[T]) -> T:
        """Lets everything happen that an answer needs; gives it, or raises what it failed with."""
        results: list[T | Failure] = []
        answer.addBoth(results.append)
        self.settle()
        assert results, "there is no answer"
        if isinstance(results[0], Failure):
            results[0].raiseException()
        assert not isinstance(results[0], Failure)
        return results[0]

    def submit(self, *jobs: object, uid: int | None = 7, admin: bool = True, **options: object) -> list[int]:
        """Submits jobs (each a list of opcodes, a description, or one opcode), none of which may be refused."""
        answer = self.now(self.queue.submit([as_job(job) for job in jobs], options, uid=uid, admin=admin))
        ids = [job_id for job_id in answer if isinstance(job_id, int)]
        assert len(ids) == len(jobs), answer
        return ids

    def submit_one(self, *ops: object) -> int:
        """Submits one job of these opcodes."""
        (job_id,) = self.submit(list(ops))
        return job_id

    def job(self, job_id: int) -> _QueuedJob:
        job = self.queue.table.get(job_id)
        assert job is not None, f"job {job_id} is not in memory"
        return job

    def status(self, job_id: int) -> str | None:
        return self.queue.table.status(job_id)

    def statuses(self, job_id: int) -> list[str]:
        return [current.status for current in self.job(job_id).ops]

    def result(self, job_id: int, index: int = 0) -> Any:
        return self.job(job_id).ops[index].result

    def said(self, job_id: int) -> list[Any]:
        """The messages in a job's log: what its code did."""
        return [entry[4] for entry in self.disk.logs.get(job_id, [])]

    def ran_by(self, job_id: int) -> list[Any]:
        """Which methods of a job's opcodes have run, in order."""
        return [message for message in self.said(job_id) if "could not" not in message]

    def waits_for(self, job_id: int) -> str | None:
        """The kind of what a parked job waits for."""
        wait = self.queue.processor.parked.get(job_id)
        return wait.kind if wait is not None else None

    def running(self) -> list[int]:
        return sorted(self.queue.processor.executions)

    def idle(self) -> bool:
        """Whether nobody runs, and nobody holds a worker or a lock."""
        busy = self.queue.processor.executions or self.queue.query_workers()["running"]
        return not busy and not any(row["owners"] for row in self.queue.query_locks())

    # The end of the daemon

    def crash(self, checkpoint: Sequence[bytes] = (), after: int = 0, start: bool = True, *, full: bool = False) -> Rig:
        """Starts another daemon on what this one has made durable.

        @param checkpoint: the chunks of one
        @param after: the last sequence that it has seen
        @param full: whether the disk is full
        """
        other = Rig(
            size=self.config.workers.size,
            capacities=dict(self.config.locks.capacities),
            disk=self.disk,
            clock=Clock(),
            keep=self.config.queue.keep_in_memory,
            limit=self.config.queue.max_unfinished,
            start=False,
        )
        other.clock.advance(self.clock.seconds())
        other.journal.records = [entry for entry in self.journal.records if entry[0] > after]
        other.journal.open(self.journal.next_sequence)
        other.journal.set_full(full)
        state = snapshot.recover(other.queue.host, checkpoint, list(other.journal.records))
        recovery.restore(other.queue, state, other.wall())
        other.now(Deferred.fromCoroutine(recovery.settle(other.queue, state, other.disk, other.disk, other.wall())))
        if start:
            other.queue.processor.start()
            other.settle()
        return other


def as_job(job: object) -> object:
    return [job] if isinstance(job, dict) and "OP_ID" in job else job
