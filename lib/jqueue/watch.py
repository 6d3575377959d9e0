"""Being told about changes in directories: inotify under Twisted, and for a thread that has no reactor.

The only user of pyinotify. An event is a hint, never the truth: whoever watches a directory also scans it, at the
start, when events were lost, and from time to time. What a name means does not live here.
Directories are watched, never files, because a rename over a watched file ends its watch.
"""

from __future__ import annotations

import errno
import logging
import os
import struct
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

with warnings.catch_warnings():
    # It imports asyncore for one class, which is not used here.
    warnings.filterwarnings("ignore", "The asyncore module is deprecated", DeprecationWarning)
    import pyinotify

# Its import puts a handler on stderr: each of its log lines would come out twice.
for _handler in list(logging.getLogger("pyinotify").handlers):
    logging.getLogger("pyinotify").removeHandler(_handler)

CREATE: int = pyinotify.IN_CREATE
CLOSE_WRITE: int = pyinotify.IN_CLOSE_WRITE
MOVED_TO: int = pyinotify.IN_MOVED_TO
MOVED_FROM: int = pyinotify.IN_MOVED_FROM
DELETE: int = pyinotify.IN_DELETE

_CHANGES: int = (
    CREATE
    | CLOSE_WRITE
    | MOVED_TO
    | MOVED_FROM
    | DELETE
    | pyinotify.IN_MODIFY
    | pyinotify.IN_ATTRIB
    | pyinotify.IN_MOVE_SELF
    | pyinotify.IN_ONLYDIR
)
_NEW_CONTENT: int = CREATE | MOVED_TO | pyinotify.IN_MODIFY
_LOST: int = pyinotify.IN_Q_OVERFLOW | pyinotify.IN_UNMOUNT

_HEAD = struct.Struct("iIII")  # watch descriptor, mask, cookie, bytes of the name
_READ_BYTES = 16384  # some 500 events: a millisecond or two of the reactor's time, then it looks after others
_READS = 64  # a tree that changes all the time must not keep its watcher from looking at it


@dataclass(frozen=True)
class _Watch:
    callback: Callable[[str, int], None]
    on_rescan: Callable[[], None]


@implementer(IReadDescriptor)
class DirectoryWatch:
    """Any number of watched directories on one inotify descriptor; belongs to the reactor thread.

    The events are read here and not by pyinotify's notifier: that one takes all that are pending at once, which stops
    the reactor for a third of a second when the kernel's queue is full, and loses all over one name that is not UTF-8.
    """

    log = Logger()

    def __init__(self, reactor: IReactorFDSet) -> None:
        """Opens the inotify descriptor; without one (a limit of the system) every `watch` answers False."""
        self._reactor = reactor
        self._watches: dict[int, _Watch] = {}
        self._refused: set[Path] = set()  # so that trying again from time to time does not fill the log
        self._manager: pyinotify.WatchManager | None = None
        try:
            self._manager = pyinotify.WatchManager()
        except (OSError, pyinotify.PyinotifyError) as error:
            self.log.warn(
                "inotify is not available ({error}): directories are only scanned from time to time;"
                " raise the sysctl fs.inotify.max_user_instances",
                error=error,
            )
            return
        os.set_blocking(self.fileno(), False)
        os.set_inheritable(self.fileno(), False)
        reactor.addReader(self)

    def watch(self, path: Path, mask: int, callback: Callable[[str, int], None], on_rescan: Callable[[], None]) -> bool:
        """Watches a directory; doing so again renews the watch and is cheap.

        @param path: the directory
        @param mask: the events wanted, `MOVED_TO | DELETE`, ...
        @param callback: is called with the name (undecodable bytes as by `os.fsdecode`) and the event's mask
        @param on_rescan: is called when events were lost, or the directory is gone: scan it, and watch it again
        @return: False if it cannot be watched (the reason is logged), so that only the scans from time to time are left
        """
        if self._manager is None:
            return False
        try:
            answer: dict[str, int] = self._manager.add_watch(str(path), mask | pyinotify.IN_ONLYDIR, quiet=False)
        except (pyinotify.WatchManagerError, UnicodeEncodeError) as error:
            if path not in self._refused:
                self._refused.add(path)
                self.log.warn(
                    "cannot watch {path} ({error}): it is only scanned from time to time;"
                    " if it says 'No space left', raise the sysctl fs.inotify.max_user_watches",
                    path=str(path),
                    error=error,
                )
            return False
        self._refused.discard(path)
        for descriptor in answer.values():
            self._watches[descriptor] = _Watch(callback, on_rescan)
        return True

    def stop(self) -> None:
        """Ends all watches; nothing is called back any more."""
        if self._manager is None:
            return
        self._reactor.removeReader(self)
        self._manager.close()
        self._manager = None
        self._watches.clear()

    # What the reactor calls

    def fileno(self) -> int:
        return -1 if self._manager is None else int(self._manager.get_fd())

    def logPrefix(self) -> str:
        return "inotify"

    def connectionLost(self, reason: Failure) -> None:
        self.stop()

    def doRead(self) -> None:
        try:
            data = os.read(self.fileno(), _READ_BYTES)
        except BlockingIOError:
            return
        for descriptor, mask, name in _events(data):
            self._dispatch(descriptor, mask, name)

    def _dispatch(self, descriptor: int, mask: int, name: str) -> None:
        if mask & pyinotify.IN_Q_OVERFLOW:
            self.log.warn("the kernel's inotify queue was full, events are lost: every watched directory is scanned")
            for on_rescan in {watch.on_rescan: None for watch in self._watches.values()}:
                self._call(on_rescan)
            return
        if mask & pyinotify.IN_IGNORED:
            gone = self._watches.pop(descriptor, None)
            if gone and self._manager is not None:
                self._manager.del_watch(descriptor)
                self._call(gone.on_rescan)
            return
        watch = self._watches.get(descriptor)
        if watch and name:
            self._call(lambda: watch.callback(name, mask))

    def _call(self, function: Callable[[], None]) -> None:
        # What is raised here would make the reactor drop the descriptor, and with it every watch.
        try:
            function()
        except Exception:
            self.log.failure("a callback of a directory watch failed; please report this")


