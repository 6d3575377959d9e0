"""Code that stops at pause points, or converges: who has a slot, how it is won back, and what reaches the code."""

from __future__ import annotations

from typing import Any

import pytest

from jqueue.errors import GenericError
from jqueue.sched.lifecycles import Lifecycles

from .rig import Rig, locked, op

CONVERGE = op("OP_CONVERGE")
STUBBORN = op("OP_STUBBORN")
ENDED = ["waiting", "pending", "BLOCK_JOB_COMPLETED", "concluded"]
READY = ["created", "running", "ready", "BLOCK_JOB_READY"]


class Scene:
    """A queue with a listener and QMP's verbs."""

    def __init__(self, **options: Any) -> None:
        self.rig = Rig(**options)
        self.qmp = Lifecycles(self.rig.queue, self.rig.clock)
        self.events: list[tuple[str, str]] = []
        self.qmp.listen(self._hear)

    def _hear(self, name: str, data: Any) -> None:
        self.events.append((data.get("id", data.get("device")), data.get("status", name)))

    def heard(self, job_id: int = 1) -> list[str]:
        return [event for job, event in self.events if job == f"job{job_id}"]

    def ready(self, *ops: object) -> int:
        """Submits a job and brings it to where it has converged."""
        (job_id,) = self.rig.submit(list(ops) or [CONVERGE])
        for _ in ops or [CONVERGE]:
            self.rig.step()
        assert self.state(job_id) == "ready"
        return job_id

    def state(self, job_id: int = 1) -> str:
        return self.rig.queue.host.lifecycle(self.rig.job(job_id))

    def verb(self, name: str, *arguments: object) -> str | None:
        """Asks by QMP; gives the text of the error, if there is one."""
        try:
            self.rig.now(getattr(self.qmp, name)(*arguments))
        except GenericError as problem:
            return problem.text
        return None

    def reason(self, job_id: int = 1) -> dict[str, Any]:
        reason: dict[str, Any] = self.rig.now(self.rig.queue.explain(job_id))["reasons"][0]
        return reason


# Code that has converged


def test_code_that_has_converged_gives_its_slot_to_others_and_ends_when_it_is_told() -> None:
    scene = Scene(size=1)
    rig = scene.rig
    job_id = scene.ready()
    other = rig.submit_one(op())
    rig.finish()
    assert (rig.status(other), scene.state(job_id)) == ("success", "ready")
    assert rig.queue.query_workers()["running"] == 0
    assert scene.verb("complete", job_id) is None
    rig.finish()
    assert (rig.status(job_id), rig.result(job_id)) == ("success", "complete")
    assert scene.heard() == [*READY, *ENDED]
    assert rig.idle()


def test_it_comes_to_its_end_only_when_a_worker_is_free() -> None:
    scene = Scene(size=1)
    rig = scene.rig
    job_id = scene.ready()
    other = rig.submit_one(STUBBORN)
    rig.settle()
    assert scene.verb("complete", job_id) is None
    rig.step(0)
    assert (scene.state(job_id), scene.reason(job_id)["kind"]) == ("ready", "workers")
    assert rig.said(job_id) == []
    rig.step(1)
    assert rig.status(other) == "success"
    assert rig.queue.query_workers()["running"] == 1
    rig.finish()
    assert rig.result(job_id) == "complete"


def test_a_job_that_is_ready_says_what_it_waits_for() -> None:
    scene = Scene()
    job_id = scene.ready()
    assert (scene.reason()["kind"], f"`jqueue complete {job_id}`" in scene.reason()["text"]) == ("ready", True)


def test_a_job_that_stands_by_is_told_to_complete_and_does_so_when_it_is_resumed() -> None:
    scene = Scene()
    job_id = scene.ready()
    assert scene.verb("pause", job_id) is None
    scene.rig.step()
    assert scene.state() == "standby"
    assert [scene.verb("complete", job_id), scene.verb("complete", job_id)] == [None, None]
    scene.rig.finish()
    assert scene.state() == "standby"
    assert scene.verb("resume", job_id) is None
    scene.rig.finish()
    assert scene.heard() == [*READY, "standby", "ready", *ENDED]


def test_to_be_ready_again_it_needs_no_worker() -> None:
    scene = Scene(size=1)
    job_id = scene.ready()
    scene.verb("pause", job_id)
    scene.rig.step()
    scene.rig.submit_one(STUBBORN)
    scene.rig.settle()
    assert scene.verb("resume", job_id) is None
    assert (scene.state(), scene.rig.queue.query_workers()["running"]) == ("ready", 1)


