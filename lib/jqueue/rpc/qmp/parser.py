"""Values of JSON from a stream of bytes: they need not be lines, and may come in any pieces.

A value that is wrong is read to where its brackets balance, or to the next control character, and reported once,
with QEMU's texts. Nothing here recurses, and everything is bounded. Tokens are cut in `jqueue.rpc.qmp.lexer`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Generator
from enum import Enum
from typing import Any, NamedTuple

from jqueue.rpc.qmp.faults import QmpError
from jqueue.rpc.qmp.lexer import TOO_LARGE, Lexer

MAX_DEPTH = 1024
"""Lists and objects inside each other."""
MAX_TOKENS = 500_000
"""Tokens in one value."""
_TOKENS = 256
"""Tokens taken in one step."""
_TOKEN_COST = 64
"""Bytes that a token is taken to cost in memory, besides its own."""

_ESCAPE = re.compile(r"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|u(.{0,4})|(.))", re.DOTALL)
_HEXADECIMAL = re.compile("[0-9a-fA-F]{4}")
_ESCAPED = {**dict(zip("bfnrt", "\b\f\n\r\t", strict=True)), **{char: char for char in "\"'\\/"}}
_STRUCTURE = frozenset((b"{", b"}", b"[", b"]", b":", b","))
_BRACES = {b"{": 1, b"}": -1}
_BRACKETS = {b"[": 1, b"]": -1}
_KEYWORDS = {b"true": True, b"false": False, b"null": None}


class Parsed(NamedTuple):
    """A complete value."""

    value: Any


class _Expect(Enum):
    VALUE = "a value"
    FIRST_VALUE = "a value, or the end of the list"
    KEY = "a key"
    FIRST_KEY = "a key, or the end of the object"
    COLON = "a colon"
    SEPARATOR = "a comma, or the end"


_WITH_VALUE = {_Expect.VALUE, _Expect.FIRST_VALUE, _Expect.KEY, _Expect.FIRST_KEY}


class Parser:
    """The values in what one connection has sent."""

    def __init__(self, limit: int) -> None:
        """Makes it empty.

        @param limit: bytes of the largest value
        """
        self._limit = limit
        self._lexer = Lexer(limit)
        self._begin()

    def __len__(self) -> int:
        """About how many bytes are held."""
        return len(self._lexer) + self._size + self._tokens * _TOKEN_COST

    def feed(self, data: bytes) -> None:
        """Adds bytes."""
        self._lexer.feed(data)

    def next(self) -> Generator[None, None, Parsed | None]:
        """Takes the next value, a large one in several steps.

        @return: None until it is there as a whole
        @raise QmpError: it is no value; what follows can still be taken
        """
        while True:
            try:
                token = self._lexer.next()
                if token is None:
                    return None
                self._count(token)
            except QmpError:
                self._begin()
                raise
            if self._error is None:
                if token[0] in b"\"'" and b"\\" in token:
                    yield from self._take_escaped(token)
                else:
                    self._take(token)
            if self._balanced():
                return self._end()
            if self._tokens % _TOKENS == 0:
                yield

    # Where a value begins and ends

    def _begin(self) -> None:
        self._braces = self._brackets = self._size = self._tokens = 0
        self._error: QmpError | None = None
        self._expect = _Expect.VALUE
        self._open: list[list[Any] | dict[str, Any]] = []
        self._keys: list[str] = []
        self._value: Any = None

    def _count(self, token: bytes) -> None:
        self._size += len(token)
        self._tokens += 1
        if token in _STRUCTURE:
            self._braces += _BRACES.get(token, 0)
            self._brackets += _BRACKETS.get(token, 0)
        if self._size > self._limit:
            raise QmpError(TOO_LARGE)
        if self._tokens > MAX_TOKENS:
            raise QmpError("JSON token count limit exceeded")
        if self._braces + self._brackets > MAX_DEPTH:
            raise QmpError("JSON nesting depth limit exceeded")

    def _balanced(self) -> bool:
        return self._braces == self._brackets == 0 or self._braces < 0 or self._brackets < 0

    def _end(self) -> Parsed:
        error, value = self._error, self._value
        self._begin()
        if error is not None:
            raise error
        return Parsed(value)

    # What is in it

    def _take_escaped(self, token: bytes) -> Generator[None, None, None]:
        try:
            text = _decode(token) if self._expect in _WITH_VALUE else ""
            self._place(token, (yield from _unescape(text, chr(token[0]))))
        except QmpError as error:
            self._fail(error)

    def _take(self, token: bytes) -> None:
        try:
            is_scalar = self._expect in _WITH_VALUE and token not in _STRUCTURE
            self._place(token, _scalar(token) if is_scalar else None)
        except QmpError as error:
            self._fail(error)

    def _fail(self, error: QmpError) -> None:
        self._error = QmpError(f"JSON parse error, {error}")
        self._open.clear()
        self._keys.clear()

    def _place(self, token: bytes, value: Any) -> None:
        """Adds a token; `value` is what it means if it is a value by itself."""
        expect = self._expect
        if expect is _Expect.COLON:
            if token != b":":
                raise QmpError("missing : in object pair")
            self._expect = _Expect.VALUE
        elif expect is _Expect.SEPARATOR:
            self._separate(token)
        elif (expect, token) in ((_Expect.FIRST_KEY, b"}"), (_Expect.FIRST_VALUE, b"]")):
            self._add(self._open.pop())
        elif token in b"}]:,":
            raise QmpError("expecting value")
        elif expect in (_Expect.KEY, _Expect.FIRST_KEY):
            self._name(value)
        elif token == b"{":
            self._open.append({})
            self._expect = _Expect.FIRST_KEY
        elif token == b"[":
            self._open.append([])
            self._expect = _Expect.FIRST_VALUE
        else:
            self._add(value)

    def _separate(self, token: bytes) -> None:
        in_object = isinstance(self._open[-1], dict)
        if token == (b"}" if in_object else b"]"):
            self._add(self._open.pop())
        elif token == b",":
            self._expect = _Expect.KEY if in_object else _Expect.VALUE
        else:
            raise QmpError(f"expected separator in {'dict' if in_object else 'list'}")

    def _name(self, key: Any) -> None:
        if not isinstance(key, str):
            raise QmpError("key is not a string in object")
        if key in self._open[-1]:
            raise QmpError("duplicate key")
        self._keys.append(key)
        self._expect = _Expect.COLON

    def _add(self, value: Any) -> None:
        self._expect = _Expect.SEPARATOR
        container = self._open[-1] if self._open else None
        if isinstance(container, dict):
            container[self._keys.pop()] = value
        elif container is not None:
            container.append(value)
        else:
            self._value = value


def _scalar(token: bytes) -> str | int | float | bool | None:
    """Reads a string without escapes, a number or a keyword.

    @raise QmpError: it means nothing
    """
    if token[0] in b"\"'":
        return _decode(token)
    if token[0] in b"-0123456789":
        return _number(token)
    if token not in _KEYWORDS:
        raise QmpError(f"invalid keyword '{token.decode()}'")
    return _KEYWORDS[token]


def _number(token: bytes) -> int | float:
    """Reads a number: a whole one stays whole if it has 64 bits, with a sign or without."""
    if token.strip(b"-").isdigit() and len(token) <= 20 and -(2**63) <= int(token) < 2**64:
        return int(token)
    number = float(token)
    if not math.isfinite(number):
        raise QmpError("number out of range")
    return number


def _decode(token: bytes) -> str:
    try:
        return token[1:-1].decode()
    except UnicodeDecodeError:
        raise QmpError("invalid UTF-8 sequence in string") from None


def _unescape(text: str, quote: str) -> Generator[None, None, str]:
    parts: list[str] = []
    done = 0
    for number, match in enumerate(_ESCAPE.finditer(text)):
        parts += text[done : match.start()], _character(match, quote)
        done = match.end()
        if number % 1000 == 999:
            yield
    return "".join(parts) + text[done:]


def _character(match: re.Match[str], quote: str) -> str:
    high, low, single, letter = match.groups()
    if letter in _ESCAPED:
        return _ESCAPED[letter]
    if letter is not None:
        raise QmpError("invalid escape sequence in string")
    if high is not None:
        return chr(0x10000 + ((int(high, 16) & 0x3FF) << 10) + (int(low, 16) & 0x3FF))
    if _HEXADECIMAL.fullmatch(single) and not 0xD800 <= int(single, 16) <= 0xDFFF:
        return chr(int(single, 16))
    # QEMU prints six characters, with the quote that ends the string if there are less.
    raise QmpError(f"{(match[0] + quote)[:6]} is not a valid Unicode character")
