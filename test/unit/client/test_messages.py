"""Tests of `jqueue.client.messages`."""

from __future__ import annotations

import msgpack
import pytest

from jqueue.client.messages import Messages, Notification, Response, refusal
from jqueue.errors import JobQueueError, ProtocolError


def test_each_request_has_an_id_of_its_own() -> None:
    messages = Messages()
    ids = []
    for _ in range(3):
        msgid, data = messages.request("CancelJob", (7, True))
        assert msgpack.unpackb(data) == [0, msgid, "CancelJob", [7, True]]
        ids.append(msgid)
    assert len(set(ids)) == 3


def test_a_notification_has_none() -> None:
    assert msgpack.unpackb(Messages().notification("CancelJob", (7,))) == [2, "CancelJob", [7]]


def test_messages_are_found_however_they_come() -> None:
    stream = msgpack.packb([1, 5, None, [1, 2]]) + msgpack.packb([2, "JobLog", [1, []]])
    messages = Messages()
    found = [message for byte in stream for message in messages.received(bytes([byte]))]
    assert found == [Response(5, None, [1, 2]), Notification("JobLog", [1, []])]


def test_an_error_is_decoded() -> None:
    (message,) = Messages().received(msgpack.packb([1, 5, ["JobQueueError", ["full", "temp"]], None]))
    assert isinstance(message, Response)
    assert isinstance(message.error, JobQueueError)
    assert (message.error.text, message.error.code) == ("full", "temp")


@pytest.mark.parametrize("data", [b"\xc1", msgpack.packb(5), msgpack.packb([1, "x", None, None]), b"\x91" * 5000])
def test_what_is_no_message_is_an_error(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="what came from the daemon"):
        list(Messages().received(data))


@pytest.mark.parametrize("argument", [{1, 2}, 2**70, "\udcff"])
def test_what_no_message_can_carry_is_an_error(argument: object) -> None:
    with pytest.raises(ProtocolError, match="the arguments of SubmitJob cannot be sent"):
        Messages().request("SubmitJob", (argument,))


def test_a_refused_connection_says_why() -> None:
    error = refusal(Notification("Error", [["JobQueueError", ["too many connections", "code"]]]))
    assert isinstance(error, JobQueueError) and error.text == "too many connections"
    assert refusal(Notification("JobLog", [1, []])) is None
