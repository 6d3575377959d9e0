"""Progress and errors of jobs in QEMU's words."""

from __future__ import annotations

import pytest

from jqueue.errors import OpExecError, encode
from jqueue.jobs import members
from jqueue.jobs.job import _QueuedJob


def job(*statuses: str) -> _QueuedJob:
    made = _QueuedJob(None, 1, [{"OP_ID": "OP_WORK"} for _ in statuses])
    for op, status in zip(made.ops, statuses, strict=True):
        op.status = status
    return made


@pytest.mark.parametrize(
    ("statuses", "share", "expected"),
    [
        (["queued"], None, (0, 100)),
        (["success", "queued"], None, (100, 200)),
        (["success", "running", "queued"], [1, 4, ""], (125, 300)),
        (["canceling", "queued"], [1, 2, ""], (50, 200)),
        (["running"], [9, 4, ""], (100, 100)),
        (["running"], [-1, 4, ""], (0, 100)),
        (["running"], [0, 0, ""], (0, 100)),
        (["running"], [1, None, ""], (0, 100)),
        (["success", "success"], [1, 4, ""], (200, 200)),
        (["success", "error", "error"], [1, 4, ""], (100, 300)),
    ],
)
def test_opcodes_that_are_done_count_whole_and_the_running_one_in_part(
    statuses: list[str], share: list[object] | None, expected: tuple[int, int]
) -> None:
    assert members.progress(job(*statuses), share) == expected


def test_code_that_has_ended_well_counts_before_its_end_is_published() -> None:
    committing = job("running")
    committing.ops[0].outcome = ["success", None]
    assert members.progress(committing, [1, 4, ""]) == (100, 100)


@pytest.mark.parametrize("statuses", [["queued"], ["running"], ["canceling"], ["success"]])
def test_a_job_that_was_successful_or_has_not_ended_has_no_error(statuses: list[str]) -> None:
    assert members.error(job(*statuses)) is None


def test_a_canceled_job_has_the_error_of_qemu() -> None:
    assert members.error(job("success", "canceled")) == "Operation canceled"


@pytest.mark.parametrize(("result", "text"), [(encode(OpExecError("it broke")), "it broke"), ("odd", "odd")])
def test_a_failed_job_has_the_text_of_the_first_error(result: object, text: str) -> None:
    failed = job("success", "error", "error")
    failed.ops[1].result = result
    assert members.error(failed) == text


def test_the_type_is_the_opcode_without_its_prefix() -> None:
    assert members.job_type("OP_TEST_DELAY") == "test_delay"
