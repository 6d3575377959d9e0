"""Strict YAML: text in, plain values out, and a clear refusal of everything that surprises.

Only maps with text keys, lists, text, numbers, booleans and null come out; dates, base-60 numbers, merge keys, custom
tags, duplicate keys, deep nesting and aliases that explode are refused with the line.
What the values mean does not live here, see `jqueue.config` and `jqueue.jobs.description`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import yaml

from jqueue.errors import GenericError, OpPrereqError

Value: TypeAlias = "None | bool | int | float | str | list[Value] | dict[str, Value]"

MAX_DEPTH = 32
MAX_ALIASED = 100_000
"""How many values all aliases of one text may add up to."""

_LOADER: type[yaml.SafeLoader] | type[yaml.CSafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"


def parse(text: str, source: str, error: type[GenericError] = OpPrereqError) -> list[Value]:
    """Reads every document of a YAML text.

    @param text: the text
    @param source: what to call it in errors, a file name for example
    @param error: the class of the errors
    @return: the documents, in order; an empty one is None
    @raise GenericError: of class `error`, with source, line and reason, for text that is not YAML or not taken here
    """
    try:
        return _Builder().documents(text)
    except _Refused as refused:
        raise error(f"{source}:{refused.line}: {refused.reason}") from None
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        if mark and "maximum nesting depth" in str(exc.problem):
            # Newer libyaml has a limit of its own, and meets it while it still reads ahead.
            raise error(f"{source}:{mark.line + 1}: nested deeper than {MAX_DEPTH} levels") from None
        where = f":{mark.line + 1}: column {mark.column + 1}" if mark else ""
        reason = ", ".join(part for part in (exc.context, exc.problem) if part)
        raise error(f"{source}{where}: this is not YAML: {reason}") from None
    except yaml.YAMLError as exc:
        raise error(f"{source}: this is not YAML: {' '.join(str(exc).split())}") from None


def check_number(value: int | float) -> str | None:
    """Tells why a number cannot be kept, if it cannot.

    @return: the reason, None for a number that is fine
    """
    if isinstance(value, float):
        return None if math.isfinite(value) else "is not a finite number"
    return None if -(2**63) <= value < 2**64 else "does not fit into 64 bits; quote it to keep it as text"


class _Refused(Exception):
    """Valid YAML that is not taken; the line counts from 1."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line
        self.reason = reason


class _Open:
    """A list or map whose end has not come yet."""

    __slots__ = ("anchor", "key", "value")

    def __init__(self, value: list[Value] | dict[str, Value], anchor: str | None) -> None:
        self.value = value
        self.anchor = anchor
        self.key: str | None = None


