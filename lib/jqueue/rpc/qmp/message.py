"""The form of QMP's messages: what a request must look like, and the bytes of greetings, replies and events.

Which commands there are lives in `jqueue.rpc.qmp.commands`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

from jqueue import __version__
from jqueue.errors import GenericError
from jqueue.rpc.qmp.faults import GENERIC, QmpError

_END = "\r\n"
_FLAT = 256
"""Members that a list or object may have to be written in one go, if there are none inside it."""
_SLICE = 16_384
"""Characters written in one step."""

Container = Mapping[str, object] | Sequence[object] | Iterator[object]
_CONTAINERS = (Mapping, list, tuple, Iterator)


class Request(NamedTuple):
    """A command to carry out."""

    command: str
    arguments: dict[str, Any]
    out_of_band: bool


def read_request(value: object, *, oob: bool) -> Request:
    """Reads what a client has sent.

    @param oob: whether the client has enabled commands out of band
    @raise QmpError: it is no request
    """
    if not isinstance(value, dict):
        raise QmpError("QMP input must be a JSON object")
    known = ("execute", "exec-oob") if oob else ("execute",)
    named = [member for member in known if member in value]
    for member, content in value.items():
        if member in named:
            if not isinstance(content, str):
                raise QmpError(f"QMP input member '{member}' must be a string")
        elif member == "arguments":
            if not isinstance(content, dict):
                raise QmpError("QMP input member 'arguments' must be an object")
        elif member != "id":
            raise QmpError(f"QMP input member '{member}' is unexpected")
    if not named:
        raise QmpError("QMP input lacks member 'execute'")
    if len(named) == 2:
        raise QmpError("QMP input member 'execute' clashes with 'exec-oob'")
    return Request(value[named[0]], value.get("arguments", {}), named[0] == "exec-oob")


def version() -> dict[str, object]:
    """Says who we are, in the form of `query-version`."""
    major, minor, micro = (int(part) for part in __version__.split(".")[:3])
    return {"qemu": {"micro": micro, "minor": minor, "major": major}, "package": f"jqueue {__version__}"}


def greeting() -> bytes:
    """Makes what a client is told first."""
    return _bytes({"QMP": {"version": version(), "capabilities": []}})


def event(name: str, data: Mapping[str, object], time: float) -> bytes:
    """Makes an event.

    @param time: when it happened, in seconds since the epoch
    """
    microseconds = round(time * 1_000_000)
    timestamp = {"seconds": microseconds // 1_000_000, "microseconds": microseconds % 1_000_000}
    return _bytes({"timestamp": timestamp, "event": name, "data": data})


def reply(result: object, identity: Mapping[str, object]) -> bytes | Iterator[bytes]:
    """Makes the reply to a command that was carried out.

    @param identity: the member `id` as it came, or nothing
    @return: in parts if it is long
    @raise TypeError: the result is nothing that JSON has; in parts, only when that is reached
    """
    return _whole_or_parts({"return": result, **identity})


def error_reply(error: GenericError, identity: Mapping[str, object]) -> bytes | Iterator[bytes]:
    """Makes the reply to a command that failed; see `reply`."""
    error_class = error.error_class if isinstance(error, QmpError) else GENERIC
    return _whole_or_parts({**identity, "error": {"class": error_class, "desc": error.text}})


def _bytes(value: object) -> bytes:
    return (json.dumps(value) + _END).encode("ascii")


def _whole_or_parts(value: object) -> bytes | Iterator[bytes]:
    parts = _parts(value)
    first, second = next(parts), next(parts, None)
    return first if second is None else chain([first, second], parts)


def _parts(value: object) -> Iterator[bytes]:
    """Writes a value in parts of bounded size."""
    texts: list[str] = []
    size = 0
    for text in _texts(value):
        texts.append(text)
        size += len(text)
        if size > _SLICE:
            yield "".join(texts).encode("ascii")
            texts, size = [], 0
    yield ("".join(texts) + _END).encode("ascii")


def _texts(value: object) -> Iterator[str]:
    """Writes a value without recursion: what came as `id` may be nested deeper than Python's own writer goes."""
    inside = [(iter([("", value)]), "")]
    while inside:
        members, end = inside[-1]
        for prefix, member in members:
            if not isinstance(member, _CONTAINERS) or _is_flat(member):
                yield prefix + json.dumps(member)
                continue
            begin, its_end = "{}" if isinstance(member, Mapping) else "[]"
            yield prefix + begin
            inside.append((_members(member), its_end))
            break
        else:
            yield end
            inside.pop()


def _members(container: Container) -> Iterator[tuple[str, object]]:
    """Gives what to write before each member, and the member."""
    comma = ""
    if isinstance(container, Mapping):
        for key, member in container.items():
            yield f"{comma}{json.dumps(key)}: ", member
            comma = ", "
    else:
        for member in container:
            yield comma, member
            comma = ", "


def _is_flat(container: Container) -> bool:
    if isinstance(container, Iterator):
        return False
    members = container.values() if isinstance(container, Mapping) else container
    return len(members) <= _FLAT and not any(isinstance(member, _CONTAINERS) for member in members)
