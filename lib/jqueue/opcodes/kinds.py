"""What values a parameter takes: one checker for each type an author can write.

A kind is made once, from the annotation, and checks many values.
Which parameters an opcode has, and their defaults, live in `jqueue.opcodes.params`.
"""

from __future__ import annotations

import json
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, Protocol, Union

from jqueue.errors import OpPrereqError

MAX_TEXT = 4 << 20
"""Characters in one text; a larger input belongs in a file."""
MAX_DEPTH = 32
"""Lists and maps inside each other."""

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")
_NOT_IN_TEXT = re.compile("[\x00\ud800-\udfff]")
_QUOTE_IT = "YAML reads no, yes, on and off as booleans: put it in quotes"


class Kind(Protocol):
    """One type of values."""

    @property
    def name(self) -> str:
        """What is expected, in the words of an error message."""
        ...

    def fits(self, value: object) -> bool:
        """Whether the outermost type is right, so that an error inside is the one to report."""
        ...

    def check(self, value: object, path: str) -> Any:
        """Checks one value.

        @param path: where it stands, for the error
        @return: the value to use
        @raise OpPrereqError: it is not of this kind
        """
        ...


def refuse(path: str, text: str) -> OpPrereqError:
    """Makes the error for one bad value.

    @param path: where it stands, as in `ops[0].argv[2]`
    """
    return OpPrereqError(f"{path}: {text}")


def inside(path: str, key: object) -> str:
    """Gives the path of a member of the map at `path`."""
    return f"{path}.{key}" if isinstance(key, str) and _PLAIN_KEY.match(key) else f"{path}[{describe(key)}]"


def describe(value: object) -> str:
    """Names a value in an error message, in a bounded number of characters."""
    if isinstance(value, Mapping):
        return "a map"
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, (bytes, bytearray)):
        return "binary data"
    if isinstance(value, str):
        return json.dumps(value if len(value) <= 60 else value[:60] + "...")
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int):
        return str(value) if -(2**64) < value < 2**64 else "a huge number"
    if isinstance(value, float):
        return str(value)
    return f"{type(value).__name__} {str(value)[:60]}"


def _expected(kind: Kind, value: object, path: str) -> OpPrereqError:
    return refuse(path, f"{kind.name} expected, got {describe(value)}")


class Text:
    """Text without NUL and surrogates."""

    name = "text"

    def fits(self, value: object) -> bool:
        """See `Kind`."""
        return isinstance(value, str)

    def check(self, value: object, path: str) -> str:
        """See `Kind`."""
        if not isinstance(value, str):
            if isinstance(value, bool):
                raise refuse(path, f"text expected, got {describe(value)} ({_QUOTE_IT})")
            raise _expected(self, value, path)
        if len(value) > MAX_TEXT:
            raise refuse(path, f"the text has {len(value)} characters, at most {MAX_TEXT} are taken; use a file")
        if bad := _NOT_IN_TEXT.search(value):
            raise refuse(path, f"the text has the character U+{ord(bad.group()):04X} at {bad.start()}; remove it")
        return value


class Boolean:
    """True or false; never a number."""

    name = "true or false"

    def fits(self, value: object) -> bool:
        """See `Kind`."""
        return isinstance(value, bool)

    def check(self, value: object, path: str) -> bool:
        """See `Kind`."""
        if not isinstance(value, bool):
            raise _expected(self, value, path)
        return value


class Integer:
    """A whole number that the journal can hold; never a boolean."""

    name = "whole number"

    def fits(self, value: object) -> bool:
        """See `Kind`."""
        return isinstance(value, int) and not isinstance(value, bool)

    def check(self, value: object, path: str) -> int:
        """See `Kind`."""
        if not isinstance(value, int) or isinstance(value, bool):
            raise _expected(self, value, path)
        if not -(2**63) <= value < 2**63:
            raise refuse(path, "the number does not fit in 64 bits")
        return value


class Number:
    """A finite number, whole or not; never a boolean."""

    name = "number"

    def fits(self, value: object) -> bool:
        """See `Kind`."""
        return isinstance(value, (int, float)) and not isinstance(value, bool)

    def check(self, value: object, path: str) -> float:
        """See `Kind`."""
        if isinstance(value, float):
            if not math.isfinite(value):
                raise refuse(path, f"finite number expected, got {value}")
            return value
        if not isinstance(value, int) or isinstance(value, bool):
            raise _expected(self, value, path)
        return Integer().check(value, path)


class Null:
    """Nothing."""

    name = "null"

    def fits(self, value: object) -> bool:
        """See `Kind`."""
        return value is None

    def check(self, value: object, path: str) -> None:
        """See `Kind`."""
        if value is not None:
            raise _expected(self, value, path)


class OneOf:
    """One of a few fixed values."""

    def __init__(self, choices: Sequence[object]) -> None:
        self._choices = tuple(choices)
        self.name = "one of " + ", ".join(describe(choice) for choice in self._choices)

    def fits(self, value: object) -> bool:
        """See `Kind`."""
        return any(type(value) is type(choice) and value == choice for choice in self._choices)

    def check(self, value: object, path: str) -> object:
        """See `Kind`."""
        if not self.fits(value):
            raise _expected(self, value, path)
        return value


