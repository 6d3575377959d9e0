"""The daemon's client for programs that run on Twisted."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IReactorUNIX
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from jqueue.client.messages import Messages, Notification, refusal
from jqueue.errors import DaemonUnreachable, GenericError, ProtocolError


class Client(Protocol):
    """A connection to the daemon; calls may be made while others wait for their answers."""

    def __init__(self) -> None:
        self.on_notification: Callable[[str, list[Any]], None] | None = None
        self._messages = Messages()
        self._waiting: dict[int, Deferred[Any]] = {}
        self._lost: GenericError | None = None
        self._refusal: GenericError | None = None
        self._closed: Deferred[None] = Deferred()

    def call(self, method: str, *arguments: object) -> Deferred[Any]:
        """Calls a method.

        @return: fires with its result, or fails with the daemon's error, or `DaemonUnreachable` if the connection
            broke; cancelling it drops the answer, not the call
        """
        if self._lost is not None or self.transport is None:
            return fail(self._lost or DaemonUnreachable())
        try:
            msgid, request = self._messages.request(method, arguments)
        except ProtocolError as error:
            return fail(error)

        def forget(_: Deferred[Any]) -> None:
            self._waiting.pop(msgid, None)

        answer: Deferred[Any] = Deferred(forget)
        self._waiting[msgid] = answer
        self.transport.write(request)
        return answer

    def notify(self, method: str, *arguments: object) -> None:
        """Calls a method without waiting for anything."""
        if self._lost is None and self.transport is not None:
            self.transport.write(self._messages.notification(method, arguments))

    def close(self) -> Deferred[None]:
        """Closes the connection.

        @return: fires when it is closed
        """
        if self.transport is not None:
            self.transport.loseConnection()
        closed: Deferred[None] = Deferred()
        self._closed.chainDeferred(closed)
        return closed

    def dataReceived(self, data: bytes) -> None:
        """See `Protocol`."""
        try:
            for message in self._messages.received(data):
                if not isinstance(message, Notification):
                    answer = self._waiting.pop(message.msgid, None)
                    if answer is not None and message.error is not None:
                        answer.errback(message.error)
                    elif answer is not None:
                        answer.callback(message.result)
                elif error := refusal(message):
                    self._refusal = error
                elif self.on_notification is not None:
                    self.on_notification(message.name, message.arguments)
        except ProtocolError as error:
            self._refusal = error
            if self.transport is not None:
                self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See `Protocol`."""
        text = f"the connection to the daemon broke: {reason.getErrorMessage()}"
        self._lost = lost = self._refusal or DaemonUnreachable(text)
        while self._waiting:
            _, answer = self._waiting.popitem()
            answer.errback(lost)
        self._closed.callback(None)


def connect(reactor: IReactorUNIX, path: Path | str) -> Deferred[Client]:
    """Connects to the daemon.

    @return: fires with the client, or fails with `DaemonUnreachable`
    """

    def explain(failure: Failure) -> Failure:
        failure.trap(ConnectError)
        text = f"cannot reach the daemon on {path}: {failure.getErrorMessage()}; is jqueued running?"
        return Failure(DaemonUnreachable(text))

    connecting: Deferred[Client] = UNIXClientEndpoint(reactor, os.fspath(path)).connect(Factory.forProtocol(Client))
    return connecting.addErrback(explain)
