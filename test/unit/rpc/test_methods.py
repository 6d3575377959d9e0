"""Tests of `jqueue.rpc.methods`: each call as a client makes it, and what reaches the queue."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from jqueue.errors import JobQueueDrainError, OpPrereqError, PermissionDenied
from jqueue.rpc.dispatch import Dispatcher
from jqueue.rpc.methods import METHODS
from jqueue.rpc.peer import Peer, Role
from jqueue.rpc.session import Session

OPS = [{"OP_ID": "OP_TEST_DELAY"}]


class Caller:
    """Calls methods as an operator, or as somebody else."""

    def __init__(self, queue: Any, role: Role = Role.OPERATOR) -> None:
        self.told: list[tuple[str, list[Any]]] = []
        self.session = Session(Peer(10, 1000, 1000), role, lambda name, arguments: self.told.append((name, arguments)))
        self._dispatcher = Dispatcher(queue)

    def start(self, method: str, *arguments: object) -> Deferred[object]:
        return self._dispatcher.call(method, arguments, self.session)

    def __call__(self, method: str, *arguments: object) -> object:
        results: list[object] = []
        errors: list[BaseException] = []
        self.start(method, *arguments).addCallbacks(results.append, lambda failure: errors.append(failure.value))
        if errors:
            raise errors[0]
        return results[0]


@pytest.fixture
def call(queue: Any) -> Caller:
    return Caller(queue)


@pytest.mark.parametrize(
    ("method", "arguments", "reaches"),
    [
        ("QueryJobs", (None, ["id"]), ("query_jobs", None, ["id"], None)),
        ("QueryJobs", ([], ["id"], ["?", "id"]), ("query_jobs", None, ["id"], ["?", "id"])),
        ("QueryJobs", ([1, "2"], ["id"]), ("query_jobs", [1, 2], ["id"], None)),
        ("CancelJob", (1,), ("cancel", 1, False, False)),
        ("CancelJob", (1, True, True), ("cancel", 1, True, True)),
        ("CancelJob", (1, None, True), ("cancel", 1, False, True)),
        ("PauseJob", ("7",), ("pause", 7)),
        ("ResumeJob", (7,), ("resume", 7)),
        ("SetJobSpeed", ("7", 65536), ("set_speed", 7, 65536)),
        ("SetJobSpeed", (7, 0), ("set_speed", 7, 0)),
        ("CompleteJob", ("7",), ("complete", 7)),
        ("FinalizeJob", ("7",), ("finalize", 7)),
        ("ChangeJobPriority", (1, -10), ("change_priority", 1, -10, False)),
        ("ArchiveJob", (1,), ("archive", 1)),
        ("AutoArchiveJobs", (-1, 89), ("auto_archive", -1, 89)),
        ("RetryJob", ("1",), ("retry", 1, False, 1000)),
        ("RetryJob", (1, True), ("retry", 1, True, 1000)),
        ("QueryJobLog", (1,), ("job_log", 1, 0, 1000)),
        ("QueryJobLog", (1, 5, 10**6), ("job_log", 1, 5, 1000)),
        ("QueryJobLog", (1, -1, 7), ("job_log", 1, -1, 7)),
        ("ExplainJob", (1,), ("explain", 1)),
        ("QueryLocks", (), ("query_locks",)),
        ("QueryWorkers", (), ("query_workers",)),
        ("QueryStatus", (), ("query_status",)),
    ],
)
def test_a_call_reaches_the_queue(
    queue: Any, call: Caller, method: str, arguments: tuple[object, ...], reaches: tuple[object, ...]
) -> None:
    queue.answers[reaches[0]] = "the answer"
    assert call(method, *arguments) == "the answer"
    assert queue.calls == [reaches]


def test_one_job_is_submitted_and_its_id_comes_back(queue: Any, call: Caller) -> None:
    queue.answers["submit"] = [42]
    assert call("SubmitJob", OPS, {"name": "backup", "request_id": "r1"}) == 42
    assert queue.calls == [("submit", [OPS], {"name": "backup", "request_id": "r1"}, 1000, False)]


def test_a_fault_of_the_only_job_is_an_error(queue: Any, call: Caller) -> None:
    queue.answers["submit"] = [OpPrereqError("ops[0].depends: there is no job 9")]
    with pytest.raises(OpPrereqError, match="there is no job 9"):
        call("SubmitJob", OPS)


def test_of_many_jobs_each_has_its_result(queue: Any, call: Caller) -> None:
    queue.answers["submit"] = [42, OpPrereqError("there is no job 9")]
    assert call("SubmitManyJobs", [OPS, {"ops": OPS}], {"group": True}) == [(True, 42), (False, "there is no job 9")]
    assert queue.calls == [("submit", [OPS, {"ops": OPS}], {"group": True}, 1000, False)]


def test_a_refused_submission_is_an_error(queue: Any, call: Caller) -> None:
    queue.answers["submit"] = JobQueueDrainError("drained for the disk swap")
    with pytest.raises(JobQueueDrainError, match="disk swap"):
        call("SubmitManyJobs", [OPS])


@pytest.mark.parametrize(
    ("method", "arguments", "text"),
    [
        ("SubmitJob", (OPS, {"nmae": "x"}), "SubmitJob: options.nmae: unknown; known are name"),
        ("SubmitJob", (OPS, {"group": True}), "SubmitJob: options.group: unknown"),
        ("SubmitJob", (OPS, {"auto_finalize": 1}), "options.auto_finalize: true or false expected, got 1"),
        ("SubmitJob", ("x",), "SubmitJob: ops: list of opcodes, or map with the key ops expected"),
        ("SubmitManyJobs", ([5],), "SubmitManyJobs: jobs[0]: list of opcodes"),
        ("SubmitManyJobs", (OPS, {"group": 5}), "options.group: true or false or text or null expected, got 5"),
        ("QueryJobs", (None, ["id", 5]), "QueryJobs: fields[1]: text expected, got 5"),
        ("ChangeJobPriority", (1, True), "ChangeJobPriority: priority: whole number expected, got true"),
        ("SetJobSpeed", (1, -1), "SetJobSpeed: speed: whole number from 0 expected, got -1"),
        ("SetJobSpeed", (1, 1.5), "SetJobSpeed: speed: whole number expected, got 1.5"),
        ("SetJobSpeed", (1, 2**63), "SetJobSpeed: speed: the number does not fit in 64 bits"),
        ("SetJobSpeed", (1,), "SetJobSpeed(id, speed) takes 2 arguments, got 1"),
        ("CancelJob", (1, False, 1), "CancelJob: soft: true or false expected, got 1"),
        ("QueryJobLog", (1, 0, 0), "QueryJobLog: limit: whole number from 1 expected, got 0"),
        ("WaitForJobChange", (1, [], None, None, "x"), 'timeout: number expected, got "x"'),
        ("Subscribe", ({"jobs": ["x"]},), "Subscribe: options.jobs[0]: job id expected"),
        ("Subscribe", ({"logs": True},), "Subscribe: options.logs: unknown"),
        ("Subscribe", ({"lifecycle": 1},), "Subscribe: options.lifecycle: true or false expected, got 1"),
        ("QueryFields", ("node",), "there is nothing called 'node' to query; it is 'job' or 'lock'"),
    ],
)
def test_bad_arguments_are_refused_with_their_place(
    queue: Any, call: Caller, method: str, arguments: tuple[object, ...], text: str
) -> None:
    with pytest.raises(OpPrereqError) as caught:
        call(method, *arguments)
    assert text in caught.value.text
    assert queue.calls == []


def test_who_asks_is_told_whom_the_daemon_takes_them_for(queue: Any) -> None:
    assert Caller(queue, Role.ADMIN)("WhoAmI") == {"uid": 1000, "pid": 10, "role": "admin"}


def test_an_administrator_is_known_as_one(queue: Any) -> None:
    admin = Caller(queue, Role.ADMIN)
    queue.answers["submit"] = [1]
    admin("SubmitJob", OPS)
    admin("ChangeJobPriority", 1, 19)
    assert [reached[-1] for reached in queue.calls] == [True, True]


@pytest.mark.parametrize(
    ("arguments", "reason"), [((True, "disk swap"), "disk swap"), ((True,), ""), ((False,), None), ((False, "x"), None)]
)
def test_draining_has_a_reason_and_opening_has_none(
    queue: Any, arguments: tuple[object, ...], reason: str | None
) -> None:
    Caller(queue, Role.ADMIN)("SetDrainFlag", *arguments)
    assert queue.calls == [("set_drain", reason)]


def test_a_waiter_is_told_when_its_client_is_gone(queue: Any, call: Caller) -> None:
    queue.answers["wait_for_change"] = Deferred()
    call.start("WaitForJobChange", 1, ["status"], None, None, 60)
    *reached, gone = queue.calls[0]
    assert reached == ["wait_for_change", 1, ["status"], None, None, 60]
    told: list[None] = []
    gone.addCallback(told.append)
    call.session.close()
    assert told == [None]


def test_a_waiter_that_has_its_answer_is_not_told(queue: Any, call: Caller) -> None:
    queue.answers["wait_for_change"] = [["success"], []]
    assert call("WaitForJobChange", 1, ["status"]) == [["success"], []]
    call.session.close()
    assert not queue.calls[0][-1].called


def test_events_are_told_until_the_client_is_gone(queue: Any, call: Caller) -> None:
    assert call("Subscribe", {"jobs": [1, "2"], "log": True}) is True
    assert queue.calls == [("subscribe", {1, 2}, True, True, False)]
    queue.listeners[0]("JobLog", [1, []])
    assert call.told == [("JobLog", [1, []])]
    call.session.close()
    assert queue.listeners == []


def test_each_step_in_qemus_words_is_told_to_those_who_ask_for_it(queue: Any, call: Caller) -> None:
    call("Subscribe", {"lifecycle": True})
    assert queue.calls == [("subscribe", None, True, False, True)]
    event = {"event": "JOB_STATUS_CHANGE", "data": {"id": "job7", "status": "ready"}, "id": 7}
    queue.listeners[0]("JobLifecycle", [event])
    assert call.told == [("JobLifecycle", [event])]


@pytest.mark.parametrize("method", ["CancelJob", "PauseJob", "ResumeJob", "SetJobSpeed", "CompleteJob", "FinalizeJob"])
def test_the_answer_to_a_verb_says_whether_it_was_noted_and_is_for_operators(
    queue: Any, call: Caller, method: str
) -> None:
    answer = (False, "Job in state 'running' cannot accept command verb 'complete'")
    for name in ("cancel", "pause", "resume", "set_speed", "complete", "finalize"):
        queue.answers[name] = answer
    arguments = (7, 1) if method == "SetJobSpeed" else (7,)
    assert call(method, *arguments) == answer
    assert "noted" in METHODS[method].result
    with pytest.raises(PermissionDenied, match="operator"):
        Caller(queue, Role.READER)(method, *arguments)


def test_a_second_subscription_replaces_the_first(queue: Any, call: Caller) -> None:
    call("Subscribe")
    call("Subscribe", {"jobs": None, "changes": False})
    assert queue.calls == [("subscribe", None, True, False, False), ("subscribe", None, False, False, False)]
    assert len(queue.listeners) == 1
    assert call("Unsubscribe") is True
    assert queue.listeners == []


def test_a_protocol_without_notifications_has_no_subscription(queue: Any, call: Caller) -> None:
    call.session.notify = None
    with pytest.raises(OpPrereqError, match="use WaitForJobChange"):
        call("Subscribe")


def test_every_method_and_parameter_says_what_it_is() -> None:
    for method in METHODS.values():
        assert method.doc.endswith(".") and method.result
        assert all(parameter.doc for parameter in method.parameters)


def test_only_trailing_parameters_may_be_left_out() -> None:
    for method in METHODS.values():
        required = [parameter.required for parameter in method.parameters]
        if method.name != "QueryJobs":  # as in Ganeti, null comes first
            assert required == sorted(required, reverse=True), method
