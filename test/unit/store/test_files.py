from __future__ import annotations

import os
from pathlib import Path

import pytest

from jqueue.store.files import Files


def test_a_file_is_written_whole_and_read_back(tmp_path: Path) -> None:
    data = os.urandom(3_000_001)
    Files().write_file(tmp_path / "f", data, sync=True)
    assert Files().read_file(tmp_path / "f") == data
    Files().write_file(tmp_path / "f", b"short", sync=False)
    assert (tmp_path / "f").read_bytes() == b"short"


def test_writes_go_to_their_place(tmp_path: Path) -> None:
    files = Files()
    descriptor = files.open(tmp_path / "f", os.O_RDWR | os.O_CREAT)
    files.pwrite(descriptor, b"abc", 5)
    files.write(descriptor, b"12")
    files.truncate(descriptor, 7)
    files.fdatasync(descriptor)
    assert files.pread(descriptor, 10, 1) == b"2\0\0\0ab"
    files.close(descriptor)


def test_allocated_space_is_really_there_and_zero(tmp_path: Path) -> None:
    files = Files()
    descriptor = files.open(tmp_path / "f", os.O_RDWR | os.O_CREAT)
    files.allocate(descriptor, 100, 2_500_000)
    files.fsync(descriptor)
    files.close(descriptor)
    attributes = files.stat(tmp_path / "f")
    assert attributes.st_size == 2_500_100
    assert attributes.st_blocks * 512 >= 2_500_000
    assert not (tmp_path / "f").read_bytes().strip(b"\0")


def test_descriptors_are_not_inherited(tmp_path: Path) -> None:
    descriptor = Files().open(tmp_path / "f", os.O_RDWR | os.O_CREAT)
    assert not os.get_inheritable(descriptor)
    Files().close(descriptor)


def test_directories_and_file_systems_are_synced(tmp_path: Path) -> None:
    files = Files()
    files.mkdir(tmp_path / "d")
    files.write_file(tmp_path / "d" / "f", b"x", sync=False)
    files.rename(tmp_path / "d" / "f", tmp_path / "d" / "g")
    files.fsync_directory(tmp_path / "d")
    files.syncfs(tmp_path)
    assert files.listdir(tmp_path / "d") == ["g"]
    files.unlink(tmp_path / "d" / "g")
    assert files.listdir(tmp_path / "d") == []
    for call in (files.fsync_directory, files.syncfs):
        with pytest.raises(FileNotFoundError):
            call(tmp_path / "missing")
