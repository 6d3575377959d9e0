"""One opcode of a job being worked on: the reactor's side of it.

It passes requests to the running code and takes its messages; which opcode runs when is decided by the processor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from jqueue.errors import JobCanceled, OpExecError, ShuttingDown, text_of
from jqueue.events.joblog import JobLogs
from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.lifecycle import PHASE_WORK
from jqueue.jobs.opcode import Outcome
from jqueue.opcodes.base import LockSpec, OpCode
from jqueue.sched import outcome
from jqueue.sched.edits import Edits
from jqueue.workers.context import Context, LogLine
from jqueue.workers.control import CANCEL, SHUTDOWN, TIMEOUT, Control
from jqueue.workers.pool import Workers

T = TypeVar("T")

_LONGEST_DELAY = 1e9  # seconds; beyond that there is no calendar

SubmitChildren = Callable[["Execution", Sequence[object]], Deferred[list[int]]]


class MakeContext(Protocol):
    """Makes the context of an execution; the directories and the mailbox are the maker's business."""

    def __call__(self, execution: Execution, job: _QueuedJob) -> Context: ...


class Execution:
    """One attempt at one opcode, from the grant of its locks to the publishing of its end."""

    def __init__(
        self,
        job: _QueuedJob,
        opcode: OpCode,
        index: int,
        *,
        clock: IReactorTime,
        wall: Callable[[], float],
        edits: Edits,
        logs: JobLogs,
        workers: Workers,
        submit_children: SubmitChildren,
        make_context: MakeContext,
        post: Callable[[Callable[[], None]], None],
        parked: Callable[[Execution], None],
        converged: Callable[[Execution], None],
    ) -> None:
        """Makes it; nothing runs yet.

        @param job: the published version
        @param opcode: one of its opcodes
        @param index: which one
        @param wall: the wall time in seconds
        @param post: has a function called on the reactor thread, from any thread
        @param parked: told, on the reactor thread, that the code has stopped at a pause point
        @param converged: told, on the reactor thread, that the code has converged
        """
        self.job_id = job.id
        self.index = index
        self.opcode = opcode
        self.since = clock.seconds()
        self.progress: tuple[int, int, str] | None = None
        self.holds_slot = True
        self.parked = False
        """Whether the code has stopped at a pause point."""
        self.converged = False
        """Whether the code has converged: until it is told to come to its end it needs no slot."""
        self.in_line = False
        """Whether it is on the heap for a slot."""
        self.control = Control(lambda: post(lambda: parked(self)), lambda: post(lambda: converged(self)))
        self.control.set_speed(opcode.start_speed() if job.speed is None else job.speed)
        self.children = 0
        self._clock = clock
        self._wall = wall
        self._edits = edits
        self._logs = logs
        self._workers = workers
        self._submit_children = submit_children
        self.deferred = job.deferred
        self._prepares = False
        self._is_last = index == len(job.ops) - 1
        self.attempt = job.ops[index].attempt + (job.phase == PHASE_WORK)
        """The number, from 1, of the attempt that is about to start or runs, or that is committed or undone."""
        self._unwritten: Deferred[None] | None = None
        self._timer: IDelayedCall | None = None
        self._time_left: float | None = None
        self.context = make_context(self, job)

    @property
    def keeps_up(self) -> bool:
        """Whether the code has converged and was not told to come to its end: it works without a slot."""
        return self.converged and self.control.told is None

    def share(self) -> list[int] | None:
        """How far the code has come, done and total, if it has said so."""
        return None if self.progress is None else list(self.progress[:2])

    def log_serial(self) -> int:
        """The serial that the job's log has reached."""
        return self._logs.serial(self.job_id)

    # What runs in a worker

    async def declare_locks(self) -> LockSpec:
        """Asks the opcode which locks it needs as things are now."""
        return await self._perform(lambda: self.opcode.dynamic_locks(self.context))

    async def run(self) -> Outcome:
        """Runs the opcode's code.

        @return: what it ended with; all it logged is in the file
        """
        self._time_left = self.opcode.timeout
        self.count_time(True)
        try:
            ended: Outcome = outcome.success(await self._perform(self._exec))
        except (JobCanceled, ShuttingDown) as problem:
            ended = self._stopped(problem)
        except Exception as problem:
            ended = self._failed(problem)
        finally:
            self.count_time(False)
            self._time_left = None
        return ended

    def count_time(self, counts: bool) -> None:
        """Says whether time counts towards the timeout: not while the code is parked."""
        if self._timer is not None and self._timer.active():
            self._time_left = self._timer.getTime() - self._clock.seconds()
            self._timer.cancel()
        if counts and self._time_left is not None:
            self._timer = self._clock.callLater(max(self._time_left, 0), self.control.stop, TIMEOUT)

    async def prepare(self) -> Outcome | None:
        """Runs `prepare`.

        @return: why it refuses, if it does
        @raise ShuttingDown: as for `call_back`
        """
        try:
            await self._perform(lambda: self.opcode.prepare(self.context))
        except Exception as problem:
            self._leave_to_next_start(problem)
            return outcome.canceled() if isinstance(problem, JobCanceled) else outcome.error(problem)
        return None

    async def call_back(self, function: Callable[[Context], None], stored: Outcome) -> Outcome:
        """Runs `commit` or `abort`.

        @param stored: the outcome that was decided
        @return: the same, or an error if the callback raised
        @raise ShuttingDown: the daemon stops before it is done; the next start runs it again
        """
        try:
            await self._perform(lambda: function(self.context))
        except Exception as problem:
            self._leave_to_next_start(problem)
            text = outcome.shortened(f"{self.opcode.OP_ID} could not {function.__name__} its work: {text_of(problem)}")
            await self._logs.add(self.job_id, self.index, [(self._wall(), "message", text)])
            return outcome.error(OpExecError(text))
        return stored

    def _leave_to_next_start(self, problem: Exception) -> None:
        """Takes it for no failure of a callback that it ends because the daemon does."""
        if self.control.stop_reason == SHUTDOWN and isinstance(problem, (JobCanceled, ShuttingDown)):
            raise ShuttingDown() from problem

    async def _perform(self, step: Callable[[], T]) -> T:
        """Runs a step; all it logged is in the file when this returns, so that nobody sees its end before."""
        try:
            return await self._workers.run(step)
        finally:
            if self._unwritten is not None:
                await self._unwritten

    def _exec(self) -> object:
        result = self.opcode.exec(self.context)
        if self._is_last:
            self.control.wait_pause()  # a pause that came too late for the code itself still counts
        if not self.deferred:
            self._prepares = True
            self.opcode.prepare(self.context)
        return result

    # What it ended with

    def _stopped(self, problem: JobCanceled | ShuttingDown) -> Outcome:
        match self.control.stop_reason:
            case "timeout":
                return self._failed(OpExecError(f"The opcode ran longer than its timeout of {self.opcode.timeout:g} s"))
            case "shutdown" if self.opcode.restartable:
                return outcome.retry(problem, None)
            case "shutdown":
                return outcome.error(OpExecError("daemon stopped"))
            case _ if isinstance(problem, ShuttingDown):
                return self._failed(problem)
            case _:
                return outcome.canceled()

    def _failed(self, problem: Exception) -> Outcome:
        retries = self.opcode.retries or {}
        # What has converged cannot go back to work: nothing leads from ready to running.
        last = self.converged or self.attempt >= retries.get("attempts", 1)
        if last or self.control.stop_reason in (CANCEL, SHUTDOWN):
            return outcome.late(problem) if self._prepares else outcome.error(problem)
        return outcome.retry(problem, self._wall() + _delay(retries, self.attempt))

    # Messages of the running code, on the reactor thread

    def logged(self, lines: Sequence[LogLine]) -> Deferred[None]:
        """See `jqueue.workers.context.Desk`."""
        written = self._logs.add(self.job_id, self.index, lines)
        written.addCallback(lambda _: self.context.log_written(len(lines)))
        self._unwritten = written
        return written

    def progressed(self, done: int, total: int, text: str) -> None:
        """See `jqueue.workers.context.Desk`."""
        self.progress = (done, total, text)

    def save(self, saved: Mapping[str, Any]) -> Deferred[None]:
        """See `jqueue.workers.context.Desk`."""

        def change(draft: _QueuedJob) -> None:
            draft.ops[self.index].saved = dict(saved)

        return self._edits.edit(self.job_id, change)

    def submit(self, jobs: Sequence[object]) -> Deferred[list[int]]:
        """See `jqueue.workers.context.Desk`."""
        children = self._submit_children(self, jobs)
        self.children += 1
        return children


def _delay(retries: Mapping[str, Any], attempt: int) -> float:
    try:
        delay: float = retries.get("delay", 0) * float(retries.get("factor", 1)) ** (attempt - 1)
    except OverflowError:
        return _LONGEST_DELAY
    return min(delay, _LONGEST_DELAY)
