"""Tests of `jqueue.rpc.connection` with a protocol that has as little of its own as can be.

What is not here, the tests of MessagePack-RPC and QMP have.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from jqueue.errors import GenericError, ProtocolError
from jqueue.rpc.connection import Connection, ConnectionFactory, Limits
from jqueue.rpc.peer import Peer, Roles
from jqueue.turns import Turns

from .fakes import ManualTurns, Wire

LIMITS = Limits(unfinished=150_000, in_flight=1, connections=1, discard=1000, linger=10.0)


class Lines:
    """Lines of text, in which there is no NUL."""

    def __init__(self) -> None:
        self._data = b""

    def __len__(self) -> int:
        return len(self._data)

    def feed(self, data: bytes) -> None:
        if b"\0" in data:
            raise ProtocolError("NUL")
        self._data += data

    def next(self) -> bool:
        line, end, rest = self._data.partition(b"\n")
        self._data = rest if end else line
        return bool(end)


class Silent(Connection):
    """Takes each line for a request, and never answers."""

    _unread: Lines

    def _welcome(self) -> None:
        self._say("welcome")

    def _take(self) -> Generator[None, None, bool]:
        taken = self._unread.next()
        yield
        if taken:
            self._begin("line", Deferred(), lambda result: None)
        return taken

    def _refuse(self, error: GenericError) -> None:
        self._say(error.text)
        self._end()

    def _forget_unread(self) -> None:
        self._unread = Lines()

    def _say(self, text: str) -> None:
        self._output.reply(text.encode() + b"\n")


class Server(ConnectionFactory):
    """A server whose clients are connected by hand."""

    def __init__(self) -> None:
        self.time = Clock()
        super().__init__(self.time, Turns(self.time), Roles(), LIMITS, lambda wire: Peer(11, 5000, 5000))

    def connect(self) -> tuple[Any, Wire]:
        client: Any = Silent(self, Lines())
        wire = Wire(bytes.splitlines)
        client.makeConnection(wire)
        return client, wire


@pytest.fixture
def server() -> Server:
    return Server()


def test_a_client_that_may_stay_is_welcome_and_one_too_many_is_closed_without_a_word(server: Server) -> None:
    (_, first), (_, late) = server.connect(), server.connect()
    assert first.messages() == [b"welcome"] and not first.aborted
    assert late.messages() == [] and late.aborted


def test_input_of_which_no_message_can_come_is_refused(server: Server) -> None:
    client, wire = server.connect()
    client.dataReceived(b"\0")
    assert wire.messages() == [b"welcome", b"NUL"]
    assert wire.closing


def test_what_comes_while_a_message_is_read_in_steps_is_read_after_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = ManualTurns()
    monkeypatch.setattr(server, "turns", turns)
    client, wire = server.connect()
    client.dataReceived(b"a\n")
    (steps,) = turns.work
    next(steps)
    client.dataReceived(b"b\n")
    assert turns.work == [steps] and wire.reading
    assert list(steps) and not wire.reading


def test_what_is_sent_while_a_request_is_under_way_counts_as_unfinished(server: Server) -> None:
    client, wire = server.connect()
    client.dataReceived(b"a\n")
    assert not wire.reading
    client.dataReceived(b"b\n" * 50_000)
    assert server.unfinished == 100_000 and not wire.closing
    client.dataReceived(b"b\n" * 50_000)
    assert server.unfinished == 0 and wire.closing and wire.reading
    (_, refusal) = wire.messages()
    assert b"half sent by all clients" in refusal


def test_when_the_daemon_stops_what_waits_is_sent_and_what_comes_is_thrown_away_within_bounds(server: Server) -> None:
    client, wire = server.connect()
    wire.producer.pauseProducing()
    client.disconnect()
    client.dataReceived(b"x" * 1000)
    assert not wire.closing and not wire.aborted
    wire.producer.resumeProducing()
    assert wire.closing and not wire.aborted and wire.producer is None
    client.dataReceived(b"x")
    assert wire.aborted


def test_nothing_is_timed_and_nothing_waits_for_a_client_that_is_gone(server: Server) -> None:
    client, wire = server.connect()
    gone = client.session.until_closed()
    client.disconnect()
    client.connectionLost()
    assert gone.called and server.clients == set() and server.time.getDelayedCalls() == []
