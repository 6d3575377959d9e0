from __future__ import annotations

import datetime

import pytest

from jqueue.errors import OpPrereqError
from jqueue.opcodes.registry import default_registry

REGISTRY = default_registry()


def parse(**common: object) -> dict[str, object]:
    return REGISTRY.parse({"OP_ID": "OP_TEST_DUMMY", **common}).to_dict()


def refusal(**common: object) -> str:
    with pytest.raises(OpPrereqError) as caught:
        parse(**common)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("priority", -20, -20),
        ("priority", 19, 19),
        ("depends", [], []),
        (
            "depends",
            [["12", ["success"]], (-1, ("error", "canceled"))],
            [[12, ["success"]], [-1, ["error", "canceled"]]],
        ),
        ("depends", [[-1, None]], [[-1, []]]),
        ("comment", "why", "why"),
        ("reason", [["gnt:client", None, 1699999999000000000]], [["gnt:client", None, 1699999999000000000]]),
        ("dry_run", True, True),
        ("debug_level", 0, 0),
        ("timeout", 0.5, 0.5),
        ("retries", {"attempts": 3, "delay": 0, "factor": 1.5}, {"attempts": 3, "delay": 0, "factor": 1.5}),
        ("not_before", 1893456000, 1893456000.0),
        ("not_before", "2030-01-01T01:00:00+01:00", 1893456000.0),
        ("not_before", "2030-01-01T00:00:00Z", 1893456000.0),
        ("not_before", datetime.datetime(2030, 1, 1, tzinfo=datetime.timezone.utc), 1893456000.0),
        ("locks", {"resource": {"a": 2}, "node": "shared"}, {"resource": {"a": 2}, "node": {"*": "shared"}}),
    ],
)
def test_a_common_parameter_is_kept_in_one_form(name: str, value: object, kept: object) -> None:
    assert parse(**{name: value}) == {"OP_ID": "OP_TEST_DUMMY", name: kept}


@pytest.mark.parametrize("name", ["priority", "depends", "comment", "dry_run", "debug_level", "not_before", "locks"])
def test_null_means_not_given(name: str) -> None:
    assert parse(**{name: None}) == {"OP_ID": "OP_TEST_DUMMY"}


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("priority", 20, "ops[0].priority: -20 to 19 expected"),
        ("priority", True, "ops[0].priority: whole number expected, got true"),
        ("depends", 7, "ops[0].depends: list of [job id, [status, ...]] expected, got 7"),
        ("depends", [7], "ops[0].depends[0]: [job id, [status, ...]] expected, got 7"),
        ("depends", [[0, []]], "ops[0].depends[0][0]: job ids start at 1"),
        ("depends", [["x1", []]], 'ops[0].depends[0][0]: whole number expected, got "x1"'),
        ("depends", [[1, ["running"]]], "ops[0].depends[0][1][0]: one of"),
        ("reason", [["a", "b"]], "ops[0].reason[0]: [source, reason, nanoseconds] expected"),
        ("reason", [["a", "b", 1.5]], "ops[0].reason[0][2]: whole number expected, got 1.5"),
        ("debug_level", -1, "ops[0].debug_level: at least 0 expected"),
        ("timeout", 0, "ops[0].timeout: more than 0 seconds expected"),
        ("retries", {"attempts": 0}, "ops[0].retries: attempts must be at least 1, got 0"),
        ("retries", {"delay": -1}, "ops[0].retries: delay must be at least 0, got -1"),
        ("retries", {"factor": 0.5}, "ops[0].retries: factor must be at least 1, got 0.5"),
        ("retries", {"tries": 3}, "ops[0].retries.tries: unknown; known are attempts, delay, factor"),
        ("not_before", "tomorrow", "ops[0].not_before: time (seconds since the epoch"),
        ("not_before", "2030-01-01T00:00:00", "ops[0].not_before: the time 2030-01-01 00:00:00 has no zone"),
        ("not_before", float("nan"), "ops[0].not_before: finite number expected, got nan"),
        ("locks", {"fiel": {}}, "ops[0].locks.fiel: unknown lock level"),
    ],
)
def test_a_bad_common_parameter_is_refused_with_its_path(name: str, value: object, text: str) -> None:
    assert refusal(**{name: value}).startswith(text)
