"""Cuts a stream of bytes into MessagePack messages, and decodes them, within limits.

A message is first only walked over: a few bytes that announce a list of a billion members build nothing.
It is decoded once it is there as a whole. What a message means does not live here.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from functools import partial
from typing import Any

import msgpack

from jqueue.errors import OpPrereqError, ProtocolError

MAX_MEMBERS = 131_072
"""Members of one list or map in a message; bounds how long the reactor is kept with one of them."""
MAX_MEMBERS_IN_ALL = 2 * MAX_MEMBERS
"""Members of all lists and maps in a message, because some of what is done with it is done at once."""
MAX_DEPTH = 64
"""Lists and maps inside each other in a message."""

_SLICE = 32_768
"""Bytes decoded in one step: well under a millisecond."""
_MEMBERS = 4096
"""Members looked at in one step."""
_TOO_DEEP = f"the message is nested deeper than {MAX_DEPTH} levels"


class Frames:
    """The messages in what one connection has sent."""

    def __init__(self, limit: int) -> None:
        """Makes it empty.

        @param limit: bytes of the largest message
        """
        self._limit = limit
        self._data = bytearray()
        self._taken = 0
        # An Unpacker is 40 KiB, so an idle connection has none.
        self._scanner: msgpack.Unpacker | None = None

    def __len__(self) -> int:
        """How many bytes are held."""
        return len(self._data)

    def feed(self, data: bytes) -> None:
        """Adds bytes.

        @raise ProtocolError: more is held than the largest message has
        """
        if self._scanner is None:
            self._scanner = msgpack.Unpacker(read_size=1024, max_buffer_size=self._limit + 2**20)
            self._taken = 0
        self._data += data
        try:
            self._scanner.feed(data)
        except msgpack.BufferFull:
            raise self._too_large() from None

    def next(self) -> bytes | None:
        """Takes the next message.

        @return: None until it is there as a whole
        @raise ProtocolError: it is larger than the limit, or not MessagePack
        """
        if not self._data:
            self._scanner = None
        if self._scanner is None:
            return None
        try:
            self._scanner.skip()
        except msgpack.OutOfData:
            if len(self._data) > self._limit:
                raise self._too_large() from None
            return None
        except msgpack.StackError:
            raise ProtocolError(_TOO_DEEP) from None
        except ValueError:
            raise ProtocolError("this is not MessagePack; jqueue speaks MessagePack-RPC here") from None
        size = self._scanner.tell() - self._taken
        if size > self._limit:
            raise self._too_large()
        self._taken += size
        frame = bytes(memoryview(self._data)[:size])
        del self._data[:size]
        return frame

    def head(self) -> bytes:
        """Gives the first bytes of the message that is not complete."""
        return bytes(self._data[:32])

    def clear(self) -> None:
        """Throws everything away."""
        self._data.clear()
        self._scanner = None

    def _too_large(self) -> ProtocolError:
        return ProtocolError(f"the message is larger than {self._limit} bytes; send less at once")


def decode(frame: bytes) -> Generator[None, None, Any]:
    """Decodes a message, a large one in several steps.

    @return: what it holds
    @raise OpPrereqError: text that is not UTF-8, keys that are not text, extension types, too many members, too deep
    """
    small = len(frame) <= _SLICE
    try:
        value = _unpackb(frame) if small else (yield from _unpack_slices(frame))
    except UnicodeDecodeError as error:
        raise OpPrereqError(f"{_where(frame)} is not valid UTF-8 ({error.reason})") from None
    except (ValueError, TypeError) as error:
        reason = str(error).removesuffix(" when strict_map_key=True")
        raise OpPrereqError(f"the message cannot be taken: {reason}") from None
    if small:
        _check_depth(value)
    else:
        yield from _check_depth_in_slices(value)
    return value


def _unpack_slices(frame: bytes) -> Generator[None, None, Any]:
    unpacker = _unpacker(read_size=1024, max_buffer_size=len(frame) + _SLICE)
    for start in range(0, len(frame), _SLICE):
        unpacker.feed(frame[start : start + _SLICE])
        try:
            return unpacker.unpack()
        except msgpack.OutOfData:
            yield
    raise ValueError("it is not complete")


def _refuse_extension(code: int, data: bytes) -> object:
    raise ValueError(f"it has a value of the extension type {code}; plain types only are taken")


_unpackb = partial(
    msgpack.unpackb, max_array_len=MAX_MEMBERS, max_map_len=MAX_MEMBERS, max_ext_len=64, ext_hook=_refuse_extension
)
_unpacker = partial(
    msgpack.Unpacker, max_array_len=MAX_MEMBERS, max_map_len=MAX_MEMBERS, max_ext_len=64, ext_hook=_refuse_extension
)


Containers = list[list[Any] | dict[str, Any]]


def _check_depth(value: object) -> None:
    level: Containers = [value] if isinstance(value, (list, dict)) else []
    for _ in range(MAX_DEPTH):
        level = [
            member
            for container in level
            for member in (container.values() if isinstance(container, dict) else container)
            if isinstance(member, (list, dict))
        ]
        if not level:
            return
    raise OpPrereqError(_TOO_DEEP)


def _check_depth_in_slices(value: object) -> Iterator[None]:
    members_in_all = 0
    level: Containers = [value] if isinstance(value, (list, dict)) else []
    for _ in range(MAX_DEPTH):
        below: Containers = []
        members_in_all += sum(map(len, level))
        if members_in_all > MAX_MEMBERS_IN_ALL:
            raise OpPrereqError(f"the message has more than {MAX_MEMBERS_IN_ALL} members in all; send less at once")
        for number, container in enumerate(level):
            members = list(container.values()) if isinstance(container, dict) else container
            for start in range(0, len(members), _MEMBERS):
                part = members[start : start + _MEMBERS]
                below.extend(member for member in part if isinstance(member, (list, dict)))
                if start or number % 256 == 255:
                    yield
        if not below:
            return
        level = below
    raise OpPrereqError(_TOO_DEEP)


def _where(frame: bytes) -> str:
    """Finds the text that is not UTF-8 and gives its path; in a large message that would take too long."""
    if len(frame) > _SLICE:
        return "a text in the message"
    try:
        message = msgpack.unpackb(frame, unicode_errors="surrogateescape")
    except (ValueError, TypeError):
        return "a text in the message"
    waiting: list[tuple[str, object]] = [("params", message[-1] if isinstance(message, list) else message)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, str) and _has_raw_bytes(value):
            return path
        if isinstance(value, dict):
            waiting.extend((f"a key of {path}", key) for key in value)
            waiting.extend((f"{path}.{key}", member) for key, member in value.items())
        elif isinstance(value, list):
            waiting.extend((f"{path}[{index}]", member) for index, member in enumerate(value))
    return "a text in the message"


def _has_raw_bytes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
