"""A disk in memory that can stop, tear or fail any single call, and tells what could be left of it after a crash.

It knows what a real disk may do: data and names that were not synced may be lost, kept, or kept in part; after a
failed sync the data is lost, and the next sync says that all is well.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from jqueue.store.files import Files


class Crash(BaseException):
    """The machine has stopped in the middle of a call; every later call raises it too."""


@dataclass(frozen=True)
class Fault:
    """What goes wrong at the call number `at`, counted from 0 over all calls that change something or sync.

    `crash`: it has no effect. `torn`: a write gets half done, anything else is done, then the crash. A number of
    `errno`: the call fails with it, a write after half of it; `lasting`: so do all later calls that need space.
    """

    at: int
    kind: str | int
    lasting: bool = False


@dataclass
class _Node:
    """A file's content: as read, as it is on the disk for certain, and the changes between the two."""

    data: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)

    def change(self, offset: int, data: bytes | None) -> None:
        self.pending.append((offset, data))
        _apply(self.data, offset, data)

    def sync(self) -> None:
        durable = bytearray(self.durable)
        for offset, data in self.pending:
            _apply(durable, offset, data)
        self.durable = bytes(durable)
        self.pending = []

    def survivor(self, part: str) -> _Node:
        data = bytearray(self.durable)
        for offset, change in self.pending if part != "lost" else []:
            if change is None or part == "kept":
                _apply(data, offset, change)
            elif part == "head":
                _apply(data, offset, change[: len(change) // 2])
            else:
                _apply(data, offset + len(change) // 2, change[len(change) // 2 :])
        return _Node(data, bytes(data))


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    """Changes content: `data` is written at `offset`, None cuts or extends it there."""
    if data is None:
        del content[offset:]
    content.extend(bytes(max(0, offset - len(content))))
    if data is not None:
        content[offset : offset + len(data)] = data


@dataclass(frozen=True)
class _NameChange:
    """A change of directories that is not synced: what a path names now; `gone` loses its name by it."""

    path: Path
    node: _Node | None
    gone: Path | None = None


@dataclass
class _Open:
    node: _Node
    append: bool
    position: int = 0


class FaultyFiles(Files):
    """The twin of `Files`. Directories are durable once made, names in them are not before `fsync_directory`."""

    def __init__(self, *directories: Path, fault: Fault | None = None) -> None:
        self.fault = fault
        self.calls: list[str] = []
        """Every call that changed something or synced: its name and the file's."""
        self.crashed = False
        self._directories = set(directories)
        self._names: dict[Path, _Node] = {}
        self._durable_names: dict[Path, _Node] = {}
        self._name_changes: list[_NameChange] = []
        self._open: dict[int, _Open] = {}
        self._last_descriptor = 2

    def survivors(self) -> Iterator[FaultyFiles]:
        """Yields the disks that may be found after power has failed now: names kept up to some change, or one alone."""
        changes = self._name_changes
        kept = [changes[:count] for count in range(len(changes) + 1)]
        kept += [[change] for change in changes[1:]]
        for some in kept:
            names = dict(self._durable_names)
            for change in some:
                _rename(names, change)
            for part in ("lost", "kept", "head", "tail"):
                found = FaultyFiles(*self._directories)
                found._names = {path: node.survivor(part) for path, node in names.items()}
                found._durable_names = dict(found._names)
                yield found

    def killed(self) -> FaultyFiles:
        """@return: the disk as the next process finds it after kill -9: all is readable, nothing more is synced"""
        found = FaultyFiles(*self._directories)
        found._names = dict(self._names)
        found._durable_names = dict(self._durable_names)
        found._name_changes = list(self._name_changes)
        return found

    def open(self, path: Path, flags: int, mode: int = 0o640) -> int:
        self._alive()
        node = self._names.get(path)
        if node is None:
            if not flags & os.O_CREAT or path.parent not in self._directories:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
            node = _Node()
            with self._step("open", path, grows=True):
                self._change_name(_NameChange(path, node))
        elif flags & os.O_CREAT and flags & os.O_EXCL:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        elif flags & os.O_TRUNC and node.data:
            with self._step("truncate", path):
                node.change(0, None)
        self._last_descriptor += 1
        self._open[self._last_descriptor] = _Open(node, bool(flags & os.O_APPEND))
        return self._last_descriptor

    def close(self, descriptor: int) -> None:
        self._alive()
        del self._open[descriptor]

    def read(self, descriptor: int, size: int) -> bytes:
        opened = self._opened(descriptor)
        data = self.pread(descriptor, size, opened.position)
        opened.position += len(data)
        return data

    def pread(self, descriptor: int, size: int, offset: int) -> bytes:
        return bytes(self._opened(descriptor).node.data[offset : offset + size])

    def write(self, descriptor: int, data: bytes) -> None:
        opened = self._opened(descriptor)
        if opened.append:
            opened.position = len(opened.node.data)
        self.pwrite(descriptor, data, opened.position)
        opened.position += len(data)

    def pwrite(self, descriptor: int, data: bytes, offset: int) -> None:
        node = self._opened(descriptor).node
        half = data[: len(data) // 2]
        grows = offset + len(data) > len(node.data)
        with self._step("pwrite", self._path(node), lambda: node.change(offset, half), grows):
            node.change(offset, data)

    def truncate(self, descriptor: int, size: int) -> None:
        node = self._opened(descriptor).node
        with self._step("truncate", self._path(node)):
            node.change(size, None)

    def fdatasync(self, descriptor: int) -> None:
        self._sync("fdatasync", self._opened(descriptor).node)

    def fsync(self, descriptor: int) -> None:
        self._sync("fsync", self._opened(descriptor).node)

    def fsync_directory(self, path: Path) -> None:
        with self._step("fsync_directory", path):
            for change in self._name_changes:
                if change.path.parent == path:
                    _rename(self._durable_names, change)
            self._name_changes = [change for change in self._name_changes if change.path.parent != path]

    def syncfs(self, path: Path) -> None:
        with self._step("syncfs", path):
            for node in self._names.values():
                node.sync()
            for change in self._name_changes:
                _rename(self._durable_names, change)
            self._name_changes = []

    def rename(self, source: Path, target: Path) -> None:
        node = self._existing(source)
        with self._step("rename", target):
            self._change_name(_NameChange(target, node, gone=source))

    def unlink(self, path: Path) -> None:
        self._existing(path)
        with self._step("unlink", path):
            self._change_name(_NameChange(path, None))

    def mkdir(self, path: Path, mode: int = 0o750) -> None:
        self._alive()
        if path in self._directories:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        with self._step("mkdir", path, grows=True):
            self._directories.add(path)

    def listdir(self, path: Path) -> list[str]:
        self._alive()
        return [found.name for found in [*self._names, *self._directories] if found.parent == path and found != path]

    def stat(self, path: Path) -> os.stat_result:
        self._alive()
        if path in self._directories:
            return os.stat_result((stat.S_IFDIR | 0o750, 0, 0, 2, 0, 0, 0, 0, 0, 0))
        node = self._existing(path)
        return os.stat_result((stat.S_IFREG | 0o640, id(node), 0, 1, 0, 0, len(node.data), 0, 0, 0))

    def _sync(self, name: str, node: _Node) -> None:
        with self._step(name, self._path(node), node.pending.clear):
            node.sync()

    def _step(self, name: str, path: Path, on_error: Callable[[], None] = lambda: None, grows: bool = False) -> _Step:
        self._alive()
        number = len(self.calls)
        self.calls.append(f"{name} {path.name}")
        fault = self.fault
        if fault is None or number < fault.at:
            return _Step(self, None)
        if number > fault.at and not (fault.lasting and grows):
            return _Step(self, None)
        if isinstance(fault.kind, int):
            on_error()
            raise OSError(fault.kind, os.strerror(fault.kind), str(path))
        if fault.kind == "torn" and name == "pwrite":
            on_error()
        if fault.kind == "crash" or name == "pwrite":
            self.crashed = True
            self._alive()
        return _Step(self, fault)

    def _alive(self) -> None:
        if self.crashed:
            raise Crash()

    def _opened(self, descriptor: int) -> _Open:
        self._alive()
        if descriptor not in self._open:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._open[descriptor]

    def _existing(self, path: Path) -> _Node:
        self._alive()
        if path not in self._names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return self._names[path]

    def _path(self, node: _Node) -> Path:
        return next((path for path, found in self._names.items() if found is node), Path("unlinked"))

    def _change_name(self, change: _NameChange) -> None:
        self._name_changes.append(change)
        _rename(self._names, change)


class _Step:
    """The body of a call; a crash that comes after it is done."""

    def __init__(self, files: FaultyFiles, fault: Fault | None) -> None:
        self._files = files
        self._fault = fault

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        if self._fault is not None:
            self._files.crashed = True
            raise Crash()


def _rename(names: dict[Path, _Node], change: _NameChange) -> None:
    if change.gone is not None:
        names.pop(change.gone, None)
    if change.node is None:
        names.pop(change.path, None)
    else:
        names[change.path] = change.node
