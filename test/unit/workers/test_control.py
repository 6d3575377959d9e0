from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable

import pytest

from jqueue.workers.control import CANCEL, SHUTDOWN, TIMEOUT, Control


class Parked:
    """Stands for the reactor: acts when the code parks, on the thread that does, so that no test needs a second one."""

    def __init__(self) -> None:
        self.times = 0
        self.control = Control(self.parked, lambda: None)

    def parked(self) -> None:
        self.times += 1
        self.when_parked()

    def when_parked(self) -> None:
        self.control.pause(False)
        self.control.go_on()


class PausedAgain(Parked):
    def when_parked(self) -> None:
        self.control.pause(self.times == 1)
        self.control.go_on()


class Stopped(Parked):
    def when_parked(self) -> None:
        self.control.stop(CANCEL)


def test_code_that_is_not_paused_does_not_park() -> None:
    parked = Parked()
    parked.control.wait_pause()
    assert parked.times == 0


def test_code_that_is_paused_parks_until_it_may_go_on() -> None:
    parked = Parked()
    parked.control.pause(True)
    parked.control.wait_pause()
    assert parked.times == 1


def test_a_pause_before_the_code_has_noticed_the_end_of_the_last_one_parks_it_again() -> None:
    parked = PausedAgain()
    parked.control.pause(True)
    parked.control.wait_pause()
    assert parked.times == 2


def test_what_was_asked_of_code_that_has_ended_can_be_taken_back_but_for_the_end_of_the_daemon() -> None:
    control = Parked().control
    control.pause(True)
    control.stop(CANCEL, kill=True)
    control.forget()
    assert (control.paused, control.stop_requested, control.kill_now) == (False, False, False)
    control.stop(SHUTDOWN, kill=True)
    control.forget()
    assert (control.stop_reason, control.kill_now) == (SHUTDOWN, True)


def test_a_stop_ends_a_pause() -> None:
    parked = Stopped()
    parked.control.pause(True)
    parked.control.wait_pause()
    assert (parked.times, parked.control.paused, parked.control.stop_requested) == (1, True, True)


def test_the_first_reason_to_stop_stays_and_a_kill_may_follow() -> None:
    control = Parked().control
    control.stop(TIMEOUT)
    control.stop(CANCEL, kill=True)
    assert (control.stop_reason, control.kill_now) == (TIMEOUT, True)


def test_a_request_makes_the_descriptor_readable_until_it_is_cleared() -> None:
    control = Parked().control
    asked = []
    for act in (control.fileno, lambda: control.pause(True), control.clear, control.clear):
        act()
        asked.append(bool(select.select([control], [], [], 0)[0]))
    control.close()
    assert asked == [False, True, False, False]


def test_code_that_is_to_stop_neither_parks_nor_sleeps() -> None:
    parked = Parked()
    parked.control.stop(CANCEL)
    parked.control.pause(True)
    parked.control.wait_pause()
    parked.control.sleep(1e6)
    assert parked.times == 0


def test_code_that_is_to_pause_does_not_sleep_before() -> None:
    control = Parked().control
    control.pause(True)
    control.sleep(1e6)
    assert control.paused


@pytest.mark.parametrize(
    "ask",
    (
        lambda control: control.stop(CANCEL),
        lambda control: control.pause(True),
        lambda control: control.set_speed(20),
        lambda control: control.go_on(),
    ),
)
def test_whatever_is_asked_ends_a_sleep(ask: Callable[[Control], None], monkeypatch: pytest.MonkeyPatch) -> None:
    woken: list[bool] = []

    class Sleeping(threading.Condition):
        def wait(self, timeout: float | None = None) -> bool:
            ask(control)
            return True

        def notify_all(self) -> None:
            woken.append(True)

    monkeypatch.setattr(threading, "Condition", Sleeping)
    control = Parked().control
    control.set_speed(10)
    control.sleep(1e6)
    assert woken == [True]


@pytest.mark.parametrize(("speeds", "wakes"), [((10, 20), 1), ((10, 0), 1), ((10, 5), 0), ((10, 10), 0), ((0, 10), 0)])
def test_only_a_limit_that_is_raised_or_removed_ends_a_rest(
    speeds: tuple[int, int], wakes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[bool] = []
    monkeypatch.setattr(threading.Condition, "notify_all", lambda _self: woken.append(True))
    control = Parked().control
    control.set_speed(speeds[0])
    control.set_speed(speeds[1])
    assert control.speed == speeds[1]
    assert len(woken) == wakes


def test_a_slot_that_comes_before_the_resume_does_not_let_paused_code_go_on() -> None:
    class SlotFirst(Parked):
        def when_parked(self) -> None:
            self.control.go_on()
            if self.times == 3:
                self.control.pause(False)

    parked = SlotFirst()
    parked.control.pause(True)
    parked.control.wait_pause()
    assert parked.times == 3


def test_the_descriptor_can_be_given_back_early_and_twice() -> None:
    control = Parked().control
    control.close()
    descriptor = control.fileno()
    control.close()
    control.close()
    control.stop(CANCEL)
    control.clear()
    assert control.stop_requested
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
