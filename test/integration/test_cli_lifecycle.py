"""The command line drives jobs through their whole life, on a real daemon."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .daemon import Daemon, wait_until
from .scene import running
from .tool import Running, jqueue

MIRROR = {"OP_ID": "OP_TEST_LIFECYCLE", "converges": True}
WORK = {"OP_ID": "OP_TEST_LIFECYCLE"}
SLOW = {"OP_ID": "OP_TEST_LIFECYCLE", "chunks": 2, "chunk_size": 2**30, "speed": 2**20}
"""Work that takes a quarter of an hour at the speed that it starts with."""
Follow = Callable[..., Running]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with running(tmp_path / "daemon", {}) as daemon:
        yield daemon


@pytest.fixture
def follow(daemon: Daemon, tmp_path: Path) -> Iterator[Follow]:
    """Starts command lines that go on until jobs have ended."""
    started: list[Running] = []

    def start(*words: str) -> Running:
        directory = tmp_path / f"follower{len(started)}"
        directory.mkdir()
        started.append(Running(daemon, directory, *words))
        return started[-1]

    yield start
    for one in started:
        one.close()


def is_at(daemon: Daemon, job_id: int, lifecycle: str) -> None:
    """Waits until a job is in a state of its lifecycle."""
    wait_until(lambda: daemon.call("QueryJobs", [job_id], ["lifecycle"]) == [[lifecycle]], f"job {job_id} {lifecycle}")


def stage(daemon: Daemon, job_id: int) -> str:
    return jqueue(daemon, "list", "--no-header", "-o", "stage", str(job_id)).out.strip()


def described(directory: Path, text: object) -> str:
    """Writes a description to a file."""
    path = directory / "jobs.json"
    path.write_text(json.dumps(text))
    return str(path)


def test_a_job_that_is_ready_says_so_to_its_follower_and_ends_when_it_is_completed(
    daemon: Daemon, follow: Follow, tmp_path: Path
) -> None:
    follower = follow("submit", "--follow", described(tmp_path, [MIRROR]))
    follower.has_said("job 1 is ready: `jqueue complete 1` ends it")
    assert stage(daemon, 1) == "ready: `jqueue complete 1`"
    assert jqueue(daemon, "pause", "1").status == 0
    follower.has_said("job 1: running (standby)")
    assert stage(daemon, 1) == "standby: `jqueue resume 1`"
    assert jqueue(daemon, "complete", "1").status == 0
    assert follower.process.poll() is None
    assert jqueue(daemon, "resume", "1").status == 0
    assert follower.wait() == 0
    assert daemon.call("QueryJobs", [1], ["completion", "opresult"]) == [["complete", [{"told": "complete"}]]]


def test_a_soft_cancel_lets_a_ready_job_end_well_and_each_step_is_seen(daemon: Daemon, follow: Follow) -> None:
    job_id = daemon.submit(MIRROR, auto_dismiss=True)
    is_at(daemon, job_id, "ready")
    follower = follow("watch", "--json", "--lifecycle", str(job_id))
    follower.has_said('"ready"')
    assert jqueue(daemon, "cancel", "--soft", str(job_id)).status == 0
    assert follower.wait() == 0
    lines = [json.loads(line) for line in follower.out]
    steps = [line["data"].get("status", line["event"]) for line in lines if line["type"] == "lifecycle"]
    assert steps == ["waiting", "pending", "BLOCK_JOB_COMPLETED", "concluded", "null"]


def test_a_group_of_a_file_is_finalised_as_one(daemon: Daemon, follow: Follow, tmp_path: Path) -> None:
    jobs = [{"ops": [SLOW]}, {"ops": [WORK], "auto_finalize": False}]
    follower = follow("submit", "--follow", described(tmp_path, {"group": "web", "jobs": jobs}))
    is_at(daemon, 2, "waiting")
    assert stage(daemon, 2) == "done, waits for its group web (1-2)"
    assert jqueue(daemon, "speed", "1.5M", "1").status == 0
    wait_until(lambda: stage(daemon, 1) == "50%, at most 1.5 MiB/s", "its first half")
    assert jqueue(daemon, "speed", "unlimited", "1").status == 0
    follower.has_said("the group of jobs 1-2 is pending: `jqueue finalize 1` ends it")
    assert jqueue(daemon, "wait", "--lifecycle", "ready,pending", "1,2")[:2] == (0, "")
    assert jqueue(daemon, "wait", "--lifecycle", "pendign", "1").status == 2
    assert stage(daemon, 2) == "pending: `jqueue finalize 2`"
    assert jqueue(daemon, "finalize", "1,2").status == 0
    assert follower.wait() == 0
    assert jqueue(daemon, "wait", "1,2").out == "1 success\n2 success\n"


def test_a_spooled_group_is_cancelled_as_one(daemon: Daemon, tmp_path: Path) -> None:
    words = ["--spool", "--group", "disks", "--no-auto-finalize", "--state-dir", str(daemon.state)]
    assert jqueue(daemon, "submit", *words, described(tmp_path, [{"ops": [WORK]}, {"ops": [SLOW]}])).status == 0
    wait_until(lambda: len(daemon.call("QueryJobs", None, ["id"])) == 2, "both jobs")
    is_at(daemon, 1, "waiting")
    assert daemon.call("QueryJobs", [1, 2], ["group", "members"]) == [["disks", [1, 2]]] * 2
    assert jqueue(daemon, "cancel", "2").status == 0
    ended = jqueue(daemon, "wait", "1,2")
    assert (ended.status, sorted(ended.out.splitlines())) == (3, ["1 canceled", "2 canceled"])
