"""The parameters of a method: names, types, defaults, and the check of a call's arguments.

The types come from `jqueue.opcodes.kinds`, so that errors read the same for opcodes and methods;
those that only methods have live here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jqueue.errors import OpPrereqError
from jqueue.opcodes.kinds import Integer, Kind, describe, refuse

MAX_ID = 2**63 - 1
MAX_IDS = 100_000
"""Ids in one call; more are asked for by null, or a filter."""

_REQUIRED = object()


class JobId:
    """The number of a job, or its digits as text."""

    name = "job id"

    def fits(self, value: object) -> bool:
        """See `Kind`."""
        return isinstance(value, (int, str)) and not isinstance(value, bool)

    def check(self, value: object, path: str) -> int:
        """See `Kind`."""
        number = value
        if isinstance(value, str) and len(value) < 20 and value.isascii() and value.isdigit():
            number = int(value)
        if not isinstance(number, int) or isinstance(number, bool) or not 0 < number <= MAX_ID:
            raise refuse(path, f"job id expected (1 or more, or its digits as text), got {describe(value)}")
        return number


class AsGiven:
    """A value that its user takes apart; `jqueue.rpc.frames` has seen to it that it is not too large or deep."""

    name = "plain value"

    def fits(self, value: object) -> bool:
        """See `Kind`."""
        return True

    def check(self, value: object, path: str) -> object:
        """See `Kind`."""
        return value


class JobIds:
    """A list of job ids."""

    name = "list of job ids"

    def fits(self, value: object) -> bool:
        """See `Kind`."""
        return isinstance(value, (list, tuple))

    def check(self, value: object, path: str) -> list[int]:
        """See `Kind`."""
        if not isinstance(value, (list, tuple)):
            raise refuse(path, f"list of job ids expected, got {describe(value)}")
        if len(value) > MAX_IDS:
            raise refuse(path, f"at most {MAX_IDS} ids are taken in one call, got {len(value)}")
        return [JobId().check(item, f"{path}[{index}]") for index, item in enumerate(value)]


class AtLeast:
    """A whole number that is not below a limit."""

    def __init__(self, least: int) -> None:
        self._least = least
        self.name = f"whole number from {least}"

    def fits(self, value: object) -> bool:
        """See `Kind`."""
        return Integer().fits(value)

    def check(self, value: object, path: str) -> int:
        """See `Kind`."""
        number = Integer().check(value, path)
        if number < self._least:
            raise refuse(path, f"{self.name} expected, got {number}")
        return number


class Job:
    """What is submitted; only its outermost type is looked at here, the queue checks the rest."""

    name = "list of opcodes, or map with the key ops"

    def fits(self, value: object) -> bool:
        """See `Kind`."""
        return isinstance(value, (list, dict))

    def check(self, value: object, path: str) -> object:
        """See `Kind`."""
        if not isinstance(value, (list, dict)):
            raise refuse(path, f"{self.name} expected, got {describe(value)}")
        return value


@dataclass(frozen=True)
class Parameter:
    """One parameter; one that has a default may be null, or left out with all behind it."""

    name: str
    kind: Kind
    doc: str
    default: Any = _REQUIRED

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return self.default is _REQUIRED

    def __str__(self) -> str:
        return self.name if self.required else f"{self.name}={json.dumps(self.default)}"


def bind(method: str, parameters: Sequence[Parameter], arguments: Sequence[object]) -> list[Any]:
    """Checks the arguments of a call and fills in the defaults.

    @param method: its name, for errors
    @return: one value for each parameter
    @raise OpPrereqError: too few, too many, or one is of the wrong type
    """
    least = sum(parameter.required for parameter in parameters)
    if not least <= len(arguments) <= len(parameters):
        count = str(least) if least == len(parameters) else f"{least} to {len(parameters)}"
        signature = f"{method}({', '.join(map(str, parameters))})"
        raise OpPrereqError(f"{signature} takes {count} arguments, got {len(arguments)}")
    given = [*arguments, *[None] * (len(parameters) - len(arguments))]
    return [
        parameter.default
        if argument is None and not parameter.required
        else parameter.kind.check(argument, f"{method}: {parameter.name}")
        for parameter, argument in zip(parameters, given, strict=True)
    ]
