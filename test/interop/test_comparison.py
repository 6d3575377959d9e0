"""The judge of replayed sessions: what is not as recorded is told, and where; what may differ is not."""

from __future__ import annotations

from typing import Any

import pytest

from .recorded import error, event, made, ok, recording, send, statuses
from .replay import comparison
from .replay.comparison import Judge
from .replay.recording import Recording
from .replay.rows import Row
from .replay.story import CANCELED, Event, Heard

COMMANDS = ["job-pause", "query-jobs", "query-block-jobs", "query-version", "query-commands", "block-job-set-speed"]


def heard(*events: str | Event) -> list[Heard]:
    """Gives events, the first at row 10, the next at 11."""
    return [Heard(row, Event(each) if isinstance(each, str) else each) for row, each in enumerate(events, 10)]


def judged(read: Recording, got: dict[str, Any]) -> str | None:
    """Judges an answer to the last command of a recording; its jobs are job1, job2 here."""
    judge = Judge({job: f"job{number}" for number, job in enumerate(read.jobs, 1)}, COMMANDS)
    last = read.exchanges[-1]
    return judge.reply(last, last.replies[0].message, got)


# Events


def test_the_same_events_are_right() -> None:
    events = heard("created", "running", "waiting", "pending", "BLOCK_JOB_COMPLETED", "concluded")
    assert comparison.heard(events, events, complete=True) is None


def test_another_status_is_told_with_its_row() -> None:
    problem = comparison.heard(
        heard("created", "running", "paused"), heard("created", "running", "ready"), complete=False
    )
    assert problem == (12, "paused expected, got ready")


def test_a_missing_event_is_told_with_its_row() -> None:
    expected, got = heard("pending", "BLOCK_JOB_PENDING", "concluded"), heard("pending", "concluded")
    assert comparison.heard(expected, got, complete=False) == (11, "BLOCK_JOB_PENDING expected, got concluded")


def test_an_event_that_does_not_come_is_told_with_its_row() -> None:
    expected, got = heard("created", "running", "waiting"), heard("created", "running")
    assert comparison.heard(expected, got, complete=False) is None
    assert comparison.heard(expected, got, complete=True) == (12, "waiting expected, nothing more came")


def test_one_event_too_many_is_told_with_the_row_of_the_last() -> None:
    expected, got = heard("created", "running"), heard("created", "running", "paused", "running")
    assert comparison.heard(expected, got, complete=False) is None
    assert comparison.heard(expected, got, complete=True) == (11, "nothing more expected, got paused, running")


@pytest.mark.parametrize(
    "recorded, got, right",
    [
        (None, None, True),
        ("No space left on device", "it was told to fail", True),
        (CANCELED, CANCELED, True),
        (None, "it failed", False),
        ("No space left on device", None, False),
        (CANCELED, "it failed", False),
        ("No space left on device", CANCELED, False),
    ],
)
def test_of_errors_only_the_one_of_a_cancelled_job_has_to_be_the_same(
    recorded: str | None, got: str | None, right: bool
) -> None:
    name = "BLOCK_JOB_COMPLETED"
    problem = comparison.heard(heard(Event(name, recorded)), heard(Event(name, got)), complete=True)
    assert (problem is None) is right


STAMP = {"seconds": 1, "microseconds": 2}


@pytest.mark.parametrize(
    "name, data, right",
    [
        ("JOB_STATUS_CHANGE", {"id": "job1", "status": "running"}, True),
        ("JOB_STATUS_CHANGE", {"id": "job1", "status": "running", "error": "no"}, False),
        ("BLOCK_JOB_PENDING", {"id": "job1", "type": "x"}, True),
        ("BLOCK_JOB_PENDING", {"device": "job1", "type": "x"}, False),
        ("BLOCK_JOB_READY", {"device": "job1", "type": "x", "len": 1, "offset": 1, "speed": 0}, True),
        ("BLOCK_JOB_READY", {"device": "job1", "type": "x", "len": 1, "offset": 1}, False),
        (
            "BLOCK_JOB_COMPLETED",
            {"device": "job1", "type": "x", "len": 1, "offset": 1, "speed": 0, "error": "no"},
            True,
        ),
        ("SHUTDOWN", {"guest": False, "reason": "host-signal"}, True),
        ("SHUTDOWN", {}, False),
    ],
)
def test_an_event_has_the_members_of_qemus(name: str, data: dict[str, object], right: bool) -> None:
    assert (comparison.form({"event": name, "data": data, "timestamp": STAMP}) is None) is right


