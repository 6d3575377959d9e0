"""The end by `quit`, for jobs that others are in the middle of; the usual ones are in `test_lifecycles`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from jqueue.sched.lifecycles import Lifecycles

from .rig import Rig, locked, op

UNDO = op("OP_UNDO")
CANCELED = ["aborting", "BLOCK_JOB_CANCELLED", "concluded", "null"]


class Scene:
    """A queue with a listener."""

    def __init__(self, rig: Rig | None = None) -> None:
        self.rig = rig or Rig()
        self.qmp = Lifecycles(self.rig.queue, self.rig.clock)
        self.events: list[tuple[str, str]] = []
        self.qmp.listen(self._hear)

    def _hear(self, name: str, data: Mapping[str, Any]) -> None:
        self.events.append((data.get("id", data.get("device", "")), data.get("status", name)))

    def heard(self, job_id: int) -> list[str]:
        return [event for job, event in self.events if job == f"job{job_id}"]

    def quit(self) -> None:
        """Quits, while all code goes on; time passes until all is done."""
        done = self.qmp.quit()
        for _ in range(5):
            self.rig.finish()
            if not done.called:
                self.rig.advance(2)
        self.rig.now(done)


def test_a_group_that_ends_in_one_record_is_told_before_any_of_it_is_let_go() -> None:
    scene = Scene()
    first, second = scene.rig.submit(op("OP_STUBBORN"), op("OP_STUBBORN"), group=True, auto_finalize=False)
    scene.rig.finish()
    del scene.events[:]
    scene.quit()
    assert (scene.heard(second), scene.heard(first)) == (CANCELED, CANCELED)


@pytest.mark.parametrize("cancel_first", [False, True])
def test_what_an_earlier_daemon_has_decided_is_carried_out_first(cancel_first: bool) -> None:
    rig = Rig()
    job_id = rig.submit_one(UNDO)
    rig.step()
    assert rig.job(job_id).phase == "committing"
    scene = Scene(rig.crash(start=False))
    scene.rig.queue.processor.start()
    if cancel_first:
        scene.rig.now(scene.qmp.cancel(job_id, True))
    scene.quit()
    assert scene.rig.status(job_id) == "success"
    assert scene.rig.ran_by(job_id)[-1] == "commit attempt 1"
    assert scene.heard(job_id)[-3:] == ["BLOCK_JOB_COMPLETED", "concluded", "null"]


def test_an_attempt_that_is_still_to_be_undone_is_undone() -> None:
    rig = Rig()
    job_id = rig.submit_one(op("OP_UNDO_AGAIN"))
    rig.settle()
    scene = Scene(rig.crash(start=False))
    scene.rig.queue.processor.start()
    scene.quit()
    assert (scene.rig.status(job_id), scene.rig.ran_by(job_id)) == ("canceled", ["abort attempt 1"])


def test_jobs_that_come_meanwhile_are_canceled_too() -> None:
    scene = Scene()
    parent = scene.rig.submit_one(op("OP_STUBBORN", children=[[locked()]]))
    scene.rig.settle()
    scene.quit()
    assert [scene.rig.status(n) for n in (parent, parent + 1)] == ["canceled", "canceled"]
    assert scene.heard(parent + 1) == ["created", "aborting", "concluded", "null"]


def test_a_group_in_the_middle_of_its_commits_comes_to_its_end() -> None:
    scene = Scene()
    ids = scene.rig.submit(UNDO, UNDO, group=True)
    for _ in range(5):
        scene.rig.settle()
        scene.rig.step()
    assert [scene.rig.job(n).phase for n in ids] == ["committing", "done"]
    scene.quit()
    assert [scene.rig.status(n) for n in ids] == ["success", "success"]


def test_a_ready_job_and_one_that_stands_by_are_canceled() -> None:
    scene = Scene()
    ready, stands_by = scene.rig.submit(op("OP_CONVERGE"), op("OP_CONVERGE"))
    scene.rig.finish()
    scene.rig.now(scene.qmp.pause(stands_by))
    scene.rig.finish()
    del scene.events[:]
    scene.quit()
    assert scene.heard(ready) == CANCELED
    assert scene.heard(stands_by) == ["ready", *CANCELED]
    assert scene.rig.idle()
