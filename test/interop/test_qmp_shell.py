"""QEMU's own `qmp-shell`, unmodified, driven by a script; what it prints is judged, since it always exits with 0."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from jqueue import __version__

from .conftest import QmpServer

SHELL = Path(sys.executable).with_name("qmp-shell")
DELAY = '__org.jqueue_submit ops=[{"OP_ID":"OP_TEST_DELAY","duration":60}]'
DUMMY = '__org.jqueue_submit ops=[{"OP_ID":"OP_TEST_DUMMY"}]'
# Shows the events that came before the reply to a cheap command.
SHOW = "query-version\n"


def shell(qmp: QmpServer, *lines: str) -> list[str]:
    """Runs a script in a shell.

    @return: the lines that it printed, without prompts
    """
    environment = {**os.environ, "HOME": str(qmp.path.parent)}
    script = "".join(f"{line}\n" for line in lines)
    result = subprocess.run(
        [SHELL, qmp.path], input=script, capture_output=True, text=True, check=False, timeout=60, env=environment
    )
    assert "Traceback" not in result.stderr or "quit" in lines, result.stderr
    return [line for line in result.stdout.replace("(QEMU) ", "").splitlines() if line]


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
            SHOW,
            "job-pause id=job1",
            "job-pause id=job1",
            "query-jobs",
            "block-job-set-speed device=job1 speed=65536",
            "block-job-cancel device=job1",
            "job-resume id=job1",
            "job-cancel id=job1",
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


def test_finalisation_and_dismissal_may_be_by_hand(qmp: QmpServer) -> None:
    found = answers(
        shell(
            qmp,
            f"{DUMMY} auto-finalize=false",
            SHOW,
            "job-dismiss id=job1",
            "job-finalize id=job1",
            "job-finalize id=job1",
            "block-job-dismiss id=job1",
            SHOW,
        )
    )
    _, early, finalized, late, dismissed = replies(found)
    verb = "Job 'job1' in state '{}' cannot accept command verb '{}'"
    assert early["error"]["desc"] == verb.format("pending", "dismiss")
    assert late["error"]["desc"] == verb.format("concluded", "finalize")
    assert finalized == dismissed == {"return": {}}
    assert statuses(found, "job1") == ["created", "running", "waiting", "pending", "concluded", "null"]
    assert [each["event"] for each in found if str(each.get("event")).startswith("BLOCK_")] == [
        "BLOCK_JOB_PENDING",
        "BLOCK_JOB_COMPLETED",
    ]


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
