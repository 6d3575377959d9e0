"""What SIGTERM does: nothing is started, restartable opcodes go back to queued, others may end, or are ended."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from jqueue.errors import GenericError

from ..conftest import MakeDaemon
from .daemon import Daemon, wait_until
from .notes import NOTING, Notes

DEAF_SHELL = "trap '' TERM; sleep 1000 & echo $$ >{0}.tmp; echo $! >>{0}.tmp; mv {0}.tmp {0}; wait; wait; sleep 1000"


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return Notes(tmp_path / "notes")


def processes(path: Path) -> list[int]:
    wait_until(path.exists, "the command to run")
    return [int(line) for line in path.read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def result_of(daemon: Daemon, job_id: int) -> tuple[str, str]:
    """The status of a job of one opcode, and its result as text."""
    [[status, results]] = daemon.call("QueryJobs", [job_id], ["status", "opresult"], None)
    return status, str(results[0])


def test_a_restartable_opcode_goes_back_to_queued_and_runs_again_after_the_start(
    make_daemon: MakeDaemon, notes: Notes, tmp_path: Path
) -> None:
    daemon = make_daemon({"opcodes": NOTING}).start()
    job_id = daemon.submit(notes.op(again=True, until=str(tmp_path / "go")))
    wait_until(lambda: notes.started(job_id), "the opcode to start")
    before = time.monotonic()
    assert daemon.stop() == 0
    assert time.monotonic() - before < 5
    assert notes.ended(job_id) == 1
    assert '"status": "queued"' in (daemon.state / f"job-{job_id}").read_text()
    (tmp_path / "go").touch()
    daemon.start()
    assert daemon.wait_for(job_id) == "success"
    assert (notes.started(job_id), notes.ended(job_id)) == (2, 2)


def test_nothing_is_started_meanwhile_and_what_runs_may_end_by_itself(
    make_daemon: MakeDaemon, notes: Notes, tmp_path: Path
) -> None:
    daemon = make_daemon({"opcodes": NOTING, "workers": {"size": 1}}).start()
    running = daemon.submit(notes.op(until=str(tmp_path / "go")), notes.op())
    queued = daemon.submit(notes.op())
    wait_until(lambda: notes.started(running), "the first job to run")
    watcher = daemon.connect()
    daemon.signal(signal.SIGTERM)
    wait_until(lambda: watcher.call("QueryStatus")["stopping"], "the daemon to know that it stops")
    with pytest.raises(GenericError, match="stopping"):
        watcher.call("SubmitJob", [notes.op()])
    assert watcher.call("QueryJobs", [running, queued], ["status"], None) == [["running"], ["queued"]]
    (tmp_path / "go").touch()
    assert daemon.wait() == 0
    assert (notes.ended(running), notes.started(running, 1), notes.started(queued)) == (1, 0, 0)
    daemon.start()
    assert [daemon.wait_for(job_id) for job_id in (running, queued)] == ["success", "success"]
    assert set(notes.count("start").values()) == {1}


def test_after_the_grace_time_an_opcode_is_ended_in_error(make_daemon: MakeDaemon, notes: Notes) -> None:
    daemon = make_daemon({"opcodes": NOTING, "stop": {"grace": "300ms"}}).start()
    job_id = daemon.submit(notes.op(hold=1000))
    wait_until(lambda: notes.started(job_id), "the opcode to start")
    before = time.monotonic()
    assert daemon.stop() == 0
    assert 0.3 <= time.monotonic() - before < 5
    assert notes.ended(job_id) == 1
    daemon.start()
    status, result = result_of(daemon, job_id)
    assert status == "error" and "daemon stopped" in result


def test_code_that_does_not_listen_cannot_hold_the_stop_and_ends_in_error_at_the_next_start(
    make_daemon: MakeDaemon, notes: Notes
) -> None:
    daemon = make_daemon({"opcodes": NOTING}).start()
    job_id = daemon.submit(notes.op(hold=1000, deaf=True))
    wait_until(lambda: notes.started(job_id), "the opcode to start")
    daemon.signal(signal.SIGTERM)
    wait_until(lambda: "Stopping on SIGTERM" in daemon.said(), "the daemon to hear it")
    daemon.signal(signal.SIGTERM)
    assert daemon.wait(10) == 0
    daemon.start()
    status, result = result_of(daemon, job_id)
    assert status == "error" and "died" in result
    assert notes.started(job_id) == 1


@pytest.mark.parametrize("first_grace", [True, False])
def test_a_second_signal_ends_a_stubborn_command_with_its_whole_group_at_once(
    make_daemon: MakeDaemon, tmp_path: Path, first_grace: bool
) -> None:
    config: dict[str, dict[str, object]] = {"command": {"kill_after": "600s"}}
    if not first_grace:
        config["stop"] = {"grace": "10ms"}  # then the signal comes while TERM has been sent already
    daemon = make_daemon(config).start()
    job_id = daemon.submit({"OP_ID": "OP_RUN_COMMAND", "argv": ["sh", "-c", DEAF_SHELL.format(tmp_path / "pids")]})
    pids = processes(tmp_path / "pids")
    daemon.signal(signal.SIGTERM)
    wait_until(lambda: "Stopping on SIGTERM" in daemon.said(), "the daemon to hear it")
    time.sleep(0.0 if first_grace else 0.5)
    assert daemon.process is not None and daemon.process.poll() is None
    daemon.signal(signal.SIGTERM)
    assert daemon.wait(10) == 0
    assert not any(map(alive, pids))
    daemon.start()
    status, result = result_of(daemon, job_id)
    assert status == "error" and "daemon stopped" in result


def test_a_command_with_its_group_is_gone_when_the_daemon_is(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    daemon = make_daemon({"stop": {"grace": "10ms"}, "command": {"kill_after": "200ms"}}).start()
    job_id = daemon.submit({"OP_ID": "OP_RUN_COMMAND", "argv": ["sh", "-c", DEAF_SHELL.format(tmp_path / "pids")]})
    pids = processes(tmp_path / "pids")
    assert daemon.stop() == 0
    assert not any(map(alive, pids))
    daemon.start()
    status, result = result_of(daemon, job_id)
    assert status == "error" and "daemon stopped" in result


def test_what_a_killed_daemon_has_left_running_is_ended_before_the_next_one_answers(
    make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    daemon = make_daemon().start()
    job_id = daemon.submit({"OP_ID": "OP_RUN_COMMAND", "argv": ["sh", "-c", DEAF_SHELL.format(tmp_path / "pids")]})
    pids = processes(tmp_path / "pids")
    daemon.kill()
    assert any(map(alive, pids)), "the command has not died with the daemon"
    daemon.start()
    assert not any(map(alive, pids))
    status, result = result_of(daemon, job_id)
    assert status == "error" and "died" in result
    assert os.listdir(daemon.state / "run") == []


def test_a_signal_in_the_middle_of_the_start_stops_it_cleanly(make_daemon: MakeDaemon, notes: Notes) -> None:
    daemon = make_daemon({"opcodes": NOTING, "workers": {"size": 1}}).start()
    blocker = daemon.submit(notes.op(again=True, hold=1000))
    client = daemon.connect()
    for _ in range(2):
        client.call("SubmitManyJobs", [[notes.op()] for _ in range(300)])
    assert daemon.stop() == 0
    for delay in range(5):
        daemon.spawn()
        wait_until(lambda: (daemon.state / "lock").read_text().startswith(f"{daemon.pid} "), "the daemon to start")
        time.sleep(delay * 0.1)
        # Before it handles signals it has nothing to leave in order, and simply dies of this one.
        assert daemon.stop() in (0, -signal.SIGTERM)
    daemon.start()
    assert daemon.call("QueryStatus")["last_id"] == blocker + 600
    assert notes.count("start").keys() == {f"{blocker}.0"}
