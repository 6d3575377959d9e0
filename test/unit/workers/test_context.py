"""What an opcode can do through its context, and what the queue hears of it."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed

from jqueue.errors import JobCanceled, OpExecError, OpPrereqError, ProgrammerError, ShuttingDown
from jqueue.workers.context import Context, LogLine
from jqueue.workers.control import CANCEL, SHUTDOWN, TIMEOUT, Control
from jqueue.workers.mailbox import Mailbox

START = 1_700_000_000.0


class FakeTime:
    """The clock of the opcode's thread."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return START + self.now


class FakeControl(Control):
    """Code that sleeps lets the clock go on, and something happen; code that parks is resumed."""

    def __init__(self, clock: FakeTime) -> None:
        super().__init__(self.park, lambda: None)
        self.clock = clock
        self.parked = 0
        self.slept: list[float] = []
        self.during_sleep: list[tuple[float, Callable[[], object]]] = []
        self.when_parked: Callable[[], object] = lambda: None

    def park(self) -> None:
        self.parked += 1
        self.when_parked()
        self.pause(False)
        self.go_on()

    def sleep(self, seconds: float) -> None:
        if self.during_sleep:
            seconds, act = self.during_sleep.pop(0)
            act()
        self.slept.append(seconds)
        self.clock.now += seconds


class Desk:
    """The reactor's side; answers at once, unless told to keep quiet."""

    def __init__(self) -> None:
        self.lines: list[LogLine] = []
        self.progress: list[tuple[int, int, str]] = []
        self.durable: list[dict[str, Any]] = []
        self.children: list[Sequence[object]] = []
        self.problem: Exception | None = None
        self.quiet = False
        self.breaks = False

    def logged(self, lines: Sequence[LogLine]) -> None:
        self.lines.extend(lines)

    def progressed(self, done: int, total: int, text: str) -> None:
        self.progress.append((done, total, text))

    def save(self, saved: Mapping[str, Any]) -> Deferred[None]:
        if self.problem is None:
            self.durable.append(dict(saved))
        return self._answer(None)

    def submit(self, jobs: Sequence[object]) -> Deferred[list[int]]:
        self.children.append(jobs)
        return self._answer([41 + number for number in range(len(jobs))])

    def _answer(self, value: Any) -> Deferred[Any]:
        if self.breaks:
            raise ZeroDivisionError("a mistake in the queue")
        if self.quiet:
            return Deferred()
        return succeed(value) if self.problem is None else fail(self.problem)


class Scene:
    """A context, and all that is around it; messages are delivered as they are posted."""

    def __init__(self, saved: Mapping[str, Any]) -> None:
        self.clock = FakeTime()
        self.control = FakeControl(self.clock)
        self.desk = Desk()
        self.ctx = Context(
            job_id=42,
            op_index=0,
            attempt=1,
            saved=saved,
            dry_run=False,
            run_directory=lambda: Path("/nonexistent/42.0.1"),
            control=self.control,
            desk=self.desk,
            mailbox=Mailbox(lambda deliver: deliver()),
        )

    def messages(self) -> list[Any]:
        return [message for _, _, message in self.desk.lines]


class WouldWait(Exception):
    """The thread would wait here."""


class NoWait(threading.BoundedSemaphore):
    """Raises instead of waiting."""

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        if not super().acquire(blocking=False):
            raise WouldWait
        return True


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(threading, "BoundedSemaphore", NoWait)
    monkeypatch.setattr("jqueue.workers.context._ANSWER_INTERVAL", 0.0)
    clock = FakeTime()
    monkeypatch.setattr("jqueue.workers.context.time", clock)
    made = Scene({"kept": 1})
    made.clock = made.control.clock = clock
    return made


# The log


def test_a_line_has_the_time_at_which_the_code_said_it(scene: Scene) -> None:
    scene.ctx.log("hello")
    scene.clock.now += 5
    scene.ctx.log({"exit": 3}, "result")
    assert scene.desk.lines == [(START + 100, "message", "hello"), (START + 105, "result", {"exit": 3})]


def test_a_long_text_becomes_entries_of_64_kib_without_cutting_a_character(scene: Scene) -> None:
    text = "a" + "€" * 70_000
    scene.ctx.log(text)
    assert "".join(scene.messages()) == text
    assert len(scene.messages()) == 4
    assert all(len(message.encode()) <= 64 << 10 for message in scene.messages())


