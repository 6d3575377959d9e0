"""Tests of `jqueue.client.deferred`."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.testing import MemoryReactor, StringTransport
from twisted.python.failure import Failure

from jqueue.client.deferred import Client, connect
from jqueue.errors import DaemonUnreachable, JobLost, JobQueueError, ProtocolError


class Daemon:
    """The other end of a client's connection."""

    def __init__(self) -> None:
        client: Any = Client()
        self.client = client
        self.transport = StringTransport()
        client.makeConnection(self.transport)

    def heard(self) -> list[Any]:
        unpacker = msgpack.Unpacker()
        unpacker.feed(self.transport.value())
        self.transport.clear()
        return list(unpacker)

    def say(self, *messages: object) -> None:
        self.client.dataReceived(b"".join(map(msgpack.packb, messages)))

    def close(self) -> None:
        self.client.connectionLost(Failure(ConnectionDone()))


@pytest.fixture
def daemon() -> Daemon:
    return Daemon()


def outcome(deferred: Deferred[Any]) -> Any:
    results: list[Any] = []
    deferred.addBoth(results.append)
    (result,) = results
    return result.value if isinstance(result, Failure) else result


def test_calls_are_answered_in_any_order(daemon: Daemon) -> None:
    first, second = daemon.client.call("QueryLocks"), daemon.client.call("CancelJob", 7)
    assert daemon.heard() == [[0, 0, "QueryLocks", []], [0, 1, "CancelJob", [7]]]
    daemon.say([1, 1, ["JobLost", ["there is no job 7", "code"]], None], [1, 0, None, []])
    assert outcome(first) == []
    assert isinstance(outcome(second), JobLost)


def test_notifications_are_passed_on(daemon: Daemon) -> None:
    told: list[Any] = []
    daemon.say([2, "JobLog", [1, []]])
    daemon.client.on_notification = lambda name, arguments: told.append((name, arguments))
    daemon.say([2, "JobLog", [2, []]])
    assert told == [("JobLog", [2, []])]


def test_a_notification_can_be_sent(daemon: Daemon) -> None:
    daemon.client.notify("CancelJob", 7)
    assert daemon.heard() == [[2, "CancelJob", [7]]]
    daemon.close()
    daemon.client.notify("CancelJob", 7)
    assert daemon.heard() == []


def test_a_lost_connection_fails_every_call_then_and_later(daemon: Daemon) -> None:
    waiting = daemon.client.call("QueryLocks")
    daemon.close()
    assert isinstance(outcome(waiting), DaemonUnreachable)
    assert isinstance(outcome(daemon.client.call("QueryLocks")), DaemonUnreachable)


def test_why_the_daemon_closed_the_connection_is_told(daemon: Daemon) -> None:
    waiting = daemon.client.call("QueryLocks")
    daemon.say([2, "Error", [["JobQueueError", ["too many connections", "code"]]]])
    daemon.close()
    error = outcome(waiting)
    assert isinstance(error, JobQueueError) and error.text == "too many connections"


def test_the_answer_to_a_cancelled_call_is_dropped(daemon: Daemon) -> None:
    waiting = daemon.client.call("QueryLocks")
    waiting.cancel()
    assert isinstance(outcome(waiting), CancelledError)
    daemon.say([1, 0, None, []])


def test_what_cannot_be_sent_fails_its_call_only(daemon: Daemon) -> None:
    assert isinstance(outcome(daemon.client.call("SubmitJob", {1})), ProtocolError)
    assert daemon.heard() == []
    assert not daemon.transport.disconnecting


def test_what_is_no_message_closes_the_connection(daemon: Daemon) -> None:
    waiting = daemon.client.call("QueryLocks")
    daemon.client.dataReceived(b"\xc1")
    assert daemon.transport.disconnecting
    daemon.close()
    assert isinstance(outcome(waiting), ProtocolError)


def test_closing_is_done_when_the_connection_is(daemon: Daemon) -> None:
    closing = daemon.client.close()
    assert daemon.transport.disconnecting and not closing.called
    daemon.close()
    assert outcome(closing) is None


def test_a_daemon_that_is_not_there_is_told() -> None:
    reactor = MemoryReactor()
    connecting = connect(reactor, "/run/jqueue/rpc.sock")
    ((path, factory, *_),) = reactor.unixClients
    assert path == "/run/jqueue/rpc.sock"
    factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))
    error = outcome(connecting)
    assert isinstance(error, DaemonUnreachable)
    assert "/run/jqueue/rpc.sock" in error.text and "is jqueued running?" in error.text
