"""The table of commands: what each asks of the queue, and the answers to what is wrong, letter for letter."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from jqueue.errors import JobLost, OpPrereqError
from jqueue.rpc.qmp.commands import COMMANDS

from .conftest import NOBODY, OPERATOR, READER, Server

JOB: dict[str, Any] = {
    "id": 42,
    "type": "run_command",
    "status": "running",
    "current-progress": 3,
    "total-progress": 10,
    "speed": 65536,
    "paused": False,
    "busy": True,
    "ready": False,
    "auto-finalize": True,
    "auto-dismiss": False,
    "name": None,
    "priority": 0,
    "opstatus": ["running"],
}
VERBS: dict[str, tuple[dict[str, Any], tuple[Any, ...]]] = {
    "job-pause": ({"id": "job42"}, ("pause", 42)),
    "job-resume": ({"id": "job42"}, ("resume", 42)),
    "job-cancel": ({"id": "job42"}, ("cancel", 42, True)),
    "job-complete": ({"id": "job42"}, ("complete", 42)),
    "job-finalize": ({"id": "job42"}, ("finalize", 42)),
    "job-dismiss": ({"id": "job42"}, ("dismiss", 42)),
    "block-job-pause": ({"device": "job42"}, ("pause", 42)),
    "block-job-resume": ({"device": "job42"}, ("resume", 42)),
    "block-job-cancel": ({"device": "job42"}, ("cancel", 42, False)),
    "block-job-complete": ({"device": "job42"}, ("complete", 42)),
    "block-job-finalize": ({"id": "job42"}, ("finalize", 42)),
    "block-job-dismiss": ({"id": "job42"}, ("dismiss", 42)),
    "block-job-set-speed": ({"device": "job42", "speed": 65536}, ("set_speed", 42, 65536)),
}


@pytest.mark.parametrize("command", VERBS)
def test_each_verb_reaches_the_queue(server: Server, command: str) -> None:
    arguments, call = VERBS[command]
    assert server.session(OPERATOR).ask(command, **arguments) == {"return": {}}
    assert server.queue.calls == [call]


@pytest.mark.parametrize("force", [True, False])
def test_block_job_cancel_may_be_forced(server: Server, force: bool) -> None:
    assert server.session().ask("block-job-cancel", device="job42", force=force) == {"return": {}}
    assert server.queue.calls == [("cancel", 42, force)]


@pytest.mark.parametrize("late", [True, False])
@pytest.mark.parametrize("command", VERBS)
def test_a_job_that_is_gone_is_not_found(server: Server, command: str, late: bool) -> None:
    arguments, (verb, *_) = VERBS[command]
    answer: Deferred[None] = Deferred()
    server.queue.answers[verb] = answer if late else JobLost()
    client = server.session()
    client.send({"execute": command, "arguments": arguments})
    if late:
        answer.errback(Failure(JobLost()))
    (reply,) = client.take()
    assert reply == {"error": NOT_FOUND[command.startswith("block-")]}


NOT_FOUND = {
    False: {"class": "GenericError", "desc": "Job not found"},
    True: {"class": "DeviceNotActive", "desc": "Block job 'job42' not found"},
}


@pytest.mark.parametrize(
    "name", ["", "42", "job", "job0", "job042", "JOB42", "job42 ", "job-1", "job\u0662", "job" + "9" * 19]
)
def test_what_is_no_id_of_ours_is_not_found(server: Server, name: str) -> None:
    client = server.session()
    assert client.refused("job-pause", id=name) == ("GenericError", "Job not found")
    assert client.refused("block-job-pause", device=name) == ("DeviceNotActive", f"Block job '{name}' not found")
    assert server.queue.calls == []


def test_the_queue_says_in_its_own_words_why_not(server: Server) -> None:
    text = "Job 'job42' in state 'pending' cannot accept command verb 'pause'"
    server.queue.answers["pause"] = OpPrereqError(text)
    assert server.session().refused("job-pause", id="job42") == ("GenericError", text)


@pytest.mark.parametrize(
    "command, arguments, text",
    [
        ("job-pause", {}, "Parameter 'id' is missing"),
        ("job-pause", {"ID": "x"}, "Parameter 'id' is missing"),
        ("job-pause", {"id": 5}, "Invalid parameter type for 'id', expected: string"),
        ("job-pause", {"id": None}, "Invalid parameter type for 'id', expected: string"),
        ("job-pause", {"id": "x", "extra": 1}, "Parameter 'extra' is unexpected"),
        ("query-jobs", {"foo": 1}, "Parameter 'foo' is unexpected"),
        ("block-job-set-speed", {"device": "nosuch"}, "Parameter 'speed' is missing"),
        ("block-job-set-speed", {"speed": "1"}, "Parameter 'device' is missing"),
        ("block-job-set-speed", {"device": "x", "speed": "1"}, "Invalid parameter type for 'speed', expected: integer"),
        ("block-job-set-speed", {"device": "x", "speed": 1.5}, "Invalid parameter type for 'speed', expected: integer"),
        (
            "block-job-set-speed",
            {"device": "x", "speed": 2**70},
            "Invalid parameter type for 'speed', expected: integer",
        ),
        (
            "block-job-set-speed",
            {"device": "x", "speed": True},
            "Invalid parameter type for 'speed', expected: integer",
        ),
        ("block-job-cancel", {"device": "x", "force": 1}, "Invalid parameter type for 'force', expected: boolean"),
        ("block-job-cancel", {"device": "x", "force": None}, "Invalid parameter type for 'force', expected: boolean"),
        ("qmp_capabilities", {"enable": "oob"}, "Invalid parameter type for 'enable', expected: array"),
        ("qmp_capabilities", {"enable": [5]}, "Invalid parameter type for 'enable[0]', expected: string"),
        ("qmp_capabilities", {"enable": ["bogus"]}, "Parameter 'null' does not accept value 'bogus'"),
        ("__org.jqueue_submit", {}, "Parameter 'ops' is missing"),
        ("__org.jqueue_submit", {"ops": {}}, "Invalid parameter type for 'ops', expected: array"),
        (
            "__org.jqueue_submit-many",
            {"jobs": [[], 5]},
            "Invalid parameter type for 'jobs[1]', expected: array or object",
        ),
    ],
)
def test_a_wrong_argument_is_told_as_qemu_does(
    server: Server, command: str, arguments: dict[str, Any], text: str
) -> None:
    client = server.session()
    client.send({"execute": command, "arguments": arguments})
    assert client.take() == [{"error": {"class": "GenericError", "desc": text}}]
    assert server.queue.calls == []


@pytest.mark.parametrize("name", ["no-such-command", "JOB-PAUSE", "job_pause", "", "query-status"])
def test_an_unknown_command_is_told(server: Server, name: str) -> None:
    answer = ("CommandNotFound", f"The command {name} has not been found")
    assert server.session().refused(name, id="x") == answer


def test_no_command_runs_out_of_band(server: Server) -> None:
    client = server.connect()
    assert client.ask("qmp_capabilities", enable=["oob"]) == {"return": {}}
    client.send({"exec-oob": "query-jobs", "id": 9}, {"exec-oob": "nope"})
    assert client.take() == [
        {"id": 9, "error": {"class": "GenericError", "desc": "The command query-jobs does not support OOB"}},
        {"error": {"class": "CommandNotFound", "desc": "The command nope has not been found"}},
    ]


def test_query_jobs_describes_each_job(server: Server) -> None:
    server.queue.answers["job_infos"] = [{**JOB, "name": "nightly"}, {**JOB, "id": 7, "error": "no space"}]
    common = {"type": "run_command", "status": "running", "current-progress": 3, "total-progress": 10}
    ours = {"priority": 0, "opstatus": ["running"]}
    assert server.session(READER).ask("query-jobs")["return"] == [
        {"id": "job42", **common, **ours, "name": "nightly"},
        {"id": "job7", **common, **ours, "error": "no space"},
    ]


def test_query_block_jobs_has_the_members_of_qemu(server: Server) -> None:
    server.queue.answers["job_infos"] = [JOB]
    assert server.session(READER).ask("query-block-jobs")["return"] == [
        {
            "device": "job42",
            "type": "run_command",
            "status": "running",
            "len": 10,
            "offset": 3,
            "busy": True,
            "paused": False,
            "ready": False,
            "speed": 65536,
            "io-status": "ok",
            "auto-finalize": True,
            "auto-dismiss": False,
            "priority": 0,
            "opstatus": ["running"],
        }
    ]


def test_the_commands_and_the_version_can_be_asked_for(server: Server) -> None:
    client = server.session(READER)
    assert client.ask("query-commands")["return"] == [{"name": name} for name in COMMANDS]
    assert {"name": "job-cancel"} in client.ask("query-commands")["return"]
    assert list(client.ask("query-version")["return"]["qemu"]) == ["micro", "minor", "major"]


def test_submit_gives_the_id(server: Server) -> None:
    server.queue.answers["submit"] = [42]
    ops = [{"OP_ID": "OP_TEST_DELAY", "duration": 1}]
    options = {"name": "n", "auto_finalize": False, "auto_dismiss": True, "request_id": "r"}
    client = server.session(OPERATOR)
    assert client.ask("__org.jqueue_submit", ops=ops, **options) == {"return": {"id": "job42"}}
    assert client.ask("__org.jqueue_submit", ops=ops) == {"return": {"id": "job42"}}
    assert server.queue.calls == [("submit", [ops], options, 5000, False), ("submit", [ops], {}, 5000, False)]


def test_submit_says_what_is_wrong(server: Server) -> None:
    client = server.session()
    server.queue.answers["submit"] = [OpPrereqError("job 7 cannot be met")]
    assert client.refused("__org.jqueue_submit", ops=[]) == ("GenericError", "job 7 cannot be met")
    server.queue.answers["submit"] = OpPrereqError("ops: at least one")
    assert client.refused("__org.jqueue_submit", ops=[]) == ("GenericError", "ops: at least one")


def test_submit_many_gives_the_ids_and_what_is_wrong_with_one(server: Server) -> None:
    server.queue.answers["submit"] = [42, OpPrereqError("job 7 cannot be met"), 43]
    jobs = [[], {"ops": []}, []]
    answer = server.session().ask("__org.jqueue_submit-many", jobs=jobs, group=True)
    assert answer == {"return": {"ids": ["job42", {"error": "job 7 cannot be met"}, "job43"]}}
    assert server.queue.calls == [("submit", jobs, {"group": True}, 0, True)]


def test_a_role_allows_what_it_says_and_no_more(server: Server) -> None:
    reader, operator = server.session(READER), server.session(OPERATOR)
    assert "needs the role operator, the user with uid 6000 has reader" in reader.refused("job-pause", id="x")[1]
    assert "needs the role admin, the user with uid 5000 has operator" in operator.refused("quit")[1]
    assert server.queue.calls == []
    # It was no quit, so all goes on.
    assert reader.ask("query-jobs") == {"return": []}


def test_who_has_no_role_is_told_so(server: Server) -> None:
    error_class, text = server.connect(NOBODY).refused("qmp_capabilities")
    assert error_class == "GenericError"
    assert "the user with uid 7000 has no role in this queue" in text


@pytest.mark.parametrize("late", [True, False])
def test_a_bug_in_a_command_costs_only_that_command(server: Server, late: bool) -> None:
    answer: Deferred[None] = Deferred()
    server.queue.answers["pause"] = answer if late else ValueError("a bug, for the test")
    client = server.session()
    client.send({"execute": "job-pause", "arguments": {"id": "job1"}, "id": 1}, {"execute": "query-jobs", "id": 2})
    if late:
        answer.errback(Failure(ValueError("a bug, for the test")))
    first, second = client.take()
    assert "job-pause failed inside jqueue" in first["error"]["desc"]
    assert second == {"return": [], "id": 2}