@pytest.mark.parametrize(
    ("message", "logged"),
    (
        ("", ""),
        (None, None),
        (True, True),
        (1.5, 1.5),
        (10**30, 10**30),
        (["Zürich", {"a": None}], ["Zürich", {"a": None}]),
        ((1, (2, 3)), [1, [2, 3]]),
        ({1: "one"}, {"1": "one"}),
    ),
)
def test_a_json_value_is_logged_as_it_is(scene: Scene, message: object, logged: object) -> None:
    scene.ctx.log(message)
    assert scene.messages() == [logged]


@pytest.mark.parametrize(
    ("message", "logged"),
    (
        (Path("/srv/image"), "/srv/image"),
        (OpExecError("it broke"), "it broke"),
        (float("nan"), "nan"),
        ([b"bytes"], "[b'bytes']"),
    ),
)
def test_of_what_json_cannot_say_the_text_is_logged(scene: Scene, message: object, logged: str) -> None:
    scene.ctx.log(message)
    assert scene.messages() == [logged]


def test_a_value_that_contains_itself_does_not_end_the_opcode(scene: Scene) -> None:
    value: list[object] = []
    value.append(value)
    scene.ctx.log(value)
    assert scene.messages() == ["[[...]]"]


def test_a_value_that_is_changed_after_it_was_logged_is_logged_as_it_was(scene: Scene) -> None:
    value = {"done": [1]}
    scene.ctx.log(value)
    value["done"].append(2)
    assert scene.messages() == [{"done": [1]}]


def test_a_value_that_is_too_long_is_logged_as_pieces_of_text(scene: Scene) -> None:
    scene.ctx.log(["x" * 100_000])
    assert [len(message) for message in scene.messages()] == [65_536, 100_004 - 65_536]


def fill(scene: Scene) -> int:
    """Logs until there is no room any more; tells how many lines there were in all."""
    with pytest.raises(WouldWait):
        while True:
            scene.ctx.log("line")
    return len(scene.desk.lines)


def test_code_that_logs_faster_than_the_disk_writes_waits_at_some_hundred_lines(scene: Scene) -> None:
    assert 100 <= fill(scene) <= 1000


def test_as_many_lines_as_reach_the_file_may_follow(scene: Scene) -> None:
    before = fill(scene)
    scene.ctx.log_written(2)
    assert fill(scene) == before + 2


def test_each_piece_of_a_long_text_counts_as_a_line(scene: Scene) -> None:
    before = fill(scene)
    scene.ctx.log_written(1)
    with pytest.raises(WouldWait):
        scene.ctx.log("x" * 100_000)
    assert len(scene.desk.lines) == before + 1


# Progress


def test_progress_is_told_ten_times_a_second_at_most_but_the_end_always(scene: Scene) -> None:
    for done in range(1001):
        scene.ctx.progress(done, 1000, "copying")
        scene.clock.now += 0.01
    assert scene.desk.progress[0] == (0, 1000, "copying")
    assert scene.desk.progress[-1] == (1000, 1000, "copying")
    assert 90 < len(scene.desk.progress) < 105


def test_nothing_looks_finished_when_the_total_is_not_known(scene: Scene) -> None:
    scene.ctx.progress(0, 0)
    assert scene.desk.progress == [(0, 1, "")]


@pytest.mark.parametrize("calls", ([(7, 0)], [(5, 5)], [(9, 5)], [(5, 5), (1, 5)], [(5, 5), (1, 0)], [(5, 5), (6, 6)]))
def test_code_that_tells_its_progress_all_the_time_does_not_flood_the_queue(
    scene: Scene, calls: list[tuple[int, int]]
) -> None:
    for number in range(10_000):
        scene.ctx.progress(*calls[number % len(calls)])
        scene.clock.now += 0.0001
    assert len(scene.desk.progress) <= 21


# Pause points


def test_a_checkpoint_lets_code_pass_that_nothing_is_asked_of(scene: Scene) -> None:
    scene.ctx.checkpoint()
    assert scene.control.parked == 0


@pytest.mark.parametrize("reason", (CANCEL, TIMEOUT, SHUTDOWN))
def test_code_that_is_asked_to_stop_stops_at_the_next_checkpoint(scene: Scene, reason: str) -> None:
    scene.control.stop(reason)
    for point in (scene.ctx.checkpoint, lambda: scene.ctx.sleep(1), lambda: scene.ctx.throttle(1)):
        with pytest.raises(JobCanceled, match=reason):
            point()
    assert scene.control.slept == []


