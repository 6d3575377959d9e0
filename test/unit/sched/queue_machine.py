"""What must be true of the scheduler whatever happens to it, as the invariants of a machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hypothesis.stateful import invariant

from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.lifecycle import PHASE_COMMITTING, PHASE_PENDING, PHASE_WAITING, PHASE_WORK
from jqueue.jobs.packing import unpack
from jqueue.jobs.status import CANCELED, CANCELING, ERROR, FINALIZED, RUNNING, SUCCESS
from jqueue.locks.modes import ALL, EXCLUSIVE, LockRequest
from jqueue.sched import outcome, snapshot
from jqueue.sched.gates import GROUP, LOCK
from jqueue.sched.groups import awaits_turn

from .chronicle import failed_to
from .described import UNITS
from .machine import SIZE, Machine


def conflict(one: Mapping[tuple[str, str], Any], other: Mapping[tuple[str, str], Any]) -> bool:
    """Whether two jobs must not run at the same time, but for counted locks, which more than two may share."""
    for (level, name), mode in one.items():
        for (other_level, other_name), other_mode in other.items():
            if level == other_level and (name == other_name or ALL in (name, other_name)):
                if EXCLUSIVE in (mode, other_mode):
                    return True
    return False


def names_and_modes(job: _QueuedJob) -> Iterator[tuple[tuple[str, str], Any]]:
    """The locks that a job was submitted with."""
    for op in job.ops:
        for level, names in (op.input.get("locks") or {}).items():
            yield from (
                ((level, name), mode)
                for name, mode in ({ALL: names} if names in ("shared", EXCLUSIVE) else names).items()
            )


class QueueMachine(Machine):
    """What must be true of the queue, whatever happens."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: dict[int, str] = {}
        self.started: dict[tuple[int, int], int] = {}
        self.said: dict[int, int] = {}
        self.members: dict[int, list[int]] = {}
        """Of each job of a group its first and its last job."""
        self.failed_badly: set[int] = set()
        """Jobs whose commit or abort has failed, which must not happen."""

    # After a crash

    def recovered(self, durable: snapshot.Recovered) -> None:
        """What was durable is there after a crash, and nothing says that it runs."""
        table = self.rig.queue.table
        for job_id, packed in durable.jobs.items():
            after = table.get(job_id)
            if after is None:
                assert job_id in self.rig.disk.archived, f"job {job_id} is lost"
                continue
            before = unpack(None, job_id, packed) if isinstance(packed, bytes) else packed
            assert (before.members, before.auto_finalize, before.completion, before.speed) == (
                after.members,
                after.auto_finalize,
                after.completion,
                after.speed,
            )
            if before.final:
                assert after.CalcStatus() == before.CalcStatus()
            elif before.deferred:
                self.deferred_recovered(before, after)
            else:
                self.lone_recovered(before, after)
        for job_id in self.acknowledged:
            assert job_id in table or job_id in self.rig.disk.archived or job_id in self.rig.disk.gone
        assert self.rig.queue.submission.last_id >= max(self.acknowledged, default=0)

    def lone_recovered(self, before: _QueuedJob, after: _QueuedJob) -> None:
        for number, current in enumerate(before.ops):
            again = after.ops[number]
            if current.status in FINALIZED:
                assert again.status == current.status
            elif before.phase in ("committing", "aborting"):
                assert (after.phase, again.outcome) == (before.phase, current.outcome)
            elif current.status == RUNNING:
                restartable = self.rig.queue.registry.get(current.input["OP_ID"]).restartable
                assert after.phase == "aborting" or again.status == ("queued" if restartable else "error")

    def deferred_recovered(self, before: _QueuedJob, after: _QueuedJob) -> None:
        """It goes on where it was, or comes to the end that it, or another of its group, must come to."""
        current = outcome.current(before)
        assert [op.status for op in after.ops[:current]] == [op.status for op in before.ops[:current]]
        failed = after.phase == "aborting" or after.CalcStatus() in (CANCELED, ERROR)
        if before.phase == PHASE_COMMITTING:
            assert after.phase == PHASE_COMMITTING or after.CalcStatus() == SUCCESS
        elif outcome.is_decided(before) or before.CalcStatus() == CANCELING:
            assert failed
        elif before.CalcStatus() == RUNNING and before.phase == PHASE_WORK:
            restartable = self.rig.queue.registry.get(before.ops[current].input["OP_ID"]).restartable
            assert failed or (restartable and after.ops[current].status == "queued")

    # After a turn, and when nothing is on its way

    def turned(self, others: set[int]) -> None:
        """Of those who could start, the first in rank did; on a full disk only what makes room goes on."""
        queue = self.rig.queue
        if self.rig.journal.full:
            return
        started = [n for n in queue.processor.executions if n not in others]
        left = [n for n in self.idle() if n not in others and not self.busy(n) and self.may_start(n)]
        for job_id in started:
            for other in left:
                # Who waits for the locks of a group is woken when another of it has got them.
                assert self.rank(job_id) < self.rank(other) or self.group_of(job_id) == self.group_of(other), (
                    f"job {job_id} went before {other}"
                )

    def settled(self) -> None:
        """Whoever waits for a lock waits for somebody who has not ended, or who waits for such."""
        processor, locks = self.rig.queue.processor, self.rig.queue.locks
        if self.rig.journal.full or self.rig.queue.query_workers()["running"] >= SIZE:
            return
        for job_id, wait in processor.parked.items():
            group = processor.groups.with_id(job_id)
            asks = group is None or group.asker == job_id
            if wait.kind == GROUP:
                assert group is not None and group.asker in processor.parked and not group.opened
            if wait.kind != LOCK:
                assert not asks or locks.explain(processor.groups.owner(job_id)) is None, (
                    f"job {job_id} stands in two lines"
                )
                continue
            refusal = locks.explain(processor.groups.owner(job_id))
            assert asks and refusal is not None, f"job {job_id} was woken in vain"
            alive = {processor.groups.owner(n) for n in (*processor.executions, *processor.parked)}
            alive |= {processor.groups.owner(n) for n in self.unfinished() if not self.may_start(n)}
            assert alive & {*refusal.holders, refusal.reserved_for}

    def rank(self, job_id: int) -> tuple[int, int]:
        return self.rig.queue.ready.rank(job_id, self.rig.job(job_id).CalcPriority()), job_id

    def busy(self, job_id: int) -> bool:
        """Whether a change of a job is on its way to the disk."""
        return job_id in self.rig.queue.edits._turns

    def idle(self) -> list[int]:
        """Unfinished jobs that neither run nor wait for anything."""
        processor = self.rig.queue.processor
        return [n for n in self.unfinished() if n not in processor.executions and n not in processor.parked]

    def group_of(self, job_id: int) -> list[int]:
        """The first and the last job of a group; a job alone is one, too."""
        job = self.rig.queue.table.get(job_id)
        if job is not None and job.members is not None:
            self.members[job_id] = job.members
        return self.members.get(job_id, [job_id, job_id])

    # Always

    @invariant()
    def nothing_goes_wrong_inside(self) -> None:
        assert not self.errors(), self.errors()
        assert not self.problems, self.problems
        assert not self.chronicle.wrong, self.chronicle.wrong

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
                self.has_ended(job)
        assert {s: n for s, n in table.counts.items() if n} == {
            s: n for s in table.counts if (n := sum(job.CalcStatus() == s for job in shown.values()))
        }

    def has_ended(self, job: _QueuedJob) -> None:
        """Nothing of a job that has ended is left half done."""
        self.ended[job.id] = job.CalcStatus()
        assert job.end_timestamp is not None
        wrong = list(self.chronicle.ended_well(job))
        assert not wrong, wrong
        if failed_to(job, "commit") or failed_to(job, "abort"):
            self.failed_badly.add(job.id)

    @invariant()
    def a_group_succeeds_or_fails_together(self) -> None:
        for job_id in self.rig.queue.table:
            first, last = self.group_of(job_id)
            mates = range(first, last + 1)
            ends = {self.ended[n] for n in mates if n in self.ended and n not in self.failed_badly}
            assert SUCCESS not in ends or ends == {SUCCESS}
            if first != last and ends:
                left = [self.rig.job(n) for n in mates if n in self.rig.queue.table.unfinished]
                assert all((job.phase == PHASE_COMMITTING) == (SUCCESS in ends) for job in left)

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
        owners = {*queue.table, *running, *(self.group_of(n)[0] for n in queue.table)}
        held: dict[int, LockRequest] = {n: request for n in owners if (request := queue.locks.held(n))}
        lone = [n for n in owners if n not in queue.table or not self.rig.job(n).deferred]
        for job_id in held.keys() & set(lone):
            # After a crash what was decided keeps its locks until its callbacks have run.
            decided = job_id in queue.table.unfinished and self.rig.job(job_id).phase != PHASE_WORK
            owns = queue.processor.groups.with_id(job_id) is not None
            assert job_id in running or decided or owns, f"job {job_id} holds locks and does not run"
        for job_id, execution in running.items():
            job = self.rig.queue.table.get(job_id)
            if job is not None and not job.final and not job.deferred and job.CalcStatus() in (RUNNING, CANCELING):
                assert covers(held.get(job_id), execution.opcode.all_locks().items())
        self.groups_keep_their_locks(held)
        for index, one in enumerate(held):
            for other in list(held)[index + 1 :]:
                assert not conflict(held[one], held[other])
        tapes = [request.get(("resource", "tape")) for request in held.values()]
        assert sum(units for units in tapes if isinstance(units, int)) <= UNITS

    def groups_keep_their_locks(self, held: Mapping[int, LockRequest]) -> None:
        """From the first opcode of any of its jobs to the end of the last, in the name of one of them."""
        queue = self.rig.queue
        deferred = [job for n in queue.table if (job := self.rig.job(n)).deferred]
        for first, last in {tuple(self.group_of(job.id)) for job in deferred}:
            mates = [job for job in deferred if first <= job.id <= last]
            left = [job for job in mates if not job.final]
            assert not any(job.id in held for job in mates if job.id != first)
            if any(op.exec_timestamp is not None for job in left for op in job.ops):
                wanted = [item for job in left for item in names_and_modes(job)]
                request = held.get(first, LockRequest())
                assert all(request.covers(key, mode) for key, mode in wanted), f"job {first} lacks locks of its group"
                units = sum(units_of(job) for job in left)
                assert not units or request.covers(("resource", "tape"), units)
            elif first in held and not left:
                # It is about to give them back.
                assert queue.processor.groups.with_id(first) is not None

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
                ended = awaits_turn(job) or job.phase in ("committing", "aborting")
                assert self.busy(job_id) or ended

    @invariant()
    def nobody_is_forgotten(self) -> None:
        """Whoever neither runs nor waits is about to be looked at."""
        queue = self.rig.queue
        coming = set(queue.ready.first(len(queue.ready)))
        for job_id in self.idle():
            assert job_id in coming or self.busy(job_id) or self.rig.turns.waiting or self.is_waited_for(job_id)

    def is_waited_for(self, job_id: int) -> bool:
        """Whether it is for others, or a user, that a job whose work is done has not ended."""
        job, groups = self.rig.job(job_id), self.rig.queue.processor.groups
        group = groups.with_id(job_id)
        if group is None or not awaits_turn(job):
            return False
        mates = groups.unfinished(group)
        if group.look is not None or any(self.busy(mate.id) for mate in mates):
            return True
        if groups.has_failed(group) or job.phase not in (PHASE_WAITING, PHASE_PENDING):
            return any(mate.id in self.rig.queue.processor.executions or groups.has_turn(mate.id) for mate in mates)
        if job.phase == PHASE_WAITING:
            return any(mate.phase == PHASE_WORK or not awaits_turn(mate) for mate in mates)
        return not all(mate.auto_finalize for mate in mates)

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
            assert self.ended[job_id] == CANCELED or job_id in self.failed_badly

    def teardown(self) -> None:
        super().teardown()
        rig = self.rig
        left = {n: (rig.status(n), rig.queue.processor.parked.get(n)) for n in self.unfinished()}
        assert not left, left
        self.nothing_goes_wrong_inside()
        assert len(rig.queue.locks) == 0
        assert rig.queue.query_workers()["running"] == 0
        assert not rig.queue.gates.dependencies.waiters()
        assert not rig.queue.processor.groups._of_job
        assert [call for call in rig.clock.getDelayedCalls() if call.getTime() > rig.clock.seconds()] == []


def covers(request: LockRequest | None, locks: Iterable[tuple[str, Mapping[str, Any]]]) -> bool:
    """Whether a request has all of these locks."""
    held = request or LockRequest()
    return all(held.covers((level, name), mode) for level, names in locks for name, mode in names.items())


def units_of(job: _QueuedJob) -> int:
    """How many units of the counted lock a job needs, whose opcodes run one after the other."""
    return max((mode for key, mode in names_and_modes(job) if key[1] == "tape"), default=0)
