"""Watches the system calls that the daemon's Python code makes, by thread and in order.

A daemon loads it with the setting `opcodes: {modules: [tracing]}`. Every C function that the reactor's thread calls is
seen by a profile hook, so that none can be forgotten; what goes to disks and sockets is wrapped, with its data.
OP_TRACE starts the watching, and ends it with a report.
"""

from __future__ import annotations

import functools
import json
import os
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from jqueue.opcodes.base import OpCode, OpContext, param

called: dict[str, list[str]] = {}
"""C functions that the reactor's thread called, with the place of one call."""
events: list[list[str]] = []
"""[thread, call, data as text] in order; a call is noted when it has returned, one that sends before it is made."""
watching = threading.Event()


class OpTrace(OpCode):
    """Starts to watch, or ends it."""

    OP_ID = "OP_TRACE"

    report: str | None = param("file to write what was seen to; without one the watching starts", default=None)

    def exec(self, ctx: OpContext) -> None:
        """See `OpCode.exec`."""
        if self.report is None:
            watching.set()
        else:
            watching.clear()
            Path(self.report).write_text(json.dumps({"called": called, "events": events}))


def _profile(frame: FrameType, event: str, function: Any) -> None:
    if event == "c_call" and watching.is_set():
        name = f"{getattr(function, '__module__', None) or type(function.__self__).__name__}.{function.__qualname__}"
        called.setdefault(name, [f"{frame.f_code.co_filename}:{frame.f_lineno}"])


def _wrap(owner: Any, name: str, data: Callable[[tuple[Any, ...], Any], object], *, before: bool = False) -> None:
    original = getattr(owner, name)

    @functools.wraps(original)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if before:
            _note(name, data(args, None))
        result = original(*args, **kwargs)
        if not before:
            _note(name, data(args, result))
        return result

    setattr(owner, name, wrapped)


def _note(name: str, data: object) -> None:
    if watching.is_set():
        text = bytes(data).decode("latin-1") if isinstance(data, (bytes, memoryview)) else str(data)
        events.append([threading.current_thread().name, name, text])


def _target(descriptor: int) -> str:
    # The profile hook is not to see this look at what a descriptor is.
    sys.setprofile(None)
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    finally:
        if threading.current_thread() is threading.main_thread():
            sys.setprofile(_profile)


_wrap(os, "pwrite", lambda args, _: args[1])
for of_a_descriptor in ("read", "write", "fdatasync", "fsync"):
    _wrap(os, of_a_descriptor, lambda args, _: _target(args[0]))
_wrap(os, "rename", lambda args, _: args[1])
_wrap(socket.socket, "recv", lambda _, result: result)
_wrap(socket.socket, "recvmsg", lambda _, result: result[0])
_wrap(socket.socket, "send", lambda args, _: args[1], before=True)
_wrap(socket.socket, "sendmsg", lambda args, _: b"".join(args[1]), before=True)
sys.setprofile(_profile)
