"""Who is at the other end of a socket, and what they may do.

Which method needs which role lives in `jqueue.rpc.methods`; users of HTTP are told apart by the HTTP dialects.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Set
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

_CREDENTIALS = struct.Struct("iII")


class Role(IntEnum):
    """What a peer may do; each role includes those before it."""

    READER = 1
    OPERATOR = 2
    ADMIN = 3

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Peer:
    """The process that opened the connection; each is None where the kernel cannot tell."""

    pid: int | None = None
    uid: int | None = None
    gid: int | None = None

    def __str__(self) -> str:
        return f"pid {self.pid}, uid {self.uid}"


class HasSocket(Protocol):
    """A transport that has a socket."""

    def getHandle(self) -> socket.socket:
        """Gives the socket."""
        ...


def peer_of(transport: HasSocket) -> Peer:
    """Asks the kernel who opened a Unix socket connection.

    @return: as they were when they connected
    """
    raw = transport.getHandle().getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return Peer(*_CREDENTIALS.unpack(raw))


@dataclass(frozen=True)
class Roles:
    """Which user has which role; the sets are of uids."""

    admins: Set[int] = frozenset()
    operators: Set[int] = frozenset()
    readers: Set[int] = frozenset()
    run_as: int | None = None
    """The uid that commands run as: what a job starts must not rule the queue, so it has no role of itself."""

    def of(self, uid: int | None) -> Role | None:
        """Gives a user's role.

        Root and the daemon's own user are administrators.
        Whoever else was let in by the permissions of the socket is operator; or reader, once operators are named.

        @return: None if they may do nothing
        """
        if uid is None:
            return None
        if uid in self.admins or uid in (0, os.geteuid()):
            return Role.ADMIN
        if uid in self.operators:
            return Role.OPERATOR
        if uid in self.readers:
            return Role.READER
        if uid == self.run_as:
            return None
        return Role.READER if self.operators else Role.OPERATOR
