from __future__ import annotations

from typing import Any, Literal, TypedDict

import pytest

from jqueue.errors import OpPrereqError
from jqueue.opcodes.kinds import MAX_DEPTH, MAX_TEXT, kind_of


class Point(TypedDict):
    x: int
    y: float


class Loose(TypedDict, total=False):
    names: list[str]


def refusal(annotation: object, value: object) -> str:
    with pytest.raises(OpPrereqError) as caught:
        kind_of(annotation).check(value, "p")
    return str(caught.value)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (str, ""),
        (str, "ü\n\U0001f600"),
        (int, -(2**63)),
        (float, 1.5),
        (float, 1),
        (bool, False),
        (str | None, None),
        (int | str, "a"),
        (list[str], []),
        (list[list[int]], [[1], []]),
        (dict[str, list[int]], {"a": [1]}),
        (Literal["a", 1], 1),
        (Any, {"a": [None, 1, 2.5, "x", {"b": True}]}),
        (object, None),
        (Point, {"x": 1, "y": 2}),
        (Loose, {}),
        (list[Point] | None, [{"x": 1, "y": 2.0}]),
    ],
)
def test_a_value_of_the_type_is_taken_as_it_is(annotation: object, value: object) -> None:
    assert kind_of(annotation).check(value, "p") == value


@pytest.mark.parametrize(
    ("annotation", "value", "text"),
    [
        (str, 7, "p: text expected, got 7"),
        (str, None, "p: text expected, got null"),
        (str, b"x", "p: text expected, got binary data"),
        (str, False, "p: text expected, got false (YAML reads no, yes, on and off as booleans: put it in quotes)"),
        (str, "a\0b", "p: the text has the character U+0000 at 1; remove it"),
        (str, "\ud800", "p: the text has the character U+D800 at 0; remove it"),
        (int, True, "p: whole number expected, got true"),
        (int, 1.0, "p: whole number expected, got 1.0"),
        (int, "1", 'p: whole number expected, got "1"'),
        (int, 2**63, "p: the number does not fit in 64 bits"),
        (float, True, "p: number expected, got true"),
        (float, float("nan"), "p: finite number expected, got nan"),
        (float, float("-inf"), "p: finite number expected, got -inf"),
        (float, 10**400, "p: the number does not fit in 64 bits"),
        (bool, 1, "p: true or false expected, got 1"),
        (bool, "yes", 'p: true or false expected, got "yes"'),
        (str | None, 7, "p: text expected, got 7"),
        (int | str, [], "p: whole number or text expected, got a list"),
        (list[str], "abc", 'p: list expected, got "abc"'),
        (list[str], ["a", 7], "p[1]: text expected, got 7"),
        (list[str] | None, ["a", 7], "p[1]: text expected, got 7"),
        (list[list[int]], [[1], [2, "x"]], 'p[1][1]: whole number expected, got "x"'),
        (dict[str, int], {"a": "b"}, 'p.a: whole number expected, got "b"'),
        (dict[str, int], {"a b": "c"}, 'p["a b"]: whole number expected, got "c"'),
        (dict[str, int], {1: 2}, "p: text expected as key, got 1 (put it in quotes)"),
        (dict[str, int], [], "p: map expected, got a list"),
        (Literal["a", "b"], "c", 'p: one of "a", "b" expected, got "c"'),
        (Literal[1], True, "p: one of 1 expected, got true"),
        (Any, [{"a": {3: 1}}], "p[0].a: text expected as key, got 3 (put it in quotes)"),
        (Any, [float("inf")], "p[0]: finite number expected, got inf"),
        (Any, {1, 2}, "p: plain value expected, got set {1, 2}"),
        (Point, {"x": 1}, "p: missing: y"),
        (Point, {"x": 1, "y": 1, "z": 1}, "p.z: unknown; known are x, y"),
        (Point, {"x": True, "y": 1}, "p.x: whole number expected, got true"),
        (Loose, {"names": [1]}, "p.names[0]: text expected, got 1"),
    ],
)
def test_another_value_is_refused_with_its_path(annotation: object, value: object, text: str) -> None:
    assert refusal(annotation, value) == text


def test_a_tuple_becomes_a_list() -> None:
    assert kind_of(list[Any]).check((1, (2,)), "p") == [1, [2]]


def test_a_text_that_is_too_long_is_refused_without_quoting_it() -> None:
    assert len(refusal(str, "x" * (MAX_TEXT + 1))) < 200


def test_a_long_text_of_the_wrong_type_is_quoted_in_part() -> None:
    assert len(refusal(int, "x" * 10_000)) < 200


def test_a_value_nested_too_deep_is_refused() -> None:
    value: list[object] = []
    for _ in range(MAX_DEPTH + 1):
        value = [value]
    assert "nested deeper" in refusal(Any, value)


@pytest.mark.parametrize("annotation", [bytes, tuple[int], dict[int, str], set[str], "str"])
def test_a_type_no_parameter_can_have_is_refused_at_once(annotation: object) -> None:
    with pytest.raises(TypeError, match="parameters cannot have the type"):
        kind_of(annotation)
