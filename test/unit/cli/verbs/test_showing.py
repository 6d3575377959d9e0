"""The verbs that show one thing: info, log, why, locks, workers, drain."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from test.unit.cli.conftest import Shell

JOB: dict[str, Any] = {
    "id": 17,
    "name": "backup",
    "status": "error",
    "lifecycle": "concluded",
    "phase": "done",
    "priority": 0,
    "owner": 1000,
    "group": None,
    "members": None,
    "parent": None,
    "archived": True,
    "paused": False,
    "completion": None,
    "auto_finalize": True,
    "auto_dismiss": False,
    "received_ts": [1_699_999_000, 0],
    "start_ts": [1_699_999_010, 0],
    "end_ts": [1_699_999_200, 0],
    "progress": None,
    "speed": 0,
    "log_serial": 12,
    "summary": ["RUN_COMMAND(tar)", "COPY_FILE(/a)"],
    "ops": [
        {"OP_ID": "OP_RUN_COMMAND", "argv": ["tar"], "locks": {"resource": {"disk1": "exclusive"}}},
        {"OP_ID": "OP_COPY_FILE", "source": "/a", "depends": [[3, ["success"]]]},
    ],
    "opstatus": ["success", "error"],
    "oppriority": [0, 0],
    "opstart": [[1_699_999_010, 0], [1_699_999_100, 0]],
    "opexec": [[1_699_999_040, 0], [1_699_999_100, 0]],
    "opend": [[1_699_999_100, 0], [1_699_999_200, 0]],
    "opresult": [0, ["OpExecError", ["/a: no space left", "environment_error"]]],
}


def test_info_of_a_finished_job(shell: Shell) -> None:
    shell.daemon.jobs(JOB)
    assert (
        shell("info", "17").out
        == """\
Job:       17  backup
Status:    error (concluded), archived
Priority:  0
Owner:     uid 1000
Received:  2023-11-14 21:56:40
Started:   2023-11-14 21:56:50
Ended:     2023-11-14 22:00:00
Took:      3m10s
Log:       `jqueue log 17` shows it

Opcode 1/2: RUN_COMMAND(tar)  success, waited 30s, ran 1m00s
  argv: ["tar"]
  locks: resource/disk1 exclusive
  result: 0

Opcode 2/2: COPY_FILE(/a)  error, ran 1m40s
  source: /a
  depends on: job 3, ended in success
  error: /a: no space left
