from __future__ import annotations

import os
from pathlib import Path

import pytest

from jqueue.client.machine import Machine, Usage

LIMITS = """Limit                     Soft Limit           Hard Limit           Units
Max processes             100                  100                  processes
Max open files            1024                 4096                 files
"""


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc with the process 7, which has three descriptors, two of them inotify's."""
    proc = tmp_path / "proc"
    (proc / "7" / "fd").mkdir(parents=True)
    (proc / "7" / "fdinfo").mkdir()
    (proc / "7" / "limits").write_text(LIMITS)
    for descriptor, target in (("0", "/dev/null"), ("3", "anon_inode:inotify"), ("4", "anon_inode:inotify")):
        (proc / "7" / "fd" / descriptor).symlink_to(target)
    (proc / "7" / "fdinfo" / "3").write_text("pos: 0\ninotify wd:1 ino:5\ninotify wd:2 ino:6\n")
    (proc / "7" / "fdinfo" / "4").write_text("pos: 0\n")
    (proc / "sys" / "fs" / "inotify").mkdir(parents=True)
    (proc / "sys" / "fs" / "inotify" / "max_user_instances").write_text("128\n")
    (proc / "self").mkdir()
    return proc


def test_it_counts_what_a_process_has_open(proc: Path) -> None:
    machine = Machine(proc)
    assert machine.descriptors(7) == Usage(3, 1024)
    assert machine.has_inotify(7) is True
    assert machine.owner(7) == os.getuid()


def test_it_counts_the_inotify_of_a_user(proc: Path) -> None:
    machine = Machine(proc)
    assert machine.inotify_instances(os.getuid()) == Usage(2, 128)
    assert machine.inotify_watches(os.getuid()) == Usage(2, None), "this kernel does not tell the limit"
    assert machine.inotify_instances(os.getuid() + 1) == Usage(0, 128)


def test_what_cannot_be_seen_is_none(proc: Path) -> None:
    machine = Machine(proc)
    assert machine.descriptors(8) == Usage(None, None)
    assert machine.has_inotify(8) is None
    assert machine.owner(8) is None
    assert machine.state_dir(8) is None
    assert machine.descriptors(8).share == 0.0


def test_the_state_directory_is_that_of_the_lock_that_is_open(proc: Path, tmp_path: Path) -> None:
    other, state = tmp_path / "other", tmp_path / "state"
    for number, directory in (("5", other), ("6", state)):
        directory.mkdir()
        (proc / "7" / "fd" / number).symlink_to(directory / "lock")
    (state / "version").touch()
    (state / "journal").mkdir()
    assert Machine(proc).state_dir(7) == state


def test_the_space_is_that_of_the_file_system(tmp_path: Path) -> None:
    space = Machine().space(tmp_path)
    assert 0 <= space.free <= space.total
