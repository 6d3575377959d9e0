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


# Code that has converged


class Waiting(threading.Condition):
    """Stands for the reactor: acts when the code waits, on the thread that does."""

    def __init__(self, act: Callable[[float | None], None]) -> None:
        super().__init__()
        self._act = act

    def wait(self, timeout: float | None = None) -> bool:
        self._act(timeout)
        return True


class Ready:
    """Code that has converged, and what was seen of it."""

    def __init__(self, act: Callable[[float | None], None] | None = None) -> None:
        self.seen: list[object] = []
        self.control = Control(self.parked, lambda: self.seen.append("converged"))
        self.control._changed = Waiting(act or self.seen.append)

    def parked(self) -> None:
        self.seen.append("parked")
        self.control.pause(False)
        self.control.go_on()


def test_that_code_has_converged_is_told_once_however_often_it_keeps_up() -> None:
    ready = Ready()
    assert [ready.control.wait_told(0, None), ready.control.wait_told(0, None)] == [None, None]
    assert ready.seen == ["converged"]


@pytest.mark.parametrize("how", ["complete", "leave"])
def test_converged_code_waits_until_it_is_told_how_to_end(how: str) -> None:
    ready = Ready(lambda _timeout: ready.control.complete(how))
    assert ready.control.wait_told(None, None) == how


def test_what_it_was_told_while_it_kept_up_it_hears_at_its_next_call() -> None:
    ready = Ready()
    ready.control.wait_told(0, None)
    ready.control.complete("complete")
    assert ready.control.wait_told(None, None) == "complete"
    assert ready.seen == ["converged"]


def test_it_gives_up_after_the_seconds_it_was_given_also_if_it_is_woken_in_vain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    waited: list[float | None] = []
    monkeypatch.setattr("time.monotonic", lambda: now)

    def pass_time(timeout: float | None) -> None:
        nonlocal now
        waited.append(timeout)
        now += 2

    assert Ready(pass_time).control.wait_told(5.0, None) is None
    assert waited == [5.0, 3.0, 1.0]


def test_a_pause_parks_converged_code_and_it_waits_on_when_it_goes_on() -> None:
    def tell(_timeout: float | None) -> None:
        ready.seen.append("waits")
        ready.control.complete("complete")

    ready = Ready(tell)
    ready.control.pause(True)
    assert ready.control.wait_told(None, None) == "complete"
    assert ready.seen == ["converged", "parked", "waits"]


def test_a_pause_reaches_code_that_waits_to_be_told() -> None:
    ready = Ready(
        lambda _timeout: ready.control.pause(True) if "parked" not in ready.seen else ready.control.stop(CANCEL)
    )
    assert ready.control.wait_told(None, None) is None
    assert ready.seen == ["converged", "parked"]


def test_a_stop_ends_the_waiting_and_keeps_it_from_beginning() -> None:
    ready = Ready(lambda _timeout: ready.control.stop(CANCEL))
    assert ready.control.wait_told(None, None) is None
    assert ready.control.wait_told(None, None) is None
    assert ready.control.stop_requested


def test_it_gives_up_when_there_is_something_to_read() -> None:
    ready = Ready()
    reader, writer = os.pipe()
    try:
        os.write(writer, b"x")
        assert ready.control.wait_told(None, reader) is None
        assert ready.seen == ["converged"]
    finally:
        ready.control.close()
        os.close(reader)
        os.close(writer)


class Poll:
    """Acts instead of waiting for descriptors."""

    def __init__(self, act: Callable[[], None]) -> None:
        self.registered: list[int] = []
        self.timeouts: list[float | None] = []
        self._act = act

    def register(self, descriptor: int, _events: int) -> None:
        self.registered.append(descriptor)

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        self.timeouts.append(timeout)
        self._act()
        return [(one, select.POLLIN) for one in self.registered if select.select([one], [], [], 0)[0]]


def test_it_hears_that_it_is_to_end_while_it_watches_a_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    ready = Ready()
    poll = Poll(lambda: ready.control.complete("leave"))
    monkeypatch.setattr(select, "poll", lambda: poll)
    reader, writer = os.pipe()
    try:
        assert ready.control.wait_told(7.0, reader) == "leave"
        assert poll.timeouts == [pytest.approx(7000, abs=100)]
        assert select.select([ready.control], [], [], 0)[0] == []
    finally:
        ready.control.close()
        os.close(reader)
        os.close(writer)


def test_what_came_before_there_was_a_descriptor_to_wake_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the code would wait for a wake-up that has been."""

    class Late(Control):
        def fileno(self) -> int:
            if self._descriptor is None:
                self.complete("complete")
            return super().fileno()

    control = Late(lambda: None, lambda: None)
    poll = Poll(lambda: pytest.fail("it waits"))
    monkeypatch.setattr(select, "poll", lambda: poll)
    reader, writer = os.pipe()
    try:
        assert control.wait_told(None, reader) == "complete"
    finally:
        control.close()
        os.close(reader)
        os.close(writer)
