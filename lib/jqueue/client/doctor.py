"""What the daemon and the machine below it are like: reachable, permitted, room enough, nothing stuck.

What is in the state directory is for `jqueue.client.fsck`; how the report is shown does not live here.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from jqueue import __version__
from jqueue.client.checks import FAIL, OK, WARN, Check, size, span
from jqueue.client.machine import Machine
from jqueue.client.stuck import Caller, stuck
from jqueue.errors import DaemonUnreachable, GenericError, PermissionDenied
from jqueue.store.statedir import DirectoryLock, StateDirectory

ANSWER_TIME = 5.0
"""Seconds within which a daemon that is well answers."""

_SLOW_SYNC = 0.5
_LAG = 5.0
_LOW_SPACE = 256 << 20
_NO_SPACE = 32 << 20  # the journal takes 16 MiB at a time
_LOW_SHARE = 0.05
_HIGH_USE = 0.8
_JUMP = 60.0
_BUILT = 1_577_836_800.0  # 2020-01-01; no clock that is right says less


def examine(
    connect: Callable[[], Caller], machine: Machine, candidates: Iterable[Path], now: Callable[[], float]
) -> Iterator[Check]:
    """Checks everything, also when the daemon does not answer.

    @param connect: makes the connection to the daemon
    @param candidates: directories that may be the daemon's, if it does not show which one it uses
    @param now: the wall time in seconds
    """
    status: dict[str, Any] = {}
    directories = [directory for directory in candidates if (directory / "version").exists()]
    try:
        connection = connect()
        status = connection.call("QueryStatus", timeout=ANSWER_TIME)
        yield Check(OK, "socket", f"the daemon, process {status['pid']}, answers")
        yield from _daemon(status)
        yield _identity(connection)
        yield from stuck(connection)
    except DaemonUnreachable as error:
        yield Check(FAIL, "socket", error.text, _why_unreachable(directories))
    except PermissionDenied as error:
        yield Check(FAIL, "role", error.text)
    except GenericError as error:
        yield Check(WARN, "protocol", error.text, "look whether the daemon and this command are of the same version")
    directory = _directory(machine, status.get("pid"), directories)
    if directory is None:
        yield Check(WARN, "directory", "it is not known which directory the daemon uses", "name it with --state-dir")
    else:
        yield from _space(machine, directory)
    yield from _clock(directory, status.get("uptime"), now())
    yield from _limits(machine, status.get("pid"))


def _why_unreachable(directories: list[Path]) -> str:
    for directory in directories:
        try:
            holder = DirectoryLock(StateDirectory(directory)).holder()
        except OSError:
            continue
        if holder is not None:
            return f"a daemon, {holder}, uses {directory}: it is still starting, or its socket is elsewhere"
    return "if it has run before, its log says why it ended"


def _identity(connection: Caller) -> Check:
    peer = connection.call("WhoAmI", timeout=ANSWER_TIME)
    may = {"reader": "look", "operator": "submit jobs and act on them", "admin": "do everything"}
    role = peer["role"]
    return Check(OK, "role", f"you are {_user(peer['uid'])}, {role}: you may {may.get(role, 'do what that role may')}")


def _user(uid: int | None) -> str:
    if uid is None:
        return "unknown to the daemon"
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _daemon(status: Mapping[str, Any]) -> Iterator[Check]:
    if status["version"] == __version__:
        yield Check(OK, "version", f"{__version__}, daemon and command")
    else:
        text = f"the daemon is {status['version']}, this command {__version__}"
        yield Check(WARN, "version", text, "restart the daemon after an upgrade, or use the command that belongs to it")
    if status.get("stopping"):
        yield Check(WARN, "uptime", "the daemon is stopping", "wait until it is back")
    else:
        yield Check(OK, "uptime", f"the daemon runs for {span(status['uptime'])}")
    if status["drained"] is not None:
        reason = f": {status['drained']}" if status["drained"] else ""
        yield Check(WARN, "drained", f"new jobs are refused{reason}", "`jqueue drain off` opens the queue again")
    else:
        yield Check(OK, "drained", "no, new jobs are taken")
    yield from _files(status["journal"], status["job_files"])


def _files(journal: Mapping[str, Any], job_files: Mapping[str, Any]) -> Iterator[Check]:
    if journal["full"]:
        text = "the disk is full: new jobs are refused, nothing is started"
        yield Check(FAIL, "journal", text, "free some space; the daemon notices by itself")
    elif journal["last_sync_seconds"] > _SLOW_SYNC:
        text = f"the last sync took {journal['last_sync_seconds']:.1f} s, and every change waits for one"
        yield Check(WARN, "journal", text, "see what else keeps the disk busy")
    else:
        worst = 1000 * journal["max_sync_seconds"]
        yield Check(OK, "journal", f"{journal['syncs']} syncs since the start, the longest took {worst:.0f} ms")
    text = f"{job_files['pending']} job files are behind, by {job_files['lag']:.1f} s at most"
    if job_files["lag"] > _LAG:
        yield Check(WARN, "job-files", text, "see the daemon's log for files that it cannot write")
    else:
        yield Check(OK, "job-files", text)


def _directory(machine: Machine, pid: int | None, directories: list[Path]) -> Path | None:
    if pid is None:
        return directories[0] if directories else None
    if (shown := machine.state_dir(pid)) is not None:
        return shown
    for directory in directories:
        try:
            holder = DirectoryLock(StateDirectory(directory)).holder()
        except OSError:
            continue
        if holder is not None and holder.pid == pid:
            return directory
    return None


def _space(machine: Machine, directory: Path) -> Iterator[Check]:
    try:
        space = machine.space(directory)
    except OSError as error:
        yield Check(
            WARN, "space", f"{directory} cannot be looked at: {error.strerror}", "run this as the daemon's user"
        )
        return
    text = f"{size(space.free)} of {size(space.total)} free for {directory}"
    if space.free < _NO_SPACE:
        yield Check(FAIL, "space", text, "free some space; with less than this the queue stops taking jobs")
    elif space.free < _LOW_SPACE or space.free < _LOW_SHARE * space.total:
        yield Check(WARN, "space", text, "free some space; what is in archive/ and nobody needs may be removed")
    else:
        yield Check(OK, "space", text)
    if space.total_files and space.free_files < _LOW_SHARE * space.total_files:
        text = f"{space.free_files} of {space.total_files} files (inodes) left for {directory}"
        yield Check(WARN, "space", text, "remove archived jobs that nobody needs, each takes two")


def _clock(directory: Path | None, uptime: float | None, now: float) -> Iterator[Check]:
    cure = "set the clock, and keep it with NTP: ages, not_before and automatic archiving go by it"
    if now < _BUILT:
        yield Check(FAIL, "clock", f"the clock says {_date(now)}", cure)
        return
    since_start = None if directory is None or uptime is None else _since_start(directory, now)
    if directory is not None and (ahead := _newest(directory) - now) > _JUMP:
        yield Check(WARN, "clock", f"the journal was written {span(ahead)} from now, says the clock", cure)
    elif uptime is not None and since_start is not None and abs(jump := since_start - uptime) > _JUMP:
        text = f"the clock was set {'forward' if jump > 0 else 'back'} by {span(abs(jump))} since the daemon's start"
        yield Check(WARN, "clock", text, cure)
    else:
        yield Check(OK, "clock", f"{_date(now)}, in line with the queue's files")


def _date(when: float) -> str:
    return datetime.fromtimestamp(when).astimezone().isoformat(" ", "seconds")


def _newest(directory: Path) -> float:
    """@return: when the journal was last written, wall seconds; 0 if that cannot be told"""
    try:
        return max((path.stat().st_mtime for path in (directory / "journal").glob("*.seg")), default=0.0)
    except OSError:
        return 0.0


def _since_start(directory: Path, now: float) -> float | None:
    """@return: seconds since the daemon took its lock, by the wall clock; None if that cannot be told"""
    try:
        holder = DirectoryLock(StateDirectory(directory)).holder()
        return now - datetime.strptime(holder.since, "%Y-%m-%dT%H:%M:%S%z").timestamp() if holder is not None else None
    except (OSError, ValueError):
        return None


def _limits(machine: Machine, pid: int | None) -> Iterator[Check]:
    if pid is not None:
        files = machine.descriptors(pid)
        if files.limit is not None:
            used = f"{files.used}" if files.used is not None else "an unknown number"
            text = f"{used} of {files.limit} descriptors in use"
            cure = "raise the limit (LimitNOFILE= of the unit), or see who keeps so many connections"
            yield Check(WARN, "files", text, cure) if files.share > _HIGH_USE else Check(OK, "files", text)
    owner = machine.owner(pid) if pid is not None else None
    uid = os.geteuid() if owner is None else owner
    for what, usage, setting in (
        ("instances", machine.inotify_instances(uid), "max_user_instances"),
        ("watches", machine.inotify_watches(uid), "max_user_watches"),
    ):
        if usage.limit is None:
            yield Check(OK, "inotify", f"the limit of {what} cannot be seen here")
            continue
        text = f"{usage.used} of {usage.limit} {what} in use by {_user(uid)}, as far as can be seen"
        cure = f"raise the sysctl fs.inotify.{setting}"
        yield Check(WARN, "inotify", text, cure) if usage.share > _HIGH_USE else Check(OK, "inotify", text)
    if pid is not None and machine.has_inotify(pid) is False:
        text = "the daemon runs without it, and looks into incoming/ only from time to time"
        yield Check(WARN, "inotify", text, "raise the sysctl fs.inotify.max_user_instances and restart the daemon")