def test_an_event_has_a_time() -> None:
    data = {"id": "job1", "status": "running"}
    assert comparison.form({"event": "JOB_STATUS_CHANGE", "data": data}) is not None


# Answers


def refusal(text: str, error_class: str = "GenericError") -> dict[str, Any]:
    return {"error": {"class": error_class, "desc": text}}


def test_a_wrong_text_of_an_error_is_told() -> None:
    read = recording(made("j"), send("job-pause", id="j"), error("Job is already paused"))
    assert judged(read, refusal("Job is already paused")) is None
    complaint = judged(read, refusal("Job already paused"))
    assert complaint is not None and "Job already paused" in complaint


def test_a_wrong_class_of_an_error_is_told() -> None:
    read = recording(send("job-pause", id="j"), error("Block job 'j' not found", "DeviceNotActive"))
    assert judged(read, refusal("Block job 'j' not found", "DeviceNotActive")) is None
    assert judged(read, refusal("Block job 'j' not found")) is not None


def test_success_for_an_error_is_told_and_the_other_way_round() -> None:
    assert judged(recording(send("job-pause"), error("no")), {"return": {}}) is not None
    assert judged(recording(send("job-pause"), ok()), refusal("no")) is not None


@pytest.mark.parametrize(
    "text, ours",
    [
        (
            "Job 'running' in state 'running' cannot accept command verb 'complete'",
            "Job 'job1' in state 'running' cannot accept command verb 'complete'",
        ),
        (
            "The block job for device 'running' is currently paused",
            "The block job for device 'job1' is currently paused",
        ),
        ("Block job 'running' not found", "Block job 'job1' not found"),
        ("Block job 'other' not found", "Block job 'other' not found"),
    ],
)
def test_names_of_jobs_in_errors_are_ours(text: str, ours: str) -> None:
    read = recording(made("running"), send("job-pause", id="running"), error(text))
    assert judged(read, refusal(ours)) is None


def answered(identity: object) -> Recording:
    return recording(send("job-pause"), Row(0, "reply", "A", {"return": {}, "id": identity}))


@pytest.mark.parametrize("identity", [1, 1.5, True, None, "x", {"a": [1]}, ""])
def test_an_id_comes_back_as_it_was(identity: object) -> None:
    read = answered(identity)
    assert judged(read, {"return": {}, "id": identity}) is None
    assert judged(read, {"return": {}, "id": "another"}) is not None
    assert judged(read, {"return": {}}) is not None


def test_true_is_not_one() -> None:
    assert judged(answered(True), {"return": {}, "id": 1}) is not None


def test_a_command_that_we_do_not_have_is_not_found() -> None:
    read = recording(send("migrate-pause"), error("there is no migration"))
    assert judged(read, refusal("The command migrate-pause has not been found", "CommandNotFound")) is None
    assert judged(read, refusal("there is no migration")) is not None


def test_of_a_submission_only_counts_whether_it_is_taken() -> None:
    taken = recording(made("j"))
    assert judged(taken, {"return": {"id": "job1"}}) is None
    assert judged(taken, refusal("no")) is not None
    refused = recording(send("blockdev-backup", job_id="j", speed=-1), statuses("j", "created", "null"), error("no"))
    assert judged(refused, refusal("ops[0].speed: 0 or more expected")) is None
    assert judged(refused, {"return": {"id": "job1"}}) is not None


# Lists of jobs


def row(name: str, **members: object) -> dict[str, Any]:
    dashed = {member.replace("_", "-"): value for member, value in members.items()}
    return {"id": name, "type": "backup", "status": "running", "current-progress": 1, "total-progress": 2, **dashed}


def block_row(name: str, **members: object) -> dict[str, Any]:
    plain: dict[str, Any] = row(name, ready=False, paused=False, speed=0, auto_finalize=True, auto_dismiss=True)
    del plain["id"]
    return {**plain, "device": name, **members}


