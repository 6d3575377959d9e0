"""What is taken, what is refused, and what is durable before it is answered."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from jqueue.errors import (
    DiskFull,
    JobQueueDrainError,
    JobQueueFull,
    OpPrereqError,
    ParameterError,
    ShuttingDown,
    StoreFailed,
)
from jqueue.sched.submission import Answer

from .rig import Rig, locked, op


def sent(rig: Rig, *jobs: object, uid: int | None = 7, **options: object) -> list[Answer | Failure]:
    """Submits without waiting.

    @return: empty, until the answer is in it
    """
    answers: list[Answer | Failure] = []
    rig.queue.submit(list(jobs), options, uid=uid, admin=True).addBoth(answers.append)
    return answers


def refused(rig: Rig, problem: type[Exception], text: str, *jobs: object, **options: object) -> None:
    """Checks that jobs are refused, and that nothing has changed by it."""
    before = (list(rig.queue.table.ids()), len(rig.journal.records))
    with pytest.raises(problem, match=text):
        rig.now(rig.queue.submit(list(jobs), options, uid=7, admin=False))
    assert (list(rig.queue.table.ids()), len(rig.journal.records)) == before


# What is taken


def test_ids_are_answered_in_order_once_the_jobs_are_durable() -> None:
    rig = Rig(start=False)
    answers = sent(rig, [op()], [op(), op()])
    while rig.turns.waiting:
        rig.turns.take()
    assert (answers, list(rig.queue.table.ids())) == ([], [])
    rig.settle()
    assert answers == [[1, 2]]
    assert rig.queue.table.counts["queued"] == 2


def test_a_description_gives_a_job_its_name_and_options_hold_for_all() -> None:
    rig = Rig(start=False)
    rig.submit({"name": "own", "ops": [op()]}, [op()], name="common", auto_dismiss=True)
    assert [(rig.job(n).name, rig.job(n).auto_dismiss, rig.job(n).owner) for n in (1, 2)] == [
        ("own", True, 7),
        ("common", True, 7),
    ]


def test_a_dry_run_checks_and_takes_nothing() -> None:
    rig = Rig()
    assert rig.now(rig.queue.submit([[op()], [op()]], {"dry_run": True}, uid=7, admin=False)) == [None, None]
    assert (list(rig.queue.table.ids()), rig.journal.records, rig.queue.submission.last_id) == ([], [], 0)
    refused(rig, OpPrereqError, "no such parameter", [op(x=1)], dry_run=True)


@pytest.mark.parametrize("text", ["\ud800", "\x00"])
def test_text_that_no_file_can_hold_is_refused_wherever_it_stands(text: str) -> None:
    refused(Rig(), OpPrereqError, r"^ops\[0\]\.result", [op(result=text)])
    refused(Rig(), OpPrereqError, r"^ops\[0\]\.result", [op(result=text)], request_id="x")
    refused(Rig(), OpPrereqError, r"^options\.request_id", [op()], request_id=text)


def test_values_survive_a_crash_as_they_are() -> None:
    rig = Rig(start=False)
    value = [{"𝕏": 2**63 - 1}, None, -(2**63), 0.1]
    (job_id,) = rig.submit([op(result=value)], request_id="𝕏")
    assert rig.crash(start=False).job(job_id).ops[0].input["result"] == value


# What is refused


@pytest.mark.parametrize(
    ("problem", "text", "jobs", "options"),
    [
        (OpPrereqError, "at least one job", [], {}),
        (OpPrereqError, "^ops: a list", [[]], {}),
        (OpPrereqError, r"^jobs\[1\]\.ops: a list", [[op()], {"ops": "x"}], {}),
        (OpPrereqError, r"jobs\[1\]\.ops\[0\].*unknown opcode", [[op()], [op("OP_WRK")]], {}),
        (OpPrereqError, r"^ops\[1\]\.timeout: more than 0", [[op(), op(timeout=-1)]], {}),
        (ParameterError, "^nome: unknown", [{"nome": "x", "ops": [op()]}], {}),
        (ParameterError, "options.nome", [[op()]], {"nome": "x"}),
        (ParameterError, "options.group", [[op()]], {"group": 7}),
        (OpPrereqError, "options.group", [[op()]], {"group": "a/b"}),
        (OpPrereqError, "ops\\[0\\]: OP_DECLARE", [[op("OP_DECLARE")]], {"auto_finalize": False}),
        (OpPrereqError, "ops\\[0\\]: OP_DECLARE", [[op("OP_DECLARE")]], {"group": True}),
        (OpPrereqError, "ops\\[0\\]: OP_CONVERGE", [[op("OP_CONVERGE"), op()]], {}),
        (OpPrereqError, "cannot be stopped", [[op("OP_CONVERGE_FOR_EVER")]], {}),
        (OpPrereqError, "jobs\\[1\\]: it needs the lock resource/a", [[locked()], [locked()]], {"group": True}),
        (
            OpPrereqError,
            "jobs\\[1\\]: it needs the lock resource/a",
            [[locked()], [locked(mode="shared")]],
            {"group": True},
        ),
        (OpPrereqError, "jobs\\[1\\]: it needs", [[locked("tape", 2)], [locked("tape", 2)]], {"group": True}),
        (OpPrereqError, "jobs: a group may have 50 jobs", [[op()]] * 51, {"group": True}),
        (
            OpPrereqError,
            r"jobs\[1\]\.ops\[0\]\.depends: jobs of one group end together",
            [[op()], [op(depends=[[-1, []]])]],
            {"group": True},
        ),
        (ParameterError, "options.request_id", [[op()]], {"request_id": 5}),
        (ParameterError, "options.request_id", [[op()]], {"request_id": ""}),
        (OpPrereqError, r"^ops\[0\]\.priority: -10, 0 or 10", [[op(priority=-20)]], {}),
        (OpPrereqError, r"^ops\[0\]\.locks: .*capacity is 3", [[op(locks={"resource": {"tape": 4}})]], {}),
        (OpPrereqError, "no job 5", [[op(depends=[[5, []]])]], {}),
        (OpPrereqError, "-1 is out of range", [[op(depends=[[-1, []]])]], {}),
        (OpPrereqError, "at most", [[op(result="x" * 5_000_000)]], {}),
        (OpPrereqError, "1000 opcodes", [[op()] * 1001], {}),
    ],
)
def test_a_bad_submission_is_refused_with_the_path_and_changes_nothing(
    problem: type[Exception], text: str, jobs: list[object], options: dict[str, object]
) -> None:
    rig = Rig(start=False)
    refused(rig, problem, text, *jobs, **options)
    assert rig.clock.getDelayedCalls() == []
    assert rig.submit_one(op()) == 1


def test_a_value_nested_too_deep_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(600):
        deep = [deep]
    refused(Rig(), OpPrereqError, "result", [op(result=deep)])
    refused(Rig(), OpPrereqError, "result", [op(result=deep)], request_id="x")


def test_dependency_faults_are_told_job_by_job() -> None:
    rig = Rig(start=False)
    answer = rig.now(
        rig.queue.submit(
            [[op()], [op(depends=[[9, []]])], [op(depends=[[-1, []]])], [op(depends=[[-3, []]])]],
            {},
            uid=7,
            admin=False,
        )
    )
    assert answer[0] == 1
    assert "no job 9" in str(answer[1])
    assert "refused itself" in str(answer[2])
    assert answer[3] == 2
    assert rig.job(2).ops[0].input["depends"] == [[1, []]]


def test_a_drained_queue_takes_no_new_jobs_and_says_why() -> None:
    rig = Rig()
    rig.now(rig.queue.set_drain("new disks"))
    refused(rig, JobQueueDrainError, "new disks", [op()])
    rig.now(rig.queue.set_drain(None))
    assert rig.submit_one(op()) == 1


def test_a_queue_takes_no_more_than_it_may_hold() -> None:
    rig = Rig(limit=3)
    rig.submit([op()], [op()])
    refused(rig, JobQueueFull, "holds 2 unfinished", [op()], [op()])
    rig.submit_one(op())
    refused(rig, JobQueueFull, "holds 3 unfinished", [op()])
    rig.finish()
    rig.submit_one(op())


def test_a_full_disk_refuses_before_and_behind_the_check() -> None:
    rig = Rig()
    answers = sent(rig, [op()])
    rig.journal.set_full(True)
    rig.settle()
    (answer,) = answers
    assert isinstance(answer, Failure) and answer.check(DiskFull)
    refused(rig, DiskFull, "disk", [op()])
    rig.journal.set_full(False)
    assert rig.submit_one(op()) == 2  # an id is never given twice, even if nobody has seen it


def test_a_stopping_daemon_takes_nothing() -> None:
    rig = Rig()
    rig.queue.stopping = True
    refused(rig, ShuttingDown, "stopping", [op()])


def test_a_broken_journal_fails_the_submission() -> None:
    rig = Rig()
    answers = sent(rig, [op()], request_id="x")
    rig.turns.take()
    rig.turns.take()
    rig.turns.take()
    rig.journal.break_down()
    rig.settle()
    (answer,) = answers
    assert isinstance(answer, Failure) and answer.check(StoreFailed)
    assert list(rig.queue.table.ids()) == []


# Children


def test_children_know_their_parent_and_are_taken_by_a_drained_or_full_queue() -> None:
    rig = Rig(size=1, limit=1)
    parent = rig.submit_one(op(children=[[op()], {"name": "kid", "ops": [op()]}]), op(children=[[op()]]))
    rig.now(rig.queue.set_drain(""))
    rig.journal.set_full(True)
    rig.step()
    rig.journal.set_full(False)
    assert rig.result(parent) == [2, 3]
    assert [(rig.job(n).parent, rig.job(n).owner, rig.job(n).name) for n in (2, 3)] == [
        ("1.0.0", 7, None),
        ("1.0.0", 7, "kid"),
    ]
    rig.queue.processor.look()
    rig.finish()
    assert rig.result(parent, 1) == [4]
    assert rig.job(4).parent == "1.1.0"


def test_an_attempt_that_is_run_again_gets_the_same_children() -> None:
    rig = Rig()
    parent = rig.submit_one(op("OP_AGAIN", children=[[op()], [op()]], fails_until=1, retries={"attempts": 2}))
    rig.step()
    rig.finish()
    assert (rig.status(parent), rig.result(parent), list(rig.queue.table.ids())) == ("success", [2, 3], [1, 2, 3])


def test_an_opcode_that_is_run_again_after_a_crash_gets_the_same_children() -> None:
    rig = Rig()
    parent = rig.submit_one(op("OP_AGAIN", children=[[op()]]))
    rig.workers.perform()
    assert list(rig.queue.table.ids()) == [1, 2]
    other = rig.crash()
    other.finish()
    assert (other.status(parent), other.result(parent), list(other.queue.table.ids())) == ("success", [2], [1, 2])


def test_a_child_that_is_not_valid_fails_its_parent_with_the_reason() -> None:
    rig = Rig()
    parent = rig.submit_one(op(children=[[op()], [op("OP_NONE")]]))
    rig.finish()
    assert rig.status(parent) == "error"
    assert "jobs[1].ops[0]" in rig.result(parent)[1][0]
    assert list(rig.queue.table.ids()) == [1]


# Request ids


def test_a_request_that_is_repeated_gets_the_same_ids() -> None:
    rig = Rig()
    assert rig.submit([op()], [op()], request_id="r") == [1, 2]
    assert rig.submit([op()], [op()], request_id="r") == [1, 2]
    assert rig.submit([op()], request_id="r", uid=8) == [3]
    assert rig.submit([op()], request_id="s") == [4]
    rig.finish()


def test_a_request_that_is_repeated_at_once_waits_for_the_first() -> None:
    rig = Rig(start=False)
    first, second = sent(rig, [op()], request_id="r"), sent(rig, [op()], request_id="r")
    while rig.turns.waiting:
        rig.turns.take()
    third = sent(rig, [op()], request_id="r")
    assert first == second == third == []
    rig.settle()
    assert first == second == third == [[1]]
    assert list(rig.queue.table.ids()) == [1]


@pytest.mark.parametrize("disk_full", [False, True])
def test_a_request_that_fails_fails_for_all_and_may_be_sent_again(disk_full: bool) -> None:
    rig = Rig()
    job = [op()] if disk_full else [op("OP_NONE")]
    answers = [sent(rig, job, request_id="r"), sent(rig, job, request_id="r")]
    rig.journal.set_full(disk_full)
    rig.settle()
    for (answer,) in answers:
        assert isinstance(answer, Failure) and answer.check(DiskFull if disk_full else OpPrereqError)
    rig.journal.set_full(False)
    assert rig.submit([op()], request_id="r") == [1 + disk_full]


def test_a_request_id_for_other_jobs_is_an_error() -> None:
    rig = Rig()
    rig.submit([op()], request_id="r")
    refused(rig, OpPrereqError, "used for other jobs", [op(), op()], request_id="r")
    refused(rig, OpPrereqError, "used for other jobs", [op()], request_id="r", name="x")


def test_a_request_is_taken_whole_or_not_at_all() -> None:
    rig = Rig()
    refused(rig, OpPrereqError, "no job 9", [op()], [op(depends=[[9, []]])], request_id="r")


def test_a_request_is_known_after_a_crash_if_it_was_durable() -> None:
    rig = Rig()
    rig.submit([op()], request_id="r")
    answers = sent(rig, [op()], request_id="s")
    while rig.turns.waiting:
        rig.turns.take()
    other = rig.crash()
    assert answers == []
    assert other.submit([op()], request_id="r") == [1]
    assert other.submit([op()], request_id="s") == [2]


def test_a_repeated_request_is_answered_even_while_nothing_new_is_taken() -> None:
    rig = Rig()
    rig.submit([op()], request_id="r")
    rig.now(rig.queue.set_drain("later"))
    assert rig.submit([op()], request_id="r") == [1]


# Large submissions


def interleaved(rig: Rig, count: int) -> Deferred[Answer]:
    """Submits so many jobs up to the point where they are durable and not more."""
    answer = rig.queue.submit([[op()]] * count, {"request_id": "r"}, uid=7, admin=True)
    while rig.turns.waiting:
        rig.turns.take()
    rig.journal.sync()
    return answer


def test_all_jobs_of_a_submission_are_there_as_soon_as_they_are_durable() -> None:
    rig = Rig(start=False)
    interleaved(rig, 5)
    assert list(rig.queue.table.ids()) == [1, 2, 3, 4, 5]


def test_a_job_that_is_changed_before_its_turn_to_be_told_is_told_once_and_right() -> None:
    rig = Rig(size=5)
    told: list[tuple[int, str]] = []
    rig.queue.subscribe(
        lambda _, event: told.append((event[0]["id"], event[0]["status"])), jobs=None, changes=True, log=False
    )
    interleaved(rig, 4)
    rig.queue.cancel(4, False, False)
    rig.queue.pause(3)
    rig.queue.change_priority(2, 10, admin=False)
    rig.journal.sync()
    rig.finish()
    assert [rig.status(n) for n in (1, 2, 3, 4)] == ["success", "success", "queued", "canceled"]
    assert [status for job_id, status in told if job_id == 4] == ["canceled"]
    source = rig.disk.files[4]
    assert not isinstance(source, bytes)
    rig.now(rig.queue.resume(3))
    rig.finish()
    assert rig.status(3) == "success"


def test_submissions_that_are_checked_at_the_same_time_get_ids_of_their_own() -> None:
    rig = Rig(start=False)
    first, second = sent(rig, [op()], [op()]), sent(rig, [op()], [op(depends=[[-1, []]])])
    while rig.turns.waiting:
        rig.turns.waiting.append(rig.turns.waiting.pop(0))
        rig.turns.take()
    rig.settle()
    assert (first, second) == ([[3, 4]], [[1, 2]])
    assert rig.job(2).ops[0].input["depends"] == [[1, []]]
