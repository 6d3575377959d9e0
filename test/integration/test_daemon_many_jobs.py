"""A restart with 100,000 queued jobs: all of them are there, and the first opcode soon runs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ..conftest import MakeDaemon
from .daemon import wait_until
from .notes import NOTING, Notes

MANY = 100_000


@pytest.mark.timeout(240)
def test_a_hundred_thousand_queued_jobs_survive_a_crash_and_a_restart(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    notes = Notes(tmp_path / "notes")
    daemon = make_daemon({"opcodes": NOTING, "workers": {"size": 1}}).start()
    blocker = daemon.submit(notes.op(again=True, hold=1000))
    pipeline = daemon.pipeline()
    jobs = [[{"OP_ID": "OP_TEST_DUMMY"}]] * 500
    answers = pipeline.gather([pipeline.request("SubmitManyJobs", jobs) for _ in range(MANY // len(jobs))])
    assert sum(len(answer.result) for answer in answers) == MANY
    for how in ("a crash", "a stop"):
        wait_until(lambda: notes.started(blocker) > 0, "the first job to run")
        notes.path.unlink()
        if how == "a crash":
            daemon.kill()
        else:
            assert daemon.stop(60) == 0
        before = time.monotonic()
        daemon.spawn()
        wait_until(lambda: notes.started(blocker) > 0, "the first job to run again", timeout=60)
        print(f"{MANY} queued jobs after {how}: {time.monotonic() - before:.2f} s from the exec to the first opcode")
        status = daemon.answering().call("QueryStatus")
        assert status["jobs"] == {"queued": MANY, "running": 1}
        assert status["last_id"] == blocker + MANY
