"""What an opcode ended with, as a job can hold it."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from jqueue.errors import OpExecError, OpPrereqError
from jqueue.jobs.opcode import Outcome
from jqueue.sched import outcome


@pytest.mark.parametrize("value", (math.nan, b"bytes", "x" * (1 << 20)))
def test_a_result_that_cannot_be_stored_is_an_error(value: object) -> None:
    kind, [name, [text, _code]] = outcome.success(value)
    assert (kind, name) == ("error", "OpExecError")
    assert text.startswith("The opcode's result ")


def test_a_result_is_a_copy() -> None:
    made = [1]
    ended = outcome.success(made)
    made.append(2)
    assert ended == ["success", [1]]


@pytest.mark.parametrize("end", (outcome.error, lambda problem: outcome.retry(problem, 5.0)))
def test_the_text_of_an_error_is_cut_at_64_kib_and_says_so(end: Callable[[Exception], Outcome]) -> None:
    name, [text, code] = end(OpPrereqError("ä" * 50_000))[1]
    assert (name, code) == ("OpPrereqError", "wrong_input")
    assert text == "ä" * 32_768 + " [cut: 100000 bytes]"
    assert end(OpExecError("x" * 65_536))[1][1][0] == "x" * 65_536


def test_a_character_is_not_cut_in_two() -> None:
    assert outcome.error(OpExecError("x" + "ä" * 50_000))[1][1][0] == "x" + "ä" * 32_767 + " [cut: 100001 bytes]"


def test_a_text_that_utf_8_cannot_hold_is_escaped() -> None:
    assert outcome.error(ValueError("a\udc80"))[1] == ["OpExecError", ["a\\udc80", "environment_error"]]
