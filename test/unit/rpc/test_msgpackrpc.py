"""Tests of `jqueue.rpc.msgpackrpc` without a socket; `test/integration/test_rpc.py` has those with one."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from jqueue.rpc.connection import Limits
from jqueue.rpc.dispatch import Dispatcher
from jqueue.rpc.msgpackrpc import MessagePackFactory
from jqueue.rpc.output import OutputLimits
from jqueue.rpc.peer import Peer, Roles
from jqueue.turns import Turns

from .fakes import Wire

LIMITS = Limits(
    message=200_000,
    unfinished=250_000,
    in_flight=3,
    connections=2,
    reserved=1,
    discard=1000,
    linger=10.0,
    output=OutputLimits(notices=2, stalled=60.0),
)
ROOT, USER = Peer(10, 0, 0), Peer(11, 5000, 5000)


def cut(sent: bytes) -> list[Any]:
    unpacker = msgpack.Unpacker()
    unpacker.feed(sent)
    return list(unpacker)


class Server:
    """A server whose clients are connected by hand."""

    def __init__(self, queue: Any) -> None:
        self.clock = Clock()
        self.queue = queue
        self.peer = USER
        self.factory = MessagePackFactory(
            self.clock, Turns(self.clock), Dispatcher(queue), Roles(), LIMITS, lambda wire: self.peer
        )

    def connect(self, peer: Peer = USER) -> tuple[Any, Wire]:
        self.peer = peer
        protocol: Any = self.factory.buildProtocol(None)
        wire = Wire(cut)
        protocol.makeConnection(wire)
        return protocol, wire


@pytest.fixture
def server(queue: Any) -> Server:
    return Server(queue)


def request(msgid: int, method: str = "QueryStatus", *arguments: object) -> bytes:
    return msgpack.packb([0, msgid, method, arguments])


def slow(server: Server) -> list[Deferred[Any]]:
    """Lets ExplainJob wait, and gives what it waits for."""
    waiting: list[Deferred[Any]] = []

    def explain(job_id: int) -> Deferred[Any]:
        waiting.append(Deferred())
        return waiting[-1]

    server.queue.explain = explain
    return waiting


def test_requests_are_started_in_order_and_answered_when_they_are_done(server: Server) -> None:
    waiting = slow(server)
    protocol, wire = server.connect()
    protocol.dataReceived(request(1, "ExplainJob", 1) + request(2) + request(3, "ExplainJob", 1))
    assert wire.messages() == [[1, 2, None, None]]
    waiting[1].callback("second")
    waiting[0].callback("first")
    assert wire.messages() == [[1, 3, None, "second"], [1, 1, None, "first"]]


def test_above_the_limit_nothing_more_is_started_or_read(server: Server) -> None:
    waiting = slow(server)
    protocol, wire = server.connect()
    protocol.dataReceived(b"".join(request(msgid, "ExplainJob", 1) for msgid in range(5)))
    assert len(waiting) == 3
    assert not wire.reading
    waiting[0].callback(None)
    assert len(waiting) == 4
    waiting[1].callback(None)
    assert len(waiting) == 5
    assert not wire.reading
    waiting[2].callback(None)
    assert wire.reading


def test_while_a_client_does_not_read_nothing_more_is_started_or_read(server: Server) -> None:
    protocol, wire = server.connect()
    wire.producer.pauseProducing()
    protocol.dataReceived(request(1))
    assert server.queue.calls == []
    assert not wire.reading
    wire.producer.resumeProducing()
    assert server.queue.calls == [("query_status",)]
    assert wire.messages() == [[1, 1, None, None]]
    assert wire.reading


def test_a_reply_to_a_client_that_is_gone_is_dropped(server: Server) -> None:
    waiting = slow(server)
    protocol, wire = server.connect()
    protocol.dataReceived(request(1, "ExplainJob", 1))
    protocol.connectionLost()
    waiting[0].callback("late")
    assert wire.messages() == []


def test_a_result_that_fits_in_no_message_is_an_error(server: Server) -> None:
    server.queue.answers["query_status"] = {1, 2}
    protocol, wire = server.connect()
    protocol.dataReceived(request(1) + request(2, "QueryLocks"))
    (_, _, error, _), second = wire.messages()
    assert error == ["ProgrammerError", ["the result of QueryStatus fits in no message", "internal_error"]]
    assert second == [1, 2, None, None]


def test_a_subscriber_that_does_not_read_is_dropped(server: Server) -> None:
    protocol, wire = server.connect()
    protocol.dataReceived(request(1, "Subscribe"))
    wire.producer.pauseProducing()
    for _ in range(3):
        server.queue.listeners[0]("JobChanged", [{}])
    assert wire.aborted


def test_a_subscriber_that_cannot_be_told_of_an_event_is_dropped(server: Server) -> None:
    protocol, wire = server.connect()
    protocol.dataReceived(request(1, "Subscribe"))
    server.queue.listeners[0]("JobChanged", [object()])
    assert wire.aborted


def test_a_client_that_never_reads_its_reply_is_dropped(server: Server) -> None:
    protocol, wire = server.connect()
    wire.producer.pauseProducing()
    server.clock.advance(60)
    assert wire.aborted


def too_large(msgid: int = 1) -> bytes:
    return (
        b"\x94\x00" + msgpack.packb(msgid) + msgpack.packb("SubmitJob") + b"\x91\xdb\x7f\x00\x00\x00" + b"x" * 200_000
    )


def test_too_large_a_message_is_answered_and_then_nothing_is_taken_any_more(server: Server) -> None:
    protocol, wire = server.connect()
    protocol.dataReceived(too_large())
    ((kind, msgid, error, result),) = wire.messages()
    assert (kind, msgid, error[0], result) == (1, 1, "ProtocolError", None)
    assert wire.half_closed
    protocol.dataReceived(request(2))
    assert wire.messages() == [] and server.queue.calls == []


def test_who_goes_on_sending_after_a_refusal_is_cut_off(server: Server) -> None:
    protocol, wire = server.connect()
    protocol.dataReceived(too_large())
    protocol.dataReceived(b"x" * 1000)
    assert not wire.closing and not wire.aborted
    protocol.dataReceived(b"x")
    assert wire.aborted


def test_who_stays_after_a_refusal_is_cut_off(server: Server) -> None:
    protocol, wire = server.connect()
    protocol.dataReceived(b"\xc1")
    assert wire.half_closed and not wire.closing and not wire.aborted
    server.clock.advance(10)
    assert wire.aborted


def test_a_refusal_waits_until_the_client_has_read_what_came_before(server: Server) -> None:
    waiting = slow(server)
    protocol, wire = server.connect()
    protocol.dataReceived(request(1, "ExplainJob", 1) + b"\x94\x00\x02")
    wire.producer.pauseProducing()
    waiting[0].callback("answer")
    protocol.dataReceived(b"\x91" * 2000)
    wire.producer.resumeProducing()
    assert [message[1] for message in wire.messages()] == [1, 2]
    assert wire.half_closed


def test_what_a_refused_client_asked_before_is_not_sent_after_the_end(server: Server) -> None:
    waiting = slow(server)
    protocol, wire = server.connect()
    protocol.dataReceived(request(1, "ExplainJob", 1) + b"\xc1")
    assert wire.half_closed
    waiting[0].callback("late")
    assert wire.messages() == []


def test_half_sent_messages_of_all_clients_together_are_bounded(server: Server) -> None:
    (first, wire), (second, other) = server.connect(), server.connect()
    half = too_large()[:150_000]
    first.dataReceived(half)
    second.dataReceived(half)
    assert wire.messages() == []
    ((_, msgid, error, _),) = other.messages()
    assert msgid == 1 and "half sent by all clients" in error[1][0]
    first.connectionLost()
    third, wire = server.connect()
    third.dataReceived(half)
    assert wire.messages() == []


def test_one_connection_too_many_is_told_so_and_closed(server: Server) -> None:
    clients = [server.connect(), server.connect()]
    late, wire = server.connect()
    ((kind, name, [[error, [text, _]]]),) = wire.messages()
    assert (kind, name, error) == (2, "Error", "JobQueueError")
    assert "2 connections" in text
    assert wire.closing
    late.dataReceived(request(1))
    assert server.queue.calls == []
    late.connectionLost()
    clients[0][0].connectionLost()
    assert not server.connect()[1].closing


def test_an_administrator_gets_in_when_others_do_not(server: Server) -> None:
    server.connect(), server.connect()
    protocol, wire = server.connect(ROOT)
    protocol.dataReceived(request(1))
    assert wire.messages() == [[1, 1, None, None]]


def test_a_bug_while_a_message_is_read_drops_the_client(server: Server) -> None:
    def broken(*_: object) -> Deferred[object]:
        raise ValueError("a bug, for the test")

    server.factory.dispatcher = type("Broken", (Dispatcher,), {"call": broken})(server.queue)
    protocol, wire = server.connect()
    protocol.dataReceived(request(1))
    assert wire.aborted


def test_a_bug_while_a_request_is_answered_drops_the_client(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    protocol, wire = server.connect()
    monkeypatch.setattr(server.factory.packing, "response", lambda msgid, result: 1 / 0)
    protocol.dataReceived(request(1))
    assert wire.aborted


def test_a_notification_that_fails_is_not_answered(server: Server) -> None:
    protocol, wire = server.connect()
    protocol.dataReceived(msgpack.packb([2, "CancelJob", ["x"]]) + request(1))
    assert wire.messages() == [[1, 1, None, None]]
