"""A MessagePack-RPC connection as cheap as Python allows, because the client takes part of the machine it measures."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import msgpack

NOOP = [{"OP_ID": "OP_TEST_DUMMY"}]
"""The job of all measurements: one opcode that does nothing."""

FINAL = frozenset({"success", "error", "canceled"})

_TIMEOUT = 120.0


class Pipe:
    """One connection; messages may be sent while answers are outstanding."""

    def __init__(self, path: Path) -> None:
        """Connects.

        @raise OSError: nobody listens there
        """
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise
        self._socket.settimeout(_TIMEOUT)
        self._packer = msgpack.Packer()
        self._unpacker = msgpack.Unpacker(max_buffer_size=0)

    def __enter__(self) -> Pipe:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes it."""
        self._socket.close()

    def fileno(self) -> int:
        """Gives the descriptor, for `select`."""
        return self._socket.fileno()

    def send(self, requests: list[tuple[str, tuple[object, ...]]], msgid: int = 0) -> None:
        """Sends requests, all in one write.

        @param requests: method and arguments of each
        """
        self._socket.sendall(b"".join([self._packer.pack([0, msgid, name, args]) for name, args in requests]))

    def receive(self) -> Iterator[list[Any]]:
        """Gives the messages that have come, waiting for bytes once.

        @raise RuntimeError: one is an error, or the daemon closed the connection
        """
        data = self._socket.recv(1 << 18)
        if not data:
            raise RuntimeError("the daemon closed the connection")
        self._unpacker.feed(data)
        for message in self._unpacker:
            if message[0] == 1 and message[2] is not None:
                raise RuntimeError(f"the daemon answered {message[2]}")
            yield message

    def call(self, method: str, *arguments: object) -> Any:
        """Calls a method and waits for its result; notifications are passed over."""
        self.send([(method, arguments)])
        while True:
            for message in self.receive():
                if message[0] == 1:
                    return message[3]

    def finish(self, job_id: int) -> str:
        """Waits for the end of a job, by its changes.

        @return: its status
        """
        seen: object = None
        while True:
            answer = self.call("WaitForJobChange", job_id, ["status"], seen, None, 60.0)
            seen = answer[0]
            if answer[0][0] in FINAL:
                return str(answer[0][0])


def readable(pipes: list[Pipe]) -> Iterator[Pipe]:
    """Gives connections with something to read, for ever; each must be read from before the next is asked for."""
    poll = select.epoll()
    by_descriptor = {pipe.fileno(): pipe for pipe in pipes}
    for descriptor in by_descriptor:
        poll.register(descriptor, select.EPOLLIN)
    until = time.monotonic() + _TIMEOUT
    while time.monotonic() < until:
        for descriptor, _ in poll.poll(1.0):
            yield by_descriptor[descriptor]
    raise RuntimeError("the measurement took too long")
