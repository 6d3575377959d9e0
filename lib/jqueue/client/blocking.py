"""A blocking connection to the daemon, for command line tools and scripts; it imports no Twisted.

Reconnecting does not live here: who follows a job over a restart of the daemon knows where to go on.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from jqueue.client.messages import Messages, Notification, Response, refusal
from jqueue.directories import default_runtime_dir
from jqueue.errors import DaemonUnreachable, GenericError, PermissionDenied

SYSTEM_SOCKET = Path("/run/jqueue/rpc.sock")
"""Where the daemon of the machine listens."""

_CHUNK = 262_144


def default_socket() -> Path:
    """Says which socket to use when nobody says so.

    @return: JQUEUE_SOCKET; else the one of the user's own daemon or of the machine's, whichever is there
    """
    if path := os.environ.get("JQUEUE_SOCKET"):
        return Path(path)
    own = default_runtime_dir() / "rpc.sock"
    return SYSTEM_SOCKET if SYSTEM_SOCKET.exists() and not own.exists() else own


class Connection:
    """A connection to the daemon, for one thread."""

    def __init__(self, path: Path | str | None = None, timeout: float | None = None) -> None:
        """Connects.

        @param path: the socket, see `default_socket`
        @param timeout: seconds for connecting and for each call; None for no limit
        @raise DaemonUnreachable: nobody listens there
        @raise PermissionDenied: the socket may not be used by this user
        """
        self.path = Path(path) if path is not None else default_socket()
        self._timeout = timeout
        self._messages = Messages()
        self._awaited: int | None = None
        self._response: Response | None = None
        self._notifications: deque[Notification] = deque()
        self._refusal: GenericError | None = None
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(timeout)
            self._socket.connect(os.fspath(self.path))
        except OSError as error:
            self._socket.close()
            raise _cannot_connect(self.path, error) from None

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; jobs that were submitted go on."""
        self._socket.close()

    def fileno(self) -> int:
        """Gives the descriptor, for `select`."""
        return self._socket.fileno()

    def call(self, method: str, *arguments: object, timeout: float | None = None) -> Any:
        """Calls a method and waits for its result.

        @param timeout: seconds; the connection's own without one
        @raise GenericError: what the daemon answered, as the class it is there
        @raise DaemonUnreachable: the connection broke, or the answer did not come in time
        """
        self._awaited, request = self._messages.request(method, arguments)
        self._response = None
        until = _deadline(timeout if timeout is not None else self._timeout)
        self._send(request, until, method)
        while True:
            if self._response is not None:
                return _result(self._response)
            if not self._receive(until):
                raise DaemonUnreachable(
                    f"the daemon on {self.path} did not answer {method} in time; it may still do it"
                )

    def notify(self, method: str, *arguments: object) -> None:
        """Calls a method without waiting for anything, not even for whether it is done."""
        self._send(self._messages.notification(method, arguments), _deadline(self._timeout), method)

    def notifications(self, timeout: float | None = None) -> Iterator[tuple[str, list[Any]]]:
        """Gives what the daemon tells by itself; see the method Subscribe.

        @param timeout: seconds without a notification after which this ends; None for never
        @return: name and arguments of each
        @raise DaemonUnreachable: the connection broke
        """
        until = _deadline(timeout)
        while True:
            while self._notifications:
                told = self._notifications.popleft()
                yield told.name, told.arguments
                until = _deadline(timeout)
            if not self._receive(until):
                return

    def _send(self, data: bytes, until: float | None, method: str) -> None:
        try:
            self._socket.settimeout(_left(until))
            self._socket.sendall(data)
        except (TimeoutError, BlockingIOError):
            self.close()
            raise DaemonUnreachable(f"the daemon on {self.path} did not take the call of {method} in time") from None
        except OSError as error:
            # The daemon may have said why before it closed; then that is the better error.
            until = _deadline(1.0)
            while self._response is None and self._receive(until):
                pass
            if self._response is not None and self._response.error is not None:
                raise self._response.error from None
            raise self._broken(error) from None

    def _receive(self, until: float | None) -> bool:
        """Waits for more messages.

        @return: whether any bytes came in time
        """
        try:
            self._socket.settimeout(_left(until))
            data = self._socket.recv(_CHUNK)
        except (TimeoutError, BlockingIOError):
            return False
        except OSError as error:
            raise self._broken(error) from None
        if not data:
            raise self._broken(None)
        for message in self._messages.received(data):
            if isinstance(message, Notification):
                self._refusal = self._refusal or refusal(message)
                self._notifications.append(message)
            elif message.msgid == self._awaited:
                self._response = message
        return True

    def _broken(self, error: OSError | None) -> GenericError:
        if self._refusal is not None:
            return self._refusal
        reason = error.strerror or str(error) if error is not None else "the daemon closed it"
        return DaemonUnreachable(
            f"the connection to the daemon on {self.path} broke: {reason}; is jqueued still running?"
        )


def _result(response: Response) -> Any:
    if response.error is not None:
        raise response.error
    return response.result


def _deadline(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout


def _left(until: float | None) -> float | None:
    return None if until is None else max(0.0, until - time.monotonic())


def _cannot_connect(path: Path, error: OSError) -> GenericError:
    if error.errno in (errno.EACCES, errno.EPERM):
        return PermissionDenied(
            f"you may not use the socket {path}; ask for membership in its group, or set JQUEUE_SOCKET to another"
        )
    if error.errno == errno.ENOENT:
        hint = "there is no such socket; start jqueued, or set JQUEUE_SOCKET to its socket"
    elif error.errno == errno.ECONNREFUSED:
        hint = "nobody listens there; start jqueued"
    else:
        hint = error.strerror or str(error)
    return DaemonUnreachable(f"cannot reach the daemon on {path}: {hint}")
