"""What is done to jobs after their submission, also on a full disk; running ones are in `test_processor`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from jqueue.errors import DiskFull, JobLost, OpPrereqError, StoreFailed
from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.status import ERROR, SUCCESS
from jqueue.sched.again import again
from jqueue.sched.queue import JobQueue

from .rig import Rig, op

Verb = Callable[[JobQueue, int], Deferred[Any]]

VERBS = ("cancel", "pause", "resume", "change_priority")


def verb(rig: Rig, name: str, job_id: int) -> tuple[bool, str]:
    arguments: dict[str, Any] = {"cancel": (job_id, False, False), "change_priority": (job_id, 10)}
    options = {"admin": False} if name == "change_priority" else {}
    result: tuple[bool, str] = rig.now(getattr(rig.queue, name)(*arguments.get(name, (job_id,)), **options))
    return result


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_on_a_job_that_has_ended_or_is_not_there_says_so_and_changes_nothing(name: str) -> None:
    rig = Rig()
    rig.submit([op()], [op()])
    rig.finish()
    rig.now(rig.queue.archive(2))
    records = len(rig.journal.records)
    for job_id in (1, 2, 3):
        done, text = verb(rig, name, job_id)
        assert not done
        assert f"ob {job_id}" in text or text == "Can't resume a job that was not paused"
    assert len(rig.journal.records) == records


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_that_meets_the_end_of_its_job_comes_too_late(name: str) -> None:
    rig = Rig()
    job_id = rig.submit_one(op())
    rig.now(rig.queue.pause(job_id))
    rig.now(rig.queue.cancel(job_id, False, False))
    rig.workers.perform()
    assert rig.journal.unsynced_records == 1
    assert verb(rig, name, job_id)[0] is False
    assert (rig.status(job_id), rig.job(job_id).paused) == ("canceled", False)


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_is_answered_only_when_it_is_durable(name: str) -> None:
    rig = Rig(start=False)
    job_id = rig.submit_one(op())
    if name == "resume":
        rig.now(rig.queue.pause(job_id))
    arguments: dict[str, Any] = {"cancel": (job_id, False, False), "change_priority": (job_id, 10)}
    options = {"admin": False} if name == "change_priority" else {}
    answers: list[tuple[bool, str]] = []
    getattr(rig.queue, name)(*arguments.get(name, (job_id,)), **options).addCallback(answers.append)
    before = rig.job(job_id).Serialize()
    assert answers == []
    other = rig.crash(start=False)
    assert other.job(job_id).Serialize() == before
    rig.journal.sync()
    assert [done for done, _ in answers] == [True]
    assert rig.crash(start=False).job(job_id).Serialize() == rig.job(job_id).Serialize() != before


def test_a_verb_fails_when_the_journal_does() -> None:
    rig = Rig(start=False)
    job_id = rig.submit_one(op())
    rig.journal.break_down()
    with pytest.raises(StoreFailed):
        verb(rig, "cancel", job_id)
    assert rig.status(job_id) == "queued"


def test_a_pause_twice_and_a_resume_of_what_is_not_paused_are_refused() -> None:
    rig = Rig(start=False)
    job_id = rig.submit_one(op())
    assert verb(rig, "resume", job_id) == (False, "Can't resume a job that was not paused")
    assert verb(rig, "pause", job_id)[0]
    assert verb(rig, "pause", job_id) == (False, "Job is already paused")


@pytest.mark.parametrize(("priority", "admin", "taken"), [(-10, False, True), (5, False, False), (5, True, True)])
def test_clients_may_ask_for_three_priorities_and_administrators_for_all(
    priority: int, admin: bool, taken: bool
) -> None:
    rig = Rig(start=False)
    job_id = rig.submit_one(op())
    answer = rig.queue.change_priority(job_id, priority, admin=admin)
    if taken:
        assert rig.now(answer)[0]
        assert rig.job(job_id).CalcPriority() == priority
    else:
        with pytest.raises(OpPrereqError, match="-10, 0 or 10"):
            rig.now(answer)


@pytest.mark.parametrize("priority", [-21, 20])
def test_no_priority_is_beyond_the_limits(priority: int) -> None:
    rig = Rig(start=False)
    with pytest.raises(OpPrereqError, match="-20 to 19"):
        rig.now(rig.queue.change_priority(rig.submit_one(op()), priority, admin=True))


def test_a_running_job_changes_the_priority_of_the_rest() -> None:
    rig = Rig()
    job_id = rig.submit_one(op(), op())
    assert verb(rig, "change_priority", job_id)[0]
    assert [current.priority for current in rig.job(job_id).ops] == [0, 10]


# Archive


def test_only_final_jobs_are_archived_and_their_last_state_goes_with_them() -> None:
    rig = Rig(size=1)
    first, second = rig.submit([op(result=3)], [op()])
    rig.step()
    assert [rig.now(rig.queue.archive(n)) for n in (first, second, 99)] == [True, False, False]
    assert rig.status(first) is None
    source = rig.disk.archived[first]
    assert isinstance(source, _QueuedJob) and source.ops[0].result == 3
    rig.finish()


def test_a_job_is_archived_once_however_often_it_is_asked_for() -> None:
    rig = Rig()
    job_id = rig.submit_one(op())
    rig.finish()
    answers: list[bool] = []
    for _ in range(2):
        rig.queue.archive(job_id).addCallback(answers.append)
    assert rig.queue.archiving.archives(job_id)
    rig.settle()
    assert sorted(answers) == [False, True]
    assert not rig.queue.archiving.archives(job_id)


def test_an_archive_that_cannot_be_recorded_leaves_the_job() -> None:
    rig = Rig()
    job_id = rig.submit_one(op())
    rig.finish()
    rig.journal.break_down()
    with pytest.raises(StoreFailed):
        rig.now(rig.queue.archive(job_id))
    assert (rig.status(job_id), rig.queue.archiving.archives(job_id)) == ("success", False)


def test_a_job_that_dismisses_itself_goes_when_it_has_ended() -> None:
    rig = Rig()
    (job_id,) = rig.submit([op()], auto_dismiss=True)
    rig.finish()
    assert (rig.status(job_id), job_id in rig.disk.archived) == (None, True)


def test_jobs_are_archived_by_the_age_of_their_end() -> None:
    rig = Rig(size=1, keep=1)
    rig.submit([op()], [op()], [op()])
    for _ in range(2):
        rig.advance(100)
        rig.step()
    rig.advance(50)
    assert rig.now(rig.queue.auto_archive(51, 10)) == (1, 0)
    assert sorted(rig.queue.table) == [2, 3]
    assert rig.now(rig.queue.auto_archive(-1, 10)) == (1, 0)
    assert sorted(rig.queue.table) == [3]
    rig.finish()


@pytest.mark.parametrize("age", (-1, 1000))
def test_archiving_gives_others_their_turn_also_while_nothing_is_due(age: float) -> None:
    rig = Rig()
    rig.submit(*[op()] * 450)
    rig.finish()
    done = rig.queue.auto_archive(age, 10)
    turns: list[bool] = []

    def other() -> None:
        rig.sync()
        if not done.called:
            turns.append(True)
            rig.clock.callLater(0, other)

    other()
    rig.clock.advance(0)
    assert len(turns) == 3
    assert rig.now(done) == ((450, 0) if age < 0 else (0, 0))


def test_a_forgotten_job_is_gone_for_good() -> None:
    rig = Rig()
    job_id = rig.submit_one(op())
    rig.finish()
    rig.now(rig.queue.archiving.forget(job_id))
    assert (rig.status(job_id), rig.disk.gone) == (None, {job_id})
    rig.now(rig.queue.archiving.forget(job_id))
    assert rig.submit_one(op()) == job_id + 1


def test_an_unfinished_job_is_not_forgotten() -> None:
    rig = Rig()
    job_id = rig.submit_one(op())
    rig.now(rig.queue.archiving.forget(job_id))
    assert rig.status(job_id) == "running"


# Once more


def test_a_retry_submits_what_was_not_achieved() -> None:
    rig = Rig()
    (job_id,) = rig.submit({"name": "n", "ops": [op(), op(fails=["exec"], comment="c"), op(result=1)]})
    rig.finish()
    new_id = rig.now(rig.queue.retry(job_id, False, uid=8))
    job = rig.job(new_id)
    assert [current.input.get("comment") for current in job.ops] == ["c", None]
    assert (job.name, job.owner, job.ops[0].input["reason"][-2][:2]) == ("n", 8, ["jqueue:client:retry", "job=1"])
    rig.finish()


def test_a_retry_of_an_archived_job_works_too() -> None:
    rig = Rig()
    job_id = rig.submit_one(op())
    rig.finish()
    rig.now(rig.queue.archive(job_id))
    with pytest.raises(OpPrereqError, match="successful"):
        rig.now(rig.queue.retry(job_id, False, uid=8))
    assert rig.now(rig.queue.retry(job_id, True, uid=8)) == 2
    with pytest.raises(JobLost, match="no job 77"):
        rig.now(rig.queue.retry(77, True, uid=8))


def test_a_retry_does_not_wait_for_what_has_been_waited_for() -> None:
    job = _QueuedJob(None, 1, [op(depends=[[5, []]], not_before=9, timeout=3)])
    job.MarkUnfinishedOps(ERROR, None)
    (fresh,) = again(job, False)["ops"]
    assert set(fresh) == {"OP_ID", "timeout", "reason"}


def test_a_job_that_has_not_ended_is_not_retried() -> None:
    job = _QueuedJob(None, 1, [op(), op()])
    job.ops[0].status = SUCCESS
    with pytest.raises(OpPrereqError, match="has not ended"):
        again(job, True)


# On a full disk


def cancel(queue: JobQueue, job_id: int) -> Deferred[Any]:
    return queue.cancel(job_id, False, False)


def change_priority(queue: JobQueue, job_id: int) -> Deferred[Any]:
    return queue.change_priority(job_id, 10, admin=False)


@pytest.fixture
def rig() -> Rig:
    """One worker; job 1 is final, 2 runs, 3 is queued, 4 is paused, and then the disk is full."""
    made = Rig(size=1)
    made.submit_one(op())
    made.finish()
    made.submit([op()], [op()], [op()])
    assert made.now(made.queue.pause(4))[0]
    made.journal.set_full(True)
    return made


@pytest.mark.parametrize(
    "job_id, verb",
    (
        (3, cancel),
        (4, cancel),
        (2, JobQueue.pause),
        (3, JobQueue.pause),
        (4, JobQueue.resume),
        (3, change_priority),
        (1, JobQueue.archive),
    ),
)
def test_a_verb_that_running_work_does_not_need_is_refused_on_a_full_disk_and_changes_nothing(
    rig: Rig, job_id: int, verb: Verb
) -> None:
    before = list(rig.journal.records), [rig.job(each).Serialize() for each in range(1, 5)]
    with pytest.raises(DiskFull):
        rig.now(verb(rig.queue, job_id))
    assert (list(rig.journal.records), [rig.job(each).Serialize() for each in range(1, 5)]) == before
    rig.journal.set_full(False)
    assert rig.now(verb(rig.queue, job_id))


def test_running_code_can_be_cancelled_on_a_full_disk(rig: Rig) -> None:
    assert rig.now(cancel(rig.queue, 2))[0]
    rig.finish()
    assert rig.status(2) == "canceled"


@pytest.mark.parametrize("soft", [False, True])
def test_a_job_that_is_ready_can_be_ended_on_a_full_disk_when_a_worker_is_free(soft: bool) -> None:
    rig = Rig(size=1)
    first, second = rig.submit_one(op("OP_CONVERGE")), rig.submit_one(op("OP_CONVERGE"))
    rig.finish()
    running, queued = rig.submit_one(op()), rig.submit_one(op())
    rig.journal.set_full(True)
    for job_id in (first, second):
        assert rig.now(rig.queue.cancel(job_id, False, True) if soft else rig.queue.complete(job_id))[0]
    assert rig.running() == [first, second, running]
    assert rig.queue.query_workers()["running"] == 1
    rig.finish()
    assert [rig.status(n) for n in (first, second, running, queued)] == [*["success"] * 3, "queued"]
    rig.journal.set_full(False)
    rig.queue.processor.look()
    rig.finish()
    assert rig.status(queued) == "success"


def test_a_deferred_job_that_is_cancelled_on_a_full_disk_is_undone_and_ends() -> None:
    rig = Rig()
    first, second = rig.submit(op("OP_UNDO"), op("OP_UNDO"), group=True)
    rig.step()
    rig.journal.set_full(True)
    assert rig.now(cancel(rig.queue, second))[0]
    rig.finish()
    assert [rig.status(n) for n in (first, second)] == ["canceled", "canceled"]
    assert rig.ran_by(first)[-1] == "abort attempt 1"
    assert rig.idle()


def test_what_a_crash_has_interrupted_is_undone_on_a_full_disk_which_may_make_room() -> None:
    rig = Rig()
    lone, again = rig.submit_one(op("OP_UNDO")), rig.submit_one(op("OP_UNDO_AGAIN"))
    other = rig.crash(full=True)
    other.finish()
    assert [other.status(n) for n in (lone, again)] == ["error", "queued"]
    assert other.ran_by(lone) == other.ran_by(again) == ["abort attempt 1"]
    other.journal.set_full(False)
    other.queue.processor.look()
    other.finish()
    assert (other.status(again), other.idle()) == ("success", True)


def test_jobs_that_end_on_a_full_disk_and_dismiss_themselves_stay_for_now() -> None:
    rig = Rig()
    (job_id,) = rig.submit({"ops": [op()], "auto_dismiss": True})
    rig.journal.set_full(True)
    rig.finish()
    assert rig.status(job_id) == "success"


def test_a_start_on_a_full_disk_comes_up_with_jobs_that_would_dismiss_themselves() -> None:
    rig = Rig()
    (job_id,) = rig.submit({"ops": [op()], "auto_dismiss": True})
    rig.journal.set_full(True)
    rig.finish()
    assert rig.crash(full=True).status(job_id) == "success"
    assert rig.crash().status(job_id) is None
