"""What a follower promises, through the verbs that use it: each change and each line once, whatever the daemon does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from jqueue import errors

if TYPE_CHECKING:
    from test.unit.cli.conftest import Shell

FAILED = ["OpExecError", ["no space left", "environment_error"]]


LIFECYCLES = {"queued": "created", "waiting": "created", "canceling": "running", "running": "running"}


def job(job_id: int, status: str, **more: Any) -> dict[str, Any]:
    lifecycle = LIFECYCLES.get(status, "concluded")
    base: dict[str, Any] = {"name": None, "lifecycle": lifecycle, "priority": 0, "end_ts": None, "summary": ["A"]}
    return {"id": job_id, "status": status, "opstatus": [status], "opresult": [None], **base, **more}


def changed(job_id: int, status: str, **more: Any) -> tuple[str, list[Any]]:
    return "JobChanged", [job(job_id, status, **more)]


def line(serial: int, text: str) -> list[Any]:
    return [0, serial, [1_700_000_000 + serial, 250_000], "message", text]


def wrote(job_id: int, *lines: list[Any]) -> tuple[str, list[Any]]:
    return "JobLog", [job_id, list(lines)]


def test_log_lines_come_once_although_they_are_both_read_and_pushed(shell: Shell) -> None:
    entries = [line(1, "one"), line(2, "two")]
    shell.daemon.log(5, entries)
    shell.daemon.jobs(job(5, "running", log_serial=2))
    shell.daemon.pushed = [[wrote(5, line(2, "two"), line(3, "three")), changed(5, "success")]]
    result = shell("log", "-f", "-q", "5")
    assert result == (0, "one\ntwo\nthree\n", "")


def test_lines_written_just_before_the_end_are_read_back(shell: Shell) -> None:
    entries = [line(1, "one")]
    shell.daemon.log(5, entries)
    shell.daemon.jobs(job(5, "running", log_serial=1))

    def late() -> Any:
        entries.append(line(2, "last words"))
        yield changed(5, "success")

    shell.daemon.pushed = [late()]
    assert shell("log", "-f", "5").out == "one\nlast words\n"


def test_a_restart_of_the_daemon_costs_no_line_and_repeats_none(shell: Shell, gone: errors.DaemonUnreachable) -> None:
    entries = [line(1, "one")]
    shell.daemon.log(5, entries)
    shell.daemon.jobs(job(5, "running", log_serial=1))

    def crash() -> Any:
        entries.append(line(2, "two"))
        yield wrote(5, line(2, "two"))
        entries.append(line(3, "written while nobody listened"))
        shell.daemon.refuse = [gone, gone]
        raise gone

    shell.daemon.pushed = [[], crash(), [], [wrote(5, line(40, "after")), changed(5, "success")]]
    result = shell("log", "-f", "5")
    assert result.status == 0
    assert result.out == "one\ntwo\nwritten while nobody listened\nafter\n"
    assert result.err == "the daemon is gone; going on when it is back\nthe daemon is back\njob 5: success\n"
    assert shell.clock.slept == [0.1, 0.2, 0.4]


def test_a_daemon_that_was_never_there_is_not_waited_for(shell: Shell, gone: errors.DaemonUnreachable) -> None:
    shell.daemon.refuse = [gone]
    assert shell("watch", "5").status == 69
    assert shell.clock.slept == []


def test_changes_missed_during_a_restart_are_told_once(shell: Shell, gone: errors.DaemonUnreachable) -> None:
    shell.daemon.jobs(job(5, "running"), job(6, "queued"))

    def crash() -> Any:
        shell.daemon.jobs(job(5, "success"), job(6, "queued"))
        raise gone
        yield

    shell.daemon.pushed = [crash(), [changed(5, "success"), changed(6, "running"), changed(6, "success")]]
    lines = [json.loads(text) for text in shell("watch", "5,6", "--json").out.splitlines()]
    assert [(one["id"], one["status"]) for one in lines] == [
        (5, "running"),
        (6, "queued"),
        (5, "success"),
        (6, "running"),
        (6, "success"),
    ]


def test_watching_all_begins_with_what_is_unfinished_and_tells_new_jobs(shell: Shell) -> None:
    shell.daemon.jobs(job(2, "running"))
    shell.daemon.pushed = [[changed(3, "queued", name="new"), changed(2, "success")], KeyboardInterrupt()]
    result = shell("watch")
    assert result.status == 130
    assert [text.split()[1:] for text in result.out.splitlines()] == [
        ["2", "running", "A"],
        ["3", "queued", "new"],
        ["2", "success", "A"],
    ]


def test_watching_all_asks_for_the_results_of_new_failures_only(shell: Shell, gone: errors.DaemonUnreachable) -> None:
    asked: list[tuple[list[int] | None, bool]] = []

    def have(*jobs: dict[str, Any]) -> None:
        def query(ids: list[int] | None, fields: list[str], qfilter: object) -> list[list[Any]]:
            asked.append((ids, "opresult" in fields))
            found = [one for one in jobs if ids is None or one["id"] in ids]
            if qfilter is not None:
                found = [one for one in found if one["status"] not in ("success", "error", "canceled")]
            return [[one[field] for field in fields] for one in found]

        shell.daemon.answers["QueryJobs"] = query

    old, extra = job(1, "error", opresult=[FAILED]), {"start_ts": None}
    have(*({**one, **extra} for one in (old, job(2, "running"), job(3, "running"))))

    def crash() -> Any:
        ended = job(2, "success"), job(3, "error", opresult=[FAILED]), job(4, "canceled")
        have(*({**one, **extra} for one in (old, *ended, job(5, "queued"))))
        raise gone
        yield

    shell.daemon.pushed = [crash(), [changed(2, "success")], KeyboardInterrupt()]
    told = [json.loads(text) for text in shell("watch", "--json").out.splitlines()]
    assert [(one["id"], one["status"], one["error"]) for one in told] == [
        (2, "running", None),
        (3, "running", None),
        (5, "queued", None),
        (3, "error", "no space left"),
        (2, "success", None),
        (4, "canceled", None),
    ]
    assert asked == [(None, False), (None, True), (None, False), (None, True), ([3], True), ([2, 4], False)]


def test_interrupting_a_follow_says_that_the_job_goes_on(shell: Shell) -> None:
    shell.daemon.log(17, [])
    shell.daemon.jobs(job(17, "running", log_serial=0))
    shell.daemon.pushed = [KeyboardInterrupt()]
    assert shell("log", "-f", "17") == (130, "", "job 17 goes on; `jqueue cancel 17` stops it\n")


def test_interrupting_a_wait_for_several_names_those_that_go_on(shell: Shell) -> None:
    shell.daemon.jobs(job(1, "success"), job(2, "running"), job(3, "queued"))
    shell.daemon.pushed = [KeyboardInterrupt()]
    result = shell("wait", "1-3")
    assert result == (130, "1 success\n", "2 jobs go on; `jqueue cancel 2,3` stops them\n")


def test_submit_follow_shows_state_reason_log_progress_and_end(shell: Shell) -> None:
    shell.daemon.answers["SubmitManyJobs"] = [[True, 5]]
    shell.daemon.answers["ExplainJob"] = {
        "id": 5,
        "status": "waiting",
        "reasons": [{"kind": "lock", "text": "job 4 has it"}],
    }
    shell.daemon.log(5, [line(1, "hello")])
    shell.daemon.jobs(job(5, "waiting", progress=[42, 100, "copying"]))
    shell.daemon.pushed = [
        [changed(5, "running"), wrote(5, line(1, "hello"))],
        [changed(5, "error", opstatus=["error"], opresult=[FAILED])],
    ]
    result = shell("submit", "--follow", "-", stdin=b"ops: [{OP_ID: X}]")
    assert result.status == 1
    assert result.out == "hello\n"
    assert result.err == (
        "job 5 submitted\njob 5: waiting; job 4 has it\njob 5: running\n42% copying\njob 5: error: no space left\n"
    )


def test_submit_follow_of_several_says_whose_line_it_is(shell: Shell) -> None:
    shell.daemon.answers["SubmitManyJobs"] = [[True, 5], [True, 6]]
    shell.daemon.answers["QueryJobLog"] = lambda job_id, newer, limit: [] if newer else [line(1, f"from {job_id}")]
    shell.daemon.jobs(job(5, "success"), job(6, "canceled"))
    result = shell("submit", "--follow", "--print-id", "-", stdin=b"- ops: [{OP_ID: X}]\n- ops: [{OP_ID: X}]")
    assert result.status == 3
    assert result.out == "5\n6\n[5] from 5\n[6] from 6\n"
    assert result.err == "job 5: success\njob 6: canceled\n"


def test_submit_follow_in_json_is_one_document_a_line(shell: Shell) -> None:
    shell.daemon.answers["SubmitManyJobs"] = [[True, 5]]
    shell.daemon.log(5, [line(1, "hello")])
    shell.daemon.jobs(job(5, "running", progress=[1, 2, "x"]))
    shell.daemon.pushed = [
        [],
        [],
        [changed(5, "error", end_ts=[1_700_000_009, 0], opstatus=["error"], opresult=[FAILED])],
    ]
    result = shell("submit", "--json", "--follow", "-", stdin=b"ops: [{OP_ID: X}]")
    base = {"id": 5, "name": None, "priority": 0}
    assert [json.loads(text) for text in result.out.splitlines()] == [
        {"type": "submitted", "id": 5, "name": None, "error": None},
        {"type": "change", **base, "status": "running", "lifecycle": "running", "ended": None, "error": None},
        {
            "type": "log",
            "id": 5,
            "op": 0,
            "serial": 1,
            "time": "2023-11-14T22:13:21.250000+00:00",
            "kind": "message",
            "message": "hello",
        },
        {"type": "progress", "id": 5, "done": 1, "total": 2, "text": "x", "speed": 0},
        {
            "type": "change",
            **base,
            "status": "error",
            "lifecycle": "concluded",
            "ended": "2023-11-14T22:13:29.000000+00:00",
            "error": "no space left",
        },
    ]
    assert result.err == ""


def test_on_a_terminal_the_bar_is_redrawn_around_log_lines(shell: Shell) -> None:
    shell.daemon.log(5, [])
    shell.daemon.jobs(job(5, "running", log_serial=0, progress=[50, 100, "half"]))
    shell.daemon.pushed = [[], [wrote(5, line(1, "x")), changed(5, "success")]]
    result = shell("log", "-f", "5", tty=True)
    assert result.err == "\r\x1b[K[##########..........] 50% half\r\x1b[Kjob 5: success\n"


@pytest.mark.parametrize(
    ("statuses", "expected"), [(("success", "success"), 0), (("error", "canceled"), 1), (("success", "canceled"), 3)]
)
def test_wait_exits_with_what_became_of_the_jobs(shell: Shell, statuses: tuple[str, str], expected: int) -> None:
    shell.daemon.jobs(job(1, statuses[0]), job(2, statuses[1]))
    result = shell("wait", "1", "2")
    assert result.status == expected
    assert result.out == f"1 {statuses[0]}\n2 {statuses[1]}\n"


def test_wait_in_json_is_one_list_in_the_order_asked(shell: Shell) -> None:
    shell.daemon.jobs(job(1, "running"), job(2, "error", opresult=[FAILED], end_ts=[1_700_000_000, 0]))
    shell.daemon.pushed = [[changed(1, "success", end_ts=[1_700_000_001, 0])]]
    result = shell("wait", "1,2", "--json")
    assert result.status == 1
    assert json.loads(result.out) == [
        {"id": 1, "status": "success", "ended": "2023-11-14T22:13:21.000000+00:00", "error": None},
        {"id": 2, "status": "error", "ended": "2023-11-14T22:13:20.000000+00:00", "error": "no space left"},
    ]


def test_wait_gives_up_in_time_and_says_what_goes_on(shell: Shell) -> None:
    shell.daemon.jobs(job(1, "running"), job(2, "success"))
    shell.daemon.pushed = [[], []]
    result = shell("wait", "1,2", "--timeout", "1m10s")
    assert result.status == 124
    assert result.out == "2 success\n"
    assert result.err == "jqueue: the time to wait is over; still unfinished: 1; `jqueue why ID` says why\n"
    assert shell.clock.now == 1_700_000_070.0


def test_waiting_ends_in_time_also_while_the_daemon_is_away(shell: Shell, gone: errors.DaemonUnreachable) -> None:
    shell.daemon.jobs(job(1, "running"))
    shell.daemon.pushed = [gone]
    shell.daemon.refuse_after_first = gone
    assert shell("wait", "1", "--timeout", "5").status == 124


def test_following_a_job_that_is_not_there_is_an_error(shell: Shell) -> None:
    shell.daemon.jobs()
    for verb in (["wait", "7"], ["watch", "7"], ["log", "7"], ["log", "-f", "7"], ["info", "7"]):
        assert shell(*verb) == (
            1,
            "",
            "jqueue: there is no job 7, neither in the queue nor in the archive; `jqueue list` shows the ids\n",
        )


# The lifecycle


def ready(job_id: int, **more: Any) -> dict[str, Any]:
    return job(job_id, "running", lifecycle="ready", **more)


def pending(job_id: int, **more: Any) -> dict[str, Any]:
    return job(job_id, "running", lifecycle="pending", phase="pending", **more)


def test_a_change_of_the_lifecycle_alone_is_told(shell: Shell) -> None:
    shell.daemon.answers["SubmitManyJobs"] = [[True, 5]]
    shell.daemon.log(5, [])
    shell.daemon.jobs(job(5, "running"))
    paused = changed(5, "running", lifecycle="paused")
    shell.daemon.pushed = [[paused, paused, changed(5, "running"), changed(5, "success")]]
    result = shell("submit", "--follow", "-", stdin=b"ops: [{OP_ID: X}]")
    assert result.err.splitlines() == [
        "job 5 submitted",
        "job 5: running",
        "job 5: running (paused)",
        "job 5: running",
        "job 5: success",
    ]


def test_watch_shows_the_lifecycle_where_it_says_more_than_the_status(shell: Shell) -> None:
    shell.daemon.jobs(job(5, "running"), job(6, "running"))
    shell.daemon.pushed = [
        [
            changed(5, "running", lifecycle="paused"),
            changed(5, "running"),
            changed(5, "running", lifecycle="waiting"),
            changed(6, "running", lifecycle="aborting"),
            changed(5, "running", lifecycle="aborting"),
            changed(6, "error", opstatus=["error"], opresult=[FAILED]),
            changed(5, "canceled"),
        ]
    ]
    assert [line[10:] for line in shell("watch", "5,6").out.splitlines()] == [
        "     5  running   A",
        "     6  running   A",
        "     5  running (paused)  A",
        "     5  running   A",
        "     5  running (waiting for its group)  A",
        "     6  running (aborting)  A",
        "     5  running (aborting)  A",
        "     6  error: no space left  A",
        "     5  canceled  A",
    ]


@pytest.mark.parametrize("verb", [["wait"], ["log", "-f"], ["watch"]], ids=["wait", "log", "watch"])
def test_who_follows_a_job_that_is_ready_is_told_once_what_it_waits_for(shell: Shell, verb: list[str]) -> None:
    shell.daemon.log(5, [])
    shell.daemon.jobs(ready(5, log_serial=0))
    standby = changed(5, "running", lifecycle="standby")
    notes = [standby, ("JobChanged", [ready(5)]), changed(5, "success")]
    shell.daemon.pushed = [notes] if verb == ["wait"] else [[], notes]
    result = shell(*verb, "5")
    assert result.status == 0
    assert result.err.splitlines()[:1] == ["job 5 is ready: `jqueue complete 5` ends it"]
    assert result.err.count("jqueue complete") == 1


def test_a_job_that_becomes_ready_while_it_is_followed_is_waited_for(shell: Shell) -> None:
    shell.daemon.answers["SubmitManyJobs"] = [[True, 5]]
    shell.daemon.log(5, [])
    shell.daemon.jobs(job(5, "running"))

    def converge() -> Any:
        shell.daemon.jobs(ready(5))
        yield "JobChanged", [ready(5)]
        yield changed(5, "running", lifecycle="standby")
        yield "JobChanged", [ready(5)]
        shell.daemon.jobs(ready(5, completion="complete"))
        yield changed(5, "success")

    shell.daemon.pushed = [converge()]
    result = shell("submit", "--follow", "-", stdin=b"ops: [{OP_ID: X}]")
    assert result.status == 0
    assert result.err.splitlines() == [
        "job 5 submitted",
        "job 5: running",
        "job 5 is ready: `jqueue complete 5` ends it",
        "job 5: running (standby)",
        "job 5: running (ready)",
        "job 5: success",
    ]


def test_a_ready_job_that_was_told_to_end_waits_for_nobody(shell: Shell) -> None:
    shell.daemon.jobs(ready(5, completion="leave"))
    shell.daemon.pushed = [[changed(5, "success")]]
    assert shell("wait", "5") == (0, "5 success\n", "")


def test_a_pending_job_says_how_it_is_finalised_and_is_waited_for(shell: Shell) -> None:
    shell.daemon.jobs(pending(5))
    shell.daemon.pushed = [[changed(5, "success")]]
    assert shell("wait", "5") == (0, "5 success\n", "job 5 is pending: `jqueue finalize 5` ends it\n")
    assert shell.daemon.pushed == []


def test_a_pending_group_says_it_once_for_all_members(shell: Shell) -> None:
    shell.daemon.answers["SubmitManyJobs"] = [[True, 5], [True, 6]]
    shell.daemon.answers["QueryJobLog"] = []
    members = {"members": [5, 6]}
    shell.daemon.jobs(pending(5, **members), pending(6, **members))
    shell.daemon.pushed = [[], [changed(6, "success"), changed(5, "success")]]
    result = shell("submit", "--follow", "-", stdin=b"group: true\njobs: [[{OP_ID: X}], [{OP_ID: X}]]")
    assert result.err.splitlines() == [
        "job 5 submitted",
        "job 6 submitted",
        "the group of jobs 5-6 is pending: `jqueue finalize 5` ends it",
        "job 6: success",
        "job 5: success",
    ]


def test_a_job_that_is_being_finalised_asks_nobody_for_it(shell: Shell) -> None:
    shell.daemon.answers["SubmitManyJobs"] = [[True, 5]]
    shell.daemon.log(5, [])
    shell.daemon.jobs(job(5, "running", phase="committing"))
    shell.daemon.pushed = [[changed(5, "running", lifecycle="pending"), changed(5, "success")]]
    result = shell("submit", "--follow", "-", stdin=b"ops: [{OP_ID: X}]")
    assert result.err == "job 5 submitted\njob 5: running\njob 5: success\n"


def test_quiet_hides_what_a_job_waits_for(shell: Shell) -> None:
    shell.daemon.jobs(ready(5))
    shell.daemon.pushed = [[changed(5, "success")]]
    assert shell("wait", "-q", "5") == (0, "5 success\n", "")


def test_in_json_the_lifecycle_is_in_the_change_and_the_advice_on_stderr(shell: Shell) -> None:
    shell.daemon.log(5, [])
    shell.daemon.jobs(ready(5))
    shell.daemon.pushed = [[], [changed(5, "success")]]
    result = shell("watch", "--json", "5")
    lines = [json.loads(text) for text in result.out.splitlines()]
    assert [(one["type"], one["lifecycle"]) for one in lines] == [("change", "ready"), ("change", "concluded")]
    assert result.err == "job 5 is ready: `jqueue complete 5` ends it\n"


def step(job_id: int | None, name: str, **data: Any) -> tuple[str, list[Any]]:
    return "JobLifecycle", [{"event": name, "data": data, "id": job_id}]


STEPS = [
    step(5, "JOB_STATUS_CHANGE", id="job5", status="ready"),
    step(5, "BLOCK_JOB_READY", device="job5", type="mirror", len=100, offset=100, speed=0),
    step(None, "SHUTDOWN", guest=False, reason="host-qmp-quit"),
    changed(5, "success", end_ts=[1_700_000_009, 0]),
]
LAST = step(5, "JOB_STATUS_CHANGE", id="job5", status="null")


def test_watch_shows_each_step_of_the_lifecycle_to_the_last(shell: Shell) -> None:
    shell.daemon.log(5, [])
    shell.daemon.jobs(job(5, "running"))
    shell.daemon.pushed = [[], STEPS, [LAST]]
    result = shell("watch", "--lifecycle", "5")
    assert result.out == (
        "22:13:20       5  running   A\n"
        "22:13:20       5  -> ready\n"
        "22:13:20       5  -> BLOCK_JOB_READY type=mirror len=100 offset=100 speed=0\n"
        "22:13:20       -  -> SHUTDOWN guest=false reason=host-qmp-quit\n"
        "22:13:29       5  success   A\n"
        "22:13:20       5  -> null\n"
    )
    assert shell.daemon.calls[0] == ("Subscribe", {"jobs": [5], "changes": True, "log": True, "lifecycle": True})


def test_steps_in_json_are_the_events_as_they_came(shell: Shell) -> None:
    shell.daemon.log(5, [])
    shell.daemon.jobs(job(5, "running"))
    shell.daemon.pushed = [[], STEPS, [LAST]]
    lines = [json.loads(text) for text in shell("watch", "--lifecycle", "--json", "5").out.splitlines()]
    told = [one for one in lines if one["type"] == "lifecycle"]
    assert told == [{"type": "lifecycle", **event} for _, (event,) in (*STEPS[:3], LAST)]


def test_without_the_option_no_steps_are_asked_for(shell: Shell) -> None:
    shell.daemon.log(5, [])
    shell.daemon.jobs(job(5, "success"))
    shell("watch", "5")
    assert shell.daemon.calls[0] == ("Subscribe", {"jobs": [5], "changes": True, "log": True})


def test_the_speed_limit_is_shown_beside_the_progress(shell: Shell) -> None:
    shell.daemon.log(5, [])
    shell.daemon.jobs(job(5, "running", progress=[42, 100, "copying"], speed=10 * 2**20, log_serial=0))

    def slower() -> Any:
        shell.daemon.jobs(job(5, "running", progress=[42, 100, "copying"], speed=65536))
        yield from ()

    shell.daemon.pushed = [[], slower(), [changed(5, "success")]]
    assert shell("log", "-f", "5").err.splitlines() == [
        "42% copying, at most 10 MiB/s",
        "42% copying, at most 64 KiB/s",
        "job 5: success",
    ]


def test_an_end_that_could_not_be_looked_into_is_told_when_the_daemon_is_back(
    shell: Shell, gone: errors.DaemonUnreachable
) -> None:
    entries = [line(1, "one")]
    shell.daemon.log(5, entries)
    shell.daemon.jobs(job(5, "running", log_serial=1))
    read = shell.daemon.answers["QueryJobLog"]

    def die() -> Any:
        entries.append(line(2, "last words"))
        shell.daemon.jobs(job(5, "success"))
        shell.daemon.answers["QueryJobLog"] = lambda *arguments: back()
        yield changed(5, "success")

    def back() -> Any:
        shell.daemon.answers["QueryJobLog"] = read
        return gone

    shell.daemon.pushed = [[], die()]
    result = shell("log", "-f", "5")
    assert (result.status, result.out) == (0, "one\nlast words\n")
    assert result.err.splitlines()[-1] == "job 5: success"
