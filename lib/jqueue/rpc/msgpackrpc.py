"""The MessagePack-RPC server, as published: requests, responses, notifications in both directions.

Requests are started in the order in which they come; replies go out as they are ready, so a client may send on.
What it shares with other protocols lives in `connection`, cutting and decoding messages in `frames` and `calls`,
the methods in `methods`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from typing import Any

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from jqueue.errors import GenericError, OpPrereqError, ProgrammerError, ProtocolError, encode
from jqueue.rpc.calls import Call, read_call, request_id
from jqueue.rpc.connection import Connection, ConnectionFactory, Limits, State
from jqueue.rpc.dispatch import Dispatcher
from jqueue.rpc.frames import Frames
from jqueue.rpc.packing import Packing
from jqueue.rpc.peer import Peer, Roles, peer_of
from jqueue.turns import Turns

ERROR = "Error"
"""The notification that says why a connection is refused, before there is a request to answer."""


class MessagePackServer(Connection):
    """One client."""

    _log = Logger()
    _shared: MessagePackFactory
    _unread: Frames

    def __init__(self, shared: MessagePackFactory) -> None:
        super().__init__(shared, Frames(shared.limits.message))

    def _welcome(self) -> None:
        self.session.notify = self._notify

    def _turn_away(self, refusal: GenericError) -> None:
        self._log.warn("{peer} is refused: {reason}", peer=self.session.peer, reason=refusal)
        self._notify(ERROR, [encode(refusal)])
        self._end_output()
        self._wire.loseConnection()

    # Reading

    def _take(self) -> Generator[None, None, bool]:
        try:
            frame = self._unread.next()
        except ProtocolError as error:
            self._refuse(error)
            return True
        if frame is None:
            return False
        try:
            call = yield from read_call(frame)
        except OpPrereqError as error:
            # Where messages begin and end is still known, so only this one is refused, if it can be.
            msgid = request_id(frame)
            if msgid is None:
                self._give_up(error)
            else:
                self._reply_error(msgid, error)
        else:
            work = self._shared.dispatcher.call(call.method, call.arguments, self.session)
            self._begin(call.method, work, partial(self._reply, call))
        return True

    def _forget_unread(self) -> None:
        self._unread.clear()

    # Answering

    def _reply(self, call: Call, result: object) -> None:
        if call.msgid is None:
            if isinstance(result, Failure):
                self._log.info("The notification {method} failed: {error}", method=call.method, error=result.value)
        elif isinstance(result, Failure):
            self._reply_error(call.msgid, result.value or ProgrammerError())
        else:
            self._reply_result(call.msgid, call.method, result)

    def _reply_result(self, msgid: int, method: str, result: object) -> None:
        try:
            reply = self._shared.packing.response(msgid, result)
        except (TypeError, ValueError):
            self._log.failure("The result of {method} cannot be packed", method=method)
            self._reply_error(msgid, ProgrammerError(f"the result of {method} fits in no message"))
        else:
            self._output.reply(reply)

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

    def _refuse(self, error: GenericError) -> None:
        msgid = request_id(self._unread.head())
        if msgid is not None:
            self._reply_error(msgid, error)
        self._give_up(error)

    def _give_up(self, error: GenericError) -> None:
        """Ends with a client that does not speak the protocol."""
        self._log.warn("{peer} is disconnected: {error}", peer=self.session.peer, error=error)
        self._end()

    def _close(self) -> None:
        """Closes our side only, and reads the other to its end: a client that is busy sending would not see why."""
        self._wire.loseWriteConnection()

    def disconnect(self) -> None:
        """Closes the connection once what has been answered is sent: the daemon stops."""
        self._state = State.ENDED
        self._wire.loseConnection()


class MessagePackFactory(ConnectionFactory):
    """All clients of one socket."""

    def __init__(
        self,
        clock: IReactorTime,
        turns: Turns,
        dispatcher: Dispatcher,
        roles: Roles,
        limits: Limits | None = None,
        identify: Callable[[Any], Peer] = peer_of,
    ) -> None:
        """Makes the factory; see `ConnectionFactory` for the rest.

        @param dispatcher: calls the methods
        """
        super().__init__(clock, turns, roles, limits or Limits(), identify)
        self.dispatcher = dispatcher
        self.packing = Packing()

    def buildProtocol(self, address: IAddress | None) -> MessagePackServer:
        """Makes the server side of a new connection."""
        return MessagePackServer(self)
