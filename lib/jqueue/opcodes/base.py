"""What an opcode is: the class an author derives from, and what its code sees of the queue.

How parameters are declared and checked lives in `jqueue.opcodes.params`; what runs when, in `jqueue.sched`.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol, TypeVar

from jqueue.errors import INTERNAL_ERROR, GenericError, OpPrereqError
from jqueue.jobs import fields
from jqueue.jobs.status import PRIORITY_MAX, PRIORITY_MIN
from jqueue.opcodes.common import Dependencies, Locks, PointInTime, ReasonTrail, Retry, check_retries
from jqueue.opcodes.kinds import describe, refuse
from jqueue.opcodes.lockspec import (
    ALL,
    EXCLUSIVE,
    LEVELS,
    PATH_LEVELS,
    SHARED,
    LockSet,
    LockSpec,
    Mode,
    merge,
    normalise,
    rename_paths,
    resolve_paths,
)
from jqueue.opcodes.params import MISSING, Parameters, param

__all__ = [
    "ALL",
    "COMPLETE",
    "EXCLUSIVE",
    "LEAVE",
    "LEVELS",
    "MISSING",
    "SHARED",
    "LockSet",
    "LockSpec",
    "Mode",
    "OpCode",
    "OpContext",
    "param",
]

Op = TypeVar("Op", bound="OpCode")

COMPLETE: Final = "complete"
"""What `OpContext.ready` says: come to the end, and make it count."""
LEAVE: Final = "leave"
"""What `OpContext.ready` says of a soft cancel: end with what is there, consistent, and switch nothing over."""


class OpContext(Protocol):
    """What an opcode's code sees of the queue. Every call may be made from the opcode's own thread only."""

    job_id: int
    op_index: int
    attempt: int
    dry_run: bool
    saved: MutableMapping[str, Any]
    """A small dict of plain values; an assignment is durable when it returns."""

    @property
    def run_directory(self) -> Path:
        """Where a command of this attempt keeps what it writes; made when one runs."""
        ...

    def log(self, message: Any, type: str = "message") -> None:
        """Writes one entry to the job's log."""
        ...

    def progress(self, done: int, total: int, text: str = "") -> None:
        """Says how far the opcode is, in units of its own, such as bytes."""
        ...

    def checkpoint(self) -> None:
        """Stays here while the job is paused.

        @raise JobCanceled: the opcode is to stop
        """
        ...

    def throttle(self, n: int) -> None:
        """Pays for `n` units of work done under the job's speed limit; a checkpoint as well."""
        ...

    def sleep(self, seconds: float) -> None:
        """Sleeps; pause and cancel act at once, and after a pause it sleeps for what was left."""
        ...

    def ready(self, seconds: float | None = None, descriptor: int | None = None) -> str | None:
        """Says that the work has converged, and waits to be told what to do; a checkpoint as well.

        From the first call on the job is `ready`: it gives up its worker while it waits, and keeps its locks. Only an
        opcode that says so (`OpCode.converges`) calls it. Once told, the opcode runs on to its end.

        @param seconds: come back after so long, to keep up with the world
        @param descriptor: come back when there is something to read
        @return: `COMPLETE` or `LEAVE`; None to keep up, and to call again
        @raise JobCanceled: the opcode is to stop
        """
        ...

    def submit(self, jobs: Sequence[object]) -> list[int]:
        """Submits children; a re-run of the opcode gets the same ids back.

        @param jobs: each a list of opcode maps, or a description map
        """
        ...

    def command(
        self,
        argv: Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
    ) -> int:
        """Runs a command; its output becomes log lines.

        @param stdin: text the command reads; nothing without it
        @return: its exit status, `-N` when signal N ended it
        """
        ...


