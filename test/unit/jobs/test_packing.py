"""Packed jobs and updates lose nothing, whatever a job holds."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jqueue import errors
from jqueue.jobs import packing, status
from jqueue.jobs.job import EXTRA_DEFAULTS, _QueuedJob

OP = {"OP_ID": "OP_TEST_DELAY", "duration": 1.0}
OP_PLAIN = ("priority", "status", "attempt", "start_timestamp", "exec_timestamp", "end_timestamp")
OP_VALUES = ("input", "result", "outcome", "saved", "held", "progress")
JOB_TIMES = ("received_timestamp", "start_timestamp", "end_timestamp")

timestamps = st.none() | st.tuples(st.integers(0, 2**40), st.integers(0, 999_999))
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**200), 2**200)
    | st.floats(allow_nan=False)
    | st.text(st.characters())  # lone surrogates, too: JSON can carry them
    | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(0, 2**60), inner, max_size=3),
    max_leaves=6,
)


def facts(job: _QueuedJob) -> dict[str, Any]:
    """All that a packed job keeps; values by their repr, because True equals 1 and is not the same."""
    names = (*JOB_TIMES, *EXTRA_DEFAULTS)
    return {
        "job": {name: repr(getattr(job, name)) for name in names},
        "ops": [{name: repr(getattr(op, name)) for name in (*OP_PLAIN, *OP_VALUES)} for op in job.ops],
    }


def edit(draw: st.DrawFn, job: _QueuedJob) -> None:
    """Changes any part of a job, or nothing."""
    for name in draw(st.sets(st.sampled_from(JOB_TIMES))):
        setattr(job, name, draw(timestamps))
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "phase": st.sampled_from(["work", "waiting", "done"]),
        "paused": st.booleans(),
        "auto_finalize": st.booleans(),
        "auto_dismiss": st.booleans(),
        "speed": st.integers(0, 2**60),
        "owner": st.none() | st.integers(0, 2**32),
        "log_serial": st.integers(0, 2**40),
        "members": st.none() | st.lists(st.integers(1, 2**40), min_size=2, max_size=2),
    }
    for name in draw(st.sets(st.sampled_from(sorted(EXTRA_DEFAULTS)))):
        setattr(job, name, draw(kinds.get(name, st.none() | st.text())))
    for op in job.ops:
        for name in draw(st.sets(st.sampled_from(OP_PLAIN))):
            if name == "status":
                op.status = draw(st.sampled_from(status.ALL))
            else:
                setattr(op, name, draw(timestamps if name.endswith("timestamp") else st.integers(-1000, 1000)))
        for name in draw(st.sets(st.sampled_from(OP_VALUES))):
            setattr(op, name, draw(values))


@st.composite
def jobs(draw: st.DrawFn) -> _QueuedJob:
    job = _QueuedJob(None, draw(st.integers(1, 2**40)), [OP] * draw(st.integers(1, 3)))
    edit(draw, job)
    return job


@st.composite
def versions(draw: st.DrawFn) -> tuple[_QueuedJob, _QueuedJob]:
    before = draw(jobs())
    after = before.copy()
    edit(draw, after)
    return before, after


@given(jobs())
def test_a_job_comes_back_from_its_packed_form(job: _QueuedJob) -> None:
    again = packing.unpack(None, job.id, packing.pack(job))

    assert facts(again) == facts(job)
    assert (again.id, again.queue, again.writable, again.archived) == (job.id, None, True, False)
    assert [op.log for op in again.ops] == [[] for _ in job.ops]


@given(jobs())
def test_a_peek_tells_what_the_whole_job_would(job: _QueuedJob) -> None:
    assert packing.peek(packing.pack(job)) == (job.received_timestamp, job.CalcStatus(), job.CalcPriority())


@given(versions())
def test_an_update_turns_the_earlier_version_into_the_later_one(pair: tuple[_QueuedJob, _QueuedJob]) -> None:
    before, after = pair
    update = packing.diff(before, after)
    replayed = packing.unpack(None, before.id, packing.pack(before))
    packing.apply_update(replayed, update)

    assert facts(replayed) == facts(after)
    packing.apply_update(replayed, update)
    assert facts(replayed) == facts(after)


@given(versions())
def test_updates_in_a_row_replay_to_the_last_version(pair: tuple[_QueuedJob, _QueuedJob]) -> None:
    before, after = pair
    there, back = packing.diff(before, after), packing.diff(after, before)
    replayed = packing.unpack(None, before.id, packing.pack(before))
    packing.apply_update(replayed, there)
    packing.apply_update(replayed, back)

    assert facts(replayed) == facts(before)


def test_no_change_is_an_empty_update_that_changes_nothing() -> None:
    job = _QueuedJob(None, 1, [OP])
    update = packing.diff(job, job.copy())
    earlier = facts(job)
    packing.apply_update(job, update)

    assert update == b""
    assert facts(job) == earlier


def test_an_update_holds_only_what_changed() -> None:
    before = _QueuedJob(None, 1, [{"OP_ID": "OP_X", "text": "long " * 1000}, OP])
    after = before.copy()
    after.ops[1].status, after.ops[1].attempt = "running", 1
    after.paused = True

    # `paused` is number 5 of a job's attributes, `status` 2 and `attempt` 8 of an opcode's.
    assert msgpack.unpackb(packing.diff(before, after)) == [[5, True], [1, 2, 3, 8, 1]]


@pytest.mark.parametrize(("earlier", "later"), [(1, True), (0, False), (1, 1.0), (None, False), ([1], [True])])
def test_an_update_tells_apart_values_that_are_equal_in_python(earlier: object, later: object) -> None:
    before = _QueuedJob(None, 1, [OP])
    before.ops[0].result = earlier
    after = before.copy()
    after.ops[0].result = later
    packing.apply_update(before, packing.diff(before, after))

    assert repr(before.ops[0].result) == repr(later)


def test_a_new_job_takes_little_more_than_its_input() -> None:
    job = _QueuedJob(None, 4711, [OP])
    input_size = len(msgpack.packb(job.ops[0].input))

    assert len(packing.pack(job)) == input_size + 1 + 9 + 1 + 1


def test_the_layout_is_the_documented_one() -> None:
    job = _QueuedJob(None, 1, [OP])
    job.received_timestamp, job.start_timestamp, job.end_timestamp = (1, 5), (2, 0), (3, 0)
    job.owner = 1000
    op = job.ops[0]
    op.priority, op.status, op.result = -10, "success", [1]
    op.start_timestamp, op.exec_timestamp, op.end_timestamp = (2, 0), (2, 1), (3, 0)
    op.outcome, op.attempt, op.saved, op.held = ["success", [1]], 1, {"a": 1}, {"node": {"n1": "shared"}}

    assert msgpack.unpackb(packing.pack(job)) == [
        1_000_005,
        [[op.input, -10, 5, [1], 2_000_000, 2_000_001, 3_000_000, op.outcome, 1, {"a": 1}, {"node": {"n1": "shared"}}]],
        {"owner": 1000},
        2_000_000,
        3_000_000,
    ]


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("value", [{1, 2}, object(), nested(2000)], ids=["set", "object", "too deep"])
def test_a_value_that_cannot_be_stored_is_an_error_that_names_the_job(value: object) -> None:
    before = _QueuedJob(None, 42, [OP])
    after = before.copy()
    after.ops[0].result = value

    with pytest.raises(errors.OpExecError, match="A value of job 42 cannot be stored"):
        packing.diff(before, after)
    with pytest.raises(errors.OpExecError, match="A value of job 42 cannot be stored"):
        packing.pack(after)
