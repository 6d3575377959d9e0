"""Which opcodes there are: the built-in ones, and those of installed packages and configured modules.

Nothing is found by scanning directories; a module is imported because somebody named it.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import entry_points
from types import ModuleType
from typing import get_origin

from jqueue.errors import ConfigurationError, OpPrereqError
from jqueue.opcodes.base import OpCode
from jqueue.opcodes.kinds import describe, refuse

GROUP = "jqueue.opcodes"
"""The entry points that name an opcode class, or a module with some."""

BUILT_IN = (
    "jqueue.opcodes.testing",
    "jqueue.opcodes.command",
    "jqueue.opcodes.copyfile",
    "jqueue.opcodes.mirrortree",
)

_OP_ID = re.compile(r"OP_[A-Z0-9_]+\Z", re.ASCII)


class Registry:
    """The opcode classes by `OP_ID`."""

    def __init__(self) -> None:
        self._classes: dict[str, type[OpCode]] = {}

    def __iter__(self) -> Iterator[type[OpCode]]:
        return iter([self._classes[name] for name in sorted(self._classes)])

    def add(self, cls: type[OpCode]) -> None:
        """Adds one class; the same one again changes nothing.

        @raise ConfigurationError: its name is no name, or is taken, or it does no work
        """
        title = f"{cls.__module__}.{cls.__qualname__}"
        if not _OP_ID.match(cls.OP_ID):
            raise ConfigurationError(f"{title}: OP_ID {cls.OP_ID!r} is not of the form OP_COPY_FILE; correct it")
        if inspect.isabstract(cls):
            raise ConfigurationError(f"{title}: it has no exec method; write one")
        known = self._classes.setdefault(cls.OP_ID, cls)
        if known is not cls:
            taken = f"{known.__module__}.{known.__qualname__}"
            raise ConfigurationError(f"{title}: {cls.OP_ID} is already the name of {taken}; choose another")

    def load(self, group: str | None = GROUP, modules: Iterable[str] = ()) -> None:
        """Adds opcodes of other packages.

        @param group: the entry point group to look at; None looks at none
        @param modules: names of modules to import
        @raise ConfigurationError: one cannot be imported, or has no opcode; the text names it
        """
        for entry in entry_points(group=group) if group else ():
            title = f"The entry point {entry.name} = {entry.value}"
            self._add_all(_imported(entry.load, title), title)
        for name in modules:
            title = f"The opcode module {name}"
            self._add_all(_imported(functools.partial(importlib.import_module, name), title), title)

    def _add_all(self, found: object, title: str) -> None:
        classes = [found] if isinstance(found, type) else _opcodes_of(found) if isinstance(found, ModuleType) else []
        for cls in classes:
            if not issubclass(cls, OpCode):
                raise ConfigurationError(f"{title} is a class that is not derived from OpCode; correct it")
            self.add(cls)
        if not classes:
            raise ConfigurationError(
                f"{title} has no opcodes: name a class derived from OpCode, or a module that defines some"
            )

    def get(self, op_id: str, path: str = "ops[0]") -> type[OpCode]:
        """Finds a class.

        @param path: where the name stands, for the error
        @raise OpPrereqError: there is none; the text says which is close
        """
        cls = self._classes.get(op_id)
        if cls is None:
            close = difflib.get_close_matches(op_id[:100], self._classes, 1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(sorted(self._classes))}"
            raise refuse(f"{path}.OP_ID", f"unknown opcode {describe(op_id)}; {hint}")
        return cls

    def parse(self, mapping: object, path: str = "ops[0]") -> OpCode:
        """Makes a checked step from what somebody submitted; looks up path names of locks in the file system.

        @param path: where it stands in the submission, for errors
        @raise OpPrereqError: it cannot be taken; the text has the path of what is wrong
        """
        return self._class_of(mapping, path).from_dict(mapping, path)

    def restore(self, mapping: object, path: str = "ops[0]") -> OpCode:
        """Makes a step from what `OpCode.to_dict` gave earlier; touches no file.

        @raise OpPrereqError: the class is gone, or has changed too much
        """
        return self._class_of(mapping, path).restore(mapping, path)

    def _class_of(self, mapping: object, path: str) -> type[OpCode]:
        if not isinstance(mapping, Mapping):
            raise refuse(path, f"map with OP_ID expected, got {describe(mapping)}")
        op_id = mapping.get("OP_ID")
        if not isinstance(op_id, str):
            text = "OP_ID is missing" if op_id is None else f"OP_ID must be text, got {describe(op_id)}"
            raise OpPrereqError(f"{path}: {text}; it names the opcode, such as OP_RUN_COMMAND")
        return self.get(op_id, path)


def default_registry(modules: Iterable[str] = ()) -> Registry:
    """Makes the registry of a daemon.

    @param modules: the configured modules
    @raise ConfigurationError: one of them, or of the installed packages, cannot be used
    """
    registry = Registry()
    registry.load(None, BUILT_IN)
    registry.load(GROUP, modules)
    return registry


def _opcodes_of(module: ModuleType) -> list[type[OpCode]]:
    own = (module.__name__, module.__name__ + ".")
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and get_origin(value) is None  # list[int] passes for a class in Python 3.10
        and issubclass(value, OpCode)
        and value.OP_ID
        and (value.__module__ == own[0] or value.__module__.startswith(own[1]))
    ]


def _imported(load: Callable[[], object], title: str) -> object:
    try:
        return load()
    except Exception as error:
        raise ConfigurationError(
            f"{title} cannot be imported: {type(error).__name__}: {error}; "
            "correct it, or take it out of the configuration"
        ) from error
