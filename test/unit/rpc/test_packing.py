"""Tests of `jqueue.rpc.packing`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgpack
import pytest

from jqueue.errors import ProgrammerError
from jqueue.jobs.rows import RowStream
from jqueue.rpc.packing import Packing


def sent(result: object) -> Any:
    """The message that carries a result."""
    reply = Packing().response(7, result)
    return msgpack.unpackb(reply if isinstance(reply, bytes) else b"".join(reply))


def test_a_result_is_a_response_with_the_id() -> None:
    assert sent([1, "two", None, {"three": 3.0}]) == [1, 7, None, [1, "two", None, {"three": 3.0}]]


def test_an_error_has_no_result() -> None:
    assert msgpack.unpackb(Packing().error(7, ["JobLost", ["text", "code"]])) == [
        1,
        7,
        ["JobLost", ["text", "code"]],
        None,
    ]


def test_a_notification_has_no_id() -> None:
    assert msgpack.unpackb(Packing().notification("JobLog", [1, []])) == [2, "JobLog", [1, []]]


@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 1000])
def test_rows_are_sent_whole(count: int) -> None:
    rows = RowStream(count, ([number, "x"] for number in range(count)))
    assert sent(rows) == [1, 7, None, [[number, "x"] for number in range(count)]]


def test_rows_may_be_a_member_of_a_map() -> None:
    assert sent({"fields": ["id"], "data": RowStream(2, iter([[1], [2]]))}) == [
        1,
        7,
        None,
        {"fields": ["id"], "data": [[1], [2]]},
    ]


def test_a_row_is_made_only_when_it_is_sent() -> None:
    made = []

    def rows() -> Iterator[list[int]]:
        for number in range(1000):
            made.append(number)
            yield [number]

    reply = Packing().response(7, RowStream(1000, rows()))
    assert not isinstance(reply, bytes)
    next(reply), next(reply), next(reply)
    assert len(made) == 32


def test_large_rows_make_small_parts() -> None:
    reply = Packing().response(7, RowStream(10, (["x" * 20_000] for _ in range(10))))
    assert not isinstance(reply, bytes)
    assert max(len(part) for part in reply) < 21_000


def test_a_long_list_is_sent_in_parts_too() -> None:
    reply = Packing().response(7, [[number] for number in range(1000)])
    assert not isinstance(reply, bytes)
    assert msgpack.unpackb(b"".join(reply))[3] == [[number] for number in range(1000)]


def test_a_table_with_the_wrong_number_of_rows_is_a_bug() -> None:
    with pytest.raises(ProgrammerError, match="3 rows was announced and 2 came"):
        sent(RowStream(3, iter([[1], [2]])))


def test_text_that_cannot_be_encoded_is_shown_escaped() -> None:
    assert sent("a\udcffb")[3] == "a\\udcffb"


def test_a_number_beyond_64_bit_becomes_text() -> None:
    assert sent([2**64 - 1, 2**70])[3] == [2**64 - 1, "1180591620717411303424"]


def test_what_no_message_can_carry_is_an_error() -> None:
    with pytest.raises(TypeError, match="set"):
        sent({1, 2})
