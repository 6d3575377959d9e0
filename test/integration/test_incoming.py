"""Dropping files with real events, real threads and a real reactor of its own."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.selectreactor import SelectReactor
from twisted.logger import capturedLogs

from jqueue.store.control import Control
from jqueue.store.dropped import Drop
from jqueue.store.files import Files
from jqueue.store.incoming import Incoming
from jqueue.store.statedir import StateDirectory
from jqueue.store.thread import FileThread
from jqueue.watch import DirectoryWatch

HOUR = 3600.0
KERNEL_QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")


class Queue:
    def __init__(self) -> None:
        self.submitted: list[str] = []
        self.removed = 0

    def submit(self, drop: Drop) -> Deferred[object]:
        self.submitted.append(drop.name)
        return succeed(None)

    def known(self, identity: str) -> bool:
        return False

    def done(self, identities: list[str]) -> None:
        self.removed += len(identities)


class Rig:
    def __init__(self, path: Path) -> None:
        self.state = StateDirectory(path / "state")
        self.files = Files()
        self.state.prepare(self.files)
        self.reactor = SelectReactor()
        self.watch = DirectoryWatch(self.reactor)
        self.threads = [FileThread(name, self.reactor.callFromThread) for name in ("reader", "files")]
        self.queue = Queue()
        reader, writer = self.threads
        self.incoming = Incoming(
            self.state, self.files, (reader, writer), self.watch, self.reactor, self.queue, rescan=HOUR
        )
        self.control = Control(
            self.state, self.files, writer, self.watch, self.reactor, lambda drained: None, rescan=HOUR
        )

    def run_until(self, done: Callable[[], bool], seconds: float = 60.0) -> float:
        """@return: the seconds it took"""
        start = time.monotonic()
        while not done():
            self.reactor.iterate(0.01)
            assert time.monotonic() - start < seconds, "it takes too long"
        return time.monotonic() - start

    def run_until_removed(self, count: int, seconds: float = 60.0) -> None:
        self.run_until(lambda: self.queue.removed == count, seconds)

    def close(self) -> None:
        self.incoming.stop()
        self.control.stop()
        self.watch.stop()
        for thread in self.threads:
            thread.stop()
            thread.join()
        self.reactor.iterate(0)
        self.reactor.removeAll()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.close()


def test_a_file_renamed_in_is_submitted_long_before_the_next_scan(rig: Rig) -> None:
    rig.incoming.start()
    rig.run_until(lambda: rig.incoming.pending == 0)
    for number in range(10):
        outside = rig.state.path / "outside"
        outside.write_text(str(number))
        outside.rename(rig.state.incoming / str(number))
        rig.run_until_removed(number + 1, 5.0)
    assert rig.queue.submitted == [str(number) for number in range(10)]
    assert list(rig.state.incoming.iterdir()) == []


def test_more_files_at_once_than_the_kernel_has_events_for_are_each_submitted_once(rig: Rig, tmp_path: Path) -> None:
    count = int(KERNEL_QUEUE.read_text()) + 3616  # 20,000 where the kernel has its default
    outside = tmp_path / "outside"
    outside.mkdir()
    for number in range(count):
        os.close(os.open(outside / str(number), os.O_CREAT | os.O_WRONLY))
    rig.incoming.start()
    rig.run_until(lambda: rig.incoming.pending == 0)
    with capturedLogs() as events:
        for name in os.listdir(outside):
            os.rename(f"{outside}/{name}", f"{rig.state.incoming}/{name}")
        rig.run_until_removed(count)
    assert any("events are lost" in event["log_format"] for event in events)
    assert sorted(map(int, rig.queue.submitted)) == list(range(count))


def test_touch_and_rm_of_the_drain_file_are_seen(rig: Rig) -> None:
    rig.control.start()
    rig.run_until(lambda: not rig.control.drained)
    rig.state.drained.write_text("upgrade")
    rig.run_until(lambda: rig.control.drained == "upgrade", 5.0)
    rig.state.drained.unlink()
    rig.run_until(lambda: rig.control.drained is None, 5.0)
