"""QEMU's own `qmp-shell`, unmodified, driven by a script; what it prints is judged, since it always exits with 0."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE
from typing import Any

from jqueue import __version__

from .conftest import QmpServer

SHELL = Path(sys.executable).with_name("qmp-shell")
DELAY = '__org.jqueue_submit ops=[{"OP_ID":"OP_TEST_DELAY","duration":60}]'
DUMMY = '__org.jqueue_submit ops=[{"OP_ID":"OP_TEST_DUMMY"}]'
# Shows the events that came before the reply to a cheap command.
SHOW = "query-version\n"


def shell(qmp: QmpServer, *lines: str | tuple[int, str]) -> list[str]:
    """Runs a script in a shell.

    @param lines: commands; a job and a state instead of one waits until the job is in that state
    @return: the lines that it printed, without prompts
    """
    environment = {**os.environ, "HOME": str(qmp.path.parent)}
    with subprocess.Popen(
        [SHELL, qmp.path], stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True, env=environment, bufsize=1
    ) as process:
        assert process.stdin is not None
        for line in lines:
            if isinstance(line, tuple):
                qmp.until(*line)
            else:
                process.stdin.write(f"{line}\n")
        printed, complaints = process.communicate(timeout=60)
    assert "Traceback" not in complaints or "quit" in lines, complaints
    return [line for line in printed.replace("(QEMU) ", "").splitlines() if line]


def answers(printed: list[str]) -> list[Any]:
    """Gives replies, which are printed as JSON, and events, which are printed as Python."""
    found = []
    for line in printed[2:]:
        if line.startswith("{"):
            found.append(json.loads(line) if '"' in line[:2] else ast.literal_eval(line))
    return found


def replies(found: list[Any]) -> list[Any]:
    return [each for each in found if "event" not in each and "qemu" not in str(each.get("return"))]


def statuses(found: list[Any], job: str) -> list[str]:
    changes = [each["data"] for each in found if each.get("event") == "JOB_STATUS_CHANGE"]
    return [change["status"] for change in changes if change["id"] == job]


def test_it_welcomes_us_by_our_version(qmp: QmpServer) -> None:
    welcome, connected, *_ = shell(qmp)
    assert "Welcome to the QMP low-level shell" in welcome
    assert connected == f"Connected to QEMU {__version__}"


def test_a_job_from_submission_to_dismissal(qmp: QmpServer) -> None:
    found = answers(
        shell(
            qmp,
            DELAY,
            (1, "running"),
            "job-pause id=job1",
            (1, "paused"),
            "job-pause id=job1",
            "query-jobs",
            "block-job-set-speed device=job1 speed=65536",
            "block-job-cancel device=job1",
            "job-resume id=job1",
            (1, "running"),
            "job-cancel id=job1",
            (1, "concluded"),
            "query-block-jobs",
            "job-dismiss id=job1",
            "query-jobs",
            SHOW,
        )
    )
    submitted, paused, again, listed, speed, soft, resumed, canceled, block_jobs, dismissed, empty = replies(found)
    assert submitted == {"return": {"id": "job1"}}
    assert paused == speed == resumed == canceled == dismissed == {"return": {}}
    assert again["error"] == {"class": "GenericError", "desc": "Job is already paused"}
    (job,) = listed["return"]
    assert (job["id"], job["type"], job["status"]) == ("job1", "test_delay", "paused")
    assert soft["error"]["desc"] == "The block job for device 'job1' is currently paused"
    (block_job,) = block_jobs["return"]
    assert (block_job["device"], block_job["status"], block_job["speed"]) == ("job1", "concluded", 65536)
    assert block_job["error"] == "Operation canceled"
    assert empty == {"return": []}
    assert statuses(found, "job1") == ["created", "running", "paused", "running", "aborting", "concluded", "null"]


def test_several_jobs_are_listed_newest_first(qmp: QmpServer) -> None:
    many = '__org.jqueue_submit-many jobs=[[{"OP_ID":"OP_TEST_DUMMY"}],{"ops":[{"OP_ID":"OP_TEST_DUMMY"}]}]'
    submitted, listed = replies(answers(shell(qmp, many, "query-jobs")))
    assert submitted == {"return": {"ids": ["job1", "job2"]}}
    assert [job["id"] for job in listed["return"]] == ["job2", "job1"]


def test_mistakes_are_answered_in_words_of_qemu(qmp: QmpServer) -> None:
    found = replies(answers(shell(qmp, "no-such-command", "job-pause", "job-pause id=17", "block-job-pause device=x")))
    assert [each["error"] for each in found] == [
        {"class": "CommandNotFound", "desc": "The command no-such-command has not been found"},
        {"class": "GenericError", "desc": "Parameter 'id' is missing"},
        {"class": "GenericError", "desc": "Invalid parameter type for 'id', expected: string"},
        {"class": "DeviceNotActive", "desc": "Block job 'x' not found"},
    ]


def test_quit_ends_the_server(qmp: QmpServer) -> None:
    printed = shell(qmp, DELAY, "quit")
    assert replies(answers(printed))[0] == {"return": {"id": "job1"}}
    assert qmp.wait() == 0
