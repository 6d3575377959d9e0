"""QMP's verbs on real jobs: their answers by state, in QEMU's order of checks; events; the end by quit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from jqueue.errors import DiskFull, GenericError, JobLost, ShuttingDown
from jqueue.sched.lifecycles import Lifecycles

from .rig import Rig, locked, op

V = "Job 'job1' in state '{}' cannot accept command verb '{}'"
P = "Job is already paused"
R = "Can't resume a job that was not paused"
B = "The block job for device 'job1' is currently paused"
C = "The active block job 'job1' cannot be completed"

VERBS: dict[str, Callable[[Lifecycles, int], Deferred[None]]] = {
    "pause": Lifecycles.pause,
    "resume": Lifecycles.resume,
    "cancel": lambda queue, job_id: queue.cancel(job_id, True),
    "soft cancel": lambda queue, job_id: queue.cancel(job_id, False),
    "set-speed": lambda queue, job_id: queue.set_speed(job_id, 10),
    "complete": Lifecycles.complete,
    "finalize": Lifecycles.finalize,
    "dismiss": Lifecycles.dismiss,
}


class Qmp:
    """A queue with a listener."""

    def __init__(self, **options: Any) -> None:
        self.rig = Rig(**options)
        self.jobs = Lifecycles(self.rig.queue, self.rig.clock)
        self.events: list[tuple[str, Mapping[str, object]]] = []
        self.jobs.listen(lambda name, data: self.events.append((name, data)))

    def verb(self, name: str, job_id: int = 1) -> str | None:
        """Gives the text of the error, if there is one."""
        try:
            self.rig.now(VERBS[name](self.jobs, job_id))
        except GenericError as error:
            return error.text
        return None

    def heard(self, job_id: int = 1) -> list[str]:
        """The states of a job, and the names of its other events."""
        name = f"job{job_id}"
        found = []
        for event, data in self.events:
            if name in (data.get("id"), data.get("device")):
                found.append(str(data.get("status", event)))
        return found

    def info(self, job_id: int = 1) -> Mapping[str, object]:
        return next(info for info in self.jobs.job_infos() if info["id"] == job_id)


@pytest.fixture
def qmp() -> Qmp:
    return Qmp()


# Verbs by state


STATES: dict[str, dict[str, str | None]] = {
    "created": {
        **dict.fromkeys(["pause", "cancel", "soft cancel", "set-speed"]),
        "resume": R,
        **{verb: V.format("created", verb) for verb in ("complete", "finalize", "dismiss")},
    },
    "running": {
        **dict.fromkeys(["pause", "cancel", "soft cancel", "set-speed"]),
        "resume": R,
        **{verb: V.format("running", verb) for verb in ("complete", "finalize", "dismiss")},
    },
    "pause asked": {
        **dict.fromkeys(["resume", "cancel", "set-speed"]),
        "pause": P,
        "soft cancel": B,
        **{verb: V.format("running", verb) for verb in ("complete", "finalize", "dismiss")},
    },
    "cancel asked": {
        **dict.fromkeys(["pause", "cancel", "soft cancel", "set-speed"]),
        "resume": R,
        **{verb: V.format("running", verb) for verb in ("complete", "finalize", "dismiss")},
    },
    "paused": {
        **dict.fromkeys(["resume", "cancel", "set-speed"]),
        "pause": P,
        "soft cancel": B,
        **{verb: V.format("paused", verb) for verb in ("complete", "finalize", "dismiss")},
    },
    "ready": {
        **dict.fromkeys(["pause", "cancel", "soft cancel", "set-speed", "complete"]),
        "resume": R,
        **{verb: V.format("ready", verb) for verb in ("finalize", "dismiss")},
    },
    "soft cancel asked": {
        **dict.fromkeys(["pause", "cancel", "soft cancel", "set-speed"]),
        "resume": R,
        "complete": C,
        **{verb: V.format("ready", verb) for verb in ("finalize", "dismiss")},
    },
    "standby": {
        **dict.fromkeys(["resume", "cancel", "set-speed", "complete"]),
        "pause": P,
        "soft cancel": B,
        **{verb: V.format("standby", verb) for verb in ("finalize", "dismiss")},
    },
    "waiting": {
        **dict.fromkeys(["cancel", "soft cancel"]),
        "resume": R,
        **{verb: V.format("waiting", verb) for verb in ("pause", "set-speed", "complete", "finalize", "dismiss")},
    },
    "pending": {
        **dict.fromkeys(["cancel", "soft cancel", "finalize"]),
        "resume": R,
        **{verb: V.format("pending", verb) for verb in ("pause", "set-speed", "complete", "dismiss")},
    },
    "aborting": {
        **{verb: V.format("aborting", verb) for verb in VERBS if verb not in ("resume", "soft cancel")},
        "soft cancel": V.format("aborting", "cancel"),
        "resume": R,
    },
    "concluded": {
        **{verb: V.format("concluded", verb) for verb in ("pause", "cancel", "set-speed", "complete", "finalize")},
        "soft cancel": V.format("concluded", "cancel"),
        "resume": R,
        "dismiss": None,
    },
    "gone": dict.fromkeys(VERBS, "There is no job 1 in the queue; it may be archived"),
}


JOBS: dict[str, list[object]] = {
    "ready": [op("OP_CONVERGE")],
    "soft cancel asked": [op("OP_CONVERGE")],
    "standby": [op("OP_CONVERGE")],
    "waiting": [op(), op("OP_STUBBORN")],
    "pending": [{"ops": [op()], "auto_finalize": False}],
    "aborting": [op("OP_UNDO", fails=["exec"])],
    "gone": [],
}


def bring(state: str) -> Qmp:
    """Brings job 1 into a state."""
    qmp = Qmp(start=state != "created")
    if jobs := JOBS.get(state, [op()]):
        qmp.rig.submit(*jobs, group=state == "waiting")
    if state in ("pause asked", "paused"):
        qmp.verb("pause")
    if state == "cancel asked":
        qmp.verb("cancel")
    if state in ("paused", "concluded", "ready", "soft cancel asked", "standby", "waiting", "pending", "aborting"):
        qmp.rig.step()
    if state == "soft cancel asked":
        qmp.verb("soft cancel")
    if state == "standby":
        qmp.verb("pause")
        qmp.rig.step()
    return qmp


@pytest.mark.parametrize(
    ("state", "verb", "answer"),
    [(state, verb, answer) for state, row in STATES.items() for verb, answer in row.items()],
)
def test_a_verb_is_answered_as_the_table_says(state: str, verb: str, answer: str | None) -> None:
    assert bring(state).verb(verb) == answer


@pytest.mark.parametrize("state", [state for state in STATES if state != "gone"])
def test_the_state_is_shown(state: str) -> None:
    info = bring(state).info()
    shown = {"pause asked": "running", "cancel asked": "running", "soft cancel asked": "ready"}
    assert info["status"] == shown.get(state, state)
    assert info["paused"] == (state in ("pause asked", "paused", "standby"))
    assert info["busy"] == (state in (*shown, "running", "aborting"))
    assert info["ready"] == (state in ("ready", "soft cancel asked", "standby"))
    assert "error" not in info


def test_a_negative_speed_is_refused_after_the_state(qmp: Qmp) -> None:
    job_id = qmp.rig.submit_one(op())
    with pytest.raises(GenericError, match="^Parameter 'speed' expects a non-negative value$"):
        qmp.rig.now(qmp.jobs.set_speed(job_id, -1))
    qmp.rig.finish()
    with pytest.raises(GenericError, match="cannot accept command verb 'set-speed'"):
        qmp.rig.now(qmp.jobs.set_speed(job_id, -1))


def test_a_verb_that_comes_while_the_job_ends_is_answered_by_what_it_is_then(qmp: Qmp) -> None:
    job_id = qmp.rig.submit_one(op())
    qmp.rig.workers.perform()
    late = qmp.jobs.pause(job_id)
    with pytest.raises(GenericError, match=V.format("concluded", "pause")):
        qmp.rig.now(late)


def test_a_verb_on_a_full_disk_is_refused_but_a_cancel_of_running_code_is_not(qmp: Qmp) -> None:
    job_id = qmp.rig.submit_one(op())
    qmp.rig.journal.set_full(True)
    with pytest.raises(DiskFull):
        qmp.rig.now(qmp.jobs.pause(job_id))
    assert qmp.verb("cancel") is None
    qmp.rig.finish()
    assert qmp.rig.status(job_id) == "canceled"


# What they do


def test_a_speed_is_durable_and_reaches_the_running_code(qmp: Qmp) -> None:
    job_id = qmp.rig.submit_one(op())
    assert qmp.verb("set-speed") is None
    assert qmp.rig.queue.processor.executions[job_id].control.speed == 10
    assert qmp.info()["speed"] == 10
    assert qmp.rig.crash().job(job_id).speed == 10


def test_pause_and_resume_are_told_when_the_code_stops_and_goes_on(qmp: Qmp) -> None:
    qmp.rig.submit_one(op())
    qmp.verb("pause")
    assert qmp.heard() == ["created", "running"]
    qmp.rig.step()
    assert qmp.heard() == ["created", "running", "paused"]
    qmp.verb("resume")
    qmp.rig.finish()
    expected = ["created", "running", "paused", "running", "waiting", "pending", "BLOCK_JOB_COMPLETED", "concluded"]
    assert qmp.heard() == expected


def test_a_job_paused_between_two_opcodes_is_told(qmp: Qmp) -> None:
    qmp.rig.submit_one(op(looks=False), op())
    qmp.verb("pause")
    qmp.rig.step()
    assert qmp.heard() == ["created", "running", "paused"]
    assert (qmp.info()["status"], qmp.info()["current-progress"]) == ("paused", 100)
    qmp.verb("resume")
    assert qmp.heard() == ["created", "running", "paused", "running"]


def test_a_cancel_lifts_a_pause_and_is_told_step_by_step(qmp: Qmp) -> None:
    qmp = bring("paused")
    qmp.verb("cancel")
    qmp.rig.finish()
    expected = ["created", "running", "paused", "running", "aborting", "BLOCK_JOB_CANCELLED", "concluded"]
    assert qmp.heard() == expected
    assert qmp.info()["error"] == "Operation canceled"


def test_nothing_stops_a_cancellation(qmp: Qmp) -> None:
    qmp.rig.submit_one(op("OP_STUBBORN"))
    qmp.verb("cancel")
    assert qmp.verb("pause") is None
    assert qmp.verb("pause") == P
    qmp.rig.finish()
    assert qmp.heard() == ["created", "running", "aborting", "BLOCK_JOB_CANCELLED", "concluded"]


def test_a_cancel_beats_the_success_of_code_that_cannot_be_stopped_and_survives_a_crash(qmp: Qmp) -> None:
    job_id = qmp.rig.submit_one(op("OP_STUBBORN"), op())
    assert qmp.verb("cancel") is None
    assert qmp.rig.status(job_id) == "canceling"
    execution = qmp.rig.queue.processor.executions[job_id]
    assert not execution.control.stop_requested
    assert qmp.rig.crash().statuses(job_id) == ["canceled", "canceled"]
    qmp.rig.finish()
    assert qmp.rig.statuses(job_id) == ["canceled", "canceled"]
    assert qmp.rig.said(job_id) == ["exec"]
    assert qmp.rig.idle()


def test_paused_code_that_cannot_be_stopped_goes_on_to_its_end_when_it_is_canceled(qmp: Qmp) -> None:
    qmp.rig.submit_one(op("OP_STUBBORN"))
    qmp.verb("pause")
    qmp.rig.step()
    qmp.verb("cancel")
    qmp.rig.finish()
    expected = ["created", "running", "paused", "running", "aborting", "BLOCK_JOB_CANCELLED", "concluded"]
    assert qmp.heard() == expected
    assert qmp.rig.said(1) == ["exec"]


def test_a_commit_under_way_is_ended_but_nothing_follows_it(qmp: Qmp) -> None:
    job_id = qmp.rig.submit_one(op("OP_UNDO"), op())
    qmp.rig.step()
    assert qmp.rig.job(job_id).phase == "committing"
    assert qmp.verb("cancel") is None
    qmp.rig.finish()
    assert qmp.rig.statuses(job_id) == ["success", "canceled"]
    assert qmp.heard()[-3:] == ["aborting", "BLOCK_JOB_CANCELLED", "concluded"]


def test_the_commit_of_the_last_opcode_cannot_be_canceled_any_more(qmp: Qmp) -> None:
    job_id = qmp.rig.submit_one(op("OP_UNDO"))
    qmp.rig.step()
    assert qmp.info()["status"] == "pending"
    assert qmp.verb("cancel") is None
    finalized = qmp.jobs.finalize(job_id)
    qmp.rig.finish()
    assert qmp.rig.now(finalized) is None
    assert qmp.rig.status(job_id) == "success"


def test_a_job_whose_attempt_is_undone_is_not_tried_again_after_a_cancel(qmp: Qmp) -> None:
    retries = {"attempts": 3, "delay": 0}
    job_id = qmp.rig.submit_one(op("OP_UNDO", fails_until=2, retries=retries))
    qmp.rig.step()
    assert qmp.rig.job(job_id).phase == "aborting"
    assert qmp.verb("cancel") is None
    qmp.rig.finish()
    assert qmp.rig.status(job_id) == "canceled"


def test_a_second_cancel_does_not_end_a_job_before_its_attempt_is_undone() -> None:
    rig = Rig()
    job_id = rig.submit_one(op("OP_UNDO_AGAIN"))
    rig.settle()
    after = rig.crash(start=False)
    qmp = Lifecycles(after.queue, after.clock)
    for _ in range(2):
        after.now(qmp.cancel(job_id, True))
    assert after.status(job_id) == "canceling"
    after.queue.processor.start()
    after.finish()
    assert (after.status(job_id), after.ran_by(job_id)) == ("canceled", ["abort attempt 1"])


def test_a_job_whose_finalisation_fails_was_pending_before(qmp: Qmp) -> None:
    qmp.rig.submit_one(op("OP_UNDO"), op("OP_UNDO", fails=["prepare"]))
    qmp.rig.finish()
    late = ["created", "running", "waiting", "pending", "aborting", "BLOCK_JOB_COMPLETED", "concluded"]
    assert qmp.heard() == late
    qmp.rig.submit_one(op("OP_UNDO", fails=["prepare"]), op("OP_UNDO"))
    qmp.rig.finish()
    assert qmp.heard(2) == ["created", "running", "aborting", "BLOCK_JOB_COMPLETED", "concluded"]


def test_the_speed_with_which_an_opcode_starts_is_shown_until_another_is_set(qmp: Qmp) -> None:
    job_id = qmp.rig.submit_one(op(speed=70))
    qmp.rig.settle()
    execution = qmp.rig.queue.processor.executions[job_id]
    assert (qmp.info()["speed"], execution.control.speed) == (70, 70)
    qmp.rig.now(qmp.jobs.set_speed(job_id, 0))
    assert (qmp.info()["speed"], execution.control.speed) == (0, 0)


def test_no_limit_stays_no_limit_when_the_job_runs_again(qmp: Qmp) -> None:
    job_id = qmp.rig.submit_one(op("OP_AGAIN", speed=70))
    qmp.rig.now(qmp.jobs.set_speed(job_id, 0))
    after = qmp.rig.crash()
    assert after.queue.processor.executions[job_id].control.speed == 0


def test_a_soft_cancel_comes_too_late_for_code_that_was_told_to_complete(qmp: Qmp) -> None:
    job_id = qmp.rig.submit_one(op("OP_CONVERGE"))
    qmp.rig.step()
    assert qmp.info()["status"] == "ready"
    assert qmp.verb("complete") is None
    assert qmp.rig.queue.processor.executions[job_id].control.told == "complete"
    done, text = qmp.rig.now(qmp.rig.queue.cancel(job_id, False, True))
    assert (done, "is being completed already" in text) == (False, True)
    assert qmp.verb("soft cancel") is None
    assert qmp.rig.job(job_id).completion == "complete"
    qmp.rig.finish()
    assert (qmp.rig.status(job_id), qmp.rig.result(job_id)) == ("success", "complete")


@pytest.mark.parametrize("fails", [[], ["exec"]])
def test_how_far_a_job_had_come_is_shown_when_it_has_failed_or_was_cancelled(qmp: Qmp, fails: list[str]) -> None:
    job_id = qmp.rig.submit_one(op(), op(fails=fails))
    qmp.rig.step()
    qmp.rig.queue.processor.executions[job_id].progressed(1, 4, "a quarter")
    if not fails:
        qmp.verb("cancel")
    qmp.rig.finish()
    assert (qmp.info()["current-progress"], qmp.info()["total-progress"]) == (125, 200)
    (ended,) = [data for name, data in qmp.events if name.startswith("BLOCK_JOB_C")]
    assert (ended["offset"], ended["len"]) == (125, 200)


def test_a_pending_job_that_is_cancelled_had_done_all_its_work(qmp: Qmp) -> None:
    qmp.rig.submit({"ops": [op()], "auto_finalize": False})
    qmp.rig.finish()
    qmp.verb("cancel")
    assert qmp.info()["current-progress"] == 100


def test_a_failure_is_told_with_its_error(qmp: Qmp) -> None:
    qmp.rig.submit_one(op(fails=["exec"]))
    qmp.rig.finish()
    assert qmp.heard() == ["created", "running", "aborting", "BLOCK_JOB_COMPLETED", "concluded"]
    assert qmp.info()["error"] == "exec was told to fail"
    assert [data.get("error") for name, data in qmp.events if name == "BLOCK_JOB_COMPLETED"] == [
        "exec was told to fail"
    ]


def test_a_job_canceled_while_it_waits_never_was_a_block_job(qmp: Qmp) -> None:
    qmp.rig.submit([locked()], [locked()])
    qmp.verb("cancel", 2)
    assert qmp.heard(2) == ["created", "aborting", "concluded"]


def test_a_job_that_dismisses_itself_ends_with_null(qmp: Qmp) -> None:
    qmp.rig.submit({"ops": [op()], "auto_dismiss": True})
    qmp.rig.finish()
    assert qmp.heard()[-2:] == ["concluded", "null"]
    assert list(qmp.jobs.job_infos()) == []


# Descriptions


def test_jobs_are_described_newest_first_also_those_of_which_only_a_row_is_left() -> None:
    qmp = Qmp(keep=1)
    qmp.rig.submit([op(), op()], [op(fails=["exec"])], [op("OP_STUBBORN")], [op()])
    qmp.verb("cancel", 3)
    qmp.rig.finish()
    infos = list(qmp.jobs.job_infos())
    assert [info["id"] for info in infos] == [4, 3, 2, 1]
    assert {info["status"] for info in infos} == {"concluded"}
    assert [info["type"] for info in infos] == ["work", "stubborn", "work", "work"]
    assert [info["current-progress"] for info in infos] == [100, 0, 0, 200]
    assert [info.get("error") for info in infos] == [
        None,
        "Operation canceled",
        "the job failed; `jqueue info 2` shows why",
        None,
    ]


def test_a_job_that_leaves_while_they_are_listed_is_left_out(qmp: Qmp) -> None:
    qmp.rig.submit([op()], [op()])
    qmp.rig.finish()
    infos = qmp.jobs.job_infos()
    assert next(infos)["id"] == 2
    qmp.verb("dismiss", 1)
    assert list(infos) == []


@pytest.mark.parametrize("op_id", ["OP_WORK", "OP_UNDO"])
@pytest.mark.parametrize("named", [0, 1, 2])
def test_a_finalisation_is_answered_when_all_of_the_group_have_ended(qmp: Qmp, op_id: str, named: int) -> None:
    ids = qmp.rig.submit(*(op(op_id) for _ in range(3)), group=True, auto_finalize=False)
    qmp.rig.finish()
    qmp.jobs.finalize(ids[named]).addCallback(lambda _: qmp.events.append(("reply", {})))
    qmp.rig.finish()
    assert qmp.events[-1][0] == "reply"
    assert [qmp.rig.status(n) for n in ids] == ["success"] * 3


# The end


def quit_now(qmp: Qmp) -> None:
    """Quits; the newest code is the first to look whether it is to stop."""
    done: list[object] = []
    qmp.jobs.quit().addCallback(done.append)
    qmp.rig.settle()
    while qmp.rig.workers.steps:
        qmp.rig.step(len(qmp.rig.workers.steps) - 1)
    assert done == [None]
    assert qmp.rig.clock.getDelayedCalls() == []


def test_quit_cancels_every_job_and_lets_each_go_newest_first() -> None:
    qmp = Qmp(size=2)
    qmp.rig.submit([op()])
    qmp.rig.finish()
    qmp.rig.submit([op()], [op()], [op()])
    qmp.verb("pause", 3)
    qmp.rig.step(1)
    qmp.events.clear()
    quit_now(qmp)
    assert qmp.events[0] == ("SHUTDOWN", {"guest": False, "reason": "host-qmp-quit"})
    running = ["aborting", "BLOCK_JOB_CANCELLED", "concluded", "null"]
    assert (qmp.heard(1), qmp.heard(2)) == (["null"], running)
    assert qmp.heard(3) == ["running", *running]
    assert qmp.heard(4) == running
    ended = [data["id"] for _, data in qmp.events if data.get("status") == "null"]
    assert ended == ["job4", "job3", "job2", "job1"]
    assert [qmp.rig.status(job_id) for job_id in (1, 2, 3, 4)] == ["success", *["canceled"] * 3]
    assert all(qmp.rig.job(job_id).end_timestamp for job_id in (2, 3, 4))
    assert qmp.rig.idle()


def test_quit_tells_of_each_member_of_a_group_before_it_lets_it_go(qmp: Qmp) -> None:
    ids = qmp.rig.submit(op(), op(), op(), group=True, auto_finalize=False)
    qmp.rig.finish()
    qmp.events.clear()
    quit_now(qmp)
    for job_id in ids:
        assert qmp.heard(job_id) == ["aborting", "BLOCK_JOB_CANCELLED", "concluded", "null"]


def test_quit_waits_for_code_that_cannot_be_stopped_also_if_it_is_paused(qmp: Qmp) -> None:
    job_id = qmp.rig.submit_one(op("OP_STUBBORN"), op())
    qmp.verb("pause")
    qmp.rig.step()
    done: list[object] = []
    qmp.jobs.quit().addCallback(done.append)
    qmp.rig.settle()
    assert done == []
    qmp.rig.finish()
    assert done == [None]
    assert qmp.rig.statuses(job_id) == ["canceled", "canceled"]
    assert qmp.heard()[-4:] == ["aborting", "BLOCK_JOB_CANCELLED", "concluded", "null"]


def test_quit_does_not_wait_long_for_one_job_before_it_cancels_the_next(qmp: Qmp) -> None:
    qmp.rig.submit([op()], [op()])
    qmp.jobs.quit()
    qmp.rig.settle()
    assert (qmp.rig.status(2), qmp.rig.status(1)) == ("canceling", "running")
    qmp.rig.advance(2)
    assert qmp.rig.status(1) == "canceling"
    qmp.rig.finish()
    assert qmp.heard(1)[-1] == qmp.heard(2)[-1] == "null"


def test_quit_tells_of_a_job_that_dismisses_itself_once(qmp: Qmp) -> None:
    qmp.rig.submit({"ops": [op()], "auto_dismiss": True})
    quit_now(qmp)
    assert qmp.heard() == ["created", "running", "aborting", "BLOCK_JOB_CANCELLED", "concluded", "null"]


def test_a_job_that_is_being_committed_when_quit_comes_is_successful(qmp: Qmp) -> None:
    job_id = qmp.rig.submit_one(op("OP_UNDO"))
    qmp.rig.step()
    quit_now(qmp)
    assert qmp.rig.status(job_id) == "success"
    assert qmp.heard()[-3:] == ["BLOCK_JOB_COMPLETED", "concluded", "null"]


def test_no_new_job_is_taken_after_quit(qmp: Qmp) -> None:
    quit_now(qmp)
    with pytest.raises(ShuttingDown):
        qmp.rig.submit_one(op())


def test_when_quit_fails_the_queue_goes_on() -> None:
    qmp = Qmp(size=1)
    qmp.rig.submit([op()], [op()])
    qmp.rig.journal.set_full(True)
    failed: list[object] = []
    qmp.jobs.quit().addErrback(lambda failure: failed.append(failure.type))
    qmp.rig.finish()
    assert failed == [DiskFull]
    qmp.rig.journal.set_full(False)
    qmp.rig.finish()
    assert not qmp.rig.queue.stopping


def test_an_unknown_job_is_lost(qmp: Qmp) -> None:
    with pytest.raises(JobLost):
        qmp.rig.now(qmp.jobs.pause(7))


def test_the_end_by_a_signal_is_told(qmp: Qmp) -> None:
    qmp.jobs.stop_on_signal()
    assert qmp.events == [("SHUTDOWN", {"guest": False, "reason": "host-signal"})]
