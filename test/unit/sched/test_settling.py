"""How deferred jobs come to their end together: what is due in each situation of a group, and whose turn it is."""

from __future__ import annotations

import pytest

from jqueue.errors import OpExecError
from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.status import CANCELED, CANCELING, ERROR, RUNNING, SUCCESS
from jqueue.sched import outcome, settling

from .rig import op

FAILED = outcome.error(OpExecError("it broke"))
NOW = 5.0

# What is said of a job: its phase, or that it is
#   prepared    preparing, with nothing against it
#   retried     in the middle of undoing an attempt that is to be repeated
#   canceling   at work, and was cancelled
# followed by
#   +  it has something to prepare, commit or undo
#   ~  its code runs
#   !  it is to be finalised by hand
# The first job is the newest. The step that is due is empty if code has to run first, or somebody is waited for.
SITUATIONS = """
work work~                      |          |
waiting work~                   |          |
waiting waiting                 | pend     |
waiting+ waiting!               | pend     |
pending pending                 | prepare  |
pending pending!                |          |
pending+ preparing              |          |
preparing preparing             | decide   |
preparing+ preparing            |          | 1
preparing preparing+            |          | 2
preparing+~ preparing+          |          |
prepared+ preparing+            |          | 2
prepared+ preparing             | decide   |
prepared+ prepared+             | decide   |
committing committing+          | finish   | 1
committing+ committing          |          | 1
committing+~ committing         |          |
aborting aborting+              | finish   | 1
aborting+ aborting              |          | 1
aborting aborting+~             |          |
aborting+~ aborting+            |          |
aborting work                   | give_up  |
aborting work~                  | give_up  |
work~ aborting                  | give_up  |
aborting waiting                | give_up  |
aborting pending!               | give_up  |
prepared+ aborting              | give_up  |
aborting+ retried+~             | give_up  |
retried+~ work~                 |          |
canceling~ work~                | give_up  |
canceling~ waiting              | give_up  |
canceling~ preparing+           | give_up  |
canceling~ aborting+            |          |
canceling~ canceling~           |          |
canceling aborting              | give_up  |
waiting                         | pend     |
pending!                        |          |
"""


class Group:
    """Jobs in a situation."""

    def __init__(self, situation: str) -> None:
        self.running: set[int] = set()
        self.acting: set[int] = set()
        self.prepared: set[int] = set()
        self.jobs: list[_QueuedJob] = []
        words = situation.split()
        for number, word in enumerate(words):
            self.jobs.append(self._job(len(words) - number, word))

    def _job(self, job_id: int, word: str) -> _QueuedJob:
        state = word.rstrip("+~!")
        job = _QueuedJob(None, job_id, [op()])
        job.members, job.auto_finalize = [1, 2], "!" not in word
        self.running |= {job_id} if "~" in word else set()
        self.acting |= {job_id} if "+" in word else set()
        self.prepared |= {job_id} if state == "prepared" else set()
        job.phase = {"prepared": "preparing", "retried": "aborting", "canceling": "work"}.get(state, state)
        only = job.ops[0]
        if state != "work" or "~" in word:
            only.status, only.exec_timestamp = CANCELING if state == "canceling" else RUNNING, (1, 0)
        if state == "retried":
            only.outcome = outcome.retry(OpExecError("it broke"), 9.0)
        elif state == "aborting":
            only.outcome = FAILED
        elif job.phase != "work":
            only.outcome = outcome.success(job_id)
        return job

    @property
    def facts(self) -> settling.Facts:
        return settling.Facts(self.running.__contains__, lambda job: job.id in self.acting, self.prepared)

    def advance(self) -> dict[int, str]:
        """Moves it as far as it comes; gives the status of each job, or the phase it is in."""
        settling.advance(list(self.jobs), self.facts, NOW)
        return {job.id: job.CalcStatus() if job.final else job.phase for job in self.jobs}


@pytest.mark.parametrize("row", SITUATIONS.strip().splitlines(), ids=lambda row: row.split("|")[0].strip())
def test_in_each_situation_what_is_due_and_whose_turn_it_is(row: str) -> None:
    situation, due, turn = (part.strip() for part in row.split("|"))
    group = Group(situation)
    step = settling.due(group.jobs, group.facts)
    assert (step.__name__.strip("_") if step is not None else "") == due
    if step is None or due == "finish":
        next_one = settling.turn(group.jobs, group.facts)
        assert (None if next_one is None else group.jobs.index(next_one)) == (int(turn) - 1 if turn else None)


def test_nothing_is_due_when_all_have_ended() -> None:
    group = Group("")
    assert (settling.due([], group.facts), settling.turn([], group.facts)) == (None, None)


@pytest.mark.parametrize(
    ("situation", "ends"),
    [
        ("waiting waiting", {2: SUCCESS, 1: SUCCESS}),
        ("waiting waiting+", {2: "preparing", 1: "preparing"}),
        ("waiting waiting!", {2: "pending", 1: "pending"}),
        ("prepared+ prepared+", {2: "committing", 1: "committing"}),
        ("prepared+ preparing", {2: "committing", 1: "committing"}),
        ("committing committing+", {2: SUCCESS, 1: "committing"}),
        ("aborting waiting", {2: ERROR, 1: CANCELED}),
        ("waiting+ aborting", {2: "aborting", 1: "aborting"}),
        ("aborting work~", {2: "aborting", 1: "work"}),
        ("canceling work", {2: CANCELED, 1: CANCELED}),
    ],
)
def test_it_moves_as_far_as_it_comes_without_code(situation: str, ends: dict[int, str]) -> None:
    assert Group(situation).advance() == ends


def test_what_ends_is_published_with_its_result() -> None:
    group = Group("waiting waiting")
    group.advance()
    assert [job.ops[0].result for job in group.jobs] == [2, 1]
    assert all(job.ops[0].end_timestamp == (5, 0) and job.phase == "done" for job in group.jobs)


@pytest.mark.parametrize(
    ("situation", "because"),
    [("aborting waiting", "Job 2 of its group failed"), ("canceling~ waiting", "Job 2 of its group was canceled")],
)
def test_who_falls_with_the_group_says_why(situation: str, because: str) -> None:
    group = Group(situation)
    group.advance()
    ended = group.jobs[1].ops[0]
    assert because in (ended.result, ended.outcome[1] if ended.outcome is not None else None)


def test_the_one_that_failed_is_named_before_one_that_was_canceled_for_it() -> None:
    group = Group("canceling~ aborting waiting")
    settling._give_up(group.jobs, group.facts, NOW)
    ended = group.jobs[2].ops[0].outcome
    assert ended is not None and ended[1] == "Job 2 of its group failed"


def test_a_paused_job_that_falls_with_the_group_is_not_paused_any_more() -> None:
    group = Group("aborting work~")
    group.jobs[1].paused = True
    group.advance()
    assert (group.jobs[1].paused, group.jobs[1].CalcStatus()) == (False, CANCELING)


def test_a_finalisation_begins_with_those_that_are_pending() -> None:
    group = Group("pending! committing")
    settling.prepare(group.jobs)
    assert [job.phase for job in group.jobs] == ["preparing", "committing"]
