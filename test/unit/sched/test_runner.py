"""The callbacks of deferred jobs while something comes between: a cancel, a crash, a bad disk."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred, fail

from jqueue.errors import StateError
from jqueue.events.joblog import Entry
from jqueue.sched.lifecycles import Lifecycles

from .rig import Rig, op

UNDO = op("OP_UNDO")


def pending(rig: Rig, *ops: object) -> int:
    """Brings a job to where only its finalisation is outstanding."""
    (job_id,) = rig.submit({"ops": list(ops), "auto_finalize": False})
    rig.finish()
    return job_id


def finalizing(rig: Rig, *ops: object) -> int:
    """Brings a job to where its first prepare is about to run."""
    job_id = pending(rig, *ops)
    assert rig.now(rig.queue.finalize(job_id))[0]
    assert (rig.job(job_id).phase, len(rig.workers.steps)) == ("preparing", 1)
    return job_id


@pytest.mark.parametrize("crashes", [False, True])
def test_a_cancel_while_a_job_is_prepared_undoes_it(crashes: bool) -> None:
    rig = Rig()
    job_id = finalizing(rig, UNDO, UNDO)
    assert rig.now(rig.queue.cancel(job_id, False, False)) == (True, f"Job {job_id} will be canceled")
    if crashes:
        rig = rig.crash()
    rig.finish()
    assert rig.status(job_id) == "canceled"
    assert rig.ran_by(job_id)[-2:] == ["abort attempt 1", "abort attempt 1"]
    assert not any("commit" in said for said in rig.ran_by(job_id))
    assert rig.idle()


def test_a_cancel_that_comes_when_all_are_prepared_but_nothing_is_decided_counts() -> None:
    rig = Rig()
    job_id = finalizing(rig, UNDO)
    rig.workers.perform()
    canceled = rig.queue.cancel(job_id, False, False)
    rig.finish()
    assert (rig.now(canceled)[0], rig.status(job_id)) == (True, "canceled")
    assert rig.ran_by(job_id) == ["exec", "prepare", "abort attempt 1"]


def test_a_commit_that_is_decided_cannot_be_canceled_any_more() -> None:
    rig = Rig()
    job_id = finalizing(rig, UNDO)
    rig.step()
    assert rig.job(job_id).phase == "committing"
    late = f"Job {job_id} is being committed; it is too late to cancel it"
    assert rig.now(rig.queue.cancel(job_id, False, False)) == (False, late)
    rig.now(Lifecycles(rig.queue, rig.clock).cancel(job_id, True))
    rig.finish()
    assert rig.status(job_id) == "success"


def test_a_second_cancel_of_what_is_being_undone_is_accepted_and_changes_nothing() -> None:
    rig = Rig()
    job_id = pending(rig, UNDO)
    for _ in range(2):
        assert rig.now(rig.queue.cancel(job_id, False, False))[0]
    rig.finish()
    assert rig.ran_by(job_id) == ["exec", "abort attempt 1"]


def test_a_second_finalisation_is_accepted_and_changes_nothing() -> None:
    rig = Rig()
    job_id = finalizing(rig, UNDO)
    assert rig.now(rig.queue.finalize(job_id))[0]
    rig.finish()
    assert rig.ran_by(job_id) == ["exec", "prepare", "commit attempt 1"]


def test_what_is_prepared_is_prepared_again_after_a_crash_and_committed_once_more() -> None:
    rig = Rig()
    job_id = finalizing(rig, UNDO)
    rig.workers.perform()
    after = rig.crash()
    after.finish()
    assert after.ran_by(job_id) == ["exec", "prepare", "prepare", "commit attempt 1"]
    rig = Rig()
    job_id = finalizing(rig, UNDO)
    rig.step()
    rig.workers.perform()
    after = rig.crash()
    after.finish()
    assert after.ran_by(job_id) == ["exec", "prepare", *["commit attempt 1"] * 2]


@pytest.mark.parametrize("then", ["undone", "canceled", "crashed"])
def test_an_attempt_that_is_to_be_repeated_is_not_when_its_job_is_canceled_while_it_is_undone(then: str) -> None:
    rig = Rig()
    retries = {"attempts": 2, "delay": 30}
    (job_id,) = rig.submit({"ops": [UNDO, op("OP_UNDO", fails_until=1, retries=retries)], "auto_finalize": False})
    rig.settle()
    rig.step()
    rig.step()
    assert rig.job(job_id).phase == "aborting"
    if then == "undone":
        rig.step()
        assert rig.waits_for(job_id) == "retry"
    qmp = Lifecycles(rig.queue, rig.clock)
    rig.now(qmp.cancel(job_id, True))
    if then == "crashed":
        rig = rig.crash()
    rig.finish()
    assert rig.status(job_id) == "canceled"
    assert rig.statuses(job_id) == ["success", "canceled"]
    assert [entry[0] for entry in rig.disk.logs[job_id]][-2:] == [1, 0]
    assert [entry[4] for entry in rig.disk.logs[job_id]].count("exec") == 2
    assert rig.idle()


def test_an_undo_that_cannot_even_be_logged_ends_its_job_and_the_others_are_undone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig()
    first, second = rig.submit(UNDO, op("OP_UNDO", fails=["exec", "abort"]), group=True)
    rig.settle()
    rig.step()
    rig.step()
    write = rig.disk.write_log
    lost: list[str] = []

    def full(entries: dict[int, list[Entry]]) -> Deferred[None]:
        broken = [str(row[4]) for rows in entries.values() for row in rows if "could not abort" in str(row[4])]
        lost.extend(broken)
        return fail(StateError("no space for a log")) if broken else write(entries)

    monkeypatch.setattr(rig.queue.logs, "_write_entries", full)
    rig.finish()
    assert lost
    assert [rig.status(n) for n in (first, second)] == ["canceled", "error"]
    assert "could not abort its work" in rig.result(second)[1][0]
    assert rig.ran_by(first)[-1] == "abort attempt 1"
    assert rig.idle()


@pytest.mark.parametrize(
    ("situation", "kind", "words"),
    [
        ("waiting", "group", "still has to end"),
        ("preparing", "group", "finalized with its group, the newest job first"),
    ],
)
def test_why_says_what_a_job_waits_for_whose_own_work_is_done(situation: str, kind: str, words: str) -> None:
    rig = Rig()
    first, _second = rig.submit(UNDO, op("OP_UNDO", looks=False), group=True)
    rig.settle()
    rig.step(0)
    if situation == "preparing":
        rig.step(0)
    assert rig.job(first).phase == situation
    (reason,) = rig.now(rig.queue.explain(first))["reasons"]
    assert (reason["kind"], words in reason["text"]) == (kind, True)
