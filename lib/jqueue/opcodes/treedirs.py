"""A directory tree whose directories are reached by name, one below the other, and never through a symbolic link.

Everything here works on open directories: what stands at a path may be something else a moment later.
What is done with two trees lives in `jqueue.opcodes.treesync`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType

from jqueue.errors import OpExecError
from jqueue.opcodes.treediff import Entry, Listing, subdirectories

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_WORKABLE = 0o700
_PASSABLE = 0o100
_MOST_RECENT = 32
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO})


def below(directory: str, name: str) -> str:
    """Gives the name of an entry from the top of the tree, which itself is ""."""
    return f"{directory}/{name}" if directory else name


def above(directory: str) -> str:
    """Gives the directory that holds another; of the top itself, the top."""
    return directory.rpartition("/")[0]


def shown(path: str) -> str:
    """Gives a path as text for people: bytes that are not UTF-8 are escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


@contextmanager
def blame(path: str, doing: str) -> Iterator[None]:
    """Names the file in what goes wrong inside.

    @param doing: what could not be done, as in "read"
    @raise OpExecError: in the place of an `OSError`
    """
    try:
        yield
    except OSError as error:
        raise OpExecError(
            f"{path} cannot be {doing}: {error.strerror}; put that right and submit the job again:"
            " what is the same already is not copied again"
        ) from error


