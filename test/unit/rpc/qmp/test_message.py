"""The bytes of QMP's messages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from jqueue import __version__
from jqueue.errors import OpPrereqError
from jqueue.rpc.qmp import message
from jqueue.rpc.qmp.faults import COMMAND_NOT_FOUND, QmpError


def whole(data: bytes | Iterator[bytes]) -> bytes:
    return data if isinstance(data, bytes) else b"".join(data)


def test_the_greeting_has_what_qmp_shell_reads() -> None:
    greeting = json.loads(message.greeting())["QMP"]
    version = greeting["version"]["qemu"]
    assert f"{version['major']}.{version['minor']}.{version['micro']}" == __version__
    assert greeting["version"]["package"] == f"jqueue {__version__}"
    assert greeting["capabilities"] == []


def test_a_message_is_one_line_of_ascii() -> None:
    data = whole(message.reply({"text": "\u00e9\U0001f600\n"}, {"id": "\u00e9"}))
    assert data == b'{"return": {"text": "\\u00e9\\ud83d\\ude00\\n"}, "id": "\\u00e9"}\r\n'


def test_an_event_has_its_time() -> None:
    event = json.loads(message.event("SHUTDOWN", {"guest": False}, 1_700_000_000.25))
    assert event == {
        "timestamp": {"seconds": 1_700_000_000, "microseconds": 250_000},
        "event": "SHUTDOWN",
        "data": {"guest": False},
    }


@pytest.mark.parametrize("identity", [{}, {"id": None}, {"id": 5}, {"id": ""}, {"id": {"k": [1, {}]}}, {"id": []}])
def test_an_id_is_echoed_as_it_came(identity: dict[str, object]) -> None:
    assert json.loads(whole(message.reply([], identity))) == {"return": [], **identity}
    error = {"class": "GenericError", "desc": "no"}
    assert json.loads(whole(message.error_reply(OpPrereqError("no"), identity))) == {"error": error, **identity}


def test_an_error_of_qmp_keeps_its_class() -> None:
    data = whole(message.error_reply(QmpError("no", COMMAND_NOT_FOUND), {}))
    assert json.loads(data) == {"error": {"class": "CommandNotFound", "desc": "no"}}


def test_an_id_may_be_as_deep_as_a_message() -> None:
    deep: list[Any] = []
    for _ in range(1022):
        deep = [deep]
    assert whole(message.reply({}, {"id": deep})) == b'{"return": {}, "id": ' + b"[" * 1023 + b"]" * 1023 + b"}\r\n"


def test_a_long_result_goes_out_in_parts() -> None:
    rows: list[dict[str, Any]] = [{"id": f"job{number}", "more": [number, {"x": None}]} for number in range(5000)]
    data = message.reply(iter(rows), {"id": 1})
    assert not isinstance(data, bytes)
    parts = list(data)
    assert len(parts) > 5 and max(map(len, parts)) < 20_000
    assert json.loads(b"".join(parts)) == {"return": rows, "id": 1}


def test_a_short_result_goes_out_at_once() -> None:
    assert isinstance(message.reply(iter([{"id": "job1"}]), {}), bytes)


@pytest.mark.parametrize(
    "value, text",
    [
        ({}, "QMP input lacks member 'execute'"),
        ({"id": 1}, "QMP input lacks member 'execute'"),
        ({"arguments": {}}, "QMP input lacks member 'execute'"),
        ({"execute": 5}, "QMP input member 'execute' must be a string"),
        ({"execute": None}, "QMP input member 'execute' must be a string"),
        ({"exec-oob": []}, "QMP input member 'exec-oob' must be a string"),
        ({"execute": "x", "arguments": []}, "QMP input member 'arguments' must be an object"),
        ({"execute": "x", "arguments": None}, "QMP input member 'arguments' must be an object"),
        ({"execute": "x", "extra": 1}, "QMP input member 'extra' is unexpected"),
        ({"return": {}}, "QMP input member 'return' is unexpected"),
        ({"execute": "x", "exec-oob": "x"}, "QMP input member 'execute' clashes with 'exec-oob'"),
        ([], "QMP input must be a JSON object"),
        (5, "QMP input must be a JSON object"),
        ("x", "QMP input must be a JSON object"),
        (None, "QMP input must be a JSON object"),
    ],
)
def test_what_is_no_request_is_told_as_qemu_does(value: object, text: str) -> None:
    with pytest.raises(QmpError) as caught:
        message.read_request(value, oob=True)
    assert (caught.value.text, caught.value.error_class) == (text, "GenericError")


def test_a_request_may_leave_out_its_arguments() -> None:
    assert message.read_request({"execute": "query-jobs", "id": 1}, oob=False) == ("query-jobs", {}, False)
    assert message.read_request({"exec-oob": "x", "arguments": {"a": 1}}, oob=True) == ("x", {"a": 1}, True)


def test_out_of_band_is_unexpected_from_a_client_that_has_not_enabled_it() -> None:
    with pytest.raises(QmpError, match="QMP input member 'exec-oob' is unexpected"):
        message.read_request({"exec-oob": "query-jobs"}, oob=False)
