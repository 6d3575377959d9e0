"""Copying one file from a tree to another: its name always stands for a whole file, the former one or the new one.

The times of a file tell of a change only when the clock that they come from has gone on. So a file that changed just
now is `FRESH` after it was copied: what is written to it in the same tick leaves its times as they are, and only a look
at the content, later on, can tell. When that look is taken lives in `jqueue.opcodes.treesync`.
"""

from __future__ import annotations

import os
import secrets
import stat
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from enum import Enum
from typing import NamedTuple

from jqueue.errors import OpExecError
from jqueue.opcodes.base import OpContext
from jqueue.opcodes.treediff import Rules
from jqueue.opcodes.treedirs import Tree, blame, is_gone

TICK = 0.02
"""Seconds after which the clock that file times come from has gone on for certain."""

_CHUNK = 256 << 10
_SECOND = 1_000_000_000
_COARSE_TICK = 2 * _SECOND
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class Copied(Enum):
    """What came of copying, or comparing, a file."""

    SETTLED = "the same"
    FRESH = "the same, as far as its times can tell"
    CHANGED = "it changed meanwhile, the target is as it was"
    GONE = "there is no such file any more"


class Place(NamedTuple):
    """A directory that is open on both sides, and its name."""

    directory: str
    source: int
    target: int


class Meter:
    """Counts the bytes, tells how far the work is, and pays for them."""

    def __init__(self, ctx: OpContext) -> None:
        self.done = 0
        self.total = 0
        self.text = "comparing"
        self._ctx = ctx
        self._owed = 0
        self._expected = 0

    def expect(self, size: int) -> None:
        """Hears of bytes that will have to be copied."""
        self.total += size
        self._expected += size

    def begin(self, size: int) -> None:
        """Hears of a file that is copied now; it may be among the expected ones or not."""
        known = min(size, self._expected)
        self._expected -= known
        self.total += size - known

    def moved(self, size: int) -> None:
        """Hears of copied bytes; they have to be paid for before the next."""
        self.done += size
        self.total = max(self.total, self.done)
        self._owed += size
        self._ctx.progress(self.done, max(self.total, 1), self.text)

    def pay(self) -> None:
        """Pays for what was copied since."""
        owed, self._owed = self._owed, 0
        if owed:
            self._ctx.throttle(owed)

    def settle(self, text: str) -> None:
        """Says that there is nothing more to copy for now."""
        self._expected = 0
        self.total = self.done
        self._ctx.progress(max(self.done, 1), max(self.done, 1), text)


def is_fresh(state: os.stat_result) -> bool:
    """Whether a further change of the file may leave its times as they are."""
    tick = _COARSE_TICK if state.st_ctime_ns % _SECOND == 0 else int(TICK * _SECOND)
    return abs(time.time_ns() - state.st_ctime_ns) < tick


def set_attributes(descriptor: int, wanted: os.stat_result, rules: Rules) -> None:
    """Gives an open file or directory the attributes of another."""
    if rules.owners:
        os.fchown(descriptor, wanted.st_uid, wanted.st_gid)
    os.fchmod(descriptor, rules.mode(wanted))
    os.utime(descriptor, ns=(wanted.st_atime_ns, wanted.st_mtime_ns))
    rules.learn_time(wanted.st_mtime_ns, os.fstat(descriptor).st_mtime_ns)


