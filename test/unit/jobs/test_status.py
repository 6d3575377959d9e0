"""Status and priority of a job, case by case against the rules as written down."""

from __future__ import annotations

import itertools

import pytest

from jqueue.jobs import status

EVERY_PAIR_AND_TRIPLE = [case for length in (1, 2, 3) for case in itertools.product(sorted(status.ALL), repeat=length)]


def expected_status(statuses: tuple[str, ...]) -> str:
    """The rules, told the other way round: what each final word needs to be the answer."""
    if set(statuses) == {"success"}:
        return "success"
    ends = {word: statuses.index(word) for word in ("canceling", "error", "canceled") if word in statuses}
    if ends:
        return min(ends, key=lambda word: ends[word])
    active = [word for word in statuses if word in ("waiting", "running")]
    return active[-1] if active else "queued"


@pytest.mark.parametrize("statuses", EVERY_PAIR_AND_TRIPLE, ids="-".join)
def test_the_status_of_a_job_follows_from_its_opcodes(statuses: tuple[str, ...]) -> None:
    assert status.calc_status(statuses) == expected_status(statuses)


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (["success", "queued", "queued"], "queued"),
        (["success", "waiting", "queued"], "waiting"),
        (["running", "waiting"], "waiting"),
        (["success", "success"], "success"),
        (["success", "error", "error"], "error"),
        (["canceling", "error"], "canceling"),
        (["error", "canceling"], "error"),
        (["running", "canceled"], "canceled"),
        (["queued", "success"], "queued"),
    ],
)
def test_the_status_of_the_cases_that_matter(statuses: list[str], expected: str) -> None:
    assert status.calc_status(statuses) == expected


@pytest.mark.parametrize("second", status.ALL)
@pytest.mark.parametrize("first", status.ALL)
def test_the_priority_is_that_of_the_most_urgent_unfinished_opcode(first: str, second: str) -> None:
    unfinished = {"queued", "waiting", "canceling", "running"}
    expected = {
        (True, True): -5,
        (True, False): 7,
        (False, True): -5,
        (False, False): 0,
    }[first in unfinished, second in unfinished]

    assert status.calc_priority([(first, 7), (second, -5)]) == expected


def test_every_status_is_pending_running_or_final() -> None:
    assert sorted([*status.PENDING, status.RUNNING, *status.FINALIZED]) == sorted(status.ALL)


def test_the_order_of_the_states_is_the_one_that_packed_jobs_rely_on() -> None:
    assert status.ALL == ("queued", "waiting", "canceling", "running", "canceled", "success", "error")
