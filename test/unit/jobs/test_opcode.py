"""One stored opcode: what a new one looks like, and that its stored form loses nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jqueue.jobs.opcode import _QueuedOpCode, split_timestamp

KEYS = {"input", "status", "result", "log", "priority", "start_timestamp", "exec_timestamp", "end_timestamp"}
MANDATORY: dict[str, Any] = {"input": {"OP_ID": "OP_UNHEARD_OF"}, "status": "running", "result": None, "log": []}


class Described:
    def to_dict(self) -> dict[str, Any]:
        return {"OP_ID": "OP_TEST_DUMMY", "priority": -10}


def test_a_new_opcode_is_queued_and_empty() -> None:
    op = _QueuedOpCode({"OP_ID": "OP_TEST_DELAY", "duration": 1.0})

    assert (op.status, op.result, op.log, op.priority) == ("queued", None, [], 0)
    assert (op.start_timestamp, op.exec_timestamp, op.end_timestamp) == (None, None, None)
    assert (op.outcome, op.attempt, op.saved, op.held) == (None, 0, None, None)


@pytest.mark.parametrize(("given", "expected"), [({}, 0), ({"priority": None}, 0), ({"priority": 7}, 7)])
def test_the_priority_comes_from_the_input(given: dict[str, Any], expected: int) -> None:
    assert _QueuedOpCode({"OP_ID": "OP_X", **given}).priority == expected


def test_an_opcode_object_is_taken_by_its_dict() -> None:
    op = _QueuedOpCode(Described())

    assert op.input == {"OP_ID": "OP_TEST_DUMMY", "priority": -10}
    assert op.priority == -10


def test_the_input_is_a_copy() -> None:
    given = {"OP_ID": "OP_X"}
    op = _QueuedOpCode(given)
    given["OP_ID"] = "OP_Y"

    assert op.input == {"OP_ID": "OP_X"}


def test_serialize_gives_exactly_the_eight_keys_ready_for_json() -> None:
    op = _QueuedOpCode({"OP_ID": "OP_X"})
    op.start_timestamp = (5, 6)
    op.add_log((1, (7, 8), "message", "half way"))
    state = op.Serialize()

    assert set(state) == KEYS
    assert state["start_timestamp"] == [5, 6]
    assert state["end_timestamp"] is None
    assert state["log"] == [[1, [7, 8], "message", "half way"]]
    assert json.loads(json.dumps(state)) == state


def test_restore_makes_the_same_opcode() -> None:
    op = _QueuedOpCode({"OP_ID": "OP_X"})
    op.end_timestamp = (1, 2)
    op.outcome, op.attempt, op.saved, op.held = ["success", 4], 3, {"step": 1}, {"node": {"n1": "shared"}}
    op.add_log((1, (7, 8), "message", "x"))
    again = _QueuedOpCode.Restore(op.Serialize(), op.serialize_extra())

    assert again.Serialize() == op.Serialize()
    assert (again.outcome, again.attempt, again.saved) == (["success", 4], 3, {"step": 1})
    assert again.held == {"node": {"n1": "shared"}}
    assert again.end_timestamp == (1, 2)
    assert again.log == op.log


def test_restore_needs_only_the_mandatory_keys() -> None:
    op = _QueuedOpCode.Restore(MANDATORY)

    assert (op.priority, op.start_timestamp, op.exec_timestamp, op.end_timestamp) == (0, None, None, None)
    assert op.serialize_extra() == {}


@pytest.mark.parametrize("key", sorted(MANDATORY))
def test_restore_misses_a_mandatory_key(key: str) -> None:
    state = {name: value for name, value in MANDATORY.items() if name != key}

    with pytest.raises(KeyError, match=key):
        _QueuedOpCode.Restore(state)


def test_a_log_entry_added_to_a_copy_is_not_seen_by_the_original() -> None:
    op = _QueuedOpCode({"OP_ID": "OP_X"})
    op.add_log((1, (7, 8), "message", "both"))
    copy = op.copy()
    copy.add_log((2, (7, 9), "message", "copy only"))

    assert [entry[0] for entry in op.log] == [1]
    assert [entry[0] for entry in copy.log] == [1, 2]


def test_a_copy_shares_the_values_and_not_the_attributes() -> None:
    op = _QueuedOpCode({"OP_ID": "OP_X"})
    copy = op.copy()
    copy.status, copy.attempt = "running", 1

    assert copy.input is op.input
    assert (op.status, op.attempt) == ("queued", 0)
    assert {name: getattr(op.copy(), name) for name in op.__slots__} == {n: getattr(op, n) for n in op.__slots__}


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.0, (0, 0)), (1.5, (1, 500_000)), (2.9999999, (3, 0)), (1700000000.25, (1700000000, 250_000))],
)
def test_a_time_is_split_into_whole_microseconds(seconds: float, expected: tuple[int, int]) -> None:
    assert split_timestamp(seconds) == expected


def test_the_repr_names_opcode_and_status() -> None:
    assert repr(_QueuedOpCode({"OP_ID": "OP_X"})).startswith("<_QueuedOpCode OP_X status=queued")
