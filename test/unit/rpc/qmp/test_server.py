"""The connections of QMP: negotiation, order, events, limits and the end."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from jqueue.errors import JobQueueError
from jqueue.rpc.qmp import message
from jqueue.rpc.qmp.parser import Parser

from ..fakes import ManualTurns
from .conftest import OPERATOR, ROOT, Client, Server

EXPECTING = {
    "class": "CommandNotFound",
    "desc": "Expecting capabilities negotiation with 'qmp_capabilities'",
}
COMPLETE = {
    "class": "CommandNotFound",
    "desc": "Capabilities negotiation is already complete, command ignored",
}
CHANGE = {"id": "job42", "status": "running"}


def slow(server: Server, verb: str = "pause") -> Deferred[Any]:
    """Lets a verb wait for what is given here."""
    answer: Deferred[Any] = Deferred()
    server.queue.answers[verb] = answer
    return answer


def pause(number: int = 42, **members: object) -> dict[str, object]:
    return {"execute": "job-pause", "arguments": {"id": f"job{number}"}, **members}


# Negotiation


def test_the_greeting_comes_first(server: Server) -> None:
    client = Client(server.factory.buildProtocol(None))
    assert client.wire.sent == message.greeting()


@pytest.mark.parametrize("command", ["query-jobs", "no-such-command", "job-pause", "quit"])
def test_before_negotiation_no_command_is_taken(server: Server, command: str) -> None:
    client = server.connect()
    assert client.ask(command) == {"error": EXPECTING}
    assert client.ask("qmp_capabilities") == {"return": {}}


def test_negotiation_may_be_tried_again_and_then_is_over(server: Server) -> None:
    client = server.connect()
    assert client.refused("qmp_capabilities", foo=1) == ("GenericError", "Parameter 'foo' is unexpected")
    assert client.ask("qmp_capabilities", enable=["oob", "oob"]) == {"return": {}}
    assert client.ask("qmp_capabilities") == {"error": COMPLETE}
    assert client.refused("qmp_capabilities", foo=1) == ("GenericError", "Parameter 'foo' is unexpected")


def test_each_connection_negotiates_for_itself(server: Server) -> None:
    server.session()
    assert server.connect().ask("query-jobs") == {"error": EXPECTING}


# Commands


def test_commands_are_carried_out_one_after_the_other_and_answered_in_order(server: Server) -> None:
    client = server.session()
    answer = slow(server)
    client.send(pause(id=1), {"execute": "query-jobs", "id": 2}, {"execute": "nope", "id": 3})
    assert client.take() == []
    assert server.queue.calls == [("pause", 42)]
    answer.callback(None)
    assert [reply["id"] for reply in client.take()] == [1, 2, 3]
    assert server.queue.calls == [("pause", 42), ("job_infos",)]


def test_a_client_that_waits_for_its_answer_keeps_no_other_waiting(server: Server) -> None:
    busy, other = server.session(), server.session()
    answer = slow(server)
    busy.send(pause())
    assert other.ask("query-jobs") == {"return": []}
    answer.callback(None)
    assert busy.take() == [{"return": {}}]


def test_while_a_command_is_under_way_no_more_is_read(server: Server) -> None:
    client = server.session()
    answer = slow(server)
    client.send(pause(), pause())
    assert not client.wire.reading
    server.queue.answers["pause"] = None
    answer.callback(None)
    assert client.wire.reading
    assert client.take() == [{"return": {}}] * 2


def test_while_a_client_does_not_read_nothing_more_is_begun(server: Server) -> None:
    client = server.session()
    client.wire.producer.pauseProducing()
    client.send(pause())
    assert server.queue.calls == [] and not client.wire.reading
    client.wire.producer.resumeProducing()
    assert client.take() == [{"return": {}}]
    assert client.wire.reading


def test_bad_input_is_answered_in_its_place(server: Server) -> None:
    client = server.session()
    client.raw(b"garbage\n{'execute': 'query-jobs', 'id': 1}[]{'execute':'query-jobs'")
    assert client.take() == [
        {"error": {"class": "GenericError", "desc": "JSON parse error, invalid keyword 'garbage'"}},
        {"return": [], "id": 1},
        {"error": {"class": "GenericError", "desc": "QMP input must be a JSON object"}},
    ]
    client.raw(b"}")
    assert client.take() == [{"return": []}]


def test_a_flood_of_errors_waits_until_the_client_reads(server: Server) -> None:
    client = server.session()
    client.wire.producer.pauseProducing()
    client.raw(b"}" * 1000)
    assert client.take() == [] and not client.wire.reading
    client.wire.producer.resumeProducing()
    server.clock.pump([0.01] * 500)
    assert len(client.take()) == 1000


def test_what_a_client_that_is_gone_has_sent_is_not_begun(server: Server) -> None:
    client = server.session()
    answer = slow(server)
    client.send(pause(1), pause(2))
    client.protocol.connectionLost()
    answer.callback(None)
    assert server.queue.calls == [("pause", 1)]
    assert client.take() == []


def test_a_client_that_goes_while_its_message_is_read_in_steps_begins_nothing(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = ManualTurns()
    client = server.session()
    monkeypatch.setattr(server.factory, "turns", turns)
    client.raw(b'{"execute": "job-pause", "arguments": {"id": "job1"}, "id": [' + b"1," * 1000 + b"1]}")
    (steps,) = turns.work
    next(steps)
    client.protocol.connectionLost()
    assert len(list(steps)) > 2
    assert server.queue.calls == [] and client.take() == []


def test_a_result_that_json_has_not_is_an_error(server: Server) -> None:
    client = server.session()
    server.queue.answers["job_infos"] = [{"id": 1, "type": {1}}]
    assert "error" in client.ask("query-jobs")
    assert client.ask("query-version")["return"]


# Events


def test_every_negotiated_client_gets_every_event(server: Server) -> None:
    first, second, silent = server.session(), server.session(), server.connect()
    server.queue.tell("JOB_STATUS_CHANGE", CHANGE)
    event = {
        "timestamp": {"seconds": 1_700_000_000, "microseconds": 250_000},
        "event": "JOB_STATUS_CHANGE",
        "data": CHANGE,
    }
    assert first.take() == second.take() == [event]
    assert silent.take() == []


def test_events_come_between_replies_in_the_order_of_what_happened(server: Server) -> None:
    client = server.session()
    answer = slow(server)
    client.send(pause(id=1), {"execute": "query-jobs", "id": 2})
    server.queue.tell("JOB_STATUS_CHANGE", CHANGE)
    client.wire.producer.pauseProducing()
    answer.callback(None)
    server.queue.tell("JOB_STATUS_CHANGE", CHANGE)
    client.wire.producer.resumeProducing()
    assert [found.get("event", found.get("id")) for found in client.take()] == [
        "JOB_STATUS_CHANGE",
        1,
        "JOB_STATUS_CHANGE",
        2,
    ]


def test_the_queue_tells_of_events_only_while_somebody_listens(server: Server) -> None:
    client, other = server.session(), server.session()
    assert len(server.queue.listeners) == 1
    client.protocol.connectionLost()
    assert len(server.queue.listeners) == 1
    other.protocol.connectionLost()
    assert server.queue.listeners == []
    server.session()
    assert len(server.queue.listeners) == 1


def test_a_client_that_does_not_read_its_events_is_dropped_and_no_other(server: Server) -> None:
    client, other = server.session(), server.session()
    client.wire.producer.pauseProducing()
    for _ in range(4):
        server.queue.tell("JOB_STATUS_CHANGE", CHANGE)
    assert client.wire.aborted and not other.wire.aborted
    assert len(other.take()) == 4


def test_a_client_that_never_reads_its_reply_is_dropped(server: Server) -> None:
    client = server.session()
    client.wire.producer.pauseProducing()
    server.clock.advance(60)
    assert client.wire.aborted


# Limits


def test_one_connection_too_many_is_closed_without_a_word(server: Server) -> None:
    server.connect(OPERATOR), server.connect(OPERATOR)
    server.peer = OPERATOR
    late = Client(server.factory.buildProtocol(None))
    assert late.wire.aborted and late.wire.sent == b""
    late.send({"execute": "qmp_capabilities"})
    assert late.take() == []
    late.protocol.connectionLost()
    assert not server.connect(ROOT).wire.aborted


def test_half_sent_messages_of_all_clients_together_are_bounded(server: Server) -> None:
    first, second = server.session(), server.session()
    half = b'{"id": "' + b"x" * 150_000
    first.raw(half)
    second.raw(half)
    assert first.take() == []
    (reply,) = second.take()
    assert "half sent by all clients" in reply["error"]["desc"]
    assert second.wire.closing and not first.wire.closing
    second.raw(b'"}')
    assert second.take() == []
    first.raw(b'"}')
    assert first.take()[0]["error"]["desc"] == "QMP input lacks member 'execute'"


def test_too_large_a_message_is_refused_and_the_next_one_is_taken(server: Server) -> None:
    client = server.session()
    client.raw(b'{"id": "' + b"x" * 200_001)
    client.raw(b'"\x01{"execute": "query-jobs"}')
    first, *_, last = client.take()
    assert first == {"error": {"class": "GenericError", "desc": "JSON token size limit exceeded"}}
    assert last == {"return": []}


def test_a_bug_while_a_message_is_read_drops_the_client(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(parser: Parser) -> None:
        raise ValueError("a bug, for the test")

    client, other = server.session(), server.session()
    with monkeypatch.context() as patch:
        patch.setattr(Parser, "next", broken)
        client.raw(b"5 ")
    assert client.wire.aborted
    assert other.ask("query-jobs") == {"return": []}


def test_a_bug_while_a_command_is_answered_drops_the_client(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    client = server.session()
    monkeypatch.setattr(message, "reply", lambda result, identity: 1 / 0)
    client.send({"execute": "query-jobs"})
    assert client.wire.aborted


# The end


def test_quit_is_answered_after_its_events_and_then_every_client_is_closed(server: Server) -> None:
    client, other, silent = server.session(), server.session(), server.connect()
    done = slow(server, "quit")
    client.send({"execute": "quit", "id": 1})
    server.queue.tell("SHUTDOWN", {"guest": False, "reason": "host-qmp-quit"})
    assert [found.get("event") for found in client.take()] == ["SHUTDOWN"]
    assert not client.wire.closing
    done.callback(None)
    assert client.take() == [{"return": {}, "id": 1}]
    assert [found.get("event") for found in other.take()] == ["SHUTDOWN"]
    assert silent.take() == []
    for each in (client, other, silent):
        assert each.wire.closing and server.stopped == 0
        each.protocol.connectionLost()
    assert server.stopped == 1


def test_after_quit_no_command_is_begun(server: Server) -> None:
    client, other = server.session(), server.session()
    done = slow(server, "quit")
    client.send({"execute": "quit"}, pause())
    other.send(pause())
    assert server.queue.calls == [("quit",)]
    done.callback(None)
    assert server.queue.calls == [("quit",)]
    assert client.take() == [{"return": {}}] and other.take() == []


@pytest.mark.parametrize("late", [True, False])
def test_when_quit_fails_all_goes_on(server: Server, late: bool) -> None:
    client, other = server.session(), server.session()
    done = slow(server, "quit")
    if not late:
        server.queue.answers["quit"] = JobQueueError("not now")
    client.send({"execute": "quit"})
    other.send(pause())
    if late:
        done.errback(Failure(JobQueueError("not now")))
    assert client.take() == [{"error": {"class": "GenericError", "desc": "not now"}}]
    assert other.take() == [{"return": {}}]
    assert client.ask("query-jobs") == {"return": []}
    assert server.stopped == 0


def test_a_client_that_asks_for_the_end_and_goes_gets_it_all_the_same(server: Server) -> None:
    client = server.session()
    done = slow(server, "quit")
    client.send({"execute": "quit"})
    client.protocol.connectionLost()
    done.callback(None)
    assert server.stopped == 1


def test_at_the_end_a_client_has_some_time_to_read(server: Server) -> None:
    client, stuck = server.session(), server.session()
    for each in (client, stuck):
        each.wire.producer.pauseProducing()
    server.queue.tell("JOB_STATUS_CHANGE", CHANGE)
    closed = server.factory.close()
    assert not client.wire.closing and not stuck.wire.closing
    client.wire.producer.resumeProducing()
    assert len(client.take()) == 1 and client.wire.closing
    client.protocol.connectionLost()
    server.clock.advance(10)
    assert stuck.wire.aborted and not client.wire.aborted
    assert not closed.called
    stuck.protocol.connectionLost()
    assert closed.called


def test_while_the_server_closes_nobody_is_let_in(server: Server) -> None:
    assert server.factory.close().called
    late = Client(server.factory.buildProtocol(None))
    assert late.wire.aborted and late.wire.sent == b""


def test_it_may_be_closed_twice(server: Server) -> None:
    client = server.session()
    first, second = server.factory.close(), server.factory.close()
    client.protocol.connectionLost()
    assert first.called and second.called
