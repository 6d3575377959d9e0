"""The filter language: which jobs a query or a verb means, as Ganeti's list form and as text.

`["&", ["==", "status", "waiting"], [">", "id", 3]]` is what goes over the wire, `status == "waiting" and id > 3`
what people write. `parse_filter` only translates; `compile_filter`, which the daemon runs, gives it a meaning.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NoReturn, TypeAlias

from jqueue import errors
from jqueue.jobs import fields

Getter: TypeAlias = Callable[[str], Any]
"""Gives the value of a field, by its name."""

Predicate: TypeAlias = Callable[[Getter], bool]

MAX_LEVELS: Final = 10
"""How deep a filter may be nested, counting the comparison at the bottom."""

_MAX_PATTERN: Final = 1000
_SEARCH_SECONDS: Final = 0.02
_TIMESTAMP: Final = "timestamp"

JOB_KINDS: Final[dict[str, str]] = {
    name: _TIMESTAMP if name in fields.TIMESTAMPS else field.kind for name, field in fields.FIELDS.items()
}
"""What the values of each field of a job are: a kind of `jqueue.jobs.fields`, or a timestamp."""

_ORDERINGS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def compile_filter(qfilter: Any, kinds: Mapping[str, str] = JOB_KINDS) -> Predicate:
    """Makes a filter ready to use.

    A field without a value (null) is equal to null only, and neither less nor greater than anything.

    @param qfilter: in list form; null lets everything pass
    @param kinds: the fields there are, and what their values are
    @return: tells, given a getter of field values, whether the filter lets it pass
    @raise errors.ParameterError: if the filter is malformed; names the part that is
    """
    if qfilter is None:
        return lambda get: True
    return _compile(qfilter, kinds, MAX_LEVELS)


def _compile(qfilter: Any, kinds: Mapping[str, str], levels: int) -> Predicate:
    if levels < 1:
        raise errors.ParameterError(f"The filter is nested deeper than {MAX_LEVELS} levels; make it flatter")
    match qfilter:
        case ["|", *operands] if operands:
            alternatives = [_compile(operand, kinds, levels - 1) for operand in operands]
            return lambda get: any(alternative(get) for alternative in alternatives)
        case ["&", *operands] if operands:
            conditions = [_compile(operand, kinds, levels - 1) for operand in operands]
            return lambda get: all(condition(get) for condition in conditions)
        case ["!", operand]:
            negated = _compile(operand, kinds, levels - 1)
            return lambda get: not negated(get)
        case ["?", str(name)]:
            _kind(name, kinds)
            return lambda get: bool(get(name))
        case [str(symbol), str(name), value]:
            return _compare(symbol, name, _kind(name, kinds), value)
        case _:
            _malformed(
                qfilter, "expected ['|' or '&', filter, ...], ['!', filter], ['?', field] or [operator, field, value]"
            )


def _kind(name: str, kinds: Mapping[str, str]) -> str:
    if name not in kinds:
        raise errors.ParameterError(f"In the filter: {fields.unknown(name, kinds)}")
    return kinds[name]


def _malformed(part: object, why: str) -> NoReturn:
    text = repr(part)
    raise errors.ParameterError(f"Malformed filter {text if len(text) <= 200 else text[:200] + '...'}: {why}")


def _compare(symbol: str, name: str, kind: str, value: Any) -> Predicate:
    part = [symbol, name, value]
    if symbol in ("=", "==", "!="):
        return _equality(symbol, name, kind, value)
    if symbol in _ORDERINGS:
        if kind in (fields.OTHER, fields.BOOL):
            _malformed(part, f"field '{name}' has no order")
        return _ordering(_ORDERINGS[symbol], name, kind, _checked(part, kind, value))
    if symbol == "=~":
        return _search(part, name, kind, value)
    if symbol == "=[]":
        if kind != fields.OTHER:
            _malformed(part, f"field '{name}' is not a list")
        return lambda get: isinstance(items := get(name), (list, tuple)) and value in items
    _malformed(part, f"unknown operator '{symbol}'; there are | & ! ? = == != < <= > >= =~ =[]")


def _equality(symbol: str, name: str, kind: str, value: Any) -> Predicate:
    wanted = None if value is None else _checked([symbol, name, value], kind, value)
    is_time = kind == _TIMESTAMP

    def equal(get: Getter) -> bool:
        found = get(name)
        return bool((_microseconds(found) if is_time and found is not None else found) == wanted)

    return (lambda get: not equal(get)) if symbol == "!=" else equal


def _ordering(compare: Callable[[Any, Any], bool], name: str, kind: str, limit: Any) -> Predicate:
    is_time = kind == _TIMESTAMP

    def in_order(get: Getter) -> bool:
        found = get(name)
        return found is not None and compare(_microseconds(found) if is_time else found, limit)

    return in_order


def _search(part: list[Any], name: str, kind: str, pattern: Any) -> Predicate:
    if kind not in (fields.TEXT, fields.OTHER):
        _malformed(part, f"field '{name}' is not text")
    if not isinstance(pattern, str) or len(pattern) > _MAX_PATTERN:
        _malformed(part, f"a regular expression of at most {_MAX_PATTERN} characters expected")
    # Only who searches pays for the import; unlike `re` it gives up on a pattern that would run for ever.
    import regex

    try:
        search = regex.compile(pattern).search
    except (regex.error, OverflowError, RecursionError) as error:
        _malformed(part, f"not a regular expression: {error}")

    def found(get: Getter) -> bool:
        value = get(name)
        texts = value if isinstance(value, (list, tuple)) else (value,)
        try:
            return any(isinstance(text, str) and search(text, timeout=_SEARCH_SECONDS) is not None for text in texts)
        except TimeoutError:
            _malformed(part, "this regular expression takes too long; write it without repeats inside repeats")

    return found


def _checked(part: list[Any], kind: str, value: Any) -> Any:
    """Checks the type of a value to compare with, and gives it the form in which it is compared."""
    match kind:
        case fields.NUMBER if isinstance(value, bool) or not isinstance(value, (int, float)):
            _malformed(part, "a number expected")
        case fields.TEXT if not isinstance(value, str):
            _malformed(part, "a text expected")
        case fields.BOOL if not isinstance(value, bool):
            _malformed(part, "true or false expected")
        case "timestamp":
            return _wanted_time(part, value)
    return value


def _wanted_time(part: list[Any], value: Any) -> int:
    match value:
        case [int(seconds), int(micro)]:
            return _microseconds((seconds, micro))
        case int():
            return value * 1_000_000
        case float() if math.isfinite(value * 1_000_000):
            return round(value * 1_000_000)
    _malformed(part, "a time expected, as seconds since 1970 or [seconds, microseconds]")


def _microseconds(timestamp: Sequence[int]) -> int:
    return timestamp[0] * 1_000_000 + timestamp[1]


_TOKEN: Final = re.compile(
    r"""
      (?P<number> -?\d{1,18}(?:\.\d{1,18})?(?![\w.]) )
    | (?P<text> "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' )
    | (?P<word> [A-Za-z_]\w* )
    | (?P<symbol> == | != | <= | >= | =~ | !~ | [=<>!()&|] )
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_BLANK: Final = re.compile(r"\s*")
_LITERALS: Final[dict[str, Any]] = {"true": True, "false": False, "null": None}
_KEYWORDS: Final = frozenset(("and", "or", "not", "in", *_LITERALS))
_SYMBOLS: Final = {"and": "&", "or": "|", "not": "!"}
_COMPARISONS: Final = frozenset(("=", "==", "!=", "<", "<=", ">", ">=", "=~", "!~"))
_END: Final = "the end"


def parse_filter(text: str) -> list[Any]:
    """Translates a filter from text: `status == "waiting" and (id > 3 or "x" in opstatus) and not name =~ "^b"`.

    A field alone asks whether it is true or not empty.
    In a text a backslash quotes the quote character and itself only, so that regular expressions stay readable.

    @param text: the filter as written by a person
    @return: its list form; the fields' names are checked by `compile_filter`
    @raise errors.ParameterError: if it cannot be read; names the column
    """
    parser = _Parser(text)
    result = parser.chain("|", MAX_LEVELS)
    if parser.symbol != _END:
        parser.refuse("'and', 'or' or the end")
    return result


class _Parser:
    """Recursive descent over the tokens; `symbol` is the current one, `value` what a number or text says."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._start = self._next = 0
        self.symbol = ""
        self.kind: str | None = None
        self.value: Any = None
        self.advance()

    def advance(self) -> None:
        blank = _BLANK.match(self._text, self._next)
        self._start = blank.end() if blank else self._next
        token = _TOKEN.match(self._text, self._start)
        if token is None:
            self.symbol, self.kind = _END, None
            if self._start < len(self._text):
                self.symbol = self._text[self._start]
                self.refuse("a field, a value or an operator")
            return
        self._next = token.end()
        self.kind, self.symbol = token.lastgroup, token.group()
        if self.kind == "number":
            self.value = float(self.symbol) if "." in self.symbol else int(self.symbol)
        elif self.kind == "text":
            self.value = re.sub(rf"\\([\\{self.symbol[0]}])", r"\1", self.symbol[1:-1])
        elif self.symbol in _LITERALS:
            self.kind, self.value = "literal", _LITERALS[self.symbol]
        elif self.kind == "word":
            self.kind = "keyword" if self.symbol in _KEYWORDS else "word"
            self.symbol = _SYMBOLS.get(self.symbol, self.symbol)

    def refuse(self, expected: str) -> NoReturn:
        raise errors.ParameterError(f"Filter, column {self._start + 1}: {expected} expected, got {self.symbol}")

    def chain(self, joint: str, levels: int) -> list[Any]:
        """Reads conditions joined by `or`, or, a level below, by `and`."""
        parts = []
        while True:
            parts.append(self.chain("&", levels) if joint == "|" else self.condition(levels))
            if self.symbol != joint:
                return [joint, *parts] if len(parts) > 1 else parts[0]
            self.advance()

    def condition(self, levels: int) -> list[Any]:
        if levels < 1:
            self.refuse(f"at most {MAX_LEVELS} levels of parentheses and 'not'")
        if self.symbol == "!":
            self.advance()
            return ["!", self.condition(levels - 1)]
        if self.symbol == "(":
            self.advance()
            inside = self.chain("|", levels - 1)
            if self.symbol != ")":
                self.refuse("'and', 'or' or ')'")
            self.advance()
            return inside
        return self.comparison() if self.kind == "word" else self.membership()

    def comparison(self) -> list[Any]:
        name = self.symbol
        self.advance()
        if self.symbol not in _COMPARISONS:
            return ["?", name]
        symbol = self.symbol
        self.advance()
        value = self.literal("a text in quotes, a number, true, false or null")
        return ["!", ["=~", name, value]] if symbol == "!~" else [symbol, name, value]

    def membership(self) -> list[Any]:
        value = self.literal("a field or a value")
        negated = self.symbol == "!"
        if negated:
            self.advance()
        if self.symbol != "in":
            self.refuse("'in'")
        self.advance()
        if self.kind != "word":
            self.refuse("a field")
        part = ["=[]", self.symbol, value]
        self.advance()
        return ["!", part] if negated else part

    def literal(self, expected: str) -> Any:
        if self.kind not in ("number", "text", "literal"):
            self.refuse(expected)
        value = self.value
        self.advance()
        return value
