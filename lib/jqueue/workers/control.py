"""What the queue asks of running code: to stop, to pause, to go slower.

The reactor thread sets, the worker thread looks; the one place where the two share memory.
What follows from it (statuses, slots) does not live here.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable

CANCEL = "cancel"
TIMEOUT = "timeout"
SHUTDOWN = "shutdown"


class Control:
    """The requests to one running opcode."""

    def __init__(self, parked: Callable[[], None], converged: Callable[[], None]) -> None:
        """Makes one without requests.

        @param parked: called on the worker thread when the code stops at a pause point; `go_on` answers each call
        @param converged: called on the worker thread, once, when the code has converged
        """
        self._parked = parked
        self._converged = converged
        self._has_converged = False
        self._may_go_on = True
        self._changed = threading.Condition()
        self._descriptor: int | None = None
        self.stop_reason: str | None = None
        self.kill_now = False
        self.paused = False
        self.told: str | None = None
        """How code that has converged is to come to its end."""
        self.speed = 0

    # On the reactor thread

    def stop(self, reason: str, *, kill: bool = False) -> None:
        """Asks the code to stop; the first reason stays.

        @param reason: `CANCEL`, `TIMEOUT` or `SHUTDOWN`
        @param kill: do not leave it time to end by itself
        """
        self._set(stop_reason=self.stop_reason or reason, kill_now=self.kill_now or kill)

    def pause(self, paused: bool) -> None:
        """Asks the code to pause at its next pause point; or to go on, which it does when `go_on` is called too."""
        self._set(paused=paused)

    def go_on(self) -> None:
        """Gives code that has stopped at a pause point its worker slot back."""
        self._set(_may_go_on=True)

    def complete(self, how: str) -> None:
        """Tells code that has converged to come to its end.

        @param how: what its `ready` gives it
        """
        self._set(told=how)

    def forget(self) -> None:
        """Takes back what was asked of code that has ended, so that it does not hinder its commit or undo.

        That the daemon stops counts for these as well.
        """
        ends = self.stop_reason == SHUTDOWN
        self._set(
            stop_reason=SHUTDOWN if ends else None, kill_now=self.kill_now and ends, paused=False, _may_go_on=True
        )

    def set_speed(self, speed: int) -> None:
        """Sets the limit, in progress units (bytes) a second; 0 is no limit.

        A rest is cut short only if the limit is raised; a lower one counts from the next piece of work.
        """
        raised = self.speed != 0 and (speed == 0 or speed > self.speed)
        if raised:
            self._set(speed=speed)
        else:
            self.speed = speed

    def _set(self, **values: object) -> None:
        with self._changed:
            for name, value in values.items():
                setattr(self, name, value)
            self._changed.notify_all()
            if self._descriptor is not None:
                os.eventfd_write(self._descriptor, 1)

    # On the worker thread

    @property
    def stop_requested(self) -> bool:
        """Whether the code is to stop."""
        return self.stop_reason is not None

    def wait_pause(self) -> None:
        """Stays here while the code is to be paused; a stop request ends the pause."""
        with self._changed:
            # Again, because a new pause may come before this thread has noticed that the last one is over.
            while self.paused and not self.stop_requested:
                self._may_go_on = False
                self._parked()
                while not self._may_go_on and not self.stop_requested:
                    self._changed.wait()

    def sleep(self, seconds: float) -> None:
        """Waits for that long, or until anything is asked of the code."""
        with self._changed:
            if not self.stop_requested and not self.paused:
                self._changed.wait(seconds)

    def wait_told(self, seconds: float | None, descriptor: int | None) -> str | None:
        """Stays here until the code, which has converged, is told to come to its end; a pause point.

        @param seconds: give up after that long
        @param descriptor: give up when that becomes readable
        @return: how it is to end; None after giving up, or to stop
        """
        if not self._has_converged:
            self._has_converged = True
            self._converged()
        deadline = None if seconds is None else time.monotonic() + seconds
        given_up = False
        while True:
            self.wait_pause()
            if self.stop_requested or self.told is not None or given_up:
                return self.told
            left = None if deadline is None else deadline - time.monotonic()
            given_up = (left is not None and left <= 0) or self._wait_asked(left, descriptor)

    def _wait_asked(self, seconds: float | None, descriptor: int | None) -> bool:
        """Waits until anything is asked.

        @return: whether the descriptor has become readable
        """
        if descriptor is None:
            with self._changed:
                if not (self.stop_requested or self.paused or self.told):
                    self._changed.wait(seconds)
            return False
        asked = select.poll()
        for one in (descriptor, self.fileno()):
            asked.register(one, select.POLLIN)
        if self.stop_requested or self.paused or self.told:  # it came before there was something to wake
            return False
        found = asked.poll(None if seconds is None else seconds * 1000)
        self.clear()
        return any(one == descriptor for one, _ in found)

    def fileno(self) -> int:
        """Gives a descriptor that becomes readable when anything is asked."""
        with self._changed:
            if self._descriptor is None:
                self._descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            return self._descriptor

    def clear(self) -> None:
        """Makes the descriptor unreadable until the next request."""
        if self._descriptor is not None:
            try:
                os.eventfd_read(self._descriptor)
            except BlockingIOError:
                return

    def close(self) -> None:
        """Gives the descriptor back."""
        with self._changed:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None
