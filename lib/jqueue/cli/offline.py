"""Rows of jobs from the files of a state directory, in the form in which the daemon gives them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from jqueue.cli.selection import Qfilter
from jqueue.cli.terminal import Terminal
from jqueue.client.offline import EVERYTHING, Criteria, OfflineReader
from jqueue.jobs import fields as job_fields
from jqueue.jobs.filters import compile_filter
from jqueue.jobs.job import _QueuedJob


def read_jobs(
    terminal: Terminal,
    directory: Path,
    fields: Sequence[str],
    *,
    ids: Sequence[int] | None = None,
    qfilter: Qfilter | None = None,
    criteria: Criteria = EVERYTHING,
    archived: bool = True,
    last: int | None = None,
) -> list[dict[str, Any]]:
    """Reads jobs; what cannot be read is told on stderr, and reading goes on.

    @param ids: only these, live or archived; None for all
    @param qfilter: only those that pass, see `jqueue.jobs.filters`
    @param criteria: only those that match, decided before a file is decoded where possible
    @param archived: whether all includes the archive
    @param last: only so many, those with the highest ids
    @return: a map of fields for each, by id
    """
    reader = OfflineReader(directory, terminal.warn)
    passes = compile_filter(qfilter)
    jobs: Iterable[_QueuedJob]
    if ids is None:
        jobs = reader.jobs(criteria, archived=archived, newest_first=last is not None, now=terminal.clock.time)
    else:
        jobs = (job for job_id in ids if (job := reader.job(job_id)) and criteria.match(job, terminal.clock.time()))
    found = (job for job in jobs if passes(_getter(job)))
    rows = [dict(zip(fields, job.GetInfo(fields), strict=True)) for job in islice(found, last if ids is None else None)]
    return rows[::-1] if ids is None and last is not None else rows


def _getter(job: _QueuedJob) -> Any:
    return lambda name: job_fields.get(name).get(job)
