"""When jobs run, through the real daemon: dependencies, points in time, priorities, children, a drained queue."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jqueue.errors import JobQueueDrainError, OpPrereqError

from .daemon import Daemon, wait_until
from .scene import Scene, running

DUMMY: dict[str, object] = {"OP_ID": "OP_TEST_DUMMY"}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("scheduling"), {"workers": {"size": 2}}) as daemon:
        yield daemon


@pytest.fixture
def scene(daemon: Daemon, tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(daemon, tmp_path)
    yield scene
    scene.clean()


def after(*depends: object, **parameters: object) -> dict[str, object]:
    return {**DUMMY, "depends": list(depends), **parameters}


# Dependencies


def test_a_job_waits_for_the_one_it_depends_on_and_holds_no_worker(scene: Scene) -> None:
    first = scene.hold("first")
    second = scene.daemon.submit(after([first, ["success"]]))
    assert scene.waits(second, "dependency")["text"].startswith(f"job {first} has not ended yet")
    scene.daemon.wait_for(second, "waiting")
    assert scene.daemon.call("QueryWorkers")["running"] == 1
    scene.open("first")
    assert scene.daemon.wait_for(second) == "success"


def test_the_jobs_of_one_submission_depend_on_each_other_by_their_distance(scene: Scene) -> None:
    chain = [[scene.holder("chain")], [after([-1, []])], [after([-1, []], [-2, []])], [after([-3, []])]]
    ids = [job_id for _, job_id in scene.daemon.call("SubmitManyJobs", chain)]
    assert [op["depends"] for [[op]] in (scene.fields(job_id, "ops") for job_id in ids[1:])] == [
        [[ids[0], []]],
        [[ids[1], []], [ids[0], []]],
        [[ids[0], []]],
    ]
    scene.open("chain")
    assert [scene.daemon.wait_for(job_id) for job_id in ids] == ["success"] * 4
    assert scene.order(*ids)[0] == ids[0]


def test_a_chain_of_hundreds_runs_in_order(scene: Scene) -> None:
    chain = [[DUMMY], *([after([-1, ["success"]])] for _ in range(199))]
    ids = [job_id for _, job_id in scene.daemon.call("SubmitManyJobs", chain)]
    scene.daemon.wait_for(ids[-1], "success")
    assert scene.order(*ids) == ids


def test_an_archived_job_is_looked_up(scene: Scene) -> None:
    good, bad = scene.daemon.submit(DUMMY), scene.daemon.submit({**DUMMY, "fail": True})
    assert [scene.daemon.wait_for(good), scene.daemon.wait_for(bad)] == ["success", "error"]
    assert [scene.daemon.call("ArchiveJob", job_id) for job_id in (good, bad)] == [True, True]
    fits = scene.daemon.submit(after([good, ["success"]], [bad, ["error"]]))
    differs = scene.daemon.submit(after([bad, ["success"]]))
    assert [scene.daemon.wait_for(fits), scene.daemon.wait_for(differs)] == ["success", "error"]
    assert f"depends on job {bad} to end in success, but that ended in error" in scene.failure(differs)


def test_one_that_is_lost_ends_the_job_with_the_reason(scene: Scene) -> None:
    lost = scene.daemon.submit(DUMMY)
    scene.daemon.wait_for(lost)
    assert scene.daemon.call("ArchiveJob", lost)
    archived = scene.daemon.state / "archive" / "0" / f"job-{lost}"
    wait_until(archived.exists, "the file to be moved")
    archived.unlink()
    job_id = scene.daemon.submit(after([lost, ["success"]]))
    assert scene.daemon.wait_for(job_id) == "error"
    assert f"depends on job {lost}, which is neither in the queue nor in the archive" in scene.failure(job_id)


def test_another_end_than_the_accepted_one_ends_the_job_and_those_behind_it(scene: Scene) -> None:
    first = scene.hold("first")
    wrong = scene.daemon.submit(after([first, ["error"]]))
    behind = scene.daemon.submit(after([wrong, ["success"]]))
    scene.open("first")
    assert [scene.daemon.wait_for(wrong), scene.daemon.wait_for(behind)] == ["error", "error"]
    assert f"depends on job {first} to end in error, but that ended in success" in scene.failure(wrong)


def test_a_cancel_goes_down_the_chain_except_where_it_is_accepted(scene: Scene) -> None:
    first = scene.hold("first")
    second, third = scene.daemon.submit(after([first, []])), scene.daemon.submit(after([first, ["canceled"]]))
    fourth = scene.daemon.submit(after([second, ["success", "error"]]))
    assert scene.daemon.call("CancelJob", first)[0]
    ends = [scene.daemon.wait_for(job_id) for job_id in (first, second, third, fourth)]
    assert ends == ["canceled", "canceled", "success", "canceled"]


def test_a_job_cannot_depend_on_itself_or_on_one_to_come(scene: Scene) -> None:
    newest = scene.daemon.submit(DUMMY)
    for depends in ([newest + 1, []], [newest + 2, []]):
        with pytest.raises(OpPrereqError, match=rf"depends: there is no job {depends[0]}; the newest one is {newest}"):
            scene.daemon.submit(after(depends))
    with pytest.raises(OpPrereqError, match="depends: -1 is out of range"):
        scene.daemon.submit(after([-1, []]))
    assert scene.daemon.submit(DUMMY) == newest + 1


def test_only_the_jobs_with_a_bad_dependency_are_refused(scene: Scene) -> None:
    newest = scene.daemon.submit(DUMMY)
    jobs = [[after([-1, []])], [DUMMY], [after([-1, []])], [after([-3, []])]]
    answer = scene.daemon.call("SubmitManyJobs", jobs)
    assert [accepted for accepted, _ in answer] == [False, True, True, False]
    assert [job_id for accepted, job_id in answer if accepted] == [newest + 1, newest + 2]
    assert "out of range" in answer[0][1] and "refused itself" in answer[3][1]


# Points in time


def test_a_job_does_not_start_before_its_time(scene: Scene) -> None:
    at = time.time() + 0.5
    job_id = scene.daemon.submit({**DUMMY, "not_before": at})
    reason = scene.waits(job_id, "not_before")
    assert "it is not to start before" in reason["text"]
    scene.daemon.wait_for(job_id, "waiting")
    scene.daemon.wait_for(job_id, "success")
    [[[seconds, microseconds]]] = scene.fields(job_id, "opexec")
    assert at - 0.01 <= seconds + microseconds / 1e6 < at + 5


def test_one_that_waits_for_its_time_is_canceled_at_once(scene: Scene) -> None:
    job_id = scene.daemon.submit({**DUMMY, "not_before": "2999-01-01T00:00:00+00:00"})
    scene.waits(job_id, "not_before")
    assert scene.daemon.call("CancelJob", job_id) == [True, f"Job {job_id} canceled"]
    assert scene.daemon.status(job_id) == "canceled"


# Priorities


def fill(scene: Scene) -> None:
    """Occupies both workers."""
    scene.hold("full1")
    scene.hold("full2")


def test_a_full_pool_is_told_with_the_place_in_line(scene: Scene) -> None:
    fill(scene)
    first, second = scene.daemon.submit(DUMMY), scene.daemon.submit(DUMMY)
    reason = scene.waits(second, "workers")
    assert reason["text"] == "all 2 workers are busy; it is number 2 in line"
    assert scene.why(first)["place"] == 1
    assert scene.daemon.status(second) == "queued"


def test_jobs_run_in_the_order_of_their_priority_then_of_their_ids(scene: Scene) -> None:
    fill(scene)
    low, normal, high, normal2 = (scene.daemon.submit({**DUMMY, "priority": p}) for p in (10, 0, -10, 0))
    scene.open("full1")
    wait_until(lambda: scene.unfinished()[1:] == [], "all to run on one worker")
    assert scene.order(low, normal, high, normal2) == [high, normal, normal2, low]


def test_a_priority_is_changed_while_queued(scene: Scene) -> None:
    fill(scene)
    ids = [scene.daemon.submit(DUMMY) for _ in range(4)]
    assert scene.daemon.call("ChangeJobPriority", ids[3], -20)[0] is True
    assert scene.daemon.call("ChangeJobPriority", ids[0], 19)[0] is True
    assert scene.fields(ids[3], "priority") == [-20]
    scene.open("full1")
    wait_until(lambda: scene.unfinished()[1:] == [], "all to run on one worker")
    assert scene.order(*ids) == [ids[3], ids[1], ids[2], ids[0]]


def test_a_priority_is_changed_while_waiting_for_a_lock(scene: Scene) -> None:
    locks = {"resource": {"p": "exclusive"}}
    scene.hold("held", locks=locks)
    ids = [scene.daemon.submit({**DUMMY, "locks": locks}) for _ in range(3)]
    assert [scene.waits(job_id, "lock")["place"] for job_id in ids] == [1, 2, 3]
    assert scene.daemon.call("ChangeJobPriority", ids[2], -10)[0] is True
    assert [scene.why(job_id)["place"] for job_id in ids] == [2, 3, 1]
    scene.open("held")
    scene.daemon.wait_for(ids[1], "success")
    assert scene.order(*ids) == [ids[2], ids[0], ids[1]]


def test_priorities_count_between_the_opcodes_of_a_job_too(scene: Scene) -> None:
    fill(scene)
    long = scene.daemon.submit(scene.holder("step"), DUMMY)
    scene.open("full1")
    scene.daemon.wait_for(long, "running")
    urgent = scene.daemon.submit({**DUMMY, "priority": -10})
    scene.open("step")
    scene.daemon.wait_for(long, "success")
    [[_, second]] = scene.fields(long, "opexec")
    assert scene.fields(urgent, "opexec")[0][0] < second


# Children


def parent(scene: Scene, **parameters: object) -> dict[str, object]:
    return {"OP_ID": "OP_PARENT", "trace": str(scene.trace), **parameters}


def test_children_run_and_know_their_parent(scene: Scene) -> None:
    job_id = scene.daemon.submit(parent(scene, children=2))
    assert scene.daemon.wait_for(job_id) == "success"
    [[children]] = scene.fields(job_id, "opresult")
    assert [scene.daemon.wait_for(child) for child in children] == ["success"] * 4
    assert [scene.fields(child, "opresult") for child in children] == [[[[0, 0]]], [[[0, 1]]], [[[1, 0]]], [[[1, 1]]]]
    assert scene.traced() == [" ".join(map(str, children))]


def test_a_bad_child_fails_its_parent_and_uses_no_id(scene: Scene) -> None:
    job_id = scene.daemon.submit({**DUMMY, "submit_jobs": [[{"OP_ID": "OP_TEST_DELAY", "duration": "x"}]]})
    assert scene.daemon.wait_for(job_id) == "error"
    assert "ops[0].duration: number expected" in scene.failure(job_id)
    assert scene.daemon.submit(DUMMY) == job_id + 1


def test_a_drained_queue_takes_children_and_no_others(scene: Scene) -> None:
    held = scene.hold("held")
    job_id = scene.daemon.submit(parent(scene, depends=[[held, []]]))
    scene.daemon.call("SetDrainFlag", True, "moving house")
    try:
        assert (scene.daemon.state / "control" / "drained").read_text().strip() == "moving house"
        with pytest.raises(JobQueueDrainError, match=r"drained \(moving house\)"):
            scene.daemon.submit(DUMMY)
        scene.open("held")
        assert scene.daemon.wait_for(job_id) == "success"
        [[children]] = scene.fields(job_id, "opresult")
        assert [scene.daemon.wait_for(child) for child in children] == ["success", "success"]
    finally:
        scene.daemon.call("SetDrainFlag", False)
    assert scene.daemon.submit(DUMMY) == children[-1] + 1


def test_an_opcode_that_runs_again_after_a_crash_gets_the_same_children(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", {}) as daemon:
        scene = Scene(daemon, tmp_path)
        job_id = daemon.submit(parent(scene, children=3, until=scene.gate("parent")))
        wait_until(scene.traced, "the children to be submitted")
        daemon.kill()
        daemon.start()
        wait_until(lambda: len(scene.traced()) == 2, "the opcode to run again")
        scene.open("parent")
        assert daemon.wait_for(job_id) == "success"
        first, second = scene.traced()
        assert first == second
        assert daemon.call("QueryStatus")["last_id"] == job_id + 6
