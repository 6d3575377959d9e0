"""How an opcode class declares its parameters, and how a submitted map becomes its values.

The types of the values live in `jqueue.opcodes.kinds`; the parameters every opcode has in `jqueue.opcodes.common`.
"""

from __future__ import annotations

import difflib
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from jqueue.errors import OpPrereqError
from jqueue.opcodes.kinds import Kind, OneOf, inside, kind_of, refuse


class _Missing:
    """The type of `MISSING`."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING = _Missing()
"""The default of a parameter that must be given."""


class Param:
    """One declared parameter."""

    def __init__(
        self,
        doc: str,
        default: object,
        default_factory: Callable[[], object] | None,
        check: Callable[[Any], str | None] | None,
        name: str | None,
        kind: Kind | None,
    ) -> None:
        self.doc = doc
        self.default = default
        self.default_factory = default_factory
        self.name = name
        self._check = check
        self._kind = kind

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return self.default is MISSING and self.default_factory is None

    @property
    def kind(self) -> Kind:
        """What values it takes."""
        if self._kind is None:
            raise TypeError("a parameter is used outside of an opcode class")
        return self._kind

    def bind(self, attribute: str, annotation: Callable[[], object]) -> None:
        """Completes it with what the class says.

        @param attribute: the name of the class attribute
        @param annotation: gives its type; asked only if no kind was given
        """
        self.name = self.name or attribute
        if self._kind is None:
            self._kind = kind_of(annotation())

    def parse(self, value: object, path: str) -> object:
        """Checks a given value.

        @return: the value to use
        @raise OpPrereqError: it cannot be taken
        """
        checked: object = self.kind.check(value, path)
        if self._check is not None and (complaint := self._check(checked)):
            raise refuse(path, complaint)
        return checked


def param(
    doc: str,
    *,
    default: object = MISSING,
    default_factory: Callable[[], object] | None = None,
    choices: Sequence[object] | None = None,
    check: Callable[[Any], str | None] | None = None,
    name: str | None = None,
    kind: Kind | None = None,
) -> Any:
    """Declares a parameter: `source: str = param("absolute path of the file to read")`.

    @param doc: what it means, with its unit; shown to users
    @param default: its value when not given; without one it must be given
    @param default_factory: makes the default, for lists and maps
    @param choices: the only values taken
    @param check: gives a value of the right type, returns what is wrong with it, or None
    @param name: what submitters call it, if it is not the attribute's name
    @param kind: its type, if the annotation cannot say it
    @return: what becomes the class attribute; typed `Any` so that the annotation of the attribute counts
    """
    if isinstance(default, (list, dict, set)):
        raise TypeError("a default that can change would be shared by all jobs: use default_factory")
    if choices is not None:
        kind = OneOf(choices)
    return Param(doc, default, default_factory, check, name, kind)


class Parameters:
    """The base of a class whose attributes are parameters; see `param`.

    An instance holds the given values; everything else is read from the defaults on the class.
    """

    parameters: ClassVar[Mapping[str, Param]] = types.MappingProxyType({})
    """By the name that submitters use."""
    _attributes: ClassVar[Mapping[str, str]] = types.MappingProxyType({})
    _required: ClassVar[tuple[str, ...]] = ()
    _factories: ClassVar[tuple[tuple[str, Callable[[], object]], ...]] = ()

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        parameters, attributes = dict(cls.parameters), dict(cls._attributes)
        for attribute, declared in list(vars(cls).items()):
            if isinstance(declared, Param):
                _bind(cls, attribute, declared)
                name = declared.name or attribute
                if name in parameters and attributes[name] != attribute:
                    raise TypeError(f"{cls.__name__}.{attribute}: every opcode already has a parameter {name}")
                parameters[name], attributes[name] = declared, attribute
                if declared.default is MISSING:
                    delattr(cls, attribute)
                else:
                    setattr(cls, attribute, declared.default)
        cls.parameters = types.MappingProxyType(parameters)
        cls._attributes = types.MappingProxyType(attributes)
        cls._required = tuple(name for name, declared in parameters.items() if declared.required)
        cls._factories = tuple(
            (name, declared.default_factory)
            for name, declared in parameters.items()
            if declared.default_factory is not None
        )

    def _fill(self, given: Mapping[str, object]) -> None:
        for name, value in given.items():
            setattr(self, self._attributes[name], value)
        for name, factory in self._factories:
            if name not in given:
                setattr(self, self._attributes[name], factory())

    @classmethod
    def check_parameters(cls, given: Mapping[str, object], title: str, path: str) -> dict[str, object]:
        """Checks given values.

        @param given: the values by the name submitters use
        @param title: what the class is called in errors
        @param path: where the map stands, as in `ops[0]`
        @return: the values to use; none that was not given
        @raise OpPrereqError: one is unknown, missing or cannot be taken; the text has its path
        """
        checked = {}
        for name, value in given.items():
            declared = cls.parameters.get(name)
            if declared is None:
                raise cls._unknown(name, title, path)
            checked[name] = declared.parse(value, f"{path}.{name}")
        missing = [name for name in cls._required if name not in checked]
        if missing:
            raise refuse(path, f"{title} needs {', '.join(f'{name} ({cls.parameters[name].doc})' for name in missing)}")
        return checked

    @classmethod
    def _unknown(cls, name: object, title: str, path: str) -> OpPrereqError:
        close = difflib.get_close_matches(name[:60], cls.parameters, 1) if isinstance(name, str) else []
        hint = f"did you mean {close[0]}?" if close else f"it takes {', '.join(sorted(cls.parameters))}"
        return refuse(inside(path, name), f"{title} has no such parameter; {hint}")


def _bind(cls: type, attribute: str, declared: Param) -> None:
    def annotation() -> object:
        holder = types.SimpleNamespace(__annotations__={attribute: vars(cls).get("__annotations__", {})[attribute]})
        module = sys.modules.get(cls.__module__)
        return typing.get_type_hints(holder, globalns=vars(module) if module else {})[attribute]

    try:
        declared.bind(attribute, annotation)
    except (KeyError, NameError, TypeError) as error:
        raise TypeError(f"{cls.__name__}.{attribute}: the type of the parameter cannot be read: {error}") from error
