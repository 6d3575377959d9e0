"""A real queue on a fake clock: no thread, no file, every sync and every step of an opcode when the test says so.

What is not the scheduler has a twin in memory: journal and workers (the library's own), job files, history, drain.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, execute, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from jqueue.config import Config, Locks, Queue, Workers
from jqueue.errors import JobCanceled, OpExecError, StateError
from jqueue.events.joblog import Entry
from jqueue.jobs.job import Queue as Host
from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.packing import unpack
from jqueue.opcodes.base import LockSpec, OpCode, OpContext, param
from jqueue.opcodes.registry import Registry
from jqueue.sched import recovery, snapshot
from jqueue.sched.execution import Execution
from jqueue.sched.outside import Outside
from jqueue.sched.queue import JobQueue
from jqueue.store.interface import Loaded
from jqueue.store.jobfile import Source
from jqueue.store.memory import MemoryJournal
from jqueue.turns import Turns
from jqueue.workers.context import Context
from jqueue.workers.mailbox import Mailbox
from jqueue.workers.pool import SteppedWorkers

T = TypeVar("T")

START = 1_700_000_000.0
"""Wall time at which the fake clock begins."""


# Opcodes


class Unspeakable(Exception):
    """An error of an author who has made another one."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


class Work(OpCode):
    """Does as it is told; each thing it does is a line of the job's log."""

    OP_ID = "OP_WORK"
    stoppable = True

    result: Any = param("what to answer", default=None)
    fails: list[str] = param("which of its methods fail", default_factory=list)
    fails_until: int = param("attempts whose exec fails", default=0)
    saves: Any = param("what to save before it ends", default=None)
    children: list[Any] = param("jobs to submit", default_factory=list)
    declares: dict[str, Any] = param("what declare_locks gives", default_factory=dict)
    looks: bool = param("whether it looks if it is to stop or to pause", default=True)
    speed: int = param("the speed to start with; a negative one is a mistake of the author", default=0)

    def _do(self, ctx: OpContext, name: str) -> None:
        ctx.log(name)
        if name in self.fails:
            raise OpExecError(f"{name} was told to fail")

    def start_speed(self) -> int:
        if self.speed < 0:
            raise ZeroDivisionError("a mistake in an opcode")
        return self.speed

    def exec(self, ctx: OpContext) -> object:
        if self.looks:
            ctx.checkpoint()
        if self.saves is not None:
            ctx.saved["state"] = self.saves
        found = ctx.submit(self.children) if self.children else None
        self._do(ctx, "exec")
        if "unspeakable" in self.fails:
            raise Unspeakable
        if ctx.attempt <= self.fails_until:
            raise OpExecError(f"attempt {ctx.attempt} was told to fail")
        result: object = self.result if found is None else found
        return result


class Stubborn(Work):
    """Does not look whether it is to stop."""

    OP_ID = "OP_STUBBORN"
    stoppable = False


class Again(Work):
    """May be run again after a crash."""

    OP_ID = "OP_AGAIN"
    restartable = True


class Undo(Work):
    """Has something to prepare, commit and abort."""

    OP_ID = "OP_UNDO"

    def prepare(self, ctx: OpContext) -> None:
        self._do(ctx, "prepare")

    def commit(self, ctx: OpContext) -> None:
        self._do(ctx, f"commit attempt {ctx.attempt}" if "commit" not in self.fails else "commit")

    def abort(self, ctx: OpContext) -> None:
        self._do(ctx, f"abort attempt {ctx.attempt}" if "abort" not in self.fails else "abort")


class UndoAgain(Undo):
    """Both."""

    OP_ID = "OP_UNDO_AGAIN"
    restartable = True


class Declare(Work):
    """Learns which locks it needs from a look at the world."""

    OP_ID = "OP_DECLARE"

    def declare_locks(self, ctx: OpContext) -> LockSpec:
        if self.looks:
            ctx.checkpoint()
        self._do(ctx, "declare")
        if "declare by cancel" in self.fails:
            raise JobCanceled
        return self.declares


OPCODES = (Work, Stubborn, Again, Undo, UndoAgain, Declare)


def op(op_id: str = "OP_WORK", **parameters: object) -> dict[str, object]:
    """Describes an opcode."""
    return {"OP_ID": op_id, **parameters}


def locked(name: str = "a", mode: object = "exclusive", op_id: str = "OP_WORK", **more: object) -> dict[str, object]:
    """Describes an opcode that needs a lock of the level `resource`."""
    return op(op_id, locks={"resource": {name: mode}}, **more)


# Twins


class Parked(BaseException):
    """The code would wait here for a resume; the step is performed anew then."""


class _NoWait(threading.Condition):
    def wait(self, timeout: float | None = None) -> bool:
        raise Parked


class Steps(SteppedWorkers):
    """Steps that stop at a pause point wait until they may go on; any of them may be performed next."""

    def perform(self, index: int = 0) -> None:
        task = step, done = self.steps.pop(index)
        try:
            result: object = step()
        except Parked:
            self.steps.insert(index, task)
            return
        except Exception:
            result = Failure()
        done.callback(result)


