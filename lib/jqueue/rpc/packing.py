"""Packs MessagePack-RPC messages; a reply with a long list is packed piece by piece while it is sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgpack

from jqueue.errors import ProgrammerError
from jqueue.jobs.rows import RowStream

REQUEST = 0
RESPONSE = 1
NOTIFICATION = 2

_ROWS = 32
_BYTES = 16_384
"""A part of a list ends after so many members or bytes, whichever comes first: a fraction of a millisecond."""
_LONG = 8 * _ROWS


class Packing:
    """Makes messages; not for use by several threads."""

    def __init__(self) -> None:
        self._packer = msgpack.Packer(default=_larger_than_64_bit)
        # A result may hold text that cannot be encoded; it is rare, and encoding leniently costs a copy.
        self._lenient = msgpack.Packer(default=_larger_than_64_bit, unicode_errors="backslashreplace")

    def response(self, msgid: int, result: object) -> bytes | Iterator[bytes]:
        """Packs a result.

        @return: the message; or its parts, made one by one, if the result is a long list or a map with one
        @raise TypeError: it holds what MessagePack cannot say
        @raise ValueError: it is nested too deep
        """
        members = result.values() if isinstance(result, dict) else (result,)
        if not any(map(_is_long, members)):
            return self._pack([RESPONSE, msgid, None, result])
        return self._parts(msgid, result)

    def error(self, msgid: int, error: list[Any]) -> bytes:
        """Packs an error.

        @param error: as `jqueue.errors.encode` gives it
        """
        return self._pack([RESPONSE, msgid, error, None])

    def notification(self, name: str, arguments: list[Any]) -> bytes:
        """Packs a notification."""
        return self._pack([NOTIFICATION, name, arguments])

    def _pack(self, value: object) -> bytes:
        try:
            return self._packer.pack(value)
        except UnicodeEncodeError:
            return self._lenient.pack(value)

    def _parts(self, msgid: int, result: object) -> Iterator[bytes]:
        yield self._packer.pack_array_header(4) + self._pack(RESPONSE) + self._pack(msgid) + self._pack(None)
        yield from self._value(result)

    def _value(self, value: object) -> Iterator[bytes]:
        if isinstance(value, (RowStream, list)):
            yield self._packer.pack_array_header(len(value))
            yield from self._members(value)
        elif isinstance(value, dict):
            yield self._packer.pack_map_header(len(value))
            for key, member in value.items():
                yield self._pack(key)
                yield from self._value(member)
        else:
            yield self._pack(value)

    def _members(self, value: RowStream | list[Any]) -> Iterator[bytes]:
        count = size = 0
        part: list[bytes] = []
        for member in value:
            part.append(self._pack(member))
            count += 1
            size += len(part[-1])
            if len(part) == _ROWS or size >= _BYTES:
                yield b"".join(part)
                part, size = [], 0
        yield b"".join(part)
        if count != len(value):
            raise ProgrammerError(f"a table of {len(value)} rows was announced and {count} came")


def _is_long(value: object) -> bool:
    return isinstance(value, RowStream) or (isinstance(value, list) and len(value) > _LONG)


def _larger_than_64_bit(value: object) -> str:
    if isinstance(value, int):
        return str(value)
    raise TypeError(f"a result holds a {type(value).__name__}, which no message can carry")
