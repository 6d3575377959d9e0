"""Jobs as bytes: whole ones for the journal and for memory, and the difference of two versions for an update record.

The layout is positional and only ever grows at the end: see `doc/design/core.md`. Logs are not packed.
Readable JSON lives in `Serialize` of the job.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any, Final, NamedTuple

import msgpack

from jqueue import errors
from jqueue.jobs import status
from jqueue.jobs.job import EXTRA_DEFAULTS, Queue, _QueuedJob
from jqueue.jobs.opcode import Timestamp, _QueuedOpCode

_MICRO: Final = 1_000_000
_BIG_INT: Final = 1
"""Extension type of an integer too large for msgpack: its decimal digits."""

_STATUS_INDEX: Final = {name: index for index, name in enumerate(status.ALL)}
_EXTRA_DEFAULTS: Final = tuple(EXTRA_DEFAULTS.items())

_OP_DEFAULTS: Final = (None, status.PRIORITY_DEFAULT, 0, None, None, None, None, None, 0, None, None, None)
"""An opcode's packed values where they may be left out, see `_pack_op` for the order."""

# In an update record an attribute is called by its position here. An opcode's are as in a packed one.
_OP_ATTRIBUTES: Final = (
    "input",
    "priority",
    "status",
    "result",
    "start_timestamp",
    "exec_timestamp",
    "end_timestamp",
    "outcome",
    "attempt",
    "saved",
    "held",
    "progress",
)
_JOB_ATTRIBUTES: Final = ("received_timestamp", "start_timestamp", "end_timestamp", *EXTRA_DEFAULTS)
_TIMES: Final = frozenset(
    ("received_timestamp", "start_timestamp", "end_timestamp", "exec_timestamp"),
)
_JOB_EXTRA: Final = tuple(enumerate(_JOB_ATTRIBUTES))[3:]
_extras: Final = attrgetter(*EXTRA_DEFAULTS)


class Peek(NamedTuple):
    """What the queue needs to know of a packed job: enough to rank and to count it."""

    received_timestamp: Timestamp | None
    status: str
    priority: int


def pack(job: _QueuedJob) -> bytes:
    """Packs a job whole, but for its id and log.

    @param job: the job
    @raise errors.OpExecError: if a value in it cannot be stored
    """
    extra = {
        name: value for (name, default), value in zip(_EXTRA_DEFAULTS, _extras(job), strict=True) if value != default
    }
    packed = [
        _micro(job.received_timestamp),
        [_pack_op(op) for op in job.ops],
        extra or None,
        _micro(job.start_timestamp),
        _micro(job.end_timestamp),
    ]
    while packed[-1] is None:
        packed.pop()
    return _dumps(job.id, packed)


def unpack(queue: Queue | None, job_id: int, data: bytes) -> _QueuedJob:
    """Makes a job from its packed form; it is writable and not archived.

    @param queue: the job's queue
    @param job_id: its id, which is not part of the packed form
    @param data: what `pack` gave
    """
    fields = _loads(data)
    received, ops, extra, start, end = fields + [None] * (5 - len(fields))
    job = object.__new__(_QueuedJob)
    job.queue = queue
    job.id = job_id
    job.ops = [_unpack_op(op) for op in ops]
    job.received_timestamp = _timestamp(received)
    job.start_timestamp = _timestamp(start)
    job.end_timestamp = _timestamp(end)
    job.writable = True
    job.archived = False
    for name, default in _EXTRA_DEFAULTS:
        setattr(job, name, default)
    if extra is not None:
        for name, value in extra.items():
            setattr(job, name, value)
    return job


def peek(data: bytes) -> Peek:
    """Tells the main facts of a packed job without making it.

    @param data: what `pack` gave
    """
    received, ops, *_ = _loads(data)
    heads = [(status.ALL[op[2]] if len(op) > 2 else status.QUEUED, op[1] if len(op) > 1 else 0) for op in ops]
    return Peek(_timestamp(received), status.calc_status(head[0] for head in heads), status.calc_priority(heads))


def diff(before: _QueuedJob, after: _QueuedJob) -> bytes:
    """Tells what has changed between two versions of a job, as facts: which attribute has which value now.

    Packed: a list of `code, value` pairs of the job, then for each changed opcode a list of its index and such pairs.
    Values that are replaced, never changed in place, are compared by identity.

    @param before: the version that `after` was copied from
    @param after: the edited copy
    @return: an update for `apply_update`; empty if nothing changed
    @raise errors.OpExecError: if a value cannot be stored
    """
    changes: list[Any] = []
    if after.received_timestamp != before.received_timestamp:
        changes += (0, _micro(after.received_timestamp))
    if after.start_timestamp != before.start_timestamp:
        changes += (1, _micro(after.start_timestamp))
    if after.end_timestamp != before.end_timestamp:
        changes += (2, _micro(after.end_timestamp))
    old, new = _extras(before), _extras(after)
    if new != old:
        for (code, _), was, value in zip(_JOB_EXTRA, old, new, strict=True):
            if value != was:
                changes += (code, value)
    update = [changes]
    for index, op in enumerate(after.ops):
        op_changes = _diff_op(before.ops[index], op)
        if op_changes:
            update.append([index, *op_changes])
    return _dumps(after.id, update) if changes or len(update) > 1 else b""


