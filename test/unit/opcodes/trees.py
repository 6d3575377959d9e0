"""Two real directory trees, and a clock on which nobody waits: what the tests of the mirror share."""

from __future__ import annotations

import ctypes
import os
import select
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jqueue.opcodes import treecopy, treemirror, treesync
from jqueue.opcodes.base import COMPLETE
from jqueue.opcodes.fake import FakeContext
from jqueue.opcodes.mirrortree import OpMirrorTree
from jqueue.opcodes.treediff import Rules, temporary_prefix
from jqueue.opcodes.treedirs import Tree

NOT_UTF8 = os.fsdecode(b"\xff\xfe")
Change = Callable[[], object]
_NOBODY = 65534
_PR_SET_DUMPABLE = 4


class Clock:
    """Stands for the module `time`. Files just made are an hour old, so that no times are in doubt."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        for module in (treecopy, treesync, treemirror):
            monkeypatch.setattr(module, "time", self)

    def monotonic(self) -> float:
        return self.now

    def time_ns(self) -> int:
        return time.time_ns() + 3_600_000_000_000


class Context(FakeContext):
    """Sleeps on the fake clock."""

    def __init__(self, clock: Clock, *, dry_run: bool = False, stop_at: int | None = None) -> None:
        super().__init__(dry_run=dry_run, stop_at=stop_at)
        self.clock = clock

    def sleep(self, seconds: float) -> None:
        self.clock.now += seconds
        super().sleep(seconds)

    def lines(self) -> list[str]:
        """Gives the texts of the log."""
        return [str(message) for _, message in self.logged]


class Watched(Context):
    """Each time that the mirror is ready and has nothing to do, compares the trees and makes the next change."""

    def __init__(self, clock: Clock, source: Path, target: Path, changes: list[Change], end: str) -> None:
        super().__init__(clock)
        self.source = source
        self.target = target
        self.changes = changes
        self.end = end
        self.passed = 0.0
        """Seconds that `ready` waited in all."""

    def ready(self, seconds: float | None = None, descriptor: int | None = None) -> str | None:
        super().ready(seconds, descriptor)
        assert seconds is not None
        if descriptor is not None and select.select([descriptor], [], [], 0)[0]:
            return None
        if seconds < 1:
            self.clock.now += seconds
            return None
        assert snapshot(self.target) == snapshot(self.source)
        if not self.changes:
            return self.end
        self.changes.pop(0)()
        if descriptor is None or not select.select([descriptor], [], [], 0)[0]:
            self.clock.now += seconds
        return None


class Rig:
    """A source with nothing in it, a target that does not exist, and an opcode for them."""

    def __init__(self, top: Path, clock: Clock) -> None:
        self.top = top
        self.clock = clock
        self.source = top / "source"
        self.target = top / "target"
        self.source.mkdir()
        self.context = Context(clock)

    def op(self, **parameters: object) -> OpMirrorTree:
        """Makes the opcode."""
        return OpMirrorTree(source=str(self.source), target=str(self.target), **parameters)

    def run(self, *changes: Change, end: str = COMPLETE, **parameters: object) -> dict[str, object]:
        """Mirrors; makes a change whenever the trees are in step, which it checks."""
        self.context = Watched(self.clock, self.source, self.target, list(changes), end)
        return self.op(**parameters).exec(self.context)

    def same(self) -> bool:
        """Whether the target is as the source."""
        return snapshot(self.source) == snapshot(self.target)

    @contextmanager
    def trees(self) -> Iterator[tuple[Tree, Tree]]:
        """Opens both trees."""
        self.target.mkdir(exist_ok=True)
        with Tree(str(self.source)) as source, Tree(str(self.target), own=True) as target:
            source.forbidden, target.forbidden = target.identity, source.identity
            yield source, target


def rules(delete: bool = True, owners: bool = True) -> Rules:
    return Rules(temporary_prefix(1, 0), delete=delete, owners=owners and os.geteuid() == 0)


def snapshot(top: Path) -> dict[str, object]:
    """Gives all that the mirror has to keep of a tree, by path; sockets, fifos and devices are not of that."""
    found: dict[str, object] = {}
    for directory, directories, files in os.walk(top):
        for path in [directory, *(os.path.join(directory, name) for name in directories + files)]:
            state = os.lstat(path)
            kind, content = stat.S_IFMT(state.st_mode), None
            if kind == stat.S_IFREG:
                content = Path(path).read_bytes()
            elif kind == stat.S_IFLNK:
                content = os.fsencode(os.readlink(path))
            elif kind != stat.S_IFDIR:
                continue
            mode = None if kind == stat.S_IFLNK else stat.S_IMODE(state.st_mode)
            owner = (state.st_uid, state.st_gid)
            found[os.path.relpath(path, top)] = (kind, mode, owner, state.st_mtime_ns, content)
    return found


def names(top: Path) -> list[str]:
    """Gives the paths of all that is in a tree."""
    return sorted(str(path.relative_to(top)) for path in top.rglob("*"))


def fill(top: Path) -> None:
    """Puts some of everything into a directory."""
    (top / "a" / "b").mkdir(parents=True)
    (top / "empty").mkdir(mode=0o711)
    (top / "file").write_bytes(b"x" * 700_000)
    (top / "a" / "b" / NOT_UTF8).write_text("odd")
    (top / "a" / "none").touch(mode=0o600)
    (top / "a" / "link").symlink_to("../file")
    (top / "dangling").symlink_to("/nonexistent")
    os.utime(top / "file", ns=(1, 1_000_000_001))
    os.utime(top / "dangling", ns=(1, 2_000_000_001), follow_symlinks=False)
    os.utime(top / "empty", ns=(1, 3_000_000_001))


@contextmanager
def unprivileged(top: Path) -> Iterator[None]:
    """Takes the rights of root away; what is in a directory, and that itself, is ours still."""
    if os.geteuid() != 0:
        yield
        return
    for path in [top, *top.rglob("*")]:
        os.chown(path, _NOBODY, _NOBODY, follow_symlinks=False)
    os.setegid(_NOBODY)
    os.seteuid(_NOBODY)
    try:
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1)  # a change of user makes /proc/self root's
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1)
