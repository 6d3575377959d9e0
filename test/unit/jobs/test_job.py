"""A job: made, stored, cancelled, re-prioritised, in every status."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jqueue import errors
from jqueue.jobs import lifecycle, status
from jqueue.jobs.job import CANCELED_TEXT, EXTRA_DEFAULTS, EXTRA_KEY, Queue, _QueuedJob

OP = {"OP_ID": "OP_TEST_DELAY", "duration": 1.0}


class FakeQueue:
    """A clock that stands still, and an opinion on what can be stopped."""

    def __init__(self, stoppable: bool = False) -> None:
        self.now = 1700000000.25
        self.stoppable = stoppable

    def time(self) -> float:
        return self.now

    def is_stoppable(self, op: dict[str, Any]) -> bool:
        return self.stoppable and op["OP_ID"] == "OP_TEST_DELAY"


class OnlyAClock:
    def time(self) -> float:
        return 3.0


def job_with(*statuses: str, queue: Queue | None = None) -> _QueuedJob:
    job = _QueuedJob(queue or FakeQueue(), 42, [OP] * len(statuses))
    for op, op_status in zip(job.ops, statuses, strict=True):
        op.status = op_status
    return job


def statuses_of(job: _QueuedJob) -> list[str]:
    return [op.status for op in job.ops]


# Making one


def test_a_new_job_is_queued_and_received_now() -> None:
    job = _QueuedJob(FakeQueue(), "42", [OP, OP])

    assert job.id == 42
    assert job.CalcStatus() == "queued"
    assert job.received_timestamp == (1700000000, 250000)
    assert (job.start_timestamp, job.end_timestamp) == (None, None)
    assert (job.writable, job.archived, job.log_serial, job.final) == (True, False, 0, False)
    assert {name: getattr(job, name) for name in EXTRA_DEFAULTS} == EXTRA_DEFAULTS


def test_a_job_without_a_queue_takes_the_time_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 12.5)

    assert _QueuedJob(None, 1, [OP]).received_timestamp == (12, 500000)


def test_a_job_without_opcodes_is_refused() -> None:
    with pytest.raises(errors.GenericError, match="at least one opcode"):
        _QueuedJob(None, 1, [])


def test_each_opcode_gets_an_entry_in_its_reason_trail() -> None:
    earlier = ["client", "nightly", 5]
    job = _QueuedJob(FakeQueue(), 42, [OP, {**OP, "reason": [earlier]}])

    entry = ["jqueue:opcode:test_delay", "job=42;index=0", 1700000000250000000]
    assert job.ops[0].input["reason"] == [entry]
    assert job.ops[1].input["reason"] == [earlier, [entry[0], "job=42;index=1", entry[2]]]


def test_the_callers_opcodes_are_left_as_they_are() -> None:
    trail = [["client", "nightly", 5]]
    given_op = {**OP, "reason": trail}
    _QueuedJob(None, 1, [given_op])

    assert given_op == {**OP, "reason": [["client", "nightly", 5]]}


# The stored form


def test_serialize_has_ganetis_keys_and_one_of_ours() -> None:
    job = _QueuedJob(FakeQueue(), 42, [OP])

    assert job.Serialize() == {
        "id": 42,
        "ops": [job.ops[0].Serialize()],
        "received_timestamp": [1700000000, 250000],
        "start_timestamp": None,
        "end_timestamp": None,
        EXTRA_KEY: {},
    }


timestamps = st.none() | st.tuples(st.integers(0, 2**40), st.integers(0, 999_999))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def jobs(draw: st.DrawFn) -> _QueuedJob:
    """Any job at all, also the combinations that the queue never makes."""
    count = draw(st.integers(1, 3))
    job = _QueuedJob(FakeQueue(), draw(st.integers(1, 2**40)), [OP] * count)
    for op in job.ops:
        op.status = draw(st.sampled_from(status.ALL))
        op.priority = draw(st.integers(-100, 100))
        op.result = draw(json_values)
        op.start_timestamp = draw(timestamps)
        op.exec_timestamp = draw(timestamps)
        op.end_timestamp = draw(timestamps)
        op.outcome = draw(st.none() | st.tuples(st.sampled_from(["success", "error"]), json_values).map(list))
        op.attempt = draw(st.integers(0, 5))
        op.saved = draw(st.none() | st.dictionaries(st.text(), json_values, max_size=2))
        op.progress = draw(st.none() | st.just([3, 4]))
        op.held = draw(st.none() | st.just({"node": {"n1": "shared", "n2": 2}}))
    job.start_timestamp = draw(timestamps)
    job.end_timestamp = draw(timestamps)
    job.name = draw(st.none() | st.text())
    job.phase = draw(st.sampled_from(["work", "waiting", "pending", "committing", "aborting", "done"]))
    job.paused = draw(st.booleans())
    job.speed = draw(st.none() | st.integers(0, 2**40))
    job.auto_finalize = draw(st.booleans())
    job.auto_dismiss = draw(st.booleans())
    job.group = draw(st.none() | st.text())
    job.owner = draw(st.none() | st.integers(0, 2**32))
    job.parent = draw(st.none() | st.text())
    job.log_serial = draw(st.integers(0, 1000))
    job.members = draw(st.none() | st.lists(st.integers(1, 2**40), min_size=2, max_size=2))
    job.completion = draw(st.sampled_from([None, "complete", "leave"]))
    return job


@given(jobs(), st.booleans(), st.booleans())
def test_restore_takes_every_job_back_through_json(job: _QueuedJob, writable: bool, archived: bool) -> None:
    state = job.Serialize()
    again = _QueuedJob.Restore(job.queue, json.loads(json.dumps(state)), writable, archived)

    assert again.Serialize() == state
    assert (again.writable, again.archived, again.queue) == (writable, archived, job.queue)
    assert again.received_timestamp == job.received_timestamp
    assert [op.outcome for op in again.ops] == [op.outcome for op in job.ops]
    assert {name: getattr(again, name) for name in EXTRA_DEFAULTS} == {n: getattr(job, n) for n in EXTRA_DEFAULTS}


@given(jobs())
def test_a_copy_is_equal_and_its_edit_does_not_reach_the_original(job: _QueuedJob) -> None:
    before = job.Serialize()
    copy = job.copy()
    assert {n: getattr(copy, n) for n in job.__slots__ if n != "ops"} == {
        n: getattr(job, n) for n in job.__slots__ if n != "ops"
    }
    assert copy.Serialize() == before

    for op in copy.ops:
        op.status, op.result, op.priority = "canceled", "edited", 19
    copy.name, copy.phase, copy.end_timestamp = "edited", "done", (1, 1)

    assert job.Serialize() == before


FOREIGN: dict[str, Any] = {
    "id": "7",
    "ops": [{"input": {"OP_ID": "OP_INSTANCE_STARTUP"}, "status": "success", "result": True, "log": []}],
}


def test_restore_takes_a_state_of_ganetis_mandatory_keys_alone() -> None:
    job = _QueuedJob.Restore(None, FOREIGN)

    assert job.id == 7
    assert (job.received_timestamp, job.start_timestamp, job.end_timestamp) == (None, None, None)
    assert job.CalcStatus() == "success"
    assert job.phase == lifecycle.PHASE_DONE
    assert {n: getattr(job, n) for n in EXTRA_DEFAULTS if n != "phase"} == {
        n: value for n, value in EXTRA_DEFAULTS.items() if n != "phase"
    }


def test_restore_ignores_keys_it_does_not_know() -> None:
    state = {**FOREIGN, "livelock": "/run/x", "process_id": 17, EXTRA_KEY: {"of_tomorrow": 1}}

    assert _QueuedJob.Restore(None, state).id == 7


@pytest.mark.parametrize("key", ["id", "ops"])
def test_restore_misses_a_mandatory_key(key: str) -> None:
    with pytest.raises(KeyError, match=key):
        _QueuedJob.Restore(None, {name: value for name, value in FOREIGN.items() if name != key})


def test_restore_finds_the_last_log_serial_in_the_logs() -> None:
    log = [[3, [1, 2], "message", "a"], [9, [1, 3], "message", "b"]]
    state = {"id": 1, "ops": [{**FOREIGN["ops"][0], "log": log}, FOREIGN["ops"][0]]}

    assert _QueuedJob.Restore(None, state).log_serial == 9


def test_restore_keeps_a_log_serial_that_is_ahead_of_the_logs() -> None:
    log = [[3, [1, 2], "message", "a"]]
    state = {"id": 1, "ops": [{**FOREIGN["ops"][0], "log": log}], EXTRA_KEY: {"log_serial": 40}}

    assert _QueuedJob.Restore(None, state).log_serial == 40


# Questions


def test_log_entries_come_opcode_by_opcode_and_only_the_new_ones() -> None:
    job = job_with("success", "running")
    job.ops[0].log = [(1, (5, 0), "message", "a"), (2, (5, 1), "message", "b")]
    job.ops[1].log = [(3, (6, 0), "message", "c")]

    assert [entry[0] for entry in job.GetLogEntries(None)] == [1, 2, 3]
    assert job.GetLogEntries(1) == [(2, (5, 1), "message", "b"), (3, (6, 0), "message", "c")]
    assert job.GetLogEntries(3) == []


def test_info_comes_in_the_order_asked() -> None:
    assert job_with("success", "queued").GetInfo(["opstatus", "id", "status"]) == [["success", "queued"], 42, "queued"]


def test_an_unknown_field_is_refused_with_a_suggestion() -> None:
    with pytest.raises(errors.OpPrereqError, match="'opstats'; did you mean 'opstatus'") as caught:
        job_with("queued").GetInfo(["id", "opstats"])

    assert caught.value.code == errors.WRONG_INPUT


@pytest.mark.parametrize("one", status.ALL)
def test_a_job_is_final_exactly_in_the_three_final_states(one: str) -> None:
    assert job_with(one).final is (one in ("canceled", "success", "error"))


@pytest.mark.parametrize(
    ("auto_finalize", "members", "expected"),
    [(True, None, False), (False, None, True), (True, [1, 2], True), (False, [1, 2], True)],
)
def test_a_job_is_deferred_without_automatic_finalisation_or_in_a_group(
    auto_finalize: bool, members: list[int] | None, expected: bool
) -> None:
    job = job_with("queued")
    job.auto_finalize, job.members = auto_finalize, members

    assert job.deferred is expected


def test_the_repr_names_id_status_and_opcodes() -> None:
    text = repr(job_with("success", "running"))

    assert text.startswith("<_QueuedJob id=42 status=running ops=OP_TEST_DELAY,OP_TEST_DELAY at 0x")
    assert text.endswith(">")


# Changes


@pytest.mark.parametrize("statuses", list(itertools.product(status.ALL, repeat=2)), ids="-".join)
def test_unfinished_opcodes_are_marked_and_finished_ones_stay(statuses: tuple[str, str]) -> None:
    job = job_with(*statuses)
    final = [one in status.FINALIZED for one in statuses]

    if final == [False, True]:
        with pytest.raises(AssertionError, match="job 42"):
            job.MarkUnfinishedOps("error", "why")
        return
    job.MarkUnfinishedOps("error", "why")

    assert statuses_of(job) == [one if done else "error" for one, done in zip(statuses, final, strict=True)]
    assert [op.result for op in job.ops] == [None if done else "why" for done in final]


def test_finalize_sets_the_end_of_the_job_alone() -> None:
    job = job_with("success")
    job.Finalize()

    assert job.end_timestamp == (1700000000, 250000)
    assert job.phase == lifecycle.PHASE_DONE
    assert job.ops[0].end_timestamp is None


def test_a_job_that_has_ended_is_not_paused() -> None:
    job = _QueuedJob(None, 1, [{"OP_ID": "OP_TEST_DELAY"}])
    job.paused = True
    job.Finalize()
    assert not job.paused


NOT_WAITING = "Job 42 is no longer waiting in the queue"


@pytest.mark.parametrize(
    ("before", "after", "answer"),
    [
        (["queued", "queued"], ["canceled", "canceled"], (True, "Job 42 canceled")),
        (["success", "queued"], ["success", "canceled"], (True, "Job 42 canceled")),
        (["waiting", "queued"], ["canceling", "canceling"], (True, "Job 42 will be canceled")),
        (["success", "waiting"], ["success", "canceling"], (True, "Job 42 will be canceled")),
        (["running", "queued"], ["running", "queued"], (False, NOT_WAITING)),
        (["canceling", "canceling"], ["canceling", "canceling"], (False, NOT_WAITING)),
        (["canceled", "canceled"], ["canceled", "canceled"], (False, NOT_WAITING)),
        (["success", "success"], ["success", "success"], (False, NOT_WAITING)),
        (["success", "error"], ["success", "error"], (False, NOT_WAITING)),
    ],
)
def test_cancel_in_every_status(before: list[str], after: list[str], answer: tuple[bool, str]) -> None:
    job = job_with(*before)

    assert job.Cancel() == answer
    assert statuses_of(job) == after


def test_a_queued_job_ends_with_its_cancel() -> None:
    job = job_with("success", "queued")
    job.ops[0].result = "kept"
    job.Cancel()

    assert [op.result for op in job.ops] == ["kept", CANCELED_TEXT]
    assert (job.end_timestamp, job.phase, job.final) == ((1700000000, 250000), "done", True)
    assert [(op.start_timestamp, op.end_timestamp) for op in job.ops] == [(None, None), (None, None)]


def test_a_waiting_job_is_ended_by_somebody_else_after_its_cancel() -> None:
    job = job_with("waiting", "queued")
    job.Cancel()

    assert (job.end_timestamp, job.phase, job.final) == (None, "work", False)
    assert [op.result for op in job.ops] == [None, None]


def test_a_running_opcode_that_can_be_stopped_becomes_canceling_and_the_rest_stays_queued() -> None:
    job = job_with("success", "running", "queued", queue=FakeQueue(stoppable=True))

    assert job.Cancel() == (True, "Job 42 will be canceled")
    assert statuses_of(job) == ["success", "canceling", "queued"]


def test_a_running_opcode_is_not_stopped_when_nobody_knows_whether_it_can_be() -> None:
    for queue in (None, OnlyAClock()):
        job = _QueuedJob(queue, 42, [OP])
        job.ops[0].status = "running"

        assert job.Cancel() == (False, NOT_WAITING)


@pytest.mark.parametrize(
    ("phase", "stoppable", "accepted"),
    [
        ("work", False, False),
        ("work", True, True),
        ("waiting", False, True),
        ("pending", False, True),
        ("committing", True, False),
        ("aborting", True, False),
    ],
)
def test_a_cancel_beats_a_success_not_yet_decided_and_no_decision(phase: str, stoppable: bool, accepted: bool) -> None:
    job = job_with("success", "running", queue=FakeQueue(stoppable))
    job.phase = phase

    assert job.Cancel()[0] is accepted
    assert job.CalcStatus() == ("canceling" if accepted else "running")


@pytest.mark.parametrize(
    ("before", "changed", "answer"),
    [
        (
            ["queued", "queued"],
            [True, True],
            (True, "Priorities of pending opcodes for job 42 have been changed to -3"),
        ),
        (
            ["success", "waiting"],
            [False, True],
            (True, "Priorities of pending opcodes for job 42 have been changed to -3"),
        ),
        (
            ["running", "queued"],
            [False, True],
            (True, "Priorities of pending opcodes for job 42 have been changed to -3"),
        ),
        (["success", "running"], [False, False], (False, "Job 42 had no pending opcodes")),
        (["canceling", "canceling"], [False, False], (False, "Job 42 is cancelling")),
        (["success", "success"], [False, False], (False, "Job 42 is finished")),
        (["success", "error"], [False, False], (False, "Job 42 is finished")),
        (["canceled", "canceled"], [False, False], (False, "Job 42 is finished")),
    ],
)
def test_change_priority_in_every_status(before: list[str], changed: list[bool], answer: tuple[bool, str]) -> None:
    job = job_with(*before)

    assert job.ChangePriority(-3) == answer
    assert [op.priority for op in job.ops] == [-3 if one else 0 for one in changed]
    assert [op.input.get("priority") for op in job.ops] == [None, None]


@pytest.mark.parametrize("second", ["running", "success"])
def test_a_pending_opcode_before_one_that_runs_or_has_ended_is_an_inconsistent_job(second: str) -> None:
    with pytest.raises(AssertionError, match="job 42"):
        job_with("queued", second).ChangePriority(5)


def test_the_priority_of_a_job_is_that_of_its_unfinished_opcodes() -> None:
    job = job_with("success", "queued", "queued")
    job.ops[0].priority, job.ops[1].priority, job.ops[2].priority = -20, 5, -3

    assert job.CalcPriority() == -3
