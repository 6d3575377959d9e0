"""Writing one job's file, and a batch of them: readable JSON, in place at once or not at all.

Nothing is synced. When files are written is decided in `jobfiles`, by whom in `jobwriter`; twisted is not needed here.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.packing import unpack
from jqueue.store.files import Files
from jqueue.store.statedir import StateDirectory

Source: TypeAlias = "_QueuedJob | bytes | Callable[[], _QueuedJob]"
"""A published job, its packed form, or a function that gives the job."""

_OPS_AT_ONCE = 100
_DISK_TROUBLE = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS}  # as good as certain for the next file too

_encode = json.JSONEncoder(ensure_ascii=False).encode


@dataclass
class Outcome:
    """What became of a batch."""

    failed: dict[int, Exception]
    settled: int
    """So many from the start of the batch are written, or failed for good reason; the rest must wait."""


def resolve(job_id: int, source: Source) -> _QueuedJob:
    """@return: the job that a source stands for"""
    if isinstance(source, bytes):
        return unpack(None, job_id, source)
    return source if isinstance(source, _QueuedJob) else source()


def encode_state(state: Mapping[str, Any]) -> bytes:
    """@return: a job's serialised state as its file has it: one line of JSON, readable with `cat`"""
    if len(state["ops"]) <= _OPS_AT_ONCE:
        text = _encode(state)
    else:  # opcode by opcode: one call for 100,000 of them would keep the interpreter from every other thread
        parts = [
            f"{_encode(key)}: " + (f"[{', '.join(map(_encode, value))}]" if key == "ops" else _encode(value))
            for key, value in state.items()
        ]
        text = "{" + ", ".join(parts) + "}"
    # Half surrogate pairs have no UTF-8; the escape that Python makes of them is JSON's as well.
    return f"{text}\n".encode("utf-8", "backslashreplace")


def write_batch(state: StateDirectory, files: Files, batch: Sequence[tuple[int, Source]]) -> Outcome:
    """Writes the files of jobs; stops at the first error that says that the disk is in trouble."""
    failed: dict[int, Exception] = {}
    for index, (job_id, source) in enumerate(batch):
        try:
            temporary = state.tmp / f"job-{job_id}"
            files.write_file(temporary, encode_state(resolve(job_id, source).Serialize()), sync=False)
            files.rename(temporary, state.job_file(job_id))
        except Exception as error:
            failed[job_id] = error
            if isinstance(error, OSError) and error.errno in _DISK_TROUBLE:
                return Outcome(failed, settled=index)
    return Outcome(failed, settled=len(batch))
