"""The MessagePack-RPC server, as published: requests, responses, notifications in both directions.

Requests are started in the order in which they come; replies go out as they are ready, so a client may send on.
Cutting and decoding messages lives in `frames` and `calls`, sending in `output`, the methods in `methods`.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, cast

from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from jqueue.errors import GenericError, JobQueueError, OpPrereqError, ProgrammerError, ProtocolError, encode
from jqueue.rpc.calls import Call, read_call, request_id
from jqueue.rpc.dispatch import Dispatcher
from jqueue.rpc.frames import Frames
from jqueue.rpc.output import Output, OutputLimits, Transport
from jqueue.rpc.packing import Packing
from jqueue.rpc.peer import Peer, Role, Roles, peer_of
from jqueue.rpc.session import Session
from jqueue.turns import Turns

ERROR = "Error"
"""The notification that says why a connection is refused, before there is a request to answer."""


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
    """Bytes that are still read and thrown away after a refusal, so that the client comes to read it."""
    linger: float = 10.0
    """Seconds for the same."""
    output: OutputLimits = field(default_factory=OutputLimits)


class Wire(Transport, typing.Protocol):
    """What is needed of the transport besides sending."""

    def pauseProducing(self) -> None:
        """Reads no more."""
        ...

    def resumeProducing(self) -> None:
        """Reads on."""
        ...

    def unregisterProducer(self) -> None:
        """Forgets whom to pause."""
        ...

    def loseWriteConnection(self) -> None:
        """Closes our direction once everything is sent."""
        ...

    def loseConnection(self) -> None:
        """Closes both directions once everything is sent."""
        ...

    def abortConnection(self) -> None:
        """Closes both directions now."""
        ...


class State(Enum):
    """How far a connection is."""

    OPEN = "requests are taken"
    REFUSED = "what it still sends is thrown away, what waits for it is sent"
    ENDED = "nothing is sent any more"


class MessagePackServer(Protocol):
    """One client."""

    _log = Logger()

    def __init__(self, shared: MessagePackFactory) -> None:
        self._shared = shared
        self._limits = shared.limits
        self._frames = Frames(shared.limits.message)
        self._held = 0
        self._in_flight = 0
        self._working = False
        self._reading = True
        self._state = State.OPEN
        self._discarded = 0
        self._linger: IDelayedCall | None = None

    # Twisted's side

    def connectionMade(self) -> None:
        """Asks who it is, and whether there is room."""
        shared = self._shared
        self._wire = cast(Wire, self.transport)
        peer = shared.identify(self._wire)
        self.session = Session(peer, shared.roles.of(peer.uid), self._notify)
        self._output = Output(
            self._wire, shared.clock, shared.turns, self._limits.output, idle=self._go_on, drop=self._drop
        )
        if refusal := shared.admit(self):
            self._log.warn("{peer} is refused: {reason}", peer=peer, reason=refusal)
            self._notify(ERROR, [encode(refusal)])
            self._end_output()
            self._wire.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """Takes what the client sends."""
        if self._state is not State.OPEN:
            self._discarded += len(data)
            if self._discarded > self._limits.discard:
                self._wire.abortConnection()
            return
        try:
            self._frames.feed(data)
            self._account()
        except GenericError as error:
            self._refuse(error, self._frames.head())
        self._go_on()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Ends what was begun for the client; a job that it submitted goes on."""
        self._state = State.ENDED
        self._output.close()
        self._frames.clear()
        self._account()
        if self._linger is not None and self._linger.active():
            self._linger.cancel()
        self._shared.gone(self)
        self.session.close()

    # Reading

    def _account(self) -> None:
        """Keeps count of what is held in half-sent messages; small ones are not worth it."""
        held = len(self._frames) if len(self._frames) > 65536 else 0
        self._shared.unfinished += held - self._held
        self._held = held
        if held and self._shared.unfinished > self._limits.unfinished:
            raise JobQueueError("too many large messages are half sent by all clients together; try again")

    def _may_start(self) -> bool:
        return self._state is State.OPEN and self._in_flight < self._limits.in_flight and not self._output.busy

    def _go_on(self) -> None:
        """Something changed: there is input, a request was answered, or the client has read."""
        if self._state is State.REFUSED:
            if not self._output.busy:
                self._half_close()
        elif self._state is State.OPEN and not self._working:
            if self._may_start():
                self._working = True
                self._shared.turns.add(self._steps())
            else:
                self._read(False)

    def _steps(self) -> Iterator[None]:
        """Starts one request after the other until there is none, or the client must wait."""
        frame: bytes | None = b""
        while self._may_start():
            frame = None
            try:
                frame = self._frames.next()
                if frame is None:
                    break
                yield from self._start(frame)
            except GenericError as error:
                self._refuse(error, frame or self._frames.head())
            except Exception:
                self._log.failure("Reading a message failed")
                self._drop("its message could not be read")
            yield
        self._working = False
        if self._state is State.OPEN:
            self._account()
            self._read(frame is None)

    def _read(self, wanted: bool) -> None:
        if wanted != self._reading:
            self._reading = wanted
            if wanted:
                self._wire.resumeProducing()
            else:
                self._wire.pauseProducing()

    def _start(self, frame: bytes) -> Iterator[None]:
        """Starts what one message asks for.

        @raise ProtocolError: it is no message of the protocol
        """
        try:
            call = yield from read_call(frame)
        except OpPrereqError as error:
            # Where messages begin and end is still known, so only this one is refused, if it can be.
            msgid = request_id(frame)
            if msgid is None:
                raise ProtocolError(error.text) from None
            self._reply_error(msgid, error)
        else:
            self._call(call)

    # Answering

    def _call(self, call: Call) -> None:
        self._in_flight += 1
        result = self._shared.dispatcher.call(call.method, call.arguments, self.session)
        result.addBoth(self._answer, call)

    def _answer(self, result: object, call: Call) -> None:
        self._in_flight -= 1
        try:
            if isinstance(result, Failure):
                self._reply_failure(call, result.value or ProgrammerError())
            elif call.msgid is not None:
                self._reply(call.msgid, call.method, result)
            self._go_on()
        except Exception:
            self._log.failure("Answering {method} failed", method=call.method)
            self._drop("its request could not be answered")

    def _reply(self, msgid: int, method: str, result: object) -> None:
        try:
            reply = self._shared.packing.response(msgid, result)
        except (TypeError, ValueError):
            self._log.failure("The result of {method} cannot be packed", method=method)
            self._reply_error(msgid, ProgrammerError(f"the result of {method} fits in no message"))
        else:
            self._output.reply(reply)

    def _reply_failure(self, call: Call, error: BaseException) -> None:
        if call.msgid is not None:
            self._reply_error(call.msgid, error)
        else:
            self._log.info("The notification {method} failed: {error}", method=call.method, error=error)

    def _reply_error(self, msgid: int, error: BaseException) -> None:
        self._output.reply(self._shared.packing.error(msgid, encode(error)))

    def _notify(self, name: str, arguments: list[Any]) -> None:
        try:
            self._output.notify(self._shared.packing.notification(name, arguments))
        except Exception:
            # A client that went on without it would wait for ever for what it was not told.
            self._log.failure("Telling of {name} failed", name=name)
            self._drop("it could not be told of an event")

    # Ending

    def _refuse(self, error: GenericError, start: bytes) -> None:
        """Gives up on a client that does not speak the protocol, after telling it if there is an id to do so."""
        self._log.warn("{peer} is disconnected: {error}", peer=self.session.peer, error=error)
        msgid = request_id(start)
        if msgid is not None:
            self._reply_error(msgid, error)
        self._state = State.REFUSED
        self._frames.clear()
        self._account()
        self._linger = self._shared.clock.callLater(self._limits.linger, self._wire.abortConnection)
        self._read(True)
        self._go_on()

    def _half_close(self) -> None:
        """Closes our side only, and reads the other to its end: a client that is busy sending would not see why."""
        self._end_output()
        self._wire.loseWriteConnection()

    def _end_output(self) -> None:
        self._state = State.ENDED
        self._output.close()
        self._wire.unregisterProducer()

    def disconnect(self) -> None:
        """Closes the connection once what has been answered is sent: the daemon stops."""
        self._state = State.ENDED
        self._wire.loseConnection()

    def _drop(self, reason: str) -> None:
        self._log.warn("{peer} is dropped: {reason}", peer=self.session.peer, reason=reason)
        self._state = State.ENDED
        self._wire.abortConnection()


class MessagePackFactory(Factory):
    """All clients of one socket."""

    noisy = False

    def __init__(
        self,
        clock: IReactorTime,
        turns: Turns,
        dispatcher: Dispatcher,
        roles: Roles,
        limits: Limits | None = None,
        identify: Callable[[Any], Peer] = peer_of,
    ) -> None:
        """Makes the factory.

        @param clock: the reactor, or a clock in tests
        @param turns: shares the reactor with all other long work
        @param roles: who may do what
        @param identify: tells from a transport who is at its other end
        """
        self.clock = clock
        self.dispatcher = dispatcher
        self.roles = roles
        self.limits = limits or Limits()
        self.identify = identify
        self.turns = turns
        self.packing = Packing()
        self.unfinished = 0
        self.clients: set[MessagePackServer] = set()

    def buildProtocol(self, address: IAddress | None) -> MessagePackServer:
        """Makes the server side of a new connection."""
        return MessagePackServer(self)

    def admit(self, client: MessagePackServer) -> GenericError | None:
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

    def gone(self, client: MessagePackServer) -> None:
        """Counts a client out."""
        self.clients.discard(client)
