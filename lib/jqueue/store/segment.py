"""The format of a journal segment, and how one is read.

A segment is a file `journal/NNN.seg`, named by the sequence of its first record and filled with zeros when it is made:

    header   magic, version, mark (8 random bytes), CRC-32 of these
    batch    mark, sequence of its first record, length of the payload, CRC-32 of these and the payload; payload
    batch    ...
    zeros

The payload is a msgpack array of records, each a byte string. A batch begins with its segment's mark, so neither bytes
of an older file nor the content of a job can pass for a batch. Numbers are big-endian.
Nothing is written here; see `jqueue.store.writer`.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgpack

from jqueue.errors import JournalDamaged, StateError
from jqueue.store.files import Files

FORMAT_VERSION = 1

_MAGIC = b"jqueueWA"
_HEADER = struct.Struct(">8sI8s")
_BATCH = struct.Struct(">8sQI")
_CRC = struct.Struct(">I")
_NAME = re.compile(r"([0-9]{20})\.seg")

HEADER_SIZE = _HEADER.size + _CRC.size
BATCH_HEADER_SIZE = _BATCH.size + _CRC.size


@dataclass(frozen=True)
class Segment:
    """A segment file: its path, and the sequence of its first record."""

    path: Path
    first: int


@dataclass(frozen=True)
class Batch:
    """Records that were synced together, and the bytes of the file that hold them."""

    sequence: int
    records: list[bytes]
    offset: int
    end: int

    @property
    def next_sequence(self) -> int:
        return self.sequence + len(self.records)


def segment_path(directory: Path, first: int) -> Path:
    """@return: where the segment lives whose first record has the sequence `first`"""
    return directory / f"{first:020d}.seg"


def list_segments(directory: Path, files: Files) -> list[Segment]:
    """@return: the segments in the directory, oldest first"""
    try:
        names = files.listdir(directory)
    except OSError as error:
        raise StateError(f"the journal's directory {directory} cannot be read: {error.strerror}") from error
    found = (_NAME.fullmatch(name) for name in names)
    return sorted(
        (Segment(directory / match[0], int(match[1])) for match in found if match), key=lambda segment: segment.first
    )


def new_header() -> bytes:
    """@return: the header of a new segment, with a mark of its own"""
    fields = _HEADER.pack(_MAGIC, FORMAT_VERSION, os.urandom(8))
    return fields + _CRC.pack(zlib.crc32(fields))


def read_mark(data: bytes, path: Path) -> bytes:
    """Checks a segment's header.

    @param data: the file's first bytes
    @return: the segment's mark
    @raise JournalDamaged: this is no header
    @raise StateError: the header is one of another version
    """
    fields = data[: _HEADER.size]
    if data[_HEADER.size : HEADER_SIZE] != _CRC.pack(zlib.crc32(fields)) or not fields.startswith(_MAGIC):
        raise damaged(path, 0, "the header of the segment is damaged")
    _, version, mark = _HEADER.unpack(fields)
    if version != FORMAT_VERSION:
        raise StateError(
            f"{path} is in journal format {version}, this jqueue knows format {FORMAT_VERSION} only;"
            " use the jqueue that wrote it"
        )
    return bytes(mark)


def encode_payload(records: Sequence[bytes]) -> bytes:
    """@return: the payload of a batch of these records"""
    return msgpack.packb(records, use_bin_type=True)


def encode_batch(mark: bytes, sequence: int, payload: bytes) -> bytes:
    """@return: a batch as it is on disk"""
    fields = _BATCH.pack(mark, sequence, len(payload))
    return b"".join((fields, _CRC.pack(zlib.crc32(payload, zlib.crc32(fields))), payload))


def read_segment(segment: Segment, files: Files) -> Iterator[Batch]:
    """Reads the batches of a segment up to its end or its torn tail.

    @raise JournalDamaged: a batch is missing or damaged, and a later one in this segment is not
    @raise StateError: the file cannot be read
    """
    path = segment.path
    try:
        data = files.read_file(path)
    except OSError as error:
        raise StateError(f"the journal's segment {path} cannot be read: {error.strerror}; check the disk") from error
    mark = read_mark(data, path)
    offset, expected = HEADER_SIZE, segment.first
    while (batch := _decode(data, mark, offset)) and batch.sequence == expected:
        yield batch
        offset, expected = batch.end, batch.next_sequence
    if later := _find_later(data, mark, offset, expected):
        raise damaged(
            path,
            offset,
            f"the batch of record {expected} is damaged, while a later one, of record {later.sequence}"
            f" at byte {later.offset}, is intact",
        )


def intact_batches(segment: Segment, files: Files, offset: int, expected: int) -> Iterator[Batch]:
    """Finds what can still be read behind damage; not for restoring a queue, because something is missing before it.

    @param offset: byte at which to begin to look
    @param expected: only batches that begin with this record or a later one
    @raise OSError: the file cannot be read
    """
    data = files.read_file(segment.path)
    try:
        mark = read_mark(data, segment.path)
    except StateError:
        mark = data[HEADER_SIZE : HEADER_SIZE + 8]  # the first batch begins with it too, and its CRC covers it
    while len(mark) == 8 and (batch := _find_later(data, mark, offset, expected)):
        yield batch
        offset, expected = batch.end, batch.next_sequence


def damaged(path: Path, offset: int, what: str) -> JournalDamaged:
    """@return: the error for damage at byte `offset` of a file"""
    error = JournalDamaged(
        f"the journal is damaged: {path}, byte {offset}: {what}; nothing was changed."
        f" Restore the file from a backup, or run `jqueue fsck {path.parent.parent}`, which shows what can be saved"
    )
    error.path, error.offset, error.what = str(path), offset, what
    return error


def _decode(data: bytes, mark: bytes, offset: int) -> Batch | None:
    start = offset + BATCH_HEADER_SIZE
    fields = data[offset : offset + _BATCH.size]
    if len(data) < start or not fields.startswith(mark):
        return None
    _, sequence, length = _BATCH.unpack(fields)
    payload = data[start : start + length]
    (crc,) = _CRC.unpack_from(data, offset + _BATCH.size)
    if len(payload) < length or crc != zlib.crc32(payload, zlib.crc32(fields)):
        return None
    return Batch(sequence, msgpack.unpackb(payload), offset, start + length)


def _find_later(data: bytes, mark: bytes, offset: int, expected: int) -> Batch | None:
    while (offset := data.find(mark, offset)) >= 0:
        batch = _decode(data, mark, offset)
        if batch and batch.sequence >= expected:
            return batch
        offset += 1
    return None
