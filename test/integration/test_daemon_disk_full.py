"""A full disk: what runs may end, nothing is started or taken, nothing acknowledged is lost, and then it goes on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from jqueue.errors import DiskFull

from ..conftest import MakeDaemon
from .daemon import Daemon, wait_until
from .notes import NOTING, Notes
from .smalldisk import SmallDisk

LATER = {"OP_ID": "OP_TEST_DUMMY", "not_before": 4e9, "result": "x" * 20_000}


@dataclass
class Scene:
    """A daemon on a disk that is full, with a job that runs, one that is queued, and others that were acknowledged."""

    daemon: Daemon
    disk: SmallDisk
    notes: Notes
    go: Path
    running: int = 0
    queued: int = 0
    taken: list[int] = field(default_factory=list)

    def fill(self) -> None:
        """Fills the disk, and then submits until that is refused."""
        self.running = self.daemon.submit(self.notes.op(until=str(self.go)))
        self.queued = self.daemon.submit(self.notes.op())
        wait_until(lambda: self.notes.started(self.running), "the first job to run")
        self.disk.fill()
        with self.daemon.connect() as client, pytest.raises(DiskFull, match="disk that holds the queue is full"):
            for _ in range(1000):
                self.taken.append(client.call("SubmitJob", [LATER], {"name": "taken"}))
        assert len(self.taken) > 10
        assert self.full()

    def full(self) -> bool:
        return bool(self.daemon.call("QueryStatus")["journal"]["full"])

    def check_taken(self) -> None:
        rows = self.daemon.call("QueryJobs", self.taken, ["id", "name", "opstatus"], None)
        assert [(row[0], row[1]) for row in rows] == [(job_id, "taken") for job_id in self.taken]
        assert {status for _, _, [status] in rows} <= {"queued", "waiting"}

    def check_goes_on(self) -> None:
        """The daemon takes and starts jobs."""
        wait_until(lambda: not self.full(), "the daemon to find the space")
        assert self.daemon.wait_for(self.daemon.submit({"OP_ID": "OP_TEST_DUMMY"})) == "success"
        assert self.daemon.wait_for(self.queued) == "success"
        wait_until(lambda: self.daemon.call("QueryStatus")["job_files"]["pending"] == 0, "the job files to be written")
        assert '"success"' in (self.disk.seen / "state" / f"job-{self.queued}").read_text()


@pytest.fixture
def scene(make_daemon: MakeDaemon, tmp_path: Path) -> Iterator[Scene]:
    disk = SmallDisk(tmp_path / "disk", 40)
    config: dict[str, dict[str, object]] = {
        "opcodes": NOTING,
        "workers": {"size": 1},
        "journal": {"segment_size": "1MiB", "reserve": "1MiB", "checkpoint_after": "8MiB"},
        "stop": {"grace": "2s"},
    }
    daemon = make_daemon(config, state=disk.path / "state", wrapper=disk.wrapper)
    try:
        yield Scene(daemon.start(), disk, Notes(tmp_path / "notes"), tmp_path / "go")
    finally:
        daemon.close()
        disk.close()


def test_what_runs_ends_and_nothing_new_is_started_until_there_is_space(scene: Scene) -> None:
    scene.fill()
    explained = scene.daemon.call("ExplainJob", scene.queued)
    assert any("disk is full" in reason["text"] for reason in explained["reasons"]), explained
    for verb, *arguments in (("CancelJob",), ("PauseJob",), ("ChangeJobPriority", 10)):
        with pytest.raises(DiskFull):
            scene.daemon.call(verb, scene.taken[0], *arguments)
    with pytest.raises(DiskFull, match="drained cannot be changed: No space left on device; free some space"):
        scene.daemon.call("SetDrainFlag", True, "for maintenance")
    scene.go.touch()
    assert scene.daemon.wait_for(scene.running) == "success"
    assert scene.notes.started(scene.queued) == 0
    assert scene.full() and "disk is full" in scene.daemon.said()
    scene.disk.free()
    scene.check_goes_on()
    scene.check_taken()
    scene.daemon.kill()
    scene.daemon.start()
    scene.check_taken()
    assert scene.daemon.status(scene.running) == "success"


def test_a_stop_on_a_full_disk_leaves_everything_in_order(scene: Scene) -> None:
    scene.fill()
    assert scene.daemon.stop() == 0
    scene.disk.free()
    scene.daemon.start()
    assert scene.daemon.status(scene.running) == "error"
    assert "daemon stopped" in str(scene.daemon.call("QueryJobs", [scene.running], ["opresult"], None))
    scene.check_goes_on()
    scene.check_taken()


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_a_start_on_a_full_disk_loses_nothing_either(scene: Scene, how: str) -> None:
    scene.fill()
    if how == "killed":
        scene.daemon.kill()
    else:
        assert scene.daemon.stop() == 0
    for _ in range(3):
        scene.disk.fill()  # also what the stop has given back
        scene.daemon.start()
        assert scene.daemon.status(scene.running) == "error"
        scene.daemon.kill()
    scene.disk.fill()
    scene.daemon.start()
    scene.check_taken()
    with pytest.raises(DiskFull):
        for _ in range(1000):
            scene.daemon.submit(LATER)
    scene.disk.free()
    scene.check_goes_on()
    scene.check_taken()
