"""Filters: what each form means, what is refused, and that text and list form agree."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jqueue import errors
from jqueue.jobs import fields
from jqueue.jobs.filters import MAX_LEVELS, compile_filter, parse_filter

JOB: dict[str, Any] = {
    "id": 7,
    "status": "waiting",
    "priority": -10,
    "archived": False,
    "paused": True,
    "name": "backup",
    "group": None,
    "owner": None,
    "opstatus": ["success", "waiting"],
    "summary": ["TEST_DELAY(1.0)", "COPY_FILE(/a)"],
    "received_ts": [1700000000, 250000],
    "end_ts": None,
    "progress": None,
}


def passes(qfilter: object) -> bool:
    return compile_filter(qfilter)(JOB.__getitem__)


@pytest.mark.parametrize(
    ("qfilter", "expected"),
    [
        (None, True),
        (["=", "id", 7], True),
        (["==", "id", 7], True),
        (["==", "id", 7.0], True),
        (["==", "id", 8], False),
        (["!=", "id", 8], True),
        (["!=", "id", 7], False),
        (["<", "id", 7], False),
        (["<=", "id", 7], True),
        ([">", "id", 6], True),
        ([">=", "id", 8], False),
        (["<", "priority", 0], True),
        (["==", "status", "waiting"], True),
        (["<", "status", "x"], True),
        (["==", "paused", True], True),
        (["!=", "archived", True], True),
        (["?", "paused"], True),
        (["?", "archived"], False),
        (["?", "group"], False),
        (["?", "opstatus"], True),
        (["==", "group", None], True),
        (["!=", "group", None], False),
        (["==", "group", "g"], False),
        (["!=", "group", "g"], True),
        (["<", "owner", 5], False),
        ([">=", "owner", 5], False),
        (["=~", "name", "^back"], True),
        (["=~", "name", "^up"], False),
        (["=~", "group", "."], False),
        (["=~", "summary", "COPY"], True),
        (["=~", "summary", "MOVE"], False),
        (["=~", "progress", "x"], False),
        (["=[]", "opstatus", "success"], True),
        (["=[]", "opstatus", "error"], False),
        (["=[]", "progress", "x"], False),
        (["==", "opstatus", ["success", "waiting"]], True),
        (["==", "received_ts", [1700000000, 250000]], True),
        (["==", "received_ts", 1700000000.25], True),
        (["!=", "received_ts", 1700000000], True),
        ([">", "received_ts", 1700000000], True),
        (["<", "received_ts", [1700000000, 250001]], True),
        (["<=", "received_ts", [1700000000, 249999]], False),
        (["<", "received_ts", 10**400], True),
        (["==", "end_ts", None], True),
        (["<", "end_ts", 5], False),
        ([">", "end_ts", 5], False),
        (["!", ["==", "id", 7]], False),
        (["|", ["==", "id", 1], ["==", "id", 7]], True),
        (["|", ["==", "id", 1]], False),
        (["&", ["==", "id", 7], ["?", "paused"]], True),
        (["&", ["==", "id", 7], ["?", "archived"]], False),
        (("&", ("==", "id", 7)), True),
        (["&", ["|", ["==", "id", 7], ["==", "id", 99]], ["|", ["==", "status", "waiting"]]], True),
    ],
    ids=str,
)
def test_what_a_filter_lets_pass(qfilter: object, expected: bool) -> None:
    assert passes(qfilter) is expected


@pytest.mark.parametrize(
    ("qfilter", "text"),
    [
        ([], "expected"),
        ("status", "expected"),
        (7, "expected"),
        ({}, "expected"),
        ([7], "expected"),
        (["?"], "expected"),
        (["?", 5], "expected"),
        (["!"], "expected"),
        (["|"], "expected"),
        (["&"], "expected"),
        (["==", "id"], "expected"),
        (["==", 5, 5], "expected"),
        (["==", "id", 5, 6], "expected"),
        (["~~", "id", 5], "unknown operator '~~'"),
        (["==", "stauts", "x"], "Unknown field 'stauts'; did you mean 'status'"),
        (["?", "stauts"], "Unknown field 'stauts'; did you mean 'status'"),
        (["|", ["==", "id", 1], ["==", "nope", 2]], "Unknown field 'nope'"),
        (["==", "id", "7"], "a number expected"),
        (["==", "id", True], "a number expected"),
        (["<", "id", None], "a number expected"),
        (["==", "status", 5], "a text expected"),
        (["==", "paused", "true"], "true or false expected"),
        (["<", "paused", True], "has no order"),
        (["<", "opstatus", []], "has no order"),
        (["=~", "id", "7"], "'id' is not text"),
        (["=~", "name", 5], "a regular expression"),
        (["=~", "name", "("], "not a regular expression"),
        (["=~", "name", "x" * 2000], "a regular expression of at most"),
        (["=[]", "status", "x"], "'status' is not a list"),
        (["==", "received_ts", "today"], "a time expected"),
        (["==", "received_ts", [1]], "a time expected"),
        (["==", "received_ts", [1, "x"]], "a time expected"),
        (["<", "received_ts", float("nan")], "a time expected"),
        (["<", "received_ts", float("inf")], "a time expected"),
        (["<", "received_ts", 1e308], "a time expected"),
        (["<", "received_ts", None], "a time expected"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_malformed_filter_is_refused_with_the_reason(qfilter: object, text: str) -> None:
    with pytest.raises(errors.ParameterError) as caught:
        compile_filter(qfilter)

    assert text in str(caught.value)
    assert caught.value.code == errors.WRONG_INPUT


def nested(levels: int) -> list[Any]:
    qfilter: list[Any] = ["?", "paused"]
    for _ in range(levels - 1):
        qfilter = ["&", qfilter]
    return qfilter


def test_filters_nest_to_the_limit_and_no_deeper() -> None:
    assert passes(nested(MAX_LEVELS)) is True
    with pytest.raises(errors.ParameterError, match="nested deeper than 10 levels"):
        compile_filter(nested(MAX_LEVELS + 1))


def test_a_filter_works_on_other_things_than_jobs() -> None:
    keep = compile_filter(["==", "mode", "shared"], {"mode": fields.TEXT})

    assert keep({"mode": "shared"}.__getitem__) is True
    with pytest.raises(errors.ParameterError, match="Unknown field 'id'"):
        compile_filter(["==", "id", 7], {"mode": fields.TEXT})


# The text form


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('status == "waiting"', ["==", "status", "waiting"]),
        ("status='waiting'", ["=", "status", "waiting"]),
        ("id > 3", [">", "id", 3]),
        ("id>=-3", [">=", "id", -3]),
        ("received_ts < 1700000000.5", ["<", "received_ts", 1700000000.5]),
        ('"x" in opstatus', ["=[]", "opstatus", "x"]),
        ('"x" not in opstatus', ["!", ["=[]", "opstatus", "x"]]),
        ("paused", ["?", "paused"]),
        ("not paused", ["!", ["?", "paused"]]),
        ("! paused", ["!", ["?", "paused"]]),
        ("paused == true", ["==", "paused", True]),
        ("group != null", ["!=", "group", None]),
        ('name =~ "^b\\d"', ["=~", "name", "^b\\d"]),
        ('name !~ "^b"', ["!", ["=~", "name", "^b"]]),
        (r'name == "say \"hi\" \\ now"', ["==", "name", 'say "hi" \\ now']),
        ("name == 'and'", ["==", "name", "and"]),
        ("a and b and c", ["&", ["?", "a"], ["?", "b"], ["?", "c"]]),
        ("a or b and c", ["|", ["?", "a"], ["&", ["?", "b"], ["?", "c"]]]),
        ("(a or b) and c", ["&", ["|", ["?", "a"], ["?", "b"]], ["?", "c"]]),
        ("a|b&!c", ["|", ["?", "a"], ["&", ["?", "b"], ["!", ["?", "c"]]]]),
        ("not (a or b)", ["!", ["|", ["?", "a"], ["?", "b"]]]),
        ("not a and b", ["&", ["!", ["?", "a"]], ["?", "b"]]),
        (
            'status == "waiting" and (id > 3 or "x" in opstatus) and not name =~ "^b"',
            [
                "&",
                ["==", "status", "waiting"],
                ["|", [">", "id", 3], ["=[]", "opstatus", "x"]],
                ["!", ["=~", "name", "^b"]],
            ],
        ),
    ],
)
def test_text_becomes_a_list(text: str, expected: list[Any]) -> None:
    assert parse_filter(text) == expected


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "column 1: a field or a value expected, got the end"),
        ("a b", "column 3: 'and', 'or' or the end expected, got b"),
        ("a ==", "column 5: a text in quotes, a number, true, false or null expected, got the end"),
        ("a == b", "column 6: a text in quotes"),
        ("a and", "column 6: a field or a value expected, got the end"),
        ("and a", "column 1: a field or a value expected, got &"),
        ("'x'", "column 4: 'in' expected, got the end"),
        ("'x' in", "column 7: a field expected, got the end"),
        ("'x' not a", "column 9: 'in' expected, got a"),
        ("(a", "column 3: 'and', 'or' or ')' expected, got the end"),
        ("a)", "column 2: 'and', 'or' or the end expected, got )"),
        ("a == 5x", "column 6: a field, a value or an operator expected, got 5"),
        ("a == 'open", "column 6: a field, a value or an operator expected, got '"),
        ("id == " + "9" * 5000, "column 7: a field, a value or an operator expected, got 9"),
        ("a # b", "column 3: a field, a value or an operator expected, got #"),
        ("(" * 5000, "column 11: at most 10 levels"),
        ("not " * 5000 + "a", "column 41: at most 10 levels"),
    ],
    ids=lambda value: value[:30],
)
def test_text_that_cannot_be_read_is_refused_with_its_place(text: str, complaint: str) -> None:
    with pytest.raises(errors.ParameterError) as caught:
        parse_filter(text)

    assert complaint in str(caught.value)


names = st.sampled_from(["id", "status", "opstatus", "paused", "android", "order", "nothing", "x_1"])
literals = st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.text()


def comparisons() -> st.SearchStrategy[list[Any]]:
    return st.tuples(st.sampled_from(["==", "=", "!=", "<", "<=", ">", ">=", "=~", "=[]"]), names, literals).map(
        list
    ) | st.tuples(st.just("?"), names).map(list)


def trees() -> st.SearchStrategy[list[Any]]:
    return st.recursive(
        comparisons(),
        lambda inner: (
            st.tuples(st.sampled_from("|&"), inner, inner).map(list) | st.tuples(st.just("!"), inner).map(list)
        ),
        max_leaves=5,
    )


def write(qfilter: list[Any]) -> str:
    """Writes a filter as text, with more parentheses than needed."""
    match qfilter:
        case [("|" | "&") as symbol, *operands]:
            return f" {'or' if symbol == '|' else 'and'} ".join(f"({write(operand)})" for operand in operands)
        case ["!", operand]:
            return f"not ({write(operand)})"
        case ["?", name]:
            return str(name)
        case ["=[]", name, value]:
            return f"{write_literal(value)} in {name}"
        case [symbol, name, value]:
            return f"{name} {symbol} {write_literal(value)}"
    raise AssertionError(qfilter)


def write_literal(value: object) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def depth(qfilter: list[Any]) -> int:
    return 1 + max((depth(part) for part in qfilter[1:] if qfilter[0] in "|&!" and isinstance(part, list)), default=0)


@given(trees().filter(lambda tree: depth(tree) <= 5))
def test_what_is_written_is_read_back(qfilter: list[Any]) -> None:
    assert parse_filter(write(qfilter)) == qfilter


@given(st.text(st.sampled_from("ab1 '\"\\()=!<>~&|-.") | st.characters()))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        result = parse_filter(text)
    except errors.ParameterError:
        return
    assert isinstance(result, list)


def test_a_search_that_would_run_for_ever_is_given_up() -> None:
    predicate = compile_filter(["=~", "name", "^(a|aa)+$"])
    with pytest.raises(errors.OpPrereqError, match="takes too long"):
        predicate({"name": "a" * 200 + "!"}.__getitem__)
