"""Reading jobs without a daemon: straight from the files of a state directory, live and archived, changing nothing.

It reads a queue directory of Ganeti as well, which has the same layout and lacks only our extra key. The files follow
the journal at a distance: what a running daemon says is newer. How jobs are shown does not live here.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from heapq import merge
from pathlib import Path
from typing import Any

from jqueue.errors import StateError
from jqueue.jobs.job import _QueuedJob
from jqueue.store.archive import iter_archived, job_id_of, parse_state
from jqueue.store.files import Files
from jqueue.store.logfiles import Entry, LogFiles
from jqueue.store.statedir import JOBS_PER_ARCHIVE_DIRECTORY, StateDirectory

_CHUNK = 1 << 16


@dataclass(frozen=True)
class Criteria:
    """Which jobs are wanted: those that meet all of these."""

    statuses: Collection[str] = ()
    """one of these; empty for any"""
    opcode: str = ""
    """part of the OP_ID of one of the job's opcodes, in any case"""
    text: str = ""
    """part of the job's name, or of a value in an opcode's parameters, result or log, in any case"""
    min_age: float = 0.0
    """seconds since the job ended, or else started, or else was received: at least"""
    max_age: float | None = None
    """as `min_age`: at most"""

    def may_match(self, data: bytes) -> bool:
        """Looks at the undecoded file, which is much faster than decoding it.

        @return: False if a job with this file cannot match
        """
        if self.statuses and not any(f'"{status}"'.encode() in data for status in self.statuses):
            return False
        return all(_may_contain(data, part) for part in (self.opcode, self.text) if part)

    def match(self, job: _QueuedJob, now: float) -> bool:
        """@param now: the wall time, seconds since the epoch"""
        if self.statuses and job.CalcStatus() not in self.statuses:
            return False
        if self.opcode and not any(self.opcode.upper() in str(op.input.get("OP_ID")).upper() for op in job.ops):
            return False
        if self.min_age > 0 or self.max_age is not None:
            when = job.end_timestamp or job.start_timestamp or job.received_timestamp
            age = now - (when[0] + when[1] / 1_000_000) if when else 0.0
            if age < self.min_age or (self.max_age is not None and age > self.max_age):
                return False
        needle = self.text.lower()
        return not needle or _contains([job.name, [[op.input, op.result, op.log] for op in job.ops]], needle)


EVERYTHING = Criteria()


class OfflineReader:
    """The jobs in a directory."""

    def __init__(self, state_dir: Path, on_warning: Callable[[str], None]) -> None:
        """Opens nothing but the directory itself.

        @param on_warning: is told of each file that cannot be read, by name; reading goes on
        @raise StateError: the directory cannot be read, or is none with jobs
        """
        self._state = StateDirectory(state_dir)
        # As text: joining paths takes longer than reading the files.
        self._live = str(self._state.job_file(0))[:-1]
        self._archive = f"{self._state.archive}/"
        self._warn = on_warning
        try:
            names = os.listdir(state_dir)
        except OSError as error:
            raise StateError(f"cannot read the state directory {state_dir}: {error.strerror}; name another") from error
        if not {"version", "archive", "journal"} & set(names) and all(job_id_of(name) is None for name in names):
            raise StateError(f"{state_dir} is no state directory, there are no jobs in it; name another one")

    def jobs(
        self,
        criteria: Criteria = EVERYTHING,
        *,
        archived: bool = True,
        newest_first: bool = False,
        now: Callable[[], float] = time.time,
    ) -> Iterator[_QueuedJob]:
        """Reads the jobs one after the other, by id.

        @param archived: the archived ones, too
        @param newest_first: descending ids
        @param now: the wall time, seconds since the epoch
        """
        live = [job_id for name in os.listdir(self._state.path) if (job_id := job_id_of(name)) is not None]
        live.sort(reverse=newest_first)
        buried = iter_archived(self._state, newest_first=newest_first) if archived else iter(())
        known = set(live)
        last = None
        for job_id in merge(live, buried, reverse=newest_first):
            if job_id == last:
                continue  # archived while we looked
            last = job_id
            job = self._load(job_id, job_id not in known, criteria)
            if job and criteria.match(job, now()):
                yield job

    def job(self, job_id: int) -> _QueuedJob | None:
        """@return: the job, None if there is none by that id (or if its file is damaged, which is told)"""
        return self._load(job_id, False, EVERYTHING)

    def log(self, job: _QueuedJob, newer_than: int = 0) -> Iterator[Entry]:
        """Reads a job's log, oldest entry first; Ganeti keeps it in the job file.

        @param newer_than: the last serial known already
        """
        for op_index, op in enumerate(job.ops):
            for serial, when, kind, message in op.log:
                if serial > newer_than:
                    yield [op_index, serial, list(when), kind, message]
        logs = LogFiles(self._state, Files())
        try:
            while entries := logs.read(job.id, newer_than):
                yield from entries
                newer_than = entries[-1][1]
        except OSError as error:
            self._warn(f"the log of job {job.id} cannot be read: {error}")

    def _load(self, job_id: int, archived: bool, criteria: Criteria) -> _QueuedJob | None:
        live, buried = f"{self._live}{job_id}", f"{self._archive}{job_id // JOBS_PER_ARCHIVE_DIRECTORY}/job-{job_id}"
        for path in (buried, live) if archived else (live, buried, live):
            try:
                data = _read(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                self._warn(f"{path} cannot be read: {error.strerror}")
                return None
            if criteria.may_match(data):
                return self._restore(data, path, path is buried)
            return None
        return None

    def _restore(self, data: bytes, path: str, archived: bool) -> _QueuedJob | None:
        try:
            return _QueuedJob.Restore(None, parse_state(data, path), writable=False, archived=archived)
        except StateError as error:
            self._warn(str(error))
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            self._warn(f"{path} does not hold a whole job ({type(error).__name__}: {error})")
        return None


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        data = os.read(descriptor, _CHUNK)
        if len(data) == _CHUNK:
            while more := os.read(descriptor, 16 * _CHUNK):
                data += more
        return data
    finally:
        os.close(descriptor)


def _may_contain(data: bytes, part: str) -> bool:
    """@return: False if no string in this JSON can contain the part, in any case"""
    # What JSON may write in another way, or whose case is not a matter of one byte, is left to the decoded values.
    if not part.isascii() or json.dumps(part) != f'"{part}"' or b"\\u00" in data or b"\\/" in data:
        return True
    return part.lower().encode() in data.lower()


def _contains(value: Any, needle: str) -> bool:
    if isinstance(value, str):
        return needle in value.lower()
    if isinstance(value, dict):
        return any(_contains(item, needle) for item in value.values())
    if isinstance(value, (list, tuple)):
        return any(_contains(item, needle) for item in value)
    return isinstance(value, (int, float)) and needle == str(value)
