"""A state directory made by hand: a journal of the records given, and the files of its jobs."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgpack

from jqueue.jobs import packing
from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.status import QUEUED, RUNNING, SUCCESS
from jqueue.store.checkpointfile import checkpoint_path, encode_chunk, encode_header, encode_trailer
from jqueue.store.files import Files
from jqueue.store.jobfile import encode_state
from jqueue.store.segment import encode_batch, encode_payload, new_header, read_mark, segment_path
from jqueue.store.statedir import StateDirectory


def make_job(job_id: int, status: str = QUEUED) -> _QueuedJob:
    job = _QueuedJob(None, job_id, [{"OP_ID": "OP_TEST_DUMMY"}])
    job.ops[0].status = status
    if status == SUCCESS:
        job.end_timestamp = job.ops[0].end_timestamp = (1_700_000_000, 0)
    return job


def submitted(*job_ids: int) -> bytes:
    rows = [[job_id, 0, packing.pack(make_job(job_id))] for job_id in job_ids]
    return bytes(msgpack.packb(["submit", rows, {}]))


def became(job_id: int, status: str, before: str = QUEUED) -> bytes:
    old = make_job(job_id, before)
    new = old.copy()
    new.ops[0].status = status
    return bytes(msgpack.packb(["update", job_id, packing.diff(old, new)]))


def archived(*job_ids: int) -> bytes:
    return bytes(msgpack.packb(["archive", list(job_ids)]))


class QueueDirectory:
    """The directory; what is not said otherwise is as a daemon leaves it."""

    def __init__(self, path: Path) -> None:
        self.state = StateDirectory(path)
        self.state.prepare(Files())
        self.offsets: list[int] = []

    def segment(self, first: int, *batches: list[bytes], zeros: int = 200) -> Path:
        """Writes a segment, and notes in `offsets` where each of its batches begins, and where the last one ends."""
        path = segment_path(self.state.journal, first)
        data = new_header()
        mark = read_mark(data, path)
        self.offsets = []
        for records in batches:
            self.offsets.append(len(data))
            data += encode_batch(mark, first, encode_payload(records))
            first += len(records)
        self.offsets.append(len(data))
        path.write_bytes(data + bytes(zeros))
        return path

    def job_files(self, jobs: Iterable[_QueuedJob], archive: bool = False) -> None:
        """Writes the files of jobs, live or archived."""
        for job in jobs:
            path = self.state.job_file(job.id)
            if archive:
                self.state.archive_directory(job.id).mkdir(exist_ok=True)
                path = self.state.archive_directory(job.id) / path.name
            path.write_bytes(encode_state(job.Serialize()))

    def checkpoint(self, sequence: int, *chunks: list[Any], last_id: int) -> Path:
        """Writes a checkpoint of these chunks and one with the last id."""
        path = checkpoint_path(self.state.journal, sequence)
        packed = [
            msgpack.packb(chunk)
            for chunk in (["meta", {"last_id": last_id, "requests": [], "identities": []}], *chunks)
        ]
        body = b"".join(map(encode_chunk, packed))
        trailer = encode_trailer(len(packed), zlib.crc32(b"".join(packed)))
        path.write_bytes(encode_header(sequence) + body + trailer)
        return path


def flip(path: Path, offset: int) -> None:
    """Changes one byte."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def healthy(path: Path) -> QueueDirectory:
    """A queue in which job 1 is done, 2 runs, and 3 is queued."""
    made = QueueDirectory(path)
    made.segment(
        1, [submitted(1), submitted(2)], [became(1, RUNNING), became(1, SUCCESS, RUNNING)], [became(2, RUNNING)],
        [submitted(3)],
    )  # fmt: skip
    made.job_files([make_job(1, SUCCESS), make_job(2, RUNNING), make_job(3)])
    return made


def snapshot_of(path: Path) -> dict[str, Any]:
    """Everything below a directory, for telling whether something was changed."""
    return {str(each): each.read_bytes() if each.is_file() else None for each in sorted(path.rglob("*"))}
