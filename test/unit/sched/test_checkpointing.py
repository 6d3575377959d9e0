"""In which order a checkpoint is taken, and that it is given up rather than drop what nothing else has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from jqueue.errors import DiskFull, JobQueueError, ShuttingDown, StoreFailed
from jqueue.sched.checkpointing import Checkpointing

T = TypeVar("T")

AFTER = 1000


class Store:
    """Journal and checkpoint files; notes the calls, and fails at one of them."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.fails: dict[str, Exception] = {}
        self.size = 0
        self.held: Deferred[int] | None = None

    def flush(self) -> Deferred[None]:
        return self._called("flush", None)

    def rotate(self) -> Deferred[int]:
        return self.held or self._called("rotate", 11)

    def bytes_since(self, sequence: int) -> int:
        return self.size

    def begin(self, sequence: int) -> Deferred[None]:
        return self._called(f"begin {sequence}", None)

    def add(self, chunk: bytes) -> Deferred[None]:
        return self._called(f"add {chunk.decode()}", None)

    def finish(self) -> Deferred[None]:
        return self._called("finish", None)

    def abandon(self) -> Deferred[None]:
        return self._called("abandon", None)

    def drop_old(self, keep: int = 2) -> Deferred[int]:
        return self._called("drop old", 5)

    def drop_before(self, sequence: int) -> Deferred[None]:
        return self._called(f"drop before {sequence}", None)

    def _called(self, name: str, answer: T) -> Deferred[T]:
        self.calls.append(name)
        count = f"{name} {self.calls.count(name)}"
        problem = self.fails.get(count)
        return succeed(answer) if problem is None else fail(problem)


class Rig:
    def __init__(self) -> None:
        self.clock = Clock()
        self.store = Store()
        self.failures: list[BaseException] = []
        self.checkpointing = Checkpointing(
            clock=self.clock,
            journal=self.store,
            writer=self.store,
            flush=self.store.flush,
            chunks=lambda: iter([b"x", b"y"]),
            after=AFTER,
            failed=self.failures.append,
        )

    def take(self) -> list[str]:
        """Takes one; gives the calls that were made."""
        self.store.calls.clear()
        done: list[None] = []
        self.checkpointing.take().addCallback(done.append)
        self.clock.pump([0] * 5)
        assert done == [None]
        return list(self.store.calls)

    def looks(self) -> bool:
        """Whether a look leads to one."""
        self.store.calls.clear()
        self.checkpointing.look()
        self.clock.pump([0] * 5)
        return bool(self.store.calls)


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    assert made.clock.getDelayedCalls() == []


WHOLE = ["flush", "rotate", "flush", "begin 10", "add x", "add y", "flush", "finish", "drop old", "drop before 6"]


def test_nothing_is_dropped_before_the_files_and_the_checkpoint_are_on_the_disk(rig: Rig) -> None:
    assert rig.take() == WHOLE
    assert rig.failures == []


def test_one_is_due_when_the_journal_has_grown_enough(rig: Rig) -> None:
    rig.store.size = AFTER
    assert not rig.looks()
    rig.store.size = AFTER + 1
    assert rig.looks()


def test_only_one_is_taken_at_a_time_and_all_who_ask_are_told(rig: Rig) -> None:
    rig.store.held = Deferred()
    done: list[str] = []
    rig.checkpointing.take().addCallback(lambda _: done.append("first"))
    rig.checkpointing.take().addCallback(lambda _: done.append("second"))
    held, rig.store.held = rig.store.held, None
    assert rig.store.calls == ["flush"]
    held.callback(11)
    rig.clock.pump([0] * 5)
    assert done == ["first", "second"]
    assert rig.store.calls.count("finish") == 1


@pytest.mark.parametrize("problem", (JobQueueError("the file of job 7"), DiskFull(), ShuttingDown()), ids=repr)
@pytest.mark.parametrize(
    "where, calls",
    (
        ("flush 1", WHOLE[:1]),
        ("rotate 1", WHOLE[:2]),
        ("flush 2", WHOLE[:3]),
        ("begin 10 1", [*WHOLE[:4], "abandon"]),
        ("add y 1", [*WHOLE[:6], "abandon"]),
        ("flush 3", [*WHOLE[:7], "abandon"]),
        ("finish 1", [*WHOLE[:8], "abandon"]),
    ),
)
def test_what_cannot_be_done_now_gives_it_up_and_drops_nothing(
    rig: Rig, where: str, calls: list[str], problem: JobQueueError
) -> None:
    rig.store.fails[where] = problem
    rig.store.size = AFTER + 1
    with capturedLogs() as events:
        assert rig.take() == calls
    assert [(event["log_level"].name, event["problem"]) for event in events] == [("warn", problem)]
    assert rig.failures == []
    rig.store.fails.clear()
    assert not rig.looks(), "not at once again"
    rig.clock.advance(60)
    assert rig.looks()
    assert rig.store.calls == WHOLE


@pytest.mark.parametrize("where", ("flush 1", "rotate 1", "add x 1", "finish 1", "drop before 6 1"))
@pytest.mark.parametrize("problem", (StoreFailed(), OSError(5, "Input/output error")), ids=repr)
def test_a_broken_disk_is_told(rig: Rig, where: str, problem: Exception) -> None:
    rig.store.fails[where] = problem
    rig.take()
    assert rig.failures == [problem]
