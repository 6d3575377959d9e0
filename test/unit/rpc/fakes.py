"""What stands in for the queue, the kernel and the reactor in the tests of every protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.defer import Deferred, succeed


class Scripted:
    """Notes each call, and answers it from `answers`: a value, an error to raise, or a Deferred."""

    def __init__(self, **answers: Any) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.answers = answers

    def _answer(self, name: str, *arguments: object) -> Any:
        self.calls.append((name, *arguments))
        answer = self.answers.get(name)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _later(self, name: str, *arguments: object) -> Deferred[Any]:
        answer = self._answer(name, *arguments)
        return answer if isinstance(answer, Deferred) else succeed(answer)


class Wire:
    """A connection without a kernel."""

    def __init__(self, cut: Callable[[bytes], list[Any]]) -> None:
        """Makes an open one.

        @param cut: cuts what was sent into messages
        """
        self._cut = cut
        self.sent = b""
        self.reading = True
        self.half_closed = self.closing = self.aborted = False
        self.producer: Any = None

    def write(self, data: bytes) -> None:
        self.sent += data

    def registerProducer(self, producer: object, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        self.reading = True

    def loseWriteConnection(self) -> None:
        self.half_closed = True

    def loseConnection(self) -> None:
        self.closing = True

    def abortConnection(self) -> None:
        self.aborted = True

    def messages(self) -> list[Any]:
        """Takes what was sent."""
        sent, self.sent = self.sent, b""
        return self._cut(sent)


class ManualTurns:
    """Lets a test make each step."""

    def __init__(self) -> None:
        self.work: list[Iterator[None]] = []

    def add(self, steps: Iterator[None]) -> None:
        self.work.append(steps)
