"""Going on after damage, on a disk that fails, tears or stops at every single call of it."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from jqueue.errors import JournalDamaged, StateError
from jqueue.store.replay import replay
from jqueue.store.salvage import Survey, behind_damage, set_aside, survey
from jqueue.store.segment import encode_batch, encode_payload, new_header, read_mark, segment_path

from ...crash.faulty import Crash, Fault, FaultyFiles

JOURNAL = Path("/state/journal")
ASIDE = JOURNAL / "damaged-now"
OWN = [b"own"]


def segment(first: int, *batches: list[bytes], spoil: int | None = None) -> tuple[Path, bytes]:
    """A segment, one byte of it changed in batch number `spoil`; -1 is the header."""
    path = segment_path(JOURNAL, first)
    data = bytearray(new_header())
    mark = read_mark(bytes(data), path)
    starts = []
    for records in batches:
        starts.append(len(data))
        data += encode_batch(mark, first, encode_payload(records))
        first += len(records)
    if spoil is not None:
        data[0 if spoil < 0 else starts[spoil] + 10] ^= 1
    return path, bytes(data) + bytes(50)


def in_the_middle() -> list[tuple[Path, bytes]]:
    return [
        segment(1, [b"1"], [b"2"]),
        segment(3, [b"3"], [b"4"], [b"5"], spoil=1),
        segment(6, [b"6"]),
        segment(7, [b"7"]),
    ]


def between() -> list[tuple[Path, bytes]]:
    """Record 3 is missing, and 4 would follow the repair's own record."""
    return [segment(1, [b"1"], [b"2"]), segment(4, [b"4"]), segment(5, [b"5"])]


def header() -> list[tuple[Path, bytes]]:
    return [segment(1, [b"1"]), segment(2, [b"2"], spoil=-1), segment(3, [b"3"])]


def header_at_the_end() -> list[tuple[Path, bytes]]:
    return [segment(1, [b"1"]), segment(2, [b"2"], spoil=-1)]


def first_batch() -> list[tuple[Path, bytes]]:
    return [segment(1, [b"1"], [b"2"], spoil=0)]


CASES = [
    (in_the_middle, 3, [b"5", b"6", b"7"]),
    (between, 2, [b"4", b"5"]),
    (header, 1, [b"2", b"3"]),
    (header_at_the_end, 1, [b"2"]),
    (first_batch, 0, [b"2"]),
]
Make = Callable[[], list[tuple[Path, bytes]]]


def disk(content: list[tuple[Path, bytes]], fault: Fault | None = None) -> FaultyFiles:
    files = FaultyFiles(JOURNAL, ASIDE.parent)
    for path, data in content:
        files.write_file(path, data, sync=True)
    files.fsync_directory(JOURNAL)
    files.calls.clear()
    files.fault = fault
    return files


def records(files: FaultyFiles) -> list[bytes]:
    return [record for _, record in replay(JOURNAL, files, 0)]


def repair(files: FaultyFiles) -> Survey:
    found = survey(JOURNAL, files, 0)
    set_aside(JOURNAL, files, found, ASIDE, OWN)
    return found


def steps(make: Make) -> int:
    files = disk(make())
    repair(files)
    return len(files.calls)


@pytest.mark.parametrize(("make", "kept", "lost"), CASES)
def test_what_is_before_the_damage_stays_and_the_rest_is_set_aside(make: Make, kept: int, lost: list[bytes]) -> None:
    content = make()
    files = disk(content)
    found = survey(JOURNAL, files, 0)
    assert found.damage is not None and found.kept == kept
    assert [record for batch in behind_damage(found, files) for record in batch.records] == lost
    set_aside(JOURNAL, files, found, ASIDE, OWN)
    own = records(files)
    assert own[:kept] == [b"%d" % number for number in range(1, kept + 1)]
    assert own[kept] == OWN[0]
    originals = dict(content)
    moved = {name: files.read_file(ASIDE / name) for name in files.listdir(ASIDE)}
    assert moved and all(originals[JOURNAL / name] == data for name, data in moved.items())
    assert not [name for name in files.listdir(JOURNAL) if name.endswith(".new")]
    assert survey(JOURNAL, files, 0).damage is None


@pytest.mark.parametrize("kind", ["crash", "torn"])
@pytest.mark.parametrize("make", [case[0] for case in CASES])
def test_a_crash_leaves_the_damage_or_the_repair_and_nothing_between(make: Make, kind: str) -> None:
    whole = disk(make())
    repair(whole)
    repaired = records(whole)
    for at in range(steps(make)):
        files = disk(make(), Fault(at, kind))
        with pytest.raises(Crash):
            repair(files)
        for survivor in [files.killed(), *files.survivors()]:
            try:
                assert records(survivor) == repaired
            except JournalDamaged:
                again = ASIDE.with_name("damaged-again")
                found = survey(JOURNAL, survivor, 0)
                set_aside(JOURNAL, survivor, found, again, OWN)
                assert records(survivor)[: found.kept] == repaired[: found.kept]
                assert found.kept >= repaired.index(OWN[0])


@pytest.mark.parametrize("make", [case[0] for case in CASES])
def test_a_disk_that_fails_is_told_and_the_repair_can_be_tried_again(make: Make) -> None:
    for at in range(steps(make)):
        files = disk(make(), Fault(at, errno.ENOSPC))
        with pytest.raises(StateError, match="No space left"):
            repair(files)
        files.fault = None
        again = survey(JOURNAL, files, 0)
        if again.damage is not None:
            set_aside(JOURNAL, files, again, ASIDE.with_name("damaged-again"), OWN)
        assert OWN[0] in records(files)


def test_a_whole_journal_is_surveyed_to_its_end() -> None:
    files = disk([segment(1, [b"1"], [b"2"]), segment(3, [b"3"])])
    found = survey(JOURNAL, files, 1)
    assert (found.kept, found.damage) == (3, None)
