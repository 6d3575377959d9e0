from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from jqueue import errors

if TYPE_CHECKING:
    from test.unit.cli.conftest import Shell


def job(job_id: int, **more: Any) -> dict[str, Any]:
    base = {
        "id": job_id,
        "name": None,
        "status": "queued",
        "lifecycle": "created",
        "priority": 0,
        "summary": ["TEST_DELAY(1.0)"],
        "owner": 1000,
        "received_ts": [1_699_999_930, 0],
        "start_ts": None,
        "end_ts": None,
        "progress": None,
    }
    return {**base, **more}


@pytest.fixture
def two(shell: Shell) -> Shell:
    shell.daemon.jobs(
        job(
            9,
            name="backup",
            status="running",
            lifecycle="running",
            start_ts=[1_699_999_990, 0],
            progress=[42, 100, "copying"],
        ),
        job(10, priority=-10, summary=["A", "B"]),
    )
    return shell


def test_the_table_is_aligned_and_times_are_relative(two: Shell) -> None:
    assert two("list").out == (
        "ID  STATUS   PRIO    AGE  STAGE        JOB\n"
        " 9  running     0  1m10s  42% copying  backup: TEST_DELAY(1.0)\n"
        "10  queued    -10  1m10s  -            A, B\n"
    )


def test_list_is_what_no_verb_does(two: Shell) -> None:
    assert two() == two("list")
    assert two("--json") == two("list", "--json")


def test_json_is_a_list_of_maps_with_the_documented_keys(two: Shell) -> None:
    rows = json.loads(two("list", "--json").out)
    assert rows[0] == {
        "id": 9,
        "name": "backup",
        "status": "running",
        "lifecycle": "running",
        "priority": 0,
        "summary": ["TEST_DELAY(1.0)"],
        "owner": 1000,
        "received_ts": "2023-11-14T22:12:10.000000+00:00",
        "start_ts": "2023-11-14T22:13:10.000000+00:00",
        "end_ts": None,
        "progress": {"done": 42, "total": 100, "text": "copying"},
    }
    assert [row["id"] for row in rows] == [9, 10]


def test_no_jobs_are_an_empty_json_list_and_just_the_headings(shell: Shell) -> None:
    shell.daemon.jobs()
    assert json.loads(shell("list", "--json").out) == []
    assert shell("list").out == "ID  STATUS  PRIO  AGE  STAGE  JOB\n"


def test_a_narrow_terminal_cuts_the_elastic_columns_only(two: Shell) -> None:
    two.environ["COLUMNS"] = "50"
    lines = two("list", "--no-header").out.splitlines()
    assert lines[0] == " 9  running    0  1m10s  42% copying  backup: TES~"
    assert max(map(len, lines)) <= 50


def test_chosen_columns_need_only_their_fields(two: Shell) -> None:
    assert two("list", "-o", "id,took,owner", "--no-header").out == " 9  10.0s  1000\n10      -  1000\n".replace(
        "10.0s", "10s"
    ).replace("     -", "   -")
    assert two.daemon.calls[-1] == ("QueryJobs", None, ["id", "start_ts", "end_ts", "owner", "status"], None)


def test_a_plus_adds_columns(two: Shell) -> None:
    assert two("list", "-o", "+owner").out.splitlines()[0].split() == [
        "ID",
        "STATUS",
        "PRIO",
        "AGE",
        "STAGE",
        "JOB",
        "OWNER",
    ]


def test_sort_is_by_any_field_and_can_be_reversed(two: Shell) -> None:
    assert two("list", "-o", "id", "--no-header", "--sort", "priority").out.split() == ["10", "9"]
    assert two("list", "-o", "id", "--no-header", "--sort", "priority", "-r").out.split() == ["9", "10"]
    assert two("list", "-o", "id", "--no-header", "--sort", "start_ts", "-r").out.split() == ["9", "10"]
    assert two("list", "-o", "id", "--no-header", "-r").out.split() == ["10", "9"]


def test_limit_keeps_the_last_rows(two: Shell) -> None:
    assert two("list", "-o", "id", "--no-header", "--limit", "1").out == "10\n"
    assert two("list", "-o", "id", "--no-header", "--limit", "1", "-r").out == "10\n"
    assert two("list", "--limit", "0").status == 2


def test_conditions_are_sent_as_one_filter(two: Shell) -> None:
    two("list", "--status", "running,error", "--filter", "id > 3")
    assert two.daemon.calls[0][3] == [
        "&",
        ["|", ["==", "status", "running"], ["==", "status", "error"]],
        [">", "id", 3],
    ]