class FileCopier:
    """Copies files from a place in one tree to the same place in another."""

    def __init__(self, ctx: OpContext, source: Tree, target: Tree, rules: Rules, meter: Meter) -> None:
        self._ctx = ctx
        self._source = source
        self._target = target
        self._rules = rules
        self._meter = meter

    def copy(self, place: Place, name: str, make_way: Callable[[], None]) -> Copied:
        """Copies a file, its attributes as well.

        @param make_way: is called just before it gets its name, to remove a directory that has it
        @raise OpExecError: it cannot be read or written
        """
        with ExitStack() as stack:
            source = self._open(stack, place.source, name, self._source.full(place.directory, name))
            if source is None:
                return Copied.GONE
            before = os.fstat(source)
            if is_fresh(before):
                self._ctx.sleep(TICK)
                before = os.fstat(source)
            fresh = is_fresh(before)
            self._meter.begin(before.st_size)
            with blame(self._target.full(place.directory, name), "written"):
                if not self._write(source, before, place, name, make_way):
                    return Copied.CHANGED
            return Copied.FRESH if fresh else Copied.SETTLED

    def compare(self, place: Place, name: str) -> Copied:
        """Compares the content of a file on both sides, byte by byte."""
        with ExitStack() as stack:
            source = self._open(stack, place.source, name, self._source.full(place.directory, name))
            target = self._open(stack, place.target, name, self._target.full(place.directory, name))
            if source is None or target is None:
                return Copied.GONE
            fresh = is_fresh(os.fstat(source))
            while True:
                self._ctx.checkpoint()
                chunk = self._read(source, place, name)
                if chunk != os.read(target, _CHUNK):
                    return Copied.CHANGED
                if not chunk:
                    return Copied.FRESH if fresh else Copied.SETTLED

    def _open(self, stack: ExitStack, directory: int, name: str, path: str) -> int | None:
        """@return: None if there is no regular file of that name (any more)"""
        try:
            # A fifo must not hold the worker until somebody writes, a link is not followed.
            with blame(path, "read"):
                descriptor = os.open(name, _FILE, dir_fd=directory)
        except OpExecError as error:
            if not is_gone(error):
                raise
            return None
        stack.callback(os.close, descriptor)
        return descriptor if stat.S_ISREG(os.fstat(descriptor).st_mode) else None

    def _read(self, source: int, place: Place, name: str) -> bytes:
        with blame(self._source.full(place.directory, name), "read"):
            return os.read(source, _CHUNK)

    def _write(
        self, source: int, before: os.stat_result, place: Place, name: str, make_way: Callable[[], None]
    ) -> bool:
        """@return: whether the file has its name; if not, it changed while it was read"""
        temporary = f"{self._rules.prefix}{secrets.token_hex(4)}.part"
        copy = os.open(temporary, _NEW_FILE, 0o600, dir_fd=place.target)
        named = False
        try:
            try:
                self._pour(source, before, copy, place, name)
                set_attributes(copy, before, self._rules)
                os.fsync(copy)
            finally:
                os.close(copy)
            if not _changed(source, before):
                make_way()
                os.rename(temporary, name, src_dir_fd=place.target, dst_dir_fd=place.target)
                named = True
        finally:
            if not named:
                with suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=place.target)
        return named

    def _pour(self, source: int, before: os.stat_result, copy: int, place: Place, name: str) -> None:
        """Copies the content; stops early when the file is found changed."""
        sparse = before.st_blocks * 512 < before.st_size
        size = 0
        while chunk := self._read(source, place, name):
            if sparse and chunk.count(0) == len(chunk):
                os.lseek(copy, len(chunk), os.SEEK_CUR)
            else:
                _write_all(copy, chunk)
            size += len(chunk)
            self._meter.moved(len(chunk))
            if _changed(source, before):
                return
            if size < before.st_size:  # the last piece is paid for once the file has its name
                self._meter.pay()
        os.ftruncate(copy, size)
        if size != before.st_size and not _changed(source, before):
            raise OpExecError(
                f"{self._source.full(place.directory, name)} says that it has {before.st_size} bytes, but {size} came:"
                " it is no file that can be copied; move it out of the tree"
            )


def _changed(source: int, before: os.stat_result) -> bool:
    now = os.fstat(source)
    return (now.st_size, now.st_mtime_ns, now.st_ctime_ns) != (before.st_size, before.st_mtime_ns, before.st_ctime_ns)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