class TreeWatch:
    """The directories of one tree on one inotify descriptor; belongs to the thread that made it.

    Whoever scans the tree adds each directory just before its entries are read, so that none can appear unseen in
    between. A directory that appears later is reported as changed and is not watched (`watches`): it has to be scanned
    with all that is below it. Directories are named by their path from the top, which itself is "".
    """

    def __init__(self) -> None:
        """Opens the inotify descriptor; without one (a limit of the system) every `add` answers False."""
        self.refused: str | None = None
        """Why some directories are not watched, so that only scans find what changes in them; None if all are."""
        self._watched: dict[int, str] = {}
        self._numbers: dict[str, int] = {}
        self._scanned: set[str] | None = None
        self._calls = _system_calls()
        self._descriptor: int = self._calls.inotify_init()
        if self._descriptor < 0:
            self._refuse("max_user_instances")
            return
        os.set_blocking(self._descriptor, False)
        os.set_inheritable(self._descriptor, False)

    def fileno(self) -> int:
        """Gives the descriptor that is readable when something changed; -1 if there is none."""
        return self._descriptor

    def close(self) -> None:
        """Ends all watches."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def add(self, descriptor: int, directory: str) -> bool:
        """Watches a directory under a name, in the place of any other that had the name.

        @param descriptor: the open directory
        @return: False if it cannot be watched; see `refused`
        """
        if self._scanned is not None:
            self._scanned.add(directory)
        if self._descriptor < 0:
            return False
        # By its descriptor, because what stands at a path may be another directory by now, or a link out of the tree.
        number: int = self._calls.inotify_add_watch(self._descriptor, f"/proc/self/fd/{descriptor}", _CHANGES)
        if number < 0:
            self._refuse("max_user_watches")
        if self._numbers.get(directory) != number:
            self._forget(directory)
        if number < 0:
            return False
        former = self._watched.get(number)
        if former is not None and former != directory:
            del self._numbers[former]  # it was renamed
        self._watched[number], self._numbers[directory] = directory, number
        return True

    def watches(self, directory: str) -> bool:
        """Whether a directory is watched under that name."""
        return directory in self._numbers

    def begin_scan(self) -> None:
        """Says that every directory of the tree will be added again."""
        self._scanned = set()
        if self._descriptor >= 0:
            self.refused = None

    def end_scan(self) -> None:
        """Says that every directory was added; what was not is no part of the tree any more."""
        scanned, self._scanned = self._scanned or set(), None
        for directory in [each for each in self._numbers if each not in scanned]:
            self._forget(directory)

    def read(self) -> dict[str, set[str]] | None:
        """Takes the changes that were told since; never waits.

        @return: directories whose entries, or own attributes, changed, each with the names that may stand for another
            content than before, whatever size and times say; None if it may be any, because events were lost
        """
        changed: dict[str, set[str]] = {}
        lost = False
        for _ in range(_READS):
            data = self._take()
            if not data:
                break
            for number, mask, name in _events(data):
                lost |= self._note(number, mask, name, changed)
        return None if lost else changed

    def _take(self) -> bytes:
        try:
            return os.read(self._descriptor, _READ_BYTES) if self._descriptor >= 0 else b""
        except BlockingIOError:
            return b""

    def _note(self, number: int, mask: int, name: str, changed: dict[str, set[str]]) -> bool:
        """@return: whether events were lost by it"""
        if mask & _LOST:
            return True
        directory = self._watched.get(number)
        if directory is None:
            return False
        if mask & pyinotify.IN_IGNORED:
            del self._watched[number], self._numbers[directory]
        if mask & (pyinotify.IN_IGNORED | pyinotify.IN_MOVE_SELF):
            return directory == ""  # of others the directory above tells more
        names = changed.setdefault(directory, set())
        if mask & _NEW_CONTENT:
            names.add(name)
        if mask & pyinotify.IN_ISDIR and mask & (CREATE | MOVED_TO):
            entry = f"{directory}/{name}" if directory else name
            self._forget(entry)
            changed.setdefault(entry, set())
        return False

    def _forget(self, directory: str) -> None:
        number = self._numbers.pop(directory, None)
        if number is not None:
            del self._watched[number]
            self._calls.inotify_rm_watch(self._descriptor, number)

    def _refuse(self, limit: str) -> None:
        number = self._calls.get_errno()
        hint = f"; raise the sysctl fs.inotify.{limit}" if number in (errno.ENOSPC, errno.EMFILE) else ""
        self.refused = f"{os.strerror(number)}{hint}"


@cache
def _system_calls() -> Any:
    # It runs commands to find the C library.
    return pyinotify.INotifyWrapper.create()


def _events(data: bytes) -> Iterator[tuple[int, int, str]]:
    offset = 0
    while offset < len(data):
        descriptor, mask, _cookie, length = _HEAD.unpack_from(data, offset)
        offset += _HEAD.size
        yield descriptor, mask, os.fsdecode(data[offset : offset + length].rstrip(b"\0"))
        offset += length
