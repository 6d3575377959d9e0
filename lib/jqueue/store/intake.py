"""Taking dropped files: reading each one, handing it to the queue once, and clearing it away.

A file leaves `incoming/` only after its submission is durable, and the queue remembers the file's identity until the
removal is on the disk: so it is submitted exactly once, whenever the daemon is killed.
How files are noticed is `incoming`; what is done with one on the disk is `dropped`; what they mean does not live here.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

from twisted.internet.defer import Deferred, inlineCallbacks, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from jqueue.errors import GenericError, JobQueueError, StateError
from jqueue.store import dropped
from jqueue.store.dropped import Drop, Refusal, Sight
from jqueue.store.files import Files
from jqueue.store.statedir import StateDirectory
from jqueue.store.thread import FileThread, InlineThread

MAX_ACTIVE = 200  # drops that are read, being submitted or being removed
MAX_ACTIVE_BYTES = 32 << 20
_READ = 20  # files a call of the reading thread


class Submitter(Protocol):
    """What the queue does for dropped files."""

    def submit(self, drop: Drop) -> Deferred[Any]:
        """Submits a description.

        @return: fires once the submission, with the drop's identity and hash, is durable; a `JobQueueError` or
          `StateError` leaves the file where it is, any other error rejects it
        """

    def known(self, identity: str) -> bool:
        """@return: whether this one was submitted, and `done` was not called for it since"""

    def done(self, identities: list[str]) -> None:
        """Takes note that these files are gone, and that this is on the disk: they need not be remembered."""


@dataclass
class _Active:
    size: int = 0
    again: bool = False


class Intake:
    """Feeds the queue with dropped files, so many at a time; belongs to the reactor thread."""

    log = Logger()

    def __init__(
        self,
        state: StateDirectory,
        files: Files,
        threads: tuple[FileThread | InlineThread, FileThread | InlineThread],
        submitter: Submitter,
        max_bytes: int,
        on_unsettled: Callable[[Sight], None],
    ) -> None:
        """Holds nothing yet.

        @param threads: the one that reads dropped files, and the one that removes and rejects them
        @param max_bytes: the largest file that is taken
        @param on_unsettled: is told of a file that changed while it was read
        """
        self._state = state
        self._files = files
        self._reader, self._writer = threads
        self._submitter = submitter
        self._max_bytes = max_bytes
        self._on_unsettled = on_unsettled
        self._ready: dict[str, None] = {}
        self._active: dict[str, _Active] = {}
        self._active_bytes = 0
        self._submitted: list[Drop] = []
        self._reading = self._removing = False
        self._held = False
        self._stopped = False

    def __len__(self) -> int:
        return len(self._ready) + len(self._active)

    def __contains__(self, name: str) -> bool:
        return name in self._ready or name in self._active

    def offer(self, name: str) -> None:
        """Takes a file that is complete; one that is being dealt with is looked at again afterwards."""
        if active := self._active.get(name):
            active.again = True
        elif not self._stopped:
            self._ready[name] = None
            self._pump()

    def resume(self) -> None:
        """Goes on after the queue did not want any more."""
        self._held = False
        self._pump()

    def stop(self) -> None:
        """Takes nothing more; what is submitted already is still removed, if the threads run long enough."""
        self._stopped = True
        self._ready.clear()

    def _pump(self) -> None:
        if not self._reading:
            self._reading = True
            self._read_ready()

    def _has_room(self) -> bool:
        return len(self._active) < MAX_ACTIVE and self._active_bytes < MAX_ACTIVE_BYTES

    @inlineCallbacks
    def _read_ready(self) -> Generator[Deferred[Any], Any, None]:
        while not self._stopped and not self._held and self._ready and self._has_room():
            names = list(islice(self._ready, _READ))
            for name in names:
                del self._ready[name]
                self._active[name] = _Active()
            try:
                results = yield self._reader.call(self._read, names)
            except Exception:
                self.log.failure("cannot read dropped files, the next scan tries again")
                results = dict.fromkeys(names)
            for name in names:
                if name in results:
                    self._on_read(name, results[name])
                else:
                    self._active[name].again = True
                    self._release(name)
        self._reading = False

    def _read(self, names: list[str]) -> dict[str, Drop | Refusal | Sight | OSError | None]:
        results: dict[str, Drop | Refusal | Sight | OSError | None] = {}
        size = 0
        for name in names:
            try:
                result = results[name] = dropped.read(self._state.incoming, name, self._max_bytes)
            except OSError as error:
                results[name] = error
                continue
            if isinstance(result, Drop):
                size += len(result.data)
            if size > MAX_ACTIVE_BYTES // 2:
                break
        return results

    def _on_read(self, name: str, result: Drop | Refusal | Sight | OSError | None) -> None:
        if isinstance(result, Drop):
            self._hand_over(result)
        elif isinstance(result, Refusal):
            self._reject(result)
        else:
            if isinstance(result, OSError):
                self.log.warn("cannot read a dropped file, the next scan tries again: {error}", error=result)
            self._release(name)
            if isinstance(result, Sight):
                self._on_unsettled(result)

    def _hand_over(self, drop: Drop) -> None:
        if self._submitter.known(drop.identity):
            self._remove(drop)
            return
        self._active[drop.name].size = len(drop.data)
        self._active_bytes += len(drop.data)
        submitted = maybeDeferred(self._submitter.submit, drop)
        submitted.addCallbacks(lambda _: self._remove(drop), lambda failure: self._on_refusal(drop, failure))

    def _on_refusal(self, drop: Drop, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, (JobQueueError, StateError)):
            if not self._held:
                self.log.info("dropped files stay in {path}: {error}", path=str(self._state.incoming), error=error)
            self._held = True
            self._ready.clear()
            self._release(drop.name)
        elif isinstance(error, GenericError):
            self._reject(Refusal(drop.name, drop.identity, str(error)))
        else:
            self.log.failure("submitting the dropped file {name} failed; please report this", failure, name=drop.name)
            reason = (
                f"submitting it failed ({type(error).__name__}: {error}); the daemon's log has more, please report it"
            )
            self._reject(Refusal(drop.name, drop.identity, reason))

    def _release(self, name: str) -> None:
        active = self._active.pop(name)
        self._active_bytes -= active.size
        if active.again and not self._stopped:
            self._ready[name] = None
        self._pump()

    # Clearing away

    def _remove(self, drop: Drop) -> None:
        self._submitted.append(drop)
        if not self._removing:
            self._removing = True
            self._remove_submitted()

    @inlineCallbacks
    def _remove_submitted(self) -> Generator[Deferred[Any], Any, None]:
        while self._submitted:
            drops, self._submitted = self._submitted, []
            try:
                outcome = yield self._writer.call(dropped.remove, self._state, self._files, drops)
            except Exception as error:
                outcome = {drop.name: error for drop in drops}
            if gone := [drop.identity for drop in drops if outcome[drop.name] is None]:
                self._submitter.done(gone)
            for drop in drops:
                if outcome[drop.name]:
                    self.log.error(
                        "{path} was submitted but cannot be removed ({error}); the next scan tries again",
                        path=str(self._state.incoming / drop.name),
                        error=outcome[drop.name],
                    )
                self._release(drop.name)
        self._removing = False

    @inlineCallbacks
    def _reject(self, refusal: Refusal) -> Generator[Deferred[Any], Any, None]:
        try:
            where = yield self._writer.call(dropped.reject, self._state, self._files, refusal)
            if where is not None:
                self.log.warn("rejected a dropped file, now {path}: {reason}", path=str(where), reason=refusal.reason)
        except Exception as error:
            self.log.error(
                "{path} is not valid ({reason}) but cannot be moved to rejected ({error}); the next scan tries again",
                path=str(self._state.incoming / refusal.name),
                reason=refusal.reason,
                error=error,
            )
        self._release(refusal.name)
