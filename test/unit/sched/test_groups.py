"""Deferred jobs, alone and in groups: what runs when, what they hold, how they end together, and after a crash."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.status import FINALIZED
from jqueue.sched import settling, snapshot
from jqueue.sched.again import again
from jqueue.sched.lifecycles import Lifecycles

from .rig import Rig, locked, op
from .scripted import OPCODES

UNDO = op("OP_UNDO")
COMMITTED = ["exec", "prepare", "commit attempt 1"]
UNDONE = ["exec", "abort attempt 1"]


def deferred(*ops: object, **more: object) -> dict[str, object]:
    """Describes a job that waits for its finalisation."""
    return {"ops": list(ops), "auto_finalize": False, **more}


def states(rig: Rig, *ids: int) -> list[str]:
    return [rig.queue.host.lifecycle(rig.job(job_id)) for job_id in ids]


def finalize(rig: Rig, job_id: int) -> tuple[bool, str]:
    return rig.now(rig.queue.finalize(job_id))


def cancel(rig: Rig, job_id: int) -> tuple[bool, str]:
    return rig.now(rig.queue.cancel(job_id, False, False))


def error(rig: Rig, job_id: int) -> str:
    text: str = next(op.result[1][0] for op in rig.job(job_id).ops if op.status == "error")
    return text


# One job


def test_a_job_without_automatic_finalisation_waits_for_it_and_then_prepares_and_commits() -> None:
    rig = Rig()
    job_id = rig.submit([{"OP_ID": "OP_UNDO"}], auto_finalize=False)[0]
    rig.finish()
    assert states(rig, job_id) == ["pending"]
    assert rig.status(job_id) == "running"
    assert rig.ran_by(job_id) == ["exec"]
    assert finalize(rig, job_id) == (True, f"Job {job_id} is being finalized")
    rig.finish()
    assert rig.ran_by(job_id) == COMMITTED
    assert (rig.status(job_id), states(rig, job_id)) == ("success", ["concluded"])
    assert rig.idle()


def test_without_callbacks_it_ends_with_the_record_of_its_finalisation() -> None:
    rig = Rig()
    job_id = rig.submit(deferred(op(result=5)))[0]
    rig.finish()
    records = len(rig.journal.records)
    finalize(rig, job_id)
    assert (rig.status(job_id), rig.result(job_id)) == ("success", 5)
    assert len(rig.journal.records) == records + 1


def test_all_opcodes_work_before_the_first_is_prepared_and_all_are_prepared_before_the_first_is_committed() -> None:
    rig = Rig()
    job_id = rig.submit(deferred(UNDO, UNDO))[0]
    rig.finish()
    assert rig.statuses(job_id) == ["success", "running"]
    finalize(rig, job_id)
    rig.finish()
    entries = [(entry[0], entry[4]) for entry in rig.disk.logs[job_id]]
    assert entries == [
        *[(0, "exec"), (1, "exec"), (0, "prepare"), (1, "prepare")],
        *[(0, "commit attempt 1"), (1, "commit attempt 1")],
    ]


def test_a_pending_job_that_is_cancelled_is_undone_in_reverse_order() -> None:
    rig = Rig()
    job_id = rig.submit(deferred(UNDO, op(), UNDO))[0]
    rig.finish()
    assert cancel(rig, job_id)[0]
    assert (rig.status(job_id), states(rig, job_id)) == ("canceling", ["aborting"])
    rig.finish()
    assert [entry[0] for entry in rig.disk.logs[job_id] if "abort" in entry[4]] == [2, 0]
    assert rig.statuses(job_id) == ["success", "success", "canceled"]
    assert rig.idle()


def test_an_opcode_that_fails_has_those_before_it_undone_and_those_after_it_not_run() -> None:
    rig = Rig()
    job_id = rig.submit(deferred(UNDO, op("OP_UNDO", fails=["exec"]), UNDO))[0]
    rig.finish()
    assert [(entry[0], entry[4]) for entry in rig.disk.logs[job_id]] == [
        *[(0, "exec"), (1, "exec"), (1, "abort attempt 1"), (0, "abort attempt 1")],
    ]
    assert rig.statuses(job_id) == ["success", "error", "error"]


def test_a_refusal_at_the_last_moment_undoes_everything() -> None:
    rig = Rig()
    job_id = rig.submit(deferred(UNDO, op("OP_UNDO", fails=["prepare"])))[0]
    rig.finish()
    assert finalize(rig, job_id)[0]
    rig.finish()
    assert error(rig, job_id) == "prepare was told to fail"
    assert [entry[4] for entry in rig.disk.logs[job_id]][2:] == [
        *["prepare", "prepare", "abort attempt 1", "abort attempt 1"],
    ]


def test_a_commit_that_fails_is_an_error_and_the_others_are_committed_all_the_same() -> None:
    rig = Rig()
    job_id = rig.submit(deferred(op("OP_UNDO", fails=["commit"]), UNDO))[0]
    rig.finish()
    finalize(rig, job_id)
    rig.finish()
    assert "could not commit its work" in error(rig, job_id)
    assert rig.ran_by(job_id)[-1] == "commit attempt 1"


def test_it_keeps_all_its_locks_from_before_its_first_opcode_to_its_end() -> None:
    rig = Rig()
    job_id = rig.submit(deferred(locked("a"), locked("b", "shared")))[0]
    other = rig.submit_one(locked("b"))
    rig.settle()
    assert {row["name"]: row["owners"] for row in rig.queue.query_locks() if row["owners"]} == {
        "resource/a": [job_id],
        "resource/b": [job_id],
    }
    rig.finish()
    assert (states(rig, job_id), rig.waits_for(other)) == (["pending"], "lock")
    finalize(rig, job_id)
    rig.finish()
    assert rig.status(other) == "success"
    assert rig.idle()


def test_it_waits_for_all_that_it_depends_on_before_it_takes_a_lock() -> None:
    """Otherwise it would keep the lock from the very job that it waits for."""
    rig = Rig(start=False)
    needed = rig.submit_one(locked("a"))
    job_id = rig.submit(deferred(locked("a"), op(depends=[[needed, []]])))[0]
    rig.queue.processor.start()
    rig.now(rig.queue.change_priority(job_id, -10, admin=False))
    rig.finish()
    assert (rig.status(needed), states(rig, job_id)) == ("success", ["pending"])


def test_an_attempt_that_is_to_be_repeated_is_undone_by_itself() -> None:
    rig = Rig()
    job_id = rig.submit(deferred(UNDO, op("OP_UNDO", fails_until=1, retries={"attempts": 2})))[0]
    rig.finish()
    assert [(entry[0], entry[4]) for entry in rig.disk.logs[job_id]] == [
        *[(0, "exec"), (1, "exec"), (1, "abort attempt 1"), (1, "exec")],
    ]
    assert states(rig, job_id) == ["pending"]


@pytest.mark.parametrize("verb", ["pause", "set_speed", "complete"])
def test_a_pending_job_takes_only_finalize_and_cancel(verb: str) -> None:
    rig = Rig()
    job_id = rig.submit(deferred(op()))[0]
    rig.finish()
    arguments = (job_id, 5) if verb == "set_speed" else (job_id,)
    done, text = rig.now(getattr(rig.queue, verb)(*arguments))
    assert (done, text.partition(":")[0]) == (False, f"Job {job_id} is pending")


def test_why_says_that_it_waits_for_its_user() -> None:
    rig = Rig()
    job_id = rig.submit(deferred(op()))[0]
    rig.finish()
    (reason,) = rig.now(rig.queue.explain(job_id))["reasons"]
    assert (reason["kind"], f"`jqueue finalize {job_id}`" in reason["text"]) == ("pending", True)
    assert rig.queue.query_workers()["queued"] == 0


# Groups


def group(rig: Rig, *jobs: object, **options: Any) -> list[int]:
    return rig.submit(*jobs, group=True, **options)


def test_the_jobs_of_a_group_know_each_other() -> None:
    rig = Rig()
    rig.submit_one(op())
    ids = rig.submit(op(), op(), group="nightly")
    assert [(rig.job(n).group, rig.job(n).members) for n in ids] == [("nightly", [2, 3])] * 2
    assert rig.job(rig.submit(op(), group=True)[0]).group == "group-4"


def test_nobody_ends_before_all_have_done_their_work() -> None:
    rig = Rig()
    first, second = group(rig, UNDO, UNDO)
    rig.settle()
    rig.step()
    assert states(rig, first, second) == ["waiting", "running"]
    assert rig.status(first) == "running"
    rig.finish()
    assert states(rig, first, second) == ["concluded"] * 2
    assert rig.ran_by(first) == rig.ran_by(second) == COMMITTED


def test_they_are_committed_one_after_the_other_the_newest_first() -> None:
    rig = Rig(size=5)
    ids = group(rig, UNDO, UNDO, UNDO)
    ended: list[int] = []

    def hear(_name: str, arguments: list[Any]) -> None:
        (event,) = arguments
        if event["status"] in FINALIZED:
            ended.append(event["id"])

    rig.queue.subscribe(hear, jobs=None, changes=True, log=False)
    rig.finish()
    assert ended == ids[::-1]


def test_a_group_without_callbacks_ends_in_one_record() -> None:
    rig = Rig()
    ids = group(rig, op(), op(), op())
    rig.settle()
    rig.step()
    rig.step()
    records = len(rig.journal.records)
    rig.step()
    assert [rig.status(n) for n in ids] == ["success"] * 3
    assert len(rig.journal.records) <= records + 2


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_the_first_failure_cancels_the_others_and_keeps_its_own_error(failing: int) -> None:
    rig = Rig(size=3)
    jobs = [op("OP_UNDO", fails=["exec"] if n == failing else []) for n in range(3)]
    ids = group(rig, *jobs)
    rig.finish()
    assert error(rig, ids[failing]) == "exec was told to fail"
    others = [n for n in ids if n != ids[failing]]
    assert [rig.status(n) for n in others] == ["canceled"] * 2
    for n in others:
        assert rig.ran_by(n) in ([], UNDONE[1:], UNDONE)
    assert rig.idle()


def test_a_job_that_waits_with_perfect_work_is_cancelled_with_the_others() -> None:
    rig = Rig()
    first, second = group(rig, UNDO, op("OP_UNDO", fails=["exec"]))
    rig.settle()
    rig.step()
    assert states(rig, first) == ["waiting"]
    rig.finish()
    assert (rig.status(first), rig.ran_by(first)) == ("canceled", UNDONE)
    assert rig.status(second) == "error"


def test_nothing_is_undone_while_code_of_another_job_runs() -> None:
    rig = Rig()
    first, second = group(rig, op("OP_UNDO", fails=["exec"]), op("OP_STUBBORN"))
    rig.settle()
    rig.step(0)
    assert states(rig, first, second) == ["aborting", "running"]
    assert rig.status(second) == "canceling"
    assert rig.ran_by(first) == ["exec"]
    rig.finish()
    assert rig.ran_by(first) == UNDONE
    assert [rig.status(n) for n in (first, second)] == ["error", "canceled"]


@pytest.mark.parametrize("which", [0, 1])
def test_whoever_is_cancelled_takes_the_group_along(which: int) -> None:
    rig = Rig(size=1)
    ids = group(rig, UNDO, UNDO)
    rig.finish()
    waiting = group(rig, UNDO, UNDO, auto_finalize=False)
    rig.finish()
    assert cancel(rig, waiting[which])[0]
    rig.finish()
    assert [rig.status(n) for n in waiting] == ["canceled"] * 2
    assert [rig.ran_by(n) for n in waiting] == [UNDONE] * 2
    assert [rig.status(n) for n in ids] == ["success"] * 2


def test_a_paused_job_is_released_when_its_group_is_cancelled() -> None:
    rig = Rig()
    first, second = group(rig, op(), op())
    rig.now(rig.queue.pause(first))
    rig.finish()
    assert states(rig, first, second) == ["paused", "waiting"]
    cancel(rig, second)
    rig.finish()
    assert [rig.status(n) for n in (first, second)] == ["canceled"] * 2
    assert not rig.job(first).paused


def test_a_job_held_before_its_start_does_not_hold_the_others() -> None:
    rig = Rig(start=False)
    first, second = group(rig, op(), op())
    rig.now(rig.queue.pause(first))
    rig.queue.processor.start()
    rig.finish()
    assert states(rig, first, second) == ["created", "waiting"]
    rig.now(rig.queue.resume(first))
    rig.finish()
    assert [rig.status(n) for n in (first, second)] == ["success"] * 2


@pytest.mark.parametrize("finalized", [0, 1])
def test_one_job_that_is_finalised_by_hand_holds_all_and_any_of_them_may_be_named(finalized: int) -> None:
    rig = Rig()
    ids = group(rig, UNDO, deferred(UNDO))
    rig.finish()
    assert states(rig, *ids) == ["pending"] * 2
    assert finalize(rig, ids[finalized])[0]
    rig.finish()
    assert [rig.status(n) for n in ids] == ["success"] * 2
    assert finalize(rig, ids[0]) == (False, f"Job {ids[0]} is finished")


def test_a_late_refusal_of_one_undoes_all() -> None:
    rig = Rig()
    ids = group(rig, op("OP_UNDO", fails=["prepare"]), UNDO)
    rig.finish()
    assert (error(rig, ids[0]), rig.status(ids[1])) == ("prepare was told to fail", "canceled")
    assert rig.ran_by(ids[1]) == ["exec", "prepare", "abort attempt 1"]


def test_a_group_takes_the_locks_of_all_at_once_and_keeps_them_as_one_owner() -> None:
    rig = Rig()
    holder = rig.submit_one(locked("b"))
    rig.settle()
    first, second = group(rig, locked("a", "shared"), locked("b"), auto_finalize=False)
    rig.settle()
    assert (rig.waits_for(first), rig.waits_for(second)) == ("lock", "group")
    assert not [row for row in rig.queue.query_locks() if row["name"] == "resource/a" and row["owners"]]
    rig.step()
    assert {row["name"]: row["owners"] for row in rig.queue.query_locks() if row["owners"]} == {
        "resource/a": [first],
        "resource/b": [first],
    }
    rig.finish()
    assert states(rig, first, second) == ["pending"] * 2
    finalize(rig, second)
    rig.finish()
    assert (rig.status(holder), rig.idle()) == ("success", True)


def test_the_units_of_a_counted_lock_are_added_up() -> None:
    rig = Rig()
    ids = group(rig, locked("tape", 1), locked("tape", 2), auto_finalize=False)
    other = rig.submit_one(locked("tape", 1))
    rig.finish()
    assert (states(rig, *ids), rig.waits_for(other)) == (["pending"] * 2, "lock")


def test_another_job_asks_for_the_locks_when_the_one_that_asked_is_paused() -> None:
    rig = Rig()
    holder = rig.submit_one(locked("a"))
    rig.settle()
    first, second = group(rig, locked("a"), op())
    rig.settle()
    assert (rig.waits_for(first), rig.waits_for(second)) == ("lock", "group")
    rig.now(rig.queue.pause(first))
    assert (rig.waits_for(first), rig.waits_for(second)) == ("paused", "lock")
    rig.finish()
    assert states(rig, first, second) == ["created", "waiting"]
    assert rig.status(holder) == "success"


def test_a_group_that_waits_for_a_lock_gets_the_rank_of_its_most_urgent_job() -> None:
    rig = Rig(size=1)
    holder = rig.submit_one(locked("a"))
    rig.settle()
    before = rig.submit_one(locked("a"))
    _first, second = group(rig, locked("a"), op())
    rig.now(rig.queue.change_priority(second, -10, admin=False))
    rig.settle()
    rig.step()
    assert rig.status(holder) == "success"
    assert before not in rig.running()


def test_it_gets_the_rank_of_a_job_that_becomes_more_urgent_while_all_workers_are_busy() -> None:
    rig = Rig(size=2, start=False)
    holder = rig.submit_one(locked("a", op_id="OP_STUBBORN"))
    rival = rig.submit_one(locked("a"))
    first, second = group(rig, locked("a", priority=5), op(priority=10))
    rig.submit_one(op("OP_STUBBORN", priority=7))
    rig.queue.processor.start()
    rig.settle()
    assert (rig.waits_for(rival), rig.waits_for(first), rig.waits_for(second)) == ("lock", "lock", None)
    rig.now(rig.queue.change_priority(second, -10, admin=False))
    rig.step()
    assert rig.status(holder) == "success"
    assert rival not in rig.running()
    rig.finish()
    assert [rig.status(n) for n in (rival, first, second)] == ["success"] * 3


def test_a_dependency_that_cannot_be_met_ends_the_whole_group() -> None:
    rig = Rig()
    needed = rig.submit_one(op(fails=["exec"]))
    ids = group(rig, op(), op(depends=[[needed, ["success"]]]))
    rig.finish()
    assert [rig.status(n) for n in ids] == ["canceled", "error"]
    assert error(rig, ids[1]).startswith(f"Job {ids[1]} depends on job {needed}")
    assert rig.idle()


def test_another_priority_does_not_take_the_turn_from_a_job_that_is_to_be_undone() -> None:
    rig = Rig(size=1)
    ids = group(rig, UNDO, [op("OP_UNDO", fails=["exec"]), op()])
    rig.settle()
    rig.step()
    rig.submit_one(op("OP_STUBBORN", priority=-10))
    rig.step()
    assert states(rig, *ids) == ["aborting", "aborting"]
    rig.now(rig.queue.change_priority(ids[1], -10, admin=False))
    rig.finish()
    assert [rig.status(n) for n in ids] == ["canceled", "error"]
    assert rig.idle()


def test_who_falls_with_the_group_says_because_of_whom() -> None:
    rig = Rig(size=3)
    failed, runs, waits = group(rig, op(fails=["exec"]), op("OP_STUBBORN"), op())
    rig.settle()
    rig.step(2)
    rig.finish()
    assert [rig.result(n) for n in (runs, waits)] == [f"Job {failed} of its group failed"] * 2
    first, second = group(rig, op(), op(), auto_finalize=False)
    rig.finish()
    cancel(rig, first)
    assert rig.result(first) == "Job canceled by request"
    assert rig.result(second) == f"Job {first} of its group was canceled"


def test_what_was_undone_is_done_again_by_a_retry() -> None:
    rig = Rig()
    job_id = rig.submit(deferred(UNDO, op("OP_UNDO", fails=["prepare"])))[0]
    rig.finish()
    finalize(rig, job_id)
    rig.finish()
    description = again(rig.job(job_id), everything=False)
    assert (len(description["ops"]), description["auto_finalize"]) == (2, False)


def test_a_retry_of_a_member_submits_the_whole_group_again() -> None:
    rig = Rig()
    ids = rig.submit(op(), op(fails=["exec"]), group="web")
    rig.finish()
    new = rig.now(rig.queue.retry(ids[1], False, 7))
    assert new == 4
    assert [(rig.job(n).group, rig.job(n).members) for n in (3, 4)] == [("web", [3, 4])] * 2


def test_a_group_with_an_opcode_that_nobody_knows_any_more_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig()
    ids = group(rig, op("OP_STUBBORN"), op(), op("OP_AGAIN"))
    rig.settle()
    rig.step(1)
    monkeypatch.setattr("test.unit.sched.rig.OPCODES", [cls for cls in OPCODES if cls.OP_ID != "OP_STUBBORN"])
    after = rig.crash()
    run(after, ids)
    assert [after.status(n) for n in ids] == ["error", "canceled", "canceled"]
    assert after.idle()


def test_a_large_group_ends_in_one_pass() -> None:
    jobs = [_QueuedJob(None, n, [op()]) for n in range(2000, 0, -1)]
    for job in jobs:
        job.members, job.phase = [1, 2000], "waiting"
        job.ops[0].status, job.ops[0].outcome = "running", ["success", None]
    looks = 0

    def runs(_job_id: int) -> bool:
        nonlocal looks
        looks += 1
        return False

    settling.advance(jobs, settling.Facts(runs, lambda _job: False, ()), 0.0)
    assert {job.CalcStatus() for job in jobs} == {"success"}
    assert looks < 10 * len(jobs)


def test_a_job_that_cannot_run_is_found_twice_and_ends_its_group_all_the_same() -> None:
    """Another one of the group asks for it, before what was found first is durable."""
    rig = Rig()
    needed = rig.submit_one(op(fails=["exec"]))
    rig.finish()
    rig = rig.crash(start=False)
    first, second, third = group(rig, op(), op(), op(depends=[[needed, ["success"]]]))
    paused = rig.queue.pause(first)
    rig.queue.processor.start()
    rig.clock.advance(0)
    rig.journal.sync(1)
    rig.clock.advance(0)
    rig.now(paused)
    rig.finish()
    assert [rig.status(n) for n in (first, second, third)] == ["canceled", "canceled", "error"]
    assert rig.idle()


def test_auto_dismiss_counts_for_each_job_by_itself() -> None:
    rig = Rig()
    first, second = group(rig, {"ops": [op()], "auto_dismiss": True}, op())
    rig.finish()
    assert (first in rig.queue.table, second in rig.queue.table) == (False, True)


# Crashes


def build_commit(rig: Rig) -> list[int]:
    return rig.submit(UNDO, [UNDO, UNDO], group=True)


def build_late_failure(rig: Rig) -> list[int]:
    return rig.submit(UNDO, op("OP_UNDO", fails=["prepare"]), group=True)


def build_failure(rig: Rig) -> list[int]:
    return rig.submit(UNDO, [UNDO, op("OP_UNDO", fails=["exec"])], group=True)


def build_lone(rig: Rig) -> list[int]:
    return rig.submit(deferred(UNDO, UNDO))


def build_without_callbacks(rig: Rig) -> list[int]:
    return rig.submit(op(), deferred(op()), group=True)


def build_restartable(rig: Rig) -> list[int]:
    return rig.submit(op("OP_UNDO_AGAIN"), op("OP_AGAIN"), group=True)


SCENES: list[Callable[[Rig], list[int]]] = [
    build_commit,
    build_late_failure,
    build_failure,
    build_lone,
    build_without_callbacks,
    build_restartable,
]


def run(rig: Rig, ids: list[int]) -> None:
    """Brings jobs to their end, finalising what is pending."""
    for _ in range(5):
        rig.finish()
        for job_id in ids:
            if job_id in rig.queue.table.unfinished and states(rig, job_id) == ["pending"]:
                finalize(rig, job_id)
                rig.finish()


def at_every_record(build: Callable[[Rig], list[int]]) -> list[Rig]:
    """Gives the queue as it is after a crash behind each record of a run."""
    rig = Rig(size=2)
    ids = build(rig)
    run(rig, ids)
    assert not rig.queue.table.unfinished
    records = list(rig.journal.records)
    first = next(n for n, (_, record) in enumerate(records) if b"submit" in record)
    found = []
    for count in range(first + 1, len(records) + 1):
        crashed = Rig(size=2, disk=rig.disk, start=False)
        crashed.journal.records = records[:count]
        crashed.journal.open(records[count - 1][0] + 1)
        found.append(crashed)
    return found


@pytest.mark.parametrize("source", ["journal", "checkpoint"])
@pytest.mark.parametrize("build", SCENES)
def test_behind_every_record_of_a_group_a_crash_leaves_all_or_none(
    build: Callable[[Rig], list[int]], source: str
) -> None:
    ids: Any = None
    for crashed in at_every_record(build):
        rig = crashed.crash()
        if source == "checkpoint":
            queue = rig.queue
            chunks = list(snapshot.chunks(queue.table, queue.requests, (), queue.submission.last_id))
            rig = rig.crash(chunks, rig.journal.next_sequence - 1)
        ids = sorted(rig.queue.table)
        run(rig, ids)
        ended = [rig.status(n) for n in ids]
        assert set(ended) <= FINALIZED, ended
        assert "success" not in ended or set(ended) == {"success"}, ended
        assert rig.idle()
        for n in ids:
            assert rig.job(n).end_timestamp is not None


def test_a_pending_group_is_pending_again_under_its_locks() -> None:
    rig = Rig()
    ids = rig.submit(locked("a"), locked("b"), group=True, auto_finalize=False)
    rig.finish()
    waiting = rig.submit_one(locked("a", priority=-10))
    rig.settle()
    after = rig.crash()
    after.finish()
    assert (states(after, *ids), after.waits_for(waiting)) == (["pending"] * 2, "lock")
    finalize(after, ids[1])
    after.finish()
    assert [after.status(n) for n in (*ids, waiting)] == ["success"] * 3


def test_a_group_keeps_the_locks_of_those_that_have_ended_over_a_crash() -> None:
    rig = Rig(size=5)
    first, second = group(rig, locked("a", op_id="OP_UNDO"), locked("b", op_id="OP_UNDO"))
    rig.settle()
    while rig.status(second) != "success":
        rig.step()
    other = rig.submit_one(locked("b", priority=-10))
    after = rig.crash()
    assert (states(after, first, second), after.waits_for(other)) == (["pending", "concluded"], "lock")
    after.finish()
    assert [after.status(n) for n in (first, other)] == ["success"] * 2
    assert after.idle()


def test_a_decision_is_carried_out_after_a_crash_before_anybody_else_gets_its_locks() -> None:
    rig = Rig(size=1)
    urgent = rig.submit_one(locked("a", not_before=rig.wall() + 50))
    rig.settle()
    job_id = rig.submit(deferred(locked("a", op_id="OP_UNDO")))[0]
    rig.finish()
    finalize(rig, job_id)
    rig.clock.advance(60)
    after = rig.crash()
    assert after.waits_for(urgent) == "lock"
    after.finish()
    assert [after.status(n) for n in (job_id, urgent)] == ["success"] * 2


def test_a_group_that_was_interrupted_ends_together() -> None:
    rig = Rig()
    first, second = group(rig, UNDO, UNDO)
    rig.settle()
    rig.step()
    after = rig.crash()
    after.finish()
    assert [after.status(n) for n in (first, second)] == ["canceled", "error"]
    assert error(after, second) == "The daemon died while this opcode ran"
    assert after.ran_by(first) == UNDONE


def test_quit_ends_groups_and_pending_jobs_with_the_others() -> None:
    rig = Rig(size=3)
    qmp = Lifecycles(rig.queue, rig.clock)
    heard: list[str] = []
    qmp.listen(lambda name, data: heard.append(f"{data.get('id', data.get('device'))} {data.get('status', name)}"))
    lone = rig.submit(deferred(UNDO))[0]
    rig.finish()
    ids = group(rig, UNDO, op("OP_UNDO", result=1))
    queued = rig.submit_one(locked())
    rig.settle()
    rig.step()
    del heard[:]
    done = qmp.quit()
    rig.settle()
    rig.finish()
    rig.now(done)
    assert [rig.status(n) for n in (lone, *ids, queued)] == ["canceled"] * 4
    ends = [each for each in heard if each.endswith(("BLOCK_JOB_CANCELLED", "null"))]
    running = [f"job{n} {what}" for n in (3, 2, 1) for what in ("BLOCK_JOB_CANCELLED", "null")]
    assert [each for each in ends if not each.startswith("job4")] == running
