"""The life of a daemon: it starts, works, restarts and stops."""

from __future__ import annotations

from .daemon import Daemon


def test_a_job_runs_and_is_still_known_after_a_restart(daemon: Daemon) -> None:
    job_id = daemon.submit({"OP_ID": "OP_TEST_DUMMY", "result": "done"}, name="first")
    assert daemon.wait_for(job_id) == "success"
    daemon.restart()
    assert daemon.call("QueryJobs", [job_id], ["id", "name", "status", "opresult"], None) == [
        [job_id, "first", "success", ["done"]]
    ]
