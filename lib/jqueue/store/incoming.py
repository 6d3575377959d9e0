"""Noticing what is dropped into `incoming/`: an event is a hint and the scan is the truth; watch, scan, process.

A file that was renamed in, or closed after writing, is complete; any other once it did not change for a while.
What becomes of a complete file is `intake`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import islice
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from jqueue.store import dropped
from jqueue.store.dropped import SETTLE, Sight
from jqueue.store.files import Files
from jqueue.store.intake import Intake, Submitter
from jqueue.store.statedir import StateDirectory
from jqueue.store.thread import FileThread, InlineThread
from jqueue.watch import CLOSE_WRITE, CREATE, MOVED_TO, DirectoryWatch

POLL = 5.0  # seconds between two scans where the directory cannot be watched
_SLICE = 1000  # names a call of the reading thread


class Incoming:
    """Watches `incoming/` and feeds the queue; belongs to the reactor thread."""

    log = Logger()

    def __init__(
        self,
        state: StateDirectory,
        files: Files,
        threads: tuple[FileThread | InlineThread, FileThread | InlineThread],
        watch: DirectoryWatch,
        clock: IReactorTime,
        submitter: Submitter,
        *,
        rescan: float = 60.0,
        settle: float = SETTLE,
        max_bytes: int = 4 << 20,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Does nothing before `start`.

        @param threads: the one that reads dropped files, and the one that removes and rejects them
        @param rescan: seconds between two scans
        @param settle: seconds without a change after which a file counts as complete whose writer did not close it
        @param max_bytes: the largest file that is taken
        @param now: the wall time, seconds since the epoch, as the file system has it
        """
        self._state = state
        self._files = files
        self._reader, self._writer = threads
        self._watch = watch
        self._clock = clock
        self._rescan = rescan
        self._settle = settle
        self._now = now
        self._intake = Intake(state, files, threads, submitter, max_bytes, self._on_sight)
        self._settling: dict[str, str | None] = {}
        self._scanning = self._scan_again = False
        self._running = False
        self._rescan_timer: IDelayedCall | None = None
        self._settle_timer: IDelayedCall | None = None

    @property
    def pending(self) -> int:
        """How many dropped files are known and not dealt with."""
        return len(self._intake) + len(self._settling)

    def start(self) -> None:
        """Watches, then scans, and so on."""
        self._running = True
        self._watch_and_scan()

    def stop(self) -> None:
        """Takes nothing more; what is submitted already is still removed, if the threads run long enough."""
        self._running = False
        self._intake.stop()
        for timer in (self._rescan_timer, self._settle_timer):
            if timer is not None and timer.active():
                timer.cancel()

    def retry(self) -> None:
        """Tries the files again that the queue did not want before: it is not drained, or not full, any more."""
        self._scan_soon()

    def gone(self, identities: Iterable[str]) -> Deferred[list[str]]:
        """Finds out, at the start, which remembered identities need not be remembered any longer.

        @return: fires with those that no file in `incoming/` has, once that is on the disk
        """
        asked = list(identities)

        def find() -> list[str]:
            self._files.fsync_directory(self._state.incoming)
            there = dropped.look(self._state.incoming, dropped.walk(self._state.incoming), self._now())
            present = {sight.identity for sight in there}
            return [identity for identity in asked if identity not in present]

        return self._writer.call(find)

    # Seeing

    def _watch_and_scan(self) -> None:
        mask = MOVED_TO | CLOSE_WRITE | CREATE
        watched = self._watch.watch(self._state.incoming, mask, self._on_event, self._scan_soon)
        delay = self._rescan if watched else min(self._rescan, POLL)
        self._rescan_timer = self._clock.callLater(delay, self._watch_and_scan)
        self._scan_soon()

    def _on_event(self, name: str, mask: int) -> None:
        if not self._running or not dropped.is_wanted(name):
            return
        if mask & (MOVED_TO | CLOSE_WRITE):
            self._offer(name)
        else:  # a link, or a file that somebody is writing now
            self._settling.setdefault(name, None)
            self._settle_later()

    def _scan_soon(self) -> None:
        self._intake.resume()
        if self._scanning:
            self._scan_again = True
        elif self._running:
            self._scanning = True
            self._scan()

    @inlineCallbacks
    def _scan(self) -> Generator[Deferred[Any], Any, None]:
        names = dropped.walk(self._state.incoming)
        more = True
        while more and self._running:
            try:
                more, sights = yield self._reader.call(self._look_at_slice, names)
            except Exception:
                self.log.failure("cannot look into {path}", path=str(self._state.incoming))
                break
            for sight in sights:
                self._on_sight(sight)
        self._scanning = False
        if self._scan_again:
            self._scan_again = False
            self._scan_soon()

    def _look_at_slice(self, names: Iterator[str]) -> tuple[bool, list[Sight]]:
        taken = list(islice(names, _SLICE))
        return len(taken) == _SLICE, dropped.look(self._state.incoming, taken, self._now(), self._settle)

    def _on_sight(self, sight: Sight) -> None:
        if sight.name in self._intake:
            return
        if sight.settled:
            self._offer(sight.name)
        else:
            self._settling.setdefault(sight.name, sight.identity)
            self._settle_later()

    def _offer(self, name: str) -> None:
        self._settling.pop(name, None)
        self._intake.offer(name)

    def _settle_later(self) -> None:
        if self._settle_timer is None and self._running and self._settling:
            self._settle_timer = self._clock.callLater(self._settle, self._look_again)

    @inlineCallbacks
    def _look_again(self) -> Generator[Deferred[Any], Any, None]:
        names = list(self._settling)
        try:
            sights = yield self._reader.call(dropped.look, self._state.incoming, names, self._now(), self._settle)
        except Exception:
            self.log.failure("cannot look into {path}", path=str(self._state.incoming))
            sights = []
        found = {sight.name: sight for sight in sights}
        for name in names:
            if name not in self._settling:
                continue
            before, sight = self._settling.pop(name), found.get(name)
            if sight and (sight.settled or sight.identity == before):
                self._offer(name)
            elif sight:
                self._settling[name] = sight.identity
        self._settle_timer = None
        self._settle_later()