def test_archived_jobs_are_asked_for_by_their_field(two: Shell) -> None:
    two("list", "-a")
    assert "archived" in two.daemon.calls[0][2]


def test_the_stage_says_what_holds_a_job_up_and_what_it_waits_for(shell: Shell) -> None:
    running = {"status": "running", "lifecycle": "running", "phase": "work"}
    shell.daemon.jobs(
        job(1, **running, progress=[1, 4, "copying"], speed=10 * 2**20),
        job(2, **{**running, "lifecycle": "paused"}, progress=[1, 4, ""], paused=True),
        job(3, **{**running, "lifecycle": "ready"}),
        job(4, **{**running, "lifecycle": "pending", "phase": "pending"}),
        job(5, **{**running, "lifecycle": "waiting", "phase": "waiting"}, members=[5, 6]),
        job(6, paused=True),
        job(7, status="success", lifecycle="concluded"),
    )
    assert shell("list", "--no-header", "-o", "id,stage").out.splitlines() == [
        "1  25% copying, at most 10 MiB/s",
        "2  paused at 25%",
        "3  ready: `jqueue complete 3`",
        "4  pending: `jqueue finalize 4`",
        "5  done, waits for its group (5-6)",
        "6  paused",
        "7  -",
    ]


def test_only_unfinished_jobs_are_asked_for_what_would_have_to_be_read_from_the_disk(shell: Shell) -> None:
    shell.daemon.jobs(job(1, status="success", lifecycle="concluded"), job(2))
    shell("list")
    asked = [(call[1], "paused" in call[2]) for call in shell.daemon.calls]
    assert asked == [(None, False), ([2], True)]
    shell.daemon.calls.clear()
    shell.daemon.jobs(job(1, status="success", lifecycle="concluded"))
    shell("list")
    shell("list", "--json")
    assert len(shell.daemon.calls) == 2


def test_many_unfinished_jobs_are_asked_for_part_by_part(shell: Shell) -> None:
    shell.daemon.jobs(*(job(job_id, paused=job_id == 10_002) for job_id in range(1, 10_003)))
    lines = shell("list", "--no-header", "-o", "id,stage").out.splitlines()
    assert [line.split() for line in lines[-2:]] == [["10001", "-"], ["10002", "paused"]]
    assert [len(call[1] or ()) for call in shell.daemon.calls] == [0, 10_000, 2]


def test_group_members_and_speed_are_columns(shell: Shell) -> None:
    shell.daemon.jobs(job(41, group="web", members=[41, 44], speed=65536), job(50, group=None, members=None, speed=0))
    assert shell("list", "-o", "id,group,members,speed").out == (
        "ID  GROUP  MEMBERS     SPEED\n41  web    41-44    64 KiB/s\n50  -      -               -\n"
    )
    rows = json.loads(shell("list", "--json", "-o", "group,members,speed").out)
    assert rows[0] == {"group": "web", "members": [41, 44], "speed": 65536}


def test_the_state_at_the_beginning_of_a_stage_is_coloured(shell: Shell) -> None:
    shell.daemon.jobs(job(3, status="running", lifecycle="ready"))
    line = shell("list", "-o", "stage", "--no-header", tty=True).out
    assert line == "\x1b[33mready\x1b[0m: `jqueue complete 3`\n"


def test_a_missing_job_is_said_on_stderr_and_in_the_exit_status(two: Shell) -> None:
    result = two("list", "9,77", "-o", "id", "--no-header")
    assert (result.status, result.out) == (1, "9\n")
    assert result.err == "jqueue: there is no job 77, neither in the queue nor in the archive\n"


def test_status_is_coloured_on_a_terminal_only_unless_told(two: Shell) -> None:
    assert "\x1b[36mrunning\x1b[0m" in two("list", tty=True).out
    assert "\x1b" not in two("list").out
    assert "\x1b" in two("list", "--color=always").out
    assert "\x1b" not in two("list", "--color=never", tty=True).out
    two.environ["NO_COLOR"] = "1"
    assert "\x1b" not in two("list", tty=True).out


def test_a_name_cannot_reprogram_the_terminal(shell: Shell) -> None:
    shell.daemon.jobs(job(1, name="a\x1b[2Jb\nc"))
    assert shell("list", "-o", "name", "--no-header").out == "a\\x1b[2Jb\\x0ac\n"


def test_an_unknown_field_is_the_daemons_error_on_one_line(shell: Shell) -> None:
    shell.daemon.answers["QueryJobs"] = errors.OpPrereqError("Unknown field 'foo';\ndid you mean 'x'?")
    result = shell("list", "-o", "foo")
    assert result == (2, "", "jqueue: Unknown field 'foo'; did you mean 'x'?\n")
