"""What an administrator does to the files of final jobs while the real daemon runs."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from ..conftest import MakeDaemon
from .daemon import Daemon, wait_until

DUMMY = {"OP_ID": "OP_TEST_DUMMY", "messages": ["a line"], "result": 5}


@pytest.fixture
def daemon(make_daemon: MakeDaemon) -> Daemon:
    """A daemon with job 1, which is final, and whose files are written."""
    made = make_daemon().start()
    made.wait_for(made.submit(DUMMY), "success")
    wait_until(lambda: made.call("QueryStatus")["job_files"]["pending"] == 0, "the job file to be written")
    return made


def edit_as_vim(path: Path) -> None:
    text = path.read_bytes()
    os.rename(path, f"{path}~")
    path.write_bytes(text)
    os.unlink(f"{path}~")


def edit_as_sed(path: Path) -> None:
    text = path.read_bytes()
    new = path.with_name("sedA1b2C3")
    new.write_bytes(text)
    os.link(path, f"{path}.bak")
    os.rename(new, path)


def edit_away_and_back(path: Path) -> None:
    os.rename(path, path.with_name("aside"))
    time.sleep(0.05)
    os.rename(path.with_name("aside"), path)


@pytest.mark.parametrize("edit", (edit_as_vim, edit_as_sed, edit_away_and_back))
def test_a_file_that_is_put_back_costs_the_job_nothing(daemon: Daemon, edit: object) -> None:
    assert callable(edit)
    edit(daemon.state / "job-1")
    time.sleep(0.5)
    assert daemon.status(1) == "success"
    assert (daemon.state / "job-1.log").exists()
    daemon.restart()
    assert daemon.status(1) == "success"


def test_a_file_that_is_moved_to_the_archive_archives_the_job_with_its_log(daemon: Daemon) -> None:
    archive = daemon.state / "archive" / "0"
    archive.mkdir()
    os.rename(daemon.state / "job-1", archive / "job-1")
    wait_until(lambda: (archive / "job-1.log").exists(), "the log to follow")
    assert sorted(path.name for path in daemon.state.glob("job-1*")) == []
    rows = daemon.call("QueryJobs", [1], ["status", "archived", "opresult"], None)
    assert rows == [["success", True, [5]]]
    assert [row[4] for row in daemon.call("QueryJobLog", 1, 0, 10)] == ["a line"]
    daemon.restart()
    assert daemon.call("QueryJobs", [1], ["status", "archived"], None) == [["success", True]]


def test_a_file_that_is_removed_is_the_end_of_the_job(daemon: Daemon) -> None:
    os.unlink(daemon.state / "job-1")
    wait_until(lambda: daemon.status(1) is None, "the job to be forgotten")
    wait_until(lambda: not list(daemon.state.glob("job-1*")), "its log to be removed")


def test_dependents_find_a_job_at_every_moment_of_its_archiving(daemon: Daemon) -> None:
    with daemon.connect() as client:
        for _ in range(50):
            first = client.call("SubmitJob", [DUMMY], {"auto_dismiss": True})
            second = client.call("SubmitJob", [{**DUMMY, "depends": [[first, ["success"]]]}])
            while True:
                [[status, archived], [other]] = client.call("QueryJobs", [first], ["status", "archived"], None) + (
                    client.call("QueryJobs", [second], ["status"], None)
                )
                assert status is not None, "it is nowhere"
                if archived and other in ("success", "error", "canceled"):
                    assert other == "success"
                    break
