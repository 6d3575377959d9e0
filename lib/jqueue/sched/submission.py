"""Submission: from what somebody sent to durable, queued jobs, or an error that says what is wrong and where.

Nothing is changed before all of it has been checked, and nothing is answered before it is synced.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from jqueue.errors import (
    DiskFull,
    GenericError,
    JobQueueDrainError,
    JobQueueFull,
    OpPrereqError,
    ParameterError,
    ShuttingDown,
)
from jqueue.jobs import packing
from jqueue.jobs.job import _QueuedJob
from jqueue.opcodes.kinds import Text
from jqueue.sched.checking import CheckedJob, Checker
from jqueue.sched.dependencies import resolve_relative
from jqueue.sched.edits import Journal
from jqueue.sched.requests import Requests
from jqueue.sched.table import JobHost
from jqueue.turns import Turns

_PARENTS = -1  # stands for the uid in the request ids of children

Answer = list["int | GenericError | None"]
"""Per job its id, or what is wrong with its dependencies; None in a dry run."""


@dataclass(frozen=True)
class Origin:
    """Who submits, and what of it must be remembered."""

    uid: int | None
    admin: bool = False
    parent: str | None = None
    """Identity of the opcode that submits children, `job.op.n`."""
    incoming: str | None = None
    """Identity of the file that was dropped into `incoming/`."""


@dataclass
class _Prepared:
    answer: Answer
    made: list[tuple[_QueuedJob, bytes]]
    record: bytes


class Submission:
    """Takes new jobs."""

    def __init__(
        self,
        *,
        turns: Turns,
        checker: Checker,
        look_up: Callable[[Callable[[], list[CheckedJob]]], Deferred[list[CheckedJob]]],
        max_size: int,
        host: JobHost,
        journal: Journal,
        requests: Requests,
        may_take: Callable[[Origin, int], GenericError | None],
        durable: Callable[[int, bytes], None],
        accepted: Callable[[int, _QueuedJob, bytes], None],
    ) -> None:
        """Makes it.

        @param look_up: runs a function that asks the file system, off the reactor thread
        @param max_size: bytes that the jobs of one call may have
        @param may_take: says why so many jobs of an origin are not taken now, or None
        @param durable: given each new job, packed, as soon as it is durable
        @param accepted: told of each of them a little later: its priority, the job, and its packed form
        """
        self._turns = turns
        self._checker = checker
        self._look_up = look_up
        self._max_size = max_size
        self._host = host
        self._journal = journal
        self._requests = requests
        self._may_take = may_take
        self._durable = durable
        self._accepted = accepted
        self.last_id = 0
        self._on_their_way = 0

    def submit(self, jobs: Sequence[object], options: Mapping[str, object], origin: Origin) -> Deferred[Answer]:
        """Checks and records new jobs.

        @param jobs: each a list of opcode maps, or a description map
        @param options: what holds for all of them
        @return: fires once they are durable
        @raise GenericError: nothing was taken
        """
        request = self._request_key(options, origin)
        if request is not None:
            content = _digest([jobs, _without(options, "request_id")])
            earlier = self._requests.begin(request, content)
            if earlier is not None:
                return earlier.addCallback(list)
        try:
            answer = self._submit(jobs, options, origin, None if request is None else [*request, content])
        except BaseException:
            if request is not None:
                self._requests.done(request, Failure())
            raise
        if request is not None:
            answer.addBoth(self._tell_request, request)
        return answer

    def _tell_request(self, result: Answer | Failure, request: tuple[int, str]) -> Answer | Failure:
        if isinstance(result, Failure):
            self._requests.done(request, result)
        else:
            self._requests.done(request, [job_id for job_id in result if isinstance(job_id, int)])
        return result

    def _request_key(self, options: Mapping[str, object], origin: Origin) -> tuple[int, str] | None:
        if origin.parent is not None:
            return _PARENTS, origin.parent
        request_id = options.get("request_id")
        if request_id is None or options.get("dry_run"):
            return None
        if not isinstance(request_id, str) or not 0 < len(request_id) <= 200:
            raise ParameterError("options.request_id: text of 1 to 200 characters expected")
        Text().check(request_id, "options.request_id")
        return (-2 if origin.uid is None else origin.uid), request_id

    def _submit(
        self, jobs: Sequence[object], options: Mapping[str, object], origin: Origin, request: list[Any] | None
    ) -> Deferred[Answer]:
        self._checker.check_options(options)
        refused = self._may_take(origin, self._on_their_way + len(jobs))
        if refused is not None:
            raise refused
        self._on_their_way += len(jobs)
        checked = self._turns.complete(self._checker.check(jobs, options, any_priority=origin.admin))
        checked.addCallback(self._resolve)
        if options.get("group"):
            checked.addCallback(self._check_group)
        prepared = checked.addCallback(
            lambda checked: self._turns.complete(self._prepare(checked, options, origin, request))
        )
        answer: Deferred[Answer] = prepared.addCallback(self._record, origin)
        answer.addBoth(self._arrived, len(jobs))
        return answer

    def _resolve(self, checked: list[CheckedJob]) -> list[CheckedJob] | Deferred[list[CheckedJob]]:
        unresolved = [job for job in checked if job.unresolved]
        if not unresolved:
            return checked

        def resolve() -> list[CheckedJob]:
            for job in unresolved:
                job.resolve()
            return checked

        # A path may be on a file system that does not answer.
        return self._look_up(resolve)

    def _check_group(self, checked: list[CheckedJob]) -> Deferred[list[CheckedJob]]:
        return self._turns.complete(self._checker.check_group(checked)).addCallback(lambda _: checked)

    def _arrived(self, result: Answer | Failure, count: int) -> Answer | Failure:
        self._on_their_way -= count
        return result

    def _prepare(
        self, checked: list[CheckedJob], options: Mapping[str, object], origin: Origin, request: list[Any] | None
    ) -> Generator[None, None, _Prepared]:
        group = options.get("group")
        # Whoever drops a file gets no answer, so none of its jobs may be refused alone; nor may one of a group.
        whole = request is not None or origin.incoming is not None or bool(group)
        states, answer = self._number(checked, whole=whole, grouped=bool(group))
        if options.get("dry_run"):
            return _Prepared([one if isinstance(one, GenericError) else None for one in answer], [], b"")
        # The ids are taken now, so that other submissions may come in between.
        self.last_id = max([self.last_id, *(job_id for job_id, _, _ in states)])
        made = []
        members = (states[0][0], states[-1][0]) if group else None
        for job_id, job, ops in states:
            made.append(self._make(job_id, job, ops, origin, group, members))
            yield
        meta = {"request": request, "incoming": origin.incoming}
        rows = [[job.id, job.CalcPriority(), packed] for job, packed in made]
        record = ["submit", rows, {key: value for key, value in meta.items() if value is not None}]
        return _Prepared(answer, made, msgpack.packb(record))

    def _number(
        self, checked: Sequence[CheckedJob], *, whole: bool, grouped: bool
    ) -> tuple[list[tuple[int, CheckedJob, list[dict[str, Any]]]], Answer]:
        """Gives ids to the jobs whose dependencies can be met.

        @param whole: take all or none; a request that is repeated gets ids back, which leaves no room for an error
        @param grouped: whether they must not depend on each other
        """
        states: list[tuple[int, CheckedJob, list[dict[str, Any]]]] = []
        answer: Answer = []
        earlier: list[int | None] = []
        next_id = self.last_id + 1
        for number, job in enumerate(checked):
            try:
                ops = [self._with_depends(op, earlier, index, grouped) for index, op in enumerate(job.ops)]
            except OpPrereqError as problem:
                if len(checked) == 1:
                    raise
                if whole:
                    raise OpPrereqError(f"jobs[{number}].{problem.text}", problem.code) from None
                answer.append(problem)
                earlier.append(None)
                continue
            states.append((next_id, job, ops))
            answer.append(next_id)
            earlier.append(next_id)
            next_id += 1
        size = sum(job.size for _, job, _ in states)
        if size > self._max_size:
            raise OpPrereqError(f"The jobs are {size} bytes; at most {self._max_size} are taken at once: split them up")
        return states, answer

    # Recording

    def _record(self, prepared: _Prepared, origin: Origin) -> Answer | Deferred[Answer]:
        if not prepared.made:
            return prepared.answer
        synced = self._journal.append(prepared.record, refusable=origin.parent is None)
        return synced.addCallback(self._synced, prepared)

    def _synced(self, _sequence: int, prepared: _Prepared) -> Answer:
        # All at once: a checkpoint that starts now must find the jobs, the request and the dropped file.
        for job, packed in prepared.made:
            self._durable(job.id, packed)
        self._turns.add(self._publish(prepared))
        return prepared.answer

    def _publish(self, prepared: _Prepared) -> Iterator[None]:
        for job, packed in prepared.made:
            self._accepted(job.CalcPriority(), job, packed)
            yield

    def _make(
        self,
        job_id: int,
        job: CheckedJob,
        ops: list[dict[str, Any]],
        origin: Origin,
        group: object,
        members: tuple[int, int] | None,
    ) -> tuple[_QueuedJob, bytes]:
        made = _QueuedJob(self._host, job_id, ops)
        made.name = job.name
        made.auto_finalize = job.auto_finalize
        made.auto_dismiss = job.auto_dismiss
        if members is not None:
            made.group = group if isinstance(group, str) else f"group-{members[0]}"
            made.members = list(members)
        made.owner = origin.uid
        made.parent = origin.parent
        return made, packing.pack(made)

    def _with_depends(
        self, op: dict[str, Any], earlier: Sequence[int | None], index: int, grouped: bool
    ) -> dict[str, Any]:
        if not op.get("depends"):
            return op
        try:
            depends = resolve_relative(op["depends"], earlier)
            for dep_id, _statuses in depends:
                if dep_id > self.last_id and dep_id not in earlier:
                    raise OpPrereqError(f"depends: there is no job {dep_id}; the newest one is {self.last_id}")
                if grouped and dep_id in earlier:
                    raise OpPrereqError(
                        "depends: jobs of one group end together, so none can wait for the end of another;"
                        " make them one job, or submit them without a group"
                    )
        except OpPrereqError as problem:
            raise OpPrereqError(f"ops[{index}].{problem.text}", problem.code) from None
        return {**op, "depends": depends}


def refusal(
    *, stopping: bool, disk_full: bool, drained: str | None, unfinished: int, limit: int, origin: Origin, count: int
) -> GenericError | None:
    """Says why new jobs are not taken now, or None.

    Children of running jobs are taken even then: a parent could not end well otherwise.
    """
    if origin.parent is not None:
        return None
    if stopping:
        return ShuttingDown()
    if disk_full:
        return DiskFull()
    if drained is not None:
        because = f" ({drained})" if drained else ""
        return JobQueueDrainError(f"The queue is drained{because} and takes no new jobs; `jqueue drain off` opens it")
    if unfinished + count > limit:
        return JobQueueFull(
            f"The queue holds {unfinished} unfinished jobs and takes {limit} at most; wait until some have ended"
        )
    return None


def _digest(content: object) -> bytes:
    try:
        return hashlib.sha256(msgpack.packb(content, default=repr, unicode_errors="surrogatepass")).digest()
    except ValueError as problem:
        raise OpPrereqError(f"jobs: they cannot be read: {problem}") from problem


def _without(options: Mapping[str, object], key: str) -> dict[str, object]:
    return {name: value for name, value in options.items() if name != key}
