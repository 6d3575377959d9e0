"""The lifecycle on the real daemon, by all three ways in: our protocol, the command line, QMP."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .daemon import Daemon, wait_until
from .scene import running
from .stages import Stages
from .test_qmp import CANCELED, Client, connected
from .tool import jqueue

WORK: dict[str, object] = {"OP_ID": "OP_TEST_LIFECYCLE"}
MIRROR = {**WORK, "converges": True}
CHUNK = 65536
DONE = ["created", "running", "waiting", "pending"]
COMPLETED = ["BLOCK_JOB_COMPLETED", "concluded"]
CONVERGED = ["created", "running", "ready", "BLOCK_JOB_READY"]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("lifecycle"), {"workers": {"size": 20}}) as daemon:
        yield daemon


@pytest.fixture
def stages(daemon: Daemon, tmp_path: Path) -> Stages:
    return Stages(daemon, tmp_path)


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    with connected(daemon) as client:
        yield client


def submit(client: Client, *ops: object, **options: object) -> str:
    name: str = client.execute("__org.jqueue_submit", ops=list(ops), **options)["id"]
    return name


def group(client: Client, *jobs: object) -> list[str]:
    names: list[str] = client.execute("__org.jqueue_submit-many", jobs=list(jobs), group=True)["ids"]
    return names


def number(job: str) -> int:
    return int(job.removeprefix("job"))


# Pause


def test_a_command_stands_still_with_all_its_processes_and_goes_on(stages: Stages, client: Client) -> None:
    job = submit(client, {"OP_ID": "OP_RUN_COMMAND", "argv": ["sh", "-c", "sleep 600 & echo $!; echo $$; wait"]})

    def pids() -> list[str]:
        return [str(entry[4]) for entry in stages.daemon.call("QueryJobLog", number(job), 0, 10)]

    def states() -> str:
        return "".join(state_of(pid) for pid in parent_and_child)

    wait_until(lambda: len(pids()) == 2, "the command to start")
    parent_and_child = pids()
    assert client.execute("job-pause", id=job) == {}
    wait_until(lambda: states() == "TT", "both processes to stop")
    client.until(job, "paused")
    assert jqueue(stages.daemon, "resume", str(number(job))).status == 0
    wait_until(lambda: "T" not in states(), "both processes to go on")
    assert client.execute("job-pause", id=job) == client.execute("job-cancel", id=job) == {}
    client.until(job, "concluded")
    assert states().strip("Z") == "", "a process of the command is left"


def state_of(pid: str) -> str:
    """The letter for the state of a process; none if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""


# Speed


def test_the_pace_follows_the_speed(stages: Stages) -> None:
    op = {**WORK, "chunks": 100_000, "chunk_size": CHUNK, "speed": CHUNK * 20}
    job_id = stages.daemon.submit(op)

    def chunks() -> int:
        [[progress]] = stages.rows([job_id], "progress")
        return progress[0] // CHUNK if progress is not None else 0

    def seconds_for(count: int) -> float:
        start = chunks()
        wait_until(lambda: chunks() > start, "the next chunk")
        began, start = time.monotonic(), chunks()
        wait_until(lambda: chunks() >= start + count, f"{count} chunks")
        return (time.monotonic() - began) / (chunks() - start)

    fast = seconds_for(15)
    assert stages.daemon.call("SetJobSpeed", job_id, CHUNK * 2)[0] is True
    slow = seconds_for(2)
    assert jqueue(stages.daemon, "speed", str(CHUNK * 20), str(job_id)).status == 0
    fast_again = seconds_for(15)
    assert slow > 2 * fast and slow > 2 * fast_again
    assert stages.daemon.call("CancelJob", job_id)[0] is True
    assert stages.daemon.wait_for(job_id) == "canceled"


@pytest.mark.parametrize("raised", [0, 2**40])
def test_a_raised_speed_wakes_who_sleeps_for_the_lower_one(stages: Stages, client: Client, raised: int) -> None:
    job = submit(client, {**WORK, "chunks": 2, "chunk_size": 2**30, "speed": 2})
    client.until(job, "running")
    wait_until(lambda: stages.rows([number(job)], "progress")[0][0], "its first chunk, which it pays for with years")
    assert client.execute("block-job-set-speed", device=job, speed=1) == {}
    (info,) = (each for each in client.execute("query-block-jobs") if each["device"] == job)
    assert (info["status"], info["speed"]) == ("running", 1)
    assert client.execute("block-job-set-speed", device=job, speed=raised) == {}
    client.until(job, "concluded")
    assert stages.daemon.status(number(job)) == "success"


# Ready


def told(stages: Stages, job: str) -> Any:
    [[[result]]] = stages.rows([number(job)], "opresult")
    return result


