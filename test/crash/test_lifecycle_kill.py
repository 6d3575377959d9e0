"""kill -9 of the real daemon in every state of the lifecycle, of lone jobs and of groups; and at random moments.

What a state becomes is in the design, 3.2, and in `doc/reference/states.md`.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jqueue.workers import process

from ..conftest import MakeDaemon
from ..integration.daemon import wait_until
from ..integration.stages import (
    CANCELING,
    COMMITTING,
    COMPLETED,
    COMPLETED_STANDBY,
    CREATED,
    DISMISSED,
    DONE,
    ENDED,
    FAILING,
    HELD,
    LEFT,
    PAUSED,
    PENDING,
    PENDING_JOB,
    READY,
    RUNNING,
    STAGING,
    STANDBY,
    UNDONE,
    Case,
    Kind,
    Stages,
    again,
    declared,
    lone,
)
from .clients import at_once
from .lifecycle_clients import Client, Submission, check_alone, check_end, check_unfinished

KILLS = 14

LONE = {
    "created": lone(CREATED, "waiting created", "success", keeps=False),
    "held": lone(HELD, "queued created held", "success", keeps=False),
    "running": lone(RUNNING, "error concluded", "error", keeps=False),
    "running again": lone(again(RUNNING), "running running", "success", keeps=False),
    "paused": lone(PAUSED, "error concluded", "error", keeps=False),
    "paused again": lone(again(PAUSED), "queued paused held", "success", keeps=False),
    "ready": lone(READY, "error concluded", "error", keeps=False),
    "ready again": lone(again(READY), "running ready", "success", keeps=False),
    "standby again": lone(again(STANDBY), "queued paused held", "success", keeps=False),
    "completed again": lone(again(COMPLETED), "running ready", "success", keeps=False),
    "left again": lone(again(LEFT), "running ready", "success", keeps=False),
    "completed standby again": lone(again(COMPLETED_STANDBY), "queued paused held", "success", keeps=False),
    "pending": lone(PENDING, "running pending", "success"),
    "preparing": lone(
        Kind(("pending", "FinalizeJob", "prepare"), holds=("prepare",), job=PENDING_JOB), "running pending", "success"
    ),
    "preparing by itself": lone(Kind(("prepare",), holds=("prepare",)), "error concluded", "error", keeps=False),
    "committing": lone(COMMITTING, "running pending", "success"),
    "committing later": lone(
        replace(COMMITTING, steps=("pending", "FinalizeJob", "commit"), job=PENDING_JOB), "running pending", "success"
    ),
    "committing declared": lone(declared(COMMITTING, "committing declared-0"), "running pending", "success"),
    "failing": lone(FAILING, "running aborting", "error"),
    "failing declared": lone(declared(FAILING, "failing declared-0"), "running aborting", "error"),
    "failing later": lone(replace(FAILING, job=PENDING_JOB), "running aborting", "error"),
    "canceling": lone(CANCELING, "canceled concluded", "canceled", keeps=False),
    "undone": lone(UNDONE, "canceling aborting", "canceled"),
    "undone later": lone(replace(UNDONE, job=PENDING_JOB), "canceling aborting", "canceled"),
    "undone before another attempt": lone(
        replace(again(RUNNING), holds=("exec", "abort")), "running running", "success", keeps=False
    ),
    "concluded": lone(ENDED, "success concluded", "success", keeps=False),
    "null": lone(DISMISSED, "success null", "success", keeps=False),
}

ALL_SUCCESS, ALL_CANCELED = ("success",) * 3, ("canceled",) * 3
FIRST_FAILED = ("error", "canceled", "canceled")
GONE_WITH_FIRST = ("error concluded", "canceled concluded", "canceled concluded")
GONE = ("canceled concluded",) * 3
PLAIN = Kind(())
OPENED = Kind((), holds=("exec",), op={"fails": ["exec"]})

GROUPS = {
    "created": Case((CREATED,) * 3, ("waiting created",) * 3, ALL_SUCCESS, keeps=False),
    "one held": Case(
        (HELD, CREATED, CREATED), ("queued created held", *("waiting created",) * 2), ALL_SUCCESS, keeps=False
    ),
    "one running": Case((RUNNING, DONE, DONE), GONE_WITH_FIRST, FIRST_FAILED, keeps=False),
    "one running again": Case(
        (again(RUNNING), DONE, DONE), ("running running", "running waiting", "running waiting"), ALL_SUCCESS
    ),
    "all running": Case((RUNNING,) * 3, ("error concluded",) * 3, ("error",) * 3, keeps=False),
    "all running again": Case((again(RUNNING),) * 3, ("running running",) * 3, ALL_SUCCESS),
    "one of three running again": Case(
        (RUNNING, again(RUNNING), again(READY)), GONE_WITH_FIRST, FIRST_FAILED, keeps=False
    ),
    "one paused": Case((PAUSED, DONE, DONE), GONE_WITH_FIRST, FIRST_FAILED, keeps=False),
    "one paused again": Case(
        (again(PAUSED), DONE, DONE), ("queued paused held", "running waiting", "running waiting"), ALL_SUCCESS
    ),
    "one ready": Case((READY, DONE, DONE), GONE_WITH_FIRST, FIRST_FAILED, keeps=False),
    "one ready again": Case(
        (again(READY), DONE, DONE), ("running ready", "running waiting", "running waiting"), ALL_SUCCESS
    ),
    "all ready again": Case((again(READY),) * 3, ("running ready",) * 3, ALL_SUCCESS),
    "one standby again": Case(
        (again(STANDBY), DONE, DONE), ("queued paused held", "running waiting", "running waiting"), ALL_SUCCESS
    ),
    "one completed again": Case(
        (again(COMPLETED), DONE, DONE), ("running ready", "running waiting", "running waiting"), ALL_SUCCESS
    ),
    "all held between, one waiting": Case(
        (again(COMPLETED_STANDBY), again(PAUSED), DONE),
        ("queued paused held", "queued paused held", "running waiting"),
        ALL_SUCCESS,
    ),
    "pending": Case((replace(PENDING, job={}), PENDING, PENDING), ("running pending",) * 3, ALL_SUCCESS),
    "preparing": Case(
        (PENDING, Kind((), holds=("prepare",)), replace(PENDING, job={})),
        ("running pending",) * 3,
        ALL_SUCCESS,
        then=((0, "FinalizeJob"), (1, "prepare")),
    ),
    "committing the newest": Case(
        (PLAIN, PLAIN, Kind(("commit",), holds=("commit",))), ("running pending",) * 3, ALL_SUCCESS
    ),
    "committing the oldest": Case(
        (Kind(("commit",), holds=("commit",)), PLAIN, PLAIN),
        ("running pending", "success concluded", "success concluded"),
        ALL_SUCCESS,
    ),
    "undoing what failed": Case(
        (replace(FAILING, holds=("exec", "abort"), steps=()), DONE, DONE),
        ("running aborting", "canceled concluded", "canceled concluded"),
        FIRST_FAILED,
        then=((0, "open exec"), (0, "abort")),
    ),
    "undoing because of another": Case(
        (OPENED, Kind(("waiting",), holds=("abort",)), DONE),
        ("running aborting", "canceling aborting", "canceled concluded"),
        FIRST_FAILED,
        then=((0, "open exec"), (1, "abort")),
    ),
    "refused at the last moment": Case(
        (PENDING, Kind((), holds=("abort",)), Kind((), op={"fails": ["prepare"]})),
        ("canceling aborting", "canceling aborting", "error concluded"),
        ("canceled", "canceled", "error"),
        then=((0, "FinalizeJob"), (1, "abort")),
    ),
    "canceled while code runs": Case((DONE, again(RUNNING), CANCELING), GONE, ALL_CANCELED, keeps=False),
    "canceled when pending": Case(
        (PENDING, PENDING, replace(PENDING, holds=("abort",))),
        ("canceling aborting",) * 3,
        ALL_CANCELED,
        then=((0, "CancelJob"), (2, "abort")),
    ),
    "concluded": Case((ENDED,) * 3, ("success concluded",) * 3, ALL_SUCCESS, keeps=False),
    "null": Case(
        (DISMISSED, ENDED, DISMISSED),
        ("success null", "success concluded", "success null"),
        ALL_SUCCESS,
        keeps=False,
    ),
}


@pytest.fixture
def stages(make_daemon: MakeDaemon, tmp_path: Path) -> Stages:
    daemon = make_daemon({"opcodes": STAGING, "workers": {"size": 80}}).start()
    stages = Stages(daemon, tmp_path)
    holder = replace(PENDING, op={"locks": {"resource": {"busy": "exclusive"}}})
    stages.submit("busy", lone(holder, "running pending", "success"))
    return stages


def check_kill(stages: Stages, cases: dict[str, Case], kills: int) -> None:
    """Brings all jobs where they belong, kills the daemon, and looks what becomes of them."""
    [busy] = stages.rows([1], "id")[0]
    ids = {name: stages.submit(name, case) for name, case in cases.items()}
    rivals = {name: contend(stages, name, case) for name, case in cases.items() if case.keeps}
    for _ in range(kills):
        stages.daemon.kill()
        stages.daemon.start()
    for name, case in cases.items():
        stages.until_described(name, ids[name], case.after)
    for name, rival in rivals.items():
        [reason] = stages.daemon.call("ExplainJob", rival)["reasons"]
        assert (reason["kind"], [holder["id"] for holder in reason["holders"]]) == ("lock", ids[name][:1]), name
    stages.drive([busy, *(job_id for each in ids.values() for job_id in each), *rivals.values()])
    for name, case in cases.items():
        assert tuple(status for [status] in stages.rows(ids[name], "status")) == case.ends, name
        stages.check_ended(name, ids[name])
    notes = [line.partition(".")[0] for line in stages.all_notes()]
    for name, rival in rivals.items():
        last = max(place for place, who in enumerate(notes) if who in map(str, ids[name]))
        assert last < notes.index(str(rival)), f"{name}: another job had its locks before it had ended"


def contend(stages: Stages, name: str, case: Case) -> int:
    """Submits the most urgent job that there can be for the locks of a case."""
    locks = {f"{name}-{number}": "exclusive" for number in range(len(case.members))}
    op = {**stages.op(f"rival-{name}", Kind(())), "locks": {"resource": locks}, "priority": -20}
    return stages.daemon.submit(op, name=f"rival-{name}")


@pytest.mark.parametrize("kills", [1, 2])
def test_a_lone_job_goes_on_from_each_state_as_is_written(stages: Stages, kills: int) -> None:
    check_kill(stages, LONE, kills)


@pytest.mark.parametrize("kills", [1, 2])
def test_a_group_goes_on_from_each_state_as_is_written(stages: Stages, kills: int) -> None:
    check_kill(stages, GROUPS, kills)


def test_a_command_that_stood_still_when_the_daemon_died_is_gone_before_the_next_one_answers(
    make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    stages = Stages(make_daemon().start(), tmp_path)
    script = "sleep 600 & echo $!; echo $$; wait"
    job_id = stages.daemon.submit({"OP_ID": "OP_RUN_COMMAND", "argv": ["sh", "-c", script]})

    def pids() -> list[int]:
        return [int(entry[4]) for entry in stages.daemon.call("QueryJobLog", job_id, 0, 10)]

    wait_until(lambda: len(pids()) == 2, "the command to start")
    found = pids()
    assert stages.daemon.call("PauseJob", job_id)[0] is True
    stages.until(job_id, "paused")
    stages.daemon.kill()
    assert all(process.look_up(pid) for pid in found), "the command has not died with the daemon"
    stages.daemon.start()
    assert [left for pid in found if (left := process.look_up(pid)) is not None and not left.zombie] == []
    assert stages.described([job_id]) == ("error concluded",)


FIELDS = ("id", "name", "status", "phase", "paused", "speed", "auto_finalize")


def rows_of(stages: Stages, submissions: Sequence[Submission]) -> Iterator[tuple[Submission, list[dict[str, Any]]]]:
    ids = [job_id for each in submissions for job_id in each.ids]
    rows = {row[0]: dict(zip(FIELDS, row, strict=True)) for row in stages.rows(ids, *FIELDS)}
    for each in submissions:
        yield each, [rows[job_id] for job_id in each.ids]


@pytest.mark.parametrize("seed", [11])
def test_groups_end_all_or_none_and_answers_stay_true_over_kills_at_any_moment(
    make_daemon: MakeDaemon, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    config: dict[str, dict[str, object]] = {
        "opcodes": STAGING,
        "workers": {"size": 8},
        "stop": {"grace": "100ms"},
    }
    daemon = make_daemon(config).start()
    stages = Stages(daemon, tmp_path)
    clients = [Client(f"client{n}", daemon.socket, stages.notes, random.Random(seed * 100 + n)) for n in range(3)]
    for kill in range(KILLS):
        threads = at_once(*(client.live for client in clients))
        time.sleep(chance.uniform(0.05, 0.4))
        if chance.random() < 0.25:
            daemon.signal(signal.SIGTERM)
            time.sleep(chance.uniform(0.0, 0.3))
        daemon.kill()
        for thread in threads:
            thread.join()
        if kill % 4 == 0:
            daemon.spawn()
            time.sleep(chance.uniform(0.2, 0.8))  # in the middle of its recovery, or soon after
            daemon.kill()
        daemon.start()
        for client in clients:
            client.send_again(daemon.call)
            for submission, rows in rows_of(stages, client.submissions):
                check_unfinished(submission, rows)
    submissions = [each for client in clients for each in client.submissions]
    stages.drive([job_id for each in submissions for job_id in each.ids])
    for each, rows in rows_of(stages, submissions):
        stages.check_ended(each.name, each.ids)
        check_end(each, rows, stages)
    check_alone(submissions, stages)
    asked = {wish.verb for each in submissions for life in each.lives for wish in life.wishes if not wish.refused}
    assert {"Pause", "Complete", "Finalize", "Cancel"} <= asked
    assert daemon.stop() == 0
