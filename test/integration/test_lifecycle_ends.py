"""What becomes of jobs in every state when the daemon stops on SIGTERM, quits as QEMU does, or has no disk space."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ..conftest import MakeDaemon
from .daemon import wait_until
from .stages import (
    COMMITTING,
    CREATED,
    DISMISSED,
    DONE,
    ENDED,
    FAILING,
    HELD,
    PAUSED,
    PENDING,
    PENDING_JOB,
    READY,
    RUNNING,
    STAGING,
    STANDBY,
    Case,
    Kind,
    Stages,
    again,
    lone,
)
from .test_qmp import CANCELED, connected

BUSY = lone(replace(PENDING, op={"locks": {"resource": {"busy": "exclusive"}}}))


def group(*members: Kind, after: tuple[str, ...] = (), ends: tuple[str, ...] = (), **options: Any) -> Case:
    return Case(members, after, ends, **options)


@pytest.fixture
def stages(make_daemon: MakeDaemon, tmp_path: Path) -> Stages:
    config: dict[str, dict[str, object]] = {"opcodes": STAGING, "workers": {"size": 40}, "stop": {"grace": "300ms"}}
    stages = Stages(make_daemon(config).start(), tmp_path)
    stages.submit("busy", BUSY)
    return stages


# SIGTERM

KEPT = {
    "created": lone(CREATED, "waiting created", "success"),
    "held": lone(HELD, "queued created held", "success"),
    "running again": lone(again(RUNNING), "running running", "success"),
    "paused again": lone(again(PAUSED), "queued paused held", "success"),
    "ready again": lone(again(READY), "running ready", "success"),
    "ready": lone(READY, "error concluded", "error"),
    "standby again": lone(again(STANDBY), "queued paused held", "success"),
    "pending": lone(PENDING, "running pending", "success"),
    "committing": lone(replace(COMMITTING, op={"deaf": False}), "running pending", "success"),
    "committing again": lone(again(COMMITTING), "running pending", "success"),
    "undone": lone(FAILING, "running aborting", "error"),
    "group that waits": group(
        DONE,
        again(READY),
        again(RUNNING),
        after=("running waiting", "running ready", "running running"),
        ends=("success",) * 3,
    ),
    "group that is pending": group(
        PENDING, replace(PENDING, job={}), after=("running pending",) * 2, ends=("success",) * 2
    ),
    "group that is prepared": group(
        PENDING,
        Kind((), holds=("prepare",)),
        after=("running pending",) * 2,
        ends=("success",) * 2,
        then=((0, "FinalizeJob"), (1, "prepare")),
    ),
    "group that is committed": group(
        again(Kind((), holds=("commit",))),
        Kind(()),
        after=("running pending", "success concluded"),
        ends=("success",) * 2,
        then=((0, "commit"),),
    ),
}


@pytest.mark.parametrize("how", ["at once", "in time"])
def test_a_signal_leaves_each_job_where_the_next_start_goes_on_with_it(stages: Stages, how: str) -> None:
    ids = {name: stages.submit(name, case) for name, case in KEPT.items()}
    stages.daemon.signal(signal.SIGTERM)
    if how == "at once":
        wait_until(lambda: "Stopping on SIGTERM" in stages.daemon.said(), "the daemon to hear it")
        stages.daemon.signal(signal.SIGTERM)
    assert stages.daemon.wait() == 0
    stages.daemon.start()
    for name, case in KEPT.items():
        stages.until_described(name, ids[name], case.after)
    stages.drive([1, *(job_id for each in ids.values() for job_id in each)])
    for name, case in KEPT.items():
        assert tuple(status for [status] in stages.rows(ids[name], "status")) == case.ends, name
        stages.check_ended(name, ids[name])


@pytest.mark.parametrize(("again", "seconds", "whole"), [(False, 60, True), (False, 0.01, False), (True, 60, False)])
def test_a_signal_between_the_commits_of_a_group_loses_none(
    make_daemon: MakeDaemon, tmp_path: Path, again: bool, seconds: float, whole: bool
) -> None:
    """They go on as long as running code may; those that do not come to it are left to the next start."""
    stages = Stages(make_daemon({"opcodes": STAGING, "stop": {"grace": seconds}}).start(), tmp_path)
    slow = Kind((), again=again, op={"takes": 0.05})
    ids = stages.submit("group", group(*(slow,) * 6, then=((5, "commit"),)))
    assert stages.daemon.stop() == 0
    assert len(noted(stages, "commit")) == len(noted(stages, "commit done")) + len(noted(stages, "commit stopped"))
    assert (len(noted(stages, "commit done")) == 6) is whole
    stages.daemon.start()
    stages.drive(ids)
    assert [status for [status] in stages.rows(ids, "status")] == ["success"] * 6
    stages.check_ended("group", ids)
    assert len(noted(stages, "commit done")) == 6


def noted(stages: Stages, what: str) -> list[str]:
    return [line for line in stages.all_notes() if line.endswith(f" {what}")]


# quit

CANCELED_BY_QUIT = {
    "created": lone(CREATED),
    "held": lone(HELD),
    "running": lone(RUNNING),
    "paused": lone(PAUSED),
    "ready": lone(READY),
    "standby again": lone(again(STANDBY)),
    "pending": lone(PENDING),
    "group that waits": group(DONE, RUNNING, replace(PAUSED, job=PENDING_JOB)),
    "group that is pending": group(PENDING, replace(PENDING, job={})),
    "group that is held": group(HELD, CREATED),
}


def test_quit_cancels_the_newest_first_in_whatever_state_and_all_is_recorded(stages: Stages) -> None:
    concluded = stages.submit("concluded", lone(ENDED))
    stages.submit("dismissed", lone(DISMISSED))
    ids = [1, *(job_id for name, case in CANCELED_BY_QUIT.items() for job_id in stages.submit(name, case))]
    states = dict(stages.rows(ids, "id", "lifecycle"))
    with connected(stages.daemon) as client, connected(stages.daemon) as other:
        assert client.execute("quit") == {}
        assert client.receive() is None
        other.rest()
        assert other.events == client.events
        assert (client.events[0]["event"], client.events[0]["data"]["reason"]) == ("SHUTDOWN", "host-qmp-quit")
        for job_id, state in states.items():
            before = {"paused": ["running"], "standby": ["ready"]}.get(state, [])
            wanted = ["aborting", "concluded", "null"] if state == "created" else [*before, *CANCELED, "null"]
            assert client.heard(f"job{job_id}") == wanted, f"job {job_id}, which was {state}"
        assert client.heard(f"job{concluded[0]}") == ["null"]
        ends = [each["data"]["id"] for each in client.events if each.get("data", {}).get("status") == "concluded"]
        assert ends == [f"job{job_id}" for job_id in sorted(ids, reverse=True)]
    assert stages.daemon.wait() == 0
    for job_id in ids:
        check_file(stages.daemon.state / f"job-{job_id}", "canceled")
    check_file(stages.daemon.state / f"job-{concluded[0]}", "success")
    stages.daemon.start()
    assert stages.rows(ids, "status") == [["canceled"]] * len(ids)
    for job_id in ids:
        stages.check_ended(f"job {job_id}", [job_id])


def check_file(path: Path, status: str) -> None:
    """Checks what the file of a job says when no daemon runs."""
    job = json.loads(path.read_text())
    assert [op["status"] for op in job["ops"]] == [status], job
    assert job["end_timestamp"] is not None and job["end_timestamp"] >= job["received_timestamp"], job
    assert job["jqueue"]["phase"] == "done", job
