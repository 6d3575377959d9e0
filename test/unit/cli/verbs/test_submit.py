from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jqueue.jobs.description import load

if TYPE_CHECKING:
    from test.unit.cli.conftest import Shell

TWO = b"""
- name: first
  ops: [{OP_ID: OP_TEST_DELAY, duration: 1}]
- ops:
  - {OP_ID: OP_TEST_DELAY, duration: 2}
  - {OP_ID: OP_TEST_DELAY, duration: 3, priority: 10}
"""


@pytest.fixture
def accepting(shell: Shell) -> Shell:
    shell.daemon.answers["SubmitManyJobs"] = lambda jobs, options: [[True, 17 + i] for i in range(len(jobs))]
    return shell


def test_the_bare_ids_go_to_stdout(accepting: Shell) -> None:
    assert accepting("submit", "-", stdin=TWO) == (0, "17\n18\n", "")
    method, jobs, options = accepting.daemon.calls[0]
    assert (method, options) == ("SubmitManyJobs", {})
    assert [job.get("name") for job in jobs] == ["first", None]


def test_a_file_is_read(accepting: Shell, tmp_path: Path) -> None:
    (tmp_path / "jobs.yaml").write_bytes(TWO)
    assert accepting("submit", str(tmp_path / "jobs.yaml")).out == "17\n18\n"


def test_a_file_that_cannot_be_read_is_named(accepting: Shell) -> None:
    assert accepting("submit", "/none.yaml") == (
        2,
        "",
        "jqueue: /none.yaml: cannot be read: No such file or directory\n",
    )


def test_a_bad_description_is_refused_with_its_place(accepting: Shell) -> None:
    result = accepting("submit", "-", stdin=b"ops: 3")
    assert result.status == 2
    assert "standard input" in result.err
    assert accepting.daemon.calls == []


def test_name_and_priority_are_added_but_do_not_override_an_opcodes_own(accepting: Shell) -> None:
    accepting("submit", "--name", "n", "--priority", "high", "--request-id", "r1", "-", stdin=TWO)
    _, jobs, options = accepting.daemon.calls[0]
    assert options == {"request_id": "r1"}
    assert [job["name"] for job in jobs] == ["n", "n"]
    assert [[op["priority"] for op in job["ops"]] for job in jobs] == [[-10], [-10, 10]]


GROUP = b"{group: web, jobs: [[{OP_ID: OP_TEST_DELAY, duration: 1}], {ops: [{OP_ID: OP_TEST_DELAY, duration: 2}]}]}"


@pytest.mark.parametrize(
    ("words", "text", "options"),
    [
        ([], TWO, {}),
        ([], GROUP, {"group": "web"}),
        (["--grouped"], TWO, {"group": True}),
        (["--grouped"], GROUP, {"group": "web"}),
        (["--group", "disks"], TWO, {"group": "disks"}),
        (["--group", "disks"], GROUP, {"group": "disks"}),
        (["--group", "disks", "--request-id", "r1"], TWO, {"group": "disks", "request_id": "r1"}),
        (["--grouped"], GROUP.replace(b"web", b"false"), {"group": True}),
    ],
)
def test_the_file_or_the_command_line_makes_the_jobs_one_group(
    accepting: Shell, words: list[str], text: bytes, options: dict[str, object]
) -> None:
    assert accepting("submit", *words, "-", stdin=text) == (0, "17\n18\n", "")
    method, jobs, sent = accepting.daemon.calls[0]
    assert (method, len(jobs), sent) == ("SubmitManyJobs", 2, options)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--group", "a/b"], "--group: 'a/b': a name without `/` and control characters expected, and not `.` or `..`"),
        (["--group", ""], "--group: 1 to 256 characters expected, it has 0"),
        (
            ["--group", "a", "--grouped"],
            "argument --grouped: not allowed with argument --group; `jqueue submit --help` shows how it is used",
        ),
    ],
)
def test_a_group_that_cannot_be_is_refused(accepting: Shell, words: list[str], message: str) -> None:
    assert accepting("submit", *words, "-", stdin=TWO) == (2, "", f"jqueue: {message}\n")
    assert accepting.daemon.calls == []


def test_flags_are_for_descriptions_that_say_nothing_of_it(accepting: Shell) -> None:
    text = TWO + b"  auto_finalize: true\n  auto_dismiss: false\n"
    accepting("submit", "--no-auto-finalize", "--auto-dismiss", "-", stdin=text)
    _, jobs, options = accepting.daemon.calls[0]
    assert [(job["auto_finalize"], job["auto_dismiss"]) for job in jobs] == [(False, True), (True, False)]
    assert options == {}


def test_a_dry_run_of_a_group_says_that_it_is_one(shell: Shell) -> None:
    shell.daemon.answers["SubmitManyJobs"] = [[True, None], [True, None]]
    result = shell("submit", "--dry-run", "-", stdin=GROUP)
    assert result == (0, "", "valid: 2 jobs in one group, 2 opcodes; nothing was submitted\n")
    assert shell.daemon.calls[0][2] == {"group": "web", "dry_run": True}


