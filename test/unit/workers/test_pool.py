"""Worker threads: where steps run, what comes back, which threads are kept, and the end; and the twin for tests."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue

import pytest
from twisted.python.failure import Failure

from jqueue.errors import OpExecError
from jqueue.workers.mailbox import Mailbox
from jqueue.workers.pool import SteppedWorkers, ThreadWorkers, perform

PATIENCE = 30.0


class Unspeakable(BaseException):
    """An error of an author who has made another one."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


class Pool:
    """A pool with a reactor whose turns are taken by hand."""

    def __init__(self, keep: int) -> None:
        self.calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self.workers = ThreadWorkers(Mailbox(self.calls.put), keep)
        self.results: list[object] = []

    def run(self, *steps: Callable[[], object]) -> list[object]:
        """Has steps run side by side.

        @return: their results in the order in which they came, each with the reactor's thread
        """
        self.results = []
        for step in steps:
            self.workers.run(step).addBoth(self.results.append)
        self.wait(len(steps))
        return self.results

    def wait(self, count: int) -> None:
        while len(self.results) < count:
            self.calls.get(timeout=PATIENCE)()

    def threads(self, count: int) -> set[str]:
        """Has so many steps run at the same time; tells the names of their threads."""
        together = threading.Barrier(count)

        def step() -> str:
            together.wait(PATIENCE)
            return threading.current_thread().name

        return {str(name) for name in self.run(*[step] * count)}


@pytest.fixture
def make_pool() -> Iterator[Callable[[int], Pool]]:
    made: list[Pool] = []

    def make(keep: int) -> Pool:
        made.append(Pool(keep))
        return made[-1]

    yield make
    for pool in made:
        assert pool.workers.stop(PATIENCE)


@pytest.fixture
def pool(make_pool: Callable[[int], Pool]) -> Pool:
    return make_pool(2)


# Threads


def test_a_step_runs_in_a_daemonic_thread_of_its_own_and_its_result_comes_back_on_the_reactors(pool: Pool) -> None:
    came_on: list[threading.Thread] = []
    ran_on: list[threading.Thread] = []
    pool.workers.run(lambda: ran_on.append(threading.current_thread())).addCallback(
        lambda _: came_on.append(threading.current_thread())
    )
    deliver = pool.calls.get(timeout=PATIENCE)
    assert came_on == []
    deliver()
    assert came_on == [threading.current_thread()]
    assert ran_on != came_on and ran_on[0].daemon


def test_what_a_step_raises_comes_back_and_its_thread_goes_on(pool: Pool) -> None:
    names = pool.threads(1)
    [failure] = pool.run(lambda: 1 // 0)
    assert isinstance(failure, Failure) and failure.check(ZeroDivisionError)
    [failure] = pool.run(lambda: sys.exit(3))
    assert isinstance(failure, Failure) and failure.check(OpExecError)
    assert pool.threads(1) == names


def test_a_thread_that_is_idle_is_used_again_before_another_is_made(pool: Pool) -> None:
    assert [pool.threads(1) for _ in range(3)] == [{"worker-1"}] * 3


def test_steps_that_are_run_together_each_have_a_thread(pool: Pool) -> None:
    assert pool.threads(5) == {f"worker-{number}" for number in range(1, 6)}


def test_no_more_idle_threads_are_kept_than_asked_for(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: SimpleQueue[str] = SimpleQueue()

    class Watched(threading.Thread):
        def run(self) -> None:
            super().run()
            ended.put(self.name)

    monkeypatch.setattr(threading, "Thread", Watched)
    names = pool.threads(5)
    gone = {ended.get(timeout=PATIENCE) for _ in range(3)}
    assert gone < names and ended.empty()
    assert pool.threads(2) == names - gone


def test_a_step_that_is_asked_for_when_another_ends_has_a_thread_even_if_all_others_are_let_go(
    make_pool: Callable[[int], Pool],
) -> None:
    pool = make_pool(1)
    pool.threads(3)
    assert len(pool.run(*[lambda: None] * 3)) == 3
    assert len(pool.threads(3)) == 3


def test_a_step_may_be_asked_for_by_the_result_of_another(pool: Pool) -> None:
    pool.workers.run(lambda: 1).addCallback(lambda value: pool.workers.run(lambda: value + 1)).addBoth(
        pool.results.append
    )
    pool.wait(1)
    assert pool.results == [2]


# The end


def test_a_pool_that_never_ran_anything_stops(make_pool: Callable[[int], Pool]) -> None:
    assert make_pool(2).workers.stop(0)


def test_a_busy_thread_is_told_about_and_ends_after_its_step_whose_result_still_comes(pool: Pool) -> None:
    may_end = threading.Event()
    pool.workers.run(lambda: may_end.wait(PATIENCE)).addBoth(pool.results.append)
    assert not pool.workers.stop(0)
    may_end.set()
    assert pool.workers.stop(PATIENCE)
    pool.wait(1)
    assert pool.results == [True]


def test_the_time_to_stop_is_for_all_threads_together(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    may_end = threading.Event()
    for _ in range(3):
        pool.workers.run(lambda: may_end.wait(PATIENCE)).addBoth(pool.results.append)

    class FakeTime:
        @staticmethod
        def monotonic() -> float:
            return sum(waited)

    with monkeypatch.context() as patch:
        patch.setattr("jqueue.workers.pool.time", FakeTime)
        patch.setattr(threading.Thread, "join", lambda thread, timeout: waited.append(timeout))
        assert not pool.workers.stop(5.0)
    assert sum(waited) == 5.0
    may_end.set()
    pool.wait(3)


# One step


@pytest.mark.parametrize(
    ("problem", "text"),
    ((SystemExit(3), "SystemExit: 3"), (KeyboardInterrupt(), "KeyboardInterrupt"), (Unspeakable(), "Unspeakable")),
)
def test_what_would_end_the_thread_becomes_an_error_of_the_opcode(problem: BaseException, text: str) -> None:
    def step() -> None:
        raise problem

    result = perform(step)
    assert isinstance(result, Failure)
    assert isinstance(result.value, OpExecError) and text in str(result.value)


# The twin


def test_the_twin_runs_the_oldest_step_when_told_to() -> None:
    workers = SteppedWorkers()
    results: list[object] = []
    for step in (lambda: 1, lambda: 2):
        workers.run(step).addBoth(results.append)
    assert (results, workers.stop(0)) == ([], False)
    workers.perform()
    assert results == [1]
    workers.perform()
    assert (results, workers.stop(0)) == ([1, 2], True)


def test_the_twin_gives_what_a_step_raises_as_threads_do() -> None:
    workers = SteppedWorkers()
    failures: list[Failure] = []
    workers.run(lambda: sys.exit(3)).addErrback(failures.append)
    workers.perform()
    assert failures[0].check(OpExecError)
