"""The QMP server: any number of clients at once, each with its own negotiation and every event.

The commands of one client are carried out one after the other, and answered in that order.
The text of messages lives in `parser` and `message`, the commands in `commands`, bounded sending in `output`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from jqueue.errors import GenericError, ProgrammerError
from jqueue.rpc.msgpackrpc import Wire
from jqueue.rpc.output import Output, OutputLimits
from jqueue.rpc.peer import Peer, Role, Roles, peer_of
from jqueue.rpc.qmp import message
from jqueue.rpc.qmp.api import QmpQueue
from jqueue.rpc.qmp.dispatch import Dispatcher
from jqueue.rpc.qmp.faults import QmpError
from jqueue.rpc.qmp.parser import Parser
from jqueue.rpc.session import Session
from jqueue.turns import Turns


@dataclass(frozen=True)
class Limits:
    """What one client, and all of them, may ask of the daemon."""

    message: int = 8 * 2**20
    """Bytes of one message."""
    unfinished: int = 256 * 2**20
    """Bytes of half-sent messages, of all clients together."""
    connections: int = 500
    reserved: int = 8
    """Connections beyond those, for administrators."""
    linger: float = 10.0
    """Seconds that a client has to read what it was sent when the connection is to end."""
    output: OutputLimits = field(default_factory=lambda: OutputLimits(notices=100_000, notice_bytes=16 * 2**20))
    """Many events come at once when a large group ends."""


class State(Enum):
    """How far a connection is."""

    OPEN = "commands are taken"
    ENDING = "what it still sends is thrown away, what waits for it is sent"
    ENDED = "nothing is sent any more"


class QmpServer(Protocol):
    """One client."""

    _log = Logger()

    def __init__(self, shared: QmpFactory) -> None:
        self.negotiated = False
        self._shared = shared
        self._limits = shared.limits
        self._parser = Parser(shared.limits.message)
        self._held = 0
        self._busy = False
        self._working = False
        self._reading = True
        self._state = State.OPEN
        self._linger: IDelayedCall | None = None

    # Twisted's side

    def connectionMade(self) -> None:
        """Greets the client, if there is room."""
        shared = self._shared
        self._wire = cast(Wire, self.transport)
        peer = shared.identify(self._wire)
        self.session = Session(peer, shared.roles.of(peer.uid))
        self._output = Output(
            self._wire, shared.clock, shared.turns, shared.limits.output, idle=self._go_on, drop=self._drop
        )
        if shared.admit(self):
            self._output.reply(message.greeting())
        else:
            # Nothing but the greeting may come first, so there is no way to say why.
            self._drop("there are too many connections")

    def dataReceived(self, data: bytes) -> None:
        """Takes what the client sends."""
        if self._state is State.OPEN:
            self._parser.feed(data)
            self._go_on()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forgets the client, and what it has sent but was not yet begun."""
        self._state = State.ENDED
        self._output.close()
        self._forget_input()
        if self._linger is not None and self._linger.active():
            self._linger.cancel()
        self.session.close()
        self._shared.gone(self)

    # Reading

    def _may_start(self) -> bool:
        held_up = self._busy or self._output.busy or self._shared.quitting is not None
        return self._state is State.OPEN and not held_up

    def _go_on(self) -> None:
        """Something changed: there is input, a command was answered, or the client has read."""
        if self._state is State.ENDING:
            self._end_if_sent()
        elif self._state is State.OPEN and not self._working:
            if self._may_start():
                self._working = True
                self._shared.turns.add(self._steps())
            else:
                self._read(False)

    def _steps(self) -> Iterator[None]:
        """Carries out one command after the other until there is none, or the client must wait."""
        all_read = False
        while self._may_start():
            try:
                parsed = yield from self._parser.next()
                all_read = parsed is None
                if parsed is None or self._state is not State.OPEN:
                    break
                self._start(parsed.value)
            except QmpError as error:
                self._output.reply(message.error_reply(error, {}))
            except Exception:
                self._log.failure("Reading a message failed")
                self._drop("its message could not be read")
            yield
        self._working = False
        if self._state is State.OPEN:
            self._account()
            self._read(all_read)

    def _read(self, wanted: bool) -> None:
        if wanted != self._reading:
            self._reading = wanted
            if wanted:
                self._wire.resumeProducing()
            else:
                self._wire.pauseProducing()

    def _account(self) -> None:
        """Keeps count of what is held in half-sent messages; small ones are not worth it."""
        held = len(self._parser) if len(self._parser) > 65536 else 0
        self._shared.unfinished += held - self._held
        self._held = held
        if held and self._shared.unfinished > self._limits.unfinished:
            error = QmpError("too many large messages are half sent by all clients together; try again")
            self._output.reply(message.error_reply(error, {}))
            self.disconnect()

    def _forget_input(self) -> None:
        self._parser = Parser(self._limits.message)
        self._shared.unfinished -= self._held
        self._held = 0

    # Answering

    def _start(self, value: object) -> None:
        """Begins what one message asks for."""
        identity = {"id": value["id"]} if isinstance(value, dict) and "id" in value else {}
        try:
            request = message.read_request(value)
        except QmpError as error:
            self._output.reply(message.error_reply(error, identity))
        else:
            self._busy = True
            self._shared.dispatcher.call(request, self).addBoth(self._answer, identity)

    def _answer(self, result: object, identity: Mapping[str, object]) -> None:
        self._busy = False
        try:
            if isinstance(result, Failure):
                error = result.value if isinstance(result.value, GenericError) else ProgrammerError()
                self._output.reply(message.error_reply(error, identity))
            else:
                self._output.reply(self._reply(result, identity))
            if self._shared.quitting is self:
                self._shared.quit_answered(isinstance(result, Failure))
            self._go_on()
        except Exception:
            self._log.failure("Answering a command failed")
            self._drop("its command could not be answered")

    def _reply(self, result: object, identity: Mapping[str, object]) -> bytes | Iterator[bytes]:
        try:
            return message.reply(result, identity)
        except (TypeError, ValueError):
            self._log.failure("The result of a command is nothing that JSON has")
            return message.error_reply(ProgrammerError(), identity)

    def notify(self, event: bytes) -> None:
        """Sends an event."""
        self._output.notify(event)

    # What commands do to the connection

    def negotiate(self) -> None:
        """See `Client`."""
        self.negotiated = True
        self._shared.negotiated(self)

    def quit(self) -> Deferred[None]:
        """See `Client`."""
        return self._shared.quit(self)

    # Ending

    def resume(self) -> None:
        """Commands are taken again."""
        self._go_on()

    def disconnect(self) -> None:
        """Takes no more commands, and closes the connection once everything is sent, or not read for too long."""
        if self._state is State.OPEN:
            self._state = State.ENDING
            self._forget_input()
            self._linger = self._shared.clock.callLater(self._limits.linger, self._wire.abortConnection)
            self._read(True)
            self._end_if_sent()

    def _end_if_sent(self) -> None:
        if not self._output.busy:
            self._state = State.ENDED
            self._output.close()
            self._wire.unregisterProducer()
            self._wire.loseConnection()

    def _drop(self, reason: str) -> None:
        self._log.warn("{peer} is dropped: {reason}", peer=self.session.peer, reason=reason)
        self._state = State.ENDED
        self._wire.abortConnection()


