"""What the code of jobs has done, in order; and whether it was its turn: prepares, commits and aborts have an order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from twisted.internet.defer import Deferred

from jqueue.events.joblog import Entry
from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.status import CANCELING, SUCCESS
from jqueue.sched import outcome
from jqueue.sched.queue import JobQueue

from .twins import Disk

_METHODS = ("exec", "prepare", "commit", "abort")


class Chronicle(Disk):
    """A disk whose logs are looked at as they are written."""

    queue: JobQueue

    def __init__(self) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self._done: defaultdict[tuple[int, int], list[str]] = defaultdict(list)
        """Which methods of an opcode have run since its last exec, that included."""

    def write_log(self, entries: dict[int, list[Entry]]) -> Deferred[None]:
        for job_id, rows in entries.items():
            for index, _serial, _when, _kind, message in rows:
                method = str(message).split(" ", 1)[0]
                if method in _METHODS:
                    self._happened(job_id, index, method)
        return super().write_log(entries)

    def _happened(self, job_id: int, index: int, method: str) -> None:
        job = self.queue.table.get(job_id)
        assert job is not None
        done = self._done[job_id, index]
        check = {"prepare": self._prepares, "commit": self._commits, "abort": self._aborts}.get(method)
        if check is not None:
            self.wrong += [f"{method} of job {job_id}, ops[{index}]: {text}" for text in check(job, index)]
        if method == "exec":
            done.clear()
        done.append(method)

    # Whether it is its turn

    def _prepares(self, job: _QueuedJob, index: int) -> Iterator[str]:
        if job.deferred and job.CalcStatus() != CANCELING:
            yield from self._alone(job)
            yield from (
                f"job {mate.id} is in phase {mate.phase}" for mate in self.mates(job) if mate.phase != job.phase
            )

    def _commits(self, job: _QueuedJob, index: int) -> Iterator[str]:
        if "abort" in self._done[job.id, index]:
            yield "it was undone before"
        if not job.deferred:
            yield from self._unprepared(job, [index])
            return
        yield from self._alone(job)
        yield from self._newest_first(job)
        for mate in self.mates(job):
            yield from self._unprepared(mate, self.ran(mate))

    def _aborts(self, job: _QueuedJob, index: int) -> Iterator[str]:
        if "commit" in self._done[job.id, index]:
            yield "it was committed before"
        if not job.deferred or outcome.is_retried(job.ops[index]):
            return
        yield from self._alone(job)
        yield from self._newest_first(job)
        for later in self.ran(job):
            if later > index and self.last(job.id, later) != "abort":
                yield f"ops[{later}] is not undone yet"

    def _alone(self, job: _QueuedJob) -> Iterator[str]:
        running = self.queue.processor.executions
        yield from (f"code of job {mate.id} runs" for mate in self.mates(job) if mate is not job and mate.id in running)

    def _newest_first(self, job: _QueuedJob) -> Iterator[str]:
        yield from (f"job {mate.id} has not ended" for mate in self.mates(job) if mate.id > job.id and not mate.final)

    def _unprepared(self, job: _QueuedJob, indexes: list[int]) -> Iterator[str]:
        for index in indexes:
            if "prepare" not in self._done[job.id, index] or "prepare" in job.ops[index].input.get("fails", ()):
                yield f"ops[{index}] of job {job.id} is not prepared"

    # What is known of jobs

    def mates(self, job: _QueuedJob) -> list[_QueuedJob]:
        """The jobs of a group that are not archived."""
        first, last = job.members or (job.id, job.id)
        found = (job if job_id == job.id else self.queue.table.get(job_id) for job_id in range(first, last + 1))
        return [mate for mate in found if mate is not None]

    def ran(self, job: _QueuedJob) -> list[int]:
        """The opcodes that have run and have something to prepare, commit or abort."""
        known = self.queue.registry
        return [
            index
            for index, op in enumerate(job.ops)
            if op.exec_timestamp is not None and known.get(op.input["OP_ID"]).has_callbacks()
        ]

    def last(self, job_id: int, index: int) -> str:
        """The method of an opcode that ran last."""
        return self._done[job_id, index][-1] if self._done[job_id, index] else "none"

    def ended_well(self, job: _QueuedJob) -> Iterator[str]:
        """Says what a job that has ended has committed or undone that it should not have, or the other way round."""
        for index in self.ran(job):
            done, op = self.last(job.id, index), job.ops[index]
            success = job.CalcStatus() == SUCCESS if job.deferred else op.status == SUCCESS
            expected = "commit" if success or failed_to(job, "commit") else "abort"
            if done != expected:
                yield f"job {job.id} is {job.CalcStatus()}, and the last of ops[{index}] was {done}"


def failed_to(job: _QueuedJob, method: str) -> bool:
    """Whether a job is in error because its commit or abort has failed, which must not happen."""
    return any(f"could not {method} its work" in str(op.result) for op in job.ops)
