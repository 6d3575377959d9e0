"""A thread of its own for blocking calls on files, and its twin without a thread for tests.

Calls run in the order in which they were made; their results come back, in that order, on the reactor's thread.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock, Thread
from typing import ParamSpec, TypeVar

from twisted.internet.defer import Deferred, execute, fail
from twisted.python.failure import Failure

from jqueue.errors import ProgrammerError

P = ParamSpec("P")
T = TypeVar("T")


class FileThread:
    """One thread that makes calls, one after the other."""

    def __init__(self, name: str, call_from_thread: Callable[[Callable[[], None]], object]) -> None:
        """Makes it; the thread starts with the first call, so that a start that fails before leaves none behind.

        @param name: the thread's name, as shown by tools
        @param call_from_thread: runs a function on the reactor's thread; may be called from any thread
        """
        self.name = name
        self._call_from_thread = call_from_thread
        self._calls: SimpleQueue[Callable[[], Callable[[], None]] | None] = SimpleQueue()
        self._lock = Lock()
        self._results: list[Callable[[], None]] = []
        self._stopped: Deferred[None] | None = None
        self._thread = Thread(target=self._run, name=name, daemon=False)

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Makes a call in the thread.

        @return: fires on the reactor's thread with the function's result, or fails with what it raised
        """
        if self._stopped is not None:
            return fail(ProgrammerError(f"the thread {self.name} was given a call after it was told to stop"))
        result: Deferred[T] = Deferred()

        def work() -> Callable[[], None]:
            try:
                value = function(*args, **kwargs)
            except BaseException:  # a thread that dies of it would leave every later caller waiting
                failure = Failure()
                return lambda: result.errback(failure)
            return lambda: result.callback(value)

        self._put(work)
        return result

    def stop(self) -> Deferred[None]:
        """Ends the thread once the calls made so far are done.

        @return: fires on the reactor's thread after their results
        """
        if self._stopped is None:
            self._stopped = Deferred()
            self._put(None)
        stopped: Deferred[None] = Deferred()
        self._stopped.chainDeferred(stopped)
        return stopped

    def join(self) -> None:
        """Blocks until the thread has ended; results may still be on their way to the reactor."""
        self._thread.join()

    def _put(self, work: Callable[[], Callable[[], None]] | None) -> None:
        self._calls.put(work)
        if self._thread.ident is None:
            self._thread.start()

    def _run(self) -> None:
        while (work := self._calls.get()) is not None:
            self._deliver(work())
            del work  # it holds the arguments and the result, and the next call may be long in coming
        self._deliver(self._tell_stopped)

    def _tell_stopped(self) -> None:
        if self._stopped is not None:
            self._stopped.callback(None)

    def _deliver(self, result: Callable[[], None]) -> None:
        """Hands results over in groups: waking the reactor costs more than most calls."""
        with self._lock:
            self._results.append(result)
            first = len(self._results) == 1
        if first:
            self._call_from_thread(self._collect)

    def _collect(self) -> None:
        with self._lock:
            results, self._results = self._results, []
        for result in results:
            result()


class InlineThread:
    """The twin of `FileThread` without a thread: each call is made at once, by the caller."""

    def __init__(self, name: str = "inline") -> None:
        self.name = name
        self._stopped = False

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """@return: has fired with the function's result, or failed with what it raised"""
        if self._stopped:
            return fail(ProgrammerError(f"the thread {self.name} was given a call after it was told to stop"))
        return execute(function, *args, **kwargs)

    def stop(self) -> Deferred[None]:
        """@return: has fired"""
        self._stopped = True
        return execute(lambda: None)

    def join(self) -> None:
        """There is nothing to wait for."""
