"""Checking a state directory as a whole, without a daemon or beside one, and repairing a journal that is damaged.

What is wrong with the journal is found in `journalcheck`, with the jobs' files in `filecheck`; what a repair costs, and
doing it, is `repair`'s. How the report is shown does not live here.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from jqueue.client.filecheck import FileView, archive_findings, compare, live_findings, log_findings
from jqueue.client.findings import DAMAGED, NEXT_START, OK, Finding
from jqueue.client.journalcheck import JournalView, read_journal
from jqueue.client.repair import Plan, carry_out, make_plan
from jqueue.errors import PermissionDenied, StateError
from jqueue.store.files import Files
from jqueue.store.statedir import LAYOUT_VERSION, DirectoryLock, Holder, StateDirectory

_TRIES = 3
"""A daemon may drop a segment while it is being read."""


@dataclass
class Report:
    """What a check has found."""

    directory: Path
    holder: Holder | None = None
    """The daemon that uses the directory."""
    findings: list[Finding] = field(default_factory=list)
    plan: Plan | None = None
    """What a repair of the journal would do; None if there is nothing to repair, or no way to."""

    @property
    def damaged(self) -> list[Finding]:
        """The findings that no start sees to."""
        return [finding for finding in self.findings if finding.level == DAMAGED]


def check(directory: Path) -> Report:
    """Reads everything there is, and changes nothing.

    @raise StateError: this is no directory of jqueue, or may not be read
    """
    return _check(directory, own=False)[0]


def repair(directory: Path, now: float) -> tuple[Report, Path | None]:
    """Has a damaged journal end before the damage, see `jqueue.client.repair`.

    @param now: wall time in seconds
    @return: the report of before, and the directory with what was set aside; None if the journal needs no repair
    @raise StateError: a daemon uses the directory (`StateDirLocked`), or it cannot be done
    @raise PermissionDenied: somebody else owns the directory
    """
    state = StateDirectory(directory)
    _names(directory)
    _own(directory)
    lock = DirectoryLock(state)
    lock.acquire()
    try:
        report, journal = _check(directory, own=True)
        if report.plan is None or journal.survey is None or journal.jobs is None:
            return report, None
        return report, carry_out(state, Files(), journal.survey, journal.jobs, report.plan, now)
    finally:
        lock.release()


def _check(directory: Path, own: bool) -> tuple[Report, JournalView]:
    state, files = StateDirectory(directory), Files()
    names = _names(directory)
    report = Report(directory)
    report.findings.append(_version(state))
    if not own:
        report.holder = DirectoryLock(state).holder()
        report.findings.append(_lock(report.holder))
    running = report.holder is not None
    journal = read_journal(state, files, running)
    for _ in range(_TRIES - 1 if running else 0):
        if all(finding.level != DAMAGED for finding in journal.findings):
            break
        journal = read_journal(state, files, running)
    report.findings += journal.findings
    if journal.jobs is not None and journal.survey is not None:
        view = compare(state, journal.jobs)
        if journal.survey.damage is None:
            report.findings += live_findings(state, journal.jobs, view, running)
        else:
            report.findings.append(_unjudged(view))
            report.plan = make_plan(state, files, journal.survey, journal.jobs, view)
    report.findings += log_findings(state, running)
    report.findings += archive_findings(state) if "archive" in names else ()
    report.findings += _rest(state, names, running)
    return report, journal


def _names(directory: Path) -> set[str]:
    try:
        names = set(os.listdir(directory))
    except OSError as error:
        raise StateError(f"cannot read the state directory {directory}: {error.strerror}; name another") from error
    if not {"version", "journal"} & names:
        raise StateError(
            f"{directory} is no state directory of jqueue, it has neither `version` nor `journal`; name another"
        )
    return names


def _own(directory: Path) -> None:
    owner = directory.stat().st_uid
    if owner != os.geteuid():
        try:
            name = pwd.getpwuid(owner).pw_name
        except KeyError:
            name = f"#{owner}"
        raise PermissionDenied(
            f"{directory} belongs to {name}, and so must what a repair writes; run it as that user:"
            f" sudo -u '{name}' jqueue fsck {directory} --repair"
        )


def _version(state: StateDirectory) -> Finding:
    path = str(state.version)
    try:
        found = state.version.read_bytes().decode("ascii", "replace").strip()
    except OSError as error:
        cure = f"write {LAYOUT_VERSION} into it if this is the queue's directory"
        return Finding(DAMAGED, "version", f"{path} cannot be read: {error.strerror}; {cure}", path)
    if found != LAYOUT_VERSION:
        text = f"{path} says layout {found[:40]!r}, this jqueue knows {LAYOUT_VERSION!r} only; use the one that made it"
        return Finding(DAMAGED, "version", text, path)
    return Finding(OK, "version", f"layout {found}", path)


def _lock(holder: Holder | None) -> Finding:
    if holder is None:
        return Finding(OK, "lock", "no daemon uses the directory")
    return Finding(OK, "lock", f"a daemon is at work, {holder}: what it has not written yet is not counted as missing")


def _unjudged(view: FileView) -> Finding:
    text = f"{view.whole} job files say what the journal says up to its damage; the others are not judged"
    return Finding(OK, "jobs", text)


def _rest(state: StateDirectory, names: set[str], running: bool) -> Iterator[Finding]:
    wanted = {
        path.name for path in (state.control, state.incoming, state.rejected, state.run, state.archive, state.tmp)
    }
    if missing := sorted(wanted - names):
        yield Finding(NEXT_START, "layout", f"{', '.join(missing)}: missing, and made again")
    if not running and "tmp" in names and (left := len(os.listdir(state.tmp))):
        yield Finding(NEXT_START, "layout", f"{left} temporary file{'' if left == 1 else 's'} in tmp, removed")
    if "rejected" in names and (bad := sum(name.endswith(".error") for name in os.listdir(state.rejected))):
        yield Finding(OK, "layout", f"{bad} rejected job description{'' if bad == 1 else 's'} in {state.rejected}")
    if state.drained.exists():
        yield Finding(OK, "layout", "the queue is drained: new jobs are refused")