def test_jobs_are_compared_by_our_ids_and_not_by_progress_and_type() -> None:
    read = recording(made("a"), made("b"), send("query-jobs"), ok([row("b"), row("a", status="paused")]))
    assert judged(read, {"return": [row("job2", type="x", current_progress=7), row("job1", status="paused")]}) is None


@pytest.mark.parametrize(
    "ours",
    [
        [row("job1"), row("job2")],
        [row("job2")],
        [row("job2"), row("job1"), row("job3")],
        [row("job2"), row("job1", status="ready")],
        [row("job2"), row("job1", error="no")],
        [row("job2"), {"id": "job1", "status": "running"}],
    ],
)
def test_another_list_of_jobs_is_told(ours: list[dict[str, Any]]) -> None:
    read = recording(made("a"), made("b"), send("query-jobs"), ok([row("b"), row("a")]))
    assert judged(read, {"return": ours}) is not None


def test_a_create_job_is_no_block_job_for_qemu() -> None:
    read = recording(made("c", "blockdev-create"), send("query-block-jobs"), ok([]))
    assert judged(read, {"return": [block_row("job1")]}) is None


@pytest.mark.parametrize("member, other", [("ready", True), ("auto-finalize", False), ("auto-dismiss", False)])
def test_flags_of_a_block_job_are_compared(member: str, other: bool) -> None:
    read = recording(made("j"), send("query-block-jobs"), ok([block_row("j")]))
    assert judged(read, {"return": [block_row("job1")]}) is None
    assert judged(read, {"return": [block_row("job1", **{member: other})]}) is not None


def test_a_pause_of_the_user_is_compared_and_one_of_qemu_is_not() -> None:
    query = [send("query-block-jobs"), ok([block_row("j", paused=True)])]
    assert judged(recording(made("j"), query), {"return": [block_row("job1")]}) is None
    users = recording(made("j"), send("job-pause", id="j"), ok(), query)
    assert judged(users, {"return": [block_row("job1")]}) is not None
    assert judged(users, {"return": [block_row("job1", paused=True)]}) is None


def test_a_pause_that_nobody_asked_for_is_told() -> None:
    read = recording(made("j"), send("query-block-jobs"), ok([block_row("j")]))
    assert judged(read, {"return": [block_row("job1", paused=True)]}) is not None


def test_a_speed_is_compared_once_it_is_set() -> None:
    query = [send("query-block-jobs"), ok([block_row("j", speed=65536)])]
    assert judged(recording(made("j"), query), {"return": [block_row("job1", speed=1)]}) is None
    was_set = recording(made("j"), send("block-job-set-speed", device="j", speed=65536), ok(), query)
    assert judged(was_set, {"return": [block_row("job1", speed=1)]}) is not None
    assert judged(was_set, {"return": [block_row("job1", speed=65536)]}) is None


# What only has a form


def test_our_version_has_the_form_of_qemus() -> None:
    read = recording(send("query-version"), ok({"qemu": {"major": 7, "minor": 2, "micro": 22}, "package": "x"}))
    assert judged(read, {"return": {"qemu": {"major": 0, "minor": 1, "micro": 0}, "package": "jqueue"}}) is None
    assert judged(read, {"return": {"qemu": {"major": 0, "minor": 1}, "package": "jqueue"}}) is not None
    assert judged(read, {"return": "0.1"}) is not None


def test_qemus_commands_for_jobs_have_to_be_there() -> None:
    theirs = [{"name": name} for name in ("job-pause", "block-job-change", "query-jobs", "screendump")]
    read = recording(send("query-commands"), ok(theirs))
    assert judged(read, {"return": [{"name": "query-jobs"}, {"name": "job-pause"}]}) is None
    assert judged(read, {"return": [{"name": "query-jobs"}]}) == "these commands are missing: job-pause"


@pytest.mark.parametrize(
    "message",
    [{}, {"QMP": {}}, {"QMP": {"version": {"qemu": {}}, "capabilities": []}}, {"return": {}}],
)
def test_what_is_no_greeting_is_told(message: dict[str, Any]) -> None:
    assert comparison.greeting(message) is not None


def test_an_event_of_another_kind_is_not_looked_at() -> None:
    read = recording(made("j"), event("DEVICE_DELETED", device="x"))
    assert [each.event.name for each in read.jobs[0].story()] == ["created", "running"]