class OpCode(Parameters, abc.ABC):
    """One typed step of a job.

    A class names itself with `OP_ID`, declares parameters with `param`, locks with `locks`, and works in `exec`.
    An instance is the description of one step and holds no other state; what must outlive a crash goes to `ctx.saved`.
    """

    OP_ID: ClassVar[str] = ""
    stoppable: ClassVar[bool] = False
    """Whether running code ends soon after a cancel: it often calls a method of `ctx` that ends then."""
    restartable: ClassVar[bool] = False
    """Whether it may run again after a crash, once `abort` has undone the first try."""
    supports_dry_run: ClassVar[bool] = False
    """Whether its code changes nothing if `ctx.dry_run` is set; if not, `dry_run` is refused: it would run for real."""
    summary_parameter: ClassVar[str | None] = None
    """The parameter shown in lists."""

    priority: int | None = param(
        "how urgent, -20 (most) to 19; null is normal",
        default=None,
        check=lambda value: (
            None
            if value is None or PRIORITY_MIN <= value <= PRIORITY_MAX
            else f"{PRIORITY_MIN} to {PRIORITY_MAX} expected"
        ),
    )
    depends: list[list[Any]] | None = param(
        "jobs that must have ended first: [[job id, [status, ...]], ...]", default=None, kind=Dependencies()
    )
    comment: str | None = param("free text for people", default=None)
    reason: list[list[Any]] | None = param(
        "who asked for it: [[source, reason, nanoseconds since the epoch], ...]", default=None, kind=ReasonTrail()
    )
    dry_run: bool = param("only check, change nothing", default=False)
    debug_level: int = param(
        "how much to log, 0 is normal", default=0, check=lambda n: "at least 0 expected" if n < 0 else None
    )
    timeout: float | None = param(
        "seconds one attempt may run",
        default=None,
        check=lambda seconds: "more than 0 seconds expected" if seconds is not None and seconds <= 0 else None,
    )
    retries: Retry | None = param(
        "attempts in all, delay before the second in seconds, factor by which the delay grows",
        default=None,
        check=check_retries,
    )
    not_before: float | None = param("when it may start, at the earliest", default=None, kind=PointInTime())
    extra_locks: LockSet | None = param(
        "locks beside the opcode's own: {level: {name: shared|exclusive|N}}", default=None, name="locks", kind=Locks()
    )
    lock_paths: dict[str, str] | None = param(
        "what the paths among the locks stand for; the queue fills it in", default=None
    )

    def __init__(self, **parameters: object) -> None:
        """Makes a step from Python code, checked like a submitted one.

        @raise OpPrereqError: a parameter is unknown, missing or of the wrong type
        """
        path = self.OP_ID or type(self).__name__
        self._given = self._checked(parameters, path)
        self._fill(self._given)
        self.resolve_locks(path)

    @classmethod
    def from_dict(cls: type[Op], mapping: object, path: str = "ops[0]") -> Op:
        """Makes a step from what somebody submitted; looks up path names of locks in the file system.

        @param mapping: the parameters, and `OP_ID` if it is there
        @param path: where it stands in the submission, for errors
        @raise OpPrereqError: it cannot be taken; the text has the path of what is wrong
        """
        made = cls.restore(mapping, path)
        made.resolve_locks(path)
        return made

    @classmethod
    def restore(cls: type[Op], mapping: object, path: str = "ops[0]") -> Op:
        """Makes a step from what `to_dict` gave earlier; touches no file.

        @raise OpPrereqError: it does not fit the class any more
        """
        if not isinstance(mapping, Mapping):
            raise refuse(path, f"map expected, got {describe(mapping)}")
        if mapping.get("OP_ID", cls.OP_ID) != cls.OP_ID:
            raise refuse(f"{path}.OP_ID", f"{cls.OP_ID} expected, got {describe(mapping['OP_ID'])}")
        made = cls.__new__(cls)
        made._given = cls._checked(mapping, path)
        made._fill(made._given)
        return made

    def to_dict(self) -> dict[str, Any]:
        """Gives `OP_ID` and the given parameters, without defaults."""
        return {"OP_ID": self.OP_ID, **self._given}

    def __repr__(self) -> str:
        return f"<{self.summary()}>"

    def summary(self) -> str:
        """Gives the one word for lists, such as `TEST_DELAY(1.0)`."""
        return fields.summary(self.to_dict(), self.summary_parameter)

    @classmethod
    def has_callbacks(cls) -> bool:
        """Whether there is something to prepare, commit or abort."""
        return any(getattr(cls, name) is not getattr(OpCode, name) for name in ("prepare", "commit", "abort"))

    @classmethod
    def has_dynamic_locks(cls) -> bool:
        """Whether `declare_locks` must be asked."""
        return cls.declare_locks is not OpCode.declare_locks

    @classmethod
    def has_start_speed(cls) -> bool:
        """Whether `start_speed` must be asked."""
        return cls.start_speed is not OpCode.start_speed

    def all_locks(self) -> LockSet:
        """Unites `locks()` with the `locks` parameter; touches no file.

        @raise OpPrereqError: `locks()` gave no locks
        """
        return rename_paths(self._named_locks(self.OP_ID), self.lock_paths or {})

    def dynamic_locks(self, ctx: OpContext) -> LockSet:
        """Asks `declare_locks` and looks up path names in the file system; called on a worker thread.

        @raise OpPrereqError: it gave no locks
        """
        locks = normalise(self.declare_locks(ctx), f"{self.OP_ID}.declare_locks()")
        return rename_paths(locks, resolve_paths(locks))

    # What an author writes

    def locks(self) -> LockSpec:
        """Names the locks it needs, from the parameters alone: `{level: {name: mode} | ALL}`."""
        return {}

    def declare_locks(self, ctx: OpContext) -> LockSpec:
        """Names locks that only a look at the world can tell; asked while waiting, and again once they are granted."""
        return {}

    def start_speed(self) -> int:
        """Gives the speed limit to start with, in progress units a second; 0 is none, `set-speed` changes it."""
        return 0

    def converges(self) -> bool:
        """Whether `exec` calls `ctx.ready`: its work comes to an end only when somebody says so.

        It must be stoppable then, for a cancel must end it too, and the last opcode of its job.
        """
        return False

    @abc.abstractmethod
    def exec(self, ctx: OpContext) -> object:
        """Does the work.

        @return: the result, a plain value
        @raise OpExecError: it failed
        """

    def prepare(self, ctx: OpContext) -> None:
        """The last moment to refuse, after `exec`.

        @raise OpExecError: it must not be committed
        """

    def commit(self, ctx: OpContext) -> None:
        """Makes the work count; must not fail, may run more than once."""

    def abort(self, ctx: OpContext) -> None:
        """Undoes the work; must not fail, may run more than once, and without `exec` having come far."""

    # Inside

    _given: dict[str, object]

    @classmethod
    def _checked(cls, mapping: Mapping[str, object], path: str) -> dict[str, object]:
        # Null is how other clients say that a parameter every opcode has is not given.
        given = {
            name: value
            for name, value in mapping.items()
            if name != "OP_ID" and not (value is None and name in OpCode.parameters)
        }
        checked = cls.check_parameters(given, cls.OP_ID, path)
        if checked.get("dry_run") and not cls.supports_dry_run:
            raise refuse(f"{path}.dry_run", f"{cls.OP_ID} has no dry run, it would run for real; leave dry_run out")
        return checked

    def _named_locks(self, path: str) -> LockSet:
        try:
            own = self.locks()
        except GenericError:
            raise
        except Exception as error:
            raise OpPrereqError(f"{path}: {self.OP_ID} cannot tell its locks: {error!r}", INTERNAL_ERROR) from error
        named = normalise(own, f"{path}: locks()") if own else {}
        return merge(named, self.extra_locks) if self.extra_locks else named

    def locks_paths(self) -> bool:
        """Whether there are paths among its locks, which have to be looked up."""
        return bool(PATH_LEVELS & self._named_locks(self.OP_ID).keys())

    def resolve_locks(self, path: str) -> None:
        """Looks up what the paths among its locks stand for, in the file system.

        @param path: where the opcode stands in the submission, for errors
        @raise OpPrereqError: one of them is no path
        """
        resolved = resolve_paths(self._named_locks(path))
        self._given.pop("lock_paths", None)
        if resolved:
            self._given["lock_paths"] = resolved
        self.lock_paths = resolved or None
