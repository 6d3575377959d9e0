"""Locks through the real daemon: counted, whole levels, declared while waiting, and how long others may overtake."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jqueue.errors import OpPrereqError

from .daemon import Daemon, wait_until
from .scene import Scene, running

MAX_BYPASS = 0.5


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    config: dict[str, dict[str, object]] = {
        "workers": {"size": 6},
        "locks": {"capacities": {"resource/tape": 3}, "max_bypass": MAX_BYPASS},
    }
    with running(tmp_path_factory.mktemp("locking"), config) as daemon:
        yield daemon


@pytest.fixture
def scene(daemon: Daemon, tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(daemon, tmp_path)
    yield scene
    scene.clean()


def resource(**modes: object) -> dict[str, object]:
    return {"resource": modes}


# Counted


def test_units_of_a_counted_lock_are_shared_out_up_to_its_capacity(scene: Scene) -> None:
    two = scene.hold("two", locks=resource(tape=2))
    scene.hold("one", locks=resource(tape=1))
    third = scene.daemon.submit(scene.holder("third", locks=resource(tape=1)))
    assert scene.waits(third, "lock")["lock"] == "resource/tape"
    scene.open("two")
    scene.daemon.wait_for(two, "success")
    scene.daemon.wait_for(third, "running")
    fourth = scene.daemon.submit(scene.holder("fourth", locks=resource(tape=2)))
    assert len(scene.waits(fourth, "lock")["holders"]) == 2
    scene.open("one")
    scene.daemon.wait_for(fourth, "running")


def test_more_units_than_there_are_get_refused_and_no_id(scene: Scene) -> None:
    before = scene.daemon.submit({"OP_ID": "OP_TEST_DUMMY"})
    op = {"OP_ID": "OP_TEST_DUMMY", "locks": resource(tape=4)}
    with pytest.raises(OpPrereqError, match=r"ops\[0\]\.locks: .*resource/tape.* 4 units .* capacity is 3"):
        scene.daemon.submit(op)
    with pytest.raises(OpPrereqError, match=r"jobs\[1\]\.ops\[0\]\.locks: "):
        scene.daemon.call("SubmitManyJobs", [[{"OP_ID": "OP_TEST_DUMMY"}], [op]])
    assert scene.daemon.submit({"OP_ID": "OP_TEST_DUMMY"}) == before + 1


# Whole levels


def test_a_whole_level_waits_for_each_name_and_keeps_names_away_that_nobody_has_seen(scene: Scene) -> None:
    name = scene.hold("name", locks={"network": {"web": "shared"}})
    level = scene.daemon.submit(scene.holder("level", locks={"network": "*"}))
    assert [holder["id"] for holder in scene.waits(level, "lock")["holders"]] == [name]
    scene.open("name")
    scene.daemon.wait_for(level, "running")
    unseen = scene.daemon.submit(scene.holder("unseen", locks={"network": {"never-seen": "shared"}}))
    other = scene.hold("other", locks={"nodegroup": {"web": "exclusive"}})
    assert [holder["id"] for holder in scene.waits(unseen, "lock")["holders"]] == [level]
    scene.open("level", "unseen", "other")
    assert [scene.daemon.wait_for(job_id) for job_id in (level, unseen, other)] == ["success"] * 3


def test_a_shared_level_lets_shared_names_in_and_no_exclusive_one(scene: Scene) -> None:
    scene.hold("level", locks={"image": {"*": "shared"}})
    scene.hold("shared", locks={"image": {"a": "shared"}})
    exclusive = scene.daemon.submit(scene.holder("exclusive", locks={"image": {"b": "exclusive"}}))
    scene.waits(exclusive, "lock")
    scene.open("level", "exclusive")
    assert scene.daemon.wait_for(exclusive) == "success"


# Declared while waiting


def declaring(scene: Scene, names: str, **parameters: object) -> dict[str, object]:
    file = scene.directory / "names"
    file.write_text(names)
    return {"OP_ID": "OP_DECLARE", "trace": str(scene.trace), "names": str(file), **parameters}


def test_declared_locks_are_held_while_the_opcode_runs(scene: Scene) -> None:
    job_id = scene.daemon.submit(declaring(scene, "d1 d2", until=scene.gate("job")))
    scene.daemon.wait_for(job_id, "running")
    owned = {row["name"] for row in scene.daemon.call("QueryLocks") if job_id in row["owners"]}
    assert {"resource/d1", "resource/d2"} <= owned
    assert scene.traced() == [f"declare {job_id} d1 d2", f"exec {job_id}"]


def test_declared_locks_that_are_not_free_are_asked_for_in_one_request_with_the_old_rank(scene: Scene) -> None:
    scene.hold("first", locks=resource(u1="exclusive"))
    job_id = scene.daemon.submit(declaring(scene, "u1", own="u2"))
    assert scene.waits(job_id, "lock")["lock"] == "resource/u1"
    assert scene.daemon.status(job_id) == "waiting"
    passing = scene.hold("passing", locks=resource(u2="exclusive"))  # what it had is given back, it holds nothing
    younger = scene.daemon.submit({"OP_ID": "OP_TEST_DUMMY", "locks": resource(u1="exclusive")})
    scene.waits(younger, "lock")
    scene.open("passing")
    scene.daemon.wait_for(passing, "success")
    scene.open("first")
    assert [scene.daemon.wait_for(each) for each in (job_id, younger)] == ["success"] * 2
    assert scene.order(younger, job_id) == [job_id, younger]
    assert scene.traced() == [f"declare {job_id} u1", f"declare {job_id} u1", f"exec {job_id}"]


def test_locks_are_declared_again_after_the_grant_because_the_world_may_have_changed(scene: Scene) -> None:
    scene.hold("v1", locks=resource(v1="exclusive"))
    scene.hold("v2", locks=resource(v2="exclusive"))
    job_id = scene.daemon.submit(declaring(scene, "v1"))
    assert scene.waits(job_id, "lock")["lock"] == "resource/v1"
    (scene.directory / "names").write_text("v2")
    scene.open("v1")
    wait_until(lambda: scene.why(job_id).get("lock") == "resource/v2", "the job to wait for what it declares now")
    scene.open("v2")
    assert scene.daemon.wait_for(job_id) == "success"


def test_declare_locks_that_fails_or_asks_for_the_impossible_ends_the_job(scene: Scene) -> None:
    op = declaring(scene, "x")
    (scene.directory / "names").unlink()
    job_id = scene.daemon.submit(op)
    assert scene.daemon.wait_for(job_id) == "error"
    assert "No such file or directory" in scene.failure(job_id)
    assert scene.why(job_id)["kind"] == "final"


def test_a_job_is_canceled_while_it_waits_for_declared_locks(scene: Scene) -> None:
    scene.hold("held", locks=resource(w1="exclusive"))
    job_id = scene.daemon.submit(declaring(scene, "w1"))
    scene.waits(job_id, "lock")
    assert scene.daemon.call("CancelJob", job_id)[0] is True
    assert scene.daemon.status(job_id) == "canceled"
    row = next(row for row in scene.daemon.call("QueryLocks") if row["name"] == "resource/w1")
    assert row["pending"] == []


# Fairness


def test_younger_jobs_may_overtake_for_a_while_and_then_no_longer(scene: Scene) -> None:
    shared, exclusive = resource(y="shared"), resource(y="exclusive")
    scene.hold("first", locks=shared)
    older = scene.daemon.submit(scene.holder("older", locks=exclusive))
    since = scene.waits(older, "lock")["since"]
    overtaking = scene.hold("overtaking", locks=shared)
    assert since < MAX_BYPASS
    wait_until(lambda: scene.why(older)["since"] > MAX_BYPASS + 0.1, "the older one to have waited long")
    younger = scene.daemon.submit(scene.holder("younger", locks=shared))
    assert scene.waits(younger, "lock")["reserved_for"] == older
    scene.open("first", "overtaking")
    scene.daemon.wait_for(older, "running")
    assert scene.daemon.status(younger) == "waiting"
    scene.open("older", "younger")
    scene.daemon.wait_for(younger, "success")
    assert scene.order(younger, older, overtaking) == [overtaking, older, younger]


def test_an_unrelated_job_starts_at_once_beside_a_thousand_that_wait(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", {"workers": {"size": 2}}) as daemon:
        scene = Scene(daemon, tmp_path)
        scene.hold("held", locks=resource(busy="exclusive"))
        waiting = [[{"OP_ID": "OP_TEST_DUMMY", "locks": resource(busy="exclusive")}] for _ in range(1000)]
        ids = [job_id for _, job_id in daemon.call("SubmitManyJobs", waiting)]
        wait_until(lambda: daemon.call("QueryStatus")["jobs"].get("waiting") == 1000, "all others to wait")
        unrelated = daemon.submit({"OP_ID": "OP_TEST_DUMMY"})
        daemon.wait_for(unrelated, "success")
        assert daemon.call("QueryStatus")["jobs"]["waiting"] == 1000
        assert scene.why(ids[-1])["place"] == 1000
        scene.open("held")
        daemon.wait_for(ids[49], "success")
        assert scene.order(*ids[:50]) == ids[:50]
