from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from jqueue.errors import ProgrammerError
from jqueue.store.thread import FileThread, InlineThread


class Turns:
    """Stands for the reactor: keeps what other threads ask it to run until the test runs it."""

    def __init__(self) -> None:
        self.asked: list[Callable[[], None]] = []

    def run(self) -> None:
        while self.asked:
            self.asked.pop(0)()


def error_of(deferred: Deferred[None]) -> BaseException:
    failures: list[Failure] = []
    deferred.addErrback(failures.append)
    return failures[0].value or AssertionError("no error")


def fail() -> None:
    raise OSError("broken")


def test_calls_run_in_order_in_the_named_thread_and_results_come_back_in_the_reactors() -> None:
    turns = Turns()
    thread = FileThread("files", turns.asked.append)
    names: list[str] = []
    results: list[tuple[int, str]] = []
    for number in range(3):

        def work(number: int) -> int:
            names.append(threading.current_thread().name)
            return number * 10

        thread.call(work, number).addCallback(lambda value: results.append((value, threading.current_thread().name)))
    thread.stop()
    thread.join()
    assert names == ["files"] * 3
    assert results == []
    turns.run()
    assert results == [(number, threading.current_thread().name) for number in (0, 10, 20)]


def test_results_that_wait_are_delivered_together() -> None:
    turns = Turns()
    thread = FileThread("files", turns.asked.append)
    results: list[int] = []
    for number in range(5):
        thread.call(int, number).addCallback(results.append)
    thread.stop().addCallback(lambda _: results.append(-1))
    thread.join()
    assert len(turns.asked) == 1
    turns.run()
    assert results == [0, 1, 2, 3, 4, -1]


def test_an_error_reaches_the_caller_and_the_thread_goes_on() -> None:
    turns = Turns()
    thread = FileThread("files", turns.asked.append)
    failed = thread.call(fail)
    results: list[int] = []
    thread.call(int, 7).addCallback(results.append)
    thread.stop()
    thread.join()
    turns.run()
    assert isinstance(error_of(failed), OSError)
    assert results == [7]


def test_stopping_twice_tells_both() -> None:
    turns = Turns()
    thread = FileThread("files", turns.asked.append)
    told: list[None] = []
    thread.stop().addCallback(told.append)
    thread.stop().addCallback(told.append)
    thread.join()
    turns.run()
    assert told == [None, None]


@pytest.mark.parametrize("kind", ["thread", "inline"])
def test_a_call_after_stop_is_refused(kind: str) -> None:
    thread = InlineThread("files") if kind == "inline" else FileThread("files", Turns().asked.append)
    thread.stop()
    thread.join()
    error = error_of(thread.call(fail))
    assert isinstance(error, ProgrammerError)
    assert "files" in str(error)


def test_the_inline_twin_runs_at_once() -> None:
    thread = InlineThread()
    results: list[int] = []
    thread.call(int, 7).addCallback(results.append)
    assert results == [7]
    assert isinstance(error_of(thread.call(fail)), OSError)
