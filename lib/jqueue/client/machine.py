"""What this machine says of itself and of the daemon's process: descriptors, inotify, disk space; mostly from `/proc`.

Each answer may be None: another user's processes show little, and a container may hide the rest.
What is too much or too little is `jqueue.client.doctor`'s to say.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_INOTIFY = "anon_inode:inotify"


@dataclass(frozen=True)
class Usage:
    """How much of something is in use."""

    used: int | None
    limit: int | None

    @property
    def share(self) -> float:
        """From 0 to 1; 0 where it is not known."""
        return self.used / self.limit if self.used is not None and self.limit else 0.0


@dataclass(frozen=True)
class Space:
    """Room on the file system that holds a directory, for users without privileges; bytes, and numbers of files."""

    free: int
    total: int
    free_files: int
    total_files: int


class Machine:
    """The machine, through its `/proc`."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc

    def descriptors(self, pid: int) -> Usage:
        """The descriptors of a process, and its soft limit."""
        limit = None
        with suppress(OSError, ValueError):
            for line in (self._proc / str(pid) / "limits").read_text().splitlines():
                if line.startswith("Max open files"):
                    limit = int(line.split()[3])
        links = self._links(pid)
        return Usage(None if links is None else len(links), limit)

    def has_inotify(self, pid: int) -> bool | None:
        """Whether a process has an inotify descriptor."""
        links = self._links(pid)
        return None if links is None else _INOTIFY in links.values()

    def inotify_instances(self, uid: int) -> Usage:
        """The inotify descriptors of a user, as far as they can be seen, and how many that user may have."""
        used = sum(list(links.values()).count(_INOTIFY) for links in map(self._links, self._processes(uid)) if links)
        return Usage(used, self._number("sys/fs/inotify/max_user_instances"))

    def inotify_watches(self, uid: int) -> Usage:
        """The inotify watches of a user, as far as they can be seen, and how many that user may have."""
        used = 0
        for pid in self._processes(uid):
            for descriptor, link in (self._links(pid) or {}).items():
                if link == _INOTIFY:
                    with suppress(OSError):
                        info = (self._proc / str(pid) / "fdinfo" / descriptor).read_text()
                        used += info.count("inotify wd:")
        return Usage(used, self._number("sys/fs/inotify/max_user_watches"))

    def owner(self, pid: int) -> int | None:
        """The uid that a process runs as."""
        try:
            return (self._proc / str(pid)).stat().st_uid
        except OSError:
            return None

    def state_dir(self, pid: int) -> Path | None:
        """The state directory whose lock a process has open."""
        for link in (self._links(pid) or {}).values():
            path = Path(link)
            if path.name == "lock" and (path.parent / "version").exists() and (path.parent / "journal").exists():
                return path.parent
        return None

    def space(self, directory: Path) -> Space:
        """@raise OSError: it cannot be told"""
        found = os.statvfs(directory)
        return Space(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize, found.f_favail, found.f_files)

    def _processes(self, uid: int) -> Iterator[int]:
        for entry in self._proc.iterdir():
            if entry.name.isdecimal() and self.owner(int(entry.name)) == uid:
                yield int(entry.name)

    def _links(self, pid: int) -> dict[str, str] | None:
        """@return: where each descriptor of a process leads; None if that cannot be seen"""
        links = {}
        try:
            for descriptor in (self._proc / str(pid) / "fd").iterdir():
                with suppress(OSError):  # closed meanwhile
                    links[descriptor.name] = os.readlink(descriptor)
        except OSError:
            return None
        return links

    def _number(self, name: str) -> int | None:
        try:
            return int((self._proc / name).read_text())
        except (OSError, ValueError):
            return None
