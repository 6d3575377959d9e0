"""The QMP server: any number of clients at once, each with its own negotiation and every event.

The commands of one client are carried out one after the other, and answered in that order.
What it shares with other protocols lives in `jqueue.rpc.connection`, the text of messages in `parser` and `message`,
the commands in `commands`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from jqueue.errors import GenericError, ProgrammerError, ShuttingDown
from jqueue.rpc.connection import Connection, ConnectionFactory, Limits, State
from jqueue.rpc.output import OutputLimits
from jqueue.rpc.peer import Peer, Roles, peer_of
from jqueue.rpc.qmp import message
from jqueue.rpc.qmp.api import QmpQueue
from jqueue.rpc.qmp.dispatch import Dispatcher
from jqueue.rpc.qmp.faults import QmpError
from jqueue.rpc.qmp.parser import Parser
from jqueue.turns import Turns

Identity = Mapping[str, object]
"""The member `id` of a command as it came, or nothing."""


@dataclass(frozen=True)
class QmpLimits(Limits):
    """What one client, and all of them, may ask of the daemon."""

    in_flight: int = 1
    """Only so are the commands of a client answered in their order."""
    connections: int = 500
    reserved: int = 8
    output: OutputLimits = field(default_factory=lambda: OutputLimits(notices=100_000, notice_bytes=16 * 2**20))
    """Many events come at once when a large group ends."""


class QmpServer(Connection):
    """One client."""

    _log = Logger()
    _shared: QmpFactory
    _unread: Parser

    def __init__(self, shared: QmpFactory) -> None:
        super().__init__(shared, Parser(shared.limits.message))
        self.negotiated = False
        self._oob = False

    def _welcome(self) -> None:
        # Nothing may come before the greeting, so there is no way to tell who is turned away why.
        self._output.reply(message.greeting())

    # Reading

    def _may_begin(self) -> bool:
        return super()._may_begin() and self._shared.quitting is None

    def _take(self) -> Generator[None, None, bool]:
        identity: Identity = {}
        try:
            parsed = yield from self._unread.next()
            if parsed is None:
                return False
            if self._state is State.OPEN:
                if isinstance(parsed.value, dict) and "id" in parsed.value:
                    identity = {"id": parsed.value["id"]}
                request = message.read_request(parsed.value, oob=self._oob)
                work = self._shared.dispatcher.call(request, self)
                self._begin(request.command, work, partial(self._reply, identity))
        except QmpError as error:
            self._reply_error(identity, error)
        return True

    def _forget_unread(self) -> None:
        self._unread = Parser(self._limits.message)

    # Answering

    def _reply(self, identity: Identity, result: object) -> None:
        if isinstance(result, Failure):
            self._reply_error(identity, result.value if isinstance(result.value, GenericError) else ProgrammerError())
        else:
            self._reply_result(identity, result)
        if self._shared.quitting is self:
            self._shared.quit_answered(isinstance(result, Failure))

    def _reply_result(self, identity: Identity, result: object) -> None:
        try:
            reply = message.reply(result, identity)
        except (TypeError, ValueError):
            self._log.failure("The result of a command is nothing that JSON has")
            self._reply_error(identity, ProgrammerError())
        else:
            self._output.reply(reply)

    def _reply_error(self, identity: Identity, error: GenericError) -> None:
        self._output.reply(message.error_reply(error, identity))

    def notify(self, event: bytes) -> None:
        """Sends an event."""
        self._output.notify(event)

    # What commands do to the connection

    def negotiate(self, *, oob: bool) -> None:
        """See `Client`."""
        self.negotiated = True
        self._oob = oob
        self._shared.negotiated(self)

    def quit(self) -> Deferred[None]:
        """See `Client`."""
        return self._shared.quit(self)

    # Ending

    def _refuse(self, error: GenericError) -> None:
        self._reply_error({}, error)
        self._end()


class QmpFactory(ConnectionFactory):
    """All clients of one socket."""

    def __init__(
        self,
        clock: IReactorTime,
        turns: Turns,
        queue: QmpQueue,
        roles: Roles,
        *,
        wall: Callable[[], float],
        stop: Callable[[], None],
        limits: QmpLimits | None = None,
        identify: Callable[[Any], Peer] = peer_of,
    ) -> None:
        """Makes the factory; see `ConnectionFactory` for the rest.

        @param wall: gives the seconds since the epoch, for events
        @param stop: ends the daemon; called after a `quit` was answered and every client was told
        """
        super().__init__(clock, turns, roles, limits or QmpLimits(), identify)
        self.dispatcher = Dispatcher(queue)
        self.quitting: QmpServer | None = None
        self._queue = queue
        self._wall = wall
        self._stop = stop
        self._listening: dict[Connection, Callable[[bytes], None]] = {}
        self._end_listening: Callable[[], None] | None = None
        self._closing = False
        self._closed: list[Deferred[None]] = []

    def buildProtocol(self, address: IAddress | None) -> QmpServer:
        """Makes the server side of a new connection."""
        return QmpServer(self)

    def admit(self, client: Connection) -> GenericError | None:
        """Counts a client in; while the server closes, none can stay."""
        refusal = super().admit(client)
        return ShuttingDown() if self._closing else refusal

    def gone(self, client: Connection) -> None:
        """Counts a client out, who is told of nothing any more."""
        super().gone(client)
        self._listening.pop(client, None)
        if not self._listening and self._end_listening is not None:
            self._end_listening()
            self._end_listening = None
        self._tell_if_closed()

    def negotiated(self, client: QmpServer) -> None:
        """From now on the client is told of events."""
        self._listening[client] = client.notify
        if self._end_listening is None:
            self._end_listening = self._queue.listen(self._event)

    def _event(self, name: str, data: Mapping[str, object]) -> None:
        event = message.event(name, data, self._wall())
        for notify in list(self._listening.values()):
            notify(event)

    def quit(self, client: QmpServer) -> Deferred[None]:
        """Asks the queue to end, for a client; no command of any client is begun from now on."""
        self.quitting = client
        return self._queue.quit()

    def quit_answered(self, failed: bool) -> None:
        """The client that asked for the end has its answer."""
        if failed:
            self.quitting = None
            for client in list(self.clients):
                client.go_on()
        else:
            self.close().addCallback(lambda _: self._stop())

    def close(self) -> Deferred[None]:
        """Takes no more commands and clients; fires when all that is sent was read and every connection is closed."""
        self._closing = True
        for client in list(self.clients):
            client.disconnect()
        closed: Deferred[None] = Deferred()
        self._closed.append(closed)
        self._tell_if_closed()
        return closed

    def _tell_if_closed(self) -> None:
        while self._closed and not self.clients:
            self._closed.pop().callback(None)
