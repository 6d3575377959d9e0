"""The disk, one call each: the layer through which every module of the store works.

It exists so that tests can stop, tear or fail every single call (see test/crash).
So no module of the store calls `os` for a change on disk.
It decides nothing: errors come out as `OSError`, and what they mean is up to the caller. Nothing here retries.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_ZEROS = bytes(1 << 20)


class Files:
    """Plain calls on the real disk; safe to use from any thread."""

    def open(self, path: Path, flags: int, mode: int = 0o640) -> int:
        """Opens a file; the descriptor is never inherited by children.

        @param flags: `os.O_*`
        @return: the descriptor
        """
        return os.open(path, flags | os.O_CLOEXEC, mode)

    def close(self, descriptor: int) -> None:
        """Closes a descriptor."""
        os.close(descriptor)

    def read(self, descriptor: int, size: int) -> bytes:
        """Reads up to `size` bytes at the current position; empty at the end of the file."""
        return os.read(descriptor, size)

    def pread(self, descriptor: int, size: int, offset: int) -> bytes:
        """Reads up to `size` bytes at `offset`; empty at the end of the file."""
        return os.pread(descriptor, size, offset)

    def write(self, descriptor: int, data: bytes) -> None:
        """Writes all of `data` at the current position (at the end with `O_APPEND`)."""
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]

    def pwrite(self, descriptor: int, data: bytes, offset: int) -> None:
        """Writes all of `data` at `offset` bytes from the start."""
        view = memoryview(data)
        while view:
            written = os.pwrite(descriptor, view, offset)
            view = view[written:]
            offset += written

    def truncate(self, descriptor: int, size: int) -> None:
        """Makes the file `size` bytes long."""
        os.ftruncate(descriptor, size)

    def fdatasync(self, descriptor: int) -> None:
        """Waits until the file's data is on the disk; when it fails the data is lost, and a second call may lie."""
        os.fdatasync(descriptor)

    def fsync(self, descriptor: int) -> None:
        """Waits until the file's data and attributes are on the disk; as `fdatasync`, never to be retried."""
        os.fsync(descriptor)

    def fsync_directory(self, path: Path) -> None:
        """Waits until the names in a directory are on the disk."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def syncfs(self, path: Path) -> None:
        """Waits until everything written to the file system that holds `path` is on the disk."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if ctypes.CDLL(None, use_errno=True).syncfs(descriptor):
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number), str(path))
        finally:
            os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """Gives a file another name; a file that has it already is replaced."""
        os.rename(source, target)

    def unlink(self, path: Path) -> None:
        """Removes a file's name."""
        os.unlink(path)

    def mkdir(self, path: Path, mode: int = 0o750) -> None:
        """Makes one directory."""
        os.mkdir(path, mode)

    def listdir(self, path: Path) -> list[str]:
        """@return: the names in a directory, in no particular order"""
        return os.listdir(path)

    def stat(self, path: Path) -> os.stat_result:
        """@return: the attributes of the file itself, links are not followed"""
        return os.lstat(path)

    def allocate(self, descriptor: int, offset: int, size: int) -> None:
        """Fills a range with real zeros, so that writing there later needs no more space and no change of metadata.

        @param offset: first byte
        @param size: number of bytes
        """
        for start in range(offset, offset + size, len(_ZEROS)):
            self.pwrite(descriptor, _ZEROS[: offset + size - start], start)

    def read_file(self, path: Path) -> bytes:
        """@return: the whole content of a file"""
        descriptor = self.open(path, os.O_RDONLY)
        try:
            pieces = []
            while piece := self.read(descriptor, len(_ZEROS)):
                pieces.append(piece)
            return b"".join(pieces)
        finally:
            self.close(descriptor)

    def write_file(self, path: Path, data: bytes, *, sync: bool, mode: int = 0o640) -> None:
        """Makes a file, or replaces the content of the one that is there (not atomically: rename afterwards).

        @param sync: wait until the data is on the disk
        """
        descriptor = self.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        try:
            self.write(descriptor, data)
            if sync:
                self.fsync(descriptor)
        finally:
            self.close(descriptor)