class _Builder:
    """Builds values from the parser's events; on a stack, since with recursion the text would choose the depth."""

    def __init__(self) -> None:
        self._line = 1
        self._documents: list[Value] = []
        self._stack: list[_Open] = []
        self._anchors: dict[str, Value] = {}
        self._aliased = 0

    def documents(self, text: str) -> list[Value]:
        for event in yaml.parse(text, Loader=_LOADER):
            if event.start_mark is not None:
                self._line = event.start_mark.line + 1
            if isinstance(event, yaml.ScalarEvent):
                self._add(self._scalar(event), event.anchor)
            elif isinstance(event, yaml.MappingStartEvent):
                self._open({}, event, "map")
            elif isinstance(event, yaml.SequenceStartEvent):
                self._open([], event, "seq")
            elif isinstance(event, yaml.CollectionEndEvent):
                done = self._stack.pop()
                self._add(done.value, done.anchor)
            elif isinstance(event, yaml.AliasEvent):
                self._add(self._alias(event.anchor or ""), None)
            elif isinstance(event, yaml.DocumentEndEvent):
                self._anchors.clear()
        return self._documents

    def _refuse(self, reason: str) -> _Refused:
        return _Refused(self._line, reason)

    def _open(self, value: list[Value] | dict[str, Value], event: yaml.CollectionStartEvent, kind: str) -> None:
        if event.tag not in (None, "!", _TAG + kind):
            raise self._refuse(f"the tag {event.tag} is not taken; write plain lists and maps")
        if len(self._stack) >= MAX_DEPTH:
            raise self._refuse(f"nested deeper than {MAX_DEPTH} levels")
        self._stack.append(_Open(value, event.anchor))

    def _add(self, value: Value, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = value
        if not self._stack:
            self._documents.append(value)
            return
        parent = self._stack[-1]
        if isinstance(parent.value, list):
            parent.value.append(value)
        elif parent.key is not None:
            parent.value[parent.key] = value
            parent.key = None
        elif not isinstance(value, str):
            raise self._refuse(f"a key must be text, YAML reads this one as {_kind(value)}; quote it")
        elif value in parent.value:
            raise self._refuse(f"the key {value!r} is there twice in one map")
        else:
            parent.key = value

    def _alias(self, anchor: str) -> Value:
        if anchor not in self._anchors:
            unfinished = any(anchor == parent.anchor for parent in self._stack)
            raise self._refuse(f"the alias *{anchor} {'contains itself' if unfinished else 'has no anchor before it'}")
        return self._copy(self._anchors[anchor], len(self._stack))

    def _copy(self, value: Value, depth: int) -> Value:
        self._aliased += 1
        if self._aliased > MAX_ALIASED:
            raise self._refuse(f"the aliases add up to more than {MAX_ALIASED} values")
        if not isinstance(value, (list, dict)):
            return value
        if depth >= MAX_DEPTH:
            raise self._refuse(f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(value, list):
            return [self._copy(item, depth + 1) for item in value]
        return {key: self._copy(item, depth + 1) for key, item in value.items()}

    def _scalar(self, event: yaml.ScalarEvent) -> Value:
        text = event.value
        plain, quoted = event.implicit
        tag = _resolve(text) if plain else "str" if quoted else (event.tag or "").removeprefix(_TAG)
        convert = _CONVERT.get(tag)
        if convert is None:
            hint = _HINTS.get(tag, f"the tag {event.tag} is not taken")
            raise self._refuse(f"{text!r}: {hint}; quote it to keep it as text")
        try:
            value = convert(text)
        except ValueError:
            raise self._refuse(f"{text[:40]!r} cannot be read as YAML's {tag}; quote it to keep it as text") from None
        reason = check_number(value) if isinstance(value, (int, float)) else None
        if reason is not None:
            raise self._refuse(f"{text[:40]!r} {reason}")
        return value


def _resolve(text: str) -> str:
    for tag, pattern in _LOADER.yaml_implicit_resolvers.get(text[:1], ()):
        if pattern.match(text):
            return str(tag).removeprefix(_TAG)
    return "str"


def _integer(text: str) -> int:
    digits = text.replace("_", "")
    sign = -1 if digits.startswith("-") else 1
    digits = digits.lstrip("+-")
    if digits.startswith("0b"):
        return sign * int(digits[2:], 2)
    if digits.startswith("0x"):
        return sign * int(digits[2:], 16)
    return sign * int(digits, 8 if digits.startswith("0") else 10)


def _float(text: str) -> float:
    return float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))


def _boolean(text: str) -> bool:
    word = text.lower()
    if word not in ("yes", "true", "on", "no", "false", "off"):
        raise ValueError(text)
    return word in ("yes", "true", "on")


def _kind(value: Value) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return f"the number {value}"
        case list():
            return "a list"
        case _:
            return "a map"


_CONVERT: dict[str, Callable[[str], Value]] = {
    "str": str,
    "value": str,
    "int": _integer,
    "float": _float,
    "bool": _boolean,
    "null": lambda text: None,
}
_HINTS = {
    "timestamp": "YAML reads this as a date",
    "merge": "merge keys are not taken, write the keys out",
}
