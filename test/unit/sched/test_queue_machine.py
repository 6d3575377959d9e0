"""The whole scheduler in every order of events that Hypothesis can think of, crashes among them."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from jqueue.errors import DiskFull
from jqueue.jobs.lifecycle import PENDING, READY, STANDBY

from .queue_machine import QueueMachine

pytestmark = pytest.mark.timeout(900)  # the walks are long; how long depends on the machine


class DrivenMachine(QueueMachine):
    """The machine of the queue, and users who ask for verbs by our own protocol."""

    def verb(
        self, answer: Deferred[tuple[bool, str]], job_id: int, *, cancels: bool = False, soft: bool = False
    ) -> None:
        rig = self.rig

        def answered(result: tuple[bool, str] | Failure) -> None:
            if isinstance(result, Failure):
                result.trap(DiskFull)
            elif result[0] and cancels and rig is self.rig:
                self.promise(job_id, soft)

        answer.addBoth(answered)

    @precondition(lambda self: self.rig.queue.table.unfinished)
    @rule(data=st.data(), soft=st.booleans())
    def cancel(self, data: st.DataObject, soft: bool) -> None:
        job_id = data.draw(st.sampled_from(self.interesting()))
        self.verb(self.rig.queue.cancel(job_id, False, soft), job_id, cancels=True, soft=soft)

    @precondition(lambda self: self.rig.queue.table.unfinished)
    @rule(data=st.data(), resume=st.sampled_from([False, False, True]))
    def pause(self, data: st.DataObject, resume: bool) -> None:
        job_id = data.draw(st.sampled_from(self.interesting()))
        self.verb(self.rig.queue.resume(job_id) if resume else self.rig.queue.pause(job_id), job_id)

    @precondition(lambda self: self.rig.queue.table.unfinished)
    @rule(data=st.data(), speed=st.sampled_from([0, 5]))
    def set_speed(self, data: st.DataObject, speed: int) -> None:
        job_id = data.draw(st.sampled_from(self.interesting()))
        self.verb(self.rig.queue.set_speed(job_id, speed), job_id)

    @precondition(lambda self: self.rig.queue.table.unfinished)
    @rule(data=st.data())
    def complete(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(self.in_states(READY, STANDBY) or self.unfinished()))
        self.verb(self.rig.queue.complete(job_id), job_id)

    @precondition(lambda self: self.rig.queue.table.unfinished)
    @rule(data=st.data())
    def finalize(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(self.in_states(PENDING) or self.unfinished()))
        self.verb(self.rig.queue.finalize(job_id), job_id)


TestQueueMachine = DrivenMachine.TestCase
TestQueueMachine.settings = settings(max_examples=100, stateful_step_count=60, deadline=None, derandomize=True)
