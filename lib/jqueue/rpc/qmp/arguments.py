"""The arguments of a command: names, types, and their check in QEMU's order with QEMU's texts.

Arguments are looked at in the order of the table, each for being there and for its type; then what is unexpected.
What an argument means to the queue is not checked here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from jqueue.rpc.qmp.faults import QmpError, wrong_type


class Kind(Protocol):
    """A type of arguments."""

    @property
    def name(self) -> str:
        """QEMU's word for it."""
        ...

    def check(self, value: object, path: str) -> None:
        """Checks a value.

        @param path: which argument, for the error
        @raise QmpError: it is of another type
        """
        ...


@dataclass(frozen=True)
class Simple:
    """One of the types of JSON itself."""

    name: str
    types: tuple[type, ...]

    def check(self, value: object, path: str) -> None:
        """See `Kind`."""
        if not isinstance(value, self.types):
            raise wrong_type(path, self.name)


class Integer:
    """A whole number of 64 bits; true and false are none."""

    name = "integer"

    def check(self, value: object, path: str) -> None:
        """See `Kind`."""
        if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
            raise wrong_type(path, self.name)


@dataclass(frozen=True)
class ListOf:
    """A list."""

    item: Kind
    name: str = "array"

    def check(self, value: object, path: str) -> None:
        """See `Kind`."""
        if not isinstance(value, list):
            raise wrong_type(path, self.name)
        for index, item in enumerate(value):
            self.item.check(item, f"{path}[{index}]")


@dataclass(frozen=True)
class Word:
    """One of some words, as a member of a list."""

    words: tuple[str, ...]
    name: str = "string"

    def check(self, value: object, path: str) -> None:
        """See `Kind`."""
        TEXT.check(value, path)
        if value not in self.words:
            # QEMU has no name for a member of a list and prints null for it.
            raise QmpError(f"Parameter 'null' does not accept value '{value}'")


TEXT = Simple("string", (str,))
BOOLEAN = Simple("boolean", (bool,))
LIST = Simple("array", (list,))
LIST_OR_OBJECT = Simple("array or object", (list, dict))
BOOLEAN_OR_TEXT = Simple("boolean or string", (bool, str))


@dataclass(frozen=True)
class Argument:
    """One argument; its name in handlers has underscores for dashes."""

    name: str
    kind: Kind
    doc: str
    required: bool = True


def bind(arguments: Sequence[Argument], given: Mapping[str, object]) -> dict[str, object]:
    """Checks what a client gives.

    @return: what was given, by the names that handlers use
    @raise QmpError: one is missing, of another type, or unexpected
    """
    for argument in arguments:
        if argument.name in given:
            argument.kind.check(given[argument.name], argument.name)
        elif argument.required:
            raise QmpError(f"Parameter '{argument.name}' is missing")
    names = {argument.name for argument in arguments}
    for name in given:
        if name not in names:
            raise QmpError(f"Parameter '{name}' is unexpected")
    return {name.replace("-", "_"): value for name, value in given.items()}
