"""Which values of opcode code are taken, and that they are copies."""

from __future__ import annotations

import math
from datetime import date

import pytest

from jqueue.errors import OpExecError
from jqueue.jobs.storable import storable


@pytest.mark.parametrize("value", (None, True, 7, -1.5, "ä", [], [1, ["a"]], {"a": {"b": [None]}}, {1: 2}))
def test_what_json_and_msgpack_hold_comes_back_as_it_is(value: object) -> None:
    assert storable(value, 1000, "The value") == value


def test_the_copy_does_not_follow_its_maker() -> None:
    inner = [1]
    copied = storable({"inner": inner}, 1000, "The value")
    inner.append(2)
    assert copied == {"inner": [1]}


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    (
        math.nan,
        math.inf,
        b"bytes",
        object(),
        {1, 2},
        date(2024, 1, 1),
        1 << 64,
        "\ud800",
        {(1, 2): 3},
        nested(5000),
    ),
    ids=("nan", "infinity", "bytes", "object", "set", "date", "large", "surrogate", "key", "deep"),
)
def test_anything_else_is_an_error_that_names_it(value: object) -> None:
    with pytest.raises(OpExecError, match=r"^The value cannot be stored: ."):
        storable({"a": value}, 1000, "The value")


def test_what_holds_itself_is_an_error() -> None:
    value: list[object] = []
    value.append(value)
    with pytest.raises(OpExecError, match="cannot be stored"):
        storable(value, 1000, "The value")


def test_the_limit_counts_packed_bytes() -> None:
    assert storable("x" * 29, 30, "The value") == "x" * 29
    with pytest.raises(OpExecError, match=r"^The value is larger than 30 bytes; put it into a file$"):
        storable("x" * 30, 30, "The value")