def test_json_has_one_map_a_job(accepting: Shell) -> None:
    result = accepting("submit", "--json", "-", stdin=TWO)
    assert json.loads(result.out) == [
        {"id": 17, "name": "first", "error": None},
        {"id": 18, "name": None, "error": None},
    ]


def test_a_refused_job_does_not_hide_the_accepted_one(shell: Shell) -> None:
    shell.daemon.answers["SubmitManyJobs"] = [[True, 17], [False, "depends on a job that was refused"]]
    assert shell("submit", "-", stdin=TWO) == (2, "17\n", "jqueue: jobs[1]: depends on a job that was refused\n")
    assert json.loads(shell("submit", "--json", "-", stdin=TWO).out)[1] == {
        "id": None,
        "name": None,
        "error": "jobs[1]: depends on a job that was refused",
    }


def test_a_dry_run_submits_nothing_and_says_so(shell: Shell) -> None:
    shell.daemon.answers["SubmitManyJobs"] = [[True, None], [True, None]]
    result = shell("submit", "--dry-run", "-", stdin=TWO)
    assert result == (0, "", "valid: 2 jobs, 3 opcodes; nothing was submitted\n")
    assert shell.daemon.calls[0][2] == {"dry_run": True}


def test_quiet_silences_the_talk(shell: Shell) -> None:
    shell.daemon.answers["SubmitManyJobs"] = [[True, None], [True, None]]
    assert shell("submit", "--dry-run", "-q", "-", stdin=TWO) == (0, "", "")


def test_spool_needs_no_daemon_and_keeps_what_was_written(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "incoming").mkdir()
    result = shell("submit", "--spool", "--state-dir", str(tmp_path), "-", stdin=TWO)
    assert result.status == 0
    (dropped,) = (tmp_path / "incoming").iterdir()
    assert result.out == f"{dropped}\n"
    assert not dropped.name.startswith(".")
    assert dropped.read_bytes() == TWO
    assert shell.daemon.connections == []


def test_spool_carries_what_the_command_line_adds(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "incoming").mkdir()
    result = shell("submit", "--json", "--spool", "--name", "n", "--state-dir", str(tmp_path), "-", stdin=TWO)
    dropped = Path(json.loads(result.out)["spooled"])
    jobs: list[dict[str, Any]] = json.loads(dropped.read_bytes())
    assert [job["name"] for job in jobs] == ["n", "n"]
    assert dropped.suffix == ".json"


@pytest.mark.parametrize(
    ("words", "text", "group"),
    [
        (["--grouped"], TWO, True),
        (["--group", "disks"], TWO, "disks"),
        (["--group", "disks"], GROUP, "disks"),
        (["--name", "n"], GROUP, "web"),
        (["--no-auto-finalize"], GROUP, "web"),
    ],
)
def test_a_group_is_spooled_as_one(
    shell: Shell, tmp_path: Path, words: list[str], text: bytes, group: bool | str
) -> None:
    (tmp_path / "incoming").mkdir()
    assert shell("submit", "--spool", *words, "--state-dir", str(tmp_path), "-", stdin=text).status == 0
    (dropped,) = (tmp_path / "incoming").iterdir()
    submission = load(dropped.read_bytes(), dropped.name)
    assert (submission.group, len(submission.jobs)) == (group, 2)
    finalized = [job.get("auto_finalize") for job in submission.jobs]
    assert finalized == [False if "--no-auto-finalize" in words else None] * 2


@pytest.mark.parametrize("words", [[], ["--grouped"], ["--group", "web"]])
def test_a_group_that_is_one_already_is_spooled_as_it_was_written(
    shell: Shell, tmp_path: Path, words: list[str]
) -> None:
    (tmp_path / "incoming").mkdir()
    shell("submit", "--spool", *words, "--state-dir", str(tmp_path), "-", stdin=GROUP)
    (dropped,) = (tmp_path / "incoming").iterdir()
    assert dropped.read_bytes() == GROUP


def test_spool_into_no_queue_says_what_to_do(shell: Shell, tmp_path: Path) -> None:
    result = shell("submit", "--spool", "--state-dir", str(tmp_path), "-", stdin=TWO)
    assert result.status == 1
    assert "cannot be written: No such file or directory; is this the state directory of a queue?" in result.err
    assert list(tmp_path.iterdir()) == []


def test_spool_refuses_what_needs_the_daemon(shell: Shell, tmp_path: Path) -> None:
    result = shell("submit", "--spool", "--dry-run", "--state-dir", str(tmp_path), "-", stdin=TWO)
    assert result.status == 2
    assert result.err == "jqueue: --dry-run needs the daemon and does not go with --spool\n"
