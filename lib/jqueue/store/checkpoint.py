"""Checkpoints: files `journal/checkpoint-NNN` that stand for all records up to NNN, so that older segments can go.

    header   magic, version, sequence, CRC-32
    chunk    kind, length, CRC-32 of these and the bytes; bytes
    ...
    trailer  a chunk of its own kind: number of chunks, CRC-32 of all their bytes

One is written under `tmp/`, synced, and renamed into place.
What the chunks mean is not known here, nor when to take one.
"""

from __future__ import annotations

import errno
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from jqueue.errors import DiskFull, JournalDamaged, StateError, StoreFailed
from jqueue.store.files import Files
from jqueue.store.segment import damaged, list_segments
from jqueue.store.statedir import StateDirectory
from jqueue.store.thread import FileThread, InlineThread

FORMAT_VERSION = 1

P = ParamSpec("P")
T = TypeVar("T")

_log = Logger()

_HEADER = struct.Struct(">8sIQ")
_CHUNK = struct.Struct(">cI")
_TRAILER = struct.Struct(">QI")
_CRC = struct.Struct(">I")
_MAGIC = b"jqueueCP"
_DATA, _END = b"C", b"E"
_NAME = re.compile(r"checkpoint-([0-9]{20})")


class CheckpointWriter:
    """Writes checkpoints, one at a time; every call runs in the file thread."""

    def __init__(self, state: StateDirectory, files: Files, thread: FileThread | InlineThread) -> None:
        self._directory = state.journal
        self._new = state.tmp / "checkpoint"
        self._files = files
        self._thread = thread
        self._descriptor = -1
        self._sequence = 0
        self._count = 0
        self._crc = 0

    def begin(self, sequence: int) -> Deferred[None]:
        """Begins a checkpoint; one that was not finished is given up.

        @param sequence: of the last record it stands for
        @return: fails, as those of the other calls, with `DiskFull` or `StoreFailed`; then this checkpoint is given up
        """
        return self._thread.call(self._guarded, self._begin, sequence)

    def add(self, chunk: bytes) -> Deferred[None]:
        """Adds a chunk to it; up to a megabyte is a good size."""
        return self._thread.call(self._guarded, self._add, chunk)

    def finish(self) -> Deferred[None]:
        """Syncs it and puts it in its place.

        @return: fires when it is durable
        """
        return self._thread.call(self._guarded, self._finish)

    def abandon(self) -> Deferred[None]:
        """Gives up the one that was begun, if there is one."""
        return self._thread.call(self._guarded, self._abandon)

    def drop_old(self, keep: int = 2) -> Deferred[int]:
        """Removes old checkpoints.

        @param keep: how many of the newest stay
        @return: the sequence of the oldest one that a start may have to fall back to, 0 when it is the empty queue;
            the journal's records behind it must stay
        """
        return self._thread.call(self._guarded, self._drop_old, keep)

    def _guarded(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except OSError as error:
            self._close()
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise StoreFailed(
                    f"a checkpoint of the journal in {self._directory} failed"
                    f" ({error.filename or self._new}: {error.strerror}); check the disk and start the daemon again"
                ) from error
            self._abandon()
            raise DiskFull() from error

    def _begin(self, sequence: int) -> None:
        self._close()
        self._sequence, self._count, self._crc = sequence, 0, 0
        self._descriptor = self._files.open(self._new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        fields = _HEADER.pack(_MAGIC, FORMAT_VERSION, sequence)
        self._files.write(self._descriptor, fields + _CRC.pack(zlib.crc32(fields)))

    def _add(self, chunk: bytes) -> None:
        self._files.write(self._descriptor, _encode(_DATA, chunk))
        self._count += 1
        self._crc = zlib.crc32(chunk, self._crc)

    def _finish(self) -> None:
        self._files.write(self._descriptor, _encode(_END, _TRAILER.pack(self._count, self._crc)))
        self._files.fsync(self._descriptor)
        self._close()
        self._files.rename(self._new, self._directory / f"checkpoint-{self._sequence:020d}")
        self._files.fsync_directory(self._directory)

    def _abandon(self) -> None:
        self._close()
        if self._new.name in self._files.listdir(self._new.parent):
            self._files.unlink(self._new)

    def _close(self) -> None:
        if self._descriptor >= 0:
            self._files.close(self._descriptor)
            self._descriptor = -1

    def _drop_old(self, keep: int) -> int:
        sequences = list_checkpoints(self._directory, self._files)
        for sequence in sequences[keep:]:
            self._files.unlink(checkpoint_path(self._directory, sequence))
        return sequences[keep - 1] if len(sequences) >= keep else 0


def checkpoint_path(directory: Path, sequence: int) -> Path:
    """@return: where the checkpoint lives that stands for the records up to `sequence`"""
    return directory / f"checkpoint-{sequence:020d}"


def list_checkpoints(directory: Path, files: Files) -> list[int]:
    """@return: the sequences of the checkpoints in the directory, newest first"""
    found = (_NAME.fullmatch(name) for name in files.listdir(directory))
    return sorted((int(match[1]) for match in found if match), reverse=True)


def read_latest(directory: Path, files: Files) -> tuple[int, Iterator[bytes]]:
    """Finds the newest checkpoint that is whole and that the journal goes on from.

    @param directory: `StateDirectory.journal`
    @return: the sequence of the last record it stands for, and its chunks; 0 and none when the journal has it all
    @raise JournalDamaged: there is none such, but a damaged one
    @raise StateError: a file cannot be read
    """
    damage: JournalDamaged | None = None
    try:
        segments = list_segments(directory, files)
        for sequence in list_checkpoints(directory, files):
            path = checkpoint_path(directory, sequence)
            if damage and not any(segment.first <= sequence + 1 for segment in segments):
                break
            try:
                for _ in _read_chunks(path, files, sequence):
                    pass  # all of it is checked before any of it is believed
            except JournalDamaged as error:
                _log.warn("{error}", error=error.text)
                damage = damage or error
            else:
                return sequence, _read_chunks(path, files, sequence)
    except OSError as error:
        raise StateError(f"a checkpoint in {directory} cannot be read: {error.strerror}; check the disk") from error
    if damage and not any(segment.first == 1 for segment in segments):
        raise damage
    return 0, iter(())


def _encode(kind: bytes, data: bytes) -> bytes:
    fields = _CHUNK.pack(kind, len(data))
    return b"".join((fields, _CRC.pack(zlib.crc32(data, zlib.crc32(fields))), data))


def _read_chunks(path: Path, files: Files, sequence: int) -> Iterator[bytes]:
    descriptor = files.open(path, os.O_RDONLY)
    try:
        reader = _Reader(path, files, descriptor)
        fields = reader.read(_HEADER.size)
        if reader.read(_CRC.size) != _CRC.pack(zlib.crc32(fields)) or fields != _HEADER.pack(
            _MAGIC, FORMAT_VERSION, sequence
        ):
            raise damaged(path, 0, "the header of the checkpoint is damaged")
        count, total = 0, 0
        while True:
            kind, chunk = reader.read_chunk()
            if kind == _END:
                break
            count, total = count + 1, zlib.crc32(chunk, total)
            yield chunk
        if chunk != _TRAILER.pack(count, total) or files.read(descriptor, 1):
            raise damaged(path, reader.offset, "the end of the checkpoint does not fit what is before it")
    finally:
        files.close(descriptor)


class _Reader:
    """Reads exact numbers of bytes."""

    def __init__(self, path: Path, files: Files, descriptor: int) -> None:
        self.offset = 0
        self._path = path
        self._files = files
        self._descriptor = descriptor

    def read(self, size: int) -> bytes:
        pieces = []
        missing = size
        while missing:
            piece = self._files.read(self._descriptor, min(missing, 1 << 20))
            if not piece:
                raise damaged(self._path, self.offset, "the checkpoint ends too early")
            pieces.append(piece)
            missing -= len(piece)
        self.offset += size
        return b"".join(pieces)

    def read_chunk(self) -> tuple[bytes, bytes]:
        start = self.offset
        fields = self.read(_CHUNK.size)
        crc = self.read(_CRC.size)
        kind, length = _CHUNK.unpack(fields)
        data = self.read(length)
        if crc != _CRC.pack(zlib.crc32(data, zlib.crc32(fields))):
            raise damaged(self._path, start, "a chunk of the checkpoint is damaged")
        return kind, data
