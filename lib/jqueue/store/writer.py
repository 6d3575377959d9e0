"""The journal thread's half of the journal: the open segment, and the files that are prepared for the next ones.

All of it runs in the journal's thread; who waits for what lives in `jqueue.store.journal`, the format in `segment`.

Beside the segments, `journal/` holds `next`, which becomes the next segment, and `reserve`, which becomes one when the
disk is full. Both are real segments already (header, zeros, synced), so that becoming one is a rename.
A file with the suffix `.new` is not finished, and removed at the next start.
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from jqueue.errors import DiskFull, JournalDamaged, StateError, StoreFailed
from jqueue.store.files import Files
from jqueue.store.segment import (
    BATCH_HEADER_SIZE,
    HEADER_SIZE,
    Segment,
    encode_batch,
    encode_payload,
    list_segments,
    new_header,
    read_mark,
    read_segment,
    segment_path,
)

_STEP = 1 << 20
_SMALLEST = 64 << 10
"""Bytes of the least segment that is worth making on a disk that is all but full."""
_OVERSIZE = "oversize"
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Position:
    """Where the journal stands after a call."""

    first: int
    """Sequence of the first record of the open segment."""
    size: int
    """Bytes of it that are in use."""
    prepared: bool
    """The files for the next segment and the reserve are there."""
    seconds: float = 0.0
    """What the write and its sync took."""


class SegmentWriter:
    """Writes batches to the end of the newest segment."""

    def __init__(self, directory: Path, files: Files, segment_size: int, reserve_size: int) -> None:
        """Makes the writer; nothing is touched before `open`.

        @param directory: the directory of the journal
        @param segment_size: bytes of a segment
        @param reserve_size: bytes of the reserve
        """
        self._directory = directory
        self._files = files
        self._sizes = {"next": segment_size, "reserve": reserve_size}
        self._prepared: set[str] = set()
        self._allocation: _Allocation | None = None
        self._descriptor = -1
        self._mark = b""
        self._first = 0
        self._offset = 0
        self._capacity = 0

    def open(self, next_sequence: int) -> tuple[list[tuple[int, int]], Position, bool]:
        """Cuts off a torn tail, makes sure that what is left is on the disk, and starts a segment behind it.

        @param next_sequence: of the next record, as `replay` left it
        @return: the first sequence and size in bytes of each older segment, oldest first; where the journal stands;
            and whether the disk is full
        @raise JournalDamaged: the journal does not end before `next_sequence`
        @raise StateError: the disk is full, and not even a small segment has room
        """
        older = self._adopt(next_sequence)
        for name in self._files.listdir(self._directory):
            path = self._directory / name
            if name.endswith(".new") or name == _OVERSIZE:
                self._files.unlink(path)
            elif name in self._sizes:
                if self._files.stat(path).st_size == self._sizes[name]:
                    self._prepared.add(name)
                else:
                    self._files.unlink(path)
        try:
            self._start(next_sequence, 0, use_reserve=True)
        except StoreFailed as error:
            raise StateError(f"the journal in {self._directory} cannot be opened: {error.text}") from error
        try:
            self._make("reserve")
        except DiskFull:
            return older, self._position(), True
        return older, self._position(), False

    def write(self, sequence: int, records: list[bytes], use_reserve: bool) -> Position:
        """Makes a batch durable.

        @param sequence: of the first record
        @param use_reserve: the records may go into the reserve when the disk is full
        @raise DiskFull: there is no room; nothing was written, and a call with `use_reserve` is in order
        @raise StoreFailed: there is no room, neither in the reserve nor for a small segment
        """
        payload = encode_payload(records)
        size = BATCH_HEADER_SIZE + len(payload)
        if self._offset + size > self._capacity:
            self._start(sequence, size, use_reserve)
        began = time.monotonic()
        try:
            self._files.pwrite(self._descriptor, encode_batch(self._mark, sequence, payload), self._offset)
        except OSError as error:
            if error.errno not in _NO_SPACE:
                raise
            # Some file systems copy on write and have no room even where zeros are; then this segment ends here.
            if use_reserve and self._offset == HEADER_SIZE:
                raise self._out_of_space() from error
            self._files.truncate(self._descriptor, self._offset)
            self._capacity = self._offset
            raise DiskFull() from error
        self._files.fdatasync(self._descriptor)
        self._offset += size
        return self._position(time.monotonic() - began)

    def rotate(self, sequence: int) -> Position:
        """Starts a segment with the record `sequence`, unless the open one starts there.

        @raise DiskFull: there is no room for one; the open one stays
        """
        if sequence != self._first:
            self._start(sequence, 0, use_reserve=False)
        return self._position()

    def allocate_step(self) -> bool:
        """Makes `next` and `reserve`, a piece in each call, so that batches are not held up.

        @return: both are there
        @raise DiskFull: there is no room; nothing is left behind
        """
        missing = [name for name in self._sizes if name not in self._prepared]
        if missing:
            self._step(missing[0])
        return len(self._prepared) == len(self._sizes)

    def drop_before(self, sequence: int) -> None:
        """Removes the segments that hold no record from `sequence` on; one that a crash brings back does no harm."""
        segments = list_segments(self._directory, self._files)
        for segment, following in zip(segments, segments[1:], strict=False):
            if following.first <= sequence and segment.first != self._first:
                self._files.unlink(segment.path)

    def close(self) -> None:
        """Closes the files; writes nothing."""
        if self._allocation is not None:
            self._allocation.close()
            self._allocation = None
        if self._descriptor >= 0:
            self._files.close(self._descriptor)
            self._descriptor = -1

    def _adopt(self, next_sequence: int) -> list[tuple[int, int]]:
        segments = list_segments(self._directory, self._files)
        if not segments:
            return []
        last = segments[-1]
        end, found = HEADER_SIZE, last.first
        for batch in read_segment(last, self._files):
            end, found = batch.end, batch.next_sequence
        if found != next_sequence:
            raise JournalDamaged(
                f"{last.path} ends before record {found}, but the queue was restored up to record {next_sequence};"
                " something else changed the journal meanwhile"
            )
        if found == last.first:
            # Nothing is in it, and on a full disk its space is needed for the one that `open` starts.
            self._files.unlink(segments.pop().path)
        else:
            self._cut(last, end)
        return [(segment.first, self._files.stat(segment.path).st_size) for segment in segments]

    def _cut(self, segment: Segment, end: int) -> None:
        # Synced in any case: after a kill the last batch may be readable and yet not on the disk.
        descriptor = self._files.open(segment.path, os.O_RDWR)
        try:
            self._files.truncate(descriptor, end)
            self._files.fsync(descriptor)
        finally:
            self._files.close(descriptor)

    def _start(self, sequence: int, size: int, use_reserve: bool) -> None:
        source = self._ready_file(HEADER_SIZE + size, use_reserve)
        path = segment_path(self._directory, sequence)
        self._files.rename(source, path)
        self._files.fsync_directory(self._directory)
        self._prepared.discard(source.name)
        if self._descriptor >= 0:
            self._files.close(self._descriptor)
        self._descriptor = self._files.open(path, os.O_RDWR)
        self._mark = read_mark(self._files.pread(self._descriptor, HEADER_SIZE, 0), path)
        self._first = sequence
        self._offset = HEADER_SIZE
        self._capacity = self._files.stat(path).st_size

    def _ready_file(self, size: int, use_reserve: bool) -> Path:
        """@return: a prepared file of at least `size` bytes, under a name it can be renamed from"""
        try:
            if size > self._sizes["next"]:
                return self._make_oversize(size)
            self._make("next")
            return self._directory / "next"
        except DiskFull:
            if not use_reserve:
                raise
        if "reserve" in self._prepared and size <= self._sizes["reserve"]:
            return self._directory / "reserve"
        return self._make_smaller(size)

    def _make_smaller(self, size: int) -> Path:
        """Makes a segment as large as there is room: code that runs can end in it, and a start needs one."""
        least = max(size, min(_SMALLEST, self._sizes["next"] // 16))
        tried = max(self._sizes["next"], least)
        while tried > least:
            tried = max(tried // 2, least)
            with suppress(DiskFull):
                return self._make_oversize(tried)
        raise self._out_of_space()

    def _out_of_space(self) -> StoreFailed:
        return StoreFailed(
            f"the disk that holds {self._directory} is full and there is no reserve left; free some space, for example"
            f" in {self._directory.parent / 'archive'}, where old jobs may be removed, and start the daemon again"
        )

    def _make_oversize(self, size: int) -> Path:
        allocation = _Allocation(self._files, self._directory / _OVERSIZE, size)
        while not allocation.step():
            pass
        return allocation.path

    def _make(self, name: str) -> None:
        while name not in self._prepared:
            self._step(name)

    def _step(self, name: str) -> None:
        """Goes on with the file that is being made, or begins with `name`."""
        allocation = self._allocation or _Allocation(self._files, self._directory / name, self._sizes[name])
        self._allocation = None
        if allocation.step():
            self._prepared.add(allocation.path.name)
        else:
            self._allocation = allocation

    def _position(self, seconds: float = 0.0) -> Position:
        return Position(self._first, self._offset, len(self._prepared) == len(self._sizes), seconds)


class _Allocation:
    """A segment file that is being filled with zeros."""

    def __init__(self, files: Files, path: Path, size: int) -> None:
        self.path = path
        self._files = files
        self._new = path.with_name(path.name + ".new")
        self._size = size
        self._offset = 0
        self._descriptor = -1

    def step(self) -> bool:
        """Writes and syncs the next piece: one sync of all of them would hold up the batches for too long.

        @return: the file is complete, synced and has its name
        @raise DiskFull: there is no room; the space is given back
        """
        try:
            self._write_piece(min(_STEP, self._size - self._offset))
        except OSError as error:
            self.close()
            if error.errno not in _NO_SPACE:
                raise
            with suppress(FileNotFoundError):
                self._files.unlink(self._new)
            raise DiskFull() from error
        if self._offset < self._size:
            return False
        self.close()
        self._files.rename(self._new, self.path)
        return True

    def close(self) -> None:
        """Closes the file."""
        if self._descriptor >= 0:
            self._files.close(self._descriptor)
            self._descriptor = -1

    def _write_piece(self, size: int) -> None:
        if self._descriptor < 0:
            self._descriptor = self._files.open(self._new, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        self._files.allocate(self._descriptor, self._offset, size)
        self._offset += size
        if self._offset == self._size:
            self._files.pwrite(self._descriptor, new_header(), 0)
        self._files.fsync(self._descriptor)
