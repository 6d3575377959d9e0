"""The JSON of QMP; the texts and what happens after an error are as recorded of QEMU 7.2 and 10.0."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jqueue.rpc.qmp.faults import QmpError
from jqueue.rpc.qmp.parser import MAX_DEPTH, MAX_TOKENS, Parser

EXPECTING = "JSON parse error, expecting value"


def drain(parser: Parser) -> list[Any]:
    """Takes all that is there: values, and the texts of errors."""
    found: list[Any] = []
    while True:
        try:
            steps = parser.next()
            while True:
                next(steps)
        except QmpError as error:
            found.append(error.text)
        except StopIteration as end:
            if end.value is None:
                return found
            found.append(end.value.value)


def parse(data: bytes, limit: int = 10_000_000) -> list[Any]:
    parser = Parser(limit)
    parser.feed(data)
    return drain(parser)


@pytest.mark.parametrize(
    "data, expected",
    [
        (
            b'{"a": [1, -2.5, 1e3, "x", true, false, null, {}, []]}',
            [{"a": [1, -2.5, 1e3, "x", True, False, None, {}, []]}],
        ),
        (b"{'single': \"it's\", \"double\": '\"'}", [{"single": "it's", "double": '"'}]),
        (b'{"a":1}{"a":2}', [{"a": 1}, {"a": 2}]),
        (b' \t\r\n{"a"\n:\r\n1}\n', [{"a": 1}]),
        (b"5\n", [5]),
        (b"5", []),
        (b"5 null true", [5, None]),
        (b'"x"[]', ["x", []]),
        (b"0 -0 -1 0.5 -0.5e-3 10E2 ", [0, 0, -1, 0.5, -0.0005, 1000.0]),
        (b"18446744073709551615 -9223372036854775808 ", [2**64 - 1, -(2**63)]),
        (b"18446744073709551616 ", [18446744073709551616.0]),
        (rb'"\"\\\/\b\f\n\r\t\u00e9\u0000" ', ['"\\/\b\f\n\r\t\u00e9\0']),
        (rb"'\'' ", ["'"]),
        (rb'"\ud83d\ude00" ', ["\U0001f600"]),
        ("'\u00e9\U0001f600'".encode(), ["\u00e9\U0001f600"]),
    ],
)
def test_a_value_is_read(data: bytes, expected: list[Any]) -> None:
    found = parse(data)
    assert found == expected
    assert [type(value) for value in found] == [type(value) for value in expected]


@pytest.mark.parametrize(
    "data, expected",
    [
        (b"{ 'execute': }\n", [EXPECTING]),
        (b"}\n", [EXPECTING]),
        (b"]\n", [EXPECTING]),
        (b":", [EXPECTING]),
        (b'{"id":3,}', [EXPECTING]),
        (b"[1,]", [EXPECTING]),
        (b"[,1]", [EXPECTING]),
        (b'{"id":3,"id":4}', ["JSON parse error, duplicate key"]),
        (rb'{"id":"%s","\u0069d":4}', ["JSON parse error, duplicate key"]),
        (b"garbage\n", ["JSON parse error, invalid keyword 'garbage'"]),
        (b'{"a" 1}', ["JSON parse error, missing : in object pair"]),
        (b'{"a":1 "b":2}', ["JSON parse error, expected separator in dict"]),
        (b"[1 2]", ["JSON parse error, expected separator in list"]),
        (b"[1}", ["JSON parse error, expected separator in list"]),
        (b"{1:2}", ["JSON parse error, key is not a string in object"]),
        (b"{[]:2}", ["JSON parse error, key is not a string in object"]),
        (rb'"\x" ', ["JSON parse error, invalid escape sequence in string"]),
        (rb'"\ud800" ', ["JSON parse error, \\ud800 is not a valid Unicode character"]),
        (rb'"\ud800\u0041" ', ["JSON parse error, \\ud800 is not a valid Unicode character"]),
        (rb'"\u12" ', ['JSON parse error, \\u12" is not a valid Unicode character']),
        (rb"'\u' ", ["JSON parse error, \\u' is not a valid Unicode character"]),
        (rb'"\u12g4" ', ["JSON parse error, \\u12g4 is not a valid Unicode character"]),
        (b'"\xc3("', ["JSON parse error, invalid UTF-8 sequence in string"]),
        (b"1e999 ", ["JSON parse error, number out of range"]),
        (b"9" * 4000 + b" ", ["JSON parse error, number out of range"]),
        (b"9" * 5000 + b" ", ["JSON token size limit exceeded"]),
        (b"-x\n", ["JSON parse error, stray '-x'"]),
        (b"01\n", ["JSON parse error, stray '01'"]),
        (b"1.\n", ["JSON parse error, stray '1.\n'"]),
        (b"1.e5\n", ["JSON parse error, stray '1.e'"]),
        (b"1e+x\n", ["JSON parse error, stray '1e+x'"]),
        (b"%d\n", ["JSON parse error, stray '%'"]),
        (b"True\n", ["JSON parse error, stray 'T'"]),
        (b'"a\\\n"\n', ["JSON parse error, stray '\"a\\\n'"]),
        # As recorded: what follows a stray token is looked at again from its next bracket on.
        (b'{"id":"split over\nlines"}\n', ["JSON parse error, stray '\"split over\n'", EXPECTING]),
        (b'{"id":"bad \xff utf8"}\n', ["JSON parse error, stray '\"bad \ufffd'", EXPECTING]),
        (b"[" * 2000 + b"\n", ["JSON nesting depth limit exceeded"]),
    ],
)
def test_what_is_wrong_is_told_and_the_next_value_is_read(data: bytes, expected: list[str]) -> None:
    assert parse(data + b'\x01\n{"a":1}') == [*expected, "JSON parse error, stray '\x01'", {"a": 1}]


@pytest.mark.parametrize("control", [b"\x01", b"\xff", b"\xfe", b"\0"])
def test_a_control_character_throws_away_what_is_half_read(control: bytes) -> None:
    stray, value = parse(b'{"execute":"query-jobs","id":"unfinished"' + control + b'{"a":1}')
    assert stray == f"JSON parse error, stray '{control.decode(errors='replace')}'"
    assert value == {"a": 1}


def test_1024_levels_pass_and_one_more_does_not() -> None:
    (value,) = parse(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    for _ in range(MAX_DEPTH - 1):
        (value,) = value
    assert value == []
    first, *_ = parse(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1))
    assert first == "JSON nesting depth limit exceeded"


def test_a_value_is_bounded_and_the_next_one_is_read() -> None:
    assert parse(b'"' + b"x" * 1000 + b'"\n5 ', 1000) == ["JSON token size limit exceeded", 5]
    assert parse(b'["' + b"x" * 600 + b'","' + b"x" * 600 + b'"', 1000) == ["JSON token size limit exceeded"]
    assert parse(b"[" + b"1," * (MAX_TOKENS // 2) + b"\x01")[0] == "JSON token count limit exceeded"


def test_a_string_that_never_ends_is_not_kept() -> None:
    parser = Parser(1000)
    parser.feed(b'"' + b"x" * 900)
    assert drain(parser) == []
    assert len(parser) == 901
    parser.feed(b"x" * 200)
    assert drain(parser) == ["JSON token size limit exceeded"]
    assert len(parser) == 0


def test_what_is_held_of_a_half_read_value_is_known() -> None:
    parser = Parser(100_000)
    parser.feed(b"[" + b"1," * 1000)
    assert drain(parser) == []
    assert len(parser) > 2000 * 64
    parser.feed(b"1]")
    assert len(drain(parser)) == 1
    assert len(parser) == 0


@pytest.mark.parametrize("data", [b"[" + b"1," * 5000 + b"1]", b'"' + b"\\n" * 5000 + b'"'])
def test_a_large_value_is_read_in_steps(data: bytes) -> None:
    parser = Parser(100_000)
    parser.feed(data)
    assert sum(1 for _ in parser.next()) >= 5


ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.lists(ANY_JSON), st.booleans(), st.lists(st.integers(0, 200)))
def test_values_may_come_in_any_pieces(values: list[Any], ascii_only: bool, cuts: list[int]) -> None:
    data = " ".join(json.dumps(value, ensure_ascii=ascii_only) for value in values).encode() + b" "
    parser = Parser(10_000_000)
    found = []
    for cut in cuts:
        parser.feed(data[:cut])
        data = data[cut:]
        found += drain(parser)
    parser.feed(data)
    found += drain(parser)
    assert found == values
    assert len(parser) == 0


@given(st.binary(), st.integers(0, 50))
def test_no_bytes_at_all_stop_the_reader(garbage: bytes, cut: int) -> None:
    parser = Parser(1000)
    parser.feed(garbage[:cut])
    drain(parser)
    parser.feed(garbage[cut:] + b'\x01{"a":1}')
    assert drain(parser)[-1] == {"a": 1}


@given(st.lists(st.sampled_from([*b"{}[]:,\"'\\u1d8-.eE+ tn\n\x01\xff\xc3"]), max_size=60), st.integers(0, 60))
def test_pieces_make_no_difference_to_errors_either(codes: list[int], cut: int) -> None:
    data = bytes(codes) + b"\n"
    parser = Parser(1000)
    parser.feed(data[:cut])
    found = drain(parser)
    parser.feed(data[cut:])
    assert found + drain(parser) == parse(data, 1000)
