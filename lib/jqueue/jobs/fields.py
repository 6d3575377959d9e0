"""The fields of a job that can be asked for: Ganeti's, and ours behind them.

What only the running daemon knows is asked of the job's queue, if it has the method for it: `progress(job_id)`,
`lifecycle(job)`, `log_serial(job)`, `summary(input)`, `start_speed(input)`.
Filters over fields live in `jqueue.jobs.filters`.
"""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from jqueue import errors
from jqueue.jobs import lifecycle
from jqueue.jobs.opcode import serialize_timestamp
from jqueue.jobs.status import FINALIZED

if TYPE_CHECKING:
    from jqueue.jobs.job import _QueuedJob

TEXT: Final = "text"
BOOL: Final = "bool"
NUMBER: Final = "number"
OTHER: Final = "other"

_SUMMARY_LENGTH: Final = 60
_DESCRIPTIVE: Final = (
    *("duration", "argv", "target", "source"),
    *("instance_name", "node_name", "group_name", "network_name", "name"),
)
"""The parameters that tell one opcode from another of its kind; the first one there counts."""


@dataclass(frozen=True)
class Field:
    """One field: `kind` is Ganeti's word for how a table shows it, `get` gives its value, ready for JSON."""

    name: str
    title: str
    kind: str
    doc: str
    get: Callable[[_QueuedJob], Any]


def get(name: str) -> Field:
    """Finds a field.

    @param name: its name
    @raise errors.OpPrereqError: if there is none; names one that looks like it
    """
    field = FIELDS.get(name)
    if field is None:
        raise errors.OpPrereqError(unknown(name, FIELDS))
    return field


