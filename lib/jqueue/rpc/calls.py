"""What one MessagePack-RPC message asks for; pure."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple

import msgpack

from jqueue.errors import OpPrereqError
from jqueue.rpc.frames import decode
from jqueue.rpc.packing import NOTIFICATION, REQUEST

_FORM = "a request is [0, msgid, method, [arguments]], a notification [2, method, [arguments]]"


class Call(NamedTuple):
    """A method to call."""

    method: str
    arguments: list[Any]
    msgid: int | None
    """The id under which to answer; None for a notification, which is not answered."""


def read_call(frame: bytes) -> Generator[None, None, Call]:
    """Reads a message, a large one in several steps.

    @raise OpPrereqError: it is neither request nor notification, or cannot be decoded
    """
    message = yield from decode(frame)
    kind = message[0] if isinstance(message, list) and message and type(message[0]) is int else None
    match message:
        case [_, msgid, method, list(arguments)] if kind == REQUEST and _is_id(msgid):
            return Call(_name(method), arguments, msgid)
        case [_, method, list(arguments)] if kind == NOTIFICATION:
            return Call(_name(method), arguments, None)
    raise OpPrereqError(_FORM)


def request_id(start: bytes) -> int | None:
    """Reads the id of a request from the first bytes of its message.

    @return: None if it is no request, or has no valid id
    """
    unpacker = msgpack.Unpacker(read_size=64)
    unpacker.feed(start[:32])
    try:
        unpacker.read_array_header()
        kind, msgid = unpacker.unpack(), unpacker.unpack()
    except (ValueError, msgpack.OutOfData):
        return None
    return msgid if type(kind) is int and kind == REQUEST and _is_id(msgid) else None


def _is_id(msgid: object) -> bool:
    return type(msgid) is int and 0 <= msgid < 2**32


def _name(method: object) -> str:
    """Reads a method's name, which older libraries send as bytes."""
    if isinstance(method, bytes):
        return method.decode(errors="backslashreplace")
    return method if isinstance(method, str) else repr(method)[:60]