def test_code_that_is_paused_parks_and_goes_on(scene: Scene) -> None:
    scene.control.pause(True)
    scene.ctx.checkpoint()
    assert scene.control.parked == 1


def test_code_that_is_cancelled_while_it_is_parked_does_not_go_on(scene: Scene) -> None:
    scene.control.when_parked = lambda: scene.control.stop(CANCEL)
    scene.control.pause(True)
    with pytest.raises(JobCanceled):
        scene.ctx.checkpoint()


def test_a_sleep_lasts_as_long_as_it_says_however_often_it_is_disturbed(scene: Scene) -> None:
    scene.control.during_sleep = [(3.0, lambda: scene.control.set_speed(5)), (1.0, lambda: None)]
    scene.ctx.sleep(10)
    assert scene.control.slept == [3.0, 1.0, 6.0]


@pytest.mark.parametrize("seconds", (0, -1))
def test_a_sleep_of_no_time_is_a_checkpoint(scene: Scene, seconds: float) -> None:
    scene.control.pause(True)
    scene.ctx.sleep(seconds)
    assert (scene.control.parked, scene.control.slept) == (1, [])


def test_a_pause_takes_effect_in_the_middle_of_a_sleep(scene: Scene) -> None:
    scene.control.during_sleep = [(3.0, lambda: scene.control.pause(True))]
    scene.ctx.sleep(10)
    assert (scene.control.parked, scene.control.slept) == (1, [3.0, 7.0])


def test_the_time_of_a_pause_does_not_count_as_slept(scene: Scene) -> None:
    def pass_time() -> None:
        scene.clock.now += 3600

    scene.control.during_sleep = [(3.0, lambda: scene.control.pause(True))]
    scene.control.when_parked = pass_time
    scene.ctx.sleep(10)
    assert (scene.control.parked, scene.control.slept) == (1, [3.0, 7.0])


def test_a_pause_before_a_sleep_leaves_all_of_it(scene: Scene) -> None:
    def pass_time() -> None:
        scene.clock.now += 3600

    scene.control.when_parked = pass_time
    scene.control.pause(True)
    scene.ctx.sleep(10)
    assert scene.control.slept == [10]


def test_a_stop_ends_a_sleep_at_once(scene: Scene) -> None:
    scene.control.during_sleep = [(3.0, lambda: scene.control.stop(CANCEL))]
    with pytest.raises(JobCanceled):
        scene.ctx.sleep(10)
    assert scene.control.slept == [3.0]


# Speed


def test_without_a_limit_nobody_rests(scene: Scene) -> None:
    scene.ctx.throttle(10**12)
    assert scene.control.slept == []


def test_work_is_paid_for_at_the_speed_of_the_job(scene: Scene) -> None:
    scene.control.set_speed(1000)
    began = scene.clock.now
    for _ in range(10):
        scene.ctx.throttle(500)
    assert scene.clock.now - began == pytest.approx(5.0)


@pytest.mark.parametrize(("speed", "seconds"), ((0, 1.0), (100_000, 10.0), (500, 2000.0)))
def test_a_new_speed_counts_at_once_for_who_rests_already(scene: Scene, speed: int, seconds: float) -> None:
    scene.control.set_speed(1000)
    scene.control.during_sleep = [(1.0, lambda: scene.control.set_speed(speed))]
    began = scene.clock.now
    scene.ctx.throttle(1_000_000)
    assert scene.clock.now - began == pytest.approx(seconds)


def test_a_pause_and_a_stop_take_effect_in_the_middle_of_a_rest(scene: Scene) -> None:
    scene.control.set_speed(1)
    scene.control.during_sleep = [
        (1.0, lambda: scene.control.pause(True)),
        (1.0, lambda: scene.control.stop(CANCEL)),
    ]
    with pytest.raises(JobCanceled):
        scene.ctx.throttle(1_000_000)
    assert (scene.control.parked, scene.control.slept) == (1, [1.0, 1.0])


# What is saved


def test_what_was_saved_before_is_there_again(scene: Scene) -> None:
    assert dict(scene.ctx.saved) == {"kept": 1}
    assert len(scene.ctx.saved) == 1


def test_an_assignment_is_durable_when_it_returns(scene: Scene) -> None:
    scene.ctx.saved["offset"] = 5
    assert scene.desk.durable == [{"kept": 1, "offset": 5}]
    del scene.ctx.saved["kept"]
    assert scene.desk.durable[-1] == dict(scene.ctx.saved) == {"offset": 5}


