"""What is left of a damaged journal, and going on from there: the part before the damage stays, the rest is set aside.

Which jobs that concerns is not known here, see `jqueue.client.repair`. The daemon never does this by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jqueue.errors import JournalDamaged, StateError
from jqueue.store.files import Files
from jqueue.store.replay import replay
from jqueue.store.segment import (
    HEADER_SIZE,
    Batch,
    Segment,
    encode_batch,
    encode_payload,
    intact_batches,
    list_segments,
    new_header,
    read_mark,
    read_segment,
    segment_path,
)

_NOTHING = b"\x93\xa6submit\x90\x80"
"""The record of a submission of no jobs."""


@dataclass
class Survey:
    """How far a journal can be read."""

    kept: int
    """Sequence of the last record before the damage; a checkpoint may stand for it."""
    damage: JournalDamaged | None = None
    """What is wrong; None if nothing is, and then the rest of this means nothing."""
    broken: Segment | None = None
    """The segment in which the damage is, unless it lies between two of them."""
    end: int = HEADER_SIZE
    """Bytes of `broken` that are good."""
    later: list[Segment] = field(default_factory=list)
    """The segments behind the damage."""


def survey(directory: Path, files: Files, after_sequence: int) -> Survey:
    """Looks where the damage is that keeps `replay` from reading to the end.

    @param directory: `StateDirectory.journal`
    @param after_sequence: of the last record that the checkpoint stands for, 0 without one
    @raise StateError: a file cannot be read, or is of another version
    """
    found = Survey(after_sequence)
    try:
        for sequence, _ in replay(directory, files, after_sequence):
            found.kept = sequence
        return found
    except JournalDamaged as damage:
        found.damage = damage
    segments = list_segments(directory, files)
    first_needed = max((each.first for each in segments if each.first <= after_sequence + 1), default=0)
    expected = first_needed
    for segment in segments:
        if segment.first < first_needed:
            continue
        if found.broken is not None or segment.first != expected:
            found.later.append(segment)
            continue
        end = HEADER_SIZE
        try:
            for batch in read_segment(segment, files):
                end, expected = batch.end, batch.next_sequence
        except JournalDamaged:
            found.broken, found.end = segment, end
    return found


def behind_damage(found: Survey, files: Files) -> Iterator[Batch]:
    """Gives the batches behind the damage that can be read, in order.

    @raise OSError: a file cannot be read
    """
    if found.broken is not None:
        yield from intact_batches(found.broken, files, found.end, found.kept + 1)
    for segment in found.later:
        yield from intact_batches(segment, files, HEADER_SIZE, found.kept + 1)


def set_aside(
    directory: Path, files: Files, found: Survey, aside: Path, records: Sequence[bytes], others: Iterable[Path] = ()
) -> None:
    """Makes a journal that ends before the damage, and goes on with some records of its own.

    A crash in the middle leaves a journal that is still refused, or one that is repaired; only for who holds the lock.

    @param directory: `StateDirectory.journal`
    @param aside: a directory to make below it, for the files as they were
    @param records: what follows the last record that is kept
    @param others: files elsewhere that go there too
    @raise StateError: it cannot be done; the journal is as damaged as before
    """
    try:
        _set_aside(directory, files, found, aside, list(records), others)
    except OSError as error:
        raise StateError(
            f"the journal in {directory} cannot be repaired: {error.filename or aside}: {error.strerror};"
            " see to it and start again, nothing is lost"
        ) from error


def _set_aside(
    directory: Path, files: Files, found: Survey, aside: Path, records: list[bytes], others: Iterable[Path]
) -> None:
    first = found.kept + 1
    firsts = {segment.first for segment in found.later}
    while not records or first + len(records) in firsts:
        records = [*records, _NOTHING]  # else a segment to be moved would seem to follow, should a crash leave it there
    header = new_header()
    path = segment_path(directory, first)
    batch = encode_batch(read_mark(header, path), first, encode_payload(records))
    made = path.with_name("repaired.new")
    kept = path.with_name("kept.new")
    broken = found.broken
    files.mkdir(aside)
    files.write_file(made, header + batch, sync=True)
    if broken is not None:
        data = files.read_file(broken.path)
        files.write_file(aside / broken.path.name, data, sync=True)
        if found.end > HEADER_SIZE:
            files.write_file(kept, data[: found.end], sync=True)
    files.fsync_directory(aside)
    files.fsync_directory(directory)
    for other in others:
        files.rename(other, aside / other.name)
    later = found.later
    if later and later[0].first == first:  # of a repair that was not finished; the damage before it is still there
        files.rename(path, aside / path.name)
        files.fsync_directory(aside)
        later = later[1:]
    files.rename(made, path)
    files.fsync_directory(directory)
    for segment in reversed(later):
        files.rename(segment.path, aside / segment.path.name)
    if broken is not None and broken.first != first:  # else what was made has its name already
        if found.end > HEADER_SIZE:
            files.rename(kept, broken.path)
        else:
            files.unlink(broken.path)
    files.fsync_directory(aside)
    files.fsync_directory(directory)
