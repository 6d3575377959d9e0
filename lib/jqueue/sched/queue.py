"""The queue as everybody outside sees it: the facade over table, processor, submission, verbs and queries.

It puts the parts together and passes on what is published; each decision lives in the part that makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

import msgpack
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger

from jqueue.config import Config
from jqueue.errors import GenericError
from jqueue.events.bus import Bus, Listener, Subscription
from jqueue.events.joblog import Entry, JobLogs
from jqueue.events.lifecycle import LifecycleEvents
from jqueue.events.waiters import ChangeWaiters
from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.rows import Row, RowStream
from jqueue.locks.manager import LockManager
from jqueue.locks.modes import key_of
from jqueue.opcodes.base import OpCode
from jqueue.opcodes.registry import Registry
from jqueue.sched import submission
from jqueue.sched.again import retry
from jqueue.sched.archiving import Archiving
from jqueue.sched.checking import Checker
from jqueue.sched.condition import condition
from jqueue.sched.edits import Edits
from jqueue.sched.execution import Execution
from jqueue.sched.gates import Gates
from jqueue.sched.host import Host
from jqueue.sched.outside import Outside, archived_status, job_in, lost
from jqueue.sched.parts import Parts
from jqueue.sched.processor import Processor
from jqueue.sched.queries import Queries
from jqueue.sched.ready import ReadyHeap
from jqueue.sched.report import Report
from jqueue.sched.requests import Requests
from jqueue.sched.slots import Slots
from jqueue.sched.snapshot import Identity
from jqueue.sched.submission import Answer, Origin, Submission
from jqueue.sched.table import JobTable
from jqueue.sched.verbs import Verbs, answered

T = TypeVar("T")


class JobQueue:
    """The queue."""

    _log = Logger()

    def __init__(self, config: Config, registry: Registry, outside: Outside) -> None:
        """Makes an empty queue in which nothing runs yet; recovery fills it, `start` starts it."""
        self._outside = outside
        self._config = config
        self.registry = registry
        self.stopping = False
        self._started = outside.clock.seconds()
        self.logs = JobLogs(outside.history.write_log, memory=config.log.memory, written=self._logged)
        self.host = Host(outside.wall, registry, self.logs)
        self.table = JobTable(self.host, config.queue.keep_in_memory)
        self.edits = Edits(self.table, outside.journal, self._published)
        self.ready = ReadyHeap(config.queue.age_step)
        self.requests = Requests()
        self.identities: set[Identity] = set()
        self.bus = Bus()
        self.lifecycle_events = LifecycleEvents(self.bus, self.host.lifecycle, self.host.progress)
        self.waiters = ChangeWaiters()
        self.locks = self._make_locks()
        self._slots = Slots(config.workers.size)
        self.gates = Gates(
            clock=outside.clock,
            wall=outside.wall,
            status_of=self.table.status,
            archived_status=lambda job_id: archived_status(outside.history, job_id),
            wake=self._wake,
        )
        self.processor = self._make_processor()
        self.host.executions = self.processor.executions
        self.submission = self._make_submission()
        self.archiving = Archiving(
            clock=outside.clock,
            wall=outside.wall,
            table=self.table,
            edits=self.edits,
            journal=outside.journal,
            history=outside.history,
            archived=self.lifecycle_events.dismissed,
        )
        self.verbs = Verbs(
            wall=outside.wall,
            table=self.table,
            edits=self.edits,
            processor=self.processor,
            archiving=self.archiving,
            state=self.host.lifecycle,
        )
        self.queries = Queries(
            clock=outside.clock, table=self.table, history=outside.history, logs=self.logs, waiters=self.waiters
        )
        self.report = Report(
            clock=outside.clock,
            table=self.table,
            ready=self.ready,
            locks=self.locks,
            processor=self.processor,
            slots=self._slots,
            dependencies=self.gates.dependencies,
            standing_still=self._standing_still,
        )

    def _make_locks(self) -> LockManager:
        settings = self._config.locks
        capacities = {key_of(text): units for text, units in settings.capacities.items()}
        return LockManager(
            self._outside.clock, capacities=capacities, max_bypass=settings.max_bypass, on_wake=self._wake_owner
        )

    def _make_processor(self) -> Processor:
        return Processor(
            Parts(
                clock=self._outside.clock,
                wall=self._outside.wall,
                table=self.table,
                edits=self.edits,
                ready=self.ready,
                locks=self.locks,
                gates=self.gates,
                slots=self._slots,
                registry=self.registry,
            ),
            may_start=lambda: not self._outside.journal.full,
            make_execution=self._make_execution,
            released=self._released,
            moved=self._moved,
        )

    def _make_submission(self) -> Submission:
        return Submission(
            turns=self._outside.turns,
            checker=Checker(self._config.queue, self.registry, self.locks),
            look_up=self._outside.history.look_up,
            max_size=self._config.queue.max_job_size,
            host=self.host,
            journal=self._outside.journal,
            requests=self.requests,
            may_take=self._refusal,
            durable=self._durable,
            accepted=self._accepted,
        )

    # What happens inside

    def _wake(self, job_id: int) -> None:
        self.processor.wake_with_group(job_id)

    def _wake_owner(self, owner: int) -> None:
        self.processor.wake_owner(owner)

    def _make_execution(self, job: _QueuedJob, opcode: OpCode, index: int) -> Execution:
        return Execution(
            job,
            opcode,
            index,
            clock=self._outside.clock,
            wall=self._outside.wall,
            edits=self.edits,
            logs=self.logs,
            workers=self._outside.workers,
            submit_children=self._submit_children,
            make_context=self._outside.make_context,
            post=self._outside.post,
            parked=self.processor.running.parked,
            converged=self.processor.running.converged,
        )

    def _released(self, execution: Execution) -> None:
        if execution.context.ran_command:
            self._outside.history.remove_run_directory(execution.job_id, execution.index, execution.attempt).addErrback(
                self._log_failure, "remove the directory of a command"
            )

    def _published(self, before: _QueuedJob, after: _QueuedJob) -> None:
        self._outside.job_files.changed(after.id, after)
        self.processor.published(before, after)
        self.lifecycle_events.changed(before, after)
        self._tell(after)
        if after.final and not before.final:
            self.gates.finished(after.id)
            self.logs.forget(after.id)
            if after.auto_dismiss:
                self.archiving.dismiss(after.id)

    def _moved(self, job: _QueuedJob, converged: bool) -> None:
        self.lifecycle_events.moved(job, converged)
        self._tell(job)

    def _durable(self, job_id: int, packed: bytes) -> None:
        self.table.add_packed(job_id, packed)
        self.lifecycle_events.created(job_id)

    def _accepted(self, priority: int, job: _QueuedJob, packed: bytes) -> None:
        self.processor.enqueue(job.id, priority)
        if self.table.unfinished.get(job.id) is packed:  # otherwise it has been changed meanwhile, which was told
            self._outside.job_files.changed(job.id, packed)
            self._tell(job)

    def _tell(self, job: _QueuedJob) -> None:
        self.bus.job_changed(job)
        self.waiters.changed(job.id)

    def _logged(self, job_id: int, entries: Sequence[Entry]) -> None:
        self.bus.job_logged(job_id, entries)
        self.waiters.changed(job_id)

    def _log_failure(self, failure: object, what: str) -> None:
        self._log.error("Could not {what}: {failure}", what=what, failure=failure)

    def _refusal(self, origin: Origin, count: int) -> GenericError | None:
        return submission.refusal(
            stopping=self.stopping,
            disk_full=self._outside.journal.full,
            drained=self._outside.drain.drained,
            unfinished=len(self.table.unfinished),
            limit=self._config.queue.max_unfinished,
            origin=origin,
            count=count,
        )

    def _standing_still(self) -> str | None:
        if self._outside.journal.full:
            return "the disk is full: nothing is started until there is space again"
        return "the daemon is stopping" if self.stopping else None

    def _submit_children(self, execution: Execution, jobs: Sequence[object]) -> Deferred[list[int]]:
        identity = f"{execution.job_id}.{execution.index}.{execution.children}"
        parent = self.table.get(execution.job_id)
        origin = Origin(uid=parent.owner if parent is not None else None, admin=True, parent=identity)

        def ids(answer: Answer) -> list[int]:
            return [job_id for job_id in answer if isinstance(job_id, int)]

        return maybeDeferred(self.submission.submit, jobs, {}, origin).addCallback(ids)

    # The methods

    def submit(
        self, jobs: list[object], options: dict[str, object], *, uid: int | None, admin: bool
    ) -> Deferred[Answer]:
        """Checks and records new jobs: all of them, or none if one is not valid.

        @param jobs: each a list of opcode maps or a description map
        @param options: what holds for all of them
        @param uid: who submits; None if unknown
        @param admin: whether any priority may be given
        """
        return maybeDeferred(self.submission.submit, jobs, options, Origin(uid=uid, admin=admin))

    def submit_drop(
        self, jobs: list[object], options: dict[str, object], uid: int, identity: Identity
    ) -> Deferred[Answer]:
        """Submits what was dropped into `incoming/`; the file is remembered until its removal is durable."""

        def remember(answer: Answer) -> Answer:
            self.identities.add(identity)
            return answer

        return maybeDeferred(
            self.submission.submit, jobs, options, Origin(uid=uid, admin=uid == 0, incoming=identity)
        ).addCallback(remember)

    def drops_removed(self, identities: Sequence[Identity]) -> None:
        """Notes that the removal of dropped files is durable."""
        self.identities.difference_update(identities)
        self._outside.journal.append(msgpack.packb(["unlinked", list(identities)]), refusable=True).addErrback(
            self._log_failure, "note the removal of dropped files"
        )

    def rewrite(self, job_id: int) -> None:
        """Has the file of a job written again."""
        source = self.table.unfinished.get(job_id) or self.table.get(job_id)
        if source is not None:
            self._outside.job_files.changed(job_id, source)

    def query_jobs(self, ids: list[int] | None, fields: list[str], qfilter: object) -> Deferred[RowStream | list[Row]]:
        """Gives a row of values for each job asked for; see `Queries.rows`."""
        return self._run(self.queries.rows(ids, fields, qfilter))

    def wait_for_change(
        self,
        job_id: int,
        fields: list[str],
        prev_info: object,
        prev_serial: int | None,
        timeout: float,
        peer_closed: Deferred[None] | None,
    ) -> Deferred[list[Any] | None]:
        """Waits until a job differs from what the caller knows; see `Queries.wait_for_change`."""
        return self._run(self.queries.wait_for_change(job_id, fields, prev_info, prev_serial, timeout, peer_closed))

    def cancel(self, job_id: int, kill: bool, soft: bool) -> Deferred[tuple[bool, str]]:
        """Cancels a job; see `Verbs.cancel`."""
        return answered(self.verbs.cancel(job_id, kill=kill, soft=soft, even_unstoppable=False), job_id)

    def pause(self, job_id: int) -> Deferred[tuple[bool, str]]:
        """Pauses a job; see `Verbs.pause`."""
        return answered(self.verbs.pause(job_id), job_id)

    def resume(self, job_id: int) -> Deferred[tuple[bool, str]]:
        """Lets a paused job go on; see `Verbs.resume`."""
        return answered(self.verbs.resume(job_id), job_id)

    def set_speed(self, job_id: int, speed: int) -> Deferred[tuple[bool, str]]:
        """Limits a job's speed, in bytes per second; see `Verbs.set_speed`."""
        return answered(self.verbs.set_speed(job_id, speed), job_id)

    def complete(self, job_id: int) -> Deferred[tuple[bool, str]]:
        """Tells a job that is ready to come to its end; see `Verbs.complete`."""
        return answered(self.verbs.complete(job_id), job_id)

    def finalize(self, job_id: int) -> Deferred[tuple[bool, str]]:
        """Finalises a pending job and its group; see `Verbs.finalize`."""
        return answered(self.verbs.finalize(job_id), job_id)

    def change_priority(self, job_id: int, priority: int, *, admin: bool) -> Deferred[tuple[bool, str]]:
        """Gives the opcodes that have not run another priority."""
        return maybeDeferred(self.verbs.change_priority, job_id, priority, admin)

    def archive(self, job_id: int) -> Deferred[bool]:
        """Archives a final job."""
        return self.archiving.archive([job_id]).addCallback(bool)

    def auto_archive(self, age: float, timeout: float) -> Deferred[tuple[int, int]]:
        """Archives jobs that ended at least `age` seconds ago; see `Archiving.auto_archive`."""
        return self._run(self.archiving.auto_archive(age, timeout))

    def set_drain(self, reason: str | None) -> Deferred[bool]:
        """Drains the queue, or with None takes new jobs again."""
        return self._outside.drain.set(reason).addCallback(lambda _: True)

    def retry(self, job_id: int, everything: bool, uid: int | None) -> Deferred[int]:
        """Submits what did not succeed of a final job, or all of it, as a new job; of a group, all its jobs."""
        origin = Origin(uid=uid, admin=True)
        return self._run(retry(job_id, everything, self._whole, partial(self.submission.submit, origin=origin)))

    def job_log(self, job_id: int, newer_than: int, limit: int) -> Deferred[list[Entry]]:
        """Gives log entries, oldest first; see `Queries.log`."""
        return self._run(self.queries.log(job_id, newer_than, limit))

    def explain(self, job_id: int) -> Deferred[dict[str, Any]]:
        """Says why a job does not run."""
        return self._run(self._explain(job_id))

    async def _explain(self, job_id: int) -> dict[str, Any]:
        return self.report.explain(await self._whole(job_id))

    async def _whole(self, job_id: int) -> _QueuedJob:
        job = self.table.get(job_id) or job_in(await self._outside.history.load([job_id], self.host), job_id)
        if job is None:
            raise lost(job_id)
        return job

    def query_locks(self) -> list[dict[str, Any]]:
        """Gives every lock that is held or wanted."""
        return self.report.locks()

    def query_workers(self) -> dict[str, Any]:
        """Says what the workers do."""
        return self.report.workers()

    def query_status(self) -> dict[str, Any]:
        """Says how the daemon is."""
        return condition(
            self._outside,
            uptime=self._outside.clock.seconds() - self._started,
            stopping=self.stopping,
            jobs=self.table.counts,
            last_id=self.submission.last_id,
            waiting_clients=len(self.waiters),
        )

    def subscribe(
        self, listener: Listener, *, jobs: set[int] | None, changes: bool, log: bool, lifecycle: bool = False
    ) -> Callable[[], None]:
        """Tells of events until the function that is returned is called."""
        chosen = frozenset(jobs) if jobs is not None else None
        return self.bus.subscribe(Subscription(listener, chosen, changes, log, lifecycle))

    def _run(self, work: Coroutine[Deferred[Any], Any, T]) -> Deferred[T]:
        return Deferred.fromCoroutine(work)
