from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from test.unit.cli.conftest import Shell


def finished(shell: Shell, status: str, result: Any) -> None:
    shell.daemon.answers["SubmitManyJobs"] = [[True, 17]]
    shell.daemon.log(17, [[0, 1, [1_700_000_000, 0], "message", "hello"]])
    shell.daemon.jobs(
        {
            "id": 17,
            "status": status,
            "lifecycle": "concluded",
            "priority": 0,
            "opstatus": [status],
            "opresult": [result],
        }
    )


def test_the_command_becomes_one_opcode_in_the_current_directory(shell: Shell) -> None:
    shell.daemon.answers["SubmitManyJobs"] = [[True, 17]]
    assert shell("run", "--", "tar", "-cf", "x.tar", ".") == (0, "17\n", "")
    assert shell.daemon.calls == [
        (
            "SubmitManyJobs",
            [{"ops": [{"OP_ID": "OP_RUN_COMMAND", "argv": ["tar", "-cf", "x.tar", "."], "cwd": os.getcwd()}]}],
            {},
        )
    ]


def test_locks_environment_timeout_and_name_are_carried(shell: Shell) -> None:
    shell.daemon.answers["SubmitManyJobs"] = [[True, 17]]
    words = (
        "run --lock a --lock b:shared --lock c:2 --env K=v=w --timeout 1m30s --cwd /tmp --name n --priority low ls -l"
    )
    assert shell(*words.split()).status == 0
    ((_, (job,), _),) = shell.daemon.calls
    assert job == {
        "name": "n",
        "ops": [
            {
                "priority": 10,
                "OP_ID": "OP_RUN_COMMAND",
                "argv": ["ls", "-l"],
                "cwd": "/tmp",
                "env": {"K": "v=w"},
                "locks": {"resource": {"a": "exclusive", "b": "shared", "c": 2}},
                "timeout": 90.0,
            }
        ],
    }


def test_a_command_can_wait_for_its_finalisation_and_be_archived_at_once(shell: Shell) -> None:
    shell.daemon.answers["SubmitManyJobs"] = [[True, 17]]
    assert shell("run", "--no-auto-finalize", "--auto-dismiss", "--", "ls").status == 0
    ((_, (job,), _),) = shell.daemon.calls
    assert (job["auto_finalize"], job["auto_dismiss"]) == (False, True)


@pytest.mark.parametrize(
    "words", ["run", "run --", "run --lock a:maybe -- ls", "run --env K -- ls", "run --timeout 1y ls"]
)
def test_a_bad_command_line_submits_nothing(shell: Shell, words: str) -> None:
    result = shell(*words.split())
    assert result.status == 2
    assert result.err.startswith("jqueue: ")
    assert shell.daemon.calls == []


@pytest.mark.parametrize(
    ("status", "result", "expected"),
    [
        ("success", 0, 0),
        ("success", 4, 4),
        ("error", ["OpExecError", ["'false' ended with exit status 1", "exit_status:1"]], 1),
        ("error", ["OpExecError", ["'x' ended badly", "exit_status:42"]], 42),
        ("error", ["OpExecError", ["'x' was ended by signal 9 (SIGKILL)", "signal:9"]], 137),
        ("error", ["OpExecError", ["'x' ended with 0, which is not ok", "exit_status:0"]], 1),
        ("error", ["OpExecError", ["the daemon died at signal 9, exit status 7", "environment_error"]], 1),
        ("error", ["OpExecError", ["what an opcode makes up", "signal:x"]], 1),
        ("error", ["OpExecError", ["what an opcode makes up", "exit_status:70000"]], 1),
        ("canceled", ["JobCanceled", ["cancelled by 0", "wrong_state"]], 3),
    ],
)
def test_following_exits_with_the_commands_own_status(shell: Shell, status: str, result: Any, expected: int) -> None:
    finished(shell, status, result)
    ended = shell("run", "--follow", "--", "x")
    assert ended.status == expected
    assert ended.out == "hello\n"
    assert ended.err.startswith("job 17 submitted\n")
