"""The order in which a checkpoint is taken, and what happens when it cannot be."""

from __future__ import annotations

from collections.abc import Iterator

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from jqueue.errors import DiskFull, StoreFailed
from jqueue.sched.checkpointing import Checkpointing
from jqueue.store.memory import MemoryJournal


class Setup:
    """Notes each call; the one that is in `problems` fails."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.journal = MemoryJournal()
        self.calls: list[object] = []
        self.problems: dict[str, Exception] = {}
        self.failed: list[BaseException] = []
        self.flushing: Deferred[None] | None = None
        self.checkpointing = Checkpointing(
            clock=self.clock,
            journal=self.journal,
            writer=self,
            flush=self.flush,
            chunks=self.chunks,
            after=100,
            failed=self.failed.append,
        )

    def _called(self, name: str, *arguments: object) -> Deferred[None]:
        self.calls.append((name, *arguments) if arguments else name)
        return fail(self.problems[name]) if name in self.problems else succeed(None)

    def flush(self) -> Deferred[None]:
        done = self._called("flush")
        return done if self.flushing is None else self.flushing

    def chunks(self) -> Iterator[bytes]:
        self.calls.append("chunks")
        yield b"one"
        yield b"other"

    def begin(self, sequence: int) -> Deferred[None]:
        return self._called("begin", sequence)

    def add(self, chunk: bytes) -> Deferred[None]:
        return self._called("add", chunk)

    def finish(self) -> Deferred[None]:
        return self._called("finish")

    def abandon(self) -> Deferred[None]:
        return self._called("abandon")

    def drop_old(self, keep: int = 2) -> Deferred[int]:
        return self._called("drop_old").addCallback(lambda _: 2)

    def record(self, size: int) -> None:
        self.journal.append(b"x" * size)
        self.journal.sync()

    def run(self) -> None:
        for _ in range(3):
            self.journal.sync()
            self.clock.advance(0)


def test_files_are_on_the_disk_before_the_checkpoint_and_that_before_the_journal_is_cut() -> None:
    setup = Setup()
    for _ in range(4):
        setup.record(10)
    done = setup.checkpointing.take()
    setup.run()
    assert done.called
    index = setup.calls.index(("begin", 4))
    assert "flush" in setup.calls[:index]
    assert setup.calls[index:] == [
        ("begin", 4),
        "chunks",
        ("add", b"one"),
        ("add", b"other"),
        "flush",
        "finish",
        "drop_old",
    ]
    assert [sequence for sequence, _ in setup.journal.records] == [3, 4]


def test_nothing_is_looked_at_before_the_records_that_it_stands_for_are_synced() -> None:
    setup = Setup()
    setup.journal.append(b"x")
    setup.checkpointing.take()
    assert "chunks" not in setup.calls
    setup.run()
    assert ("begin", 1) in setup.calls


def test_a_second_one_waits_for_the_first() -> None:
    setup = Setup()
    setup.flushing = Deferred()
    first, second = setup.checkpointing.take(), setup.checkpointing.take()
    setup.run()
    assert (first.called, second.called) == (False, False)
    flushing, setup.flushing = setup.flushing, None
    flushing.callback(None)
    setup.run()
    assert (first.called, second.called, setup.calls.count("chunks")) == (True, True, 1)


def test_one_is_due_when_enough_has_been_written_since_the_last() -> None:
    setup = Setup()
    setup.checkpointing.start(1)
    setup.record(100)
    setup.checkpointing.look()
    setup.run()
    assert setup.calls == []
    setup.record(1)
    setup.checkpointing.look()
    setup.run()
    assert "finish" in setup.calls
    setup.calls.clear()
    setup.record(100)
    setup.checkpointing.look()
    assert setup.calls == []


def test_a_full_disk_gives_it_up_until_later_and_keeps_the_journal() -> None:
    setup = Setup()
    setup.record(200)
    setup.problems["add"] = DiskFull()
    done = setup.checkpointing.take()
    setup.run()
    assert (done.called, setup.failed, setup.calls[-1]) == (True, [], "abandon")
    assert len(setup.journal.records) == 1
    setup.problems.clear()
    setup.calls.clear()
    setup.clock.advance(3600)
    setup.checkpointing.look()
    setup.run()
    assert "finish" in setup.calls


def test_a_journal_without_room_for_a_segment_gives_it_up_at_once() -> None:
    setup = Setup()
    setup.journal.set_full(True)
    done = setup.checkpointing.take()
    assert (done.called, setup.failed) == (True, [])
    assert "chunks" not in setup.calls


def test_a_failure_that_must_not_be_retried_is_told() -> None:
    setup = Setup()
    problem = StoreFailed("the disk is gone")
    setup.problems["finish"] = problem
    setup.checkpointing.take()
    setup.run()
    assert (setup.failed, "drop_old" in setup.calls) == ([problem], False)