def apply_update(job: _QueuedJob, update: bytes) -> None:
    """Sets what an update says in a job; doing it again changes nothing.

    @param job: a version that nobody else reads yet
    @param update: what `diff` gave
    """
    if not update:
        return
    changes, *ops = _loads(update)
    for code, value in zip(changes[::2], changes[1::2], strict=True):
        name = _JOB_ATTRIBUTES[code]
        setattr(job, name, _timestamp(value) if name in _TIMES else value)
    for index, *op_changes in ops:
        op = job.ops[index]
        for code, value in zip(op_changes[::2], op_changes[1::2], strict=True):
            name = _OP_ATTRIBUTES[code]
            if code == 2:
                value = status.ALL[value]
            setattr(op, name, _timestamp(value) if name in _TIMES else value)


def _pack_op(op: _QueuedOpCode) -> list[Any]:
    packed = [
        op.input,
        op.priority,
        _STATUS_INDEX[op.status],
        op.result,
        _micro(op.start_timestamp),
        _micro(op.exec_timestamp),
        _micro(op.end_timestamp),
        op.outcome,
        op.attempt,
        op.saved,
        op.held,
        op.progress,
    ]
    # By identity, because a result of False equals 0 but is not the same.
    while len(packed) > 1 and packed[-1] is _OP_DEFAULTS[len(packed) - 1]:
        packed.pop()
    return packed


def _unpack_op(fields: list[Any]) -> _QueuedOpCode:
    op = object.__new__(_QueuedOpCode)
    fields.extend(_OP_DEFAULTS[len(fields) :])
    op.input, op.priority, code, op.result, start, executed, end, *rest = fields
    op.outcome, op.attempt, op.saved, op.held, op.progress = rest
    op.status = status.ALL[code]
    op.log = []
    op.start_timestamp = _timestamp(start)
    op.exec_timestamp = _timestamp(executed)
    op.end_timestamp = _timestamp(end)
    return op


def _diff_op(before: _QueuedOpCode, after: _QueuedOpCode) -> list[Any]:
    changes: list[Any] = []
    if after.input is not before.input:
        changes += (0, after.input)
    if after.priority != before.priority:
        changes += (1, after.priority)
    if after.status != before.status:
        changes += (2, _STATUS_INDEX[after.status])
    if after.result is not before.result:
        changes += (3, after.result)
    if after.start_timestamp != before.start_timestamp:
        changes += (4, _micro(after.start_timestamp))
    if after.exec_timestamp != before.exec_timestamp:
        changes += (5, _micro(after.exec_timestamp))
    if after.end_timestamp != before.end_timestamp:
        changes += (6, _micro(after.end_timestamp))
    if after.outcome is not before.outcome:
        changes += (7, after.outcome)
    if after.attempt != before.attempt:
        changes += (8, after.attempt)
    if after.saved is not before.saved:
        changes += (9, after.saved)
    if after.held is not before.held:
        changes += (10, after.held)
    if after.progress is not before.progress:
        changes += (11, after.progress)
    return changes


def _micro(timestamp: Timestamp | None) -> int | None:
    return None if timestamp is None else timestamp[0] * _MICRO + timestamp[1]


def _timestamp(micro: int | None) -> Timestamp | None:
    return None if micro is None else divmod(micro, _MICRO)


def _default(value: object) -> msgpack.ExtType:
    if isinstance(value, int):
        return msgpack.ExtType(_BIG_INT, b"%d" % value)
    raise TypeError(f"{type(value).__name__} is not plain data")


def _extension(code: int, data: bytes) -> object:
    return int(data) if code == _BIG_INT else msgpack.ExtType(code, data)


def _dumps(job_id: int, value: object) -> bytes:
    try:
        try:
            return msgpack.packb(value, default=_default)
        except UnicodeEncodeError:
            # JSON may carry half a surrogate pair; allowing for it costs everybody else a third of the speed.
            return msgpack.packb(value, default=_default, unicode_errors="surrogatepass")
    except (TypeError, ValueError, OverflowError) as error:
        raise errors.OpExecError(
            f"A value of job {job_id} cannot be stored: {error}; parameters and results must be null, true, false,"
            " numbers, texts, bytes, lists and maps, not nested deeper than some hundred levels"
        ) from error


def _loads(data: bytes) -> Any:
    try:
        return msgpack.unpackb(data, strict_map_key=False, ext_hook=_extension)
    except UnicodeDecodeError:
        return msgpack.unpackb(data, strict_map_key=False, ext_hook=_extension, unicode_errors="surrogatepass")
