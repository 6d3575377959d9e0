"""Opens a Unix socket on which a protocol is served.

It is never open to more users than asked for, and replaces a stale socket file, but nothing that is in use.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
import stat
from pathlib import Path
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IReactorUNIX
from twisted.internet.protocol import Factory

from jqueue.errors import ConfigurationError, StateError

MAX_PATH = 107
"""Bytes that the kernel takes as the path of a socket."""

_BACKLOG = 1024


def listen_unix(
    reactor: IReactorUNIX, path: Path, factory: Factory[Any], mode: int = 0o660, group: str | None = None
) -> IListeningPort:
    """Listens on a Unix socket.

    @param mode: permissions of the socket
    @param group: the group it belongs to; that of the daemon without one
    @raise ConfigurationError: the path is too long
    @raise StateError: somebody listens there, something else is in the way, or the directory cannot be written
    """
    if len(os.fsencode(path)) > MAX_PATH:
        raise ConfigurationError(
            f"the path of the socket {path} is longer than {MAX_PATH} bytes, the most that the kernel takes; "
            "give a shorter runtime directory"
        )
    try:
        _remove_stale(path)
        # The file gets its permissions when it is made, not a moment later.
        before = os.umask(0o777 & ~mode)
        try:
            port = reactor.listenUNIX(os.fspath(path), factory, backlog=_BACKLOG, mode=mode)
            if group is not None:
                shutil.chown(path, group=group)
            return port
        finally:
            os.umask(before)
    except CannotListenError as error:
        raise StateError(f"the socket {path} cannot be opened: {error.socketError}") from None
    except OSError as error:
        raise StateError(f"the socket {path} cannot be opened: {error.strerror or error}") from None


def _remove_stale(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise StateError(f"{path} is in the way of a socket of that name; remove it")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        result = probe.connect_ex(os.fspath(path))
    if result in (0, errno.EAGAIN):
        raise StateError(f"another process listens on {path}; stop it, or give this daemon another runtime directory")
    if result != errno.ECONNREFUSED:
        raise OSError(result, os.strerror(result))
    path.unlink()
