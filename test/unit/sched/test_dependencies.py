"""Dependencies between jobs."""

from __future__ import annotations

import pytest

from jqueue.errors import OpPrereqError
from jqueue.sched.dependencies import UNKNOWN, Dependencies, Unknown, Verdict, resolve_relative


class Table:
    """The queue: statuses by job id; 900 and up are in the archive, if anywhere."""

    def __init__(self, **statuses: str) -> None:
        self.statuses = {int(name[1:]): status for name, status in statuses.items()}

    def status_of(self, job_id: int) -> str | Unknown | None:
        return UNKNOWN if job_id >= 900 else self.statuses.get(job_id)


@pytest.mark.parametrize(
    ("status", "accepted", "verdict"),
    [
        ("queued", [], Verdict.WAIT),
        ("waiting", ["success"], Verdict.WAIT),
        ("canceling", ["canceled"], Verdict.WAIT),
        ("running", ["error"], Verdict.WAIT),
        ("success", [], Verdict.CONTINUE),
        ("error", [], Verdict.CONTINUE),
        ("canceled", [], Verdict.CANCEL),
        ("canceled", ["success"], Verdict.CANCEL),
        ("canceled", ["success", "canceled"], Verdict.CONTINUE),
        ("success", ["success"], Verdict.CONTINUE),
        ("success", ["error"], Verdict.WRONGSTATUS),
        ("error", ["success", "canceled"], Verdict.WRONGSTATUS),
        ("error", ["error"], Verdict.CONTINUE),
    ],
)
def test_the_status_of_the_dependency_decides(status: str, accepted: list[str], verdict: Verdict) -> None:
    dependencies = Dependencies(Table(j1=status).status_of)
    assert dependencies.check(2, [[1, accepted]]).verdict is verdict
    assert dependencies.waiters() == ({1: [2]} if verdict is Verdict.WAIT else {})


def test_a_job_that_depends_on_itself_fails_whatever_its_status() -> None:
    result = Dependencies(Table(j2="waiting").status_of).check(2, [[2, []]])
    assert result.verdict is Verdict.ERROR
    assert "itself" in result.text


def test_a_job_that_is_nowhere_is_an_error_that_names_it() -> None:
    result = Dependencies(Table().status_of).check(2, [[1, []]])
    assert result.verdict is Verdict.ERROR
    assert "job 1," in result.text


def test_the_wrong_status_is_explained() -> None:
    result = Dependencies(Table(j1="error").status_of).check(2, [[1, ["success", "canceled"]]])
    assert result.text == "Job 2 depends on job 1 to end in success or canceled, but that ended in error"


def test_no_dependencies_at_all_let_the_job_go_on() -> None:
    assert Dependencies(Table().status_of).check(2, []).verdict is Verdict.CONTINUE


def test_dependencies_are_judged_in_order_and_the_first_that_is_in_the_way_counts() -> None:
    dependencies = Dependencies(Table(j1="success", j2="running", j3="canceled").status_of)
    result = dependencies.check(9, [[1, []], [2, []], [3, []]])
    assert (result.verdict, result.dep_id) == (Verdict.WAIT, 2)


def test_ids_given_as_text_are_understood() -> None:
    assert Dependencies(Table(j1="success").status_of).check(2, [["1", None]]).verdict is Verdict.CONTINUE


@pytest.mark.parametrize(
    ("archived", "verdict"),
    [
        ("success", Verdict.CONTINUE),
        ("error", Verdict.WRONGSTATUS),
        ("canceled", Verdict.CANCEL),
        (None, Verdict.ERROR),
    ],
)
def test_a_job_that_the_queue_does_not_know_is_looked_up_in_the_archive(archived: str | None, verdict: Verdict) -> None:
    dependencies = Dependencies(Table().status_of)
    result = dependencies.check(2, [[901, ["success"]]])
    assert (result.verdict, result.dep_id) == (Verdict.LOOKUP, 901)
    assert dependencies.waiters() == {}
    assert dependencies.check(2, [[901, ["success"]]], {901: archived}).verdict is verdict


def test_the_end_of_a_job_gives_its_waiters_once_and_in_order() -> None:
    dependencies = Dependencies(Table(j1="running", j2="running").status_of)
    for job_id in (7, 5, 6):
        dependencies.check(job_id, [[1, []]])
    dependencies.check(8, [[2, []]])
    assert dependencies.finished(1) == [7, 5, 6]
    assert dependencies.finished(1) == []
    assert dependencies.waiters() == {2: [8]}


def test_a_forgotten_job_is_not_woken_and_leaves_nothing_behind() -> None:
    dependencies = Dependencies(Table(j1="running").status_of)
    dependencies.check(2, [[1, []]])
    dependencies.check(3, [[1, []]])
    dependencies.forget(2)
    dependencies.forget(2)
    assert dependencies.waiters() == {1: [3]}
    dependencies.forget(3)
    assert dependencies.waiters() == {}


def test_a_job_that_is_checked_again_waits_for_the_next_dependency_only() -> None:
    table = Table(j1="running", j2="queued")
    dependencies = Dependencies(table.status_of)
    dependencies.check(3, [[1, []], [2, []]])
    table.statuses[1] = "success"
    dependencies.check(3, [[1, []], [2, []]])
    assert dependencies.waiters() == {2: [3]}


def test_relative_ids_count_back_from_the_job_in_its_submission() -> None:
    assert resolve_relative([[-1, ["success"]], [-3, None], [4, []]], [10, 11, 12]) == [
        [12, ["success"]],
        [10, []],
        [4, []],
    ]
    assert resolve_relative(None, None) == []


@pytest.mark.parametrize(
    ("dep_id", "earlier", "text"),
    [
        (-1, None, "only jobs submitted together"),
        (-1, [], "out of range, this is job 1"),
        (-3, [10, 11], "-3 is out of range, this is job 3"),
        (-1, [10, None], "refused"),
        (0, [10], "0 is no job id"),
    ],
)
def test_an_id_that_means_no_job_is_refused(dep_id: int, earlier: list[int | None] | None, text: str) -> None:
    with pytest.raises(OpPrereqError, match=text):
        resolve_relative([[dep_id, []]], earlier)
