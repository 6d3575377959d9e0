"""Turns what a command writes into log lines, in bounded memory.

The command writes to a file, so that nothing of it hangs on a pipe to the daemon; here the file is read as it grows.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

MAX_LINE = 64 << 10
"""Bytes of a line as UTF-8; a longer one becomes several."""
READ_AT_ONCE = 1 << 20
"""Bytes taken in one `Output.read`, so that requests are looked at in between."""

_CHUNK = 64 << 10
_KEEP_SIZE = 1
_PUNCH_HOLE = 2


class Lines:
    """Cuts a stream of bytes into lines; LF, CR and CR LF end one."""

    def __init__(self) -> None:
        self._rest = b""
        self._after_cr = False

    def feed(self, data: bytes) -> Iterator[str]:
        """Takes more bytes.

        @return: the lines that are complete now; invalid UTF-8 is shown as `\\xNN`
        """
        if not data:
            return
        if self._after_cr:
            data = data.removeprefix(b"\n")
        self._after_cr = data.endswith(b"\r")
        *lines, self._rest = (self._rest + data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")).split(b"\n")
        for line in lines:
            yield from pieces(line)
        while len(self._rest) > MAX_LINE:
            cut = _cut(self._rest)
            yield from pieces(self._rest[:cut])
            self._rest = self._rest[cut:]

    def finish(self) -> Iterator[str]:
        """Gives what came after the last line end."""
        rest, self._rest = self._rest, b""
        if rest:
            yield from pieces(rest)


def _cut(data: bytes) -> int:
    """Finds where to cut a long line without cutting a character."""
    for cut in range(MAX_LINE, MAX_LINE - 4, -1):
        if data[cut] & 0xC0 != 0x80:
            return cut
    return MAX_LINE


def pieces(line: bytes) -> Iterator[str]:
    """Cuts a line that is too long.

    @param line: as UTF-8; what is none is shown as `\\xNN`
    @return: parts of at most `MAX_LINE` bytes
    """
    shown = _shown(line)
    while len(shown) > MAX_LINE:
        cut = _cut(shown)
        yield shown[:cut].decode()
        shown = shown[cut:]
    yield shown.decode()


def _shown(line: bytes) -> bytes:
    """Gives a line as UTF-8, with `\\xNN` for each byte that belongs to no character."""
    if b"\\udc" in line:
        return line.decode("utf-8", "backslashreplace").encode()
    # The same several times as fast: the codecs know these two ways themselves, and call no handler for each byte.
    return line.decode("utf-8", "surrogateescape").encode("utf-8", "backslashreplace").replace(b"\\udc", b"\\x")


class Output:
    """The output file of a command, read while the command writes it.

    What has been read needs no disk any more: the file keeps its size, and becomes a hole as far as the file system
    can do that.
    """

    def __init__(self, path: Path, log: Callable[[str], None]) -> None:
        """Opens the file, made if need be; what is in it already was logged before.

        @param log: takes each line
        """
        self.path = path
        self._log = log
        self._lines = Lines()
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self.descriptor = os.open(path, flags, 0o600)
        self._offset = os.fstat(self.descriptor).st_size
        self._freed = self._offset
        self._can_free = True

    @property
    def unread(self) -> int:
        """How many bytes have been written that were not read yet."""
        return os.fstat(self.descriptor).st_size - self._offset

    def read(self) -> int:
        """Logs what is new, or the first `READ_AT_ONCE` bytes of it.

        @return: how many bytes were new
        """
        taken = 0
        while taken < READ_AT_ONCE and (data := os.pread(self.descriptor, _CHUNK, self._offset)):
            self._offset += len(data)
            taken += len(data)
            for line in self._lines.feed(data):
                self._log(line)
        if self._offset - self._freed >= READ_AT_ONCE and self._can_free:
            self._can_free = _punch_hole(self.descriptor, self._freed, self._offset - self._freed)
            self._freed = self._offset
        return taken

    def finish(self, everything: bool) -> None:
        """Logs what is left, once nobody writes any more.

        @param everything: all of it; else a bounded part, and where the rest is
        """
        while self.read() and everything:
            continue
        for line in self._lines.finish():
            self._log(line)
        left = self.unread
        if left > 0:
            self._log(f"{left} bytes of output are not shown; they are at the end of {self.path}")

    def close(self) -> None:
        """Gives the descriptor back."""
        os.close(self.descriptor)


def _punch_hole(descriptor: int, start: int, length: int) -> bool:
    """Gives the disk space of a part of a file back.

    @return: whether the file system can do that
    """
    return _fallocate()(descriptor, _PUNCH_HOLE | _KEEP_SIZE, start, length) == 0


@functools.cache
def _fallocate() -> Callable[[int, int, int, int], int]:
    # The standard library has only posix_fallocate, which makes files larger.
    function = ctypes.CDLL(None).fallocate
    function.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long)
    return function
