"""What has to be done so that one directory becomes as another: the only place that says when two entries are the same.

Pure: it compares two listings. How they are read lives in `jqueue.opcodes.treedirs`, and what the steps do in
`jqueue.opcodes.treesync`.

Two regular files are the same if size and time of modification are; two symbolic links, if they have the same text.
Mode, and for links and directories the time, are set right in place; the owner too, if the daemon may give files away.
Without that the set-id bits are left out as well: they would hand the daemon's own rights to whoever runs the copy.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from os import stat_result
from typing import NamedTuple

_TEMPORARY = re.compile(r"\.jqueue-mirror-\d+\.\d+-[0-9a-z]+\.part", re.ASCII)
_TIME_STEPS = (1, 100, 1_000, 1_000_000, 1_000_000_000, 2_000_000_000)


def temporary_prefix(job_id: int, op_index: int) -> str:
    """Gives what the names of an opcode's temporary files begin with."""
    return f".jqueue-mirror-{job_id}.{op_index}-"


def is_temporary(name: str) -> bool:
    """Whether a name is that of a temporary file, of whichever job."""
    return _TEMPORARY.fullmatch(name) is not None


class Entry(NamedTuple):
    """What a name in a directory stands for."""

    state: stat_result
    link: str = ""
    """The text of a symbolic link."""


class What(Enum):
    """What to do about a name."""

    REMOVE = "remove"
    DIRECTORY = "make directory"
    COPY = "copy"
    LINK = "make link"
    ATTRIBUTES = "set attributes of"
    SKIP = "skip"
    """A socket, a fifo or a device: these are not for copying."""


class Step(NamedTuple):
    """One thing to do; `source` and `target` are what the name stands for on either side."""

    what: What
    name: str
    source: Entry | None
    target: Entry | None


@dataclass
class Rules:
    """When two entries are the same, and what may be done to the target."""

    prefix: str
    """What the names of the own temporary files begin with; any that are there were left by a crash."""
    delete: bool
    """Whether what is not in the source is removed."""
    owners: bool
    """Whether owners are kept, for which it takes the rights of root."""
    time_step: int = 1
    """Nanoseconds between two times that the target's file system can tell apart."""

    def same_time(self, source: int, target: int) -> bool:
        """Whether two times of modification, in nanoseconds, are the same as far as the target can tell."""
        return abs(source - target) < self.time_step

    def learn_time(self, wanted: int, kept: int) -> None:
        """Takes notice of what the target's file system made of a time."""
        self.time_step = max(self.time_step, next((step for step in _TIME_STEPS if abs(wanted - kept) < step), 1))

    def mode(self, source: stat_result) -> int:
        """Gives the permissions that a copy gets."""
        return stat.S_IMODE(source.st_mode) & (0o7777 if self.owners else 0o1777)

    def same_owner(self, source: stat_result, target: stat_result) -> bool:
        """Whether the owners are the same, or are not kept."""
        return not self.owners or (source.st_uid, source.st_gid) == (target.st_uid, target.st_gid)

    def same_attributes(self, source: stat_result, target: stat_result) -> bool:
        """Whether there is nothing to set on the target, which has the same type and content."""
        if not stat.S_ISLNK(source.st_mode) and self.mode(source) != stat.S_IMODE(target.st_mode):
            return False
        return self.same_owner(source, target) and self.same_time(source.st_mtime_ns, target.st_mtime_ns)


Listing = Mapping[str, Entry]
"""The entries of a directory by their names."""


def differences(source: Listing, target: Listing, rules: Rules) -> Iterator[Step]:
    """Compares two directories; what is below their subdirectories, and the attributes of these, is not looked at.

    @return: what to do, what is to be removed first
    """
    wanted = {name: entry for name, entry in source.items() if not is_temporary(name) and not _is_special(entry)}
    for name in sorted(target.keys() - wanted.keys()):
        if rules.delete or name.startswith(rules.prefix):
            yield Step(What.REMOVE, name, None, target[name])
    for name in sorted(source):
        if name in wanted:
            what = _difference(wanted[name], target.get(name), rules)
        else:
            what = None if is_temporary(name) else What.SKIP
        if what is not None:
            yield Step(what, name, source[name], target.get(name))


def subdirectories(listing: Listing) -> list[str]:
    """Gives the names of the directories in a listing."""
    return sorted(name for name, entry in listing.items() if stat.S_ISDIR(entry.state.st_mode))


def _is_special(entry: Entry) -> bool:
    return stat.S_IFMT(entry.state.st_mode) not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)


def _difference(source: Entry, target: Entry | None, rules: Rules) -> What | None:
    if target is not None and stat.S_IFMT(source.state.st_mode) != stat.S_IFMT(target.state.st_mode):
        target = None
    if stat.S_ISDIR(source.state.st_mode):
        return What.DIRECTORY if target is None else None
    if stat.S_ISLNK(source.state.st_mode):
        if target is None or source.link != target.link:
            return What.LINK
    elif (
        target is None
        or source.state.st_size != target.state.st_size
        or not rules.same_time(source.state.st_mtime_ns, target.state.st_mtime_ns)
    ):
        return What.COPY
    return None if rules.same_attributes(source.state, target.state) else What.ATTRIBUTES
