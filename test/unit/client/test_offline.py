"""Reading a state directory, and a queue directory of Ganeti, without a daemon."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jqueue.client.offline import EVERYTHING, Criteria, OfflineReader
from jqueue.errors import StateError
from jqueue.jobs.job import _QueuedJob
from jqueue.store.archive import archive_job
from jqueue.store.files import Files
from jqueue.store.jobfile import encode_state
from jqueue.store.logfiles import LogFiles, encode_line
from jqueue.store.statedir import StateDirectory

NOW = 2_000_000_000.0


class Rig:
    def __init__(self, path: Path) -> None:
        self.state = StateDirectory(path / "state")
        self.state.prepare(Files())
        self.warnings: list[str] = []

    @property
    def reader(self) -> OfflineReader:
        return OfflineReader(self.state.path, self.warnings.append)

    def add(
        self, job_id: int, status: str = "success", archived: bool = False, name: str | None = None, **op: Any
    ) -> None:
        job = _QueuedJob(None, job_id, [{"OP_ID": "OP_TEST_DUMMY", **op}])
        job.name = name
        job.received_timestamp = (int(NOW) - 1000, 0)
        job.ops[0].status = status
        if job.final:
            job.Finalize()
            job.end_timestamp = (int(NOW) - job_id, 0)
        self.state.job_file(job_id).write_bytes(encode_state(job.Serialize()))
        if archived:
            archive_job(self.state, Files(), job_id)

    def ids(self, criteria: Criteria = EVERYTHING, **options: bool) -> list[int]:
        return [job.id for job in self.reader.jobs(criteria, now=lambda: NOW, **options)]


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_live_and_archived_jobs_come_in_the_order_of_their_ids(rig: Rig) -> None:
    for job_id in (1, 20_001, 3):
        rig.add(job_id, archived=True)
    for job_id in (2, 30_000):
        rig.add(job_id, "queued")
    assert rig.ids() == [1, 2, 3, 20_001, 30_000]
    assert rig.ids(newest_first=True) == [30_000, 20_001, 3, 2, 1]
    assert rig.ids(archived=False) == [2, 30_000]
    assert [job.archived for job in rig.reader.jobs()] == [True, False, True, True, False]
    assert rig.warnings == []


def test_a_job_is_found_by_id_wherever_it_is(rig: Rig) -> None:
    rig.add(1)
    rig.add(2, archived=True)
    reader = rig.reader
    found = [reader.job(job_id) for job_id in (1, 2, 3)]
    assert [job and (job.id, job.archived, job.writable) for job in found] == [
        (1, False, False),
        (2, True, False),
        None,
    ]


def test_a_job_that_is_archived_while_we_look_comes_once(rig: Rig) -> None:
    rig.add(1)
    rig.add(2)
    jobs = rig.reader.jobs()
    first = next(jobs)
    archive_job(rig.state, Files(), 2)
    assert [first.id, *(job.id for job in jobs)] == [1, 2]


@pytest.mark.parametrize(
    ("criteria", "expected"),
    [
        (Criteria(statuses=["error"]), [2]),
        (Criteria(statuses=["error", "queued"]), [2, 3]),
        (Criteria(opcode="test_du"), [1, 2, 3, 4]),
        (Criteria(opcode="COPY"), []),
        (Criteria(text="NIGHTLY"), [1]),
        (Criteria(text="/srv/web"), [2]),
        (Criteria(text="zürich"), [3]),
        (Criteria(text='say "hi"'), [4]),
        (Criteria(text="success"), []),
        (Criteria(text="OP_TEST"), [1, 2, 3, 4]),
        (Criteria(text="4711"), [3]),
        (Criteria(min_age=2), [2, 3, 4]),
        (Criteria(max_age=2), [1, 2]),
        (Criteria(min_age=2, max_age=10), [2, 4]),
        (Criteria(statuses=["success"], text="hi", min_age=4, max_age=4), [4]),
    ],
)
def test_jobs_are_chosen_by_status_opcode_text_and_age(rig: Rig, criteria: Criteria, expected: list[int]) -> None:
    rig.add(1, name="the nightly backup")
    rig.add(2, "error", archived=True, comment="/srv/web")
    rig.add(3, "queued", result={"city": ["Zürich"], "n": 4711})
    rig.add(4, archived=True, messages=['say "hi"'])
    assert rig.ids(criteria) == expected


def test_a_status_that_only_looks_so_in_the_file_does_not_match(rig: Rig) -> None:
    rig.add(1, "success", comment="error", result="error")
    assert rig.ids(Criteria(statuses=["error"])) == []


def test_text_is_found_however_the_file_writes_it(rig: Rig) -> None:
    rig.add(1)
    text = rig.state.job_file(1).read_text()
    for written in ("\\u006eightly", "night\\u006Cy", "a\\/nightly", "NIGHTLY"):
        rig.state.job_file(1).write_text(text.replace('"OP_TEST_DUMMY"', f'"OP_TEST_DUMMY", "comment": "{written}"'))
        assert rig.ids(Criteria(text="nightly")) == [1], written
    assert rig.ids(Criteria(text="a/b")) == []


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"ops": [{}], "id": 2}', b'{"ops": [], "id": []}', b"\xff\x00"]
)
def test_a_damaged_file_is_told_by_name_and_the_others_are_read(rig: Rig, content: bytes) -> None:
    for job_id in (1, 2, 3):
        rig.add(job_id)
    rig.state.job_file(2).write_bytes(content)
    assert rig.ids() == [1, 3]
    assert len(rig.warnings) == 1 and str(rig.state.job_file(2)) in rig.warnings[0]
    assert rig.reader.job(2) is None


def test_a_file_that_cannot_be_read_is_told(rig: Rig) -> None:
    rig.add(1)
    rig.state.job_file(2).mkdir()
    assert rig.ids() == [1]
    assert str(rig.state.job_file(2)) in rig.warnings[0]


def test_reading_changes_nothing(rig: Rig) -> None:
    rig.add(1)
    rig.add(2, archived=True)
    LogFiles(rig.state, Files()).append(1, [encode_line(0, 1, (1, 2), "message", "x")])

    def snapshot() -> list[tuple[str, int, int]]:
        paths = sorted(rig.state.path.rglob("*"))
        return [(str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in paths]

    before = snapshot()
    for job in rig.reader.jobs():
        list(rig.reader.log(job))
    assert snapshot() == before


def test_the_log_is_read_from_its_file_to_the_end(rig: Rig) -> None:
    rig.add(1)
    logs = LogFiles(rig.state, Files())
    logs.append(1, [encode_line(0, serial, (1, 2), "message", f"line {serial}") for serial in range(1, 2501)])
    logs.close()
    job = rig.reader.job(1)
    assert job is not None
    assert [entry[1] for entry in rig.reader.log(job, 10)] == list(range(11, 2501))


@pytest.mark.parametrize("spaces", [True, False])
def test_a_queue_directory_of_ganeti_is_read(tmp_path: Path, spaces: bool) -> None:
    def write(path: Path, job_id: int, status: str, **more: Any) -> None:
        op = {"input": {"OP_ID": "OP_CLUSTER_VERIFY"}, "status": status, "result": None, **more}
        op["log"] = [[1, [1_700_000_001, 5], "message", "half way"]]
        state = {"id": job_id, "ops": [op], "received_timestamp": [1_700_000_000, 120_034], "end_timestamp": None}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(state, separators=None if spaces else (",", ":")) + "\n")

    for name, text in (("version", "1\n"), ("serial", "10001\n"), ("lock", "")):
        (tmp_path / name).write_text(text)
    write(tmp_path / "archive" / "1" / "job-10000", 10_000, "success", priority=-1)
    write(tmp_path / "job-10001", 10_001, "running")
    warnings: list[str] = []
    reader = OfflineReader(tmp_path, warnings.append)
    jobs = list(reader.jobs())
    assert [(job.id, job.CalcStatus(), job.archived) for job in jobs] == [
        (10_000, "success", True),
        (10_001, "running", False),
    ]
    assert list(reader.log(jobs[1])) == [[0, 1, [1_700_000_001, 5], "message", "half way"]]
    assert [job.id for job in reader.jobs(Criteria(statuses=["running"], opcode="verify", text="half"))] == [10_001]
    assert warnings == []


def test_a_directory_without_jobs_is_told_from_an_empty_queue(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="is no state directory"):
        OfflineReader(tmp_path, print)
    with pytest.raises(StateError, match="cannot read the state directory"):
        OfflineReader(tmp_path / "missing", print)
    StateDirectory(tmp_path / "new").prepare(Files())
    assert list(OfflineReader(tmp_path / "new", print).jobs()) == []


def test_it_starts_without_twisted() -> None:
    code = "import sys, jqueue.client.offline; sys.exit('twisted' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
