"""Shares the reactor between all long work, so that nobody waits for somebody else's large request.

Work is an iterator of short steps. What the steps do does not live here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

T = TypeVar("T")

SLICE = 0.002
"""Seconds of one turn of the reactor that all such work has together."""


class Turns:
    """Runs iterators step by step, in rotation, for a bounded time in each turn of the reactor."""

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._waiting: deque[Iterator[None]] = deque()
        self._turn_over = True
        self._until = 0.0
        self._running = False

    def add(self, steps: Iterator[None]) -> None:
        """Runs an iterator to its end: what this turn has time for now, the rest in later ones.

        The first step never waits, so that a client with little to do hardly feels those with much.
        """
        if self._turn_over:
            self._begin()
        if self._running:
            self._waiting.append(steps)
            return
        self._running = True
        try:
            if self._step(steps):
                self._waiting.append(steps)
            self._run()
        finally:
            self._running = False

    @property
    def busy(self) -> bool:
        """Whether there is work left for a later turn."""
        return bool(self._waiting)

    def complete(self, work: Generator[None, None, T]) -> Deferred[T]:
        """Runs a generator to its end as `add` does.

        @return: fires with what the generator returns, or fails with what it raises
        """
        done: Deferred[T] = Deferred()

        def steps() -> Iterator[None]:
            try:
                result = yield from work
            except Exception:
                done.errback(Failure())
            else:
                done.callback(result)

        self.add(steps())
        return done

    def _begin(self) -> None:
        """Starts to count this turn's time; the call comes in the next turn, whether or not work is left."""
        self._turn_over = False
        self._until = self._clock.seconds() + SLICE
        self._clock.callLater(0, self._next_turn)

    def _next_turn(self) -> None:
        self._turn_over = True
        if self._waiting:
            self._begin()
            self._running = True
            try:
                self._run()
            finally:
                self._running = False

    def _run(self) -> None:
        while self._waiting and self._clock.seconds() < self._until:
            steps = self._waiting.popleft()
            if self._step(steps):
                self._waiting.append(steps)

    def _step(self, steps: Iterator[None]) -> bool:
        try:
            next(steps)
        except StopIteration:
            return False
        except Exception:
            self._log.failure("Work for a connection failed; it is given up")
            return False
        return True
