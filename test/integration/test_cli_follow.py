"""Verbs that follow jobs, across kill -9 and restart of the daemon; and the exit statuses that they end with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .daemon import Daemon, wait_until
from .scene import Scene, running
from .tool import Running, Said, jqueue

DUMMY: dict[str, object] = {"OP_ID": "OP_TEST_DUMMY"}
Follow = Callable[..., Running]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with running(tmp_path / "daemon", {}) as daemon:
        yield daemon


@pytest.fixture
def scene(daemon: Daemon, tmp_path: Path) -> Scene:
    return Scene(daemon, tmp_path)


@pytest.fixture
def follow(daemon: Daemon, tmp_path: Path) -> Iterator[Follow]:
    """Starts command lines that may outlive a daemon."""
    started: list[Running] = []

    def start(*words: str) -> Running:
        directory = tmp_path / f"follower{len(started)}"
        directory.mkdir()
        started.append(Running(daemon, directory, *words))
        return started[-1]

    yield start
    for one in started:
        one.close()


def count(scene: Scene) -> int:
    """Submits a job that logs a line every few milliseconds until the gate `count` is opened."""
    return scene.daemon.submit({"OP_ID": "OP_COUNT", "until": scene.gate("count")})


def crash(scene: Scene, job_id: int, follower: Running) -> None:
    """Kills the daemon while lines come, starts it again, and waits until lines come again."""
    scene.daemon.kill()
    follower.has_said("the daemon is gone; going on when it is back")
    scene.daemon.start()
    scene.daemon.wait_for(job_id, "running")
    wait_until(lambda: any(line.startswith(f"{scene.daemon.pid} ") for line in scene.log(job_id)), "new lines")


def whole_log(daemon: Daemon, job_id: int) -> list[str]:
    """The messages of a job's log file."""
    lines = (daemon.state / f"job-{job_id}.log").read_text().splitlines()
    return [json.loads(line)[4] for line in lines]


def test_log_shows_each_line_once_across_crashes(scene: Scene, follow: Follow) -> None:
    job_id = count(scene)
    follower = follow("log", "-f", "-n", "1000000", str(job_id))
    for _ in range(2):
        follower.has_said(f"{scene.daemon.pid} 20\n")
        crash(scene, job_id, follower)
    follower.has_said(f"{scene.daemon.pid} 20\n")
    scene.open("count")
    assert follower.wait() == 0
    assert follower.out == whole_log(scene.daemon, job_id)
    assert len(follower.out) == len(set(follower.out)) > 60
    assert len({line.split()[0] for line in follower.out}) == 3  # of three daemons


def test_watch_shows_each_line_and_each_change_once_across_a_crash(scene: Scene, follow: Follow) -> None:
    held = scene.hold("held", locks={"resource": {"a": "exclusive"}})
    job_id = scene.daemon.submit(
        {"OP_ID": "OP_COUNT", "until": scene.gate("count"), "locks": {"resource": {"a": "exclusive"}}}
    )
    scene.daemon.wait_for(job_id, "waiting")
    follower = follow("watch", "--json", str(job_id))
    follower.has_said('"waiting"')
    scene.open("held")
    scene.daemon.wait_for(held, "success")
    follower.has_said(f'"{scene.daemon.pid} 20"')
    crash(scene, job_id, follower)
    scene.open("count")
    assert follower.wait() == 0
    events = [json.loads(line) for line in follower.out]
    assert [event["message"] for event in events if event["type"] == "log"] == whole_log(scene.daemon, job_id)
    serials = [event["serial"] for event in events if event["type"] == "log"]
    assert serials == sorted(set(serials))
    statuses = [event["status"] for event in events if event["type"] == "change"]
    assert statuses[:2] == ["waiting", "running"] and statuses[-2:] == ["running", "success"]
    assert set(statuses[2:-2]) <= {"queued", "waiting", "running"}
    assert statuses.count("success") == 1


