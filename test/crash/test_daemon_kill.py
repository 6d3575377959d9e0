"""The real daemon under kill -9, in the middle of requests under load.

After each restart every promise is checked against what clients were told before: design, section 2.
"""

from __future__ import annotations

import json
import random
import signal
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from jqueue.jobs.status import CANCELED, CANCELING, ERROR, FINALIZED, RUNNING, SUCCESS

from ..conftest import MakeDaemon
from ..integration.daemon import Daemon, Pipeline, wait_until
from ..integration.notes import NOTING, Notes
from .clients import Client, Observer, Told, at_once

ROUNDS = 6
FIELDS = ["id", "name", "ops", "status", "opstatus", "oppriority", "archived"]


def rows_of(daemon: Daemon, ids: Iterable[int]) -> dict[int, dict[str, Any]]:
    rows = daemon.call("QueryJobs", sorted(ids), FIELDS, None)
    return {row[0]: dict(zip(FIELDS, row, strict=True)) for row in rows}


def statuses_in_files(daemon: Daemon) -> dict[int, list[str]]:
    """What the job files show; a half written one is in tmp/ and has another name."""
    found = {}
    for path in daemon.state.glob("job-*"):
        if path.suffix != ".log":
            found[int(path.name[4:])] = [op["status"] for op in json.loads(path.read_text())["ops"]]
    return found


def check_shown(shown: Mapping[int, list[str]], rows: Mapping[int, dict[str, Any]]) -> None:
    """No status that was shown is taken back."""
    for job_id, statuses in shown.items():
        row = rows[job_id]
        for op, before, after in zip(row["ops"], statuses, row["opstatus"], strict=True):
            if before in FINALIZED:
                assert after == before, f"job {job_id} was {statuses}, now {row}"
            elif before == CANCELING:
                assert after == CANCELED, f"job {job_id} was {statuses}, now {row}"
            elif before == RUNNING and op["OP_ID"] == "OP_NOTE":
                assert after in FINALIZED, f"job {job_id} was {statuses}, now {row}"


def check_told(told: Told, row: Mapping[str, Any]) -> None:
    """What was acknowledged is there, and as it was asked for."""
    assert row["name"] == told.request_id, f"job {told.job_id} is lost or another: {row}"
    for asked, op in zip(told.ops, row["ops"], strict=True):
        assert asked.items() <= op.items()
    if told.canceled:
        assert row["status"] == CANCELED, f"job {told.job_id} was said to be canceled: {row}"
    if told.archived:
        assert row["archived"] is True, f"job {told.job_id} was said to be archived: {row}"
    assert row["oppriority"][-1] in {wish.priority for wish in told.priorities}, f"{told}: {row}"


def send_again(daemon: Daemon, submissions: list[Told]) -> None:
    """A submission that is sent again gets the same job; one that was not answered gets its only one."""
    for _ in range(2):
        pipeline = Pipeline(daemon.socket)
        numbers = [
            pipeline.request("SubmitJob", told.ops, {"name": told.request_id, "request_id": told.request_id})
            for told in submissions
        ]
        for told, answer in zip(submissions, pipeline.gather(numbers), strict=True):
            assert answer.error is None, answer.error
            assert told.job_id in (None, answer.result), f"{told} got the job {answer.result} now"
            told.job_id = answer.result
        pipeline.close()


def check_log(daemon: Daemon, lines: Mapping[tuple[int, int], str]) -> None:
    """Lines that were shown are still there, with their serials."""
    by_job: dict[int, dict[int, str]] = {}
    for (job_id, serial), message in lines.items():
        by_job.setdefault(job_id, {})[serial] = message
    for job_id, shown in by_job.items():
        entries = daemon.call("QueryJobLog", job_id, 0, 1000)
        assert shown.items() <= {serial: message for _op, serial, _time, _kind, message in entries}.items()


def check_notes(notes: Notes, rows: Iterable[Mapping[str, Any]]) -> None:
    """What was to run once did not run twice, and what succeeded did run."""
    starts, ends = notes.count("start"), notes.count("end")
    for row in rows:
        for index, (op, status) in enumerate(zip(row["ops"], row["opstatus"], strict=True)):
            who = f"{row['id']}.{index}"
            if op["OP_ID"] == "OP_NOTE":
                assert starts[who] <= 1, f"{who} ran {starts[who]} times"
            if status == SUCCESS:
                assert starts[who] >= 1 and ends[who] >= 1, f"{who} is called successful, but did not run to its end"
            assert status in (SUCCESS, ERROR, CANCELED)


@pytest.mark.parametrize("seed", [7])
def test_every_promise_holds_over_kills_in_the_middle_of_requests(
    make_daemon: MakeDaemon, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    notes = Notes(tmp_path / "notes")
    daemon = make_daemon({"opcodes": NOTING, "workers": {"size": 40}}).start()
    clients = [Client(f"client{i}", daemon.socket, notes, random.Random(seed * 100 + i)) for i in range(4)]
    for _ in range(ROUNDS):
        already = [len(client.told) for client in clients]
        observer = Observer(daemon.socket)
        threads = at_once(observer.live, observer.poll, *(client.live for client in clients))
        time.sleep(chance.uniform(0.1, 0.8))
        if chance.random() < 0.3:
            daemon.signal(signal.SIGTERM)
            time.sleep(chance.uniform(0.0, 0.3))
        daemon.kill()
        for thread in threads:
            thread.join()
        in_files = statuses_in_files(daemon)
        if chance.random() < 0.5:
            daemon.spawn()
            time.sleep(chance.uniform(0.2, 0.8))  # in the middle of its recovery, or soon after
            daemon.kill()
        daemon.start()
        told = [each for client, start in zip(clients, already, strict=True) for each in client.told[start:]]
        send_again(daemon, told)
        shown = {*in_files, *observer.statuses, *observer.ends}
        rows = rows_of(daemon, shown.union(each.job_id for each in told if each.job_id))
        check_shown(in_files, rows)
        check_shown(observer.statuses, rows)
        for job_id, status in observer.ends.items():
            assert rows[job_id]["status"] == status, f"job {job_id} was {status}, now {rows[job_id]}"
        for each in told:
            assert each.job_id is not None
            check_told(each, rows[each.job_id])
        check_log(daemon, observer.lines)
    wait_until(lambda: set(daemon.call("QueryStatus")["jobs"]) <= FINALIZED, "all jobs to end", timeout=90, every=0.2)
    told = [each for client in clients for each in client.told]
    send_again(daemon, told)
    rows = rows_of(daemon, {each.job_id for each in told if each.job_id})
    for each in told:
        assert each.job_id is not None
        check_told(each, rows[each.job_id])
    check_notes(notes, rows.values())
    names = Counter(name for name, _ in daemon.call("QueryJobs", None, ["name", "archived"], None))
    assert names == Counter(each.request_id for each in told), "each was submitted once"
    assert len(told) > ROUNDS * 20 and any(each.archived for each in told) and any(each.canceled for each in told)
    assert daemon.stop() == 0
