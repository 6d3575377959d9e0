"""`jqueue doctor` beside a real daemon, and without one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from .daemon import Daemon

TOOL = Path(__file__).resolve().parents[2] / "tools" / "jqueue"
HOLD = {"OP_ID": "OP_TEST_DELAY", "duration": 600, "locks": {"resource": {"tape": "exclusive"}}}


def doctor(daemon: Daemon, *words: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Gives the exit status, and by part what was found; the worst of several."""
    done = subprocess.run(
        [sys.executable, str(TOOL), "doctor", "--socket", str(daemon.socket), "--json", *words],
        env={**os.environ, "XDG_STATE_HOME": str(daemon.state / "not")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout, done.stderr
    checks = sorted(json.loads(done.stdout)["checks"], key=lambda check: ("ok", "warn", "fail").index(check["level"]))
    return done.returncode, {check["part"]: check for check in checks}


def test_a_daemon_that_is_well_is_said_to_be(daemon: Daemon) -> None:
    status, found = doctor(daemon)
    assert status == 0
    ours = ("socket", "version", "uptime", "drained", "journal", "job-files", "role", "waiting", "files")
    assert {part: found[part]["level"] for part in ours} == dict.fromkeys(ours, "ok")
    assert f"process {daemon.pid}" in found["socket"]["text"]
    assert "admin" in found["role"]["text"]
    assert str(daemon.state) in found["space"]["text"], "the directory is seen by the lock that the daemon holds"


def test_drained_and_behind_a_paused_job_are_warnings(daemon: Daemon) -> None:
    holder, waiter = daemon.submit(HOLD), daemon.submit(HOLD)
    daemon.wait_for(holder, "running")
    daemon.wait_for(waiter, "waiting")
    assert daemon.call("PauseJob", holder)[0]
    daemon.call("SetDrainFlag", True, "disk swap")
    status, found = doctor(daemon)
    assert status == 0
    assert (found["drained"]["level"], found["waiting"]["level"]) == ("warn", "warn")
    assert "disk swap" in found["drained"]["text"]
    assert found["waiting"]["text"].startswith(f"job {waiter} has waited ")
    assert found["waiting"]["advice"] == f"`jqueue resume {holder}` or `jqueue cancel {holder}`"


def test_without_a_daemon_it_fails_and_says_why(daemon: Daemon) -> None:
    daemon.kill()
    status, found = doctor(daemon, "--state-dir", str(daemon.state))
    assert status == 1
    assert found["socket"]["level"] == "fail"
    assert "nobody listens there" in found["socket"]["text"]
    daemon.socket.unlink()
    assert "there is no such socket" in doctor(daemon)[1]["socket"]["text"]


def test_a_daemon_elsewhere_is_named_when_the_socket_is_wrong(daemon: Daemon) -> None:
    status, found = doctor(daemon, "--socket", str(daemon.runtime / "wrong.sock"), "--state-dir", str(daemon.state))
    assert status == 1
    assert f"process {daemon.pid} " in found["socket"]["advice"]
