"""One dropped file: recognising it again, reading it without trusting it, and getting it out of `incoming/`.

Plain calls on the disk, made in file threads. When they are made, and what a description means, does not live here.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from jqueue.store.files import Files
from jqueue.store.statedir import StateDirectory

SETTLE = 2.0  # seconds; the usual wait for a change
_NAME_BYTES = 200  # of a name in rejected/, so that a suffix fits into the 255 that file systems allow


@dataclass(frozen=True)
class Drop:
    """A dropped description, as it was when it was read."""

    name: str
    identity: str
    sha256: str
    owner: int
    data: bytes


@dataclass(frozen=True)
class Refusal:
    """A dropped file that is not taken, and why."""

    name: str
    identity: str
    reason: str


@dataclass(frozen=True)
class Sight:
    """A name in `incoming/`; `settled` if what it stands for was last changed a while ago."""

    name: str
    identity: str
    settled: bool


def is_wanted(name: str) -> bool:
    """@return: False for the names that editors and copy programs use until a file is complete"""
    return not name.startswith(".") and not name.endswith("~")


def identity_of(name: str, status: os.stat_result) -> str:
    """Names one version of one file, the same before and after a crash.

    The device's number is not in it, because a reboot may change it. The name is, so that links to one file count as
    the several drops that they are.
    """
    shown = name.encode("utf-8", "backslashreplace").decode()
    return f"{status.st_ino}.{status.st_mtime_ns}.{status.st_size}.{shown}"


def walk(directory: Path) -> Iterator[str]:
    """Gives the wanted names in a directory; none if it does not exist."""
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if is_wanted(entry.name):
                    yield entry.name
    except FileNotFoundError:
        return


def look(directory: Path, names: Iterable[str], now: float, settle: float = SETTLE) -> list[Sight]:
    """Looks at files without opening them; those that are gone are left out.

    @param now: the wall time, seconds since the epoch
    @param settle: seconds without a change after which a file counts as complete
    """
    seen = []
    for name in names:
        with suppress(FileNotFoundError):
            status = os.lstat(directory / name)
            # The change time as well: the other one may be set by whoever writes the file.
            settled = max(status.st_mtime, status.st_ctime) <= now - settle
            seen.append(Sight(name, identity_of(name, status), settled))
    return seen


def read(directory: Path, name: str, max_bytes: int) -> Drop | Refusal | Sight | None:
    """Reads a file, following no link and waiting for nobody.

    @return: a `Sight` if somebody changed the file meanwhile, None if there is no such file (any more)
    @raise OSError: it cannot be read now
    """
    path = directory / name
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        return _refuse_unopened(path, error)
    try:
        status = os.fstat(descriptor)
        identity = identity_of(name, status)
        if not stat.S_ISREG(status.st_mode):
            return Refusal(name, identity, "only regular files are taken, no directories, pipes or devices")
        if status.st_size > max_bytes:
            return _too_large(name, identity, status.st_size, max_bytes)
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            data = stream.read(max_bytes + 1)
        after = identity_of(name, os.fstat(descriptor))
        if after != identity or len(data) != status.st_size:
            return Sight(name, after, settled=False)
        return Drop(name, identity, hashlib.sha256(data).hexdigest(), status.st_uid, data)
    finally:
        os.close(descriptor)


def remove(state: StateDirectory, files: Files, drops: Iterable[Drop]) -> dict[str, OSError | None]:
    """Removes files that were submitted, and waits until that is on the disk.

    @return: by name, None or why the file could not be removed
    """
    outcome: dict[str, OSError | None] = {}
    for drop in drops:
        target = state.tmp / f"dropped-{drop.identity.split('.', 1)[0]}"
        try:
            if _take(state, files, drop.name, drop.identity, target):
                files.unlink(target)
            outcome[drop.name] = None
        except OSError as error:
            outcome[drop.name] = error
    try:
        files.fsync_directory(state.incoming)
    except OSError as error:
        return dict.fromkeys(outcome, error)
    return outcome


def reject(state: StateDirectory, files: Files, refusal: Refusal) -> Path | None:
    """Moves a file to `rejected/`, with the reason beside it as NAME.error.

    @return: where it is now; None if there is another file of this name by now, which may be better
    @raise OSError: it could not be moved
    """
    target = _free(state.rejected, refusal.name)
    error_file = target.with_name(target.name + ".error")
    reason = f"{refusal.reason}\nCorrect the file and move it to {state.incoming} again.\n"
    files.write_file(error_file, reason.encode("utf-8", "backslashreplace"), sync=False)
    try:
        moved = _take(state, files, refusal.name, refusal.identity, target)
    except OSError:
        files.unlink(error_file)
        raise
    if not moved:
        files.unlink(error_file)
    return target if moved else None


def _take(state: StateDirectory, files: Files, name: str, identity: str, target: Path) -> bool:
    """Moves a file out of `incoming/`, unless its name stands for another one by now.

    First moved and then looked at: the other way round, a file put there in between would be taken for the old one.
    """
    try:
        files.rename(state.incoming / name, target)
    except FileNotFoundError:
        return False
    if identity_of(name, files.stat(target)) == identity:
        return True
    files.rename(target, _free(state.incoming, name))
    return False


def _free(directory: Path, name: str) -> Path:
    short = os.fsdecode(os.fsencode(name)[:_NAME_BYTES])
    candidate, number = short, 1
    while os.path.lexists(directory / candidate) or os.path.lexists(directory / f"{candidate}.error"):
        candidate = f"{short}.{time.strftime('%Y%m%dT%H%M%S')}" + (f"-{number}" if number > 1 else "")
        number += 1
    return directory / candidate


def _refuse_unopened(path: Path, error: OSError) -> Refusal | None:
    reasons = {
        errno.ELOOP: "it is a symbolic link, and links are not followed; move the file itself here",
        errno.ENXIO: "only regular files are taken, no sockets",
        errno.EACCES: "the daemon's user may not read it; give it the right to",
        errno.EPERM: "the daemon's user may not read it; give it the right to",
    }
    if error.errno not in reasons:
        raise error
    with suppress(FileNotFoundError):
        return Refusal(path.name, identity_of(path.name, os.lstat(path)), reasons[error.errno])
    return None


def _too_large(name: str, identity: str, size: int, max_bytes: int) -> Refusal:
    return Refusal(name, identity, f"it is too large: {size} bytes, and {max_bytes} are allowed (queue.max_job_size)")