def test_watch_of_all_jobs_goes_on_after_a_crash(scene: Scene, follow: Follow) -> None:
    before = scene.daemon.submit(DUMMY)
    scene.daemon.wait_for(before)
    follower = follow("watch", "--json")
    submitted: list[int] = []

    def one_is_seen() -> bool:
        submitted.append(scene.daemon.submit(DUMMY))
        scene.daemon.wait_for(submitted[-1])
        return bool(follower.out)

    wait_until(one_is_seen, "it to follow")
    wait_until(lambda: f'"id": {submitted[-1]}' in follower.out[-1] and "success" in follower.out[-1], "the last one")
    scene.daemon.kill()
    follower.has_said("the daemon is gone")
    scene.daemon.start()
    follower.has_said("the daemon is back")
    second = scene.daemon.submit(DUMMY)
    wait_until(lambda: f'"id": {second}' in follower.out[-1] and "success" in follower.out[-1], "the end of it")
    events = [json.loads(line) for line in follower.out]
    ended = [event["id"] for event in events if event["status"] == "success"]
    assert ended == [*range(ended[0], second), second]
    assert ended[0] > before


def test_submit_follow_ends_with_its_job_across_a_crash(scene: Scene, follow: Follow) -> None:
    file = scene.directory / "job.yaml"
    file.write_text(f"name: long\nops:\n- {{OP_ID: OP_COUNT, until: {scene.gate('count')}}}\n- OP_ID: OP_TEST_DUMMY\n")
    follower = follow("submit", "--follow", str(file))
    follower.has_said(f"{scene.daemon.pid} 5\n")
    crash(scene, 1, follower)
    scene.open("count")
    assert follower.wait() == 0
    assert follower.out == whole_log(scene.daemon, 1)
    assert "job 1 submitted: long" in follower.err
    assert follower.err.rstrip().endswith("job 1: success")


# Exit statuses


def shell(daemon: Daemon, script: str, *options: str) -> Said:
    return jqueue(daemon, "run", "--follow", *options, "--", "sh", "-c", script)


def test_run_follow_exits_as_its_command_did(daemon: Daemon) -> None:
    good = shell(daemon, "echo out; echo err >&2")
    assert (good.status, good.out) == (0, "out\nerr\n")
    assert [shell(daemon, script).status for script in ("exit 7", "exit 255", "kill -9 $$", "kill -15 $$")] == [
        7,
        255,
        137,
        143,
    ]
    assert jqueue(daemon, "run", "--follow", "--", "/no/such/program").status == 1
    assert shell(daemon, "sleep 60", "--timeout", "0.2").status == 1


