"""Messages from threads to the reactor thread, many for one wake-up.

The only way from a worker to the queue; nothing here waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

_TURN = 200  # messages handled before the reactor gets to look at its sockets again


class Mailbox:
    """Calls functions on the reactor thread, in the order in which they were posted; one that fails is logged."""

    _log = Logger()

    def __init__(self, call_from_thread: Callable[[Callable[[], None]], None]) -> None:
        """Makes an empty mailbox.

        @param call_from_thread: runs its argument on the reactor thread, soon (the reactor's `callFromThread`)
        """
        self._call_from_thread = call_from_thread
        self._messages: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._woken = False

    def post(self, function: Callable[..., object], *arguments: Any) -> None:
        """Has `function(*arguments)` called on the reactor thread; may be called on any thread."""
        self._messages.append((function, arguments))
        # Two threads may both find the flag down: then one wake-up too many is made, never one too few,
        # because the reader takes the flag down before it looks at the messages.
        if not self._woken:
            self._woken = True
            self._call_from_thread(self._deliver)

    def _deliver(self) -> None:
        self._woken = False
        for _ in range(_TURN):
            try:
                function, arguments = self._messages.popleft()
            except IndexError:
                return
            try:
                function(*arguments)
            except Exception:
                # The messages behind it belong to others.
                self._log.failure("A message from a worker could not be handled")
        if self._messages and not self._woken:
            self._woken = True
            self._call_from_thread(self._deliver)
