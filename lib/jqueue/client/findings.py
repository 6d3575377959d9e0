"""What a check has found, line by line, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from jqueue.errors import JournalDamaged

OK = "ok"
NEXT_START = "next start"
"""Left by a crash or a stop; the next start of the daemon sees to it."""
DAMAGED = "damaged"

_SHOWN = 20


class Finding(NamedTuple):
    """One line of a report."""

    level: str
    """`ok`, `next start` or `damaged`."""
    part: str
    """Which part of the directory, in one word."""
    text: str
    path: str | None = None
    """The one file it is about."""
    offset: int | None = None
    """The byte of that file."""


def from_error(part: str, error: Exception, text: str = "") -> Finding:
    """Makes a finding of an error that reading ended with.

    @param text: what to say besides
    """
    if isinstance(error, JournalDamaged) and error.what is not None:
        return Finding(
            DAMAGED, part, f"{error.path}, byte {error.offset}: {error.what}{text}", error.path, error.offset
        )
    return Finding(DAMAGED, part, f"{error}{text}")


def id_ranges(ids: Iterable[int]) -> str:
    """Gives ids in the form in which every verb takes them: `3,5-7`; of very many the first ones."""
    ranges: list[list[int]] = []
    for job_id in sorted(ids):
        if ranges and ranges[-1][1] == job_id - 1:
            ranges[-1][1] = job_id
        else:
            ranges.append([job_id, job_id])
    shown = ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges[:_SHOWN])
    return shown if len(ranges) <= _SHOWN else f"{shown},... (up to {ranges[-1][1]})"


def jobs_text(ids: Iterable[int]) -> str:
    """Gives `job 3` or `jobs 3,5-7`."""
    chosen = list(ids)
    return f"job{'' if len(chosen) == 1 else 's'} {id_ranges(chosen)}"
