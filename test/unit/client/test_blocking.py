"""Tests of `jqueue.client.blocking` against a scripted socket; `test/integration/test_rpc.py` has a real server."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from jqueue.client import blocking
from jqueue.client.blocking import Connection, default_socket
from jqueue.errors import DaemonUnreachable, JobLost, JobQueueError, PermissionDenied, ProtocolError


class Daemon:
    """The other end of one connection; what it says is said before it is asked, since nothing here runs beside."""

    def __init__(self, path: Path) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(os.fspath(path))
        self._listener.listen()
        self.client = Connection(path, timeout=5)
        self.socket, _ = self._listener.accept()

    def say(self, *messages: object) -> None:
        self.socket.sendall(b"".join(map(msgpack.packb, messages)))

    def close(self) -> None:
        self.socket.close()
        self._listener.close()
        self.client.close()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    made = Daemon(tmp_path / "rpc.sock")
    yield made
    made.close()


def test_a_call_gives_its_result(daemon: Daemon) -> None:
    daemon.say([1, 0, None, [[7, "queued"]]])
    assert daemon.client.call("QueryJobs", [7], ["id", "status"]) == [[7, "queued"]]
    assert msgpack.unpackb(daemon.socket.recv(1000)) == [0, 0, "QueryJobs", [[7], ["id", "status"]]]


def test_an_error_is_raised_as_its_class(daemon: Daemon) -> None:
    daemon.say([1, 0, ["JobLost", ["there is no job 7", "unknown_entity"]], None])
    with pytest.raises(JobLost, match="there is no job 7"):
        daemon.client.call("CancelJob", 7)


def test_notifications_that_come_before_a_reply_are_kept(daemon: Daemon) -> None:
    daemon.say([2, "JobChanged", [{"id": 1}]], [1, 0, None, True], [2, "JobLog", [1, []]])
    assert daemon.client.call("Subscribe", {}) is True
    told = list(daemon.client.notifications(timeout=0))
    assert told == [("JobChanged", [{"id": 1}]), ("JobLog", [1, []])]


def test_a_late_reply_is_not_taken_for_the_next_one(daemon: Daemon) -> None:
    with pytest.raises(DaemonUnreachable, match="did not answer QueryLocks in time"):
        daemon.client.call("QueryLocks", timeout=0)
    daemon.say([1, 0, None, "late"], [1, 1, None, "right"])
    assert daemon.client.call("QueryStatus") == "right"


def test_a_daemon_that_does_not_take_the_call_is_not_waited_for(daemon: Daemon) -> None:
    with pytest.raises(DaemonUnreachable, match="did not take the call of SubmitJob in time"):
        daemon.client.call("SubmitJob", "x" * 10_000_000, timeout=0)


def test_a_connection_that_the_daemon_closes_is_told(daemon: Daemon) -> None:
    daemon.socket.close()
    with pytest.raises(DaemonUnreachable, match="is jqueued still running"):
        daemon.client.call("QueryLocks")


def test_a_daemon_that_closes_while_it_is_listened_to_is_told(daemon: Daemon) -> None:
    daemon.say([2, "JobLog", [1, []]])
    daemon.socket.close()
    told = daemon.client.notifications()
    assert next(told) == ("JobLog", [1, []])
    with pytest.raises(DaemonUnreachable, match="the daemon closed it"):
        next(told)


def test_why_the_daemon_closed_the_connection_is_told(daemon: Daemon) -> None:
    daemon.say([2, "Error", [["JobQueueError", ["too many connections", "code"]]]])
    daemon.socket.close()
    with pytest.raises(JobQueueError, match="too many connections"):
        daemon.client.call("QueryLocks")


def test_why_the_daemon_did_not_take_a_call_is_told(daemon: Daemon) -> None:
    daemon.say([1, 0, ["ProtocolError", ["the message is too large", "wrong_input"]], None])
    daemon.socket.close()
    with pytest.raises(ProtocolError, match="the message is too large"):
        daemon.client.call("SubmitJob", "x" * 10_000_000)


def test_what_is_no_message_is_an_error(daemon: Daemon) -> None:
    daemon.socket.sendall(b"HTTP/1.1 400 Bad Request\r\n")
    with pytest.raises(ProtocolError, match="what came from the daemon"):
        daemon.client.call("QueryLocks")


def test_nobody_there_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DaemonUnreachable, match="there is no such socket; start jqueued, or set JQUEUE_SOCKET"):
        Connection(tmp_path / "rpc.sock")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(os.fspath(tmp_path / "rpc.sock"))
    with pytest.raises(DaemonUnreachable, match="nobody listens there; start jqueued"):
        Connection(tmp_path / "rpc.sock")
    with pytest.raises(DaemonUnreachable, match="path too long"):
        Connection(tmp_path / ("x" * 200))


def test_a_socket_that_may_not_be_used_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forbidden:
        def __init__(self, *_: object) -> None: ...

        def settimeout(self, seconds: float | None) -> None: ...

        def close(self) -> None: ...

        def connect(self, path: str) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket, "socket", Forbidden)
    with pytest.raises(PermissionDenied, match="you may not use the socket /run/x; ask for membership in its group"):
        Connection("/run/x")


@pytest.mark.parametrize(
    ("environment", "existing", "chosen"),
    [
        ({"JQUEUE_SOCKET": "/some/where"}, ["own", "system"], "/some/where"),
        ({}, ["own"], "{tmp}/run/jqueue/rpc.sock"),
        ({}, ["own", "system"], "{tmp}/run/jqueue/rpc.sock"),
        ({}, ["system"], "{tmp}/system.sock"),
        ({}, [], "{tmp}/run/jqueue/rpc.sock"),
    ],
)
def test_the_socket_is_found(
    environment: dict[str, str], existing: list[str], chosen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "run" / "jqueue" / "rpc.sock"
    own.parent.mkdir(parents=True)
    system = tmp_path / "system.sock"
    monkeypatch.setattr(blocking, "SYSTEM_SOCKET", system)
    for name in ("JQUEUE_SOCKET", "RUNTIME_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", os.fspath(tmp_path / "run"))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for name in existing:
        {"own": own, "system": system}[name].touch()
    assert default_socket() == Path(chosen.format(tmp=tmp_path))


def test_tools_do_not_wait_for_twisted_to_be_imported() -> None:
    program = "import sys, jqueue.client.blocking; sys.exit('twisted' in sys.modules)"
    environment: dict[str, Any] = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", program], env=environment, check=False).returncode == 0
