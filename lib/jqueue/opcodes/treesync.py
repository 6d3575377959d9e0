"""Bringing one directory tree in step with another, a directory at a time.

Which directory is looked at when lives in `jqueue.opcodes.treemirror`, what differs in it in `jqueue.opcodes.treediff`.
Nothing is written through a symbolic link, and nothing is half done under its own name.
"""

from __future__ import annotations

import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import NamedTuple

from jqueue.errors import OpExecError, ProgrammerError
from jqueue.opcodes.base import OpContext
from jqueue.opcodes.treecopy import TICK, Copied, FileCopier, Meter, Place, set_attributes
from jqueue.opcodes.treediff import Entry, Listing, Rules, Step, What, differences, is_temporary, subdirectories
from jqueue.opcodes.treedirs import Tree, above, below, blame, full, sync_file_system

_FIRST_DELAY = 0.1
_LONGEST_DELAY = 30.0
_HANDLE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class _Delay(NamedTuple):
    until: float
    seconds: float


class TreeSync:
    """Makes the directories of one tree as those of another are."""

    def __init__(
        self,
        ctx: OpContext,
        source: Tree,
        target: Tree,
        rules: Rules,
        *,
        on_open: Callable[[int, str], object] = lambda descriptor, directory: None,
        log_steps: bool = False,
    ) -> None:
        """Makes one.

        @param on_open: is called with every open directory of the source, and its name, before its entries are read
        @param log_steps: whether every step gets a log line
        """
        self.meter = Meter(ctx)
        self.files = 0
        """Files copied so far."""
        self.steps = 0
        """Differences found so far."""
        self.fingerprint = 0
        """Stands for the steps since it was set to 0: the same steps for the same files, the same fingerprint."""
        self.last = ""
        """Where the last difference was, as text for people."""
        self._ctx = ctx
        self._source = source
        self._target = target
        self._rules = rules
        self._on_open = on_open
        self._log_steps = log_steps
        self._copier = FileCopier(ctx, source, target, rules, self.meter)
        self._later: dict[str, float] = {}  # directories to look at again, and when
        self._restless: dict[str, dict[str, _Delay]] = {}  # files that changed while they were copied, by directory
        self._doubted: dict[str, set[str]] = {}  # files whose times may not tell of a change, by directory
        self._doubted_trees: set[str] = set()
        self._skipped: set[str] = set()
        self._file_systems: dict[int, str] = {}  # one directory of each that was written to

    @property
    def restless(self) -> bool:
        """Whether there are files that changed while they were copied, and are not copied yet."""
        return bool(self._restless)

    def due(self) -> list[str]:
        """Gives the directories that have to be looked at again by now."""
        now = time.monotonic()
        return [directory for directory, when in self._later.items() if when <= now]

    def wait(self) -> float | None:
        """Gives the seconds until a directory has to be looked at again; None if none has to."""
        return max(min(self._later.values()) - time.monotonic(), 0) if self._later else None

    def hurry(self) -> None:
        """Copies files that changed while they were copied without waiting for the end of their delay."""
        self._restless.clear()

    def doubt(self, directory: str, names: set[str]) -> None:
        """Has files compared by their content when the directory is brought in step, whatever their times say."""
        if names:
            self._doubted.setdefault(directory, set()).update(names)

    def doubt_tree(self, directory: str) -> None:
        """Has all files of a directory compared by their content, also below it if it is brought in step deeply."""
        self._doubted_trees.add(directory)

    def bring_all(self) -> None:
        """Brings the whole tree in step; see `bring`."""
        self._later.clear()
        self.bring("", deep=True)
        # Every directory that there is was looked at: what is still known of others is of none any more.
        self._doubted_trees.clear()
        for files in (self._doubted, self._restless):
            for directory in [each for each in files if each not in self._later]:
                del files[directory]

    def bring(self, directory: str, deep: bool) -> None:
        """Brings a directory in step.

        @param deep: whether those below it as well; new ones are in any case
        @raise OpExecError: something cannot be read or written; the text names it
        """
        self._forget()
        pending = [(directory, deep)]
        while pending:
            directory, deep = pending.pop()
            pending.extend((each, True) for each in reversed(self._bring(directory, deep)))
        self._restore()
        self._forget()  # nothing is kept open, and no mount busy, while the mirror waits

    def sync(self) -> None:
        """Waits until all that was written is on the disk."""
        for directory in self._file_systems.values():
            with self._target.open(directory) as descriptor, blame(self._target.full(directory), "synced"):
                if descriptor is not None:
                    sync_file_system(descriptor)

    def _forget(self) -> None:
        self._source.forget()
        self._target.forget()

    def _bring(self, directory: str, deep: bool) -> list[str]:
        """@return: the directories below it that are to be brought in step as well"""
        self._ctx.checkpoint()
        self._later.pop(directory, None)
        doubted, restless = self._doubted.pop(directory, set()), self._restless.pop(directory, {})
        tree_doubted = directory in self._doubted_trees
        self._doubted_trees.discard(directory)
        with self._source.open(directory) as source, ExitStack() as stack:
            if source is None:
                return self._vanished(directory)
            self._on_open(source, directory)
            wanted = os.fstat(source)
            listing = self._source.read(source, directory)
            target = stack.enter_context(self._target.open(directory))
            if target is None:
                return self._vanished(directory)
            place = Place(directory, source, target)
            made, settled = [], set[str]()
            for step in differences(listing, self._target.read(target, directory), self._rules):
                self._perform(place, step, restless.get(step.name))
                if step.what is not What.ATTRIBUTES:
                    settled.add(step.name)
                if step.what is What.DIRECTORY:
                    made.append(step.name)
            for name in sorted((doubted if not tree_doubted else listing.keys()) - settled):
                if name in listing and stat.S_ISREG(listing[name].state.st_mode):
                    self._compare(place, Step(What.COPY, name, listing[name], None))
            self._finish(place, wanted)
            names = [below(directory, name) for name in (subdirectories(listing) if deep else made)]
            self._doubted_trees.update(names if tree_doubted else ())
            return names

    def _vanished(self, directory: str) -> list[str]:
        self.steps += 1
        self.fingerprint += hash(directory)
        self._look_again(above(directory))
        return []

    def _perform(self, place: Place, step: Step, restless: _Delay | None) -> None:
        self._ctx.checkpoint()
        match step.what:
            case What.SKIP:
                self._skip(place, step)
                return
            case What.COPY:
                self._copy(place, step, restless)
                return
        self._count(place, step)
        with blame(self._target.full(place.directory, step.name), "written"):
            match step.what:
                case What.REMOVE:
                    self._remove(place, step)
                case What.DIRECTORY:
                    self._make_way(place, step)
                    os.mkdir(step.name, 0o700, dir_fd=place.target)
                case What.LINK:
                    self._link(place, step)
                case What.ATTRIBUTES:
                    _set_named_attributes(place.target, step.name, _source(step).state, self._rules)

    def _count(self, place: Place, step: Step) -> None:
        self.steps += 1
        if step.name:  # otherwise the attributes of a directory, which are often only the consequence
            self.last = self._source.full(place.directory, step.name)
        state = step.source.state if step.source else None
        times = (state.st_size, state.st_mtime_ns, state.st_ctime_ns) if state else None
        self.fingerprint += hash((place.directory, step.name, step.what, times))
        device = os.fstat(place.target).st_dev
        self._file_systems[device] = "" if device == self._target.identity[0] else place.directory
        if self._log_steps:
            self._ctx.log(describe(self._source.path, self._target.path, place.directory, step))

    def _look_again(self, directory: str, seconds: float = 0.0) -> None:
        when = time.monotonic() + seconds
        self._later[directory] = min(when, self._later.get(directory, when))

    # Files

    def _skip(self, place: Place, step: Step) -> None:
        path = below(place.directory, step.name)
        if path not in self._skipped:
            self._skipped.add(path)
            self._ctx.log(describe(self._source.path, self._target.path, place.directory, step))

    def _copy(self, place: Place, step: Step, restless: _Delay | None = None) -> None:
        if restless is not None and restless.until > time.monotonic():
            self._put_off(place, step, restless)
            return
        self._count(place, step)
        match self._copier.copy(place, step.name, lambda: self._make_way(place, step)):
            case Copied.SETTLED:
                self.files += 1
            case Copied.FRESH:
                self.files += 1
                self._suspect(place, step)
            case Copied.GONE:
                self._look_again(place.directory)
            case Copied.CHANGED:
                former = restless.seconds if restless else 0.0
                seconds = min(max(2 * former, _FIRST_DELAY), _LONGEST_DELAY)
                self._put_off(place, step, _Delay(time.monotonic() + seconds, seconds))
                if seconds > former:
                    path = self._source.full(place.directory, step.name)
                    self._ctx.log(f"{path} changed while it was copied; it is copied again in {seconds:g} s")
        self.meter.pay()

    def _compare(self, place: Place, step: Step) -> None:
        match self._copier.compare(place, step.name):
            case Copied.FRESH:
                self._suspect(place, step)
            case Copied.GONE:
                self._look_again(place.directory)
            case Copied.CHANGED:
                self._copy(place, step)

    def _suspect(self, place: Place, step: Step) -> None:
        self._doubted.setdefault(place.directory, set()).add(step.name)
        self._look_again(place.directory, TICK)

    def _put_off(self, place: Place, step: Step, delay: _Delay) -> None:
        self._restless.setdefault(place.directory, {})[step.name] = delay
        self._look_again(place.directory, max(delay.until - time.monotonic(), 0))

    # Everything else

    def _remove(self, place: Place, step: Step) -> None:
        if _is_directory(step.target):
            for _ in self._target.remove(below(place.directory, step.name)):
                self._ctx.checkpoint()
        else:
            with suppress(FileNotFoundError):
                os.unlink(step.name, dir_fd=place.target)

    def _make_way(self, place: Place, step: Step) -> None:
        """Removes what has the name and cannot be replaced by a rename."""
        if step.what is What.DIRECTORY:
            if step.target is not None:
                self._remove(place, step)
        elif _is_directory(step.target):
            if self._rules.delete:
                self._remove(place, step)
                return
            try:
                os.rmdir(step.name, dir_fd=place.target)
            except OSError as error:
                raise OpExecError(
                    f"{self._target.full(place.directory, step.name)} is a directory and its counterpart in the source"
                    f" is not, but nothing is to be deleted ({error.strerror}); move it away, or set delete"
                ) from error

    def _link(self, place: Place, step: Step) -> None:
        temporary = f"{self._rules.prefix}{secrets.token_hex(4)}.part"
        os.symlink(_source(step).link, temporary, dir_fd=place.target)
        try:
            _set_named_attributes(place.target, temporary, _source(step).state, self._rules)
            self._make_way(place, step)
            os.rename(temporary, step.name, src_dir_fd=place.target, dst_dir_fd=place.target)
        except BaseException:
            os.unlink(temporary, dir_fd=place.target)
            raise

    def _finish(self, place: Place, wanted: os.stat_result) -> None:
        """Gives a directory its attributes: its time of modification is right once its entries are."""
        relaxed = place.directory in self._target.relaxed
        self._target.relaxed.discard(place.directory)
        with blame(self._target.full(place.directory), "written"):
            kept = os.fstat(place.target)
            if place.directory == "" and os.geteuid() not in (0, kept.st_uid):
                return  # where a file system is mounted, only the files in it may be ours
            if not self._rules.same_attributes(wanted, kept):
                if not relaxed:
                    self._count(place, Step(What.ATTRIBUTES, "", Entry(wanted), None))
                set_attributes(place.target, wanted, self._rules)

    def _restore(self) -> None:
        """Gives those directories their permissions that had to be widened on the way to others."""
        for directory in sorted(self._target.relaxed, key=len, reverse=True):
            with self._source.open(directory) as source, self._target.open(directory) as target:
                if source is not None and target is not None:
                    with blame(self._target.full(directory), "written"):
                        set_attributes(target, os.fstat(source), self._rules)
        self._target.relaxed.clear()


