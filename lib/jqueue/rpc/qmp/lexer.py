"""Cuts what a client sends into the tokens of JSON, with QEMU's rules for what is none.

Strings may be in single quotes. After something that is no token all is skipped up to the next promising place:
a structural character, or a control character, by which a client that is lost can start again.
What tokens make up together lives in `jqueue.rpc.qmp.parser`.
"""

from __future__ import annotations

import re

from jqueue.rpc.qmp.faults import QmpError

TOO_LARGE = "JSON token size limit exceeded"

_LONGEST_WORD = 4096
"""Bytes of a number or keyword; it is looked at again each time that a part of it comes in."""
_LONGEST_QUOTE = 1000
"""Bytes that are quoted of what is no token."""

_BLANK = re.compile(rb"[ \t\r\n]*")
_SKIPPED = re.compile(rb"[^\x00-\x08\x0a-\x1f\xfe\xff\[\]{}:,]*")
_WORD = re.compile(rb"[a-z]+")
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_BEGIN_OF_NUMBER = re.compile(rb"-?(?:(?:0|[1-9][0-9]*)(?:\.(?:[0-9]+(?:[eE][+-]?[0-9]*)?)?|[eE][+-]?[0-9]*)?)?")
_INSIDE = {quote: re.compile(rb"(?:[^%c\\\x00-\x1f\xfe\xff]+|\\[^\x00-\x1f\xfe\xff])*" % quote) for quote in b"\"'"}

_STRUCTURE = frozenset(b"{}[]:,")
_LETTERS = frozenset(b"abcdefghijklmnopqrstuvwxyz")
_DIGITS = frozenset(b"-0123456789")
_BACKSLASH = ord("\\")


class Lexer:
    """The tokens in what one connection has sent."""

    def __init__(self, limit: int) -> None:
        """Makes it empty.

        @param limit: bytes of the longest token
        """
        self._limit = limit
        self._data = bytearray()
        self._start = 0
        self._scanned = 0
        self._lost = False

    def __len__(self) -> int:
        """How many bytes are held."""
        return len(self._data) - self._start

    def feed(self, data: bytes) -> None:
        """Adds bytes."""
        del self._data[: self._start]
        self._start = 0
        self._data += data

    def next(self) -> bytes | None:
        """Takes the next token.

        @return: None until it is there as a whole
        @raise QmpError: there is no token
        """
        self._skip(_SKIPPED if self._lost else _BLANK)
        if self._lost and len(self):
            self._lost = False
            self._skip(_BLANK)
        if not len(self):
            return None
        first = self._data[self._start]
        if first in _STRUCTURE:
            return self._take(self._start + 1)
        if first in _INSIDE:
            return self._string(first)
        if first in _DIGITS:
            return self._word(_BEGIN_OF_NUMBER, _NUMBER)
        if first in _LETTERS:
            return self._word(_WORD, _WORD)
        raise self._stray(self._start + 1)

    def _skip(self, pattern: re.Pattern[bytes]) -> None:
        match = pattern.match(self._data, self._start)
        self._start = match.end() if match else self._start

    def _take(self, end: int) -> bytes:
        token = bytes(self._data[self._start : end])
        self._start = end
        self._scanned = 0
        return token

    def _stray(self, end: int) -> QmpError:
        self._lost = True
        text = self._take(end)[:_LONGEST_QUOTE].decode(errors="replace")
        return QmpError(f"JSON parse error, stray '{text}'")

    def _too_large(self, end: int) -> QmpError:
        self._lost = True
        self._take(end)
        return QmpError(TOO_LARGE)

    def _word(self, begin: re.Pattern[bytes], whole: re.Pattern[bytes]) -> bytes | None:
        """Takes a number or keyword: only the character behind it shows that it is complete."""
        match = begin.match(self._data, self._start)
        end = match.end() if match else self._start
        if end - self._start > _LONGEST_WORD:
            raise self._too_large(end)
        if end == len(self._data):
            return None
        follows_zero = self._data[end] in b"0123456789" and begin is not _WORD
        if follows_zero or whole.fullmatch(self._data, self._start, end) is None:
            raise self._stray(end + 1)
        return self._take(end)

    def _string(self, quote: int) -> bytes | None:
        """Takes a string, going on where the search for its end has stopped before."""
        match = _INSIDE[quote].match(self._data, self._start + max(self._scanned, 1))
        end = match.end() if match else self._start
        self._scanned = end - self._start
        if self._scanned > self._limit:
            raise self._too_large(end)
        if end == len(self._data):
            return None
        if self._data[end] == quote:
            return self._take(end + 1)
        if self._data[end] != _BACKSLASH:
            raise self._stray(end + 1)
        if end + 1 == len(self._data):
            return None
        raise self._stray(end + 2)
