"""A job: a list of opcodes that run one after the other, and what the queue remembers beside them.

Its packed form lives in `jqueue.jobs.packing`, its fields for queries in `jqueue.jobs.fields`.
A job that the queue has published is never changed: edit a `copy()`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from jqueue import errors
from jqueue.jobs import fields as job_fields
from jqueue.jobs import lifecycle, status
from jqueue.jobs.opcode import (
    HasDict,
    LogEntry,
    Timestamp,
    _QueuedOpCode,
    restore_timestamp,
    serialize_timestamp,
    split_timestamp,
)

EXTRA_KEY: Final = "jqueue"
"""The one key of a serialised job that Ganeti does not know."""

CANCELED_TEXT: Final = "Job canceled by request"
"""The result of every opcode that a cancel kept from running."""

EXTRA_DEFAULTS: Final[dict[str, Any]] = {
    "name": None,
    "phase": lifecycle.PHASE_WORK,
    "paused": False,
    "speed": None,
    "auto_finalize": True,
    "auto_dismiss": False,
    "group": None,
    "owner": None,
    "parent": None,
    "log_serial": 0,
    "members": None,
    "completion": None,
}
"""Our own stored attributes; packed jobs number them by position, so only ever append."""


class Queue(Protocol):
    """What a job must get from its queue.

    It may also have `is_stoppable(input) -> bool`, and what `jqueue.jobs.fields` lists.
    """

    def time(self) -> float:
        """Gives the wall time, seconds since the epoch."""


class _QueuedJob:
    """A job; its status and priority are computed from its opcodes, never stored."""

    __slots__ = (
        "queue",
        "id",
        "ops",
        "received_timestamp",
        "start_timestamp",
        "end_timestamp",
        "writable",
        "archived",
        *EXTRA_DEFAULTS,
    )
    queue: Queue | None
    id: int
    ops: list[_QueuedOpCode]
    received_timestamp: Timestamp | None
    start_timestamp: Timestamp | None
    end_timestamp: Timestamp | None
    writable: bool
    archived: bool
    name: str | None
    phase: str
    paused: bool
    speed: int | None
    """The limit that a user has set; without one the opcodes say with which they start."""
    auto_finalize: bool
    auto_dismiss: bool
    group: str | None
    owner: int | None
    parent: str | None
    log_serial: int
    members: list[int] | None
    """The first and the last id of the jobs of its group, which have all ids between."""
    completion: str | None
    """How a job that is ready was told to end, `complete` or `leave`."""

    def __init__(
        self,
        queue: Queue | None,
        job_id: int | str,
        ops: Sequence[Mapping[str, Any] | HasDict],
        writable: bool = True,
    ) -> None:
        """Makes a new job, received now.

        @param queue: gives the time; None takes the system's
        @param job_id: a number or its digits
        @param ops: OP_ID and parameters of each opcode, already validated; copied, and an entry is added to the
            `reason` trail of each copy
        @param writable: whether the job may be changed
        @raise errors.GenericError: if there is no opcode
        """
        if not ops:
            raise errors.GenericError("A job needs at least one opcode; none was given")
        self.queue = queue
        self.id = int(job_id)
        now = self._now()
        self.received_timestamp = now
        self.start_timestamp = None
        self.end_timestamp = None
        self.writable = writable
        self.archived = False
        for name, default in EXTRA_DEFAULTS.items():
            setattr(self, name, default)
        self.ops = [_QueuedOpCode(op) for op in ops]
        for index, op in enumerate(self.ops):
            self._add_reason(op.input, index, now)

    def _add_reason(self, op: dict[str, Any], index: int, now: Timestamp) -> None:
        source = "jqueue:opcode:" + op["OP_ID"].removeprefix("OP_").lower()
        entry = [source, f"job={self.id};index={index}", now[0] * 1_000_000_000 + now[1] * 1000]
        op["reason"] = [*(op.get("reason") or ()), entry]

    def _now(self) -> Timestamp:
        return split_timestamp(time.time() if self.queue is None else self.queue.time())

    def __repr__(self) -> str:
        ops = ",".join(str(op.input.get("OP_ID")) for op in self.ops)
        return f"<{type(self).__name__} id={self.id} status={self.CalcStatus()} ops={ops} at {id(self):#x}>"

    def copy(self) -> _QueuedJob:
        """Makes a copy to edit; opcodes are copied too, the values in them are shared."""
        # Written out, because it runs for every record, and a loop over the names takes three times as long.
        new = object.__new__(_QueuedJob)
        new.queue = self.queue
        new.id = self.id
        new.ops = [op.copy() for op in self.ops]
        new.received_timestamp = self.received_timestamp
        new.start_timestamp = self.start_timestamp
        new.end_timestamp = self.end_timestamp
        new.writable = self.writable
        new.archived = self.archived
        new.name = self.name
        new.phase = self.phase
        new.paused = self.paused
        new.speed = self.speed
        new.auto_finalize = self.auto_finalize
        new.auto_dismiss = self.auto_dismiss
        new.group = self.group
        new.owner = self.owner
        new.parent = self.parent
        new.log_serial = self.log_serial
        new.members = self.members
        new.completion = self.completion
        return new

    @property
    def final(self) -> bool:
        """Whether the job has ended."""
        return self.CalcStatus() in status.FINALIZED

    @property
    def deferred(self) -> bool:
        """Whether all commits wait for the end of the job or of its group."""
        return not self.auto_finalize or self.members is not None

    @classmethod
    def Restore(
        cls, queue: Queue | None, state: Mapping[str, Any], writable: bool = True, archived: bool = False
    ) -> _QueuedJob:
        """Makes a job from its stored form, whatever its state; with Ganeti's keys alone, too.

        @param queue: as for a new job
        @param state: what `Serialize` gave; only `id` and `ops` must be there
        @param writable: whether the job may be changed
        @param archived: whether it was found in the archive, which the state does not say
        @raise KeyError: if a mandatory key is missing
        """
        extra = state.get(EXTRA_KEY)
        known: Mapping[str, Any] = extra or {}
        new = object.__new__(cls)
        new.queue = queue
        new.id = int(state["id"])
        op_extras = known.get("ops") or ()
        new.ops = [
            _QueuedOpCode.Restore(op, op_extras[index] if index < len(op_extras) else None)
            for index, op in enumerate(state["ops"])
        ]
        new.received_timestamp = restore_timestamp(state.get("received_timestamp"))
        new.start_timestamp = restore_timestamp(state.get("start_timestamp"))
        new.end_timestamp = restore_timestamp(state.get("end_timestamp"))
        new.writable = writable
        new.archived = archived
        for name, default in EXTRA_DEFAULTS.items():
            setattr(new, name, known.get(name, default))
        new.log_serial = max(new.log_serial, *(entry[0] for op in new.ops for entry in op.log), 0)
        if extra is None and new.final:
            new.phase = lifecycle.PHASE_DONE
        return new

    def Serialize(self) -> dict[str, Any]:
        """Gives the stored form: Ganeti's keys at Ganeti's places; ours, where not the default, under `EXTRA_KEY`."""
        extra = {name: value for name, default in EXTRA_DEFAULTS.items() if (value := getattr(self, name)) != default}
        op_extras = [op.serialize_extra() for op in self.ops]
        if any(op_extras):
            extra["ops"] = op_extras
        return {
            "id": self.id,
            "ops": [op.Serialize() for op in self.ops],
            "received_timestamp": serialize_timestamp(self.received_timestamp),
            "start_timestamp": serialize_timestamp(self.start_timestamp),
            "end_timestamp": serialize_timestamp(self.end_timestamp),
            EXTRA_KEY: extra,
        }

    def CalcStatus(self) -> str:
        """Computes the job's status from its opcodes."""
        # Asked many times in the life of each job, and most have one opcode.
        if len(self.ops) == 1:
            return self.ops[0].status
        return status.calc_status([op.status for op in self.ops])

    def CalcPriority(self) -> int:
        """Computes the job's priority from its unfinished opcodes; the lower, the more urgent."""
        if len(self.ops) == 1:
            op = self.ops[0]
            return status.PRIORITY_DEFAULT if op.status in status.FINALIZED else op.priority
        return status.calc_priority([(op.status, op.priority) for op in self.ops])

    def GetLogEntries(self, newer_than: int | None) -> list[LogEntry]:
        """Gives the log entries kept in the job, opcode by opcode.

        @param newer_than: the last serial already known; None gives all
        """
        serial = -1 if newer_than is None else newer_than
        return [entry for op in self.ops for entry in op.log if entry[0] > serial]

    def GetInfo(self, fields: Iterable[str]) -> list[Any]:
        """Gives the values of fields.

        @param fields: names from `jqueue.jobs.fields.FIELDS`
        @raise errors.OpPrereqError: if one is unknown
        """
        return [job_fields.get(name).get(self) for name in fields]

    def MarkUnfinishedOps(self, new_status: str, result: object) -> None:
        """Sets status and result of every opcode that is not final."""
        marked = False
        for op in self.ops:
            if op.status in status.FINALIZED:
                assert not marked, f"job {self.id} has a final opcode behind an unfinished one"
                continue
            op.status = new_status
            op.result = result
            marked = True

    def Finalize(self) -> None:
        """Marks the job as ended now."""
        self.end_timestamp = self._now()
        self.phase = lifecycle.PHASE_DONE
        self.paused = False

    def Cancel(self) -> tuple[bool, str]:
        """Cancels the job if it can still be cancelled.

        A queued job ends at once. A waiting one, and a running one whose opcode can be stopped, become canceling;
        the processor ends them.

        @return: whether the job is or will be canceled, and a sentence saying so
        """
        job_status = self.CalcStatus()
        if job_status == status.QUEUED:
            self.MarkUnfinishedOps(status.CANCELED, CANCELED_TEXT)
            self.Finalize()
            return True, f"Job {self.id} canceled"
        if job_status == status.WAITING:
            self.MarkUnfinishedOps(status.CANCELING, None)
            return True, f"Job {self.id} will be canceled"
        if job_status == status.RUNNING:
            running = next(op for op in self.ops if op.status == status.RUNNING)
            if self._is_stoppable(running):
                running.status = status.CANCELING
                return True, f"Job {self.id} will be canceled"
        return False, f"Job {self.id} is no longer waiting in the queue"

    def _is_stoppable(self, op: _QueuedOpCode) -> bool:
        if self.phase in (lifecycle.PHASE_WAITING, lifecycle.PHASE_PENDING, lifecycle.PHASE_PREPARING):
            # Only the result, not published yet, is thrown away.
            return True
        ask = getattr(self.queue, "is_stoppable", None)
        return self.phase == lifecycle.PHASE_WORK and ask is not None and bool(ask(op.input))

    def ChangePriority(self, priority: int) -> tuple[bool, str]:
        """Changes the priority of every opcode that has neither run nor runs.

        @param priority: any; the callers check what a client may ask for
        @return: whether an opcode was changed, and a sentence saying so
        """
        job_status = self.CalcStatus()
        if job_status in status.FINALIZED:
            return False, f"Job {self.id} is finished"
        if job_status == status.CANCELING:
            return False, f"Job {self.id} is cancelling"
        changed = False
        for op in self.ops:
            if op.status == status.RUNNING or op.status in status.FINALIZED:
                assert not changed, f"job {self.id} has an opcode that runs or has ended behind a pending one"
                continue
            op.priority = priority
            changed = True
        if changed:
            return True, f"Priorities of pending opcodes for job {self.id} have been changed to {priority}"
        return False, f"Job {self.id} had no pending opcodes"