def test_a_soft_cancel_of_a_ready_job_keeps_its_result_and_a_forced_one_throws_it_away(
    stages: Stages, client: Client
) -> None:
    soft, forced, job_cancel = (submit(client, MIRROR) for _ in range(3))
    for job in (soft, forced, job_cancel):
        client.until(job, "BLOCK_JOB_READY")
    assert client.execute("block-job-cancel", device=soft) == {}
    assert client.execute("block-job-cancel", device=forced, force=True) == {}
    assert client.execute("job-cancel", id=job_cancel) == {}
    for job in (soft, forced, job_cancel):
        client.until(job, "concluded")
    assert client.heard(soft) == [*CONVERGED, "waiting", "pending", *COMPLETED]
    assert told(stages, soft) == {"told": "leave"}
    assert client.heard(forced) == client.heard(job_cancel) == [*CONVERGED, *CANCELED]
    errors = {each["id"]: each.get("error") for each in client.execute("query-jobs")}
    assert [errors[job] for job in (soft, forced, job_cancel)] == [None, *["Operation canceled"] * 2]


def test_a_job_in_standby_that_is_completed_goes_on_when_it_is_resumed(stages: Stages, client: Client) -> None:
    job = submit(client, MIRROR)
    client.until(job, "BLOCK_JOB_READY")
    assert client.execute("job-pause", id=job) == {}
    client.until(job, "standby")
    assert client.error("block-job-cancel", device=job) == f"The block job for device '{job}' is currently paused"
    assert client.execute("job-complete", id=job) == client.execute("job-complete", id=job) == {}
    assert stages.rows([number(job)], "lifecycle", "completion") == [["standby", "complete"]]
    assert jqueue(stages.daemon, "resume", str(number(job))).status == 0
    client.until(job, "concluded")
    assert client.heard(job) == [*CONVERGED, "standby", "ready", "waiting", "pending", *COMPLETED]
    assert told(stages, job) == {"told": "complete"}


# The end of a group


def test_one_is_finalized_and_all_are(stages: Stages, client: Client) -> None:
    jobs = group(client, {"ops": [WORK]}, {"ops": [WORK], "auto_finalize": False}, {"ops": [WORK]})
    client.until(jobs[1], "BLOCK_JOB_PENDING")
    for job in jobs:
        stages.until(number(job), "pending")
    assert client.error("job-complete", id=jobs[0]).startswith(f"Job '{jobs[0]}' in state 'pending' cannot accept")
    assert client.execute("job-finalize", id=jobs[0]) == {}
    for job in jobs:
        client.until(job, "concluded")
    assert client.heard(jobs[0]) == client.heard(jobs[2]) == [*DONE, *COMPLETED]
    assert client.heard(jobs[1]) == [*DONE, "BLOCK_JOB_PENDING", *COMPLETED]
    assert [status for [status] in stages.rows([number(job) for job in jobs], "status")] == ["success"] * 3
    assert client.error("job-finalize", id=jobs[2]).endswith(
        "in state 'concluded' cannot accept command verb 'finalize'"
    )


def test_a_failure_at_the_last_moment_is_in_the_event_and_not_in_the_answer(stages: Stages, client: Client) -> None:
    notes = {"notes": str(stages.notes)}
    jobs = group(
        client,
        {"ops": [{**WORK, **notes}], "auto_finalize": False},
        {"ops": [{**WORK, **notes, "fails": ["prepare"]}], "auto_finalize": False},
    )
    for job in jobs:
        client.until(job, "BLOCK_JOB_PENDING")
    assert client.execute("job-finalize", id=jobs[0]) == {}
    for job in jobs:
        client.until(job, "concluded")
    assert client.heard(jobs[0]) == [*DONE, "BLOCK_JOB_PENDING", *CANCELED]
    assert client.heard(jobs[1]) == [*DONE, "BLOCK_JOB_PENDING", "aborting", *COMPLETED]
    ends = [each["data"] for each in client.events if each["event"] == "BLOCK_JOB_COMPLETED"]
    assert [end["error"] for end in ends if end["device"] == jobs[1]] == ["The opcode was told to fail in prepare"]
    ids = [number(job) for job in jobs]
    assert [status for [status] in stages.rows(ids, "status")] == ["canceled", "error"]
    undone = [line for line in stages.all_notes() if line.endswith(("commit", "abort"))]
    assert sorted(undone) == sorted(f"{job_id}.0 abort" for job_id in ids)


# Events


def test_a_subscriber_and_a_qmp_client_are_told_the_same_in_the_same_order(daemon: Daemon, client: Client) -> None:
    subscriber = daemon.connect()
    subscriber.call("Subscribe", {"jobs": None, "changes": False, "log": False, "lifecycle": True})
    mirror = submit(client, MIRROR, auto_dismiss=True)
    failing = submit(client, {**WORK, "fails": ["exec"]})
    members = group(client, {"ops": [WORK]}, {"ops": [MIRROR], "auto_finalize": False})
    for job in (mirror, members[1]):
        client.until(job, "BLOCK_JOB_READY")
    client.execute("job-pause", id=mirror)
    client.until(mirror, "standby")
    client.execute("job-resume", id=mirror)
    for job in (mirror, members[1]):
        client.execute("job-complete", id=job)
    client.until(members[1], "BLOCK_JOB_PENDING")
    assert daemon.call("FinalizeJob", number(members[0]))[0] is True
    for job, last in ((mirror, "null"), (failing, "concluded"), *((job, "concluded") for job in members)):
        client.until(job, last)
    by_qmp = [(each["event"], each["data"]) for each in client.events]
    notified = subscriber.notifications(timeout=20)
    by_us = [(event["event"], event["data"]) for _, [event] in (next(notified) for _ in by_qmp)]
    assert by_us == by_qmp
