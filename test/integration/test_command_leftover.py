"""What recovery finds of commands whose daemon died."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jqueue.workers import process
from jqueue.workers.command import kill_leftover
from jqueue.workers.process import RUN_VARIABLE

# A daemon in a nutshell: runs a command, and says its pid on standard output.
DAEMON = """
import os, sys
from pathlib import Path
from jqueue.workers.command import run_command

class Quiet:
    stop_requested = kill_now = paused = False
    descriptor = os.eventfd(0)
    def fileno(self): return self.descriptor
    def clear(self): pass
    def wait_pause(self): pass

run_command(
    ["sh", "-c", sys.argv[2]], cwd=None, env=None, stdin=None, run_directory=Path(sys.argv[1]), user=None,
    control=Quiet(), log=lambda line: print(line, flush=True),
)
"""


@pytest.fixture
def run_directory(tmp_path: Path) -> Path:
    made = tmp_path / "42.0.1"
    made.mkdir()
    return made


@pytest.fixture
def sleeper(run_directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that looks like the command of the run directory."""
    environment = {"PATH": os.environ["PATH"], RUN_VARIABLE: str(run_directory)}
    with subprocess.Popen(["sleep", "1000"], env=environment, start_new_session=True) as started:
        yield started
        started.kill()


def record(run_directory: Path, **values: object) -> None:
    process.write_record(run_directory / "process", {"boot_id": process.boot_id(), "argv": ["sleep"], **values})


def start_time(pid: int) -> int:
    found = process.look_up(pid)
    assert found is not None
    return found.start_time


def alive(pid: int) -> bool:
    found = process.look_up(pid)
    return found is not None and not found.zombie


def run_and_kill_daemon(run_directory: Path, script: str) -> list[int]:
    """Runs a script that prints pids and then `ready`, and kills the daemon.

    @return: the pids
    """
    path = os.pathsep.join([str(Path(process.__file__).parents[2]), *sys.path])
    command = [sys.executable, "-c", DAEMON, str(run_directory), script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}) as daemon:
        assert daemon.stdout is not None
        pids = [int(line) for line in iter(daemon.stdout.readline, b"ready\n")]
        daemon.kill()
    return pids


def test_a_command_outlives_its_daemon_and_is_ended_by_the_next(run_directory: Path) -> None:
    pids = run_and_kill_daemon(run_directory, "trap '' TERM; sleep 1000 & echo $!; echo $$; echo ready; wait")
    assert all(map(alive, pids))
    assert kill_leftover(run_directory) is True
    assert not any(map(alive, pids))
    assert kill_leftover(run_directory) is False


def test_what_its_leader_left_behind_is_ended_too(run_directory: Path) -> None:
    pids = run_and_kill_daemon(run_directory, "sleep 1000 & echo $!; echo $$; echo ready; wait")
    child, leader = pids
    os.kill(leader, signal.SIGKILL)
    assert kill_leftover(run_directory) is True
    assert not alive(child)


def test_one_that_was_started_and_not_recorded_any_more_is_found(
    run_directory: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    record(run_directory)
    assert kill_leftover(run_directory) is True
    assert sleeper.wait() == -signal.SIGKILL


def test_the_recorded_one_is_known_by_its_start_time(run_directory: Path, tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as other:
        record(run_directory, pid=other.pid, pgid=other.pid, start_time=start_time(other.pid))
        assert kill_leftover(run_directory) is True
        assert other.wait() == -signal.SIGKILL


def test_another_process_of_the_same_number_is_left_alone(run_directory: Path) -> None:
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as other:
        record(run_directory, pid=other.pid, pgid=other.pid, start_time=start_time(other.pid) - 1)
        assert kill_leftover(run_directory) is False
        assert other.poll() is None
        other.kill()


def test_nothing_of_an_earlier_run_of_the_machine_is_looked_for(
    run_directory: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    record(run_directory, boot_id="another", pid=sleeper.pid, start_time=start_time(sleeper.pid))
    assert kill_leftover(run_directory) is False
    assert sleeper.poll() is None


def test_a_command_that_has_ended_leaves_nothing(run_directory: Path, sleeper: subprocess.Popen[bytes]) -> None:
    record(run_directory, pid=sleeper.pid, start_time=start_time(sleeper.pid))
    process.write_record(run_directory / "exit", {"status": 0})
    assert kill_leftover(run_directory) is False
    assert sleeper.poll() is None


@pytest.mark.parametrize("content", [None, "", "{", "[]", json.dumps({"pid": 1})])
def test_a_directory_without_a_record_that_can_be_read_has_nothing(run_directory: Path, content: str | None) -> None:
    if content is not None:
        (run_directory / "process").write_text(content)
    assert kill_leftover(run_directory) is False