def unknown(name: object, known: Mapping[str, object]) -> str:
    """Says that a field is unknown, and which one may be meant.

    @param name: what was asked for
    @param known: by name
    """
    shown = f"{name}"[:60]
    near = difflib.get_close_matches(shown, known, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"known fields: {', '.join(sorted(known))}"
    return f"Unknown field '{shown}'; {hint}"


def summary(op: Mapping[str, Any], parameter: str | None = None) -> str:
    """Gives an opcode in one word, like `TEST_DELAY(1.0)` or `RUN_COMMAND(tar -x)`.

    @param op: OP_ID and parameters
    @param parameter: the one that tells it from others of its kind; None takes one that usually does
    """
    name = str(op.get("OP_ID", "INVALID_OP")).removeprefix("OP_")
    chosen = parameter or next((one for one in _DESCRIPTIVE if op.get(one) is not None), "")
    value = op.get(chosen)
    if isinstance(value, (list, tuple)):
        value = shlex.join(map(str, value)) if chosen == "argv" else ",".join(map(str, value))
    if value is None or value == "":
        return name
    text = str(value)
    return f"{name}({text if len(text) <= _SUMMARY_LENGTH else text[: _SUMMARY_LENGTH - 3] + '...'})"


def _summaries(job: _QueuedJob) -> list[str]:
    ask = getattr(job.queue, "summary", summary)
    return [ask(op.input) for op in job.ops]


def _progress(job: _QueuedJob) -> Any:
    ask = getattr(job.queue, "progress", None)
    return None if ask is None else ask(job.id)


def speed(job: _QueuedJob) -> int:
    """The speed limit of a job in bytes a second, 0 for none: what a user has set, else with what its opcode starts."""
    if job.speed is not None:
        return job.speed
    ask: Callable[[Mapping[str, Any]], int] | None = getattr(job.queue, "start_speed", None)
    current = next((op for op in job.ops if op.status not in FINALIZED), job.ops[-1])
    return 0 if ask is None else ask(current.input)


def _lifecycle(job: _QueuedJob) -> str:
    ask: Callable[[_QueuedJob], str] = getattr(job.queue, "lifecycle", lifecycle.lifecycle)
    return ask(job)


def _log_serial(job: _QueuedJob) -> int:
    ask: Callable[[_QueuedJob], int] | None = getattr(job.queue, "log_serial", None)
    return job.log_serial if ask is None else ask(job)


def _logs(job: _QueuedJob) -> list[list[list[Any]]]:
    return [[[serial, list(when), *rest] for serial, when, *rest in op.log] for op in job.ops]


FIELDS: Final[dict[str, Field]] = {
    field.name: field
    for field in (
        Field("id", "ID", NUMBER, "Number of the job", lambda job: job.id),
        Field("status", "Status", TEXT, "Status, computed from the opcodes", lambda job: job.CalcStatus()),
        Field("priority", "Priority", NUMBER, "Priority of the most urgent opcode", lambda job: job.CalcPriority()),
        Field("archived", "Archived", BOOL, "Whether the job is archived", lambda job: job.archived),
        Field("ops", "OpCodes", OTHER, "Opcodes with their parameters", lambda job: [op.input for op in job.ops]),
        Field("opresult", "OpCode_result", OTHER, "Results of the opcodes", lambda job: [op.result for op in job.ops]),
        Field("opstatus", "OpCode_status", OTHER, "Status of each opcode", lambda job: [op.status for op in job.ops]),
        Field("oplog", "OpCode_log", OTHER, "Log of each opcode", _logs),
        Field(
            "opstart",
            "OpCode_start",
            OTHER,
            "When each opcode was first looked at",
            lambda job: [serialize_timestamp(op.start_timestamp) for op in job.ops],
        ),
        Field(
            "opexec",
            "OpCode_exec",
            OTHER,
            "When each opcode had its locks and began to run",
            lambda job: [serialize_timestamp(op.exec_timestamp) for op in job.ops],
        ),
        Field(
            "opend",
            "OpCode_end",
            OTHER,
            "When each opcode ended",
            lambda job: [serialize_timestamp(op.end_timestamp) for op in job.ops],
        ),
        Field(
            "oppriority", "OpCode_prio", OTHER, "Priority of each opcode", lambda job: [op.priority for op in job.ops]
        ),
        Field("summary", "Summary", OTHER, "Each opcode in one word", _summaries),
        Field(
            "received_ts",
            "Received",
            OTHER,
            "When the job was submitted",
            lambda job: serialize_timestamp(job.received_timestamp),
        ),
        Field(
            "start_ts",
            "Start",
            OTHER,
            "When the job was first looked at",
            lambda job: serialize_timestamp(job.start_timestamp),
        ),
        Field("end_ts", "End", OTHER, "When the job ended", lambda job: serialize_timestamp(job.end_timestamp)),
        Field("name", "Name", TEXT, "Name given at submission", lambda job: job.name),
        Field("lifecycle", "Lifecycle", TEXT, "State in QEMU's words", _lifecycle),
        Field("progress", "Progress", OTHER, "Done, total and a text, while the job runs", _progress),
        Field("owner", "Owner", NUMBER, "User id of the submitter", lambda job: job.owner),
        Field("group", "Group", TEXT, "Group of jobs that succeed or fail together", lambda job: job.group),
        Field("members", "Members", OTHER, "First and last id of the jobs of its group", lambda job: job.members),
        Field("parent", "Parent", TEXT, "Opcode that submitted the job, as job.op.n", lambda job: job.parent),
        Field("phase", "Phase", TEXT, "What the queue does with the job next", lambda job: job.phase),
        Field("paused", "Paused", BOOL, "Whether a user has paused the job", lambda job: job.paused),
        Field(
            "speed",
            "Speed",
            NUMBER,
            "Limit in bytes (units of its progress) a second, 0 for none",
            speed,
        ),
        Field(
            "completion",
            "Completion",
            TEXT,
            "What the job was told when it was ready: complete, or leave (a soft cancel)",
            lambda job: job.completion,
        ),
        Field(
            "auto_finalize",
            "AutoFinalize",
            BOOL,
            "Whether the job ends by itself, without a finalize",
            lambda job: job.auto_finalize,
        ),
        Field("auto_dismiss", "AutoDismiss", BOOL, "Whether the job is archived at once", lambda job: job.auto_dismiss),
        Field("log_serial", "LogSerial", NUMBER, "Serial of the last log entry", _log_serial),
    )
}

TIMESTAMPS: Final = frozenset(("received_ts", "start_ts", "end_ts"))
