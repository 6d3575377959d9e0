"""The logs of jobs: `job-N.log`, a JSON array a line, `[opcode index, serial, [seconds, microseconds], type, message]`.

Lines are appended and not synced; serials ascend, so a place is found by halving the file, and reading costs the same
at line 10 and at line 1,000,000. A line that cannot be read (a power loss can leave zeros) is skipped.
What is kept in memory, who is told of a line and how serials are given out does not live here.
"""

from __future__ import annotations

import json
import os
import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias

from jqueue.store.archive import archived_log_file, open_file
from jqueue.store.files import Files
from jqueue.store.statedir import StateDirectory

Entry: TypeAlias = "list[Any]"
"""`[opcode index, serial, [seconds, microseconds], type, message]`"""

LIMIT_TYPE = "log-limit"
"""The type of the last line of a log that has reached its limit."""

READ_LINES = 1000
READ_BYTES = 1 << 20
_CHUNK = 1 << 16
_MAX_LINE = 1 << 20  # no line of ours is longer; what is, is damage, and must not fill the memory

_ENTRY = re.compile(rb"\[\d+,(\d+),\[")
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def encode_line(op_index: int, serial: int, when: Sequence[int], kind: str, message: object) -> bytes:
    """@return: the entry as a line of a log file"""
    return (_encode([op_index, serial, when, kind, message]) + "\n").encode("utf-8", "backslashreplace")


def decode_line(line: bytes) -> Entry | None:
    """@return: the entry; None if the line is damaged"""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    match value:
        case [int(), int(), [int(), int()], str(), _]:
            return list(value)
        case _:
            return None


@dataclass
class _OpenLog:
    descriptor: int
    full: bool


class LogFiles:
    """The log files of one state directory.

    `append`, `repair` and `close` belong to the file thread, which is the only writer; `read` and `tail` may be called
    from any thread, they open the file for themselves.
    """

    def __init__(self, state: StateDirectory, files: Files, limit: int = 1 << 30, max_open: int = 64) -> None:
        """Opens nothing yet.

        @param limit: bytes of one job's log; a line that does not fit is replaced by one that says so, and is the last
        @param max_open: descriptors kept open between two lines of a job
        """
        self._state = state
        self._files = files
        self._limit = limit
        self._max_open = max_open
        self._open: OrderedDict[int, _OpenLog] = OrderedDict()

    def append(self, job_id: int, lines: Sequence[bytes]) -> bool:
        """Appends lines made by `encode_line`, all or none.

        @return: False if lines were dropped because the log has reached its limit
        @raise OSError: nothing was written
        """
        log = self._opened(job_id)
        if log.full:
            return False
        size = os.fstat(log.descriptor).st_size
        data = b"".join(lines)
        if size + len(data) > self._limit:
            data = self._fitting(job_id, lines, self._limit - size)
            log.full = True
        try:
            self._files.write(log.descriptor, data)
        except OSError:
            log.full = False
            self._files.truncate(log.descriptor, size)
            raise
        return not log.full

    def repair(self, job_id: int) -> int:
        """Cuts off a line that a crash left unfinished; before anything is appended.

        @return: the last serial in the log, 0 without one
        @raise OSError: the file cannot be read or cut
        """
        try:
            descriptor = self._files.open(self._state.log_file(job_id), os.O_RDWR | os.O_NOFOLLOW)
        except FileNotFoundError:
            return 0
        try:
            size = os.fstat(descriptor).st_size
            end = _end_of_last_line(descriptor, size)
            if end < size:
                self._files.truncate(descriptor, end)
            for line in _lines_backwards(descriptor, end):
                if (entry := decode_line(line)) is not None:
                    return int(entry[1])
            return 0
        finally:
            self._files.close(descriptor)

    def close(self, job_id: int | None = None) -> None:
        """Closes the descriptor kept for a job, or all of them; the next line opens it again."""
        for closing in [job_id] if job_id is not None else list(self._open):
            if log := self._open.pop(closing, None):
                self._files.close(log.descriptor)

    def read(self, job_id: int, newer_than: int, limit: int = READ_LINES) -> list[Entry]:
        """Reads the entries that follow a serial, live or archived, oldest first.

        @param newer_than: the last serial known already, 0 for none
        @param limit: at most so many, and at most 1000 and about 1 MiB
        @return: empty only if there is nothing newer
        @raise OSError: the file cannot be read
        """
        entries: list[Entry] = []
        with self._reading(job_id) as (descriptor, size):
            start = _find(descriptor, size, newer_than)
            for offset, line in _lines(descriptor, start, size):
                if len(entries) >= min(limit, READ_LINES) or (entries and offset - start > READ_BYTES):
                    break
                if (_serial(line) or 0) > newer_than and (entry := decode_line(line)) is not None:
                    entries.append(entry)
        return entries

    def tail(self, job_id: int, count: int) -> list[Entry]:
        """Reads the last entries, live or archived, oldest first.

        @param count: so many, but at most 1000
        @raise OSError: the file cannot be read
        """
        with self._reading(job_id) as (descriptor, size):
            decoded = map(decode_line, _lines_backwards(descriptor, size))
            newest = list(islice((entry for entry in decoded if entry is not None), min(count, READ_LINES)))
        return newest[::-1]

    def _opened(self, job_id: int) -> _OpenLog:
        log = self._open.get(job_id)
        if log and os.fstat(log.descriptor).st_nlink == 0:  # an administrator removed the file
            self.close(job_id)
            log = None
        if log is None:
            while len(self._open) >= self._max_open:
                self.close(next(iter(self._open)))
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
            descriptor = self._files.open(self._state.log_file(job_id), flags)
            last = next(_lines_backwards(descriptor, os.fstat(descriptor).st_size), b"")
            entry = decode_line(last)
            log = self._open[job_id] = _OpenLog(descriptor, entry is not None and entry[3] == LIMIT_TYPE)
        self._open.move_to_end(job_id)
        return log

    def _fitting(self, job_id: int, lines: Sequence[bytes], room: int) -> bytes:
        kept = []
        for line in lines:
            room -= len(line)
            if room < 0:
                entry = decode_line(line)
                op_index, serial, when = entry[:3] if entry else (0, _serial(line) or 0, [0, 0])
                text = f"the log of job {job_id} has reached its limit of {self._limit} bytes; later lines are not kept"
                kept.append(encode_line(op_index, serial, when, LIMIT_TYPE, text))
                break
            kept.append(line)
        return b"".join(kept)

    @contextmanager
    def _reading(self, job_id: int) -> Iterator[tuple[int, int]]:
        opened = open_file(self._state.log_file(job_id), archived_log_file(self._state, job_id))
        if opened is None:
            opened = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), False
        try:
            yield opened[0], os.fstat(opened[0]).st_size
        finally:
            os.close(opened[0])


