from __future__ import annotations

import os
import stat
from typing import Any

import pytest

from jqueue.opcodes.treediff import (
    Entry,
    Rules,
    What,
    differences,
    is_temporary,
    subdirectories,
    temporary_prefix,
)

PREFIX = temporary_prefix(7, 1)


def entry(kind: int, mode: int = 0o644, size: int = 3, mtime: int = 1, owner: int = 5, link: str = "") -> Entry:
    times = {"st_mtime_ns": mtime, "st_atime_ns": 0, "st_ctime_ns": 0}
    return Entry(os.stat_result((kind | mode, 0, 0, 1, owner, owner, size, 0, 0, 0), times), link)


def file(**changes: Any) -> Entry:
    return entry(stat.S_IFREG, **changes)


def directory(**changes: Any) -> Entry:
    return entry(stat.S_IFDIR, **changes)


def link(text: str = "text", **changes: Any) -> Entry:
    return entry(stat.S_IFLNK, mode=0o777, link=text, **changes)


def rules(delete: bool = True, owners: bool = True, time_step: int = 1) -> Rules:
    return Rules(PREFIX, delete, owners, time_step)


def what(source: Entry | None, target: Entry | None, by: Rules) -> list[What]:
    steps = differences({"n": source} if source else {}, {"n": target} if target else {}, by)
    return [step.what for step in steps]


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        (file(), file(), []),
        (file(), None, [What.COPY]),
        (file(size=4), file(), [What.COPY]),
        (file(mtime=2), file(), [What.COPY]),
        (file(mode=0o600), file(), [What.ATTRIBUTES]),
        (file(mode=0o4644), file(), [What.ATTRIBUTES]),
        (file(owner=6), file(), [What.ATTRIBUTES]),
        (file(), directory(), [What.COPY]),
        (file(), link(), [What.COPY]),
        (link(), link(), []),
        (link(), None, [What.LINK]),
        (link("other"), link(), [What.LINK]),
        (link(mtime=2), link(), [What.ATTRIBUTES]),
        (link(owner=6), link(), [What.ATTRIBUTES]),
        (link(), file(), [What.LINK]),
        (link(), directory(), [What.LINK]),
        (directory(), None, [What.DIRECTORY]),
        (directory(), file(), [What.DIRECTORY]),
        (directory(), link(), [What.DIRECTORY]),
        (directory(mode=0o700, mtime=2, owner=6), directory(), []),
        (None, file(), [What.REMOVE]),
        (None, directory(), [What.REMOVE]),
        (None, entry(stat.S_IFIFO), [What.REMOVE]),
        (entry(stat.S_IFIFO), None, [What.SKIP]),
        (entry(stat.S_IFSOCK), None, [What.SKIP]),
        (entry(stat.S_IFBLK), None, [What.SKIP]),
        (entry(stat.S_IFCHR), file(), [What.REMOVE, What.SKIP]),
    ],
)
def test_what_differs_is_what_has_to_be_done(source: Entry | None, target: Entry | None, expected: list[What]) -> None:
    assert what(source, target, rules()) == expected


def test_without_the_rights_of_root_owners_and_set_id_bits_do_not_count() -> None:
    by = rules(owners=False)
    assert what(file(owner=6, mode=0o6755), file(mode=0o755), by) == []
    assert what(file(mode=0o755), file(mode=0o4755), by) == [What.ATTRIBUTES]
    assert by.mode(directory(mode=0o3755).state) == 0o1755
    assert rules().mode(directory(mode=0o3755).state) == 0o3755


def test_nothing_is_removed_without_delete_but_the_temporary_files_of_the_same_opcode() -> None:
    target = {"n": file(), f"{PREFIX}0a.part": file(), f"{temporary_prefix(8, 1)}0a.part": file()}
    assert [step.name for step in differences({}, target, rules(delete=False))] == [f"{PREFIX}0a.part"]
    assert [step.name for step in differences({}, target, rules())] == sorted(target)


def test_temporary_files_of_other_mirrors_are_no_part_of_the_source() -> None:
    name = f"{temporary_prefix(8, 1)}0a.part"
    assert list(differences({name: file()}, {}, rules())) == []
    assert [step.what for step in differences({name: file()}, {name: file()}, rules())] == [What.REMOVE]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (".jqueue-mirror-7.1-0a1b2c3d.part", True),
        (".jqueue-mirror-7.1-switch.part", True),
        (".jqueue-mirror-7.1-.part", False),
        (".jqueue-mirror-7.1-0a.part.gz", False),
        (".jqueue-mirror-x.1-0a.part", False),
        (".jqueue-1.0-0a.part", False),
    ],
)
def test_temporary_files_are_known_by_their_names(name: str, expected: bool) -> None:
    assert is_temporary(name) is expected


def test_removals_come_first_and_all_is_in_order() -> None:
    steps = differences({"b": file(), "a": file(), "d": file()}, {"z": file(), "c": file(), "d": file()}, rules())
    assert [(step.what, step.name) for step in steps] == [
        (What.REMOVE, "c"),
        (What.REMOVE, "z"),
        (What.COPY, "a"),
        (What.COPY, "b"),
    ]


@pytest.mark.parametrize(
    ("wanted", "kept", "step"),
    [
        (1_234_567_891, 1_234_567_891, 1),
        (1_234_567_891, 1_234_567_800, 100),
        (1_234_567_891, 1_234_567_000, 1_000),
        (1_234_567_891, 1_234_000_000, 1_000_000),
        (1_234_567_891, 1_000_000_000, 1_000_000_000),
        (1_234_567_891, 0, 2_000_000_000),
        (9_234_567_891, 0, 1),
    ],
)
def test_times_that_the_target_cannot_tell_apart_become_the_same(wanted: int, kept: int, step: int) -> None:
    by = rules()
    by.learn_time(wanted, kept)
    assert by.time_step == step
    assert by.same_time(wanted, kept) is (step > abs(wanted - kept))
    by.learn_time(5, 5)
    assert by.time_step == step


def test_subdirectories_are_the_directories_in_order() -> None:
    assert subdirectories({"b": directory(), "c": link(), "a": directory(), "d": file()}) == ["a", "b"]
