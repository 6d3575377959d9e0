"""Reading the journal of a state directory as the daemon's start does, and saying what there is of it.

Nothing is changed here. The jobs' own files are `jqueue.client.filecheck`'s.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from jqueue.client.findings import DAMAGED, NEXT_START, OK, Finding, from_error
from jqueue.errors import JournalDamaged, StateError
from jqueue.sched import snapshot
from jqueue.store.checkpointfile import checkpoint_path, find_latest, list_checkpoints, read_chunks
from jqueue.store.files import Files
from jqueue.store.replay import replay
from jqueue.store.salvage import Survey, survey
from jqueue.store.segment import HEADER_SIZE, Segment, list_segments, read_segment
from jqueue.store.statedir import StateDirectory


@dataclass
class JournalView:
    """What the journal says."""

    findings: list[Finding] = field(default_factory=list)
    survey: Survey | None = None
    """Where it ends; None if not even its beginning is there."""
    jobs: snapshot.Recovered | None = None
    """The jobs, as of the last record before any damage; None if they cannot be told."""


class _Host:
    """What jobs that are only looked at ask of a queue."""

    def time(self) -> float:
        return time.time()


def read_journal(state: StateDirectory, files: Files, running: bool) -> JournalView:
    """Reads it all.

    @param running: whether a daemon may be writing
    """
    view = JournalView()
    try:
        _checkpoints(view, state, files)
        sequence, chunks = find_latest(state.journal, files, lambda damage: None)
        view.survey = survey(state.journal, files, sequence)
        _segments(view, state, files, view.survey, sequence, running)
        view.jobs = snapshot.recover(_Host(), chunks, _records(state.journal, files, sequence, view.survey.kept))
    except StateError as error:
        finding = from_error("journal", error)
        if finding not in view.findings:
            view.findings.append(finding)
    except FileNotFoundError as error:
        text = f"{error.filename} is missing; restore it from a backup, a start without it forgets every job"
        view.findings.append(Finding(DAMAGED, "journal", text, str(error.filename)))
    except OSError as error:
        text = f"{error.filename} cannot be read: {error.strerror}; run this as the daemon's user, or check the disk"
        view.findings.append(Finding(DAMAGED, "journal", text, str(error.filename)))
    return view


def _records(directory: Path, files: Files, after: int, up_to: int) -> Iterator[tuple[int, bytes]]:
    if up_to == after:
        return
    for sequence, record in replay(directory, files, after):
        yield sequence, record
        if sequence == up_to:
            return


def _checkpoints(view: JournalView, state: StateDirectory, files: Files) -> None:
    sequences = list_checkpoints(state.journal, files)
    for place, sequence in enumerate(sequences):
        which = "the newest" if place == 0 else "the one before it" if place == 1 else "an older one"
        path = checkpoint_path(state.journal, sequence)
        try:
            size = sum(len(chunk) for chunk in read_chunks(path, files, sequence))
        except JournalDamaged as error:
            view.findings.append(from_error("checkpoint", error, f" ({which})"))
        else:
            text = f"{path.name} ({which}) is whole: it stands for records up to {sequence}, {size:,} bytes"
            view.findings.append(Finding(OK, "checkpoint", text, str(path)))
    if not sequences:
        view.findings.append(Finding(OK, "checkpoint", "there is none yet, the journal has it all"))


def _segments(
    view: JournalView, state: StateDirectory, files: Files, found: Survey, checkpoint: int, running: bool
) -> None:
    segments = list_segments(state.journal, files)
    first_needed = max((each.first for each in segments if each.first <= checkpoint + 1), default=0)
    for segment in segments:
        if segment.first < first_needed:
            _superseded(view, segment, files)
    if found.damage is not None:
        view.findings.append(from_error("journal", found.damage))
    else:
        what = f"records up to {found.kept}" if found.kept else "no record yet"
        count = f"{len(segments)} segment{'' if len(segments) == 1 else 's'}"
        view.findings.append(Finding(OK, "journal", f"{count}, {what}, nothing missing"))
        if segments and (finding := _torn(segments[-1], files, running)):
            view.findings.append(finding)
    for name in sorted(files.listdir(state.journal)):
        path = str(state.journal / name)
        if name.endswith(".new") or name == "oversize":
            text = f"{name} was not finished, and is removed"
            view.findings.append(Finding(NEXT_START, "journal", text, path) if not running else _busy(name, path))
        elif name.startswith("damaged-"):
            text = f"journal/{name} holds what a repair has set aside; remove it once it is no longer needed"
            view.findings.append(Finding(OK, "journal", text, path))


def _busy(name: str, path: str) -> Finding:
    return Finding(OK, "journal", f"{name} is being prepared by the daemon", path)


def _superseded(view: JournalView, segment: Segment, files: Files) -> None:
    try:
        for _ in read_segment(segment, files):
            pass
    except JournalDamaged as error:
        text = "; a checkpoint stands for it, and the start does not read it, but look after the disk"
        view.findings.append(from_error("journal", error, text))


def _torn(segment: Segment, files: Files, running: bool) -> Finding | None:
    end = HEADER_SIZE
    for batch in read_segment(segment, files):
        end = batch.end
    size = len(files.read_file(segment.path)[end:].rstrip(b"\0"))
    if not size:
        return None
    if running:
        return Finding(OK, "journal", "its end is being written", str(segment.path), end)
    text = (
        f"{segment.path}, byte {end}: a torn tail of {size} bytes, of a batch that was being written in a crash;"
        " harmless, nobody was told of it, and it is cut off"
    )
    return Finding(NEXT_START, "journal", text, str(segment.path), end)
