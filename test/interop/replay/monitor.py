"""Clients of `qmp.sock`, several at once: what comes is taken as it comes, and kept in order."""

from __future__ import annotations

import json
import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from . import story
from .story import Heard

PATIENCE = 20.0
"""Seconds in which something that is to happen has to happen."""


class Monitor:
    """One connection; `receive` takes what is there."""

    def __init__(self, path: Path, now: Callable[[], int]) -> None:
        """Connects.

        @param now: numbers what comes
        """
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(os.fspath(path))
        self._socket.setblocking(False)
        self._now = now
        self._data = b""
        self.open = True
        self.negotiated = False
        self.greeting: Any = None
        self.replies: deque[Any] = deque()
        self.events: list[Any] = []
        self.heard: dict[str, list[Heard]] = {}
        """By our id of a job."""

    def fileno(self) -> int:
        """Gives the descriptor, for `select`."""
        return self._socket.fileno()

    def send(self, data: bytes) -> None:
        """Sends all of it; what the daemon sends meanwhile is taken."""
        while data:
            select.select([], [self], [], PATIENCE)
            data = data[self._socket.send(data) :]

    def ask(self, command: str, arguments: object, identity: object) -> None:
        """Sends a command."""
        self.send(json.dumps({"execute": command, "arguments": arguments, "id": identity}).encode())

    def close(self) -> None:
        """Closes the connection."""
        self.open = False
        self._socket.close()

    def receive(self) -> None:
        """Takes what has come."""
        try:
            data = self._socket.recv(1 << 20)
        except ConnectionResetError:
            data = b""
        if not data:
            assert not self._data, f"the last line has no end: {self._data!r}"
            self.close()
        *lines, self._data = (self._data + data).split(b"\r\n")
        for line in lines:
            self._take(json.loads(line.decode("ascii")))

    def _take(self, message: Any) -> None:
        if self.greeting is None:
            self.greeting = message
        elif "event" in message:
            self.events.append(message)
            if message["event"] in story.EVENTS:
                heard = self.heard.setdefault(story.subject(message), [])
                heard.append(Heard(self._now(), story.event(message)))
        else:
            self.replies.append(message)


def wait(monitors: Iterable[Monitor], done: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    """Takes what comes to any of the clients until something is true.

    @return: False if it has not become true in time
    """
    deadline = time.monotonic() + seconds
    while not done():
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        readable, _, _ = select.select([each for each in monitors if each.open], [], [], left)
        for each in readable:
            each.receive()
    return True
