"""What is read out of a recorded session: cases, jobs, how they went, and what is done and awaited in which order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .recorded import case, error, event, made, note, ok, recording, send, status, statuses
from .replay import script, story
from .replay.differences import Difference
from .replay.equivalent import OPCODE, submission
from .replay.recording import Recording
from .replay.rows import LAUNCH, Row, cases
from .replay.script import Script
from .replay.story import Event, Heard, Pause

NOTES = Path("/notes")
END = [send("quit"), ok(), Row(0, "eof", "A"), Row(0, "exit")]
DONE = ("waiting", "pending", "BLOCK_JOB_COMPLETED", "concluded")
CANCELED = ("aborting", "BLOCK_JOB_CANCELLED", "concluded")
GROUPED = {"completion-mode": "grouped"}


def names(read: Recording, number: int = 0) -> list[str]:
    return [each.event.name for each in read.jobs[number].story()]


def operation(read: Recording, number: int = 0) -> dict[str, Any]:
    """The opcode that is submitted for a job."""
    exchange = next(each for each in read.exchanges if read.jobs[number] in each.makes)
    _, arguments = submission(read, exchange, NOTES)
    jobs = arguments.get("jobs", [arguments])
    (op,) = jobs[list(exchange.makes).index(read.jobs[number])]["ops"]
    assert op.pop("OP_ID") == OPCODE
    found: dict[str, Any] = op
    return found


def kinds(played: Script) -> list[str]:
    return [type(step).__name__ for step in played.steps]


# Cases


def test_each_process_is_a_case_and_is_called_by_its_title() -> None:
    rows = [
        *(note(), note("first things"), *END),
        *(note("==== second"), note(), *END),
        *(note(), note("a note"), note("==== third"), *END),
    ]
    assert [each.name for each in cases(rows)] == ["first things", "second", "third"]


def test_a_process_that_is_followed_by_another_without_an_end_is_a_case() -> None:
    rows = [note(), note("one"), send("query-jobs"), note(), note("two"), send("query-jobs")]
    assert [each.name for each in cases(rows)] == ["one", "two"]
    assert [each.text for each in cases(rows)[1].rows][:1] == [LAUNCH]


# Pauses that nobody asked for


def test_a_pause_that_nobody_asked_for_is_taken_out() -> None:
    read = recording(made("b"), statuses("b", "paused", "running", "paused", "running", *DONE))
    assert names(read) == ["created", "running", *DONE]
    ready = recording(made("m"), statuses("m", "ready", "standby", "ready", *CANCELED))
    assert names(ready) == ["created", "running", "ready", *CANCELED]


def test_a_pause_of_the_user_stays() -> None:
    pause = [send("job-pause", id="b"), status("b", "paused"), ok()]
    resume = [send("job-resume", id="b"), status("b", "running"), ok()]
    read = recording(made("b"), pause, resume, statuses("b", "paused", "running"), END)
    assert names(read) == ["created", "running", "paused", "running"]


def test_a_pause_that_is_refused_is_none() -> None:
    read = recording(made("b"), send("job-pause", id="b"), statuses("b", "paused", "running"), error("no"))
    assert names(read) == ["created", "running"]


def test_a_pause_of_the_user_in_one_of_qemu_begins_with_the_users() -> None:
    flicker = [Heard(1, Event("running")), Heard(2, Event("paused")), Heard(9, Event("running"))]
    assert story.steady(flicker, [Pause(5)])[1] == (5, Event("paused"))


def test_a_pause_that_is_not_over_is_left_out_only_if_nobody_asked_for_it() -> None:
    open_end = [Heard(1, Event("running")), Heard(2, Event("paused"))]
    assert story.steady(open_end, []) == open_end[:1]
    assert story.steady(open_end, [Pause(0)]) == open_end


def test_a_pause_that_ends_in_no_way_of_qemus_is_to_be_seen() -> None:
    wrong = [Heard(1, Event("paused")), Heard(2, Event("aborting"))]
    assert story.steady(wrong, []) == wrong


# Our job for one of QEMU's


def test_a_job_that_goes_through_at_once_is_not_held() -> None:
    assert operation(recording(made("b"), statuses("b", *DONE))) == {"chunk_size": 1, "speed": 0}


def test_a_job_during_which_something_is_asked_is_held() -> None:
    asked = [send("query-jobs"), ok([])]
    read = recording(made("b"), asked, statuses("b", *DONE))
    assert operation(read)["pay_last"] is True
    assert operation(read)["speed"] > 0
    limited = recording(made("b", speed=1048576), asked, statuses("b", *DONE))
    assert operation(limited)["speed"] == 1048576


def test_a_job_that_is_held_is_let_go_where_it_went_on() -> None:
    read = recording(made("b"), send("query-jobs"), ok([]), statuses("b", *DONE), END)
    released = next(step for step in Script(read).steps if isinstance(step, script.Release))
    assert released.row == read.jobs[0].story()[2].when


def test_a_job_that_is_cancelled_is_held_and_never_let_go() -> None:
    read = recording(made("b"), send("job-cancel", id="b"), statuses("b", *CANCELED), ok(), END)
    assert operation(read)["pay_last"] is True
    assert "Release" not in kinds(Script(read))


def test_a_job_that_does_not_notice_a_command_is_busy() -> None:
    unnoticed = [send("job-pause", id="b"), ok(), send("query-jobs"), ok([]), status("b", "paused")]
    op = operation(recording(made("b"), unnoticed))
    assert op["busy"] > 0 and op["notes"] == str(NOTES)
    noticed = [send("job-pause", id="b"), status("b", "paused"), ok(), send("query-jobs"), ok([])]
    assert "busy" not in operation(recording(made("b"), noticed))


@pytest.mark.parametrize("command, words", [("blockdev-mirror", ()), ("block-commit", ("ready",))])
def test_a_mirror_converges_and_whatever_is_seen_to(command: str, words: tuple[str, ...]) -> None:
    assert operation(recording(made("j", command), statuses("j", *words)))["converges"] is True
    assert "converges" not in operation(recording(made("j", "block-stream"), statuses("j", *DONE)))


def test_a_job_fails_where_it_failed() -> None:
    failed = [status("j", "aborting"), event("BLOCK_JOB_COMPLETED", device="j", error="No space"), *END]
    assert operation(recording(made("j"), failed))["fails"] == ["exec"]
    late = recording(made("j", auto_finalize=False), statuses("j", "waiting", "pending"), failed)
    assert operation(late)["fails"] == ["prepare"]
    mirror = operation(recording(made("j", "blockdev-mirror"), failed))
    assert mirror["fails"] == ["exec"] and "converges" not in mirror
    created = recording(made("c", "blockdev-create"), statuses("c", "aborting", "concluded"), END)
    assert operation(created)["fails"] == ["exec"]


def test_flags_are_qemus_defaults_and_what_was_given() -> None:
    def flags(read: Recording) -> tuple[object, object]:
        _, arguments = submission(read, read.exchanges[0], NOTES)
        return arguments["auto-finalize"], arguments["auto-dismiss"]

    assert flags(recording(made("b"))) == (True, True)
    assert flags(recording(made("c", "blockdev-create"))) == (True, False)
    assert flags(recording(made("b", auto_finalize=False, auto_dismiss=False))) == (False, False)


def transaction(*jobs: str, **properties: Any) -> Row:
    actions = [{"type": "blockdev-backup", "data": {"job-id": job, "auto-finalize": False}} for job in jobs]
    return send("transaction", actions=[*actions, {"type": "block-dirty-bitmap-add", "data": {}}], **properties)


def test_a_grouped_transaction_is_a_group_and_another_is_none() -> None:
    begun = [*statuses("a", "created"), *statuses("b", "created"), ok()]
    read = recording(transaction("a", "b", properties=GROUPED), begun)
    command, arguments = submission(read, read.exchanges[0], NOTES)
    assert command == "__org.jqueue_submit-many" and arguments["group"] is True
    assert [job["auto_finalize"] for job in arguments["jobs"]] == [False, False]
    _, arguments = submission(read := recording(transaction("a", "b"), begun), read.exchanges[0], NOTES)
    assert "group" not in arguments


def test_a_job_that_fails_while_another_waits_is_held_until_then() -> None:
    failed = [status("b", "aborting"), event("BLOCK_JOB_COMPLETED", device="b", error="No space")]
    begun = [*statuses("a", "created", "running"), *statuses("b", "created", "running"), ok()]
    read = recording(transaction("a", "b", properties=GROUPED), begun, statuses("a", "waiting"), failed, END)
    assert "pay_last" not in operation(read, 0)
    assert operation(read, 1)["pay_last"] is True and operation(read, 1)["fails"] == ["exec"]


def test_a_transaction_that_was_rolled_back_is_refused_and_its_jobs_were_never_there() -> None:
    rolled_back = statuses("a", "created", "aborting", "concluded", "null")
    read = recording(transaction("a", "b", properties=GROUPED), rolled_back, error("no such device"), END)
    _, arguments = submission(read, read.exchanges[0], NOTES)
    assert arguments["jobs"][-1]["ops"][0]["OP_ID"] != OPCODE
    assert Script(read).expected(read.jobs[0], "A") == []


def test_a_name_that_is_used_again_is_another_job() -> None:
    first = [*made("b"), *statuses("b", *DONE, "null")]
    read = recording(first, made("b"), statuses("b", *CANCELED), send("job-dismiss", id="b"), error("no"))
    assert [names(read, number)[-1] for number in (0, 1)] == ["null", "concluded"]
    assert read.exchanges[-1].target is read.jobs[1]


# What is done in which order


@pytest.mark.parametrize(
    "exchange, reason",
    [
        ([send("blockdev-add", node_name="x"), ok()], Difference.DEVICES),
        ([send("transaction", actions=[]), ok()], Difference.NO_JOBS),
        ([send("blockdev-backup", job_id="0"), error("Invalid job ID '0'")], Difference.OWN_IDS),
        ([send("blockdev-backup", job_id="b"), error("Job ID 'b' already in use")], Difference.OWN_IDS),
        ([send("blockdev-create"), error("Parameter 'speed' is unexpected")], Difference.CREATION_ARGUMENTS),
        ([send("blockdev-backup", job_id="b"), error("Cannot find device=''")], Difference.DEVICES),
        ([*made("c", "blockdev-create"), send("block-job-pause", device="c"), error("no")], Difference),
        ([send("block-job-pause", device="x"), error("no")], None),
        ([send("block-foo"), error("The command block-foo has not been found", "CommandNotFound")], None),
    ],
)
def test_what_has_no_counterpart_is_left_out_and_why_is_known(exchange: list[Row], reason: Any) -> None:
    left_out = Script(recording(exchange)).left_out
    if reason is Difference:
        assert list(left_out.values()) == [Difference.CREATE_IS_NO_BLOCK_JOB]
    else:
        assert list(left_out.values()) == ([] if reason is None else [reason])


def test_what_changes_nothing_is_sent_when_all_that_it_saw_has_happened() -> None:
    seen = [send("job-complete", id="m"), *statuses("m", "waiting", "pending"), error("in state 'pending'")]
    read = recording(
        made("m", "blockdev-mirror"), statuses("m", "ready"), send("job-complete", id="m"), ok(), seen, END
    )
    sends = [step for step in Script(read).steps if isinstance(step, script.Send)]
    assert sends[2].row == read.exchanges[2].replies[0].number
    assert sends[1].row == read.exchanges[1].row.number


def test_a_client_that_leaves_is_told_from_one_that_is_sent_away() -> None:
    rows = [Row(0, "greeting", "A"), Row(0, "greeting", "B"), Row(0, "eof", "B")]
    assert kinds(Script(recording(rows, END))) == ["Connect", "Connect", "Leave", "Send", "Reply", "Ended", "Exit"]


def test_a_signal_is_sent_where_it_shows_and_what_follows_is_not_expected() -> None:
    shutdown = event("SHUTDOWN", guest=False, reason="host-signal")
    rest = [shutdown, *statuses("b", *CANCELED), Row(0, "eof", "A"), Row(0, "exit")]
    played = Script(recording(Row(0, "greeting", "A"), made("b"), rest))
    assert kinds(played)[-3:] == ["Signal", "Ended", "Exit"]
    assert [each.event.name for each in played.expected(played.recording.jobs[0], "A")] == ["created", "running"]


def test_where_qemu_crashed_the_answer_and_the_failure_are_expected() -> None:
    crash = [status("j", "aborting"), Row(0, "eof", "A"), Row(0, "exit", status=-11)]
    pending = [*made("j", auto_finalize=False), *statuses("j", "waiting", "pending")]
    read = recording(Row(0, "greeting", "A"), pending, send("job-finalize", id="j"), crash)
    played = Script(read)
    assert kinds(played) == ["Connect", "Send", "Reply", "Send", "Reply"]
    last = played.steps[-1]
    assert isinstance(last, script.Reply) and not last.judged
    expected = [str(each.event) for each in played.expected(read.jobs[0], "A")]
    assert expected[4:] == ["aborting", "BLOCK_JOB_COMPLETED with the error 'some error'", "concluded"]
    assert operation(read)["fails"] == ["prepare"]


def test_a_job_that_ends_well_in_its_last_io_at_the_end_is_cancelled_here() -> None:
    rest = [send("quit"), *statuses("b", *DONE, "null"), ok(), Row(0, "eof", "A"), Row(0, "exit")]
    played = Script(recording(made("b"), send("query-jobs"), ok([]), rest))
    (job,) = played.recording.jobs
    assert [each.event.name for each in played.expected(job, "A")][2:] == [*CANCELED, "null"]
    assert "Release" not in kinds(played)


def test_an_io_error_at_which_qemu_pauses_is_a_pause_of_the_player() -> None:
    stopped = [event("BLOCK_JOB_ERROR", device="b", operation="read", action="stop"), status("b", "paused")]
    resumed = [send("job-resume", id="b"), status("b", "running"), ok()]
    read = recording(made("b"), stopped, send("job-pause", id="b"), error("Job is already paused"), resumed, END)
    assert names(read) == ["created", "running", "paused", "running"]
    assert kinds(Script(read))[2] == "PauseForError"


def test_every_difference_is_looked_at_somewhere() -> None:
    sources = [path for path in Path(script.__file__).parent.glob("*.py") if path.name != "differences.py"]
    text = "".join(path.read_text() for path in sources)
    assert [each.name for each in Difference if each.name not in text] == []


def test_the_made_up_rows_are_numbered() -> None:
    assert [each.number for each in case(note(), made("b")).rows] == [1, 2, 3, 4, 5]
