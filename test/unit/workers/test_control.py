from __future__ import annotations

import select

from jqueue.workers.control import CANCEL, TIMEOUT, Control


class Parked:
    """Stands for the reactor: acts when the code parks, on the thread that does, so that no test needs a second one."""

    def __init__(self) -> None:
        self.times = 0
        self.control = Control(self.parked)

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