class QmpFactory(Factory):
    """All clients of one socket."""

    noisy = False

    def __init__(
        self,
        clock: IReactorTime,
        turns: Turns,
        queue: QmpQueue,
        roles: Roles,
        *,
        wall: Callable[[], float],
        stop: Callable[[], None],
        limits: Limits | None = None,
        identify: Callable[[Any], Peer] = peer_of,
    ) -> None:
        """Makes the factory.

        @param clock: the reactor, or a clock in tests
        @param turns: shares the reactor with all other long work
        @param roles: who may do what
        @param wall: gives the seconds since the epoch, for events
        @param stop: ends the daemon; called after a `quit` was answered and every client was told
        @param identify: tells from a transport who is at its other end
        """
        self.clock = clock
        self.turns = turns
        self.dispatcher = Dispatcher(queue)
        self.roles = roles
        self.limits = limits or Limits()
        self.identify = identify
        self.unfinished = 0
        self.quitting: QmpServer | None = None
        self._queue = queue
        self._wall = wall
        self._stop = stop
        self._clients: set[QmpServer] = set()
        self._listening: dict[QmpServer, None] = {}
        self._end_listening: Callable[[], None] | None = None
        self._closing = False
        self._closed: list[Deferred[None]] = []

    def buildProtocol(self, address: IAddress | None) -> QmpServer:
        """Makes the server side of a new connection."""
        return QmpServer(self)

    def admit(self, client: QmpServer) -> bool:
        """Counts a client in; says whether it can stay."""
        self._clients.add(client)
        room = self.limits.connections
        if client.session.role is Role.ADMIN:
            room += self.limits.reserved
        return len(self._clients) <= room and not self._closing

    def gone(self, client: QmpServer) -> None:
        """Counts a client out."""
        self._clients.discard(client)
        self._listening.pop(client, None)
        if not self._listening and self._end_listening is not None:
            self._end_listening()
            self._end_listening = None
        self._tell_if_closed()

    def negotiated(self, client: QmpServer) -> None:
        """From now on the client is told of events."""
        self._listening[client] = None
        if self._end_listening is None:
            self._end_listening = self._queue.listen(self._event)

    def _event(self, name: str, data: Mapping[str, object]) -> None:
        event = message.event(name, data, self._wall())
        for client in list(self._listening):
            client.notify(event)

    def quit(self, client: QmpServer) -> Deferred[None]:
        """Asks the queue to end, for a client; no command of any client is begun from now on."""
        self.quitting = client
        return self._queue.quit()

    def quit_answered(self, failed: bool) -> None:
        """The client that asked for the end has its answer."""
        if failed:
            self.quitting = None
            for client in list(self._clients):
                client.resume()
        else:
            self.close().addCallback(lambda _: self._stop())

    def close(self) -> Deferred[None]:
        """Takes no more commands and clients; fires when all that is sent was read and every connection is closed."""
        self._closing = True
        for client in list(self._clients):
            client.disconnect()
        closed: Deferred[None] = Deferred()
        self._closed.append(closed)
        self._tell_if_closed()
        return closed

    def _tell_if_closed(self) -> None:
        while self._closed and not self._clients:
            self._closed.pop().callback(None)
