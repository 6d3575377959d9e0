"""Everything that can happen to the scheduler, as the rules of a machine; what must be true then is up to its heirs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from twisted.logger import LogEvent, LogLevel, capturedLogs
from twisted.python.failure import Failure

from jqueue.errors import DiskFull
from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.lifecycle import PENDING, READY, STANDBY
from jqueue.jobs.status import CANCELED, CANCELING
from jqueue.sched import outcome, snapshot
from jqueue.sched.groups import awaits_turn
from jqueue.sched.submission import Answer
from jqueue.workers.control import SHUTDOWN

from .chronicle import Chronicle
from .described import ACCEPTED, groups, jobs, opcodes
from .rig import Rig, op

SIZE = 3
"""Workers."""
CRASHES = 3


class Checkpoint:
    """One that is being taken, a chunk at a time."""

    def __init__(self, rig: Rig) -> None:
        self.taken: list[bytes] = []
        self.last: int | None = None
        self.rest: Iterator[bytes] = iter(())
        rig.journal.rotate().addCallback(self._begin, rig).addErrback(lambda failure: failure.trap(DiskFull))

    def _begin(self, first: int, rig: Rig) -> None:
        queue = rig.queue
        self.last = first - 1
        self.rest = snapshot.chunks(queue.table, queue.requests, queue.identities, queue.submission.last_id)

    def go_on(self) -> bool:
        """@return: whether it is complete"""
        if self.last is None:
            return False
        chunk = next(self.rest, None)
        if chunk is None:
            return True
        self.taken.append(chunk)
        return False


class Machine(RuleBasedStateMachine):
    """Submits, drives and interrupts jobs."""

    def __init__(self) -> None:
        super().__init__()
        self.chronicle = Chronicle()
        self.rig = Rig(size=SIZE, disk=self.chronicle)
        self.chronicle.queue = self.rig.queue
        self.checkpoint: Checkpoint | None = None
        self.saved: tuple[list[bytes], int] = ([], 0)
        self.acknowledged: set[int] = set()
        self.requests: dict[str, tuple[list[Any], list[int]]] = {}
        self.promised: set[int] = set()
        """Jobs of which somebody was told that they will be canceled."""
        self.crashes = 0
        self.problems: list[str] = []
        """What has gone wrong in a place that hides it."""
        self.ends = ExitStack()
        """What is to be put back at the end."""
        self.logged: Sequence[LogEvent] = self.ends.enter_context(capturedLogs())
        self.ends.callback(setattr, snapshot, "_CHUNK", snapshot._CHUNK)
        snapshot._CHUNK = 2

    def errors(self) -> list[LogEvent]:
        """What was logged of errors; that a job does not archive itself on a full disk is none."""
        told = [event for event in self.logged if event["log_level"] >= LogLevel.error]
        return [event for event in told if event["log_format"] != "Job {job_id} could not leave by itself: {failure}"]

    # Submissions

    def send(self, described: list[dict[str, Any]], request: str | None, **options: object) -> None:
        if request is not None:
            options["request_id"] = request
        asked = self.rig

        def answered(answer: Answer | Failure) -> None:
            if isinstance(answer, Failure) or asked is not self.rig:
                return
            ids = [job_id for job_id in answer if isinstance(job_id, int)]
            durable = self.durable()
            if request is not None and request in self.requests:
                assert self.requests[request][1] == ids, "a repeated request got other jobs"
                return
            assert not self.acknowledged & set(ids), "an id was given twice"
            assert all(job_id in durable.jobs or job_id in durable.archived for job_id in ids)
            self.acknowledged.update(ids)
            if request is not None:
                self.requests[request] = described, ids

        self.rig.queue.submit(list(described), options, uid=7, admin=True).addBoth(answered)

    @initialize(first=st.lists(st.lists(jobs, min_size=1, max_size=2), min_size=1, max_size=2), group=groups())
    def begin(self, first: list[list[dict[str, Any]]], group: list[dict[str, Any]]) -> None:
        for described in first:
            self.send(described, None)
        self.send(group, None, group=True)
        self.rig.settle()

    @rule(described=st.lists(jobs, min_size=1, max_size=3), request=st.sampled_from([None, None, "r", "s"]))
    def submit(self, described: list[dict[str, Any]], request: str | None) -> None:
        if request is not None and request in self.requests:
            described = self.requests[request][0]
        self.send(described, request)

    @rule(described=groups())
    def submit_group(self, described: list[dict[str, Any]]) -> None:
        self.send(described, None, group=True)

    @precondition(lambda self: self.acknowledged)
    @rule(data=st.data(), one=opcodes(), other=opcodes(), accepted=st.sampled_from(ACCEPTED), group=st.booleans())
    def submit_dependents(
        self, data: st.DataObject, one: dict[str, Any], other: dict[str, Any], accepted: list[str], group: bool
    ) -> None:
        one["depends"] = [[data.draw(st.sampled_from(sorted(self.acknowledged))), accepted]]
        if group:
            self.send([{"ops": [one]}, {"ops": [op()]}], None, group=True)
            return
        other["depends"] = [[-1, accepted]]
        self.send([{"ops": [one]}, {"ops": [op(), other]}], None)

    # What users do

    def unfinished(self) -> list[int]:
        return sorted(self.rig.queue.table.unfinished)

    def interesting(self) -> list[int]:
        """Unfinished jobs, first those that are in the middle of something."""
        processor = self.rig.queue.processor
        busy = [*processor.parked, *processor.executions]
        return [*busy, *(job_id for job_id in self.unfinished() if job_id not in busy)]

    def in_states(self, *states: str) -> list[int]:
        """Unfinished jobs in any of these states of the lifecycle."""
        state = self.rig.queue.host.lifecycle
        return [job_id for job_id in self.unfinished() if state(self.rig.job(job_id)) in states]

    def promise(self, job_id: int, soft: bool) -> None:
        """A cancel was accepted: the job must not be successful any more, unless that was decided, or told, before."""
        job = self.rig.queue.table.get(job_id)
        if job is None or job.final:
            return
        canceled = job.CalcStatus() in (CANCELING, CANCELED)
        keeps = soft and job.completion is not None
        assert canceled or keeps or outcome.is_decided(job) or commits_last(job), f"the cancel of {job!r} is forgotten"
        if canceled:
            self.promised.add(job_id)

    @precondition(lambda self: self.rig.queue.table.unfinished)
    @rule(data=st.data(), priority=st.integers(-20, 19))
    def change_priority(self, data: st.DataObject, priority: int) -> None:
        job_id = data.draw(st.sampled_from(self.unfinished()))
        self.rig.queue.change_priority(job_id, priority, admin=True).addErrback(lambda failure: failure.trap(DiskFull))

    @precondition(lambda self: self.rig.queue.table.finished)
    @rule(data=st.data(), forget=st.integers(0, 3))
    def archive(self, data: st.DataObject, forget: int) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.rig.queue.table.finished)))
        if forget:
            self.rig.queue.archive(job_id).addErrback(lambda failure: failure.trap(DiskFull))
        else:
            self.rig.queue.archiving.forget(job_id).addErrback(lambda failure: failure.trap(DiskFull))

    # What goes on by itself

    @precondition(lambda self: self.rig.journal.unsynced_records)
    @rule(count=st.integers(1, 3))
    def sync(self, count: int) -> None:
        self.rig.journal.sync(count)

    @precondition(lambda self: self.rig.turns.waiting)
    @rule(count=st.integers(1, 4))
    def long_work(self, count: int) -> None:
        for _ in range(count):
            self.rig.turns.take()

    @rule()
    def turn(self) -> None:
        processor = self.rig.queue.processor
        others = {*processor.executions, *(n for n in self.unfinished() if not self.may_start(n))}
        self.rig.clock.advance(0)
        self.turned(others)

    def may_start(self, job_id: int) -> bool:
        """Whether a job has work to do, or it is its turn to commit or undo it."""
        job = self.rig.queue.table.get(job_id)
        return job is None or not awaits_turn(job) or self.rig.queue.processor.groups.has_turn(job_id)

    def turned(self, others: set[int]) -> None:
        """Looks at the queue after a turn of the reactor.

        @param others: the jobs that ran before it, or that could not have started
        """

    @rule()
    def settle(self) -> None:
        self.rig.settle()
        self.settled()

    def settled(self) -> None:
        """Looks at a queue in which nothing is on its way."""

    @precondition(lambda self: self.rig.workers.steps)
    @rule(data=st.data())
    def perform(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.rig.workers.steps) - 1))
        self.rig.workers.perform(index)

    @precondition(lambda self: self.rig.workers.steps)
    @rule(data=st.data())
    def step(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.rig.workers.steps) - 1))
        self.rig.step(index)

    @rule(count=st.integers(1, 8))
    def go_on(self, count: int) -> None:
        self.rig.settle()
        for number in range(count):
            if self.rig.workers.steps:
                self.rig.step(number % len(self.rig.workers.steps))

    @rule(seconds=st.sampled_from([1, 30, 61]))
    def advance(self, seconds: int) -> None:
        self.rig.clock.advance(seconds)

    @rule(full=st.sampled_from([True, False, False, False]))
    def disk(self, full: bool) -> None:
        self.rig.journal.set_full(full)
        self.rig.queue.processor.look()

    def space_is_free(self) -> None:
        if self.rig.journal.full:
            self.rig.journal.set_full(False)
            self.rig.queue.processor.look()

    def look_around(self) -> None:
        """All code that waits gets to look what is asked of it, and goes on if it may."""
        for _ in range(len(self.rig.workers.steps)):
            before = len(self.rig.workers.steps)
            self.rig.workers.perform()
            if len(self.rig.workers.steps) == before:
                self.rig.workers.steps.append(self.rig.workers.steps.pop(0))
        self.rig.settle()

    @rule(chunks=st.integers(1, 9))
    def take_checkpoint(self, chunks: int) -> None:
        if self.checkpoint is None:
            self.checkpoint = Checkpoint(self.rig)
        for _ in range(chunks):
            if self.checkpoint.go_on() and self.checkpoint.last is not None:
                self.saved = self.checkpoint.taken, self.checkpoint.last
                self.checkpoint = None
                return

    @rule(slow=st.booleans())
    def archive_is_slow(self, slow: bool) -> None:
        self.rig.disk.slow = slow
        self.rig.disk.answer()

    # The daemon ends and comes back

    def durable(self) -> snapshot.Recovered:
        chunks, _ = self.saved
        return snapshot.recover(self.rig.queue.host, chunks, list(self.rig.journal.records))

    @precondition(lambda self: self.crashes < CRASHES)
    @rule(really=st.sampled_from([True, False, False]))
    def crash(self, really: bool) -> None:
        if really:
            self.begin_anew()

    @precondition(lambda self: self.crashes < CRASHES)
    @rule(really=st.sampled_from([True, False, False]), everything=st.booleans())
    def terminate(self, really: bool, everything: bool) -> None:
        """SIGTERM: nothing is started any more, code is told to stop, and what is durable stays."""
        if not really:
            return
        queue = self.rig.queue
        queue.stopping = True
        queue.processor.stop()
        for execution in list(queue.processor.executions.values()):
            if everything or execution.opcode.restartable:
                execution.control.stop(SHUTDOWN)
        self.rig.finish()
        self.begin_anew()

    def begin_anew(self) -> None:
        """Another daemon starts on what this one has made durable."""
        self.crashes += 1
        self.checkpoint = None
        durable = self.durable()
        self.rig.disk.asked.clear()
        self.rig.disk.slow = False
        self.rig = self.rig.crash(*self.saved, start=False)
        self.chronicle.queue = self.rig.queue
        self.recovered(durable)
        self.rig.queue.processor.start()

    def recovered(self, durable: snapshot.Recovered) -> None:
        """Looks at a queue that has just been recovered, before anything runs.

        @param durable: what it had to recover
        """

    # The end

    def teardown(self) -> None:
        """All jobs end when everything goes on and users do what is waited for."""
        rig = self.rig
        with self.ends:
            rig.disk.slow = False
            rig.disk.answer()
            rig.journal.set_full(False)
            rig.queue.processor.look()
            for _ in range(60):
                rig.finish()
                if not rig.queue.table.unfinished:
                    break
                self.encourage()
                rig.advance(40)

    def encourage(self) -> None:
        """Does what users are waited for; a job that is being canceled needs nothing from them."""
        queue = self.rig.queue
        for job_id in self.unfinished():
            job = queue.table.get(job_id)
            if job is None or job.CalcStatus() == CANCELING:
                continue
            state = queue.host.lifecycle(job)
            if job.paused:
                queue.resume(job_id)
            if state in (READY, STANDBY) and job.completion is None:
                self.rig.now(queue.complete(job_id))
            elif state == PENDING:
                self.rig.now(queue.finalize(job_id))


def commits_last(job: _QueuedJob) -> bool:
    """Whether a job that is finalised by itself commits its last opcode, which is not undone."""
    return job.phase == "committing" and outcome.current(job) == len(job.ops) - 1
