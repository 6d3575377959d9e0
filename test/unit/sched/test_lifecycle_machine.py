"""The lifecycle of jobs and groups in every order of events: each step is legal and told once, each edge is taken.

Users ask for every verb in every state, in both dialects, and get the answer that the table of verbs says.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from jqueue.errors import DiskFull, GenericError, WrongState
from jqueue.jobs import fields
from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.lifecycle import (
    ABORTING,
    CONCLUDED,
    CREATED,
    NULL,
    PAUSED,
    PENDING,
    READY,
    RUNNING,
    STANDBY,
    STATES,
    TRANSITIONS,
    UNDEFINED,
    VERBS,
    WAITING,
)
from jqueue.jobs.status import CANCELED, ERROR
from jqueue.sched import snapshot
from jqueue.sched.lifecycles import Lifecycles

from .answers import GONE, QMP, RPC, SOFT, by_qmp, by_rpc, verb_of
from .machine import CRASHES
from .queue_machine import QueueMachine

pytestmark = pytest.mark.timeout(900)  # the walks are long; how long depends on the machine

T = TypeVar("T")

Edge = tuple[str, str]
Way = tuple[str, str]
"""A protocol, and what is asked for."""

NEIGHBOURS = [STATES, (RUNNING, PAUSED), (READY, STANDBY), (WAITING, PENDING, ABORTING)]
"""States in which users ask several times in a row, so that jobs get to what is rare."""

SETTINGS = settings(max_examples=200, stateful_step_count=60, deadline=None, derandomize=True)


@dataclass
class Story:
    """What was heard of a job."""

    states: list[str]
    """Those that it was in, beginning with the one in which the listening began."""
    heard: list[str] = dataclasses.field(default_factory=list)
    """The states that it took, and the names of other events."""
    expected: list[str] = dataclasses.field(default_factory=list)
    """What there was to hear, given these states."""


class LifecycleMachine(QueueMachine):
    """The machine of the queue, with a listener and users who ask for verbs."""

    taken: ClassVar[set[Edge]] = set()
    """The edges of the table that any job has taken, in all runs."""

    def __init__(self) -> None:
        super().__init__()
        self.listen()

    # Listening

    def listen(self) -> None:
        """Listens to a queue in which nothing has happened yet."""
        queue = self.rig.queue
        self.stories: defaultdict[int, Story] = defaultdict(lambda: Story([UNDEFINED]))
        for job_id in queue.table:
            self.stories[job_id] = Story([queue.host.lifecycle(self.rig.job(job_id))])
        self.qmp = Lifecycles(queue, self.rig.clock)
        self.qmp.listen(self.hear)

    def hear(self, name: str, data: Mapping[str, Any]) -> None:
        if name == "SHUTDOWN":
            return
        job_id = int(data.get("id", data.get("device"))[len("job") :])
        job, story = self.rig.queue.table.get(job_id), self.stories[job_id]
        if name == "JOB_STATUS_CHANGE":
            state = data["status"]
            story.expected += what_is_to_be_heard(story.states[-1], state, job)
            story.states.append(state)
            story.heard.append(state)
        else:
            assert job is not None
            story.heard.append(name)
            if name != "BLOCK_JOB_PENDING":
                assert_described(job, name, data)

    def recovered(self, durable: snapshot.Recovered) -> None:
        self.what_is_heard_is_legal()
        before = {job_id: story.states[-1] for job_id, story in self.stories.items()}
        super().recovered(durable)
        self.listen()
        # Where a job goes on with its undoing after a crash, nobody hears of it.
        again = (n for n, story in self.stories.items() if story.states == [ABORTING] == [before.get(n)])
        self.taken.update((ABORTING, ABORTING) for _ in again)

    @invariant()
    def what_is_heard_is_legal(self) -> None:
        """Each step is in the table, and the other events are exactly where QEMU has them."""
        for job_id, story in self.stories.items():
            for before, after in pairwise(story.states):
                assert after in TRANSITIONS[before], f"job {job_id}: {story.states}"
                self.taken.add((before, after))
            assert story.heard == story.expected, f"job {job_id}"

    @invariant()
    def nothing_is_left_out(self) -> None:
        """What was heard last of each job is its state."""
        queue = self.rig.queue
        for job_id, story in self.stories.items():
            job = queue.table.get(job_id)
            state = NULL if job is None else queue.host.lifecycle(job)
            assert story.states[-1] == state, f"job {job_id}: {story.states}"

    # Verbs

    @precondition(lambda self: self.stories)
    @rule(data=st.data(), count=st.integers(1, 8), where=st.sampled_from(NEIGHBOURS))
    def ask(self, data: st.DataObject, count: int, where: tuple[str, ...]) -> None:
        """While nothing is on its way, each verb is answered as the table says; of the accepted ones one is done.

        @param where: jobs in which states are asked, as long as there are any
        """
        self.space_is_free()
        for _ in range(count):
            self.rig.settle()
            jobs = self.jobs_by_state()
            state = data.draw(st.sampled_from([state for state in where if state in jobs] or sorted(jobs)))
            job_id = data.draw(st.sampled_from(jobs[state]))
            expected = self.expected_answers(job_id, state)
            self.are_refused(job_id, {way: text for way, text in expected.items() if text is not None})
            accepted = [way for way, text in expected.items() if text is None]
            others = [way for way in accepted if verb_of(way[1]) != "cancel"]  # whose job goes on
            if accepted:
                self.is_accepted(job_id, *data.draw(st.sampled_from([*accepted, *others])))
            if data.draw(st.booleans()):
                self.look_around()

    def expected_answers(self, job_id: int, state: str) -> dict[Way, str | None]:
        """What each verb is to be answered, by protocol: the text of an error, or None."""
        job = self.rig.queue.table.get(job_id)
        if job is None:
            return {(protocol, asked): GONE.format(job_id) for protocol in ("qmp", "rpc") for asked in QMP}
        expected: dict[Way, str | None] = {}
        execution = self.rig.queue.processor.executions.get(job_id)
        told = None if execution is None else execution.control.told
        for asked in QMP:
            expected["qmp", asked] = by_qmp(job, state, asked)
            expected["rpc", asked] = None if by_rpc(job, state, asked, self.rig.queue.registry, told) else "refused"
        return expected

    def are_refused(self, job_id: int, expected: Mapping[Way, str]) -> None:
        """What is not done changes nothing."""
        records, heard = self.rig.journal.appended, len(self.stories[job_id].heard)
        for (protocol, asked), text in expected.items():
            if protocol == "rpc":
                assert not self.answer(RPC[asked](self.rig.queue, job_id))[0], f"{asked} is done: {text}"
                continue
            try:
                self.answer(QMP[asked](self.qmp, job_id))
            except GenericError as problem:
                assert problem.text == text
            else:
                raise AssertionError(f"{asked} is accepted: {text}")
        assert (self.rig.journal.appended, len(self.stories[job_id].heard)) == (records, heard)

    def is_accepted(self, job_id: int, protocol: str, asked: str) -> None:
        if protocol == "qmp":
            self.answer(QMP[asked](self.qmp, job_id))
        else:
            assert self.answer(RPC[asked](self.rig.queue, job_id))[0]
        if verb_of(asked) == "cancel":
            self.promise(job_id, asked == SOFT)

    def answer(self, asked: Deferred[T]) -> T:
        """Gives an answer; a finalisation is waited for only so long."""
        self.rig.settle()
        if not asked.called:
            self.rig.advance(1)
        return self.rig.now(asked)

    def jobs_by_state(self) -> dict[str, list[int]]:
        """All jobs, by their states; a rare state is as likely to be drawn as any other."""
        found: defaultdict[str, list[int]] = defaultdict(list)
        for job_id, story in self.stories.items():
            found[story.states[-1]].append(job_id)
        return found

    @precondition(lambda self: self.in_states(READY, STANDBY))
    @rule(data=st.data(), told=st.lists(st.sampled_from(["pause", "pause", "complete", SOFT]), min_size=1, max_size=4))
    def keep_ready(self, data: st.DataObject, told: list[str]) -> None:
        """A job that is ready goes to standby and back, or is told to end; it notices."""
        self.space_is_free()
        job_id = data.draw(st.sampled_from(self.in_states(READY, STANDBY)))
        for asked in told:
            self.rig.settle()
            if job_id not in self.in_states(READY, STANDBY):
                return
            job = self.rig.job(job_id)
            asked = "resume" if job.paused else asked
            if by_qmp(job, READY, asked) is None:
                self.is_accepted(job_id, "qmp", asked)
                self.look_around()

    @precondition(lambda self: self.rig.queue.table.unfinished)
    @rule(data=st.data(), asked=st.sampled_from(sorted(QMP)), rpc=st.booleans())
    def ask_in_the_midst(self, data: st.DataObject, asked: str, rpc: bool) -> None:
        """Whatever is on its way, a verb is answered as the table says of a state that the job has had meanwhile."""
        job_id = data.draw(st.sampled_from(self.interesting()))
        rig, story, verb = self.rig, self.stories[job_id], verb_of(asked)
        begin = len(story.states) - 1

        def answered(result: object) -> None:
            states = story.states[begin:]
            problem = result.value if isinstance(result, Failure) else None
            if rig is not self.rig or isinstance(problem, DiskFull) or result == (False, ""):
                return
            if isinstance(problem, WrongState):
                assert problem.state in states and problem.state not in VERBS[problem.verb], states
            elif problem is None:
                # Our own protocol takes it for a success that a job is being canceled already.
                assert (rpc and verb == "cancel") or any(state in VERBS[verb] for state in states), states
                if verb == "cancel":
                    self.promise(job_id, asked == SOFT)
            else:
                assert isinstance(problem, GenericError), problem

        def refused(answer: tuple[bool, str]) -> tuple[bool, str]:
            return answer if answer[0] else (False, "")

        answer = RPC[asked](rig.queue, job_id).addCallback(refused) if rpc else QMP[asked](self.qmp, job_id)
        answer.addBoth(answered).addErrback(self.is_wrong)

    def is_wrong(self, failure: Failure) -> None:
        self.problems.append(failure.getTraceback())

    # The end

    @precondition(lambda self: self.crashes < CRASHES and not self.rig.journal.full)
    @rule(really=st.sampled_from([True, False, False, False]))
    def quit(self, really: bool) -> None:
        """All jobs are cancelled and let go; the next daemon has nothing left to do."""
        if not really:
            return
        self.rig.sync()  # a submission that is still on its way is left to the next daemon
        done = self.qmp.quit()
        for _ in range(30):
            self.rig.finish()
            if done.called:
                break
            self.rig.advance(2)
        self.rig.now(done)
        assert not self.rig.queue.table.unfinished
        assert {story.states[-1] for story in self.stories.values()} <= {NULL}
        self.what_is_heard_is_legal()
        self.stories.clear()
        self.begin_anew()


def what_is_to_be_heard(before: str, state: str, job: _QueuedJob | None) -> Iterator[str]:
    """Tells a step as QEMU does: with the events of a block job around it.

    @param job: as it is now; None for one that has left
    """
    if job is not None and state == CONCLUDED and any(op.exec_timestamp is not None for op in job.ops):
        yield "BLOCK_JOB_CANCELLED" if job.CalcStatus() == CANCELED else "BLOCK_JOB_COMPLETED"
    yield state
    if state == READY and before == RUNNING:
        yield "BLOCK_JOB_READY"
    if job is not None and state == PENDING and not job.auto_finalize:
        yield "BLOCK_JOB_PENDING"


def assert_described(job: _QueuedJob, name: str, data: Mapping[str, Any]) -> None:
    """What an event says of a job is so."""
    assert data["device"] == f"job{job.id}"
    assert data["type"] == job.ops[0].input["OP_ID"].removeprefix("OP_").lower()
    assert data["speed"] == fields.speed(job)
    assert 0 <= data["offset"] <= data["len"] != 0
    assert ("error" in data) == (name == "BLOCK_JOB_COMPLETED" and job.CalcStatus() == ERROR)


TestLifecycles = LifecycleMachine.TestCase
TestLifecycles.settings = SETTINGS


def test_every_edge_of_the_table_is_taken() -> None:
    """But for the one from created to null.

    QEMU frees a job there whose creation fails late; ours exists only once all of its submission was checked and is
    durable.
    """
    if not LifecycleMachine.taken:  # this test runs alone
        run_state_machine_as_test(LifecycleMachine, settings=SETTINGS)
    table = {(before, after) for before, states in TRANSITIONS.items() for after in states}
    assert table - LifecycleMachine.taken == {(CREATED, NULL)}
