"""The client's side of MessagePack-RPC, without any input or output: what to send, and what came."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgpack

from jqueue.errors import GenericError, ProtocolError, decode

_MAX_ID = 2**32


@dataclass(frozen=True)
class Response:
    """The answer to a request: a result, or an error."""

    msgid: int
    error: GenericError | None
    result: Any


@dataclass(frozen=True)
class Notification:
    """Something that the daemon tells without being asked."""

    name: str
    arguments: list[Any]


class Messages:
    """One connection's messages."""

    def __init__(self) -> None:
        self._next = 0
        self._packer = msgpack.Packer()
        self._unpacker = msgpack.Unpacker(max_buffer_size=0, strict_map_key=False)

    def request(self, method: str, arguments: tuple[object, ...]) -> tuple[int, bytes]:
        """Makes a request.

        @return: its id, and what to send
        @raise ProtocolError: an argument is nothing that a message can carry
        """
        msgid, self._next = self._next, (self._next + 1) % _MAX_ID
        return msgid, self._pack(method, [0, msgid, method, arguments])

    def notification(self, method: str, arguments: tuple[object, ...]) -> bytes:
        """Makes a notification, a request that is not answered.

        @raise ProtocolError: as `request`
        """
        return self._pack(method, [2, method, arguments])

    def received(self, data: bytes) -> Iterator[Response | Notification]:
        """Takes what came, and gives the messages that are complete by it.

        @raise ProtocolError: these are no messages of the protocol
        """
        self._unpacker.feed(data)
        try:
            for message in self._unpacker:
                yield _read(message)
        except (ValueError, TypeError, RecursionError) as error:
            raise ProtocolError(f"what came from the daemon cannot be understood: {error}") from None

    def _pack(self, method: str, message: list[object]) -> bytes:
        try:
            return self._packer.pack(message)
        except (TypeError, ValueError, OverflowError) as error:
            raise ProtocolError(f"the arguments of {method} cannot be sent: {error}") from None


def _read(message: object) -> Response | Notification:
    match message:
        case [1, int(msgid), error, result]:
            return Response(msgid, None if error is None else decode(error), result)
        case [2, str(name), list(arguments)]:
            return Notification(name, arguments)
    raise ProtocolError(f"what came from the daemon is neither response nor notification: {str(message)[:100]}")


def refusal(notification: Notification) -> GenericError | None:
    """Gives the error with which the daemon closes a connection, if that is what the notification says."""
    if notification.name == "Error" and notification.arguments:
        return decode(notification.arguments[0])
    return None
