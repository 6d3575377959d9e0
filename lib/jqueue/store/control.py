"""`control/drained`: the file whose existence makes the queue refuse new jobs, and whose text is the reason.

An administrator's `touch` and `rm` work as well as the daemon's own commands; the file is the truth, so it survives a
restart. `control/drain`, the name that Ganeti's administrators know, counts too.
What being drained means for a submission does not live here.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from jqueue.errors import StateError, from_disk
from jqueue.store.files import Files
from jqueue.store.statedir import StateDirectory
from jqueue.store.thread import FileThread, InlineThread
from jqueue.watch import CLOSE_WRITE, CREATE, DELETE, MOVED_FROM, MOVED_TO, DirectoryWatch

NAMES = ("drained", "drain")
_REASON_BYTES = 1000


class Control:
    """Knows whether the queue is drained; belongs to the reactor thread."""

    log = Logger()

    def __init__(
        self,
        state: StateDirectory,
        files: Files,
        thread: FileThread | InlineThread,
        watch: DirectoryWatch,
        clock: IReactorTime,
        on_change: Callable[[str | None], None],
        rescan: float = 60.0,
    ) -> None:
        """Knows nothing before `start`.

        @param thread: the one that looks at the file and writes it
        @param on_change: is called with the new value of `drained` when it changes
        @param rescan: seconds between two looks without an event
        """
        self._state = state
        self._files = files
        self._thread = thread
        self._watch = watch
        self._clock = clock
        self._on_change = on_change
        self._rescan = rescan
        self._timer: IDelayedCall | None = None
        self._stopped = False
        self.drained: str | None = None
        """Why the queue takes no new jobs; empty if no reason was given, None if it takes them."""

    def start(self) -> Deferred[None]:
        """@return: fires once `drained` is what the directory says"""
        return self._watch_and_look()

    def stop(self) -> None:
        """Looks no more."""
        self._stopped = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def set(self, reason: str | None) -> Deferred[None]:
        """Drains the queue or opens it again, durably.

        @param reason: any text, shown to whoever is refused; None opens the queue
        @return: fires once it is on the disk and in `drained`; fails with `DiskFull` or `StateError`
        """
        shown = None if reason is None else clean_reason(reason.encode("utf-8", "backslashreplace"))
        written = self._thread.call(write_drained, self._state, self._files, reason)
        return written.addCallback(lambda _: self._apply(shown))

    def _watch_and_look(self) -> Deferred[None]:
        mask = CREATE | CLOSE_WRITE | MOVED_TO | MOVED_FROM | DELETE
        self._watch.watch(self._state.control, mask, self._on_event, self._on_rescan)
        self._timer = self._clock.callLater(self._rescan, self._watch_and_look)
        return self._look()

    def _on_event(self, name: str, mask: int) -> None:
        if name in NAMES:
            self._look()

    def _on_rescan(self) -> None:
        self._look()

    @inlineCallbacks
    def _look(self) -> Generator[Deferred[Any], Any, None]:
        if self._stopped:
            return
        try:
            drained = yield self._thread.call(read_drained, self._state)
        except Exception as error:
            self.log.error(
                "cannot tell whether the queue is drained, it stays as it was ({error}); check {path}",
                error=error,
                path=str(self._state.control),
            )
            return
        self._apply(drained)

    def _apply(self, drained: str | None) -> None:
        if drained != self.drained:
            self.drained = drained
            self._on_change(drained)


def clean_reason(data: bytes) -> str:
    """@return: the reason as one printable line, however the file was written"""
    text = data[:_REASON_BYTES].decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else " " for char in text).strip()


def read_drained(state: StateDirectory) -> str | None:
    """Reads the reason; anything by the name counts, but only a regular file's text is read.

    @return: the reason, empty without one; None if the queue is not drained
    @raise OSError: that cannot be told
    """
    for path in (state.control / name for name in NAMES):
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(status.st_mode):
            return ""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        except PermissionError:
            return ""
        try:
            return clean_reason(os.read(descriptor, _REASON_BYTES))
        finally:
            os.close(descriptor)
    return None


def write_drained(state: StateDirectory, files: Files, reason: str | None) -> None:
    """Makes or removes the file, durably; a link in its place is replaced or removed, not followed.

    @param reason: None removes it
    @raise StateError: a directory is in its place, or the disk failed
    @raise DiskFull: there is no space
    """
    try:
        if reason is not None:
            temporary = state.tmp / state.drained.name
            files.write_file(temporary, (reason + "\n").encode("utf-8", "backslashreplace"), sync=True)
            files.rename(temporary, state.drained)
        else:
            for name in NAMES:
                with suppress(FileNotFoundError):
                    files.unlink(state.control / name)
        files.fsync_directory(state.control)
    except IsADirectoryError as error:
        where = error.filename2 or error.filename
        raise StateError(f"{where} is a directory: the queue stays drained until you remove it") from error
    except OSError as error:
        raise from_disk(error, f"{state.drained} cannot be changed") from error