class SteppedContext(Context):
    """Never waits: what an answer needs happens at once."""

    sync: Callable[[], None]

    def _ask(self, function: Callable[..., Deferred[T]], *arguments: Any) -> T:
        def asked(*arguments: Any) -> Deferred[T]:
            answer = function(*arguments)
            self.sync()
            return answer

        return super()._ask(asked, *arguments)

    def checkpoint(self) -> None:
        if not self._control._may_go_on and not self._control.stop_requested:
            raise Parked
        super().checkpoint()


class Disk:
    """What is left when the daemon dies: job files, logs, archive, and the twins of what writes them."""

    pending = 0
    lag = 0.0

    def __init__(self) -> None:
        self.files: dict[int, Source] = {}
        self.archived: dict[int, Source] = {}
        self.logs: dict[int, list[Entry]] = {}
        self.gone: set[int] = set()
        self.slow = False
        self.asked: list[tuple[Deferred[Loaded], Loaded]] = []
        self.unreadable: dict[int, StateError] = {}
        self.retries = 0

    # Job files

    def changed(self, job_id: int, source: Source) -> None:
        self.files[job_id] = source

    def missing(self, job_ids: Iterable[int]) -> Deferred[list[int]]:
        return succeed([job_id for job_id in job_ids if job_id not in self.files])

    # History

    def load(self, job_ids: Iterable[int], queue: Host | None = None) -> Deferred[Loaded]:
        """Answers at once, or if `slow` when `answer` is called."""
        found: Loaded = {}
        for job_id in job_ids:
            if job_id in self.unreadable:
                found[job_id] = self.unreadable[job_id]
            elif job_id in self.files:
                found[job_id] = _read(queue, job_id, self.files[job_id], archived=False)
            elif job_id in self.archived:
                found[job_id] = _read(queue, job_id, self.archived[job_id], archived=True)
        if not self.slow:
            return succeed(found)
        done: Deferred[Loaded] = Deferred()
        self.asked.append((done, found))
        return done

    def answer(self) -> None:
        asked, self.asked = self.asked, []
        for done, found in asked:
            done.callback(found)

    def look_up(self, function: Callable[[], T]) -> Deferred[T]:
        return execute(function)

    def archived_ids(self) -> Deferred[list[int]]:
        return succeed(sorted(self.archived))

    def log(self, job_id: int, newer_than: int, limit: int) -> Deferred[list[Entry]]:
        return succeed([entry for entry in self.logs.get(job_id, []) if entry[1] > newer_than][:limit])

    def log_tail(self, job_id: int, count: int) -> Deferred[list[Entry]]:
        return succeed(self.logs.get(job_id, [])[-count:])

    def write_log(self, entries: dict[int, list[Entry]]) -> Deferred[None]:
        for job_id, rows in entries.items():
            self.logs.setdefault(job_id, []).extend(rows)
        return succeed(None)

    def repair_log(self, job_id: int) -> Deferred[int]:
        return succeed(max((entry[1] for entry in self.logs.get(job_id, [])), default=0))

    def archive(self, jobs: Iterable[tuple[int, Source | None]]) -> Deferred[None]:
        for job_id, source in jobs:
            old = self.files.pop(job_id, None)
            source = source or old
            if source is not None:
                self.archived[job_id] = source
        return succeed(None)

    def retry(self) -> Deferred[None]:
        self.retries += 1
        return succeed(None)

    def is_archived(self, job_id: int) -> Deferred[bool | None]:
        return succeed(False if job_id in self.files else True if job_id in self.archived else None)

    def forget(self, job_id: int) -> Deferred[None]:
        self.files.pop(job_id, None)
        self.logs.pop(job_id, None)
        self.gone.add(job_id)
        return succeed(None)

    def remove_run_directory(self, job_id: int, op_index: int, attempt: int) -> Deferred[None]:
        return succeed(None)


def _read(queue: Host | None, job_id: int, source: Source, *, archived: bool) -> _QueuedJob:
    if isinstance(source, bytes):
        source = unpack(queue, job_id, source)
    elif not isinstance(source, _QueuedJob):
        source = source()
    return _QueuedJob.Restore(queue, source.Serialize(), writable=False, archived=archived)


class HeldTurns(Turns):
    """Long work goes on step by step, when the test says so."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.waiting: list[Iterator[None]] = []

    def add(self, steps: Iterator[None]) -> None:
        self.waiting.append(steps)

    def take(self) -> None:
        """Takes one step of the oldest work."""
        if self.waiting and not self._step(self.waiting[0]):
            del self.waiting[0]


class MemoryDrain:
    """`control/drained`."""

    def __init__(self) -> None:
        self.drained: str | None = None

    def set(self, reason: str | None) -> Deferred[None]:
        self.drained = reason
        return succeed(None)


# The rig


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
            queue=Queue(keep_in_memory=keep, max_unfinished=limit),
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
        execution.control._changed = _NoWait()
        current = job.ops[execution.index]
        context = SteppedContext(
            job_id=job.id,
            op_index=execution.index,
            attempt=execution.attempt,
            saved=current.saved or {},
            dry_run=execution.opcode.dry_run,
            run_directory=Path("/nonexistent"),
            control=execution.control,
            desk=execution,
            mailbox=self.mailbox,
        )
        context.sync = self.sync
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
