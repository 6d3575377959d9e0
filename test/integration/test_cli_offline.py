"""`inspect` and `list --offline` on what a daemon has left, and on a large archive; no daemon runs meanwhile."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jqueue.cli.main import main
from jqueue.jobs.job import _QueuedJob
from jqueue.store.files import Files
from jqueue.store.jobfile import encode_state
from jqueue.store.statedir import JOBS_PER_ARCHIVE_DIRECTORY, StateDirectory

from .daemon import wait_until
from .scene import Scene, running

DUMMY: dict[str, object] = {"OP_ID": "OP_TEST_DUMMY"}
ARCHIVED = 20_000


def jqueue(*words: str) -> Any:
    """Runs a command line that must not need a daemon, and gives its JSON."""
    out, err = io.StringIO(), io.StringIO()
    status = main([*words, "--json"], stdout=out, stderr=err, environ={"JQUEUE_SOCKET": "/nonexistent/rpc.sock"})
    assert (status, err.getvalue()) == (0, "")
    return json.loads(out.getvalue())


def ids(rows: Any) -> list[int]:
    return [row["id"] for row in rows]


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What a daemon left that was killed: 1 and 2 archived, 3 successful, 4 failed, 5 running, 6 waiting, 7 queued."""
    directory = tmp_path_factory.mktemp("left")
    with running(directory / "daemon", {"workers": {"size": 1}}) as daemon:
        scene = Scene(daemon, directory)
        daemon.wait_for(daemon.submit(DUMMY, name="old"))
        daemon.wait_for(daemon.submit({**DUMMY, "fail": True, "comment": "needle"}))
        for job_id in (1, 2):
            assert daemon.call("ArchiveJob", job_id) is True
        daemon.wait_for(daemon.submit({"OP_ID": "OP_TEST_DELAY", "duration": 0}, name="new"))
        daemon.wait_for(daemon.submit({**DUMMY, "fail": True, "messages": ["a line", "Needles"], "result": "needle"}))
        daemon.submit(scene.holder("held"), name="held")
        daemon.wait_for(5, "running")
        daemon.submit({**DUMMY, "not_before": "2999-01-01T00:00:00+00:00"}, {**DUMMY, "comment": "NEEDLE"})
        daemon.submit(DUMMY, name="queued")
        wait_until(lambda: daemon.call("QueryStatus")["job_files"]["pending"] == 0, "the files to be written")
        wait_until((daemon.state / "archive" / "0" / "job-2").exists, "the archive to be written")
        daemon.kill()
        yield daemon.state


def test_a_dead_daemons_jobs_are_listed_with_their_last_status(left: Path) -> None:
    rows = jqueue("list", "--offline", "--state-dir", str(left))
    assert [(row["id"], row["status"], row["name"]) for row in rows] == [
        (3, "success", "new"),
        (4, "error", None),
        (5, "running", "held"),
        (6, "queued", None),
        (7, "queued", "queued"),
    ]
    assert ids(jqueue("list", "--offline", "-a", "--state-dir", str(left))) == [1, 2, 3, 4, 5, 6, 7]
    assert [(row["id"], row["archived"]) for row in jqueue("inspect", str(left))][:3] == [
        (1, True),
        (2, True),
        (3, False),
    ]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("--status", "error"), [2, 4]),
        (("--status", "queued,running"), [5, 6, 7]),
        (("--opcode", "delay"), [3]),
        (("--opcode", "OP_TEST_DUMMY"), [1, 2, 4, 6, 7]),
        (("--text", "needle"), [2, 4, 6]),
        (("--text", "needle", "--status", "error"), [2, 4]),
        (("--text", "HELD"), [5]),
        (("--older", "1h"), []),
        (("--newer", "1h"), [1, 2, 3, 4, 5, 6, 7]),
        (("--filter", "name == 'new' or id == 1"), [1, 3]),
        (("--limit", "2"), [6, 7]),
        (("2-4", "7"), [2, 3, 4, 7]),
    ],
)
def test_inspect_finds(left: Path, words: tuple[str, ...], found: list[int]) -> None:
    assert ids(jqueue("inspect", str(left), *words)) == found


def test_inspect_changes_nothing(left: Path) -> None:
    def content() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in left.rglob("*") if path.is_file()}

    before = content()
    jqueue("inspect", str(left))
    jqueue("list", "--offline", "--state-dir", str(left))
    assert content() == before


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An archive in which every 1,000th job failed, every 500th has another opcode, and the 12,345th a rare word."""
    state = StateDirectory(tmp_path_factory.mktemp("archive") / "state")
    state.prepare(Files())
    now = int(time.time())
    for job_id in range(1, ARCHIVED + 1):
        failed = job_id % 1000 == 0
        op = {"OP_ID": "OP_TEST_DELAY", "duration": 1} if job_id % 500 == 0 else dict(DUMMY)
        job = _QueuedJob(None, job_id, [{**op, "comment": "haystack" if job_id != 12_345 else "needle"}])
        job.ops[0].status = "error" if failed else "success"
        job.Finalize()
        job.received_timestamp = job.end_timestamp = (now - (ARCHIVED - job_id) * 3600, 0)
        path = state.archive / str(job_id // JOBS_PER_ARCHIVE_DIRECTORY) / f"job-{job_id}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode_state(job.Serialize()))
    yield state.path


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("--status", "error"), [*range(1000, ARCHIVED + 1, 1000)]),
        (("--opcode", "delay", "--status", "success"), [*range(500, ARCHIVED + 1, 1000)]),
        (("--text", "needle"), [12_345]),
        (("--newer", "150m"), [ARCHIVED - 2, ARCHIVED - 1, ARCHIVED]),
        (("--older", "833d"), [*range(1, 9)]),
        (("--limit", "3"), [ARCHIVED - 2, ARCHIVED - 1, ARCHIVED]),
        (("777", "19999"), [777, 19_999]),
    ],
)
def test_a_large_archive_is_searched(archive: Path, words: tuple[str, ...], found: list[int]) -> None:
    started = time.perf_counter()
    assert ids(jqueue("inspect", str(archive), *words)) == found
    print(f"inspect {' '.join(words)}: {time.perf_counter() - started:.2f} s over {ARCHIVED} archived jobs")


def test_a_whole_archive_is_listed(archive: Path) -> None:
    rows = jqueue("list", "--offline", "-a", "--state-dir", str(archive))
    assert ids(rows) == list(range(1, ARCHIVED + 1))
