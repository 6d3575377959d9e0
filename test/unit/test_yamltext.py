"""Strict YAML: plain values come out, everything that surprises is refused with its line."""

from __future__ import annotations

import pytest

from jqueue.errors import ConfigurationError, OpPrereqError
from jqueue.yamltext import MAX_ALIASED, MAX_DEPTH, Value, check_number, parse


def refused(text: str) -> str:
    with pytest.raises(OpPrereqError) as caught:
        parse(text, "f")
    assert "\n" not in caught.value.text
    return caught.value.text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain words", "plain words"),
        ("'7'", "7"),
        ("!!str 7", "7"),
        ("=", "="),
        ("7", 7),
        ("-1_000", -1000),
        ("0660", 0o660),
        ("0x1F", 31),
        ("-0b11", -3),
        ("0", 0),
        ("1.5", 1.5),
        ("1.0e+3", 1000.0),
        ("yes", True),
        ("Off", False),
        ("~", None),
        ("[]", []),
        ("{a: [1, {b: x}]}", {"a": [1, {"b": "x"}]}),
        ("!!map {a: !!seq [1]}", {"a": [1]}),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
    ],
)
def test_plain_values_come_out(text: str, value: Value) -> None:
    assert parse(text, "f") == [value]


def test_all_documents_are_read_and_empty_ones_are_none() -> None:
    assert parse("a: 1\n---\n- 2\n---\n", "f") == [{"a": 1}, [2], None]
    assert parse("", "f") == []


def test_an_alias_is_a_copy() -> None:
    [value] = parse("- &a [1]\n- *a", "f")
    assert isinstance(value, list)
    assert value[0] == value[1]
    assert value[0] is not value[1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2024-01-01", "f:2: '2024-01-01': YAML reads this as a date; quote it"),
        ("a: 22:22", "f:1: '22:22' cannot be read as YAML's int; quote it"),
        ("a: 1:30.5", "cannot be read as YAML's float"),
        ("a: !!int ''", "cannot be read as YAML's int"),
        ("a: !!bool maybe", "cannot be read as YAML's bool"),
        ("a: .inf", "f:1: '.inf' is not a finite number"),
        ("a: 99999999999999999999", "does not fit into 64 bits"),
        ("a: " + "9" * 5000, "quote it to keep it as text"),
        ("a: 1\na: 2", "f:2: the key 'a' is there twice in one map"),
        ("on: 1", "f:1: a key must be text, YAML reads this one as a boolean; quote it"),
        ("7: 1", "as the number 7"),
        ("~: 1", "as null"),
        ("? [a]\n: 1", "as a list"),
        ("? {a: 1}\n: 1", "as a map"),
        ("<<: {a: 1}", "merge keys are not taken, write the keys out"),
        ("a: !!set {x}", "f:1: the tag tag:yaml.org,2002:set is not taken"),
        ("a: !!binary aGk=", "the tag tag:yaml.org,2002:binary is not taken"),
        ("a: !!python/name:os.system x", "is not taken"),
        ("a: *x", "f:1: the alias *x has no anchor before it"),
        ("a: &x [*x]", "f:1: the alias *x contains itself"),
        ("- &x 1\n---\n- *x", "f:3: the alias *x has no anchor before it"),
        ("a: b: c: d", "f:1: column 5: this is not YAML: mapping values are not allowed"),
        ("a:\n\tb: 1", "f:2: column 1: this is not YAML"),
        ("a: [1", "f:2: column 1: this is not YAML: while parsing a flow sequence"),
        ("a: \x07", "f: this is not YAML: "),
    ],
)
def test_what_surprises_is_refused_with_its_line(text: str, words: str) -> None:
    assert words in refused(text)


def test_nesting_has_a_limit() -> None:
    assert parse("[" * MAX_DEPTH + "]" * MAX_DEPTH, "f")
    assert "f:1: nested deeper than 32 levels" in refused("[" * 100_000)
    assert "f:1: nested deeper than 32 levels" in refused("- " * 40 + "x")


def test_aliases_cannot_deepen_the_nesting_beyond_the_limit() -> None:
    half = "[" * 20 + "]" * 20
    assert "f:2: nested deeper than 32 levels" in refused(f"- &a {half}\n- {'[' * 19}*a{']' * 19}")


def test_aliases_that_explode_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert f"f:5: the aliases add up to more than {MAX_ALIASED} values" in refused("\n".join(lines))


def test_the_caller_names_the_class_of_the_error() -> None:
    with pytest.raises(ConfigurationError, match="x.yaml:2: column 1"):
        parse("a: {", "x.yaml", ConfigurationError)


def test_numbers_must_be_finite_and_fit_into_64_bits() -> None:
    assert check_number(2**64 - 1) is None
    assert check_number(-(2**63)) is None
    assert check_number(1.5) is None
    assert check_number(2**64) is not None
    assert check_number(-(2**63) - 1) is not None
    assert check_number(float("nan")) is not None
