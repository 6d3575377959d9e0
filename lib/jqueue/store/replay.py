"""Reading the journal back: at the start of the daemon, and by tools, beside it or without one.

Nothing is changed here, and twisted is not needed. Appending lives in `jqueue.store.journal`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from jqueue.store.files import Files
from jqueue.store.segment import HEADER_SIZE, damaged, list_segments, read_segment


def replay(directory: Path, files: Files, after_sequence: int) -> Iterator[tuple[int, bytes]]:
    """Reads the records behind a checkpoint. It changes nothing, and may run beside a daemon or without one.

    @param directory: `StateDirectory.journal`
    @param after_sequence: that of the last record in the checkpoint, 0 without one
    @return: sequence and content of each record, without gaps, up to the end or the torn tail
    @raise JournalDamaged: records that later ones follow are missing or damaged
    @raise StateError: a file cannot be read
    """
    segments = list_segments(directory, files)
    first_needed = max((segment.first for segment in segments if segment.first <= after_sequence + 1), default=None)
    if first_needed is None:
        if segments or after_sequence:
            raise damaged(
                segments[0].path if segments else directory / "*.seg",
                0,
                f"record {after_sequence + 1} and the ones behind it are missing, a segment before this one is gone",
            )
        return
    previous, end, expected = segments[0].path, 0, first_needed
    for segment in segments:
        if segment.first < first_needed:
            continue
        if segment.first != expected:
            what = f"record {expected} is missing or damaged, while the next segment begins with record {segment.first}"
            raise damaged(previous, end, what)
        previous, end = segment.path, HEADER_SIZE
        for batch in read_segment(segment, files):
            end, expected = batch.end, batch.next_sequence
            for sequence, record in enumerate(batch.records, batch.sequence):
                if sequence > after_sequence:
                    yield sequence, record
    if expected <= after_sequence:
        raise damaged(
            previous, end, f"records {expected} to {after_sequence}, which a checkpoint has seen, are missing"
        )
