"""Where a job is, in words, state by state."""

from __future__ import annotations

from typing import Any

import pytest

from jqueue.cli.stages import advice_text, needs, note, stage_text

COPYING = [42, 100, "copying"]


def row(lifecycle: str, status: str = "running", **more: Any) -> dict[str, Any]:
    base = {"id": 42, "status": status, "lifecycle": lifecycle, "progress": None}
    details = {"phase": "work", "paused": False, "speed": 0, "group": None, "members": None, "completion": None}
    return {**base, **details, **more}


@pytest.mark.parametrize(
    ("job", "text"),
    [
        (row("created", "queued"), None),
        (row("created", "queued", paused=True), "paused"),
        (row("running"), None),
        (row("running", progress=COPYING), "42% copying"),
        (row("running", progress=COPYING, speed=10 * 2**20), "42% copying, at most 10 MiB/s"),
        (row("running", speed=65536), "at most 64 KiB/s"),
        (row("running", progress=COPYING, paused=True), "42% copying, pausing"),
        (row("running", "canceling", paused=True), None),
        (row("paused", paused=True), "paused"),
        (row("paused", paused=True, progress=COPYING, speed=65536), "paused at 42% copying"),
        (row("paused", "queued", paused=True), "paused"),
        (row("ready", progress=[7, 7, ""]), "ready: `jqueue complete 42`"),
        (row("ready", completion="complete"), "ready, told to end"),
        (row("ready", completion="leave", speed=65536), "ready, told to end, at most 64 KiB/s"),
        (row("standby", paused=True), "standby: `jqueue resume 42`"),
        (row("standby"), "standby"),
        (row("waiting", phase="waiting", members=[41, 44]), "done, waits for its group (41-44)"),
        (row("waiting", group="web", members=[41, 44]), "done, waits for its group web (41-44)"),
        (row("pending", phase="pending"), "pending: `jqueue finalize 42`"),
        (row("pending", phase="committing"), "being finalized"),
        (row("pending", phase="preparing"), "being finalized"),
        (row("aborting", phase="aborting"), "aborting"),
        (row("aborting", "canceling", phase="aborting"), None),
        (row("concluded", "success", phase="done"), None),
        (row("null", "error", phase="done"), None),
    ],
)
def test_the_stage_says_what_the_status_does_not(job: dict[str, Any], text: str | None) -> None:
    assert stage_text(job) == text


def test_a_job_of_which_only_the_usual_fields_are_known_has_a_stage() -> None:
    usual = {"id": 42, "status": "running", "lifecycle": "running", "progress": COPYING}
    assert stage_text(usual) == "42% copying"
    assert stage_text({**usual, "status": "success", "lifecycle": "concluded", "progress": None}) is None


@pytest.mark.parametrize(
    ("job", "verb", "words"),
    [
        (row("running"), None, ""),
        (row("paused", paused=True), None, "paused"),
        (row("ready"), "complete", "ready"),
        (row("ready", completion="complete"), None, "ready"),
        (row("standby", paused=True), None, "standby"),
        (row("waiting", phase="waiting"), None, "waiting for its group"),
        (row("pending", phase="pending"), "finalize", "pending"),
        (row("pending", phase="committing"), None, ""),
        (row("aborting"), None, "aborting"),
        (row("aborting", "canceling"), None, ""),
        (row("concluded", "error"), None, ""),
    ],
)
def test_only_what_waits_for_its_user_needs_a_verb(job: dict[str, Any], verb: str | None, words: str) -> None:
    assert needs(job) == verb
    assert note(job, verb) == words


@pytest.mark.parametrize(
    ("verb", "members", "text"),
    [
        ("complete", None, "job 42 is ready: `jqueue complete 42` ends it"),
        ("complete", [41, 44], "job 42 is ready: `jqueue complete 42` ends it"),
        ("finalize", None, "job 42 is pending: `jqueue finalize 42` ends it"),
        ("finalize", [42, 42], "job 42 is pending: `jqueue finalize 42` ends it"),
        ("finalize", [41, 44], "the group of jobs 41-44 is pending: `jqueue finalize 41` ends it"),
    ],
)
def test_what_a_job_waits_for_is_said_with_the_command_for_it(verb: str, members: list[int] | None, text: str) -> None:
    assert advice_text(42, verb, members) == text