def is_gone(error: OpExecError) -> bool:
    """Whether a name could not be opened because it stands for nothing any more, or for another type of file."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in _GONE


def full(top: str, directory: str, name: str = "") -> str:
    """Gives the whole path of an entry of a tree, as text for people."""
    return shown(os.path.join(top, directory, name).rstrip("/") or "/")


def identity(state: os.stat_result) -> tuple[int, int]:
    """Gives what tells one file from all others."""
    return state.st_dev, state.st_ino


class Tree:
    """A directory and all that is below it."""

    def __init__(self, path: str, own: bool = False) -> None:
        """Opens the tree.

        @param path: its top; may be a link
        @param own: whether to give oneself the rights to write where they are missing (and remember that)
        @raise OSError: it cannot be opened
        """
        self.path = path
        self.relaxed: set[str] = set()
        """Directories whose permissions were widened to work in them."""
        self._own = own and os.geteuid() != 0
        self._recent: dict[str, int] = {}
        self._top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.identity = identity(os.fstat(self._top))
        self.forbidden: tuple[int, int] | None = None
        """A directory that must not be found here, whatever the paths say (mounts!): the top of the other tree."""

    def __enter__(self) -> Tree:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.forget()
        os.close(self._top)

    def full(self, directory: str, name: str = "") -> str:
        """Gives the whole path of an entry, as text for people."""
        return full(self.path, directory, name)

    def check_top(self) -> None:
        """Makes sure that the path still leads here: what was unmounted or replaced must not pass for empty.

        @raise OpExecError: it does not
        """
        try:
            same = identity(os.stat(self.path)) == self.identity
        except OSError as error:
            raise OpExecError(
                f"{shown(self.path)} is gone ({error.strerror}); bring it back and start again"
            ) from error
        if not same:
            raise OpExecError(
                f"{shown(self.path)} is another directory than it was when the job began (a mount that came or went?);"
                " look what happened, and start again"
            )

    @contextmanager
    def open(self, directory: str) -> Iterator[int | None]:
        """Opens a directory of the tree.

        @param directory: its name from the top
        @return: None if there is no such directory (any more)
        @raise OpExecError: it cannot be opened
        """
        descriptor = None
        try:
            with blame(self.full(directory), "opened"):
                descriptor = self._reach(directory)
        except OpExecError as error:
            if not is_gone(error):
                raise
        try:
            if descriptor is not None and identity(os.fstat(descriptor)) == self.forbidden:
                raise OpExecError(
                    f"{self.full(directory)} is the other tree itself: one of the two is inside the other"
                )
            yield descriptor
        finally:
            if descriptor is not None:
                self._keep(directory, descriptor)

    def forget(self) -> None:
        """Reaches the next directories from the top again, in case that those on the way are others by now."""
        while self._recent:
            os.close(self._recent.popitem()[1])

    def read(self, descriptor: int, directory: str) -> Listing:
        """Reads the entries of an open directory; one that vanishes meanwhile is left out.

        @raise OpExecError: it cannot be read
        """
        entries = {}
        with blame(self.full(directory), "read"), os.scandir(descriptor) as found:
            for each in found:
                with suppress(FileNotFoundError):
                    entries[each.name] = _entry(descriptor, each.name)
        return entries

    def remove(self, directory: str) -> Iterator[str]:
        """Removes a directory with all that is below it, however deep; step by step, so that it can be broken off.

        @return: a name before every step
        @raise OpExecError: something cannot be removed
        """
        found = [directory]
        for each in found:
            with self.open(each) as descriptor:
                listing = self.read(descriptor, each) if descriptor is not None else {}
                names = subdirectories(listing)
                found.extend(below(each, name) for name in names)
                for name in listing.keys() - set(names):
                    yield below(each, name)
                    with blame(self.full(each, name), "removed"), suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=descriptor)
        for each in reversed(found):
            yield each
            with self.open(above(each)) as descriptor:
                if descriptor is not None:
                    with blame(self.full(each), "removed"), suppress(FileNotFoundError):
                        os.rmdir(os.path.basename(each), dir_fd=descriptor)
            self.relaxed.discard(each)
            if each in self._recent:
                os.close(self._recent.pop(each))

    def _reach(self, directory: str) -> int:
        # From the nearest one that was open a moment ago: the whole way from the top would take too long in deep trees.
        name = above(directory)
        while name and name not in self._recent:
            name = above(name)
        descriptor = os.open(".", _DIRECTORY, dir_fd=self._recent.get(name, self._top))
        try:
            rest = directory[len(name) :].strip("/")
            for part in rest.split("/") if rest else ():
                self._make_workable(descriptor, name, _PASSABLE)
                name = below(name, part)
                descriptor, former = self._enter(descriptor, part, name), descriptor
                os.close(former)
            self._make_workable(descriptor, directory, _WORKABLE)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _keep(self, directory: str, descriptor: int) -> None:
        former = self._recent.pop(directory, None)
        if former is not None:
            os.close(former)
        self._recent[directory] = descriptor
        if len(self._recent) > _MOST_RECENT:
            os.close(self._recent.pop(next(iter(self._recent))))

    def _enter(self, parent: int, part: str, name: str) -> int:
        try:
            return os.open(part, _DIRECTORY, dir_fd=parent)
        except PermissionError:
            if not self._own:
                raise
        handle = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            if stat.S_ISDIR(os.fstat(handle).st_mode):
                os.chmod(f"/proc/self/fd/{handle}", _WORKABLE)  # chmod of a name would follow a link
                self.relaxed.add(name)
        finally:
            os.close(handle)
        return os.open(part, _DIRECTORY, dir_fd=parent)

    def _make_workable(self, descriptor: int, directory: str, rights: int) -> None:
        if not self._own:
            return
        state = os.fstat(descriptor)
        if state.st_uid == os.geteuid() and state.st_mode & rights != rights:
            os.fchmod(descriptor, stat.S_IMODE(state.st_mode) | _WORKABLE)
            self.relaxed.add(directory)


def _entry(descriptor: int, name: str) -> Entry:
    while True:
        state = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        if not stat.S_ISLNK(state.st_mode):
            return Entry(state)
        try:
            return Entry(state, os.readlink(name, dir_fd=descriptor))
        except OSError as error:
            if error.errno != errno.EINVAL:  # something else has the name by now
                raise


def sync_file_system(descriptor: int) -> None:
    """Waits until everything written to the file system of an open file is on the disk."""
    if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
