"""`inspect` and `list --offline`: real files, no daemon."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jqueue.jobs.job import _QueuedJob

if TYPE_CHECKING:
    from test.unit.cli.conftest import Shell

DAY = 86400
NOW = 1_700_000_000


def write(path: Path, job_id: int, status: str, age: int, name: str | None = None, **parameters: Any) -> None:
    job = _QueuedJob(None, job_id, [{"OP_ID": "OP_TEST_DUMMY", **parameters}])
    job.name = name
    job.received_timestamp = job.start_timestamp = (NOW - age - 5, 0)
    job.ops[0].status = status
    if status in ("success", "error"):
        job.end_timestamp = job.ops[0].end_timestamp = (NOW - age, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(job.Serialize()) + "\n")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    write(tmp_path / "archive" / "0" / "job-3", 3, "success", 9 * DAY, "old")
    write(tmp_path / "archive" / "0" / "job-4", 4, "error", 2 * DAY, messages=["disk1 is full"])
    write(tmp_path / "job-20", 20, "queued", 60, "new")
    return tmp_path


def ids(shell: Shell, *words: str) -> list[int]:
    result = shell(*words, "-o", "id", "--no-header")
    assert (result.status, result.err) == (0, "")
    assert shell.daemon.connections == []
    return [int(line) for line in result.out.split()]


def test_inspect_shows_live_and_archived_jobs(shell: Shell, state: Path) -> None:
    assert shell("inspect", str(state)).out == (
        "ID  STATUS   ARCHIVED    AGE   TOOK  JOB\n"
        " 3  success  true      9d00h   5.0s  old: TEST_DUMMY\n"
        " 4  error    true      2d00h   5.0s  TEST_DUMMY\n"
        "20  queued   false     1m05s  1m05s  new: TEST_DUMMY\n"
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--status error,success", [3, 4]),
        ("--opcode dummy", [3, 4, 20]),
        ("--opcode delay", []),
        ("--text DISK1", [4]),
        ("--older 1d", [3, 4]),
        ("--older 1d --newer 1w", [4]),
        ("--newer 1h", [20]),
        ("--filter archived==false", [20]),
        ("--limit 2", [4, 20]),
        ("--limit 2 -r", [20, 4]),
        ("--limit 2 --sort received_ts", [4, 20]),
        ("3-4 99", [3, 4]),
        ("3-4 --status error", [4]),
    ],
)
def test_inspect_chooses(shell: Shell, state: Path, words: str, expected: list[int]) -> None:
    assert ids(shell, "inspect", str(state), *words.split()) == expected


def test_inspect_in_json_has_the_documented_keys(shell: Shell, state: Path) -> None:
    rows = json.loads(shell("inspect", str(state), "--json", "3").out)
    assert rows == [
        {
            "id": 3,
            "name": "old",
            "status": "success",
            "archived": True,
            "priority": 0,
            "summary": ["TEST_DUMMY"],
            "received_ts": "2023-11-05T22:13:15.000000+00:00",
            "start_ts": "2023-11-05T22:13:15.000000+00:00",
            "end_ts": "2023-11-05T22:13:20.000000+00:00",
        }
    ]


def test_a_queue_of_ganeti_is_read(shell: Shell, tmp_path: Path) -> None:
    op = {"OP_ID": "OP_TEST_DELAY", "duration": 1.0}
    state = {"input": op, "status": "success", "result": None, "log": [[1, [5, 6], "message", "x"]], "priority": 0}
    times = {"start_timestamp": [5, 6], "exec_timestamp": [5, 7], "end_timestamp": [6, 0]}
    job = {"id": 8, "ops": [{**state, **times}], "received_timestamp": [5, 0], **times}
    (tmp_path / "job-8").write_text(json.dumps(job) + "\n")
    assert (
        shell("inspect", str(tmp_path), "-o", "id,status,summary", "--no-header").out == "8  success  TEST_DELAY(1.0)\n"
    )


def test_a_damaged_file_is_named_and_the_others_are_shown(shell: Shell, state: Path) -> None:
    (state / "job-21").write_text("{")
    result = shell("inspect", str(state), "-o", "id", "--no-header")
    assert result.out.split() == ["3", "4", "20"]
    assert str(state / "job-21") in result.err


def test_what_is_no_state_directory_is_refused(shell: Shell, tmp_path: Path) -> None:
    result = shell("inspect", str(tmp_path))
    assert (result.status, result.out) == (1, "")
    assert result.err == f"jqueue: {tmp_path} is no state directory, there are no jobs in it; name another one\n"


def test_list_offline_leaves_the_archive_out_unless_asked(shell: Shell, state: Path) -> None:
    words = ("list", "--offline", "--state-dir", str(state))
    assert ids(shell, *words) == [20]
    assert ids(shell, *words, "-a") == [3, 4, 20]
    assert ids(shell, *words, "4") == [4]
    assert ids(shell, *words, "-a", "--status", "error") == [4]


def test_list_offline_says_which_jobs_are_missing(shell: Shell, state: Path) -> None:
    result = shell("list", "--offline", "--state-dir", str(state), "-o", "id", "--no-header", "20,99")
    assert (result.status, result.out) == (1, "20\n")
    assert result.err == "jqueue: there is no job 99, neither in the queue nor in the archive\n"


def test_list_offline_finds_the_users_own_queue(shell: Shell, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(state))
    assert ids(shell, "list", "--offline") == [20]
