"""A dropped file is submitted exactly once, at whichever call the daemon is killed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from jqueue.store.dropped import Drop
from jqueue.store.files import Files
from jqueue.store.incoming import Incoming
from jqueue.store.statedir import StateDirectory
from jqueue.store.thread import InlineThread
from jqueue.watch import DirectoryWatch

LATER = 1e12
NAMES = ("one", "two", "three")


class NoWatch(DirectoryWatch):
    def __init__(self) -> None:
        pass

    def watch(self, path: Path, mask: int, callback: Callable[[str, int], None], on_rescan: Callable[[], None]) -> bool:
        return False


class Life:
    """One life of the daemon: it ends at a given step, and nothing of it happens after that."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    @property
    def dead(self) -> bool:
        return self.left <= 0

    def step(self) -> None:
        self.left -= 1
        if self.dead:
            raise OSError("killed")


class MortalFiles(Files):
    def __init__(self, life: Life) -> None:
        self.life = life

    def rename(self, source: Path, target: Path) -> None:
        self.life.step()
        super().rename(source, target)
        self.life.step()

    def unlink(self, path: Path) -> None:
        self.life.step()
        super().unlink(path)
        self.life.step()

    def fsync_directory(self, path: Path) -> None:
        self.life.step()


class Queue:
    """What its journal holds outlives it."""

    def __init__(self, life: Life, submitted: list[str], remembered: set[str]) -> None:
        self.life = life
        self.submitted = submitted
        self.remembered = remembered

    def submit(self, drop: Drop) -> Deferred[object]:
        self.life.left -= 1
        if self.life.dead:
            return Deferred()
        self.submitted.append(drop.data.decode())
        self.remembered.add(drop.identity)
        self.life.left -= 1
        return Deferred() if self.life.dead else succeed(None)

    def known(self, identity: str) -> bool:
        return identity in self.remembered

    def done(self, identities: list[str]) -> None:
        self.life.left -= 1
        if not self.life.dead:
            self.remembered.difference_update(identities)


def live(state: StateDirectory, life: Life, submitted: list[str], remembered: set[str]) -> None:
    """Starts, works until killed or idle, as the real daemon does."""
    state.clean(Files())
    threads = InlineThread(), InlineThread()
    queue = Queue(life, submitted, remembered)
    incoming = Incoming(state, MortalFiles(life), threads, NoWatch(), Clock(), queue, now=lambda: LATER)
    incoming.gone(remembered).addCallbacks(queue.done, lambda failure: None)
    with capturedLogs():
        incoming.start()
    incoming.stop()


@pytest.mark.parametrize("steps", range(1, 45))
def test_each_drop_is_submitted_exactly_once(tmp_path: Path, steps: int) -> None:
    state = StateDirectory(tmp_path / "state")
    state.prepare(Files())
    for name in NAMES:
        (state.incoming / name).write_text(name)
    submitted: list[str] = []
    remembered: set[str] = set()
    live(state, Life(steps), submitted, remembered)
    live(state, Life(steps), submitted, remembered)
    live(state, Life(1000), submitted, remembered)
    assert sorted(submitted) == sorted(NAMES)
    assert list(state.incoming.iterdir()) == []
    live(state, Life(1000), submitted, remembered)
    assert remembered == set()


def test_the_steps_cover_a_whole_life(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "state")
    state.prepare(Files())
    for name in NAMES:
        (state.incoming / name).write_text(name)
    life = Life(1000)
    live(state, life, [], set())
    assert 1000 - life.left < 45
