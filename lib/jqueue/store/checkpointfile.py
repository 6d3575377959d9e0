"""The format of a checkpoint, and how one is read.

A checkpoint is a file `journal/checkpoint-NNN` that stands for all records up to NNN:

    header   magic, version, sequence, CRC-32
    chunk    kind, length, CRC-32 of these and the bytes; bytes
    ...
    trailer  a chunk of its own kind: number of chunks, CRC-32 of all their bytes

Nothing is written here, and twisted is not needed; see `jqueue.store.checkpoint`.
What the chunks mean is not known here.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from jqueue.errors import JournalDamaged, StateError
from jqueue.store.files import Files
from jqueue.store.segment import damaged, list_segments

FORMAT_VERSION = 1

_HEADER = struct.Struct(">8sIQ")
_CHUNK = struct.Struct(">cI")
_TRAILER = struct.Struct(">QI")
_CRC = struct.Struct(">I")
_MAGIC = b"jqueueCP"
_DATA, _END = b"C", b"E"
_NAME = re.compile(r"checkpoint-([0-9]{20})")


def checkpoint_path(directory: Path, sequence: int) -> Path:
    """@return: where the checkpoint lives that stands for the records up to `sequence`"""
    return directory / f"checkpoint-{sequence:020d}"


def list_checkpoints(directory: Path, files: Files) -> list[int]:
    """@return: the sequences of the checkpoints in the directory, newest first"""
    found = (_NAME.fullmatch(name) for name in files.listdir(directory))
    return sorted((int(match[1]) for match in found if match), reverse=True)


def find_latest(
    directory: Path, files: Files, on_damage: Callable[[JournalDamaged], None]
) -> tuple[int, Iterator[bytes]]:
    """Finds the newest checkpoint that is whole and that the journal goes on from.

    @param directory: `StateDirectory.journal`
    @param on_damage: is told of each that is passed over because it is not whole
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
                for _ in read_chunks(path, files, sequence):
                    pass  # all of it is checked before any of it is believed
            except JournalDamaged as error:
                on_damage(error)
                damage = damage or error
            else:
                return sequence, read_chunks(path, files, sequence)
    except OSError as error:
        raise StateError(f"a checkpoint in {directory} cannot be read: {error.strerror}; check the disk") from error
    if damage and not any(segment.first == 1 for segment in segments):
        raise damage
    return 0, iter(())


def encode_header(sequence: int) -> bytes:
    """@return: the first bytes of a checkpoint that stands for the records up to `sequence`"""
    fields = _HEADER.pack(_MAGIC, FORMAT_VERSION, sequence)
    return fields + _CRC.pack(zlib.crc32(fields))


def encode_chunk(chunk: bytes) -> bytes:
    """@return: a chunk as it is on disk"""
    return _encode(_DATA, chunk)


def encode_trailer(count: int, crc: int) -> bytes:
    """@return: the last bytes of a checkpoint of so many chunks, with the CRC-32 of all their bytes"""
    return _encode(_END, _TRAILER.pack(count, crc))


def read_chunks(path: Path, files: Files, sequence: int) -> Iterator[bytes]:
    """Reads the chunks of a checkpoint; that all of it is whole is only known at the end.

    @param sequence: the one in its name
    @raise JournalDamaged: it is not whole
    @raise OSError: it cannot be read
    """
    descriptor = files.open(path, os.O_RDONLY)
    try:
        reader = _Reader(path, files, descriptor)
        if reader.read(_HEADER.size + _CRC.size) != encode_header(sequence):
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


def _encode(kind: bytes, data: bytes) -> bytes:
    fields = _CHUNK.pack(kind, len(data))
    return b"".join((fields, _CRC.pack(zlib.crc32(data, zlib.crc32(fields))), data))


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