_BARE: Final = frozenset({bool, int, type(None)})
_SMALL: Final = 2**63


class Plain:
    """Anything that JSON can say."""

    name = "plain value"
    _scalars: tuple[Kind, ...] = (Null(), Boolean(), Text(), Number())

    def fits(self, value: object) -> bool:
        """See `Kind`."""
        return True

    def check(self, value: object, path: str, depth: int = 0) -> Any:
        """See `Kind`."""
        if depth > MAX_DEPTH:
            raise refuse(path, f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(value, Mapping):
            return {_key(key, path): self.check(item, inside(path, key), depth + 1) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            # Long lists are mostly of these; a path for each member would keep the reactor for seconds.
            if set(map(type, value)) <= _BARE and all(-_SMALL < (member or 0) < _SMALL for member in value):
                return list(value)
            return [self.check(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)]
        for kind in self._scalars:
            if kind.fits(value):
                return kind.check(value, path)
        raise _expected(self, value, path)


class ListOf:
    """A list of one kind."""

    def __init__(self, item: Kind) -> None:
        self._item = item
        self.name = f"list ({item.name})"

    def fits(self, value: object) -> bool:
        """See `Kind`."""
        return isinstance(value, (list, tuple))

    def check(self, value: object, path: str) -> list[Any]:
        """See `Kind`."""
        if not isinstance(value, (list, tuple)):
            raise refuse(path, f"list expected, got {describe(value)}")
        return [self._item.check(item, f"{path}[{index}]") for index, item in enumerate(value)]


class MapOf:
    """A map from text to one kind."""

    def __init__(self, item: Kind) -> None:
        self._item = item
        self.name = f"map ({item.name})"

    def fits(self, value: object) -> bool:
        """See `Kind`."""
        return isinstance(value, Mapping)

    def check(self, value: object, path: str) -> dict[str, Any]:
        """See `Kind`."""
        if not isinstance(value, Mapping):
            raise refuse(path, f"map expected, got {describe(value)}")
        return {_key(key, path): self._item.check(item, inside(path, key)) for key, item in value.items()}


class Fields:
    """A map with named members, from a `TypedDict`."""

    name = "map"

    def __init__(self, fields: Mapping[str, Kind], required: frozenset[str]) -> None:
        self._fields = fields
        self._required = required

    def fits(self, value: object) -> bool:
        """See `Kind`."""
        return isinstance(value, Mapping)

    def check(self, value: object, path: str) -> dict[str, Any]:
        """See `Kind`."""
        if not isinstance(value, Mapping):
            raise _expected(self, value, path)
        for key in value:
            if key not in self._fields:
                raise refuse(inside(path, key), f"unknown; known are {', '.join(self._fields)}")
        if missing := [name for name in self._fields if name in self._required and name not in value]:
            raise refuse(path, f"missing: {', '.join(missing)}")
        return {key: self._fields[key].check(item, inside(path, key)) for key, item in value.items()}


class AnyOf:
    """One of several kinds."""

    def __init__(self, kinds: Sequence[Kind]) -> None:
        self._kinds = tuple(kinds)
        self.name = " or ".join(kind.name for kind in self._kinds)

    def fits(self, value: object) -> bool:
        """See `Kind`."""
        return any(kind.fits(value) for kind in self._kinds)

    def check(self, value: object, path: str) -> Any:
        """See `Kind`."""
        for kind in self._kinds:
            if kind.fits(value):
                return kind.check(value, path)
        others = [kind for kind in self._kinds if not isinstance(kind, Null)]
        if len(others) == 1:
            return others[0].check(value, path)
        raise _expected(self, value, path)


def _key(key: object, path: str) -> str:
    if not isinstance(key, str):
        raise refuse(path, f"text expected as key, got {describe(key)} (put it in quotes)")
    return Text().check(key, inside(path, key))


_SIMPLE: dict[object, type[Kind]] = {
    str: Text,
    bool: Boolean,
    int: Integer,
    float: Number,
    type(None): Null,
    Any: Plain,
    object: Plain,
}


def kind_of(annotation: object) -> Kind:
    """Makes the checker for a type.

    @param annotation: `str int float bool None`, `object` (any plain value), `list[T]`, `dict[str, T]`, `Literal[...]`,
        a union of such, or a `TypedDict` of such
    @raise TypeError: another type
    """
    if isinstance(annotation, type(Any)) or isinstance(annotation, type) or annotation is Any:
        if annotation in _SIMPLE:
            return _SIMPLE[annotation]()
        if typing.is_typeddict(annotation):
            hints = typing.get_type_hints(annotation)
            required: frozenset[str] = getattr(annotation, "__required_keys__", frozenset())
            return Fields({name: kind_of(hint) for name, hint in hints.items()}, required)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return OneOf(arguments)
    if origin is Union or origin is types.UnionType:
        return AnyOf([kind_of(argument) for argument in arguments])
    if origin is list:
        return ListOf(kind_of(arguments[0]))
    if origin is dict and arguments[0] is str:
        return MapOf(kind_of(arguments[1]))
    raise TypeError(
        f"parameters cannot have the type {annotation}; use str, int, float, bool, None, object, list[T], "
        "dict[str, T], Literal[...], a union of them, or a TypedDict"
    )