def test_a_soft_cancel_of_a_ready_job_keeps_what_there_is() -> None:
    scene = Scene()
    job_id = scene.ready()
    assert scene.verb("cancel", job_id, False) is None
    assert scene.verb("complete", job_id) == f"The active block job 'job{job_id}' cannot be completed"
    scene.rig.finish()
    assert (scene.rig.status(job_id), scene.rig.result(job_id)) == ("success", "leave")
    assert scene.rig.ran_by(job_id) == ["exec", "prepare", "commit attempt 1"]
    assert scene.heard() == [*READY, *ENDED]


def test_a_soft_cancel_is_refused_in_standby_and_a_hard_one_before_the_job_is_ready() -> None:
    scene = Scene()
    job_id = scene.ready()
    scene.verb("pause", job_id)
    scene.rig.step()
    assert scene.verb("cancel", job_id, False) == f"The block job for device 'job{job_id}' is currently paused"
    other = scene.rig.submit_one(CONVERGE)
    scene.rig.settle()
    assert scene.verb("cancel", other, False) is None
    scene.rig.finish()
    assert (scene.state(job_id), scene.rig.status(other)) == ("standby", "canceled")


@pytest.mark.parametrize("paused", [False, True])
def test_a_hard_cancel_of_a_ready_job_undoes_it(paused: bool) -> None:
    scene = Scene()
    job_id = scene.ready()
    if paused:
        scene.verb("pause", job_id)
        scene.rig.step()
    assert scene.verb("cancel", job_id, True) is None
    scene.rig.finish()
    assert (scene.rig.status(job_id), scene.rig.ran_by(job_id)) == ("canceled", ["abort attempt 1"])
    stands_by = ["standby", "ready"] if paused else []
    assert scene.heard() == [*READY, *stands_by, "aborting", "BLOCK_JOB_CANCELLED", "concluded"]
    assert scene.rig.idle()


def test_a_cancel_beats_what_a_ready_job_was_told_before() -> None:
    scene = Scene()
    job_id = scene.ready(op("OP_CONVERGE", looks=False))
    assert [scene.verb("complete", job_id), scene.verb("cancel", job_id, True)] == [None, None]
    scene.rig.finish()
    assert scene.rig.status(job_id) == "canceled"


@pytest.mark.parametrize(("told", "arguments"), [("complete", ()), ("cancel", (False,))])
def test_what_a_ready_job_was_told_survives_a_crash_if_it_may_run_again(told: str, arguments: tuple[bool, ...]) -> None:
    scene = Scene()
    job_id = scene.ready(op("OP_CONVERGE_AGAIN"))
    assert scene.verb(told, job_id, *arguments) is None
    after = scene.rig.crash()
    after.step()  # undoes what the crash has interrupted
    after.step()
    assert after.queue.host.lifecycle(after.job(job_id)) == "ready"
    after.finish()
    assert (after.status(job_id), after.result(job_id)) == (
        "success",
        {"complete": "complete", "cancel": "leave"}[told],
    )


def test_a_ready_job_that_may_not_run_again_is_in_error_after_a_crash() -> None:
    scene = Scene()
    job_id = scene.ready()
    scene.verb("complete", job_id)
    after = scene.rig.crash()
    after.finish()
    assert (after.status(job_id), after.ran_by(job_id)) == ("error", ["abort attempt 1"])


def test_a_job_that_stands_by_is_held_after_a_crash() -> None:
    scene = Scene()
    job_id = scene.ready(op("OP_CONVERGE_AGAIN"))
    scene.verb("pause", job_id)
    scene.rig.step()
    after = scene.rig.crash()
    after.finish()
    assert (after.status(job_id), after.waits_for(job_id)) == ("queued", "paused")
    after.now(after.queue.resume(job_id))
    after.finish()
    assert after.queue.host.lifecycle(after.job(job_id)) == "ready"


def test_the_time_in_which_a_job_is_ready_does_not_count_towards_its_timeout() -> None:
    scene = Scene()
    job_id = scene.ready(op("OP_CONVERGE", timeout=50))
    scene.rig.advance(1000)
    scene.verb("complete", job_id)
    scene.rig.finish()
    assert scene.rig.status(job_id) == "success"


def test_the_time_before_and_after_counts() -> None:
    scene = Scene()
    job_id = scene.rig.submit_one(op("OP_CONVERGE", timeout=50))
    scene.rig.advance(30)
    scene.rig.step()
    scene.rig.advance(1000)
    scene.verb("complete", job_id)
    assert scene.state() == "ready"
    scene.rig.advance(21)
    scene.rig.finish()
    assert scene.rig.status(job_id) == "error"
    assert "ran longer than its timeout of 50 s" in scene.rig.result(job_id)[1][0]


