"""Writing checkpoints: they stand for all records up to one, so that older segments of the journal can go.

One is written under `tmp/`, synced, and renamed into place. The format lives in `jqueue.store.checkpointfile`.
What the chunks mean is not known here, nor when to take one.
"""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from jqueue.errors import DiskFull, StoreFailed
from jqueue.store.checkpointfile import (
    checkpoint_path,
    encode_chunk,
    encode_header,
    encode_trailer,
    find_latest,
    list_checkpoints,
)
from jqueue.store.files import Files
from jqueue.store.statedir import StateDirectory
from jqueue.store.thread import FileThread, InlineThread

__all__ = ["CheckpointWriter", "checkpoint_path", "list_checkpoints", "read_latest"]

P = ParamSpec("P")
T = TypeVar("T")

_log = Logger()


class CheckpointWriter:
    """Writes checkpoints, one at a time; every call runs in the file thread."""

    def __init__(self, state: StateDirectory, files: Files, thread: FileThread | InlineThread) -> None:
        self._directory = state.journal
        self._new = state.tmp / "checkpoint"
        self._files = files
        self._thread = thread
        self._descriptor = -1
        self._sequence = 0
        self._count = 0
        self._crc = 0

    def begin(self, sequence: int) -> Deferred[None]:
        """Begins a checkpoint; one that was not finished is given up.

        @param sequence: of the last record it stands for
        @return: fails, as those of the other calls, with `DiskFull` or `StoreFailed`; then this checkpoint is given up
        """
        return self._thread.call(self._guarded, self._begin, sequence)

    def add(self, chunk: bytes) -> Deferred[None]:
        """Adds a chunk to it; up to a megabyte is a good size."""
        return self._thread.call(self._guarded, self._add, chunk)

    def finish(self) -> Deferred[None]:
        """Syncs it and puts it in its place.

        @return: fires when it is durable
        """
        return self._thread.call(self._guarded, self._finish)

    def abandon(self) -> Deferred[None]:
        """Gives up the one that was begun, if there is one."""
        return self._thread.call(self._guarded, self._abandon)

    def drop_old(self, keep: int = 2) -> Deferred[int]:
        """Removes old checkpoints.

        @param keep: how many of the newest stay
        @return: the sequence of the oldest one that a start may have to fall back to, 0 when it is the empty queue;
            the journal's records behind it must stay
        """
        return self._thread.call(self._guarded, self._drop_old, keep)

    def _guarded(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except OSError as error:
            self._close()
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise StoreFailed(
                    f"a checkpoint of the journal in {self._directory} failed"
                    f" ({error.filename or self._new}: {error.strerror}); check the disk and start the daemon again"
                ) from error
            self._abandon()
            raise DiskFull() from error

    def _begin(self, sequence: int) -> None:
        self._close()
        self._sequence, self._count, self._crc = sequence, 0, 0
        self._descriptor = self._files.open(self._new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        self._files.write(self._descriptor, encode_header(sequence))

    def _add(self, chunk: bytes) -> None:
        self._files.write(self._descriptor, encode_chunk(chunk))
        self._count += 1
        self._crc = zlib.crc32(chunk, self._crc)

    def _finish(self) -> None:
        self._files.write(self._descriptor, encode_trailer(self._count, self._crc))
        self._files.fsync(self._descriptor)
        self._close()
        self._files.rename(self._new, self._directory / f"checkpoint-{self._sequence:020d}")
        self._files.fsync_directory(self._directory)

    def _abandon(self) -> None:
        self._close()
        if self._new.name in self._files.listdir(self._new.parent):
            self._files.unlink(self._new)

    def _close(self) -> None:
        if self._descriptor >= 0:
            self._files.close(self._descriptor)
            self._descriptor = -1

    def _drop_old(self, keep: int) -> int:
        sequences = list_checkpoints(self._directory, self._files)
        for sequence in sequences[keep:]:
            self._files.unlink(checkpoint_path(self._directory, sequence))
        return sequences[keep - 1] if len(sequences) >= keep else 0


def read_latest(directory: Path, files: Files) -> tuple[int, Iterator[bytes]]:
    """As `find_latest`; a checkpoint that is passed over is told to the log."""
    return find_latest(directory, files, lambda damage: _log.warn("{error}", error=damage.text))
