"""How opcodes end, through the real daemon: timeouts, retries, callbacks, and code that misbehaves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .daemon import Daemon, wait_until
from .scene import Scene, running

DUMMY: dict[str, object] = {"OP_ID": "OP_TEST_DUMMY"}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("outcomes"), {"workers": {"size": 3}}) as daemon:
        yield daemon


@pytest.fixture
def scene(daemon: Daemon, tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(daemon, tmp_path)
    yield scene
    scene.clean()


def callbacks(scene: Scene, **parameters: object) -> dict[str, object]:
    return {"OP_ID": "OP_CALLBACKS", "trace": str(scene.trace), **parameters}


# Timeouts and retries


def test_a_timeout_ends_a_stoppable_opcode_in_error(scene: Scene) -> None:
    job_id = scene.daemon.submit({"OP_ID": "OP_TEST_DELAY", "duration": 60, "timeout": 0.2}, DUMMY)
    assert scene.daemon.wait_for(job_id, timeout=10) == "error"
    assert scene.failure(job_id) == "The opcode ran longer than its timeout of 0.2 s"
    assert "was not run" in scene.failure(job_id, 1)


def test_a_timeout_ends_a_command_and_counts_for_each_attempt(scene: Scene) -> None:
    command = {"OP_ID": "OP_RUN_COMMAND", "argv": ["sh", "-c", "echo $$; sleep 60"]}
    job_id = scene.daemon.submit({**command, "timeout": 0.3, "retries": {"attempts": 2, "delay": 0}})
    assert scene.daemon.wait_for(job_id, timeout=10) == "error"
    assert "timeout of 0.3 s" in scene.failure(job_id)
    pids = scene.log(job_id)
    assert len(pids) == 2
    assert [Path(f"/proc/{pid}").exists() for pid in pids] == [False, False]


def test_a_failed_opcode_is_tried_again_after_its_delay_and_waits_meanwhile(scene: Scene) -> None:
    retries = {"attempts": 3, "delay": 0.4, "factor": 2}
    job_id = scene.daemon.submit(callbacks(scene, attempts=3, retries=retries))
    reason = scene.waits(job_id, "retry")
    assert reason["text"].startswith("attempt 2 starts at ")
    scene.daemon.wait_for(job_id, "waiting")
    assert scene.daemon.call("QueryWorkers")["running"] == 0
    wait_until(lambda: scene.traced().count("0 abort") == 2, "the second attempt to fail")
    assert scene.waits(job_id, "retry")["text"].startswith("attempt 3 starts at ")
    assert scene.daemon.wait_for(job_id) == "success"
    assert scene.traced() == ["0 exec", "0 abort", "0 exec", "0 abort", "0 exec", "0 prepare", "0 commit"]
    received, end = scene.fields(job_id, "received_ts", "end_ts")
    assert end[0] - received[0] + (end[1] - received[1]) / 1e6 >= 0.4 + 0.8


def test_after_the_last_attempt_the_job_is_an_error(scene: Scene) -> None:
    job_id = scene.daemon.submit(callbacks(scene, attempts=9, retries={"attempts": 2, "delay": 0}))
    assert scene.daemon.wait_for(job_id) == "error"
    assert scene.failure(job_id) == "attempt 2 fails"
    assert scene.traced() == ["0 exec", "0 abort"] * 2


def test_one_that_waits_for_its_next_attempt_is_canceled_at_once(scene: Scene) -> None:
    job_id = scene.daemon.submit(callbacks(scene, attempts=2, retries={"attempts": 2, "delay": 600}))
    scene.waits(job_id, "retry")
    scene.daemon.wait_for(job_id, "waiting")
    assert scene.daemon.call("CancelJob", job_id)[0] is True
    assert scene.daemon.status(job_id) == "canceled"


def test_the_attempts_survive_a_restart(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", {}) as daemon:
        scene = Scene(daemon, tmp_path)
        job_id = daemon.submit(callbacks(scene, attempts=9, retries={"attempts": 2, "delay": 1}))
        daemon.wait_for(job_id, "waiting")
        daemon.kill()
        daemon.start()
        assert daemon.wait_for(job_id) == "error"
        assert scene.failure(job_id) == "attempt 2 fails"


# Callbacks


def test_prepare_and_commit_follow_each_opcode(scene: Scene) -> None:
    job_id = scene.daemon.submit(callbacks(scene), callbacks(scene))
    assert scene.daemon.wait_for(job_id) == "success"
    assert scene.traced() == [f"{op} {method}" for op in (0, 1) for method in ("exec", "prepare", "commit")]


@pytest.mark.parametrize("fails", ["exec", "prepare"])
def test_one_that_fails_before_its_decision_is_undone_and_earlier_ones_stand(scene: Scene, fails: str) -> None:
    job_id = scene.daemon.submit(callbacks(scene), callbacks(scene, fail_in=[fails]), callbacks(scene))
    assert scene.daemon.wait_for(job_id) == "error"
    assert scene.fields(job_id, "opstatus") == [["success", "error", "error"]]
    assert scene.failure(job_id, 1) == f"{fails} was told to fail"
    assert scene.traced()[3:] == ["1 exec", *(["1 prepare"] if fails == "prepare" else []), "1 abort"]


def test_a_commit_that_fails_is_logged_and_makes_the_job_an_error(scene: Scene) -> None:
    job_id = scene.daemon.submit(callbacks(scene, fail_in=["commit"]), callbacks(scene))
    assert scene.daemon.wait_for(job_id) == "error"
    text = "OP_CALLBACKS could not commit its work: commit was told to fail"
    assert scene.failure(job_id) == text
    assert scene.log(job_id) == [text]
    assert scene.traced() == ["0 exec", "0 prepare", "0 commit"]


def test_an_abort_that_fails_is_logged(scene: Scene) -> None:
    job_id = scene.daemon.submit(callbacks(scene, fail_in=["exec", "abort"]))
    assert scene.daemon.wait_for(job_id) == "error"
    assert "OP_CALLBACKS could not abort its work: abort was told to fail" in scene.log(job_id)


def test_a_canceled_opcode_is_undone(scene: Scene) -> None:
    op = {**callbacks(scene, until=scene.gate("never")), "OP_ID": "OP_STOPPABLE_CALLBACKS"}
    job_id = scene.daemon.submit(op)
    wait_until(scene.traced, "the opcode to run")
    assert scene.daemon.call("CancelJob", job_id)[0] is True
    assert scene.daemon.wait_for(job_id) == "canceled"
    assert scene.traced() == ["0 exec", "0 abort"]


def test_code_that_cannot_be_stopped_is_not_canceled_and_the_answer_says_why(scene: Scene) -> None:
    job_id = scene.daemon.submit(callbacks(scene, until=scene.gate("end")))
    wait_until(scene.traced, "the opcode to run")
    canceled, why = scene.daemon.call("CancelJob", job_id)
    assert (canceled, scene.daemon.status(job_id)) == (False, "running")
    assert "OP_CALLBACKS" in why
    scene.open("end")
    assert scene.daemon.wait_for(job_id) == "success"


def test_after_a_crash_a_restartable_opcode_is_undone_and_runs_again(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", {}) as daemon:
        scene = Scene(daemon, tmp_path)
        op = {**callbacks(scene, until=scene.gate("end")), "OP_ID": "OP_STOPPABLE_CALLBACKS"}
        again, once = daemon.submit(op), daemon.submit(scene.holder("never"), DUMMY)
        wait_until(scene.traced, "the opcode to run")
        daemon.wait_for(once, "running")
        daemon.kill()
        daemon.start()
        wait_until(lambda: scene.traced() == ["0 exec", "0 abort", "0 exec"], "it to be undone and to run again")
        scene.open("end")
        assert [daemon.wait_for(again), daemon.wait_for(once)] == ["success", "error"]
        assert scene.failure(once) == "The daemon died while this opcode ran"


# Code that misbehaves


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("exit", "The opcode's code raised SystemExit: good bye"),
        ("interrupt", "The opcode's code raised KeyboardInterrupt: "),
        ("no text", "ValueError"),
        ("unstorable", "The opcode's result cannot be stored: can not serialize 'set' object"),
        ("nan", "The opcode's result cannot be stored: Out of range float values are not JSON compliant"),
        ("huge", "The opcode's result is larger than 1048576 bytes; put it into a file"),
        ("deep", "The opcode's result cannot be stored: recursion limit exceeded"),
    ],
)
def test_what_an_opcode_should_not_do_ends_it_and_nothing_else(scene: Scene, how: str, text: str) -> None:
    job_id = scene.daemon.submit({"OP_ID": "OP_MISBEHAVE", "how": how})
    assert scene.daemon.wait_for(job_id) == "error"
    assert scene.failure(job_id).startswith(text)
    assert scene.daemon.wait_for(scene.daemon.submit(DUMMY)) == "success"


def test_a_result_that_can_be_stored_comes_back_as_it_was(scene: Scene) -> None:
    result: dict[str, Any] = {"text": "grüß \U0001f600", "list": [1, -2.5, None, True], "big": 2**62, "1": {}}
    job_id = scene.daemon.submit({**DUMMY, "result": result})
    scene.daemon.wait_for(job_id, "success")
    assert scene.fields(job_id, "opresult") == [[result]]