def test_what_has_converged_is_not_tried_again() -> None:
    """Nothing leads from ready back to work."""
    scene = Scene()
    job_id = scene.ready(op("OP_CONVERGE", fails=["exec"], retries={"attempts": 3}))
    scene.verb("complete", job_id)
    scene.rig.finish()
    assert scene.rig.ran_by(job_id) == ["exec", "abort attempt 1"]
    assert scene.heard() == [*READY, "aborting", "BLOCK_JOB_COMPLETED", "concluded"]


def test_no_lock_is_kept_for_somebody_whom_a_ready_job_keeps_out() -> None:
    """He could not be served however long the others stood back."""
    scene = Scene(size=3)
    rig = scene.rig
    job_id = scene.ready(locked("a", op_id="OP_CONVERGE"))
    kept_out = rig.submit_one(op(locks={"resource": {"a": "exclusive", "b": "exclusive"}}))
    rig.settle()
    rig.advance(61)
    first = rig.submit_one(locked("b", op_id="OP_STUBBORN"))
    rig.settle()
    assert (rig.waits_for(kept_out), first in rig.running()) == ("lock", True)
    scene.verb("complete", job_id)
    second = rig.submit_one(locked("b"))
    rig.step(1)
    assert (rig.status(first), rig.waits_for(second)) == ("success", "lock")
    rig.finish()
    assert [rig.status(n) for n in (job_id, kept_out, second)] == ["success"] * 3


# Code that was told something while it waits for a slot


def test_a_ready_job_that_is_paused_and_resumed_before_it_has_noticed_still_completes() -> None:
    scene = Scene(size=1)
    rig = scene.rig
    job_id = scene.ready()
    other = rig.submit_one(STUBBORN)
    rig.settle()
    scene.verb("complete", job_id)
    scene.verb("pause", job_id)
    rig.step(1)
    assert rig.status(other) == "success"
    assert scene.state() == "ready"
    scene.verb("resume", job_id)
    rig.finish()
    assert rig.result(job_id) == "complete"


def test_a_job_that_is_paused_again_while_it_waits_for_a_slot_goes_on_after_the_next_resume() -> None:
    scene = Scene(size=1)
    rig = scene.rig
    job_id = rig.submit_one(op())
    scene.verb("pause", job_id)
    rig.step()
    other = rig.submit_one(STUBBORN)
    rig.settle()
    assert [scene.verb("resume", job_id), scene.verb("pause", job_id)] == [None, None]
    rig.step(1)
    assert (rig.status(other), scene.state()) == ("success", "paused")
    scene.verb("resume", job_id)
    rig.finish()
    assert scene.heard()[:4] == ["created", "running", "paused", "running"]
    assert rig.status(job_id) == "success"


def test_so_does_one_that_stands_by_on_its_way_to_its_end() -> None:
    scene = Scene(size=1)
    rig = scene.rig
    job_id = scene.ready()
    assert [scene.verb("complete", job_id), scene.verb("pause", job_id)] == [None, None]
    rig.step()
    other = rig.submit_one(STUBBORN)
    rig.settle()
    assert scene.verb("resume", job_id) is None
    assert scene.state() == "standby"
    assert scene.verb("pause", job_id) is None
    rig.step(1)
    assert (rig.status(other), scene.state()) == ("success", "standby")
    scene.verb("resume", job_id)
    rig.finish()
    assert scene.heard() == [*READY, "standby", "ready", *ENDED]


def test_a_pause_does_not_keep_code_that_is_canceled_and_cannot_be_stopped_from_its_end() -> None:
    scene = Scene(size=1)
    rig = scene.rig
    job_id = rig.submit_one(STUBBORN)
    scene.verb("pause", job_id)
    rig.step()
    other = rig.submit_one(STUBBORN)
    rig.settle()
    assert [scene.verb("cancel", job_id, True), scene.verb("pause", job_id)] == [None, None]
    rig.step(1)
    rig.finish()
    assert [rig.status(n) for n in (job_id, other)] == ["canceled", "success"]


def test_code_that_is_resumed_while_the_daemon_stops_goes_on_at_once() -> None:
    scene = Scene(size=1)
    rig = scene.rig
    job_id = rig.submit_one(op())
    scene.verb("pause", job_id)
    rig.step()
    rig.submit_one(STUBBORN)
    rig.settle()
    rig.queue.processor.stop()
    scene.verb("resume", job_id)
    rig.step(0)
    assert rig.status(job_id) == "success"