def test_run_carries_the_directory_and_takes_its_lock(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(scene.directory)
    said = shell(scene.daemon, "pwd", "--lock", "disk1")
    assert said.out == f"{scene.directory}\n"
    [[ops]] = scene.daemon.call("QueryJobs", [1], ["ops"], None)
    assert ops[0]["locks"] == {"resource": {"disk1": "exclusive"}}


def test_wait_exits_as_its_jobs_did(scene: Scene) -> None:
    good, bad = scene.daemon.submit(DUMMY), scene.daemon.submit({**DUMMY, "fail": True})
    running = scene.hold("running")
    canceled = scene.daemon.submit({**DUMMY, "depends": [[running, []]]})
    scene.daemon.call("CancelJob", canceled)
    daemon = scene.daemon
    assert jqueue(daemon, "wait", str(good)) == (0, f"{good} success\n", "")
    assert jqueue(daemon, "wait", str(bad)).status == 1
    assert jqueue(daemon, "wait", str(canceled)).status == 3
    assert jqueue(daemon, "wait", f"{good},{canceled}").status == 3
    assert jqueue(daemon, "wait", f"{good}-{canceled}", "--timeout", "0.2").status == 124
    assert jqueue(daemon, "wait", "999").status == 1
    scene.open("running")
    assert jqueue(daemon, "wait", str(running)).status == 0


def test_wait_goes_on_over_a_crash(scene: Scene, follow: Follow) -> None:
    done, job_id = scene.daemon.submit(DUMMY), count(scene)
    follower = follow("wait", f"{done},{job_id}")
    follower.has_said(f"{done} success")
    wait_until(lambda: scene.daemon.call("QueryJobLog", job_id, 0, 1), "the first line")
    crash(scene, job_id, follower)
    scene.open("count")
    assert (follower.wait(), follower.out) == (0, [f"{done} success", f"{job_id} success"])


def test_what_was_spooled_without_a_daemon_is_submitted_when_it_starts(scene: Scene) -> None:
    daemon = scene.daemon
    assert daemon.stop() == 0
    file = scene.directory / "job.yaml"
    file.write_text("name: spooled\nops:\n- OP_ID: OP_TEST_DUMMY\n")
    said = jqueue(daemon, "submit", "--spool", "--state-dir", str(daemon.state), str(file))
    assert (said.status, Path(said.out.strip()).parent) == (0, daemon.state / "incoming")
    assert jqueue(daemon, "submit", str(file)).status == 69
    daemon.start()
    assert daemon.wait_for(1) == "success"
    assert scene.fields(1, "name") == ["spooled"]
    wait_until(lambda: list((daemon.state / "incoming").iterdir()) == [], "the file to be removed")
    daemon.restart()
    assert daemon.call("QueryStatus")["last_id"] == 1


def test_a_drained_queue_is_told_with_its_own_exit_status(scene: Scene) -> None:
    assert jqueue(scene.daemon, "drain", "on", "moving", "house").status == 0
    said = shell(scene.daemon, "true")
    assert (said.status, said.out) == (75, "")
    assert "moving house" in said.err
    assert jqueue(scene.daemon, "drain", "off").status == 0
    assert shell(scene.daemon, "true").status == 0


# Why


def test_why_explains_what_a_job_waits_for(tmp_path: Path) -> None:
    with running(tmp_path / "small", {"workers": {"size": 2}}) as daemon:
        scene = Scene(daemon, tmp_path)
        locks = {"locks": {"resource": {"disk": "exclusive"}}}
        holder = scene.hold("holder", **locks)
        first, second = daemon.submit({**DUMMY, **locks}), daemon.submit({**DUMMY, **locks})
        behind = daemon.submit({**DUMMY, "depends": [[second, ["success"]]]})
        later = daemon.submit({**DUMMY, "not_before": "2999-01-01T00:00:00+00:00"})
        for job_id in (first, second, behind, later):
            daemon.wait_for(job_id, "waiting")
        scene.hold("full")
        full = daemon.submit(DUMMY)
        lines = jqueue(daemon, "why", str(second)).out.splitlines()
        assert lines[0] == f"job {second}: waiting"
        held = f"  lock resource/disk (exclusive) is held by job {holder}; place 2 in its line; since "
        assert lines[1].startswith(held)
        assert lines[2].startswith(f"    job {holder} has it since ")
        assert f"job {second} has not ended yet" in jqueue(daemon, "why", str(behind)).out
        assert "it is not to start before 2999-01-01T00:00:00+00:00" in jqueue(daemon, "why", str(later)).out
        assert "all 2 workers are busy; it is number 1 in line" in jqueue(daemon, "why", str(full)).out
        assert "is running" in jqueue(daemon, "why", str(holder)).out
        [reason] = json.loads(jqueue(daemon, "why", str(second), "--json").out)["reasons"]
        assert (reason["kind"], reason["place"], reason["holders"][0]["id"]) == ("lock", 2, holder)
        scene.open("holder", "full")
        daemon.wait_for(full, "success")
        assert "it has ended: success" in jqueue(daemon, "why", str(full)).out
        assert jqueue(daemon, "why", "999").status == 1
