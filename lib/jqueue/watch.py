"""Being told about changes in a directory: inotify under Twisted.

The only user of pyinotify. An event is a hint, never the truth: whoever watches a directory also scans it, at the
start, when `on_rescan` asks for it, and from time to time. What a name means does not live here.
Directories are watched, never files, because a rename over a watched file ends its watch.
"""

from __future__ import annotations

import logging
import os
import struct
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

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

_HEAD = struct.Struct("iIII")  # watch descriptor, mask, cookie, bytes of the name
_READ_BYTES = 16384  # some 500 events: a millisecond or two of the reactor's time, then it looks after others


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


def _events(data: bytes) -> Iterator[tuple[int, int, str]]:
    offset = 0
    while offset < len(data):
        descriptor, mask, _cookie, length = _HEAD.unpack_from(data, offset)
        offset += _HEAD.size
        yield descriptor, mask, os.fsdecode(data[offset : offset + length].rstrip(b"\0"))
        offset += length
