"""The whole scheduler in every order of events that Hypothesis can think of, crashes among them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from jqueue.errors import DiskFull
from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.lifecycle import PHASE_WORK
from jqueue.jobs.packing import unpack
from jqueue.jobs.status import CANCELING, FINALIZED, RUNNING
from jqueue.locks.modes import ALL, EXCLUSIVE, SHARED, LockRequest
from jqueue.sched import snapshot
from jqueue.sched.gates import LOCK
from jqueue.sched.submission import Answer

from .rig import START, Rig, op

SIZE = 3
UNITS = 3

lock_modes: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {},
        {},
        {"resource": {"a": EXCLUSIVE}},
        {"resource": {"a": SHARED, "b": EXCLUSIVE}},
        {"resource": {"b": SHARED}},
        {"resource": {"tape": 2}},
        {"resource": {"tape": 1, "a": EXCLUSIVE}},
        {"resource": EXCLUSIVE},
        {"resource": SHARED},
    ]
)
more: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {},
        {},
        {"fails": ["exec"]},
        {"fails": ["prepare"]},
        {"fails": ["commit", "abort"]},
        {"fails": ["declare"]},
        {"fails": ["unspeakable"]},
        {"fails_until": 1, "retries": {"attempts": 2, "delay": 30}},
        {"fails_until": 2, "retries": {"attempts": 2}},
        {"saves": 1},
        {"timeout": 50},
        {"not_before": START + 100},
        {"children": [[op()]]},
        {"looks": False},
        {"speed": -1},
    ]
)
classes = st.sampled_from(["OP_WORK", "OP_WORK", "OP_STUBBORN", "OP_AGAIN", "OP_UNDO", "OP_UNDO_AGAIN", "OP_DECLARE"])
priorities = st.sampled_from([-10, 0, 0, 10])


@st.composite
def opcodes(draw: st.DrawFn) -> dict[str, Any]:
    made = op(draw(classes), locks=draw(lock_modes), priority=draw(priorities), **draw(more))
    if made["OP_ID"] == "OP_DECLARE":
        made["declares"] = draw(lock_modes)
    return made


jobs = st.fixed_dictionaries(
    {"ops": st.lists(opcodes(), min_size=1, max_size=2)}, optional={"auto_dismiss": st.booleans()}
)


def conflict(one: Mapping[tuple[str, str], Any], other: Mapping[tuple[str, str], Any]) -> bool:
    """Whether two jobs must not run at the same time, but for counted locks, which more than two may share."""
    for (level, name), mode in one.items():
        for (other_level, other_name), other_mode in other.items():
            if level == other_level and (name == other_name or ALL in (name, other_name)):
                if EXCLUSIVE in (mode, other_mode):
                    return True
    return False


ACCEPTED = [[], ["success"], ["success", "error", "canceled"]]


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


class QueueMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.rig = Rig(size=SIZE)
        self.checkpoint: Checkpoint | None = None
        self.saved: tuple[list[bytes], int] = ([], 0)
        self.acknowledged: set[int] = set()
        self.requests: dict[str, tuple[list[Any], list[int]]] = {}
        self.promised: set[int] = set()
        self.ended: dict[int, str] = {}
        self.started: dict[tuple[int, int], int] = {}
        self.said: dict[int, int] = {}
        self.crashes = 0
        self.chunk_size = snapshot._CHUNK
        snapshot._CHUNK = 2

    # The events

    def send(self, described: list[dict[str, Any]], request: str | None) -> None:
        options: dict[str, object] = {"request_id": request} if request is not None else {}
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

    @initialize(first=st.lists(st.lists(jobs, min_size=1, max_size=2), min_size=2, max_size=3))
    def begin(self, first: list[list[dict[str, Any]]]) -> None:
        for described in first:
            self.send(described, None)
        self.rig.settle()

    @rule(described=st.lists(jobs, min_size=1, max_size=3), request=st.sampled_from([None, None, "r", "s"]))
    def submit(self, described: list[dict[str, Any]], request: str | None) -> None:
        if request is not None and request in self.requests:
            described = self.requests[request][0]
        self.send(described, request)

    @precondition(lambda self: self.acknowledged)
    @rule(data=st.data(), one=opcodes(), other=opcodes(), accepted=st.sampled_from(ACCEPTED))
    def submit_dependents(
        self, data: st.DataObject, one: dict[str, Any], other: dict[str, Any], accepted: list[str]
    ) -> None:
        one["depends"] = [[data.draw(st.sampled_from(sorted(self.acknowledged))), accepted]]
        other["depends"] = [[-1, accepted]]
        self.send([{"ops": [one]}, {"ops": [op(), other]}], None)

    def unfinished(self) -> list[int]:
        return sorted(self.rig.queue.table.unfinished)

    def interesting(self) -> list[int]:
        """Unfinished jobs, first those that are in the middle of something."""
        processor = self.rig.queue.processor
        busy = [*processor.parked, *processor.executions]
        return [*busy, *(job_id for job_id in self.unfinished() if job_id not in busy)]

    def verb(self, answer: Deferred[tuple[bool, str]], job_id: int, *, ends: bool = False) -> None:
        rig = self.rig

        def answered(result: tuple[bool, str] | Failure) -> None:
            if isinstance(result, Failure):
                result.trap(DiskFull)
                return
            if result[0] and ends and rig is self.rig:
                self.promised.add(job_id)

        answer.addBoth(answered)

    @precondition(lambda self: self.rig.queue.table.unfinished)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(self.interesting()))
        self.verb(self.rig.queue.cancel(job_id, False, False), job_id, ends=True)

    @precondition(lambda self: self.rig.queue.table.unfinished)
    @rule(data=st.data(), resume=st.sampled_from([False, False, True]))
    def pause(self, data: st.DataObject, resume: bool) -> None:
        job_id = data.draw(st.sampled_from(self.interesting()))
        self.verb(self.rig.queue.resume(job_id) if resume else self.rig.queue.pause(job_id), job_id)

    @precondition(lambda self: self.rig.queue.table.unfinished)
    @rule(data=st.data(), priority=st.integers(-20, 19))
    def change_priority(self, data: st.DataObject, priority: int) -> None:
        job_id = data.draw(st.sampled_from(self.unfinished()))
        self.verb(self.rig.queue.change_priority(job_id, priority, admin=True), job_id)

    @precondition(lambda self: self.rig.queue.table.finished)
    @rule(data=st.data(), forget=st.integers(0, 3))
    def archive(self, data: st.DataObject, forget: int) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.rig.queue.table.finished)))
        if forget:
            self.rig.queue.archive(job_id).addErrback(lambda failure: failure.trap(DiskFull))
        else:
            self.rig.queue.archiving.forget(job_id).addErrback(lambda failure: failure.trap(DiskFull))

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
        queue = self.rig.queue
        before = set(queue.processor.executions)
        self.rig.clock.advance(0)
        self.who_came_first(before)

    @rule()
    def settle(self) -> None:
        self.rig.settle()
        self.whoever_waits_for_a_lock_has_a_reason()

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

    @precondition(lambda self: self.crashes < 3)
    @rule(really=st.sampled_from([True, False, False]))
    def crash(self, really: bool) -> None:
        if not really:
            return
        self.crashes += 1
        self.checkpoint = None
        durable = self.durable()
        self.rig.disk.asked.clear()
        self.rig.disk.slow = False
        self.rig = self.rig.crash(*self.saved, start=False)
        self.nothing_is_lost(durable)
        self.rig.queue.processor.start()

    # What must be true after an event

    def durable(self) -> snapshot.Recovered:
        chunks, _ = self.saved
        return snapshot.recover(self.rig.queue.host, chunks, list(self.rig.journal.records))

    def nothing_is_lost(self, durable: snapshot.Recovered) -> None:
        """What was durable is there after a crash, and nothing says that it runs."""
        table = self.rig.queue.table
        for job_id, job in durable.jobs.items():
            after = table.get(job_id)
            if after is None:
                assert job_id in self.rig.disk.archived, f"job {job_id} is lost"
                continue
            before = unpack(None, job_id, job) if isinstance(job, bytes) else job
            if before.final:
                assert after.CalcStatus() == before.CalcStatus()
            for number, current in enumerate(before.ops):
                again = after.ops[number]
                if current.status in FINALIZED:
                    assert again.status == current.status
                elif before.phase in ("committing", "aborting"):
                    assert (after.phase, again.outcome) == (before.phase, current.outcome)
                elif current.status == RUNNING:
                    restartable = self.rig.queue.registry.get(current.input["OP_ID"]).restartable
                    assert after.phase == "aborting" or again.status == ("queued" if restartable else "error")
        for job_id in self.acknowledged:
            assert job_id in table or job_id in self.rig.disk.archived or job_id in self.rig.disk.gone
        assert self.rig.queue.submission.last_id >= max(self.acknowledged, default=0)

    def who_came_first(self, before: set[int]) -> None:
        """Of those who could start, the first in rank did."""
        queue = self.rig.queue
        started = [job_id for job_id in queue.processor.executions if job_id not in before]
        left = [job_id for job_id in self.idle() if job_id not in before and not self.busy(job_id)]
        for job_id in started:
            for other in left:
                assert self.rank(job_id) < self.rank(other), f"job {job_id} went before {other}"

    def busy(self, job_id: int) -> bool:
        """Whether a change of a job is on its way to the disk."""
        return job_id in self.rig.queue.edits._turns

    def whoever_waits_for_a_lock_has_a_reason(self) -> None:
        """When nothing is on its way: somebody who runs holds it, or it is kept for an older one who waits for such."""
        processor, locks = self.rig.queue.processor, self.rig.queue.locks
        if self.rig.journal.full or len(processor.executions) >= SIZE:
            return
        for job_id, wait in processor.parked.items():
            if wait.kind != LOCK:
                assert locks.explain(job_id) is None, f"job {job_id} stands in two lines"
                continue
            refusal = locks.explain(job_id)
            assert refusal is not None, f"job {job_id} was woken in vain"
            assert processor.executions.keys() & set(refusal.holders) or refusal.reserved_for in processor.parked

    def rank(self, job_id: int) -> tuple[int, int]:
        return self.rig.queue.ready.rank(job_id, self.rig.job(job_id).CalcPriority()), job_id

    def idle(self) -> list[int]:
        """Unfinished jobs that neither run nor wait for anything."""
        processor = self.rig.queue.processor
        return [n for n in self.unfinished() if n not in processor.executions and n not in processor.parked]

    @invariant()
    def what_is_shown_is_durable(self) -> None:
        durable = self.durable()
        table = self.rig.queue.table
        shown: dict[int, _QueuedJob] = {job_id: self.rig.job(job_id) for job_id in table}
        for job_id, job in shown.items():
            stored = durable.jobs.get(job_id)
            assert stored is not None, f"job {job_id} is shown and not durable"
            if isinstance(stored, bytes):
                stored = unpack(self.rig.queue.host, job_id, stored)
            assert stored.Serialize() == job.Serialize()
            status = job.CalcStatus()
            if job_id in self.ended:
                assert self.ended[job_id] == status, f"job {job_id} ended twice"
            elif status in FINALIZED:
                self.ended[job_id] = status
                assert job.end_timestamp is not None
        assert {s: n for s, n in table.counts.items() if n} == {
            s: n for s in table.counts if (n := sum(job.CalcStatus() == s for job in shown.values()))
        }

    @invariant()
    def slots_are_counted_right(self) -> None:
        processor = self.rig.queue.processor
        holding = sum(execution.holds_slot for execution in processor.executions.values())
        assert self.rig.queue.query_workers()["running"] == holding <= SIZE

    @invariant()
    def those_who_run_may(self) -> None:
        """Each holds what it has declared, and nobody else holds anything."""
        queue = self.rig.queue
        running = queue.processor.executions
        held: dict[int, LockRequest] = {n: queue.locks.held(n) for n in {*queue.table, *running}}
        for job_id, request in held.items():
            # After a crash what was decided keeps its locks until its callbacks have run.
            decided = job_id in queue.table.unfinished and self.rig.job(job_id).phase != PHASE_WORK
            assert not request or job_id in running or decided, f"job {job_id} holds locks and does not run"
        for job_id, execution in running.items():
            job = self.rig.job(job_id)
            if not job.final and job.CalcStatus() in (RUNNING, CANCELING):
                for level, names in execution.opcode.all_locks().items():
                    for name, mode in names.items():
                        assert held[job_id].covers((level, name), mode)
        owners = [n for n, request in held.items() if request]
        for index, one in enumerate(owners):
            for other in owners[index + 1 :]:
                assert not conflict(held[one], held[other])
        tapes = [request.get(("resource", "tape")) for request in held.values()]
        assert sum(units for units in tapes if isinstance(units, int)) <= UNITS

    @invariant()
    def a_parked_job_holds_nothing(self) -> None:
        processor = self.rig.queue.processor
        for job_id in processor.parked:
            assert job_id not in processor.executions
            job = self.rig.job(job_id)
            assert not job.final
            assert self.busy(job_id) or job.CalcStatus() != CANCELING

    @invariant()
    def nobody_says_running_without_code(self) -> None:
        processor = self.rig.queue.processor
        for job_id in self.unfinished():
            job = self.rig.job(job_id)
            if job.CalcStatus() in (RUNNING, CANCELING) and job_id not in processor.executions:
                assert self.busy(job_id) or job.phase in ("committing", "aborting")

    @invariant()
    def nobody_is_forgotten(self) -> None:
        """Whoever neither runs nor waits is about to be looked at."""
        queue = self.rig.queue
        coming = set(queue.ready.first(len(queue.ready)))
        for job_id in self.idle():
            assert job_id in coming or self.busy(job_id) or self.rig.turns.waiting

    @invariant()
    def no_opcode_runs_more_often_than_it_may(self) -> None:
        """The log tells what has run; serials only ever grow."""
        for job_id, entries in self.rig.disk.logs.items():
            new = entries[self.said.get(job_id, 0) :]
            self.said[job_id] = len(entries)
            serials = [entry[1] for entry in entries]
            assert serials == sorted(set(serials)), f"job {job_id} used a serial twice"
            for entry in new:
                if entry[4] == "exec":
                    self.started[job_id, entry[0]] = self.started.get((job_id, entry[0]), 0) + 1
        for (job_id, index), count in self.started.items():
            if job_id in self.rig.queue.table:
                current = self.rig.job(job_id).ops[index]
                if not self.rig.queue.registry.get(current.input["OP_ID"]).restartable:
                    attempts = (current.input.get("retries") or {}).get("attempts", 1)
                    assert count <= attempts

    @invariant()
    def a_cancel_that_was_promised_is_kept(self) -> None:
        for job_id in self.promised & self.ended.keys():
            assert self.ended[job_id] == "canceled" or self.undone_badly(job_id)

    def undone_badly(self, job_id: int) -> bool:
        """Whether the job failed at its own undoing, which nobody promised to hide."""
        job = self.rig.queue.table.get(job_id)
        return job is None or any("could not abort" in str(current.result) for current in job.ops)

    def teardown(self) -> None:
        """All jobs end when everything goes on."""
        rig = self.rig
        rig.disk.slow = False
        rig.disk.answer()
        rig.journal.set_full(False)
        rig.queue.processor.look()
        rig.settle()
        for job_id in self.unfinished():
            rig.queue.resume(job_id)
        for _ in range(60):
            if not rig.queue.table.unfinished:
                break
            rig.finish()
            rig.advance(40)
        left = {n: (rig.status(n), rig.queue.processor.parked.get(n)) for n in self.unfinished()}
        snapshot._CHUNK = self.chunk_size
        assert not left
        assert len(rig.queue.locks) == 0
        assert rig.queue.query_workers()["running"] == 0
        assert not rig.queue.gates.dependencies.waiters()
        assert [call for call in rig.clock.getDelayedCalls() if call.getTime() > rig.clock.seconds()] == []


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=100, stateful_step_count=60, deadline=None, derandomize=True)
