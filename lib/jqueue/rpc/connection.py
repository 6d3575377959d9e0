"""The connections of a socket, whatever is spoken on it: who may stay, reading in turns, bounds, answers and the end.

A protocol has one subclass of `Connection` and one of `ConnectionFactory`; the abstract methods say what is its own.
Bounded sending lives in `output`.
"""

from __future__ import annotations

import abc
import typing
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, cast

from twisted.internet import unix
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from jqueue.errors import GenericError, JobQueueError
from jqueue.rpc.output import Output, OutputLimits
from jqueue.rpc.peer import Peer, Role, Roles
from jqueue.rpc.session import Session
from jqueue.turns import Turns


@dataclass(frozen=True)
class Limits:
    """What one client, and all of them, may ask of the daemon."""

    message: int = 8 * 2**20
    """Bytes of one message."""
    unfinished: int = 256 * 2**20
    """Bytes of half-sent messages, of all clients together."""
    in_flight: int = 1000
    """Requests of one client that are not answered; more are not read."""
    connections: int = 5000
    reserved: int = 32
    """Connections beyond those, for administrators."""
    discard: int = 64 * 2**20
    """Bytes that are still read and thrown away when the connection is to end, so that the client comes to read why."""
    linger: float = 10.0
    """Seconds for the same."""
    output: OutputLimits = field(default_factory=OutputLimits)


class Unread(typing.Protocol):
    """What a client has sent and nobody has taken yet."""

    def __len__(self) -> int:
        """About how many bytes are held."""
        ...

    def feed(self, data: bytes) -> None:
        """Adds bytes.

        @raise GenericError: no message can come of them
        """
        ...


class State(Enum):
    """How far a connection is."""

    OPEN = "requests are taken"
    ENDING = "what it still sends is thrown away, what waits for it is sent"
    ENDED = "nothing is sent any more"


