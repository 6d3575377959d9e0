"""Pause and resume through the real daemon: worker slots, locks, and what outlives a restart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jqueue.workers import process

from .daemon import Daemon, wait_until
from .scene import Scene, running

DUMMY: dict[str, object] = {"OP_ID": "OP_TEST_DUMMY"}
LOCKS = {"locks": {"resource": {"disk": "exclusive"}}}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("pausing"), {"workers": {"size": 1}, "locks": {"max_bypass": 0.2}}) as daemon:
        yield daemon


@pytest.fixture
def scene(daemon: Daemon, tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(daemon, tmp_path)
    yield scene
    scene.clean()


def pause(scene: Scene, job_id: int) -> None:
    """Pauses a job and waits until its code stands still."""
    assert scene.daemon.call("PauseJob", job_id) == [True, f"Job {job_id} is paused"]
    wait_until(lambda: state(scene, job_id) == "paused", "the code to stand still")


def state(scene: Scene, job_id: int) -> str | None:
    """What the report of the workers says of a job."""
    return {row["id"]: row["state"] for row in scene.daemon.call("QueryWorkers")["jobs"]}.get(job_id)


def test_a_paused_opcode_gives_its_worker_to_another_job_and_waits_for_one_to_go_on(scene: Scene) -> None:
    paused = scene.hold("paused")
    other = scene.daemon.submit(scene.holder("other"))
    assert scene.waits(other, "workers")["place"] == 1
    pause(scene, paused)
    scene.daemon.wait_for(other, "running")
    assert scene.why(paused)["text"].endswith("is paused; `jqueue resume` lets it go on")
    assert scene.fields(paused, "status", "lifecycle", "paused") == ["running", "paused", True]
    scene.open("paused")
    assert scene.daemon.call("ResumeJob", paused) == [True, f"Job {paused} goes on"]
    assert scene.daemon.call("QueryWorkers")["running"] == 1
    assert state(scene, paused) == "next"
    assert scene.why(paused)["text"].endswith("was resumed and goes on when a worker is free")
    assert scene.daemon.status(paused) == "running"
    scene.open("other")
    assert [scene.daemon.wait_for(other), scene.daemon.wait_for(paused)] == ["success", "success"]


def test_the_locks_of_a_paused_opcode_stay_and_nothing_is_kept_for_those_who_wait_for_them(scene: Scene) -> None:
    both = {"locks": {"resource": {"disk": "exclusive", "net": "exclusive"}}}
    paused = scene.hold("paused", **LOCKS)
    pause(scene, paused)
    waiting = scene.daemon.submit({**DUMMY, **both})
    assert [holder["id"] for holder in scene.waits(waiting, "lock")["holders"]] == [paused]
    wait_until(lambda: scene.why(waiting)["since"] > 0.5, "it to wait longer than others may overtake")
    net = scene.daemon.submit({**DUMMY, "locks": {"resource": {"net": "exclusive"}}})
    assert scene.daemon.wait_for(net) == "success"
    scene.open("paused")
    scene.daemon.call("ResumeJob", paused)
    assert [scene.daemon.wait_for(paused), scene.daemon.wait_for(waiting)] == ["success", "success"]


def test_a_command_stands_still_with_its_group(scene: Scene) -> None:
    script = "sleep 60 & echo $!; echo $$; wait"
    job_id = scene.daemon.submit({"OP_ID": "OP_RUN_COMMAND", "argv": ["sh", "-c", script]})
    wait_until(lambda: len(scene.log(job_id)) == 2, "the command to start")
    pause(scene, job_id)
    stats = [Path(f"/proc/{pid}/stat") for pid in scene.log(job_id)]
    wait_until(lambda: all(") T " in stat.read_text() for stat in stats), "the kernel to stop both processes")
    assert scene.daemon.call("CancelJob", job_id)[0] is True
    assert scene.daemon.wait_for(job_id) == "canceled"
    left = [process.look_up(int(pid)) for pid in scene.log(job_id)]
    assert [found for found in left if found is not None and not found.zombie] == []


def test_a_job_that_has_not_started_is_held(scene: Scene) -> None:
    job_id = scene.daemon.submit({**DUMMY, "not_before": "2999-01-01T00:00:00+00:00"})
    scene.waits(job_id, "not_before")
    scene.daemon.call("PauseJob", job_id)
    assert "`jqueue resume` lets it go on" in scene.waits(job_id, "paused")["text"]
    scene.daemon.call("ResumeJob", job_id)
    scene.waits(job_id, "not_before")


def test_a_paused_job_does_not_stand_in_line_for_a_lock(scene: Scene) -> None:
    held = scene.hold("held", **LOCKS)
    first, second = (scene.daemon.submit({**DUMMY, **LOCKS}) for _ in range(2))
    pause(scene, held)  # the worker is free to look at the others
    scene.waits(second, "lock")
    scene.daemon.call("PauseJob", first)
    scene.waits(first, "paused")
    assert scene.why(second)["place"] == 1
    scene.open("held")
    scene.daemon.call("ResumeJob", held)
    assert scene.daemon.wait_for(second) == "success"
    scene.daemon.call("ResumeJob", first)
    assert scene.daemon.wait_for(first) == "success"


def test_pause_between_opcodes_holds_the_next_one(scene: Scene) -> None:
    deaf = scene.holder("deaf", deaf=True)
    job_id = scene.daemon.submit(deaf, DUMMY)
    scene.daemon.wait_for(job_id, "running")
    scene.daemon.call("PauseJob", job_id)  # it has no pause point
    scene.open("deaf")
    assert scene.waits(job_id, "paused")["text"] == "it is paused; `jqueue resume` lets it go on"
    assert scene.fields(job_id, "opstatus") == [["success", "queued"]]
    scene.daemon.call("ResumeJob", job_id)
    assert scene.daemon.wait_for(job_id) == "success"


def test_it_is_refused_where_it_makes_no_sense(scene: Scene) -> None:
    done = scene.daemon.submit(DUMMY)
    scene.daemon.wait_for(done)
    held = scene.hold("held")
    assert scene.daemon.call("PauseJob", done)[0] is False
    assert scene.daemon.call("ResumeJob", done)[0] is False
    assert scene.daemon.call("PauseJob", 999_999) == [
        False,
        "There is no job 999999 in the queue; it may be archived",
    ]
    assert scene.daemon.call("ResumeJob", held) == [False, "Can't resume a job that was not paused"]
    pause(scene, held)
    assert scene.daemon.call("PauseJob", held) == [False, "Job is already paused"]


def test_many_pauses_and_resumes_in_a_row_lose_neither_the_job_nor_a_worker(scene: Scene) -> None:
    held = scene.hold("held")
    connection = scene.daemon.connect()
    for _ in range(100):
        assert connection.call("PauseJob", held)[0]
        assert connection.call("ResumeJob", held)[0]
    scene.open("held")
    assert scene.daemon.wait_for(held) == "success"
    assert scene.daemon.call("QueryWorkers")["running"] == 0
    assert scene.daemon.wait_for(scene.daemon.submit(DUMMY)) == "success"


def test_a_pause_outlives_a_crash(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", {"workers": {"size": 3}}) as daemon:
        scene = Scene(daemon, tmp_path)
        lost = scene.hold("lost")
        again = daemon.submit({**scene.holder("again"), "OP_ID": "OP_NOTE_AGAIN"})
        daemon.wait_for(again, "running")
        waiting = daemon.submit({**DUMMY, "depends": [[again, []]]})
        for job_id in (lost, again):
            pause(scene, job_id)
        assert daemon.call("PauseJob", waiting)[0] is True
        daemon.kill()
        daemon.start()
        assert daemon.wait_for(lost) == "error"
        assert [scene.waits(job_id, "paused")["kind"] for job_id in (again, waiting)] == ["paused"] * 2
        assert [daemon.status(job_id) for job_id in (again, waiting)] == ["queued", "queued"]
        scene.open("again")
        for job_id in (again, waiting):
            assert daemon.call("ResumeJob", job_id)[0] is True
        assert [daemon.wait_for(job_id) for job_id in (again, waiting)] == ["success", "success"]
