"""Lifecycle events of the whole scheduler in every order of events: each step is legal, and none is left out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule
from twisted.python.failure import Failure

from jqueue.errors import GenericError
from jqueue.jobs.lifecycle import CONCLUDED, TRANSITIONS
from jqueue.sched.lifecycles import Lifecycles

from .rig import Rig
from .test_queue_machine import QueueMachine


class LifecycleMachine(QueueMachine):
    """The machine of the queue, with a listener and the verbs of QMP."""

    def __init__(self) -> None:
        super().__init__()
        self.heard_from: Rig | None = None
        self.listen()

    def listen(self) -> None:
        """Listens anew after a crash."""
        if self.heard_from is self.rig:
            return
        self.heard_from = rig = self.rig
        self.qmp = Lifecycles(rig.queue, rig.clock, rig.wall)
        self.heard: defaultdict[object, list[str]] = defaultdict(list)
        self.qmp.listen(self.hear)

    def hear(self, name: str, data: Mapping[str, object]) -> None:
        if name == "JOB_STATUS_CHANGE":
            self.heard[data["id"]].append(str(data["status"]))

    @precondition(lambda self: self.rig.queue.table.unfinished)
    @rule(data=st.data(), verb=st.sampled_from(["cancel", "cancel", "pause", "resume", "set-speed"]))
    def drive(self, data: st.DataObject, verb: str) -> None:
        job_id = data.draw(st.sampled_from(self.interesting()))
        answers = {
            "cancel": lambda: self.qmp.cancel(job_id, True),
            "pause": lambda: self.qmp.pause(job_id),
            "resume": lambda: self.qmp.resume(job_id),
            "set-speed": lambda: self.qmp.set_speed(job_id, 5),
        }

        def refused(failure: Failure) -> None:
            failure.trap(GenericError)

        answers[verb]().addErrback(refused)

    @invariant()
    def every_step_is_legal(self) -> None:
        self.listen()
        for job, states in self.heard.items():
            for before, after in pairwise(states):
                assert after in TRANSITIONS[before], f"{job}: {states}"

    @invariant()
    def no_step_is_left_out(self) -> None:
        queue = self.rig.queue
        for job, states in self.heard.items():
            job_id = int(str(job).removeprefix("job"))
            if job_id in queue.table.finished:
                assert states[-1] == CONCLUDED, f"{job}: {states}"
            elif (published := queue.table.get(job_id)) is not None:
                assert states[-1] == queue.host.lifecycle(published), f"{job}: {states}"


TestLifecycles = LifecycleMachine.TestCase
TestLifecycles.settings = settings(max_examples=30, stateful_step_count=60, deadline=None, derandomize=True)
