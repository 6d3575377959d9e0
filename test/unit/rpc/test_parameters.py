"""Tests of `jqueue.rpc.parameters`."""

from __future__ import annotations

import pytest

from jqueue.errors import OpPrereqError
from jqueue.opcodes.kinds import Boolean, Kind, Text
from jqueue.rpc.parameters import MAX_IDS, AtLeast, Job, JobId, JobIds, Parameter, bind

ID = Parameter("id", JobId(), "the job")
KILL = Parameter("kill", Boolean(), "at once", False)
WHY = Parameter("why", Text(), "the reason", "")


def refusal(*arguments: object, parameters: tuple[Parameter, ...] = (ID, KILL, WHY)) -> str:
    with pytest.raises(OpPrereqError) as caught:
        bind("Cancel", parameters, arguments)
    return caught.value.text


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        ((7,), [7, False, ""]),
        (("7", True), [7, True, ""]),
        ((7, None, "disk"), [7, False, "disk"]),
        ((7, None, None), [7, False, ""]),
    ],
)
def test_arguments_get_their_values_and_the_rest_their_defaults(
    arguments: tuple[object, ...], values: list[object]
) -> None:
    assert bind("Cancel", (ID, KILL, WHY), arguments) == values


def test_a_wrong_number_of_arguments_is_refused_with_the_signature() -> None:
    assert refusal() == 'Cancel(id, kill=false, why="") takes 1 to 3 arguments, got 0'
    assert refusal(1, True, "", 4) == 'Cancel(id, kill=false, why="") takes 1 to 3 arguments, got 4'
    assert refusal(parameters=(ID,)) == "Cancel(id) takes 1 arguments, got 0"


def test_an_argument_of_the_wrong_type_is_refused_with_its_name() -> None:
    assert refusal(7, "yes") == 'Cancel: kill: true or false expected, got "yes"'
    assert refusal(None).startswith("Cancel: id: job id expected")


@pytest.mark.parametrize("value", [0, -1, True, 1.0, "", "x", "-1", "1.0", "²", "9" * 30, 2**63, None, [1], b"1"])
def test_what_is_no_job_id_is_refused(value: object) -> None:
    with pytest.raises(OpPrereqError, match="id: job id expected"):
        JobId().check(value, "id")


def test_job_ids_are_checked_one_by_one() -> None:
    assert JobIds().check([1, "2"], "ids") == [1, 2]
    with pytest.raises(OpPrereqError, match=r"ids\[1\]: job id expected"):
        JobIds().check([1, "two"], "ids")
    with pytest.raises(OpPrereqError, match="list of job ids expected, got 5"):
        JobIds().check(5, "ids")


def test_too_many_job_ids_are_refused() -> None:
    with pytest.raises(OpPrereqError, match="at most 100000 ids"):
        JobIds().check([1] * (MAX_IDS + 1), "ids")


def test_numbers_below_the_limit_are_refused() -> None:
    assert AtLeast(1).check(1, "limit") == 1
    with pytest.raises(OpPrereqError, match="limit: whole number from 1 expected, got 0"):
        AtLeast(1).check(0, "limit")


def test_a_job_is_a_list_or_a_map() -> None:
    assert Job().check([1], "ops") == [1]
    assert Job().check({"ops": []}, "ops") == {"ops": []}
    with pytest.raises(OpPrereqError, match='ops: list of opcodes, or map with the key ops expected, got "x"'):
        Job().check("x", "ops")


@pytest.mark.parametrize("kind", [JobId(), JobIds(), AtLeast(1), Job()])
def test_a_kind_fits_what_it_takes_and_not_a_boolean(kind: Kind) -> None:
    assert kind.fits([]) or kind.fits(1)
    assert not kind.fits(True)
