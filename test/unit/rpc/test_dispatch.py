"""Tests of `jqueue.rpc.dispatch`."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from jqueue.errors import GenericError, JobLost, OpPrereqError, PermissionDenied, ProgrammerError
from jqueue.rpc.dispatch import Dispatcher
from jqueue.rpc.methods import METHODS
from jqueue.rpc.peer import Peer, Role
from jqueue.rpc.session import Session


def session(role: Role | None = Role.ADMIN) -> Session:
    return Session(Peer(10, 1000, 1000), role)


def outcome(calling: Deferred[object]) -> object:
    """The result, or the error."""
    results: list[object] = []
    calling.addCallbacks(results.append, lambda failure: results.append(failure.value))
    (result,) = results
    return result


def test_a_result_comes_back(queue: Any) -> None:
    queue.answers["cancel"] = (True, "done")
    assert outcome(Dispatcher(queue).call("CancelJob", ["7"], session())) == (True, "done")
    assert queue.calls == [("cancel", 7, False, False)]


def test_an_unknown_method_is_refused_with_those_that_look_like_it(queue: Any) -> None:
    error = outcome(Dispatcher(queue).call("CancelJobs", [], session()))
    assert isinstance(error, OpPrereqError)
    assert "there is no method 'CancelJobs'; did you mean CancelJob" in error.text
    assert error.code == "unknown_entity"


def test_an_unknown_method_like_no_other_is_refused_with_all(queue: Any) -> None:
    error = outcome(Dispatcher(queue).call("x" * 10_000, [], session()))
    assert isinstance(error, OpPrereqError)
    assert "there are SubmitJob, SubmitManyJobs" in error.text
    assert len(error.text) < 1000


def test_bad_arguments_never_reach_the_queue(queue: Any) -> None:
    assert isinstance(outcome(Dispatcher(queue).call("CancelJob", ["x"], session())), OpPrereqError)
    assert queue.calls == []


def test_an_error_of_ours_comes_back_as_it_is(queue: Any) -> None:
    lost = JobLost("there is no job 7")
    queue.answers["cancel"] = lost
    assert outcome(Dispatcher(queue).call("CancelJob", [7], session())) is lost
    queue.answers["cancel"] = fail(lost)
    assert outcome(Dispatcher(queue).call("CancelJob", [7], session())) is lost


@pytest.mark.parametrize("failing", [ValueError("secret"), Deferred()])
def test_any_other_failure_is_told_without_details(queue: Any, failing: Any) -> None:
    queue.answers["cancel"] = failing
    calling = Dispatcher(queue).call("CancelJob", [7], session())
    if isinstance(failing, Deferred):
        failing.errback(Failure(ValueError("secret")))
    error = outcome(calling)
    assert isinstance(error, ProgrammerError)
    assert "CancelJob failed inside jqueue" in error.text and "secret" not in error.text


@pytest.mark.parametrize("method", METHODS.values(), ids=str)
@pytest.mark.parametrize("role", [None, *Role])
def test_each_method_needs_its_role(queue: Any, method: Any, role: Role | None) -> None:
    error = outcome(Dispatcher(queue).call(method.name, [None] * 20, session(role)))
    assert isinstance(error, GenericError)
    if role is None or role < method.permission:
        assert isinstance(error, PermissionDenied)
        assert "uid 1000" in error.text and method.name in error.text
    else:
        assert "arguments, got 20" in error.text
