"""Tests of `jqueue.turns`."""

from __future__ import annotations

from collections.abc import Iterator

from twisted.internet.task import Clock

from jqueue.turns import SLICE, Turns


class Worker:
    """Takes the same time for each of its steps."""

    def __init__(self, clock: Clock, name: str, trace: list[str], step: float = 0.0) -> None:
        self._clock = clock
        self._name = name
        self._trace = trace
        self._step = step

    def steps(self, count: int) -> Iterator[None]:
        for _ in range(count):
            self._clock.rightNow += self._step
            self._trace.append(self._name)
            yield


def next_turn(clock: Clock) -> None:
    """Makes the calls that are due, but not those that they ask for."""
    for call in list(clock.calls):
        function = call.func
        call.cancel()
        function()


def test_little_work_is_done_at_once() -> None:
    clock, trace = Clock(), list[str]()
    Turns(clock).add(Worker(clock, "a", trace).steps(3))
    assert trace == ["a"] * 3


def test_a_turn_has_a_bounded_time_and_the_rest_comes_in_the_next() -> None:
    clock, trace = Clock(), list[str]()
    Turns(clock).add(Worker(clock, "a", trace, SLICE / 4).steps(10))
    assert len(trace) == 4
    next_turn(clock)
    assert len(trace) == 8
    next_turn(clock)
    assert len(trace) == 10


def test_work_is_done_in_rotation() -> None:
    clock, trace = Clock(), list[str]()
    turns = Turns(clock)
    for name in "abc":
        turns.add(Worker(clock, name, trace, SLICE).steps(3))
    del trace[:]
    for _ in range(6):
        next_turn(clock)
    assert trace == list("abcabc")


def test_the_first_step_of_a_newcomer_does_not_wait_for_the_others() -> None:
    clock, trace = Clock(), list[str]()
    turns = Turns(clock)
    turns.add(Worker(clock, "a", trace, SLICE).steps(100))
    turns.add(Worker(clock, "b", trace, SLICE).steps(1))
    assert trace == ["a", "b"]


def test_work_added_by_a_step_runs_after_it_and_not_inside() -> None:
    clock, trace = Clock(), list[str]()
    turns = Turns(clock)

    def outer() -> Iterator[None]:
        turns.add(Worker(clock, "inner", trace).steps(1))
        trace.append("outer")
        yield

    turns.add(outer())
    assert trace == ["outer", "inner"]


def test_work_that_fails_is_given_up_and_the_others_go_on() -> None:
    clock, trace = Clock(), list[str]()
    turns = Turns(clock)

    def broken() -> Iterator[None]:
        yield
        raise ValueError("a bug, for the test")

    turns.add(broken())
    turns.add(Worker(clock, "a", trace).steps(2))
    assert trace == ["a", "a"]


def test_without_work_the_reactor_is_left_in_peace() -> None:
    clock, trace = Clock(), list[str]()
    Turns(clock).add(Worker(clock, "a", trace).steps(1))
    next_turn(clock)
    assert clock.getDelayedCalls() == []
