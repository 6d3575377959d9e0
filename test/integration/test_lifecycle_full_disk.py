"""Jobs that wait for their user on a full disk: what would use up space is refused, what runs can be ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from jqueue.errors import DiskFull

from ..conftest import MakeDaemon
from .daemon import Daemon, wait_until
from .smalldisk import SmallDisk
from .stages import FAILING, PENDING, PENDING_JOB, READY, RUNNING, STAGING, STANDBY, Case, Stages, again, lone
from .test_qmp import connected

LATER = {"OP_ID": "OP_TEST_DUMMY", "not_before": 4e9, "result": "x" * 20_000}
CASES = {
    "pending": lone(PENDING),
    "group": Case((PENDING, replace(PENDING, job={})), (), ()),
    "completed": lone(READY),
    "completed later": lone(replace(READY, job=PENDING_JOB)),
    "left": lone(READY),
    "canceled": lone(READY),
    "undone later": lone(replace(RUNNING, job=PENDING_JOB)),
    "ready again": lone(again(READY)),
    "standby": lone(again(STANDBY)),
    "running": lone(RUNNING),
    "failing": lone(replace(FAILING, steps=(), holds=("exec",))),
}


class Scene:
    """A daemon on a full disk, with jobs that wait for their user."""

    def __init__(self, daemon: Daemon, disk: SmallDisk, directory: Path) -> None:
        self.daemon = daemon
        self.disk = disk
        self.stages = Stages(daemon, directory)
        self.ids = {name: self.stages.submit(name, case) for name, case in CASES.items()}
        self.fill()

    def fill(self) -> None:
        self.disk.fill()
        with pytest.raises(DiskFull), self.daemon.connect() as client:
            for _ in range(1000):
                client.call("SubmitJob", [LATER])
        assert self.full()

    def full(self) -> bool:
        return bool(self.daemon.call("QueryStatus")["journal"]["full"])

    def one(self, name: str) -> int:
        [job_id] = self.ids[name]
        return job_id

    def is_now(self, name: str, *described: str) -> None:
        self.stages.until_described(name, self.ids[name], described)

    def refused(self, method: str, name: str, *arguments: object) -> None:
        with pytest.raises(DiskFull, match="disk that holds the queue is full"):
            self.daemon.call(method, self.ids[name][0], *arguments)

    def done(self, method: str, name: str, *arguments: object) -> None:
        assert self.daemon.call(method, self.ids[name][0], *arguments)[0] is True


@pytest.fixture
def scene(make_daemon: MakeDaemon, tmp_path: Path) -> Iterator[Scene]:
    disk = SmallDisk(tmp_path / "disk", 60)
    config: dict[str, dict[str, object]] = {
        "opcodes": STAGING,
        "workers": {"size": 5},
        "journal": {"segment_size": "1MiB", "reserve": "1MiB", "checkpoint_after": "8MiB"},
    }
    daemon = make_daemon(config, state=disk.path / "state", wrapper=disk.wrapper)
    try:
        yield Scene(daemon.start(), disk, tmp_path)
    finally:
        daemon.close()
        disk.close()


def test_what_runs_can_be_ended_and_what_waits_is_neither_changed_nor_lost(scene: Scene) -> None:
    for name in ("pending", "group"):
        for method in ("FinalizeJob", "CancelJob"):
            scene.refused(method, name)
    for name in ("ready again", "running"):
        scene.refused("PauseJob", name)
        scene.refused("SetJobSpeed", name, 2**20)
    scene.refused("ResumeJob", "standby")
    with connected(scene.daemon) as client:
        assert "disk that holds the queue is full" in client.error("job-finalize", id=f"job{scene.one('pending')}")
    scene.done("CompleteJob", "completed")
    scene.is_now("completed", "success concluded")
    scene.done("CompleteJob", "completed later")
    scene.is_now("completed later", "running pending")
    scene.done("CancelJob", "left", False, True)
    scene.is_now("left", "success concluded")
    for name in ("canceled", "undone later"):
        scene.done("CancelJob", name)
        scene.is_now(name, "canceled concluded")
    scene.stages.open("running-0", "exec")
    scene.is_now("running", "success concluded")
    scene.stages.open("failing-0", "exec")
    scene.is_now("failing", "error concluded")
    scene.done("CompleteJob", "standby")
    scene.is_now("standby", "running standby held")
    scene.is_now("group", "running pending", "running pending")
    assert scene.full()
    check_goes_on(scene)


def test_a_start_on_a_full_disk_finds_them_as_they_were(scene: Scene) -> None:
    scene.done("CompleteJob", "standby")
    for end in (scene.daemon.kill, scene.daemon.stop):
        assert end() in (None, 0)
        scene.disk.fill()
        scene.daemon.start()
        scene.is_now("pending", "running pending")
        scene.is_now("group", "running pending", "running pending")
        scene.is_now("standby", "queued paused held")
        scene.is_now("completed", "error concluded")
        scene.refused("FinalizeJob", "group")
    assert scene.stages.described(scene.ids["ready again"]) == ("queued running",)
    check_goes_on(scene)


def check_goes_on(scene: Scene) -> None:
    scene.disk.free()
    wait_until(lambda: not scene.full(), "the daemon to find the space")
    ids = [job_id for each in scene.ids.values() for job_id in each]
    scene.stages.drive(ids)
    for name in ("pending", "group", "ready again", "standby"):
        assert {status for [status] in scene.stages.rows(scene.ids[name], "status")} == {"success"}, name
    for name, each in scene.ids.items():
        scene.stages.check_ended(name, each)
