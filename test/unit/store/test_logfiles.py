"""Log files: appending, finding a place by serial, repairing, and the limit."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jqueue.store.archive import archive_job
from jqueue.store.files import Files
from jqueue.store.logfiles import LIMIT_TYPE, READ_LINES, Entry, LogFiles, decode_line, encode_line
from jqueue.store.statedir import StateDirectory


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    directory = StateDirectory(tmp_path / "state")
    directory.prepare(Files())
    return directory


@pytest.fixture
def logs(state: StateDirectory) -> LogFiles:
    return LogFiles(state, Files())


def line(serial: int, message: object = "hello") -> bytes:
    return encode_line(0, serial, (1_700_000_000, 5), "message", message)


def serials(entries: list[Entry]) -> list[int]:
    return [entry[1] for entry in entries]


def test_an_entry_is_one_json_array_a_line(state: StateDirectory, logs: LogFiles) -> None:
    assert logs.append(1, [line(1, "two\nlines"), line(2, {"a": ["Zürich"]})])
    logs.append(1, [line(3)])
    text = state.log_file(1).read_text()
    assert [json.loads(each)[4] for each in text.splitlines()] == ["two\nlines", {"a": ["Zürich"]}, "hello"]
    assert "Zürich" in text
    logs.close()


def test_the_file_is_readable_for_the_group(state: StateDirectory, logs: LogFiles) -> None:
    old = os.umask(0)
    try:
        logs.append(1, [line(1)])
    finally:
        os.umask(old)
    assert state.log_file(1).stat().st_mode & 0o777 == 0o640
    logs.close()


def test_entries_are_read_from_a_serial_on_up_to_the_limit(logs: LogFiles) -> None:
    logs.append(1, [line(serial) for serial in range(1, 21)])
    assert serials(logs.read(1, 0)) == list(range(1, 21))
    assert serials(logs.read(1, 7, 3)) == [8, 9, 10]
    assert logs.read(1, 20) == []
    assert logs.read(1, 7, 0) == []
    assert logs.read(1, 0, 1) == [[0, 1, [1_700_000_000, 5], "message", "hello"]]
    logs.close()


def test_at_most_a_thousand_entries_and_about_a_mebibyte_come_at_once(logs: LogFiles) -> None:
    logs.append(1, [line(serial) for serial in range(1, 1502)])
    assert serials(logs.read(1, 0, 5000)) == list(range(1, READ_LINES + 1))
    logs.append(2, [line(serial, "x" * 65536) for serial in range(1, 100)])
    assert 10 < len(logs.read(2, 0)) < 20
    assert serials(logs.read(2, 98)) == [99]
    logs.close()


@pytest.mark.parametrize("newer_than", [0, 1, 2, 30_000, 59_998, 59_999, 60_000, 70_000])
def test_any_place_of_a_long_log_is_found(logs: LogFiles, newer_than: int) -> None:
    logs.append(1, [line(serial, "x" * (serial % 97)) for serial in range(2, 60_001, 2)])
    expected = [serial for serial in range(2, 60_001, 2) if serial > newer_than][:10]
    assert serials(logs.read(1, newer_than, 10)) == expected
    logs.close()


def test_a_place_late_in_a_log_takes_no_more_reading_than_an_early_one(
    logs: LogFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs.append(1, [line(serial) for serial in range(1, 200_001)])
    real, read = os.pread, []

    def counting(descriptor: int, size: int, offset: int) -> bytes:
        read.append(size)
        return real(descriptor, size, offset)

    monkeypatch.setattr("jqueue.store.logfiles.os.pread", counting)
    assert serials(logs.read(1, 199_000, 10)) == list(range(199_001, 199_011))
    assert sum(read) < 1_500_000
    read.clear()
    assert serials(logs.tail(1, 10)) == list(range(199_991, 200_001))
    assert sum(read) < 100_000
    logs.close()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.sampled_from([0, 1, 50, 40_000, 70_000, 200_000]), max_size=30),
    newer_than=st.integers(0, 35),
    garbage=st.booleans(),
)
def test_lines_of_any_length_are_all_found(tmp_path: Path, lengths: list[int], newer_than: int, garbage: bool) -> None:
    state = StateDirectory(tmp_path)
    lines = [line(serial, "x" * length) for serial, length in enumerate(lengths, 1)]
    if garbage:
        lines[len(lines) // 2 : len(lines) // 2] = [bytes(70_000) + b"\n", b"\n", b"[1,2\n"]
    state.log_file(1).write_bytes(b"".join(lines) + b"[0,99,unfinished")
    logs = LogFiles(state, Files())
    found: list[int] = []
    while entries := logs.read(1, max([newer_than, *found])):
        found += serials(entries)
    assert found == list(range(newer_than + 1, len(lengths) + 1))
    assert serials(logs.tail(1, 5)) == list(range(1, len(lengths) + 1))[-5:]


def test_a_log_that_does_not_exist_is_empty(logs: LogFiles) -> None:
    assert logs.read(9, 0) == []
    assert logs.tail(9, 10) == []
    assert logs.repair(9) == 0


def test_an_archived_log_is_read_as_well(state: StateDirectory, logs: LogFiles) -> None:
    logs.append(1, [line(1), line(2)])
    logs.close(1)
    state.job_file(1).touch()
    archive_job(state, Files(), 1)
    assert serials(logs.read(1, 1)) == [2]
    assert serials(logs.tail(1, 1)) == [2]


@pytest.mark.parametrize("torn", [b"", b"[0,3,[17", b"x" * 200_000])
def test_an_unfinished_line_is_cut_off_and_the_last_serial_told(
    state: StateDirectory, logs: LogFiles, torn: bytes
) -> None:
    whole = line(1) + line(2)
    state.log_file(1).write_bytes(whole + torn)
    assert logs.repair(1) == 2
    assert state.log_file(1).read_bytes() == whole


def test_the_last_serial_is_found_before_lines_that_a_power_loss_damaged(state: StateDirectory, logs: LogFiles) -> None:
    state.log_file(1).write_bytes(line(41) + bytes(2_000_000) + b"\n" + bytes(10) + b"\n")
    assert logs.repair(1) == 41
    assert serials(logs.read(1, 0)) == [41]


def test_a_log_without_a_whole_line_is_emptied(state: StateDirectory, logs: LogFiles) -> None:
    state.log_file(1).write_bytes(b"[0,1")
    assert logs.repair(1) == 0
    assert state.log_file(1).read_bytes() == b""


def test_at_its_limit_a_log_gets_one_last_line_that_says_so(state: StateDirectory) -> None:
    logs = LogFiles(state, Files(), limit=3 * len(line(1)))
    assert logs.append(1, [line(1), line(2)])
    assert not logs.append(1, [line(3), line(4), line(5)])
    assert not logs.append(1, [line(6)])
    logs.close()
    assert not logs.append(1, [line(7)])
    entries = logs.read(1, 0)
    assert serials(entries) == [1, 2, 3, 4]
    assert entries[-1][3] == LIMIT_TYPE
    assert "the log of job 1 has reached its limit" in entries[-1][4]
    logs.close()


class FullDisk(Files):
    def write(self, descriptor: int, data: bytes) -> None:
        super().write(descriptor, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("limit", [1 << 30, 50])
def test_a_write_that_fails_half_way_leaves_no_torn_line(state: StateDirectory, limit: int) -> None:
    state.log_file(1).write_bytes(line(1, ""))
    logs = LogFiles(state, FullDisk(), limit=limit)
    with pytest.raises(OSError):
        logs.append(1, [line(2)])
    with pytest.raises(OSError):
        logs.append(1, [line(2)])
    assert state.log_file(1).read_bytes() == line(1, "")
    logs.close()


def test_the_number_of_open_files_is_bounded(state: StateDirectory) -> None:
    before = len(os.listdir("/proc/self/fd"))
    logs = LogFiles(state, Files(), max_open=3)
    for serial in range(1, 4):
        for job_id in range(10):
            logs.append(job_id, [line(serial)])
    assert len(os.listdir("/proc/self/fd")) - before == 3
    assert all(serials(logs.read(job_id, 0)) == [1, 2, 3] for job_id in range(10))
    logs.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_log_that_an_administrator_removed_starts_again(state: StateDirectory, logs: LogFiles) -> None:
    logs.append(1, [line(1)])
    state.log_file(1).unlink()
    logs.append(1, [line(2)])
    assert serials(logs.read(1, 0)) == [2]
    logs.close()


@pytest.mark.parametrize("text", [b"", b"7", b"[0,1]", b'{"a":1}', b'["0",1,[1,2],"m",""]', b"[" * 100_000])
def test_what_is_not_an_entry_is_not_taken_for_one(text: bytes) -> None:
    assert decode_line(text) is None
