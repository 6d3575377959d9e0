"""From a dropped file's bytes to jobs: taken whole, once, or refused whole."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed

from jqueue.daemon.drops import Drops
from jqueue.errors import JobQueueDrainError, OpPrereqError
from jqueue.store.dropped import Drop
from jqueue.store.thread import InlineThread

from ..sched.rig import Rig

MAX_SIZE = 5 << 20


@pytest.fixture
def rig() -> Rig:
    return Rig(start=False)


@pytest.fixture
def drops(rig: Rig) -> Drops:
    return Drops(rig.queue, InlineThread(), MAX_SIZE)


def drop(text: str, *, owner: int = 7) -> Drop:
    return Drop(name="backup.yaml", identity="1-2-3", sha256="00", owner=owner, data=text.encode())


def test_the_jobs_of_a_description_are_submitted_for_the_owner_of_the_file(rig: Rig, drops: Drops) -> None:
    text = "name: nightly\nops: [{OP_ID: OP_WORK}]\n---\n[{OP_ID: OP_WORK}, {OP_ID: OP_AGAIN}]"
    assert rig.now(drops.submit(drop(text))) == [1, 2]
    assert [(rig.job(job_id).name, rig.job(job_id).owner) for job_id in (1, 2)] == [("nightly", 7), (None, 7)]


@pytest.mark.parametrize(
    ("group", "said"), (("group: web", {"group": "web"}), ("group: true", {"group": True}), ("group: false", {}))
)
def test_a_group_in_a_file_is_submitted_as_one(group: str, said: dict[str, object]) -> None:
    submitted: list[tuple[object, ...]] = []

    class Queue:
        def submit_drop(self, *arguments: object) -> Deferred[list[int]]:
            submitted.append(arguments)
            return succeed([1, 2])

    queue: Any = Queue()
    answer: list[list[int]] = []
    text = f"{group}\njobs:\n- [{{OP_ID: OP_WORK}}]\n- name: b\n  ops: [{{OP_ID: OP_WORK}}]\n"
    Drops(queue, InlineThread(), MAX_SIZE).submit(drop(text)).addCallback(answer.append)
    jobs = [{"ops": [{"OP_ID": "OP_WORK"}]}, {"name": "b", "ops": [{"OP_ID": "OP_WORK"}]}]
    assert submitted == [(jobs, said, 7, "1-2-3")]
    assert answer == [[1, 2]]


def test_a_file_is_known_from_when_its_jobs_are_durable_until_its_removal_is(rig: Rig, drops: Drops) -> None:
    submitted = drops.submit(drop("[{OP_ID: OP_WORK}]"))
    assert not drops.known("1-2-3")
    rig.now(submitted)
    assert drops.known("1-2-3") and not drops.known("1-2-4")
    assert rig.crash(start=False).queue.identities == {"1-2-3"}
    drops.done(["1-2-3"])
    rig.settle()
    assert not drops.known("1-2-3")
    assert rig.crash(start=False).queue.identities == set()


@pytest.mark.parametrize(
    ("text", "said"),
    (
        ("ops: [", "backup.yaml"),
        ("", "there is no job in it"),
        ("[{OP_ID: OP_WROK}]", "OP_WORK"),
        ("- ops: [{OP_ID: OP_WORK}]\n- ops: [{OP_ID: OP_WORK, children: 7}]", "children"),
    ),
)
def test_a_file_that_is_not_valid_is_refused_with_the_reason_and_changes_nothing(
    rig: Rig, drops: Drops, text: str, said: str
) -> None:
    with pytest.raises(OpPrereqError, match=said):
        rig.now(drops.submit(drop(text)))
    assert not drops.known("1-2-3")
    assert (list(rig.queue.table.ids()), rig.journal.records) == ([], [])


@pytest.mark.parametrize("good", ("", "- ops: [{OP_ID: OP_WORK}]\n"))
def test_a_dependency_that_cannot_be_met_refuses_the_whole_file_because_nobody_would_hear_of_it(
    rig: Rig, drops: Drops, good: str
) -> None:
    bad = "- ops: [{OP_ID: OP_WORK, depends: [[99, [success]]]}]\n"
    with pytest.raises(OpPrereqError, match="99"):
        rig.now(drops.submit(drop(good + bad + bad)))
    assert (list(rig.queue.table.ids()), rig.journal.records) == ([], [])


def test_a_file_of_root_may_ask_for_any_priority_and_those_of_others_may_not(rig: Rig, drops: Drops) -> None:
    text = "[{OP_ID: OP_WORK, priority: -20}]"
    with pytest.raises(OpPrereqError, match="priority"):
        rig.now(drops.submit(drop(text, owner=7)))
    assert rig.now(drops.submit(drop(text, owner=0))) == [1]


def test_a_drained_queue_takes_no_file(rig: Rig, drops: Drops) -> None:
    rig.drain.drained = "maintenance"
    with pytest.raises(JobQueueDrainError, match="maintenance"):
        rig.now(drops.submit(drop("[{OP_ID: OP_WORK}]")))
    assert not drops.known("1-2-3")


def test_a_file_may_be_as_large_as_the_configuration_allows(rig: Rig, drops: Drops) -> None:
    comment = f"# {'x' * 1000}\n"
    small, large = comment * 4500, comment * 5500
    assert rig.now(drops.submit(drop(small + "[{OP_ID: OP_WORK}]"))) == [1]
    with pytest.raises(OpPrereqError, match=f"at most {MAX_SIZE}"):
        rig.now(drops.submit(drop(large + "[{OP_ID: OP_WORK}]")))
