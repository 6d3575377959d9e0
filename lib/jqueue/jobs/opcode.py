"""One opcode of a job as the queue stores it: its input, where it is, what came out.

The class of the opcode, which knows what the input means, lives in `jqueue.opcodes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

from jqueue.jobs import status

Timestamp: TypeAlias = "tuple[int, int]"
"""Seconds and microseconds since the epoch."""

LogEntry: TypeAlias = "tuple[int, Timestamp, str, Any]"
"""Serial (per job, from 1), time, type, message."""

Outcome: TypeAlias = "list[Any]"
"""What an opcode's code ended with, not published yet: `["success", value]`, `["error", encoded error]`,
`["canceled", text]` or `["retry", encoded error, not before]`; an error that came only when the work was done, from
`prepare`, has `late` behind it."""


class HasDict(Protocol):
    """An opcode object that can give its stored form."""

    def to_dict(self) -> dict[str, Any]:
        """Gives OP_ID and parameters."""


def split_timestamp(seconds: float) -> Timestamp:
    """Turns a clock's seconds into a timestamp.

    @param seconds: since the epoch
    """
    return divmod(round(seconds * 1_000_000), 1_000_000)


def restore_timestamp(value: list[int] | Timestamp | None) -> Timestamp | None:
    """Reads a timestamp of a job file, where it is a list or null."""
    return (value[0], value[1]) if value is not None else None


def serialize_timestamp(value: Timestamp | None) -> list[int] | None:
    """Gives a timestamp the form it has in job files and replies."""
    return list(value) if value is not None else None


class _QueuedOpCode:
    """An opcode of a queued job.

    The objects it refers to are shared between the versions of a job: they are replaced, never changed.
    """

    __slots__ = (
        "input",
        "status",
        "result",
        "log",
        "priority",
        "start_timestamp",
        "exec_timestamp",
        "end_timestamp",
        "outcome",
        "attempt",
        "saved",
        "held",
        "progress",
    )

    def __init__(self, op: Mapping[str, Any] | HasDict) -> None:
        """Makes a queued opcode.

        @param op: OP_ID and the parameters as given, already validated; copied
        """
        self.input: dict[str, Any] = dict(op) if isinstance(op, Mapping) else op.to_dict()
        self.status: str = status.QUEUED
        self.result: Any = None
        self.log: list[LogEntry] = []
        self.priority: int = self.input.get("priority") or status.PRIORITY_DEFAULT
        self.start_timestamp: Timestamp | None = None
        self.exec_timestamp: Timestamp | None = None
        self.end_timestamp: Timestamp | None = None
        self.outcome: Outcome | None = None
        self.attempt: int = 0
        self.saved: dict[str, Any] | None = None
        self.held: dict[str, Any] | None = None
        self.progress: list[int] | None = None
        """How far it had come, done and total, if it has ended without success."""
        """The locks it runs under, by level and name, if only a look at the world could tell them."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.input.get('OP_ID')} status={self.status} at {id(self):#x}>"

    def copy(self) -> _QueuedOpCode:
        """Makes a copy to edit, which shares every value with this one."""
        new = object.__new__(_QueuedOpCode)
        new.input = self.input
        new.status = self.status
        new.result = self.result
        new.log = self.log
        new.priority = self.priority
        new.start_timestamp = self.start_timestamp
        new.exec_timestamp = self.exec_timestamp
        new.end_timestamp = self.end_timestamp
        new.outcome = self.outcome
        new.attempt = self.attempt
        new.saved = self.saved
        new.held = self.held
        new.progress = self.progress
        return new

    def add_log(self, entry: LogEntry) -> None:
        """Adds a log entry; other versions of the job do not see it."""
        self.log = [*self.log, entry]

    @classmethod
    def Restore(cls, state: Mapping[str, Any], extra: Mapping[str, Any] | None = None) -> _QueuedOpCode:
        """Makes an opcode from its stored form, whatever its state.

        @param state: what `Serialize` gave; the timestamps and the priority may be missing
        @param extra: what `serialize_extra` gave
        @raise KeyError: if one of input, status, result, log is missing
        """
        extra = extra or {}
        new = object.__new__(cls)
        new.input = state["input"]
        new.status = state["status"]
        new.result = state["result"]
        new.log = [(entry[0], tuple(entry[1]), *entry[2:]) for entry in state["log"]]
        new.priority = state.get("priority", status.PRIORITY_DEFAULT)
        new.start_timestamp = restore_timestamp(state.get("start_timestamp"))
        new.exec_timestamp = restore_timestamp(state.get("exec_timestamp"))
        new.end_timestamp = restore_timestamp(state.get("end_timestamp"))
        new.outcome = extra.get("outcome")
        new.attempt = extra.get("attempt", 0)
        new.saved = extra.get("saved")
        new.held = extra.get("held")
        new.progress = extra.get("progress")
        return new

    def Serialize(self) -> dict[str, Any]:
        """Gives the stored form: Ganeti's eight keys, ready for JSON."""
        return {
            "input": self.input,
            "status": self.status,
            "result": self.result,
            "log": [[serial, list(when), *rest] for serial, when, *rest in self.log],
            "priority": self.priority,
            "start_timestamp": serialize_timestamp(self.start_timestamp),
            "exec_timestamp": serialize_timestamp(self.exec_timestamp),
            "end_timestamp": serialize_timestamp(self.end_timestamp),
        }

    def serialize_extra(self) -> dict[str, Any]:
        """Gives what Ganeti does not know: outcome, attempt, saved, held and progress, where set."""
        extra: dict[str, Any] = {}
        if self.outcome is not None:
            extra["outcome"] = self.outcome
        if self.attempt:
            extra["attempt"] = self.attempt
        if self.saved is not None:
            extra["saved"] = self.saved
        if self.held is not None:
            extra["held"] = self.held
        if self.progress is not None:
            extra["progress"] = self.progress
        return extra
