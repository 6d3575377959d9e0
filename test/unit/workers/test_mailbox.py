"""Messages to the reactor thread: their order, how often it is woken, and one that fails."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.logger import capturedLogs

from jqueue.workers.mailbox import Mailbox


class Turns:
    """The reactor: what it was asked to call, one a turn."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []
        self.mailbox = Mailbox(self.calls.append)
        self.came: list[object] = []

    def turn(self) -> None:
        self.calls.pop(0)()

    def post(self, *messages: object) -> None:
        for message in messages:
            self.mailbox.post(self.came.append, message)


@pytest.fixture
def reactor() -> Turns:
    return Turns()


def test_nothing_is_called_before_the_reactor_has_its_turn(reactor: Turns) -> None:
    reactor.post(1)
    assert reactor.came == []
    reactor.turn()
    assert reactor.came == [1]


def test_messages_come_in_the_order_in_which_they_were_posted_with_one_wake_up(reactor: Turns) -> None:
    reactor.post(*range(100))
    assert len(reactor.calls) == 1
    reactor.turn()
    assert reactor.came == list(range(100))
    assert reactor.calls == []


def test_a_message_is_called_with_all_its_arguments(reactor: Turns) -> None:
    reactor.mailbox.post(lambda *arguments: reactor.came.extend(arguments), 1, "two", None)
    reactor.turn()
    assert reactor.came == [1, "two", None]


def test_the_reactor_is_woken_again_for_what_comes_later(reactor: Turns) -> None:
    for message in (1, 2):
        reactor.post(message)
        reactor.turn()
    assert reactor.came == [1, 2]


def test_many_messages_are_handled_over_several_turns_so_that_the_reactor_can_do_other_things(reactor: Turns) -> None:
    reactor.post(*range(1000))
    turns = 0
    while reactor.calls:
        assert len(reactor.calls) == 1
        reactor.turn()
        turns += 1
    assert reactor.came == list(range(1000))
    assert turns > 1


def test_a_message_that_is_posted_by_another_is_not_left_behind(reactor: Turns) -> None:
    reactor.mailbox.post(lambda: reactor.post("second"))
    reactor.post("first")
    while reactor.calls:
        reactor.turn()
    assert reactor.came == ["first", "second"]


def test_messages_that_post_each_other_for_ever_leave_the_reactor_its_turn(reactor: Turns) -> None:
    def again() -> None:
        reactor.mailbox.post(again)

    again()
    reactor.turn()
    assert len(reactor.calls) == 1


def test_a_message_that_fails_is_logged_and_those_behind_it_still_come(reactor: Turns) -> None:
    reactor.post("before")
    reactor.mailbox.post(lambda: 1 // 0)
    reactor.post("behind")
    with capturedLogs() as events:
        reactor.turn()
    assert reactor.came == ["before", "behind"]
    assert [event["log_failure"].type for event in events] == [ZeroDivisionError]
    reactor.post("later")
    reactor.turn()
    assert reactor.came == ["before", "behind", "later"]