class Connection(Protocol, abc.ABC):
    """One client."""

    _log = Logger()
    """A protocol has its own, so that the daemon's log says which one it was."""

    def __init__(self, shared: ConnectionFactory, unread: Unread) -> None:
        """Makes the server side of a connection.

        @param unread: holds nothing yet
        """
        self._shared = shared
        self._limits = shared.limits
        self._unread = unread
        self._held = self._in_flight = self._discarded = 0
        self._working = False
        self._reading = True
        self._state = State.OPEN
        self._linger: IDelayedCall | None = None

    # What a protocol has of its own

    @abc.abstractmethod
    def _welcome(self) -> None:
        """The client may stay."""

    def _turn_away(self, refusal: GenericError) -> None:
        """The client may not stay: closes the connection, without a word if the protocol has none for that."""
        self._drop(refusal.text)

    @abc.abstractmethod
    def _take(self) -> Generator[None, None, bool]:
        """Takes one message, a large one in several steps, and calls `_begin` if it asks for something.

        @return: False if there is no whole one
        """

    @abc.abstractmethod
    def _refuse(self, error: GenericError) -> None:
        """Tells the client, if there is a way, what it did wrong, and calls `_end`: nothing it sends can be taken."""

    @abc.abstractmethod
    def _forget_unread(self) -> None:
        """Empties `_unread`; a message that is read in steps at this moment is read to its end."""

    def _close(self) -> None:
        """Everything is sent, nothing more will be: closes the connection."""
        self._wire.loseConnection()

    # Twisted's side

    def connectionMade(self) -> None:
        """Asks who it is, and whether there is room."""
        shared = self._shared
        self._wire = cast(unix.Server, self.transport)
        peer = shared.identify(self._wire)
        self.session = Session(peer, shared.roles.of(peer.uid))
        self._output = Output(
            self._wire, shared.clock, shared.turns, self._limits.output, idle=self.go_on, drop=self._drop
        )
        refusal = shared.admit(self)
        if refusal is None:
            self._welcome()
        else:
            self._turn_away(refusal)

    def dataReceived(self, data: bytes) -> None:
        """Takes what the client sends."""
        if self._state is not State.OPEN:
            self._discarded += len(data)
            if self._discarded > self._limits.discard:
                self._wire.abortConnection()
            return
        try:
            self._unread.feed(data)
        except GenericError as error:
            self._refuse(error)
        else:
            self._account()
        self.go_on()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Ends what was begun for the client; a job that it submitted goes on."""
        self._state = State.ENDED
        self._output.close()
        self._forget_unread()
        self._account()
        if self._linger is not None and self._linger.active():
            self._linger.cancel()
        self.session.close()
        self._shared.gone(self)

    # Reading

    def _account(self) -> None:
        """Keeps count of what is held in half-sent messages; small ones are not worth it."""
        held = len(self._unread) if len(self._unread) > 65536 else 0
        self._shared.unfinished += held - self._held
        self._held = held
        if held and self._shared.unfinished > self._limits.unfinished:
            self._refuse(JobQueueError("too many large messages are half sent by all clients together; try again"))

    def _may_begin(self) -> bool:
        """Whether a request may be begun now."""
        return self._state is State.OPEN and self._in_flight < self._limits.in_flight and not self._output.busy

    def go_on(self) -> None:
        """Something changed: there is input, a request was answered, or the client has read."""
        if self._state is State.ENDING:
            if not self._output.busy:
                self._end_output()
                self._close()
        elif self._state is State.OPEN and not self._working:
            if self._may_begin():
                self._working = True
                self._shared.turns.add(self._steps())
            else:
                self._read(False)

    def _steps(self) -> Iterator[None]:
        """Takes one message after the other until there is none, or the client must wait."""
        all_taken = False
        while self._may_begin():
            try:
                if not (yield from self._take()):
                    all_taken = True
                    break
            except Exception:
                self._log.failure("Reading a message failed")
                self._drop("its message could not be read")
            yield
        self._working = False
        if self._state is State.OPEN:
            self._read(all_taken)
            self._account()

    def _read(self, wanted: bool) -> None:
        if wanted != self._reading:
            self._reading = wanted
            if wanted:
                self._wire.resumeProducing()
            else:
                self._wire.pauseProducing()

    # Answering

    def _begin(self, name: str, work: Deferred[object], reply: Callable[[object], None]) -> None:
        """Counts a request until it is answered.

        @param name: what it asks for, in the daemon's log
        @param work: carries it out
        @param reply: given the result or the `Failure`, sends it
        """
        self._in_flight += 1
        work.addBoth(self._answer, name, reply)

    def _answer(self, result: object, name: str, reply: Callable[[object], None]) -> None:
        self._in_flight -= 1
        try:
            reply(result)
            self.go_on()
        except Exception:
            self._log.failure("Answering {name} failed", name=name)
            self._drop("its request could not be answered")

    # Ending

    def disconnect(self) -> None:
        """Closes the connection: the daemon stops."""
        self._end()

    def _end(self) -> None:
        """Takes nothing more, and closes the connection once everything is sent, or not read for too long."""
        if self._state is State.OPEN:
            self._state = State.ENDING
            self._forget_unread()
            self._account()
            self._linger = self._shared.clock.callLater(self._limits.linger, self._wire.abortConnection)
            self._read(True)
            self.go_on()

    def _end_output(self) -> None:
        self._state = State.ENDED
        self._output.close()
        self._wire.unregisterProducer()

    def _drop(self, reason: str) -> None:
        self._log.warn("{peer} is dropped: {reason}", peer=self.session.peer, reason=reason)
        self._state = State.ENDED
        self._wire.abortConnection()


class ConnectionFactory(Factory):
    """All clients of one socket."""

    noisy = False

    def __init__(
        self, clock: IReactorTime, turns: Turns, roles: Roles, limits: Limits, identify: Callable[[Any], Peer]
    ) -> None:
        """Makes the factory.

        @param clock: the reactor, or a clock in tests
        @param turns: shares the reactor with all other long work
        @param roles: who may do what
        @param identify: tells from a transport who is at its other end
        """
        self.clock = clock
        self.turns = turns
        self.roles = roles
        self.limits = limits
        self.identify = identify
        self.unfinished = 0
        self.clients: set[Connection] = set()

    def admit(self, client: Connection) -> GenericError | None:
        """Counts a client in.

        @return: why it cannot stay
        """
        self.clients.add(client)
        room = self.limits.connections
        if client.session.role is Role.ADMIN:
            room += self.limits.reserved
        if len(self.clients) > room:
            return JobQueueError(f"the daemon has {room} connections, the most it takes; close some and try again")
        return None

    def gone(self, client: Connection) -> None:
        """Counts a client out."""
        self.clients.discard(client)