def _serial(line: bytes) -> int | None:
    """Finds the serial without decoding the line; None for a line that is no entry."""
    start = _ENTRY.match(line)
    return int(start[1]) if start and line.endswith(b"]") else None


def _find(descriptor: int, size: int, newer_than: int) -> int:
    """@return: the start of a line before which no serial is newer, at most a chunk before the first one that is"""
    low, high = 0, size
    while newer_than > 0 and high - low > _CHUNK:
        middle = (low + high) // 2
        for start, line in _lines(descriptor, middle, size):
            serial = _serial(line)
            if start >= high or serial is not None:
                break
        else:
            start, serial = high, None
        if start < high and serial is not None and serial <= newer_than:
            low = start
        else:
            high = middle
    return low


def _lines(descriptor: int, offset: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Gives (start, line) of the whole lines that start at `offset` or later and end before `end`."""
    start = offset
    if offset > 0:  # at the newline before, so that a line that starts just here counts
        offset -= 1
        start = -1
    rest = b""
    while offset < end and (chunk := os.pread(descriptor, min(_CHUNK, end - offset), offset)):
        *lines, last = chunk.split(b"\n")
        for line in lines:
            if start >= 0:
                yield start, rest + line
            rest = b""
            offset += len(line) + 1
            start = offset
        rest = rest + last if len(rest) < _MAX_LINE else b"!"
        offset += len(last)


def _lines_backwards(descriptor: int, end: int) -> Iterator[bytes]:
    """Gives the whole lines that end before `end`, the last one first."""
    rest: bytes | None = None
    while end > 0:
        size = min(_CHUNK, end)
        end -= size
        first, *lines = os.pread(descriptor, size, end).split(b"\n")
        if not lines:
            rest = None if rest is None else first + rest if len(rest) < _MAX_LINE else b"!"
            continue
        if rest is not None:
            yield lines[-1] + rest
        yield from reversed(lines[:-1])
        rest = first
    if rest is not None:
        yield rest


def _end_of_last_line(descriptor: int, size: int) -> int:
    end = size
    while end > 0:
        start = max(0, end - _CHUNK)
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0
