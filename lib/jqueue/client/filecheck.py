"""Comparing the files of jobs, live and archived, with what the journal says, and looking whether they can be read.

Nothing is changed here. For jobs the journal is the truth: what it knows whole, the daemon can write again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from jqueue.client.findings import DAMAGED, NEXT_START, OK, Finding, jobs_text
from jqueue.errors import StateError
from jqueue.jobs import packing, status
from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.lifecycle import PHASE_ABORTING, PHASE_COMMITTING, PHASE_PREPARING, PHASE_WORK
from jqueue.sched.snapshot import Recovered
from jqueue.store.archive import archived_job_file, job_id_of, parse_state
from jqueue.store.statedir import JOBS_PER_ARCHIVE_DIRECTORY, StateDirectory

_READING_ERRORS = (KeyError, IndexError, TypeError, ValueError, AttributeError)
_BEGUN = {status.RUNNING, status.CANCELING, *status.FINALIZED}


@dataclass
class FileView:
    """What the live files of jobs are like."""

    whole: int = 0
    """Files that say what the journal says."""
    missing: set[int] = field(default_factory=set)
    archived_by_hand: set[int] = field(default_factory=set)
    damaged: dict[int, str] = field(default_factory=dict)
    """What is wrong with a file that does not hold a job."""
    stale: set[int] = field(default_factory=set)
    """Files that say something else than the journal."""
    ahead: set[int] = field(default_factory=set)
    """Those of `stale` that know more: code has run, of which the journal says nothing."""
    unknown: set[int] = field(default_factory=set)
    """Files of jobs that the journal does not know."""


def compare(state: StateDirectory, known: Recovered) -> FileView:
    """Reads every live job file.

    @raise OSError: the directory cannot be read
    """
    view = FileView()
    there = {job_id for name in os.listdir(state.path) if (job_id := job_id_of(name)) is not None}
    said = dict(_statuses(known))
    leaving = known.archived.keys() | known.forgotten
    view.unknown = there - said.keys() - leaving
    for job_id, expected in said.items():
        if job_id not in there:
            by_hand = expected in status.FINALIZED and archived_job_file(state, job_id).exists()
            (view.archived_by_hand if by_hand else view.missing).add(job_id)
            continue
        try:
            found = _load(state.job_file(job_id)).CalcStatus()
        except StateError as error:
            if state.job_file(job_id).exists():
                view.damaged[job_id] = error.text
            else:  # archived while we looked
                view.archived_by_hand.add(job_id)
            continue
        if found == expected:
            view.whole += 1
            continue
        view.stale.add(job_id)
        if any(found in reached and expected not in reached for reached in (_BEGUN, status.FINALIZED)):
            view.ahead.add(job_id)
    return view


def live_findings(state: StateDirectory, known: Recovered, view: FileView, running: bool) -> Iterator[Finding]:
    """Says what the files are like.

    @param running: whether a daemon is at work, whose files follow its journal at a distance
    """
    yield Finding(OK, "jobs", f"{view.whole} of {_count(known)} job files say what the journal says")
    again = view.missing & known.jobs.keys()
    if again:
        yield _behind(running, f"{jobs_text(again)}: the file is missing, and is written again")
    for job_id in sorted(view.missing - again):
        path = state.job_file(job_id)
        text = f"{path} is missing, and the journal has no more than the status; restore it from a backup"
        yield Finding(DAMAGED, "jobs", text, str(path))
    if view.archived_by_hand and not running:
        yield Finding(OK, "jobs", f"{jobs_text(view.archived_by_hand)}: moved into the archive, not by the queue")
    for job_id, problem in sorted(view.damaged.items()):
        yield _not_whole(state.job_file(job_id), problem, job_id, known, running)
    if stale := view.stale & known.touched or (view.stale if running else set()):
        yield _behind(running, f"{jobs_text(stale)}: the file does not say what the journal says, and is written again")
    for job_id in sorted(view.stale - stale):
        path = state.job_file(job_id)
        cure = "remove it, and the next start writes it again" if job_id in known.jobs else "restore it from a backup"
        yield Finding(DAMAGED, "jobs", f"{path} says something else than the journal; {cure}", str(path))
    if view.unknown and not running:
        text = f"{jobs_text(view.unknown)}: unknown to the journal, so nothing runs them; move the files away"
        collides = max(view.unknown) > known.last_id
        yield Finding(DAMAGED if collides else OK, "jobs", text + (" before new jobs get these ids" * collides))
    yield from _leaving(state, known, running)


def _leaving(state: StateDirectory, known: Recovered, running: bool) -> Iterator[Finding]:
    leaving = {job_id for job_id in known.archived if not archived_job_file(state, job_id).exists()}
    if leaving:
        yield _behind(running, f"{jobs_text(leaving)}: not in the archive yet, and moved there")
    removed = {job_id for job_id in known.forgotten if state.job_file(job_id).exists()}
    if removed:
        yield _behind(running, f"{jobs_text(removed)}: the rest of the files is removed")
    begun = {
        job_id: _phase_of(job_id, job)
        for job_id, job in known.jobs.items()
        if status_of(job) in (status.RUNNING, status.CANCELING) and not running
    }
    interrupted = [job_id for job_id, phase in begun.items() if phase == PHASE_WORK]
    if interrupted:
        text = f"{jobs_text(interrupted)}: ran when the daemon ended; queued again if restartable, else error"
        yield Finding(NEXT_START, "jobs", text)
    decided = [
        job_id for job_id, phase in begun.items() if phase in (PHASE_PREPARING, PHASE_COMMITTING, PHASE_ABORTING)
    ]
    if decided:
        yield Finding(NEXT_START, "jobs", f"{jobs_text(decided)}: being committed or undone, which goes on")


def log_findings(state: StateDirectory, running: bool) -> Iterator[Finding]:
    """Looks at the ends of the live logs."""
    torn: dict[int, Path] = {}
    names = os.listdir(state.path)
    logs = [name for name in names if name.endswith(".log") and job_id_of(name[:-4]) is not None]
    for name in logs:
        if _is_torn(state.path / name):
            torn[int(name[4:-4])] = state.path / name
    yield Finding(OK, "logs", f"{len(logs) - len(torn)} of {len(logs)} logs end with a whole line")
    if torn:
        text = f"{jobs_text(torn)}: the log ends in the middle of a line, which is left out or cut off"
        yield _behind(running, text, "logs")
    without = {int(name[4:-4]) for name in logs} - {job_id for name in names if (job_id := job_id_of(name)) is not None}
    if without and not running:
        yield Finding(OK, "logs", f"{jobs_text(without)}: a log without a job file beside it")


def archive_findings(state: StateDirectory) -> Iterator[Finding]:
    """Reads every job in the archive."""
    whole = 0
    for bucket in sorted(os.listdir(state.archive)):
        directory = state.archive / bucket
        if not directory.is_dir():
            continue
        for name in sorted(os.listdir(directory)):
            job_id, path = job_id_of(name), directory / name
            if job_id is None:
                continue
            if bucket != str(job_id // JOBS_PER_ARCHIVE_DIRECTORY):
                text = f"{path} is in the wrong directory, where nothing looks for it; move it to"
                yield Finding(DAMAGED, "archive", f"{text} {state.archive_directory(job_id)}", str(path))
                continue
            try:
                _load(path)
                whole += 1
            except StateError as error:
                yield Finding(DAMAGED, "archive", error.text, str(path))
    yield Finding(OK, "archive", f"{whole} job{'' if whole == 1 else 's'}, readable")


def _behind(running: bool, text: str, part: str = "jobs") -> Finding:
    return Finding(OK, part, f"{text} (a daemon is at work)") if running else Finding(NEXT_START, part, text)


def _not_whole(path: Path, problem: str, job_id: int, known: Recovered, running: bool) -> Finding:
    if job_id in known.touched and not running:
        return Finding(NEXT_START, "jobs", f"{path} does not hold a job, and is written again", str(path))
    cure = "; the journal knows the job: remove the file, and the next start writes it again"
    return Finding(DAMAGED, "jobs", problem + (cure if job_id in known.jobs else ""), str(path))


def _statuses(known: Recovered) -> Iterable[tuple[int, str]]:
    for job_id, row in known.rows.items():
        yield job_id, row.status
    for job_id, job in known.jobs.items():
        yield job_id, status_of(job)


def status_of(job: bytes | _QueuedJob) -> str:
    """Gives the status of a job, packed or not."""
    return packing.peek(job).status if isinstance(job, bytes) else job.CalcStatus()


def _phase_of(job_id: int, job: bytes | _QueuedJob) -> str:
    return (packing.unpack(None, job_id, job) if isinstance(job, bytes) else job).phase


def _count(known: Recovered) -> int:
    return len(known.jobs.keys() | known.rows.keys())


def _load(path: Path) -> _QueuedJob:
    """Reads a job file.

    @raise StateError: it cannot be read, or does not hold a job
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as stream:
            data = stream.read()
    except OSError as error:
        raise StateError(f"{path} cannot be read: {error.strerror}; check its owner and mode, and the disk") from error
    try:
        return _QueuedJob.Restore(None, parse_state(data, path), writable=False)
    except _READING_ERRORS as error:
        what = f"{type(error).__name__}: {error}"
        raise StateError(f"{path} is damaged, no whole job ({what}); restore it from a backup or remove it") from error


def _is_torn(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - 1))
            return size > 0 and stream.read(1) != b"\n"
    except FileNotFoundError:
        return False
