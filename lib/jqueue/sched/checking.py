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
from jqueue.locks.modes import normalise
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
    auto_dismiss: bool
    unresolved: list[tuple[int, OpCode, str]]
    """Opcodes that lock files, each with its index and its path in the submission; see `resolve`."""

    def resolve(self) -> None:
        """Looks up what the paths among the locks stand for; asks the file system, so not on the reactor thread.

        @raise OpPrereqError: one is none
        """
        for index, opcode, path in self.unresolved:
            opcode.resolve_locks(path)
            self.ops[index] = opcode.to_dict()


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
        if options.get("group"):
            raise ParameterError("options.group: this version has no groups; submit the jobs without one")

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
        checked = []
        for index, job in enumerate(jobs):
            path = "" if len(jobs) == 1 else f"jobs[{index}]."
            checked.append((yield from self._check_job(job, path, options, any_priority)))
        return checked

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
        if merged.get("auto_finalize") is False:
            raise ParameterError(f"{path}auto_finalize: this version finalizes every job by itself; leave it out")
        name = merged.get("name")
        if name is not None:
            check_name(name, f"{path}name")
        checked = CheckedJob(
            name if isinstance(name, str) else None, [], 0, bool(merged.get("auto_dismiss", False)), []
        )
        for index, op in enumerate(ops):
            where = f"{path}ops[{index}]"
            opcode = self._check_op(op, where, any_priority)
            if opcode.locks_paths():
                checked.unresolved.append((index, opcode, where))
            else:
                opcode.resolve_locks(where)
            checked.ops.append(opcode.to_dict())
            checked.size += len(msgpack.packb(checked.ops[-1], default=repr))
            yield
        return checked

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
