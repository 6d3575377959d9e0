"""What a daemon finds when it starts: another one, missing files, a torn or damaged journal, a wrong configuration."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from ..conftest import MakeDaemon
from .daemon import Daemon, wait_until

QUEUED = {"OP_ID": "OP_TEST_DUMMY", "not_before": 4e9}
DONE = {"OP_ID": "OP_TEST_DUMMY", "result": "done"}


def job_files(daemon: Daemon) -> set[str]:
    return {name for name in os.listdir(daemon.state) if name.startswith("job-") and name[4:].isdigit()}


def segments(daemon: Daemon) -> list[Path]:
    return sorted((daemon.state / "journal").glob("*.seg"))


def used(segment: Path) -> int:
    """The bytes of a segment in front of the zeros that were allocated in advance."""
    return len(segment.read_bytes().rstrip(b"\0"))


def test_a_second_daemon_on_the_same_directory_is_refused_with_who_has_it(
    daemon: Daemon, make_daemon: MakeDaemon
) -> None:
    second = make_daemon(state=daemon.state)
    status, said = second.refused()
    assert status == 1
    assert f"process {daemon.pid} " in said and str(daemon.state / "lock") in said
    assert daemon.status(daemon.submit(DONE)) is not None, "the first one is not disturbed"


def test_a_second_daemon_may_not_take_the_socket_of_another(daemon: Daemon, make_daemon: MakeDaemon) -> None:
    second = make_daemon()
    second.socket.symlink_to(daemon.socket)
    status, said = second.refused()
    assert status == 1 and str(second.socket) in said
    assert daemon.call("QueryStatus")["pid"] == daemon.pid


def test_without_its_job_files_it_knows_every_job_and_writes_them_again(daemon: Daemon) -> None:
    jobs = [daemon.submit(DONE, name="done"), daemon.submit(QUEUED, name="queued")]
    daemon.wait_for(jobs[0])
    daemon.wait_for(jobs[1], "waiting")
    asked = (jobs, ["id", "name", "status", "ops", "opresult", "end_ts"], None)
    before = daemon.call("QueryJobs", *asked)
    assert daemon.stop() == 0
    assert job_files(daemon) == {f"job-{job_id}" for job_id in jobs}
    for name in job_files(daemon):
        (daemon.state / name).unlink()
    daemon.start()
    daemon.wait_for(jobs[1], "waiting")
    assert daemon.call("QueryJobs", *asked) == before
    wait_until(lambda: job_files(daemon) == {f"job-{job_id}" for job_id in jobs}, "the job files to be there again")


def test_a_torn_tail_of_the_journal_is_cut_off(daemon: Daemon) -> None:
    kept = daemon.submit(QUEUED, name="kept")
    daemon.wait_for(kept, "waiting")
    (segment,) = segments(daemon)[:1]
    end = used(segment)
    torn = daemon.submit(QUEUED, name="torn")
    daemon.kill()
    data = bytearray(segment.read_bytes())
    assert used(segment) > end + 40
    data[end + 30 :] = bytes(len(data) - end - 30)  # as if the disk had got no more than 30 bytes of it
    segment.write_bytes(data)
    daemon.start()
    names = daemon.call("QueryJobs", [kept, torn], ["id", "name"], None)
    assert names == [[kept, "kept"], [torn, None]]
    assert daemon.submit(QUEUED, name="next") == torn, "the id was never told to anybody"


def test_one_flipped_byte_in_the_middle_refuses_the_start_with_file_and_offset(daemon: Daemon) -> None:
    daemon.submit(QUEUED, name="first")
    (segment,) = segments(daemon)[:1]
    at = used(segment) - 10
    daemon.submit(QUEUED, name="second")
    daemon.kill()
    data = bytearray(segment.read_bytes())
    data[at] ^= 1
    segment.write_bytes(data)
    for _ in range(2):
        status, said = daemon.refused()
        assert status == 1
        assert re.search(rf"{re.escape(str(segment))}, byte [0-9]+: .*jqueue fsck", said)
        assert "Traceback" not in said
    data[at] ^= 1
    segment.write_bytes(data)
    daemon.start()
    assert daemon.call("QueryJobs", None, ["name"], None) == [["first"], ["second"]], "it has changed nothing"


@pytest.mark.parametrize(
    ("config", "hint"),
    [
        ({"wrokers": {"size": 3}}, "did you mean workers?"),
        ({"workers": {"sise": 3}}, "did you mean workers.size?"),
        ({"workers": {"size": 0}}, "workers.size"),
        ({"opcodes": {"modules": ["there_is_no_such_module"]}}, "there_is_no_such_module"),
    ],
)
def test_a_wrong_configuration_is_refused(
    make_daemon: MakeDaemon, config: dict[str, dict[str, object]], hint: str
) -> None:
    daemon = make_daemon(config)
    status, said = daemon.refused()
    assert status == 78
    assert hint in said


def test_a_state_directory_that_cannot_be_made_is_named(make_daemon: MakeDaemon) -> None:
    status, said = make_daemon(state=Path("/proc/self/jqueue")).refused()
    assert status == 1
    assert "/proc/self/jqueue" in said


def test_a_directory_that_belongs_to_something_else_is_left_alone(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter").write_text("dear")
    status, said = make_daemon(state=tmp_path / "home").refused()
    assert status == 1
    assert "letter" in said
    assert os.listdir(tmp_path / "home") == ["letter"]
