"""What is sent to one client, in order and bounded: a client that reads slowly, or not at all, costs a fixed amount.

What the bytes mean does not live here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from jqueue.turns import Turns


@dataclass(frozen=True)
class OutputLimits:
    """How much may wait for a client that does not read."""

    notices: int = 10_000
    notice_bytes: int = 4 * 2**20
    reply_bytes: int = 64 * 2**20
    stalled: float = 300.0
    """Seconds without any progress after which the client is dropped."""


class Transport(Protocol):
    """What is needed of a connection's transport."""

    def write(self, data: bytes) -> None:
        """Sends bytes, later if need be."""
        ...

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        """Notes whom to pause when the client does not read."""
        ...


@dataclass
class _Item:
    """One message: as a whole, or in parts."""

    data: bytes | Iterator[bytes]
    notice: bool

    @property
    def size(self) -> int:
        return len(self.data) if isinstance(self.data, bytes) else 0


@implementer(IPushProducer)
class Output:
    """Messages on their way to one client."""

    _log = Logger()

    def __init__(
        self,
        transport: Transport,
        clock: IReactorTime,
        turns: Turns,
        limits: OutputLimits,
        *,
        idle: Callable[[], None],
        drop: Callable[[str], None],
    ) -> None:
        """Takes over the writing side of a connection.

        @param idle: called when everything was handed to the kernel and the client may be asked for more
        @param drop: called, with the reason, when the connection must be given up
        """
        self._transport = transport
        self._clock = clock
        self._turns = turns
        self._limits = limits
        self._idle = idle
        self._drop = drop
        self._queue: deque[_Item] = deque()
        self._notices = self._notice_bytes = self._reply_bytes = 0
        self._paused = False
        self._sending = False
        self._closed = False
        self._stalled: IDelayedCall | None = None
        transport.registerProducer(self, True)

    @property
    def busy(self) -> bool:
        """Whether something waits for the client to read."""
        return self._paused or bool(self._queue)

    def reply(self, data: bytes | Iterator[bytes]) -> None:
        """Sends a reply."""
        self._send(_Item(data, notice=False))

    def notify(self, data: bytes) -> None:
        """Sends a notification."""
        self._send(_Item(data, notice=True))

    def close(self) -> None:
        """Nothing more is sent; what waits is thrown away."""
        self._closed = True
        self._queue.clear()
        self._progress()

    def pauseProducing(self) -> None:
        """The client does not read as fast as it is sent to."""
        self._paused = True
        if self._stalled is None and not self._closed:
            self._stalled = self._clock.callLater(self._limits.stalled, self._give_up, "it does not read")

    def resumeProducing(self) -> None:
        """The client has read everything."""
        self._paused = False
        self._progress()
        if self._queue:
            self._start()
        elif not self._closed:
            self._idle()

    def stopProducing(self) -> None:
        """The connection is lost."""
        self.close()

    def _progress(self) -> None:
        if self._stalled is not None and self._stalled.active():
            self._stalled.cancel()
        self._stalled = None

    def _send(self, item: _Item) -> None:
        if self._closed:
            return
        if isinstance(item.data, bytes) and not self.busy:
            self._transport.write(item.data)
            return
        self._count(item, 1)
        if self._too_much(item):
            self._give_up("too much waits for it to read")
            return
        self._queue.append(item)
        if not self._paused:
            self._start()

    def _count(self, item: _Item, sign: int) -> None:
        if item.notice:
            self._notices += sign
            self._notice_bytes += sign * item.size
        else:
            self._reply_bytes += sign * item.size

    def _too_much(self, item: _Item) -> bool:
        if item.notice:
            return self._notices > self._limits.notices or self._notice_bytes > self._limits.notice_bytes
        # One reply alone may be of any size: the request was ours to answer.
        return self._reply_bytes > max(self._limits.reply_bytes, item.size)

    def _give_up(self, reason: str) -> None:
        self.close()
        self._drop(reason)

    def _start(self) -> None:
        if not self._sending:
            self._sending = True
            self._turns.add(self._steps())

    def _steps(self) -> Iterator[None]:
        while self._queue and not self._paused:
            item = self._queue[0]
            try:
                data = item.data if isinstance(item.data, bytes) else next(item.data, None)
            except Exception:
                # The header is gone, so there is no way to tell the client but to hang up.
                self._log.failure("A reply failed while it was sent")
                self._give_up("its reply could not be made")
                break
            if data is not None:
                self._transport.write(data)
            if (data is None or isinstance(item.data, bytes)) and self._queue:
                self._queue.popleft()
                self._count(item, -1)
            yield
        self._sending = False
        if not self.busy and not self._closed:
            self._idle()
