from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path

import pytest

from jqueue.errors import JournalDamaged, StateError
from jqueue.store.files import Files
from jqueue.store.replay import replay
from jqueue.store.segment import (
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

BATCHES = [[b"one", b"two"], [b"three"], [b"four", b"five"]]
RECORDS = [(1, b"one"), (2, b"two"), (3, b"three"), (4, b"four"), (5, b"five")]


def segment_bytes(first: int, batches: list[list[bytes]], zeros: int = 100) -> bytes:
    data = new_header()
    mark = read_mark(data, Path("new"))
    for records in batches:
        data += encode_batch(mark, first, encode_payload(records))
        first += len(records)
    return data + bytes(zeros)


def write(directory: Path, first: int, data: bytes) -> Path:
    path = segment_path(directory, first)
    path.write_bytes(data)
    return path


def read(directory: Path, after: int = 0) -> list[tuple[int, bytes]]:
    return list(replay(directory, Files(), after))


def offsets(path: Path) -> list[int]:
    """@return: where each batch begins, and where the last one ends"""
    batches = list(read_segment(Segment(path, 1), Files()))
    return [batch.offset for batch in batches] + [batches[-1].end]


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, 1, segment_bytes(1, BATCHES))
    batches = list(read_segment(Segment(path, 1), Files()))
    assert [batch.records for batch in batches] == BATCHES
    assert [batch.sequence for batch in batches] == [1, 3, 4]
    assert batches[0].offset == HEADER_SIZE
    assert [batch.end for batch in batches[:-1]] == [batch.offset for batch in batches[1:]]
    assert read(tmp_path) == RECORDS
    assert read(tmp_path, after=3) == RECORDS[3:]
    assert read(tmp_path, after=5) == []


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_a_flipped_byte_is_refused_in_the_middle_and_cut_off_at_the_end(tmp_path: Path, flip: int) -> None:
    whole = segment_bytes(1, BATCHES)
    path = write(tmp_path, 1, whole)
    starts = offsets(path)
    for position in range(len(whole)):
        data = bytearray(whole)
        data[position] ^= flip
        path.write_bytes(data)
        if position < starts[2]:
            start = max([0, *(start for start in starts if start <= position)])
            with pytest.raises(JournalDamaged, match=rf"{re.escape(str(path))}, byte {start}: .*jqueue fsck"):
                read(tmp_path)
        else:
            assert read(tmp_path) == (RECORDS[:3] if position < starts[3] else RECORDS)


def test_a_segment_cut_at_any_byte_keeps_the_whole_batches_before(tmp_path: Path) -> None:
    whole = segment_bytes(1, BATCHES)
    path = write(tmp_path, 1, whole)
    starts = offsets(path)
    for size in range(HEADER_SIZE, len(whole)):
        path.write_bytes(whole[:size])
        complete = sum(end <= size for end in starts[1:])
        assert read(tmp_path) == RECORDS[: [0, 2, 3, 5][complete]]


def test_a_segment_without_its_header_is_refused(tmp_path: Path) -> None:
    for data in (b"", bytes(500), segment_bytes(1, BATCHES)[: HEADER_SIZE - 1]):
        write(tmp_path, 1, data)
        with pytest.raises(JournalDamaged, match="byte 0: the header"):
            read(tmp_path)


def test_damage_before_the_next_segment_is_refused(tmp_path: Path) -> None:
    whole = segment_bytes(1, BATCHES)
    path = write(tmp_path, 1, whole)
    write(tmp_path, 6, segment_bytes(6, [[b"six"]]))
    assert read(tmp_path) == [*RECORDS, (6, b"six")]
    last = offsets(path)[2]
    for data in (whole[:last], whole[: last + 30], whole[:last] + bytes(200)):
        path.write_bytes(data)
        with pytest.raises(
            JournalDamaged, match=rf"{re.escape(str(path))}, byte {last}: record 4 .*begins with record 6"
        ):
            read(tmp_path)


def test_a_zeroed_page_in_the_middle_is_damage(tmp_path: Path) -> None:
    whole = segment_bytes(1, BATCHES)
    path = write(tmp_path, 1, whole)
    first, second, third, _ = offsets(path)
    path.write_bytes(whole[:second] + bytes(third - second) + whole[third:])
    with pytest.raises(JournalDamaged, match=f"byte {second}: the batch of record 3 .* record 4 at byte {third}"):
        read(tmp_path)


def test_a_missing_segment_is_refused(tmp_path: Path) -> None:
    for first in (1, 6, 11):
        write(tmp_path, first, segment_bytes(first, BATCHES))
    assert [sequence for sequence, _ in read(tmp_path)] == list(range(1, 16))
    segment_path(tmp_path, 6).unlink()
    with pytest.raises(JournalDamaged, match="record 6 is missing"):
        read(tmp_path)
    assert [sequence for sequence, _ in read(tmp_path, after=10)] == list(range(11, 16))
    segment_path(tmp_path, 1).unlink()
    with pytest.raises(JournalDamaged, match="record 1 and the ones behind it are missing"):
        read(tmp_path)


def test_a_journal_that_ends_before_its_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JournalDamaged, match="record 8 "):
        read(tmp_path, after=7)
    write(tmp_path, 1, segment_bytes(1, BATCHES))
    with pytest.raises(JournalDamaged, match="records 6 to 7"):
        read(tmp_path, after=7)


def test_an_empty_directory_is_an_empty_journal(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-00000000000000000001").write_text("")
    (tmp_path / "next").write_text("")
    assert list_segments(tmp_path, Files()) == []
    assert read(tmp_path) == []


def test_bytes_of_another_segment_and_job_content_do_not_pass_for_batches(tmp_path: Path) -> None:
    stale = segment_bytes(1, [[b"x"], [b"y"], [b"z"]])[HEADER_SIZE:]
    write(tmp_path, 1, segment_bytes(1, [[b"one"]], zeros=0) + b"torn" + stale)
    assert read(tmp_path) == [(1, b"one")]
    write(tmp_path, 1, segment_bytes(1, [[b"one"], [stale]])[:-101])
    assert read(tmp_path) == [(1, b"one")]


def test_a_later_format_is_refused_by_name(tmp_path: Path) -> None:
    fields = struct.pack(">8sI8s", b"jqueueWA", 2, b"12345678")
    write(tmp_path, 1, fields + struct.pack(">I", zlib.crc32(fields)))
    with pytest.raises(StateError, match="journal format 2"):
        read(tmp_path)


def test_a_segment_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    segment_path(tmp_path, 1).mkdir()
    with pytest.raises(StateError, match=r"0001\.seg cannot be read: Is a directory"):
        read(tmp_path)
    with pytest.raises(StateError, match="missing cannot be read"):
        read(tmp_path / "missing")
