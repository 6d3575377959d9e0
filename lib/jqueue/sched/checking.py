"""Checking what somebody submits: every job, every opcode, every parameter, with the path of what is wrong.

Nothing is changed here; long lists are checked in steps, so that others get their turn.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack

from jqueue.config import Queue
from jqueue.errors import OpPrereqError, ParameterError
from jqueue.jobs.description import check_name
from jqueue.jobs.status import SUBMITTABLE_PRIORITIES
from jqueue.locks.manager import LockManager
from jqueue.locks.modes import ALL, LockRequest, key_text, normalise
from jqueue.opcodes.base import OpCode
from jqueue.opcodes.registry import Registry

_JOB_KEYS = frozenset({"name", "ops", "auto_finalize", "auto_dismiss"})
_OPTIONS = frozenset({"name", "auto_finalize", "auto_dismiss", "request_id", "group", "dry_run"})


@dataclass
class CheckedJob:
    """A job that can be taken."""

    name: str | None
    ops: list[dict[str, Any]]
    """OP_ID and parameters of each opcode."""
    size: int
    """Bytes that they are, packed."""
    auto_finalize: bool
    auto_dismiss: bool
    unresolved: list[tuple[int, OpCode, str]]
    """Opcodes that lock files, each with its index and its path in the submission; see `resolve`."""
    opcodes: list[OpCode]
    """The opcodes themselves, if the job is in a group."""

    def resolve(self) -> None:
        """Looks up what the paths among the locks stand for; asks the file system, so not on the reactor thread.

        @raise OpPrereqError: one is none
        """
        for index, opcode, path in self.unresolved:
            opcode.resolve_locks(path)
            self.ops[index] = opcode.to_dict()

    def locks(self) -> LockRequest:
        """Unites the locks of its opcodes, which run one after the other."""
        union = LockRequest()
        for opcode in self.opcodes:
            union = union.union(normalise(opcode.all_locks()))
        return union


class Checker:
    """Turns raw descriptions into checked jobs."""

    def __init__(self, limits: Queue, registry: Registry, locks: LockManager) -> None:
        self._limits = limits
        self._registry = registry
        self._locks = locks

    def check_options(self, options: Mapping[str, object]) -> None:
        """Checks what is said of all jobs of a call.

        @raise ParameterError: an unknown option, or one of the wrong type
        """
        for name in options:
            if name not in _OPTIONS:
                raise ParameterError(f"options.{name}: unknown option; known are {', '.join(sorted(_OPTIONS))}")
        for name in ("auto_finalize", "auto_dismiss", "dry_run"):
            if not isinstance(options.get(name, False), bool):
                raise ParameterError(f"options.{name}: true or false expected")
        group = options.get("group")
        if isinstance(group, str):
            check_name(group, "options.group")
        elif group is not None and not isinstance(group, bool):
            raise ParameterError(f"options.group: true or a name expected, got {group!r:.60}")

    def check(
        self, jobs: Sequence[object], options: Mapping[str, object], *, any_priority: bool
    ) -> Generator[None, None, list[CheckedJob]]:
        """Checks jobs, a step an opcode.

        @param jobs: each a list of opcode maps, or a description map
        @param any_priority: whether more than -10, 0 and 10 may be asked for
        @raise OpPrereqError: one is not valid; the text has its path
        """
        if not jobs:
            raise OpPrereqError("jobs: at least one job is needed, the list is empty")
        if options.get("group") and len(jobs) > self._limits.max_jobs_per_group:
            raise OpPrereqError(
                f"jobs: a group may have {self._limits.max_jobs_per_group} jobs, this one has {len(jobs)};"
                " split it up, or raise queue.max_jobs_per_group in the configuration"
            )
        checked = []
        for index, job in enumerate(jobs):
            path = "" if len(jobs) == 1 else f"jobs[{index}]."
            checked.append((yield from self._check_job(job, path, options, any_priority)))
        return checked

    def check_group(self, jobs: Sequence[CheckedJob]) -> Generator[None, None, None]:
        """Checks that jobs can be in one group, whose members hold all their locks at the same time; a step a job.

        @raise OpPrereqError: two of them cannot
        """
        together = self._locks.empty_twin()
        for index, job in enumerate(jobs):
            refusal = together.acquire(index, job.locks(), index)
            if refusal is not None:
                together.release(index)  # nobody waits there, and no timer is left
                other = f"jobs[{refusal.holders[0]}]" if refusal.holders else "another job"
                level, name = refusal.lock
                lock = f"locks of the level {level}" if name == ALL else f"the lock {key_text(refusal.lock)}"
                raise OpPrereqError(
                    f"jobs[{index}]: it needs {lock}, and so does {other}"
                    " of its group, whose jobs run side by side; make them one job, or submit them without a group"
                )
            yield

    def _check_job(
        self, job: object, path: str, options: Mapping[str, object], any_priority: bool
    ) -> Generator[None, None, CheckedJob]:
        description = job if isinstance(job, Mapping) else {"ops": job}
        for key in description:
            if key not in _JOB_KEYS:
                raise ParameterError(f"{path}{key}: unknown; a job has {', '.join(sorted(_JOB_KEYS))}")
        merged = {**{key: value for key, value in options.items() if key in _JOB_KEYS}, **description}
        ops = merged.get("ops")
        if not isinstance(ops, (list, tuple)) or not ops:
            raise OpPrereqError(f"{path}ops: a list with at least one opcode is needed")
        if len(ops) > self._limits.max_ops_per_job:
            raise OpPrereqError(
                f"{path}ops: a job may have {self._limits.max_ops_per_job} opcodes, this one has {len(ops)};"
                " split it into several jobs"
            )
        for key in ("auto_finalize", "auto_dismiss"):
            if not isinstance(merged.get(key, False), bool):
                raise ParameterError(f"{path}{key}: true or false expected")
        name = merged.get("name")
        if name is not None:
            check_name(name, f"{path}name")
        grouped = bool(options.get("group"))
        checked = CheckedJob(
            name=name if isinstance(name, str) else None,
            ops=[],
            size=0,
            auto_finalize=bool(merged.get("auto_finalize", True)),
            auto_dismiss=bool(merged.get("auto_dismiss", False)),
            unresolved=[],
            opcodes=[],
        )
        for index, op in enumerate(ops):
            where = f"{path}ops[{index}]"
            opcode = self._check_op(op, where, any_priority)
            self._check_place(opcode, where, last=index == len(ops) - 1, deferred=grouped or not checked.auto_finalize)
            if grouped:
                checked.opcodes.append(opcode)
            if opcode.locks_paths():
                checked.unresolved.append((index, opcode, where))
            else:
                opcode.resolve_locks(where)
            checked.ops.append(opcode.to_dict())
            checked.size += len(msgpack.packb(checked.ops[-1], default=repr))
            yield
        return checked

    def _check_place(self, opcode: OpCode, path: str, *, last: bool, deferred: bool) -> None:
        if deferred and opcode.has_dynamic_locks():
            raise OpPrereqError(
                f"{path}: {opcode.OP_ID} finds out its locks only when it runs, but a job that is finalised later"
                " (auto_finalize false, or in a group) takes all its locks before it begins; finalise it automatically"
            )
        if opcode.converges() and not opcode.stoppable:
            raise OpPrereqError(
                f"{path}: {opcode.OP_ID} converges, but cannot be stopped, so a cancel would never end it; its author"
                " must make it stoppable"
            )
        if opcode.converges() and not last:
            raise OpPrereqError(
                f"{path}: {opcode.OP_ID} converges and goes on until it is told to end, so it must be the last opcode;"
                " submit what follows as a job that depends on this one"
            )

    def _check_op(self, op: object, path: str, any_priority: bool) -> OpCode:
        opcode = self._registry.restore(op, path)
        if opcode.priority is not None and opcode.priority not in SUBMITTABLE_PRIORITIES and not any_priority:
            raise OpPrereqError(
                f"{path}.priority: -10, 0 or 10 expected, got {opcode.priority}; an administrator may set any"
            )
        locks = normalise(opcode.all_locks())
        problem = self._locks.impossible(locks) if locks else None
        if problem is not None:
            raise OpPrereqError(f"{path}.locks: {problem}")
        return opcode
