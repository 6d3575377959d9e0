"""`quit` as QEMU does it: the event SHUTDOWN, then every job is cancelled, the newest first, and let go.

How the daemon stops when it is to keep its jobs is in `jqueue.daemon.service`.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred, DeferredList, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from jqueue.errors import GenericError, JobLost, OpPrereqError
from jqueue.sched.groups import awaits_turn
from jqueue.sched.queue import JobQueue

QUIT = "host-qmp-quit"
SIGNAL = "host-signal"
"""QEMU's words for what ends the daemon."""

_IN_ORDER = 2.0  # seconds in which jobs are waited for before the next are cancelled
_CALLBACKS = 60.0  # seconds that the undoing of deferred jobs may take in the end; the next start goes on with it


class Quitting:
    """Ends all jobs."""

    def __init__(self, queue: JobQueue, clock: IReactorTime) -> None:
        """Makes it.

        @param clock: the reactor, or a clock in tests
        """
        self._queue = queue
        self._clock = clock
        self._table = queue.table
        self._processor = queue.processor
        self._events = queue.lifecycle_events

    async def quit(self) -> None:
        """Cancels all jobs; when that cannot be recorded, the queue goes on.

        @raise GenericError: it cannot be recorded
        """
        self._queue.stopping = True
        self._processor.stop()
        self._events.shutdown(QUIT)
        try:
            await self._cancel_all()
        except GenericError:
            self._queue.stopping = False
            self._processor.start()
            raise
        for job_id in sorted(self._table.finished, reverse=True):
            self._events.let_go(job_id)

    async def _cancel_all(self) -> None:
        """Cancels one job after the other; code that does not stop soon is waited for at the end."""
        at_once: list[Deferred[None]] = []
        patience = self._clock.seconds() + _IN_ORDER
        for job_id in sorted(self._table.unfinished, reverse=True):
            job = self._table.get(job_id) if job_id in self._table.unfinished else None
            execution = self._processor.executions.get(job_id)
            if job is None or (execution is None and not job.deferred):
                at_once.append(self._cancel(job_id))
                continue
            await _all(at_once)
            at_once = []
            await self._cancel(job_id)
            if execution is None or execution.opcode.stoppable:
                await self._end(job_id, patience)
        await _all(at_once)
        await self._processor.when_idle()
        patience = self._clock.seconds() + _CALLBACKS
        for job_id in sorted(self._table.unfinished, reverse=True):
            job = self._table.get(job_id)
            if job is not None and not awaits_turn(job):
                await self._cancel(job_id)  # it was on its way when this began, or is a child of one that ran
            await self._end(job_id, patience)

    def _cancel(self, job_id: int) -> Deferred[None]:
        def ended(failure: Failure) -> None:
            failure.trap(JobLost, OpPrereqError)  # it has come to its end by itself, or is coming to it

        return self._queue.verbs.cancel(job_id).addCallbacks(lambda _: None, ended).addCallback(self._let_go, job_id)

    async def _end(self, job_id: int, until: float) -> None:
        await ended(self._queue, self._clock, job_id, until)
        self._let_go(None, job_id)

    def _let_go(self, _result: None, job_id: int) -> None:
        if job_id in self._table.finished:
            self._events.let_go(job_id)


async def ended(queue: JobQueue, clock: IReactorTime, job_id: int, until: float) -> None:
    """Waits until a job has ended.

    @param until: when to give up, in seconds of the clock
    """
    while job_id in queue.table.unfinished:
        left = until - clock.seconds()
        try:
            await queue.waiters.wait(job_id).addTimeout(max(left, 0), clock)
        except TimeoutError:
            return
        await deferLater(clock, 0)  # what is in the same record, of other jobs of its group, is told then too


async def _all(answers: list[Deferred[None]]) -> None:
    for _done, result in await DeferredList(answers, consumeErrors=True):
        if isinstance(result, Failure):
            result.raiseException()
