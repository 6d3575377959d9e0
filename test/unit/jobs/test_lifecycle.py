"""The lifecycle tables, and the lifecycle of jobs in every situation."""

from __future__ import annotations

import itertools

import pytest

from jqueue import errors
from jqueue.jobs import lifecycle, status
from jqueue.jobs.job import _QueuedJob

LEGAL = """
undefined>created created>running created>aborting created>null running>paused running>ready running>waiting
running>aborting paused>running ready>standby ready>waiting ready>aborting standby>ready waiting>pending
waiting>aborting pending>aborting pending>concluded aborting>aborting aborting>concluded concluded>null
"""
ACTIVE = {"created", "running", "paused", "ready", "standby"}
VERBS = {
    "cancel": ACTIVE | {"waiting", "pending"},
    "pause": ACTIVE,
    "resume": ACTIVE,
    "set-speed": ACTIVE,
    "complete": {"ready", "standby"},
    "finalize": {"pending"},
    "dismiss": {"concluded"},
}
PHASES = ("work", "waiting", "pending", "committing", "aborting", "done")


def job_with(*statuses: str, phase: str = "work", has_run: bool | None = None) -> _QueuedJob:
    job = _QueuedJob(None, 42, [{"OP_ID": "OP_X"}] * len(statuses))
    job.phase = phase
    for op, op_status in zip(job.ops, statuses, strict=True):
        op.status = op_status
        if has_run or (has_run is None and op_status in ("running", "success", "error")):
            op.exec_timestamp = (5, 0)
    return job


def test_the_transitions_are_qemus() -> None:
    pairs = {f"{before}>{after}" for before, followers in lifecycle.TRANSITIONS.items() for after in followers}

    assert pairs == set(LEGAL.split())
    assert set(lifecycle.TRANSITIONS) == {"undefined", *lifecycle.STATES}


def test_the_verbs_are_qemus() -> None:
    assert {verb: set(states) for verb, states in lifecycle.VERBS.items()} == VERBS


@pytest.mark.parametrize(("verb", "state"), list(itertools.product(VERBS, lifecycle.STATES)))
def test_a_verb_is_checked_against_the_table(verb: str, state: str) -> None:
    if state in VERBS[verb]:
        lifecycle.check_verb(state, verb, "job42")
        return
    with pytest.raises(errors.OpPrereqError) as caught:
        lifecycle.check_verb(state, verb, "job42")

    assert str(caught.value) == f"Job 'job42' in state '{state}' cannot accept command verb '{verb}'"
    assert caught.value.code == errors.WRONG_STATE


def test_a_refused_verb_needs_no_name_of_the_job() -> None:
    with pytest.raises(errors.OpPrereqError, match="^Job in state 'null' cannot accept command verb 'cancel'$"):
        lifecycle.check_verb("null", "cancel")


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        (job_with("queued", "queued"), "created"),
        (job_with("waiting", "queued"), "created"),
        (job_with("canceling", "canceling"), "aborting"),
        (job_with("running", "queued"), "running"),
        (job_with("running", "queued", has_run=False), "running"),
        (job_with("success", "queued"), "running"),
        (job_with("success", "waiting"), "running"),
        (job_with("canceling", "queued", has_run=True), "running"),
        (job_with("queued", has_run=True), "running"),
        (job_with("running", phase="waiting"), "waiting"),
        (job_with("running", phase="pending"), "pending"),
        (job_with("running", "queued", phase="committing"), "running"),
        (job_with("success", "running", phase="committing"), "pending"),
        (job_with("running", phase="aborting"), "aborting"),
        (job_with("canceling", phase="aborting"), "aborting"),
        (job_with("success", "success", phase="done"), "concluded"),
        (job_with("success", "error", phase="done"), "concluded"),
        (job_with("canceled", phase="done"), "concluded"),
        (job_with("error"), "concluded"),
    ],
    ids=lambda value: (
        "-".join([*(op.status for op in value.ops), value.phase]) if not isinstance(value, str) else value
    ),
)
def test_the_lifecycle_of_each_situation(job: _QueuedJob, expected: str) -> None:
    assert lifecycle.lifecycle(job) == expected


def test_an_archived_job_is_null() -> None:
    job = job_with("success", phase="done")
    job.archived = True

    assert lifecycle.lifecycle(job) == "null"


def test_a_deferred_job_that_commits_its_first_opcode_is_pending() -> None:
    job = job_with("running", "success", phase="committing")
    job.auto_finalize = False

    assert lifecycle.lifecycle(job) == "pending"


@pytest.mark.parametrize(("outcome", "expected"), [("retry", "running"), ("error", "aborting")])
def test_the_undo_before_another_attempt_is_not_the_end(outcome: str, expected: str) -> None:
    job = job_with("running", "queued", phase="aborting")
    job.ops[0].outcome = [outcome, ["OpExecError", ["text", "code"]]]

    assert lifecycle.lifecycle(job) == expected


@pytest.mark.parametrize(
    ("statuses", "paused_now", "ready", "expected"),
    [
        (["running"], True, False, "paused"),
        (["running"], False, True, "ready"),
        (["running"], True, True, "standby"),
        (["canceling"], True, False, "running"),
        (["canceling"], True, True, "ready"),
    ],
)
def test_what_only_the_daemon_knows_refines_running(
    statuses: list[str], paused_now: bool, ready: bool, expected: str
) -> None:
    job = job_with(*statuses, has_run=True)

    assert lifecycle.lifecycle(job, paused_now=paused_now, ready=ready) == expected


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (["queued", "queued"], "created"),
        (["waiting", "queued"], "created"),
        (["success", "queued"], "paused"),
        (["success", "waiting"], "paused"),
        (["running", "queued"], "running"),
    ],
)
def test_the_pause_bit_alone_stops_a_job_only_between_opcodes(statuses: list[str], expected: str) -> None:
    job = job_with(*statuses)
    job.paused = True

    assert lifecycle.lifecycle(job) == expected


def test_every_combination_has_a_lifecycle_and_the_final_ones_agree_with_the_status() -> None:
    for pair, phase, paused, ready in itertools.product(
        itertools.product(status.ALL, repeat=2), PHASES, (False, True), (False, True)
    ):
        job = job_with(*pair, phase=phase)
        state = lifecycle.lifecycle(job, paused_now=paused, ready=ready)

        assert state in lifecycle.STATES
        assert (state == "concluded") is (job.final or phase == "done")
