"""What the daemon tells systemd, and what systemd told it: the notify protocol and the watchdog.

Without systemd nothing is sent and nothing fails. When to say what does not live here, see `jqueue.daemon.tree`.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

log = Logger()


class Notifier:
    """The way to systemd; a datagram a message, never waiting."""

    def __init__(self, address: str | None, watchdog_interval: float | None = None) -> None:
        """Makes the notifier.

        @param address: path of systemd's socket, `@` for an abstract one; None to say nothing
        @param watchdog_interval: seconds within which systemd wants a sign of life; None for no watchdog
        """
        self.watchdog_interval = watchdog_interval
        self._address = "\0" + address[1:] if address and address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if address else None
        if self._socket:
            self._socket.setblocking(False)

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str], pid: int | None = None) -> Notifier:
        """Takes what systemd says in the environment out of it, so that no child speaks for the daemon.

        @param pid: whose watchdog it must be; this process's without one
        """
        address = environ.pop("NOTIFY_SOCKET", None)
        interval = environ.pop("WATCHDOG_USEC", None)
        meant_for = environ.pop("WATCHDOG_PID", None)
        mine = meant_for is None or meant_for == str(os.getpid() if pid is None else pid)
        return cls(address, int(interval) / 1e6 if interval and interval.isdigit() and mine else None)

    def ready(self, status: str) -> None:
        """Says that the daemon serves; `systemctl start` waits for it."""
        self._send(READY="1", STATUS=status)

    def status(self, text: str) -> None:
        """Sets the line that `systemctl status` shows."""
        self._send(STATUS=text)

    def stopping(self, status: str) -> None:
        """Says that the daemon has begun to stop."""
        self._send(STOPPING="1", STATUS=status)

    def watchdog(self) -> None:
        """Gives the sign of life."""
        self._send(WATCHDOG="1")

    def extend_timeout(self, seconds: float) -> None:
        """Asks for more time to start or stop, counted from now; to be repeated before it is over."""
        self._send(EXTEND_TIMEOUT_USEC=str(int(seconds * 1e6)))

    def close(self) -> None:
        """Closes the socket; nothing is sent after it."""
        if self._socket:
            self._socket.close()
            self._socket = None

    def _send(self, **fields: str) -> None:
        if self._socket is None or self._address is None:
            return
        message = "\n".join(f"{name}={' '.join(value.split())}" for name, value in fields.items())
        try:
            self._socket.sendto(message.encode(), self._address)
        except OSError as exc:
            log.warn("systemd cannot be told {message!r}: {reason}", message=message, reason=exc.strerror)


class Watchdog(Service):
    """Gives systemd a sign of life twice in its interval, as long as the reactor turns."""

    def __init__(self, notifier: Notifier, clock: IReactorTime) -> None:
        """Makes the service.

        @param clock: the reactor
        """
        self._notifier = notifier
        self._loop = LoopingCall(notifier.watchdog)
        self._loop.clock = clock

    def startService(self) -> None:
        Service.startService(self)
        if self._notifier.watchdog_interval:
            self._loop.start(self._notifier.watchdog_interval / 2)

    def stopService(self) -> None:
        Service.stopService(self)
        if self._loop.running:
            self._loop.stop()
