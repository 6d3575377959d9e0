"""Going on after damage in the journal: what that costs, job by job, and doing it.

Everything before the damage stays. What comes behind it is set aside below `journal/`, with the files of the jobs of
which nothing is known any more. Their ids are not used again. Jobs that would run a second time, because it is lost
that they have run, are paused, so that somebody looks at them first.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack

from jqueue.client.filecheck import FileView, status_of
from jqueue.jobs import packing, status
from jqueue.sched.snapshot import Recovered
from jqueue.store.archive import iter_archived
from jqueue.store.files import Files
from jqueue.store.salvage import Survey, behind_damage, set_aside
from jqueue.store.statedir import StateDirectory


@dataclass
class Plan:
    """What a repair loses and does."""

    kept: int
    """Sequence of the last record that stays."""
    readable: int = 0
    """Records behind the damage that could be read, and are lost with it."""
    unreadable: int = 0
    """Records known to be damaged; there may have been more at the very end."""
    vanished: set[int] = field(default_factory=set)
    """Jobs that nothing is known of any more."""
    older: set[int] = field(default_factory=set)
    """Jobs that are again what they were before the damage."""
    held: set[int] = field(default_factory=set)
    """Those of `older` that have not ended, and are paused."""
    last_id: int = 0
    """The highest id that was ever given out, as far as is known."""


def make_plan(state: StateDirectory, files: Files, found: Survey, known: Recovered, view: FileView) -> Plan:
    """Finds out what a repair costs.

    @param known: the jobs as of the last record before the damage
    @raise OSError: a file cannot be read
    """
    plan = Plan(found.kept)
    next_expected = found.kept + 1
    spoken_of: set[int] = set(view.ahead)
    for batch in behind_damage(found, files):
        plan.unreadable += batch.sequence - next_expected
        plan.readable += len(batch.records)
        next_expected = batch.next_sequence
        for record in batch.records:
            spoken_of.update(_ids(record))
    spoken_of |= {job_id for job_id in view.unknown if job_id > known.last_id}
    there = known.jobs.keys() | known.rows.keys()
    plan.vanished = spoken_of - there - known.archived.keys() - known.forgotten
    plan.older = spoken_of & there
    plan.held = {
        job_id for job_id in plan.older & known.jobs.keys() if status_of(known.jobs[job_id]) not in status.FINALIZED
    }
    archived = next(iter_archived(state, newest_first=True), 0)
    plan.last_id = max(known.last_id, archived, *spoken_of, *view.unknown, 0)
    return plan


def carry_out(state: StateDirectory, files: Files, found: Survey, known: Recovered, plan: Plan, now: float) -> Path:
    """Does it; only for who holds the lock.

    @param now: wall time in seconds, for the name of the directory
    @return: the directory in which everything is that was set aside
    @raise StateError: it cannot be done
    """
    aside = state.journal / time.strftime("damaged-%Y%m%dT%H%M%S", time.localtime(now))
    while aside.exists():
        aside = aside.with_name(f"{aside.name}x")
    records = [msgpack.packb(["submit", [], {"last_id": plan.last_id}])]
    for job_id in sorted(plan.held):
        job = known.jobs[job_id]
        before = packing.unpack(None, job_id, job) if isinstance(job, bytes) else job
        after = before.copy()
        after.paused = True
        if update := packing.diff(before, after):
            records.append(msgpack.packb(["update", job_id, update]))
    others = [path for job_id in sorted(plan.vanished) for path in (state.log_file(job_id), state.job_file(job_id))]
    set_aside(state.journal, files, found, aside, records, [path for path in others if path.exists()])
    return aside


def _ids(record: bytes) -> Iterator[int]:
    """Gives the jobs that a record speaks of."""
    value: Any = msgpack.unpackb(record, strict_map_key=False)
    match value:
        case ["submit", rows, _]:
            yield from (row[0] for row in rows)
        case ["update", int(job_id), _]:
            yield job_id
        case ["updates", changes]:
            yield from (change[0] for change in changes)
        case ["archive" | "forget", ids]:
            yield from ids
