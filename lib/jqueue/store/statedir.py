"""The state directory: where each thing is, how an empty one is set up, and the lock that keeps it to one daemon.

What the files contain does not live here.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from jqueue.errors import StateDirLocked, StateError
from jqueue.store.files import Files

LAYOUT_VERSION = "1"
JOBS_PER_ARCHIVE_DIRECTORY = 10_000

_MODE = 0o750
_NEW_VERSION = "version.new"
_SUBDIRECTORIES = ("control", "incoming", "rejected", "run", "journal", "archive", "tmp")
_NOT_ENTRIES = {_NEW_VERSION, "lock", "lost+found"}


@dataclass(frozen=True)
class StateDirectory:
    """The layout of one state directory."""

    path: Path

    @property
    def version(self) -> Path:
        return self.path / "version"

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def control(self) -> Path:
        return self.path / "control"

    @property
    def drained(self) -> Path:
        return self.path / "control" / "drained"

    @property
    def incoming(self) -> Path:
        return self.path / "incoming"

    @property
    def rejected(self) -> Path:
        return self.path / "rejected"

    @property
    def run(self) -> Path:
        return self.path / "run"

    @property
    def journal(self) -> Path:
        return self.path / "journal"

    @property
    def archive(self) -> Path:
        return self.path / "archive"

    @property
    def tmp(self) -> Path:
        return self.path / "tmp"

    def job_file(self, job_id: int) -> Path:
        return self.path / f"job-{job_id}"

    def log_file(self, job_id: int) -> Path:
        return self.path / f"job-{job_id}.log"

    def archive_directory(self, job_id: int) -> Path:
        """@return: the directory for this job's files in the archive; it may not exist yet"""
        return self.archive / str(job_id // JOBS_PER_ARCHIVE_DIRECTORY)

    def run_directory(self, job_id: int, op_index: int, attempt: int) -> Path:
        """@return: the directory for one attempt of one opcode; it may not exist yet"""
        return self.run / f"{job_id}.{op_index}.{attempt}"

    def prepare(self, files: Files) -> None:
        """Sets up a missing or empty directory; one that is in use already only gets what it lacks.

        @raise StateError: it cannot be used, belongs to something else, or has another layout
        """
        try:
            self._make_root(files)
            names = files.listdir(self.path)
            if self.version.name in names:
                self._check_version(files)
            elif foreign := sorted(set(names) - _NOT_ENTRIES):
                raise StateError(
                    f"{self.path} is not a state directory of jqueue: it has no file `version`, but holds"
                    f" {foreign[0]!r}; name an empty directory or one that does not exist yet"
                )
            else:
                self._write_version(files)
            for name in _SUBDIRECTORIES:
                directory = self.path / name
                with suppress(FileExistsError):
                    files.mkdir(directory, _MODE)
                if not stat.S_ISDIR(files.stat(directory).st_mode):
                    raise StateError(f"{directory} must be a directory; move away what is there and start again")
            files.fsync_directory(self.path)
        except OSError as error:
            raise _state_error(self.path, error) from error

    def clean(self, files: Files) -> None:
        """Removes what an earlier daemon left in `tmp/`; only for who holds the lock.

        @raise StateError: a file cannot be removed
        """
        try:
            for name in files.listdir(self.tmp):
                files.unlink(self.tmp / name)
        except OSError as error:
            raise _state_error(self.tmp, error) from error

    def _make_root(self, files: Files) -> None:
        if self.path.is_symlink() and not self.path.exists():
            raise StateError(
                f"the state directory {self.path} is a symbolic link that leads nowhere; remove or correct it"
            )
        missing = []
        path = self.path
        while not _exists(files, path):
            missing.append(path)
            path = path.parent
        for path in reversed(missing):
            with suppress(FileExistsError):
                files.mkdir(path, _MODE)
            files.fsync_directory(path.parent)

    def _check_version(self, files: Files) -> None:
        found = files.read_file(self.version).decode("ascii", "replace").strip()
        if found != LAYOUT_VERSION:
            raise StateError(
                f"{self.version} says layout {found[:40]!r}, this jqueue knows layout {LAYOUT_VERSION!r} only;"
                " use the jqueue that made the directory, or name another directory"
            )

    def _write_version(self, files: Files) -> None:
        new = self.path / _NEW_VERSION
        files.write_file(new, f"{LAYOUT_VERSION}\n".encode(), sync=True)
        files.rename(new, self.version)
        files.fsync_directory(self.path)


class Holder(NamedTuple):
    """Who has a state directory."""

    pid: int | None
    """None for a process that has not written it down yet."""
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} (since {self.since})" if self.pid is not None else "another process"


class DirectoryLock:
    """Keeps a state directory to one daemon: a flock, which ends with the process whatever happens."""

    def __init__(self, state: StateDirectory) -> None:
        self._path = state.lock
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Takes the lock and writes into it who has it and since when.

        @raise StateDirLocked: another process has it
        @raise StateError: the lock file cannot be opened or written
        """
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
        except OSError as error:
            raise _state_error(self._path, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()} {time.strftime('%Y-%m-%dT%H:%M:%S%z')}\n".encode(), 0)
        except BlockingIOError as error:
            holder = _read_holder(descriptor)
            os.close(descriptor)
            raise StateDirLocked(
                f"{self._path.parent} is in use: {holder} holds {self._path};"
                " stop that daemon first, or give this one a state directory of its own"
            ) from error
        except OSError as error:
            os.close(descriptor)
            raise _state_error(self._path, error) from error
        self._descriptor = descriptor

    def holder(self) -> Holder | None:
        """Looks who has the lock, and changes nothing.

        @return: None if nobody has it
        @raise OSError: the lock file cannot be read
        """
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _read_holder(descriptor)
        finally:
            os.close(descriptor)
        return None

    def release(self) -> None:
        """Gives the lock back; the file stays, because removing it would let two daemons lock two files."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _read_holder(descriptor: int) -> Holder:
    words = os.pread(descriptor, 100, 0).decode("ascii", "replace").split()
    return Holder(int(words[0]), words[1]) if len(words) == 2 and words[0].isdecimal() else Holder(None, "")


def _exists(files: Files, path: Path) -> bool:
    try:
        files.stat(path)
    except FileNotFoundError:
        return False
    return True


def _state_error(path: Path, error: OSError) -> StateError:
    where = error.filename or path
    advice = {
        errno.EACCES: "give the daemon's user the right to write there, or name another directory",
        errno.EPERM: "give the daemon's user the right to write there, or name another directory",
        errno.EROFS: "the file system is mounted read-only; mount it for writing, or name another directory",
        errno.ENOSPC: "free some space on that disk and start again",
        errno.EDQUOT: "the user's quota is used up; raise it or free some space and start again",
        errno.ENOTDIR: "a file is in the way; name a directory",
        errno.ELOOP: "symbolic links lead in a circle; correct them, or name another directory",
    }.get(error.errno or 0, "check the disk and start again")
    return StateError(f"the state directory {path} cannot be used: {where}: {error.strerror}; {advice}")
