"""The fields of a job: Ganeti's names, titles and kinds, and the values."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jqueue import errors
from jqueue.jobs import fields
from jqueue.jobs.job import _QueuedJob

GANETI = {
    "id": ("ID", "number"),
    "status": ("Status", "text"),
    "priority": ("Priority", "number"),
    "archived": ("Archived", "bool"),
    "ops": ("OpCodes", "other"),
    "opresult": ("OpCode_result", "other"),
    "opstatus": ("OpCode_status", "other"),
    "oplog": ("OpCode_log", "other"),
    "opstart": ("OpCode_start", "other"),
    "opexec": ("OpCode_exec", "other"),
    "opend": ("OpCode_end", "other"),
    "oppriority": ("OpCode_prio", "other"),
    "summary": ("Summary", "other"),
    "received_ts": ("Received", "other"),
    "start_ts": ("Start", "other"),
    "end_ts": ("End", "other"),
}
OURS = (
    "name lifecycle progress owner group members parent phase "
    "paused speed completion auto_finalize auto_dismiss log_serial"
).split()


class Knowing:
    """A queue that knows what only a running daemon can."""

    def time(self) -> float:
        return 1.5

    def progress(self, job_id: int) -> list[Any]:
        return [job_id, 100, "copying"]

    def lifecycle(self, job: _QueuedJob) -> str:
        return "standby"

    def summary(self, op: dict[str, Any]) -> str:
        return "summary of " + str(op["OP_ID"])


class OnlyAClock:
    def time(self) -> float:
        return 1.5


def busy_job() -> _QueuedJob:
    job = _QueuedJob(OnlyAClock(), 42, [{"OP_ID": "OP_TEST_DELAY", "duration": 1.0}, {"OP_ID": "OP_TEST_DUMMY"}])
    first, second = job.ops
    first.status, first.result, first.priority = "success", [True], 5
    first.start_timestamp, first.exec_timestamp, first.end_timestamp = (2, 0), (2, 1), (3, 0)
    first.log = [(1, (2, 5), "message", "half way")]
    second.status, second.priority = "running", -10
    job.start_timestamp = (2, 0)
    job.name, job.owner, job.group, job.parent = "nightly", 1000, "g", "41.0.1"
    job.log_serial = 1
    job.members, job.completion = [41, 44], "leave"
    return job


@pytest.mark.parametrize("name", GANETI)
def test_a_field_of_ganeti_has_its_title_and_kind(name: str) -> None:
    field = fields.get(name)

    assert (field.name, field.title, field.kind) == (name, *GANETI[name])


def test_there_are_ganetis_fields_and_ours() -> None:
    assert list(fields.FIELDS) == [*GANETI, *OURS]


def test_every_field_is_explained_and_has_a_title_of_its_own() -> None:
    titles = [field.title for field in fields.FIELDS.values()]

    assert all(field.doc for field in fields.FIELDS.values())
    assert len(set(titles)) == len(titles)
    assert all(" " not in title for title in titles)


def test_the_values_of_a_busy_job() -> None:
    job = busy_job()

    assert {name: field.get(job) for name, field in fields.FIELDS.items()} == {
        "id": 42,
        "status": "running",
        "priority": -10,
        "archived": False,
        "ops": [job.ops[0].input, job.ops[1].input],
        "opresult": [[True], None],
        "opstatus": ["success", "running"],
        "oplog": [[[1, [2, 5], "message", "half way"]], []],
        "opstart": [[2, 0], None],
        "opexec": [[2, 1], None],
        "opend": [[3, 0], None],
        "oppriority": [5, -10],
        "summary": ["TEST_DELAY(1.0)", "TEST_DUMMY"],
        "received_ts": [1, 500000],
        "start_ts": [2, 0],
        "end_ts": None,
        "name": "nightly",
        "lifecycle": "running",
        "progress": None,
        "owner": 1000,
        "group": "g",
        "members": [41, 44],
        "parent": "41.0.1",
        "phase": "work",
        "paused": False,
        "speed": 0,
        "completion": "leave",
        "auto_finalize": True,
        "auto_dismiss": False,
        "log_serial": 1,
    }


def test_values_are_the_same_after_json() -> None:
    row = busy_job().GetInfo(fields.FIELDS)

    assert json.loads(json.dumps(row)) == row


def test_the_queue_is_asked_for_what_only_it_knows() -> None:
    job = busy_job()
    job.queue = Knowing()

    assert job.GetInfo(["progress", "lifecycle", "summary"]) == [
        [42, 100, "copying"],
        "standby",
        ["summary of OP_TEST_DELAY", "summary of OP_TEST_DUMMY"],
    ]


def test_a_job_without_a_queue_has_all_fields() -> None:
    job = _QueuedJob(None, 1, [{"OP_ID": "OP_X"}])

    assert job.GetInfo(["progress", "lifecycle", "summary"]) == [None, "created", ["X"]]


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        ({"OP_ID": "OP_TEST_DELAY", "duration": 0}, "TEST_DELAY(0)"),
        ({"OP_ID": "OP_COPY_FILE", "source": "/a", "target": "/b"}, "COPY_FILE(/b)"),
        ({"OP_ID": "OP_RUN_COMMAND", "argv": ["tar", "-c"]}, "RUN_COMMAND(tar -c)"),
        ({"OP_ID": "OP_RUN_COMMAND", "argv": []}, "RUN_COMMAND"),
        ({"OP_ID": "OP_INSTANCE_STARTUP", "instance_name": "web1"}, "INSTANCE_STARTUP(web1)"),
        ({"OP_ID": "OP_CLUSTER_VERIFY", "instance_name": None}, "CLUSTER_VERIFY"),
        ({}, "INVALID_OP"),
    ],
)
def test_an_opcode_in_one_word(op: dict[str, Any], expected: str) -> None:
    assert fields.summary(op) == expected


def test_an_unknown_field_is_refused_with_a_near_one() -> None:
    with pytest.raises(errors.OpPrereqError, match="Unknown field 'statsu'; did you mean 'status'\\?"):
        fields.get("statsu")


def test_a_field_like_no_other_is_refused_with_the_list() -> None:
    with pytest.raises(errors.OpPrereqError, match="Unknown field 'zzz'; known fields: archived, auto_dismiss,"):
        fields.get("zzz")
