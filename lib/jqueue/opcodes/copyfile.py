"""The opcode that copies a file: bounded in speed, verified, and visible under its name only once it is complete.

The limit itself lives in `jqueue.workers.ratelimit`; it is reached through `ctx.throttle`.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from jqueue.errors import OpExecError
from jqueue.opcodes.base import EXCLUSIVE, SHARED, LockSpec, OpCode, OpContext, param

_CHUNK = 256 << 10
_NO_HARD_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS})
_AT_FDCWD = -100
_RENAME_NOREPLACE = 1


def _absolute(path: str) -> str | None:
    if path.startswith("/") and not path.endswith("/"):
        return None
    return f'absolute path of a file expected, got "{path}"'


def _not_negative(value: int) -> str | None:
    return f"at least 0 expected, got {value}" if value < 0 else None


class OpCopyFile(OpCode):
    """Copies a file, verified, at a bounded speed."""

    OP_ID = "OP_COPY_FILE"
    stoppable = True
    restartable = True
    supports_dry_run = True
    summary_parameter = "target"

    source: str = param("absolute path of the file to read", check=_absolute)
    target: str = param("absolute path to create; must not exist", check=_absolute)
    speed: int = param("bytes a second to start with; 0 is no limit", default=0, check=_not_negative)

    def locks(self) -> LockSpec:
        """See `OpCode.locks`."""
        return {"file": {self.source: SHARED, self.target: EXCLUSIVE}}

    def start_speed(self) -> int:
        """See `OpCode.start_speed`."""
        return self.speed

    def exec(self, ctx: OpContext) -> dict[str, object]:
        """See `OpCode.exec`; the result has the number of bytes and their SHA-256."""
        with self._failures("Copying"), _opened(self.source) as source:
            before = _identity(os.fstat(source))
            self._refuse_existing()
            if ctx.dry_run:
                return {"bytes": os.fstat(source).st_size, "sha256": None}
            partial = f"{os.path.dirname(self.target)}/.jqueue-{ctx.job_id}.{ctx.op_index}-{secrets.token_hex(4)}.part"
            ctx.saved["partial"] = partial  # before it exists, so that no crash leaves it behind
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            copy = os.open(partial, flags, 0o600)
            try:
                result = _copy_verified(ctx, source, copy)
            finally:
                os.close(copy)
            if _identity(os.fstat(source)) != before:
                raise OpExecError(f"{self.source} was changed while it was copied; try again when it is quiet")
            ctx.saved["source"] = before
            return result

    def prepare(self, ctx: OpContext) -> None:
        """See `OpCode.prepare`."""
        if "source" not in ctx.saved:
            return
        with self._failures("Checking"):
            self._refuse_existing()
            if _identity(os.stat(self.source)) != list(ctx.saved["source"]):
                raise OpExecError(f"{self.source} was changed after it was copied; try again when it is quiet")

    def commit(self, ctx: OpContext) -> None:
        """See `OpCode.commit`; a partial file that is gone was moved by an earlier call."""
        partial = ctx.saved.get("partial")
        if partial is None:
            return
        with self._failures("Naming"):
            if os.path.lexists(partial):
                _move(partial, self.target)
            elif not os.path.lexists(self.target):
                raise OpExecError(f"{partial}, the verified copy of {self.source}, is gone; copy it again")
            _sync_directory(os.path.dirname(self.target))

    def abort(self, ctx: OpContext) -> None:
        """See `OpCode.abort`."""
        partial = ctx.saved.get("partial")
        if partial is not None:
            with self._failures("Undoing"):
                Path(partial).unlink(missing_ok=True)

    def _refuse_existing(self) -> None:
        if os.path.lexists(self.target):
            raise OpExecError(f"{self.target} exists already; remove it, or choose another target")

    @contextmanager
    def _failures(self, doing: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            raise OpExecError(f"{doing} {self.source} to {self.target} failed: {error.strerror}{where}") from error


def _identity(state: os.stat_result) -> list[int]:
    return [state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns]


@contextmanager
def _opened(path: str) -> Iterator[int]:
    # Without O_NONBLOCK a fifo would hold the worker until somebody writes.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OpExecError(f"{path} is not a regular file; only such are copied")
        yield descriptor
    finally:
        os.close(descriptor)


def _copy_verified(ctx: OpContext, source: int, copy: int) -> dict[str, object]:
    """Copies, syncs and reads back.

    @param source: descriptor to read from
    @param copy: descriptor of the empty file, for reading and writing
    """
    state = os.fstat(source)
    total = 2 * state.st_size

    def copied(chunk: bytes, done: int) -> None:
        view = memoryview(chunk)
        while view:
            view = view[os.write(copy, view) :]
        ctx.progress(done, total, "copying")
        # Work is paid for afterwards, and nothing comes after the last chunk.
        if done < state.st_size:
            ctx.throttle(len(chunk))
        else:
            ctx.checkpoint()

    def verified(chunk: bytes, done: int) -> None:
        ctx.progress(state.st_size + done, total, "verifying")
        ctx.checkpoint()

    size, digest = _read_all(source, copied)
    os.fchmod(copy, stat.S_IMODE(state.st_mode) & 0o777)
    os.fsync(copy)
    os.lseek(copy, 0, os.SEEK_SET)
    os.posix_fadvise(copy, 0, 0, os.POSIX_FADV_DONTNEED)  # so that the disk is read, not the cache
    if _read_all(copy, verified) != (size, digest):
        raise OpExecError("The copy differs from what was written: the disk or its memory is faulty, check them")
    return {"bytes": size, "sha256": digest}


def _read_all(descriptor: int, each: Callable[[bytes, int], None]) -> tuple[int, str]:
    """Reads to the end.

    @param each: called with every chunk and the number of bytes so far
    @return: number of bytes, SHA-256
    """
    digest, done = hashlib.sha256(), 0
    while chunk := os.read(descriptor, _CHUNK):
        digest.update(chunk)
        done += len(chunk)
        each(chunk, done)
    return done, digest.hexdigest()


def _move(partial: str, target: str) -> None:
    """Gives the file its name, over nothing that has it."""
    try:
        os.link(partial, target)
    except FileExistsError:
        # An earlier call may have got as far as this.
        if not os.path.samefile(partial, target):
            raise
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        _rename_no_replace(partial, target)
        return
    os.unlink(partial)


def _rename_no_replace(old: str, new: str) -> None:
    # The standard library has no way to rename without overwriting.
    renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    if renameat2(_AT_FDCWD, os.fsencode(old), _AT_FDCWD, os.fsencode(new), _RENAME_NOREPLACE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), new)


def _sync_directory(path: str) -> None:
    descriptor = os.open(path or "/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