def preview(ctx: OpContext, source: Tree, target: Tree | None, rules: Rules) -> Iterator[tuple[str, Step]]:
    """Compares two whole trees and changes nothing.

    @param target: None if there is none yet
    @return: the name of a directory, and a step in it
    @raise OpExecError: something cannot be read
    """
    pending = [""]
    while pending:
        directory = pending.pop()
        ctx.checkpoint()
        with source.open(directory) as descriptor:
            listing = source.read(descriptor, directory) if descriptor is not None else {}
        present: Listing = {}
        if target is not None:
            with target.open(directory) as descriptor:
                present = target.read(descriptor, directory) if descriptor is not None else {}
        for step in differences(listing, present, rules):
            yield directory, step
        pending.extend(below(directory, name) for name in reversed(subdirectories(listing)))


def describe(source: str, target: str, directory: str, step: Step) -> str:
    """Gives a step in words.

    @param source: the path of the top of the tree; `target` likewise
    """
    path = full(source if step.what is What.SKIP else target, directory, step.name)
    match step.what:
        case What.COPY:
            return f"copy {path}, {_source(step).state.st_size} bytes"
        case What.SKIP:
            return f"skip {path}: it is no file, directory or link"
        case _:
            return f"{step.what.value} {path}"


def remove_temporary(tree: Tree, prefix: str) -> None:
    """Removes the temporary files that a crash left anywhere in a tree."""
    pending = [""]
    while pending:
        directory = pending.pop()
        with tree.open(directory) as descriptor:
            if descriptor is None:
                continue
            listing = tree.read(descriptor, directory)
            for name in listing:
                if name.startswith(prefix) and is_temporary(name):
                    with blame(tree.full(directory, name), "removed"), suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=descriptor)
        pending.extend(below(directory, name) for name in subdirectories(listing))


def _source(step: Step) -> Entry:
    if step.source is None:
        raise ProgrammerError(f"The step {step} has no source; please report this")
    return step.source


def _is_directory(entry: Entry | None) -> bool:
    return entry is not None and stat.S_ISDIR(entry.state.st_mode)


def _set_named_attributes(directory: int, name: str, wanted: os.stat_result, rules: Rules) -> None:
    """Gives a file or link the attributes of another, by its name, and never through a link."""
    if rules.owners:
        os.chown(name, wanted.st_uid, wanted.st_gid, dir_fd=directory, follow_symlinks=False)
    if not stat.S_ISLNK(wanted.st_mode):
        handle = os.open(name, _HANDLE, dir_fd=directory)
        try:
            os.chmod(f"/proc/self/fd/{handle}", rules.mode(wanted))  # chmod of a name would follow a link
        finally:
            os.close(handle)
    os.utime(name, ns=(wanted.st_atime_ns, wanted.st_mtime_ns), dir_fd=directory, follow_symlinks=False)
    kept = os.stat(name, dir_fd=directory, follow_symlinks=False)
    rules.learn_time(wanted.st_mtime_ns, kept.st_mtime_ns)