def test_an_assignment_that_could_not_be_made_durable_has_not_happened(scene: Scene) -> None:
    scene.desk.problem = OpExecError("cannot be stored")
    with pytest.raises(OpExecError, match="cannot be stored"):
        scene.ctx.saved["offset"] = 5
    with pytest.raises(OpExecError, match="cannot be stored"):
        del scene.ctx.saved["kept"]
    assert dict(scene.ctx.saved) == {"kept": 1}


@pytest.mark.parametrize("value", (math.nan, b"bytes", {1, 2}, object(), "x" * 65_536))
def test_what_cannot_be_stored_is_an_error_of_the_assignment_and_nothing_is_saved(scene: Scene, value: object) -> None:
    with pytest.raises(OpExecError, match=r"^What the opcode saves (cannot be stored: .|is larger than 65536 bytes)"):
        scene.ctx.saved["offset"] = value
    assert (scene.desk.durable, dict(scene.ctx.saved)) == ([], {"kept": 1})


def test_what_is_saved_does_not_change_with_what_the_code_does_to_it_later(scene: Scene) -> None:
    found = [1]
    scene.ctx.saved["found"] = found
    found.append(2)
    assert scene.desk.durable == [{"kept": 1, "found": [1]}]


def test_what_was_saved_before_belongs_to_the_job_and_is_not_changed_in_place() -> None:
    saved = {"found": [1]}
    Scene(saved).ctx.saved["found"].append(2)
    assert saved == {"found": [1]}


def test_what_was_never_saved_cannot_be_removed(scene: Scene) -> None:
    with pytest.raises(KeyError, match="other"):
        del scene.ctx.saved["other"]
    assert scene.desk.durable == []


# Answers


def test_children_are_submitted_and_their_ids_given(scene: Scene) -> None:
    jobs = [[{"OP_ID": "OP_TEST_DUMMY"}], {"ops": []}]
    assert scene.ctx.submit(jobs) == [41, 42]
    assert scene.desk.children == [jobs]


def test_children_that_are_refused_are_an_error_of_the_call(scene: Scene) -> None:
    scene.desk.problem = OpPrereqError("ops[0]: unknown")
    with pytest.raises(OpPrereqError, match="unknown"):
        scene.ctx.submit([[]])


def test_a_mistake_in_the_queue_reaches_the_code_instead_of_leaving_it_waiting(scene: Scene) -> None:
    scene.desk.breaks = True
    with pytest.raises(ZeroDivisionError):
        scene.ctx.submit([[]])


def test_code_does_not_wait_for_an_answer_of_a_daemon_that_stops(scene: Scene) -> None:
    scene.desk.quiet = True
    scene.control.stop(SHUTDOWN)
    with pytest.raises(ShuttingDown):
        scene.ctx.submit([[]])
    with pytest.raises(ShuttingDown):
        scene.ctx.saved["offset"] = 5
    assert dict(scene.ctx.saved) == {"kept": 1}


@pytest.mark.parametrize("reason", (CANCEL, SHUTDOWN))
def test_an_answer_that_has_come_counts_even_if_the_code_is_to_stop(scene: Scene, reason: str) -> None:
    scene.control.stop(reason)
    scene.ctx.saved["offset"] = 5
    assert scene.ctx.saved["offset"] == 5


def test_a_command_is_not_started_by_code_that_is_to_stop(scene: Scene) -> None:
    scene.control.stop(CANCEL)
    with pytest.raises(JobCanceled):
        scene.ctx.command(["/bin/true"])
    assert not scene.ctx.ran_command


def test_what_was_told_too_soon_before_the_code_is_ready_is_told_then(scene: Scene) -> None:
    scene.ctx.progress(9, 10, "copying")
    scene.ctx.progress(10, 10, "copying")
    scene.ctx.progress(10, 10, "in step")
    scene.control.complete("complete")
    assert scene.ctx.ready() == "complete"
    assert scene.desk.progress[-1] == (10, 10, "in step")


def test_code_that_has_not_said_that_it_converges_cannot_be_ready() -> None:
    ctx = Context(
        job_id=1,
        op_index=0,
        attempt=1,
        saved={},
        dry_run=False,
        run_directory=lambda: Path("/nonexistent"),
        control=FakeControl(FakeTime()),
        desk=Desk(),
        mailbox=Mailbox(lambda deliver: deliver()),
        converges=False,
    )
    with pytest.raises(ProgrammerError, match="converges"):
        ctx.ready()
