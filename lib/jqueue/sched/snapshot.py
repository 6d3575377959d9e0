"""The queue's state as the chunks of a checkpoint, and back; and the replay of the journal behind it.

Pure: which files the bytes come from is for `jqueue.store`.
A checkpoint is taken in slices while jobs go on, so a chunk may already have what a later record says; records state
facts, so replaying them over it is harmless.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgpack

from jqueue.errors import JournalDamaged
from jqueue.jobs import packing
from jqueue.jobs.job import _QueuedJob
from jqueue.sched.table import FinishedRow, JobHost, JobTable

if TYPE_CHECKING:
    from jqueue.sched.requests import Requests  # with it comes twisted, which a tool that reads has no use for

_CHUNK = 300  # jobs
_CHUNK_SIZE = 256 * 1024  # bytes of packed jobs

Identity = str


@dataclass
class Recovered:
    """What a checkpoint and the journal behind it say."""

    last_id: int = 0
    queued: dict[int, int] = field(default_factory=dict)
    """Jobs that were never looked at, and their priorities."""
    jobs: dict[int, bytes | _QueuedJob] = field(default_factory=dict)
    """Jobs known whole; those of `queued` among them."""
    rows: dict[int, FinishedRow] = field(default_factory=dict)
    """Finished jobs of which only the row is known."""
    touched: set[int] = field(default_factory=set)
    """Jobs that the journal speaks of; their files may be stale."""
    archived: dict[int, bytes | _QueuedJob | None] = field(default_factory=dict)
    """Jobs to be moved to the archive, if that has not been done yet."""
    forgotten: set[int] = field(default_factory=set)
    """Jobs whose files are to be gone."""
    identities: set[Identity] = field(default_factory=set)
    """Dropped files that were submitted, but may still be there."""
    requests: list[list[Any]] = field(default_factory=list)


def chunks(table: JobTable, requests: Requests, identities: Iterable[Identity], last_id: int) -> Iterator[bytes]:
    """Gives the chunks of a checkpoint, each a millisecond or two of work; jobs may change between two of them."""
    yield msgpack.packb(["meta", {"last_id": last_id, "identities": list(identities)}])
    yield from _packed("requests", requests.serialize())
    # A job that is looked at for the first time in between is in both of these; the later one counts.
    yield from _packed("queued", _queued(table))
    yield from _packed("active", _active(table))
    yield from _packed("finished", _finished(table))


def _queued(table: JobTable) -> Iterator[list[Any]]:
    for job_id, job in list(table.unfinished.items()):
        if isinstance(job, bytes):
            yield [job_id, packing.peek(job).priority, job]


def _active(table: JobTable) -> Iterator[list[Any]]:
    for job_id in [job_id for job_id, job in table.unfinished.items() if not isinstance(job, bytes)]:
        job = table.unfinished.get(job_id)
        if isinstance(job, _QueuedJob):
            yield [job_id, packing.pack(job)]


def _finished(table: JobTable) -> Iterator[list[Any]]:
    for job_id in list(table.finished):
        row = table.finished.get(job_id)
        if row is not None:
            yield [job_id, list(row), table.packed_finished(job_id)]


def _packed(kind: str, rows: Iterable[list[Any]]) -> Iterator[bytes]:
    chunk: list[list[Any]] = []
    size = 0
    for row in rows:
        chunk.append(row)
        size += len(row[-1]) if isinstance(row[-1], bytes) else 0
        if len(chunk) >= _CHUNK or size >= _CHUNK_SIZE:
            yield msgpack.packb([kind, chunk])
            chunk, size = [], 0
    if chunk:
        yield msgpack.packb([kind, chunk])


def recover(host: JobHost, checkpoint: Iterable[bytes], records: Iterable[tuple[int, bytes]]) -> Recovered:
    """Reads a checkpoint and the records behind it.

    @param host: the queue of the jobs that have to be unpacked
    @param records: (sequence, record) each, in order
    @raise JournalDamaged: a record or chunk is not one of ours
    """
    state = Recovered()
    for chunk in checkpoint:
        kind, content = _unpacked(chunk, "a chunk of the checkpoint")
        _take_chunk(state, kind, content)
    for sequence, record in records:
        _take_record(state, host, _unpacked(record, f"record {sequence}"), sequence)
    return state


def _unpacked(data: bytes, what: str) -> Any:
    try:
        return msgpack.unpackb(data, use_list=True, strict_map_key=False)
    except Exception as problem:
        raise JournalDamaged(f"{what} of the journal cannot be read: {problem}; `jqueue fsck` shows more") from problem


def _take_chunk(state: Recovered, kind: str, content: Any) -> None:
    match kind:
        case "meta":
            state.last_id = content["last_id"]
            state.identities = set(content["identities"])
        case "queued":
            for job_id, priority, packed in content:
                state.queued[job_id] = priority
                state.jobs[job_id] = packed
        case "requests":
            state.requests.extend(content)
        case "active":
            for job_id, packed in content:
                state.queued.pop(job_id, None)
                state.jobs[job_id] = packed
        case "finished":
            for job_id, row, packed in content:
                if packed is not None:
                    state.jobs[job_id] = packed
                else:
                    state.rows[job_id] = FinishedRow(*row)
        case _:
            raise JournalDamaged(f"The checkpoint has a chunk of the unknown kind {kind!r}; a newer jqueue wrote it")


def _take_record(state: Recovered, host: JobHost, record: list[Any], sequence: int) -> None:
    match record:
        case ["submit", rows, meta]:
            _take_submit(state, rows, meta)
        case ["update", int(job_id), update]:
            _take_update(state, host, job_id, update)
        case ["updates", changes]:
            for job_id, update in changes:
                _take_update(state, host, job_id, update)
        case ["archive", ids]:
            for job_id in ids:
                state.archived[job_id] = _gone(state, job_id)
        case ["forget", ids]:
            for job_id in ids:
                _gone(state, job_id)
                state.forgotten.add(job_id)
        case ["unlinked", identities]:
            state.identities.difference_update(identities)
        case _:
            raise JournalDamaged(f"Record {sequence} of the journal is of an unknown kind; a newer jqueue wrote it")


def _take_submit(state: Recovered, rows: list[list[Any]], meta: dict[str, Any]) -> None:
    for job_id, priority, packed in rows:
        state.queued[job_id] = priority
        state.jobs[job_id] = packed
        state.touched.add(job_id)
        state.last_id = max(state.last_id, job_id)
    state.last_id = max(state.last_id, meta.get("last_id", 0))
    if "request" in meta:
        uid, name, content = meta["request"]
        state.requests.append([uid, name, content, [row[0] for row in rows], None])
    if "incoming" in meta:
        state.identities.add(meta["incoming"])


def _take_update(state: Recovered, host: JobHost, job_id: int, update: Any) -> None:
    job = state.jobs.get(job_id)
    if job is None:
        # It left the queue between this record and the slice of the checkpoint that would have had it.
        return
    if isinstance(job, bytes):
        job = packing.unpack(host, job_id, job)
        state.jobs[job_id] = job
        state.queued.pop(job_id, None)
    packing.apply_update(job, update)
    state.touched.add(job_id)


def _gone(state: Recovered, job_id: int) -> bytes | _QueuedJob | None:
    state.queued.pop(job_id, None)
    state.rows.pop(job_id, None)
    state.touched.discard(job_id)
    return state.jobs.pop(job_id, None)


def fill(table: JobTable, state: Recovered, host: JobHost) -> None:
    """Puts recovered jobs into an empty table."""
    for job_id, row in sorted(state.rows.items()):
        table.add_finished(job_id, row)
    for job_id in sorted(state.jobs):
        job = state.jobs[job_id]
        if job_id in state.queued and isinstance(job, bytes):
            table.add_packed(job_id, job)
        else:
            table.put(packing.unpack(host, job_id, job) if isinstance(job, bytes) else job)
