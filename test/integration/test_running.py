"""The built-in opcodes through the real daemon: commands, copies, and the one that talks to its test client."""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jqueue.workers import process

from .daemon import Daemon, wait_until
from .scene import Scene, running

MIB = 1 << 20
LOG_CAP = 16 * MIB


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    config: dict[str, dict[str, object]] = {"command": {"kill_after": 0.5}, "log": {"cap": LOG_CAP}}
    with running(tmp_path_factory.mktemp("running"), config) as daemon:
        yield daemon


@pytest.fixture
def scene(daemon: Daemon, tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(daemon, tmp_path)
    yield scene
    scene.clean()


def alive(pid: str) -> bool:
    found = process.look_up(int(pid))
    return found is not None and not found.zombie


def memory(daemon: Daemon) -> int:
    """The resident bytes of a daemon."""
    return int(Path(f"/proc/{daemon.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def shell(script: str) -> dict[str, object]:
    return {"OP_ID": "OP_RUN_COMMAND", "argv": ["sh", "-c", script]}


# Commands


@pytest.mark.parametrize("kill", [False, True])
def test_a_cancel_ends_a_shell_that_traps_it_and_its_grandchildren(scene: Scene, kill: bool) -> None:
    ignoring = "trap '' TERM HUP INT; echo $$; {}; while :; do sleep 1; done"
    script = ignoring.format('sh -c "$GRANDCHILD" & wait')
    job_id = scene.daemon.submit({**shell(script), "env": {"GRANDCHILD": ignoring.format(":")}})
    wait_until(lambda: len(scene.log(job_id)) == 2, "the shells to start")
    pids = scene.log(job_id)
    assert all(map(alive, pids))
    assert scene.daemon.call("CancelJob", job_id, kill)[0] is True
    assert scene.daemon.wait_for(job_id) == "canceled"
    assert not any(map(alive, pids))


def test_canceled_is_shown_only_when_the_command_has_ended(scene: Scene) -> None:
    job_id = scene.daemon.submit(
        shell("trap 'sleep 0.3; echo bye; exit' TERM; echo ready; while :; do sleep 0.05; done")
    )
    wait_until(lambda: scene.log(job_id) == ["ready"], "the command to start")
    scene.daemon.call("CancelJob", job_id)
    assert scene.daemon.status(job_id) == "canceling"
    assert scene.daemon.wait_for(job_id) == "canceled"
    assert scene.log(job_id)[-1] == "bye"


@pytest.mark.parametrize("output", ["head -c 200M /dev/zero | tr '\\0' x", "head -c 50M /dev/zero | tr '\\0' '\\377'"])
def test_endless_lines_and_invalid_text_leave_memory_flat_and_the_log_at_its_cap(scene: Scene, output: str) -> None:
    before = most = memory(scene.daemon)
    job_id = scene.daemon.submit(shell(output))
    while scene.daemon.status(job_id) in ("queued", "running"):
        most = max(most, memory(scene.daemon))
        time.sleep(0.02)
    assert scene.daemon.status(job_id) == "success"
    assert most - before < 60 * MIB, f"{(most - before) // MIB} MiB more than before"
    log = scene.daemon.state / f"job-{job_id}.log"
    assert LOG_CAP * 0.9 < log.stat().st_size < LOG_CAP + 4096
    assert b"has reached its limit" in log.read_bytes()[-4096:]


def test_a_command_that_fails_says_how_it_ended(scene: Scene) -> None:
    jobs = [scene.daemon.submit(shell(script)) for script in ("exit 7", "kill -9 $$")]
    jobs.append(scene.daemon.submit({"OP_ID": "OP_RUN_COMMAND", "argv": ["/no/such/program"]}))
    jobs.append(scene.daemon.submit({**shell("exit 7"), "ok_exit_codes": [0, 7]}))
    assert [scene.daemon.wait_for(job_id) for job_id in jobs] == ["error", "error", "error", "success"]
    assert "exit status 7" in scene.failure(jobs[0])
    assert "signal 9 (SIGKILL)" in scene.failure(jobs[1])
    assert "/no/such/program cannot be started: No such file or directory" in scene.failure(jobs[2])
    assert scene.fields(jobs[3], "opresult") == [[7]]


# Copies


def copy(source: Path, target: Path, **parameters: object) -> dict[str, object]:
    return {"OP_ID": "OP_COPY_FILE", "source": str(source), "target": str(target), **parameters}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(os.urandom(4 * MIB))
    return path


def names(directory: Path) -> list[str]:
    """What is in a directory besides files of the test."""
    return sorted(path.name for path in directory.iterdir() if path.name.startswith((".jqueue", "target")))


def test_a_copy_is_verified_and_has_its_name_only_when_it_is_complete(scene: Scene, source: Path) -> None:
    target = scene.directory / "target"
    job_id = scene.daemon.submit(copy(source, target))
    assert scene.daemon.wait_for(job_id) == "success"
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    assert scene.fields(job_id, "opresult") == [[{"bytes": 4 * MIB, "sha256": digest}]]
    assert target.read_bytes() == source.read_bytes()
    assert names(scene.directory) == ["target"]


def slow_copy(scene: Scene, source: Path) -> int:
    """Starts a copy that would take half a minute, and waits until it is in the middle."""
    job_id = scene.daemon.submit(copy(source, scene.directory / "target", speed=128 << 10))

    def in_the_middle() -> bool:
        [progress] = scene.fields(job_id, "progress")
        return bool(progress and progress[0] > 0)

    wait_until(in_the_middle, "the copy to have begun")
    [partial] = names(scene.directory)
    assert partial.startswith(f".jqueue-{job_id}.0-")
    return job_id


def test_a_copy_that_is_canceled_in_the_middle_leaves_nothing(scene: Scene, source: Path) -> None:
    job_id = slow_copy(scene, source)
    assert scene.daemon.call("CancelJob", job_id)[0] is True
    assert scene.daemon.wait_for(job_id) == "canceled"
    assert names(scene.directory) == []


def test_a_copy_starts_again_after_a_crash(tmp_path: Path, source: Path) -> None:
    with running(tmp_path / "daemon", {}) as daemon:
        scene = Scene(daemon, tmp_path)
        job_id = slow_copy(scene, source)
        [before] = names(tmp_path)
        daemon.kill()
        assert names(tmp_path) == [before]
        daemon.start()
        wait_until(lambda: names(tmp_path) not in ([before], []), "the copy to start again")
        assert len(names(tmp_path)) == 1
        assert daemon.status(job_id) == "running"
        daemon.call("CancelJob", job_id)
        assert daemon.wait_for(job_id) == "canceled"
        assert names(tmp_path) == []


def test_two_copies_to_the_same_target_never_run_side_by_side(scene: Scene, source: Path) -> None:
    first = slow_copy(scene, source)
    second = scene.daemon.submit(copy(source, scene.directory / "other" / ".." / "target"))
    (scene.directory / "other").mkdir()
    third = scene.daemon.submit(copy(source, scene.directory / "target"))
    assert [holder["id"] for holder in scene.waits(third, "lock")["holders"]] == [first]
    scene.daemon.call("CancelJob", first)
    ends = sorted([scene.daemon.wait_for(second), scene.daemon.wait_for(third)])
    assert ends == ["error", "success"]
    assert names(scene.directory) == ["target"]


# The one that talks to its test client


def test_jqueue_notifies_at_each_step_and_waits_for_its_client(scene: Scene) -> None:
    op = {"OP_ID": "OP_TEST_JQUEUE", "notify_waitlock": True, "notify_exec": True, "log_messages": ["one", "two"]}
    job_id = scene.daemon.submit(op)
    steps: list[Any] = []
    statuses = []
    serial = 0
    while len(steps) < 5:
        fresh = scene.daemon.call("WaitForJobChange", job_id, ["status"], None, serial, 10)
        for entry in fresh[1]:
            serial = entry[0]
            if entry[2] == "jqueue-test":
                path, test, argument = entry[3]
                statuses.append(scene.daemon.status(job_id))
                steps.append([test, argument])
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(path)
    assert scene.daemon.wait_for(job_id) == "success"
    assert steps == [["expandnames", None], ["exec", None], ["startmsg", 2], ["logmsg", 1], ["logmsg", 2]]
    assert statuses == ["waiting", "running", "running", "running", "running"]
    assert [line for line in scene.log(job_id) if line.startswith("TESTMSG")] == ["TESTMSG=one", "TESTMSG=two"]