"""
    )


def test_info_of_a_waiting_job_names_reasons_and_locks(shell: Shell) -> None:
    never = {"opstart": [None], "opexec": [None], "opend": [None], "opresult": [None], "opstatus": ["waiting"]}
    more = {
        "status": "waiting",
        "lifecycle": "created",
        "archived": False,
        "log_serial": 0,
        "end_ts": None,
        "start_ts": None,
    }
    reason = {
        "kind": "lock",
        "text": "resource/b is held by job 4",
        "lock": "resource/b",
        "mode": "exclusive",
        "since": 12.3,
        "holders": [{"id": 4, "op": "TEST_DELAY(9)", "since": 70.2}],
    }
    shell.daemon.jobs({**JOB, **more, **never, "ops": [{"OP_ID": "OP_A"}], "summary": ["A"]})
    shell.daemon.answers["ExplainJob"] = {
        "id": 17,
        "status": "waiting",
        "held": [{"name": "resource/a", "mode": "shared"}],
        "reasons": [reason, {"kind": "paused", "text": "it is paused"}],
    }
    lines = shell("info", "17").out.splitlines()
    assert "Because:   resource/b is held by job 4; since 12s" in lines
    assert "           job 4 has it since 1m10s for TEST_DELAY(9)" in lines
    assert "Because:   it is paused" in lines
    assert "Lock:      resource/a shared (held)" in lines
    assert "Lock:      resource/b exclusive (waited for)" in lines
    assert lines[-1] == "Opcode 1/1: A  waiting"
    answer = json.loads(shell("info", "17", "--json").out)
    assert answer["locks"] == [
        {"name": "resource/a", "mode": "shared", "held": True},
        {"name": "resource/b", "mode": "exclusive", "held": False},
    ]
    assert answer["reasons"] == [reason, {"kind": "paused", "text": "it is paused"}]


def unfinished(**more: Any) -> dict[str, Any]:
    """Gives a job that runs its only opcode."""
    base = {"status": "running", "lifecycle": "running", "phase": "work", "archived": False, "end_ts": None}
    op = {"ops": [{"OP_ID": "OP_A"}], "summary": ["A"], "opstatus": ["running"], "opresult": [None], "oppriority": [0]}
    times = {name: [None] for name in ("opstart", "opexec", "opend")}
    return {**JOB, **base, **op, **times, **more}


@pytest.mark.parametrize(
    ("job", "lines"),
    [
        (
            unfinished(progress=[42, 100, "copying"], speed=10 * 2**20),
            ["Status:    running", "Progress:  42% copying", "Speed:     at most 10 MiB/s"],
        ),
        (unfinished(lifecycle="paused", paused=True), ["Status:    running (paused)"]),
        (unfinished(lifecycle="standby", paused=True), ["Status:    running (standby), paused"]),
        (unfinished(paused=True), ["Status:    running, paused"]),
        (
            unfinished(lifecycle="ready", completion="leave"),
            ["Status:    running (ready)", "Told:      to end without switching over (cancel --soft)"],
        ),
        (
            unfinished(lifecycle="ready", completion="complete"),
            ["Status:    running (ready)", "Told:      to complete"],
        ),
        (
            unfinished(lifecycle="pending", phase="pending", auto_finalize=False),
            ["Status:    running (pending), finalised by hand", "Because:   waits for you: `jqueue finalize 17`"],
        ),
        (
            unfinished(lifecycle="waiting", phase="waiting", group="web", members=[16, 18]),
            ["Status:    running (waiting)", "Group:     web: jobs 16-18, which succeed or fail together"],
        ),
        (
            unfinished(members=[16, 18]),
            ["Status:    running", "Group:     jobs 16-18, which succeed or fail together"],
        ),
    ],
)
def test_info_says_where_a_job_is_in_its_life(shell: Shell, job: dict[str, Any], lines: list[str]) -> None:
    shell.daemon.jobs(job)
    pending = {"kind": "pending", "text": "waits for you: `jqueue finalize 17`"}
    reasons = [pending] if job["lifecycle"] == "pending" else []
    shell.daemon.answers["ExplainJob"] = {"id": 17, "status": "running", "held": [], "reasons": reasons}
    shown = shell("info", "17").out.splitlines()
    titles = ("Status", "Group", "Progress", "Speed", "Told", "Because")
    assert [line for line in shown if line.startswith(titles)] == lines


def test_info_in_json_has_times_with_zone(shell: Shell) -> None:
    shell.daemon.jobs(JOB)
    answer = json.loads(shell("info", "17", "--json").out)
    assert set(answer) == {*JOB, "locks", "reasons"}
    assert answer["received_ts"] == "2023-11-14T21:56:40.000000+00:00"
    assert answer["opend"][1] == "2023-11-14T22:00:00.000000+00:00"


def log(shell: Shell, serials: list[int]) -> None:
    shell.daemon.jobs({"id": 5, "status": "success", "log_serial": max(serials, default=0)})
    shell.daemon.log(5, [[0, serial, [1_700_000_000, 0], "message", f"line {serial}"] for serial in serials])


def test_log_shows_everything_page_by_page(shell: Shell) -> None:
    log(shell, list(range(1, 1202)))
    assert shell("log", "5").out == "".join(f"line {serial}\n" for serial in range(1, 1202))


@pytest.mark.parametrize(
    ("lines", "expected"), [(0, []), (2, [9, 500]), (3, [8, 9, 500]), (99, [1, 2, 3, 4, 5, 6, 7, 8, 9, 500])]
)
def test_the_last_lines_are_found_although_serials_have_gaps(shell: Shell, lines: int, expected: list[int]) -> None:
    log(shell, [*range(1, 10), 500])
    assert shell("log", "-n", str(lines), "5").out == "".join(f"line {serial}\n" for serial in expected)


def test_log_can_show_times_and_json(shell: Shell) -> None:
    log(shell, [3])
    assert shell("log", "-t", "5").out == "22:13:20 line 3\n"
    assert json.loads(shell("log", "--json", "5").out) == {
        "type": "log",
        "id": 5,
        "op": 0,
        "serial": 3,
        "time": "2023-11-14T22:13:20.000000+00:00",
        "kind": "message",
        "message": "line 3",
    }


def test_log_escapes_control_characters_on_a_terminal_only(shell: Shell) -> None:
    shell.daemon.jobs({"id": 5, "status": "success", "log_serial": 1})
    shell.daemon.log(5, [[0, 1, [0, 0], "message", "a\x1b[2Jb\tc"]])
    assert shell("log", "5", tty=True).out == "a\\x1b[2Jb\tc\n"
    assert shell("log", "5").out == "a\x1b[2Jb\tc\n"


def test_why_lists_the_reasons(shell: Shell) -> None:
    answer = {"id": 17, "status": "waiting", "reasons": [{"kind": "lock", "text": "lock x is held by job 4"}]}
    shell.daemon.answers["ExplainJob"] = answer
    assert shell("why", "17").out == "job 17: waiting\n  lock x is held by job 4\n"
    assert json.loads(shell("why", "17", "--json").out) == answer


def test_why_tells_since_when_and_what_the_holder_does(shell: Shell) -> None:
    holders = [{"id": 4, "op": "TEST_DELAY(9)", "since": 70.2}, {"id": 5}]
    reason = {"kind": "lock", "text": "lock x is held by job 4, 5", "since": 12.3, "holders": holders}
    shell.daemon.answers["ExplainJob"] = {"id": 17, "status": "waiting", "reasons": [reason]}
    assert shell("why", "17").out.splitlines()[1:] == [
        "  lock x is held by job 4, 5; since 12s",
        "    job 4 has it since 1m10s for TEST_DELAY(9)",
    ]


def test_locks_are_a_table(shell: Shell) -> None:
    shell.daemon.answers["QueryLocks"] = [
        {"name": "file//a", "mode": "shared", "owners": [3, 4], "pending": [["exclusive", [5]], ["shared", [6, 7]]]},
        {"name": "resource/b", "mode": None, "owners": [], "pending": [["exclusive", [8]]]},
    ]
    assert shell("locks").out == (
        "NAME        MODE    OWNERS  PENDING\n"
        "file//a     shared  3, 4    exclusive: 5; shared: 6, 7\n"
        "resource/b  -               exclusive: 8\n"
    )
    assert json.loads(shell("locks", "--json").out)[1] == {
        "name": "resource/b",
        "mode": None,
        "owners": [],
        "pending": [["exclusive", [8]]],
    }
    assert (
        shell("locks", "-o", "owner").err
        == "jqueue: -o: there is no field 'owner' here; choose from name, mode, owners, pending\n"
    )


def test_no_locks_are_said_on_stderr(shell: Shell) -> None:
    shell.daemon.answers["QueryLocks"] = []
    assert shell("locks", "--no-header") == (0, "", "no lock is held or waited for\n")
    assert shell("locks", "--json", "-q") == (0, "[]\n", "")


def test_workers_show_who_runs_waits_and_is_next(shell: Shell) -> None:
    running = {"id": 3, "state": "running", "op": 0, "summary": "A", "since": 61.4, "progress": [1, 4, "x"]}
    waiting = {"id": 4, "state": "waiting", "kind": "lock", "text": "job 3 has it", "since": 2.0}
    pool = {
        "size": 2,
        "running": 1,
        "waiting": 1,
        "queued": 1,
        "jobs": [running, waiting, {"id": 10, "state": "next", "place": 1}],
    }
    shell.daemon.answers["QueryWorkers"] = pool
    assert shell("workers") == (
        0,
        "ID  STATE    SINCE  WHAT\n"
        " 3  running  1m01s  opcode 1: A 25% x\n"
        " 4  waiting   2.0s  job 3 has it\n"
        "10  next         -  number 1 in line\n",
        "1 of 2 workers busy, 1 job waiting, 1 queued\n",
    )
    assert json.loads(shell("workers", "--json").out) == pool


def test_drain_shows_and_sets_the_flag(shell: Shell) -> None:
    state: list[str | None] = [None]

    def set_drain(drained: bool, reason: str) -> bool:
        state[0] = reason if drained else None
        return True

    shell.daemon.answers["SetDrainFlag"] = set_drain
    shell.daemon.answers["QueryStatus"] = lambda: {"drained": state[0]}
    assert shell("drain").out == "not drained: new jobs are taken\n"
    assert shell("drain", "on", "disk", "swap").out == "drained: new jobs are refused (disk swap)\n"
    assert json.loads(shell("drain", "status", "--json").out) == {"drained": True, "reason": "disk swap"}
    assert shell("drain", "off").out == "not drained: new jobs are taken\n"
    assert json.loads(shell("drain", "on", "--json").out) == {"drained": True, "reason": ""}
