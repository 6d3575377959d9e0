"""Submission: from what somebody sent to durable, queued jobs, or an error that says what is wrong and where.

Nothing is changed before all of it has been checked, and nothing is answered before it is synced.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from jqueue.config import Config
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
from jqueue.jobs.description import check_name
from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.status import SUBMITTABLE_PRIORITIES
from jqueue.locks.manager import LockManager
from jqueue.locks.modes import normalise
from jqueue.opcodes.base import OpCode
from jqueue.opcodes.registry import Registry
from jqueue.sched.dependencies import resolve_relative
from jqueue.sched.edits import Journal
from jqueue.sched.requests import Requests
from jqueue.sched.table import JobHost

_JOB_KEYS = frozenset({"name", "ops", "auto_finalize", "auto_dismiss"})
_OPTIONS = frozenset({"name", "auto_finalize", "auto_dismiss", "request_id", "group", "dry_run"})
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
class _Checked:
    name: str | None
    ops: list[OpCode]
    auto_dismiss: bool


class Submission:
    """Takes new jobs."""

    def __init__(
        self,
        *,
        config: Config,
        host: JobHost,
        registry: Registry,
        locks: LockManager,
        journal: Journal,
        requests: Requests,
        may_take: Callable[[Origin, int], GenericError | None],
        accepted: Callable[[int, _QueuedJob, bytes], None],
    ) -> None:
        """Makes it.

        @param may_take: says why so many jobs of an origin are not taken now, or None
        @param accepted: told of each new job once it is durable, with its packed form
        """
        self._config = config
        self._host = host
        self._registry = registry
        self._locks = locks
        self._journal = journal
        self._requests = requests
        self._may_take = may_take
        self._accepted = accepted
        self.last_id = 0

    def submit(self, jobs: Sequence[object], options: Mapping[str, object], origin: Origin) -> Deferred[Answer]:
        """Checks and records new jobs.

        @param jobs: each a list of opcode maps, or a description map
        @param options: what holds for all of them
        @return: fires once they are durable
        @raise GenericError: nothing was taken
        """
        request = self._request_key(options, origin)
        if request is not None:
            content = hashlib.sha256(msgpack.packb([jobs, _without(options, "request_id")], default=repr)).digest()
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
        return (-2 if origin.uid is None else origin.uid), request_id

    def _submit(
        self, jobs: Sequence[object], options: Mapping[str, object], origin: Origin, request: list[Any] | None
    ) -> Deferred[Answer]:
        self._check_options(options)
        refused = self._may_take(origin, len(jobs))
        if refused is not None:
            raise refused
        if not jobs:
            raise OpPrereqError("jobs: at least one job is needed, the list is empty")
        single = len(jobs) == 1
        checked = [self._check_job(job, "" if single else f"jobs[{i}].", options, origin) for i, job in enumerate(jobs)]
        if options.get("dry_run"):
            return succeed([None] * len(checked))
        return self._record(checked, origin, request)

    # Checking

    def _check_options(self, options: Mapping[str, object]) -> None:
        for name in options:
            if name not in _OPTIONS:
                raise ParameterError(f"options.{name}: unknown option; known are {', '.join(sorted(_OPTIONS))}")
        for name in ("auto_finalize", "auto_dismiss", "dry_run"):
            if not isinstance(options.get(name, False), bool):
                raise ParameterError(f"options.{name}: true or false expected")
        if options.get("group"):
            raise ParameterError("options.group: this version has no groups; submit the jobs without one")

    def _check_job(self, job: object, path: str, options: Mapping[str, object], origin: Origin) -> _Checked:
        description = job if isinstance(job, Mapping) else {"ops": job}
        for key in description:
            if key not in _JOB_KEYS:
                raise ParameterError(f"{path}{key}: unknown; a job has {', '.join(sorted(_JOB_KEYS))}")
        merged = {**{key: value for key, value in options.items() if key in _JOB_KEYS}, **description}
        ops = merged.get("ops")
        if not isinstance(ops, (list, tuple)) or not ops:
            raise OpPrereqError(f"{path}ops: a list with at least one opcode is needed")
        if len(ops) > self._config.queue.max_ops_per_job:
            raise OpPrereqError(
                f"{path}ops: a job may have {self._config.queue.max_ops_per_job} opcodes, this one has {len(ops)};"
                " split it into several jobs"
            )
        for key in ("auto_finalize", "auto_dismiss"):
            if not isinstance(merged.get(key, False), bool):
                raise ParameterError(f"{path}{key}: true or false expected")
        if merged.get("auto_finalize") is False:
            raise ParameterError(f"{path}auto_finalize: this version finalizes every job by itself; leave it out")
        name = merged.get("name")
        if name is not None:
            check_name(name, f"{path}name")
        parsed = [self._check_op(op, f"{path}ops[{index}]", origin) for index, op in enumerate(ops)]
        return _Checked(name if isinstance(name, str) else None, parsed, bool(merged.get("auto_dismiss", False)))

    def _check_op(self, op: object, path: str, origin: Origin) -> OpCode:
        opcode = self._registry.parse(op, path)
        if opcode.priority is not None and opcode.priority not in SUBMITTABLE_PRIORITIES and not origin.admin:
            raise OpPrereqError(
                f"{path}.priority: -10, 0 or 10 expected, got {opcode.priority}; an administrator may set any"
            )
        locks = normalise(opcode.all_locks())
        problem = self._locks.impossible(locks) if locks else None
        if problem is not None:
            raise OpPrereqError(f"{path}.locks: {problem}")
        return opcode

    # Recording

    def _record(self, checked: Sequence[_Checked], origin: Origin, request: list[Any] | None) -> Deferred[Answer]:
        answer: Answer = []
        made: list[tuple[_QueuedJob, bytes]] = []
        size = 0
        next_id = self.last_id + 1
        earlier: list[int | None] = []
        for job in checked:
            try:
                ops = [self._with_depends(op, earlier) for op in job.ops]
            except OpPrereqError as problem:
                # A request that is repeated gets ids back, so one with a request id is taken whole or not at all.
                if len(checked) == 1 or request is not None:
                    raise
                answer.append(problem)
                earlier.append(None)
                continue
            made.append(self._make(next_id, job, ops, origin))
            size += len(made[-1][1])
            answer.append(next_id)
            earlier.append(next_id)
            next_id += 1
        if not made:
            return succeed(answer)
        if size > self._config.queue.max_job_size:
            raise OpPrereqError(
                f"The jobs are {size} bytes; at most {self._config.queue.max_job_size} are taken at once: split them up"
            )
        self.last_id = next_id - 1
        meta = {"request": request, "incoming": origin.incoming}
        rows = [[job.id, job.CalcPriority(), packed] for job, packed in made]
        record = msgpack.packb(["submit", rows, {key: value for key, value in meta.items() if value is not None}])
        return self._journal.append(record, refusable=origin.parent is None).addCallback(self._synced, made, answer)

    def _synced(self, _sequence: int, made: Sequence[tuple[_QueuedJob, bytes]], answer: Answer) -> Answer:
        for job, packed in made:
            self._accepted(job.CalcPriority(), job, packed)
        return answer

    def _make(self, job_id: int, job: _Checked, ops: list[dict[str, Any]], origin: Origin) -> tuple[_QueuedJob, bytes]:
        made = _QueuedJob(self._host, job_id, ops)
        made.name = job.name
        made.auto_dismiss = job.auto_dismiss
        made.owner = origin.uid
        made.parent = origin.parent
        return made, packing.pack(made)

    def _with_depends(self, op: OpCode, earlier: Sequence[int | None]) -> dict[str, Any]:
        state = op.to_dict()
        if op.depends:
            depends = resolve_relative(op.depends, earlier)
            for dep_id, _statuses in depends:
                if dep_id > self.last_id and dep_id not in earlier:
                    raise OpPrereqError(f"depends: there is no job {dep_id}; the newest one is {self.last_id}")
            state["depends"] = depends
        return state


def refusal(
    *, stopping: bool, disk_full: bool, drained: str | None, unfinished: int, limit: int, origin: Origin, count: int
) -> GenericError | None:
    """Says why new jobs are not taken now, or None.

    Children of running jobs are taken even then, except when the daemon stops: a parent could not end otherwise.
    """
    if stopping:
        return ShuttingDown()
    if origin.parent is not None:
        return None
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


def _without(options: Mapping[str, object], key: str) -> dict[str, object]:
    return {name: value for name, value in options.items() if name != key}
