"""What an administrator does to a running queue with files and limits, and that states are honest meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from jqueue.errors import JobQueueDrainError, JobQueueFull

from ..conftest import MakeDaemon
from .daemon import Daemon, wait_until
from .notes import NOTING, Notes

HOUR: dict[str, object] = {"rescan": "1h"}
DONE = {"OP_ID": "OP_TEST_DUMMY"}
LATER = {"OP_ID": "OP_TEST_DUMMY", "not_before": 4e9}


def drained(daemon: Daemon) -> object:
    return daemon.call("QueryStatus")["drained"]


def test_touch_drains_the_queue_and_rm_opens_it_at_once(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon({"incoming": HOUR}).start()
    flag = daemon.state / "control" / "drained"
    flag.touch()
    wait_until(lambda: drained(daemon) == "", "the queue to be drained")
    with pytest.raises(JobQueueDrainError, match="drained"):
        daemon.submit(DONE)
    flag.write_text("the storage is moved\n")
    wait_until(lambda: drained(daemon) == "the storage is moved", "the reason to be known")
    flag.unlink()
    wait_until(lambda: drained(daemon) is None, "the queue to be open")
    assert daemon.wait_for(daemon.submit(DONE)) == "success"


def test_a_drained_queue_goes_on_with_its_jobs_and_stays_drained_over_a_restart(
    make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    notes = Notes(tmp_path / "notes")
    daemon = make_daemon({"opcodes": NOTING, "workers": {"size": 1}}).start()
    jobs = [daemon.submit(notes.op(until=str(tmp_path / "go"))), daemon.submit(notes.op())]
    daemon.call("SetDrainFlag", True, "maintenance")
    (tmp_path / "go").touch()
    assert [daemon.wait_for(job_id) for job_id in jobs] == ["success", "success"]
    daemon.kill()
    daemon.start()
    assert drained(daemon) == "maintenance"
    with pytest.raises(JobQueueDrainError, match="maintenance"):
        daemon.submit(DONE)
    assert (daemon.state / "control" / "drained").read_text() == "maintenance\n"


@pytest.mark.parametrize("away", ["removed", "moved"])
def test_a_final_jobs_file_that_is_taken_away_takes_the_job_with_it(daemon: Daemon, tmp_path: Path, away: str) -> None:
    job_id = daemon.submit(DONE)
    daemon.wait_for(job_id)
    path = daemon.state / f"job-{job_id}"
    wait_until(lambda: path.exists() and "success" in path.read_text(), "the job file to be written")
    if away == "removed":
        path.unlink()
    else:
        path.rename(tmp_path / path.name)
    wait_until(lambda: daemon.status(job_id) is None, "the job to be forgotten")
    daemon.kill()
    daemon.start()
    assert daemon.status(job_id) is None
    assert daemon.submit(DONE) == job_id + 1, "its id is not used again"


def test_an_unfinished_jobs_file_is_written_again_with_a_warning(daemon: Daemon) -> None:
    job_id = daemon.submit(LATER)
    daemon.wait_for(job_id, "waiting")
    path = daemon.state / f"job-{job_id}"
    wait_until(lambda: path.exists() and "waiting" in path.read_text(), "the job file to be written")
    before = path.read_text()
    path.unlink()
    wait_until(path.exists, "the job file to be there again")
    assert path.read_text() == before
    assert daemon.status(job_id) == "waiting"
    assert f"The file of job {job_id} was removed" in daemon.said()


def test_a_full_queue_refuses_more_with_its_limit_and_takes_them_when_there_is_room(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon({"queue": {"max_unfinished": 3}}).start()
    jobs = [daemon.submit(LATER) for _ in range(3)]
    with pytest.raises(JobQueueFull, match="3 at most"):
        daemon.submit(LATER)
    daemon.call("CancelJob", jobs[0])
    daemon.wait_for(jobs[0])
    with pytest.raises(JobQueueFull):
        daemon.call("SubmitManyJobs", [[LATER], [LATER]])
    assert daemon.submit(LATER) == jobs[-1] + 1, "no id was used up"


def test_requests_that_are_on_their_way_at_the_same_time_do_not_overfill_it(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon({"queue": {"max_unfinished": 10}}).start()
    pipeline = daemon.pipeline()
    answers = pipeline.gather([pipeline.request("SubmitJob", [LATER]) for _ in range(100)])
    assert sum(answer.error is None for answer in answers) == 10


def test_canceled_is_shown_only_once_the_code_has_stopped(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    notes = Notes(tmp_path / "notes")
    daemon = make_daemon({"opcodes": NOTING}).start()
    job_id = daemon.submit(notes.op(until=str(tmp_path / "go"), deaf=True))
    wait_until(lambda: notes.started(job_id), "the opcode to start")
    assert daemon.call("CancelJob", job_id)[0] is True
    assert daemon.status(job_id) == "canceling"
    path = daemon.state / f"job-{job_id}"
    wait_until(lambda: path.exists() and '"canceling"' in path.read_text(), "the file to show it")
    assert notes.ended(job_id) == 0
    (tmp_path / "go").touch()
    assert daemon.wait_for(job_id) == "canceled"
    assert notes.ended(job_id) == 1
