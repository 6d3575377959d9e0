"""`jqueue fsck` on what a real daemon writes: beside it, after a kill, and a repair after which it starts again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ..conftest import MakeDaemon
from .daemon import Daemon, wait_until

DONE = {"OP_ID": "OP_TEST_DUMMY", "result": "done"}
QUEUED = {"OP_ID": "OP_TEST_DUMMY", "not_before": 4e9}
TOOL = Path(__file__).resolve().parents[2] / "tools" / "jqueue"


def fsck(daemon: Daemon, *words: str) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, str(TOOL), "fsck", str(daemon.state), "--json", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def mended_at_start(answer: dict[str, Any]) -> list[str]:
    """What a start sees to, but for the segment that every start begins to prepare."""
    texts = [each["text"] for each in answer["findings"] if each["level"] == "next start"]
    return [text for text in texts if "not finished" not in text]


def used(segment: Path) -> int:
    return len(segment.read_bytes().rstrip(b"\0"))


def test_beside_a_daemon_it_names_it_and_finds_nothing_wrong(daemon: Daemon) -> None:
    daemon.wait_for(daemon.submit(DONE))
    daemon.submit(QUEUED)
    status, answer = fsck(daemon)
    assert (status, answer["damaged"], mended_at_start(answer)) == (0, 0, [])
    assert answer["daemon"]["pid"] == daemon.pid


def test_after_a_clean_stop_everything_is_fine(daemon: Daemon) -> None:
    daemon.wait_for(daemon.submit(DONE))
    daemon.submit(QUEUED)
    assert daemon.stop() == 0
    status, answer = fsck(daemon)
    assert (status, answer["damaged"], mended_at_start(answer), answer["daemon"]) == (0, 0, [], None)


def test_after_a_kill_nothing_is_damaged_and_a_start_sees_to_the_rest(daemon: Daemon) -> None:
    running = daemon.submit({"OP_ID": "OP_TEST_DELAY", "duration": 600})
    daemon.wait_for(running, "running")
    daemon.kill()
    (daemon.state / f"job-{running}").unlink(missing_ok=True)
    status, answer = fsck(daemon)
    assert status == 0
    mended = " ".join(mended_at_start(answer))
    assert f"job {running}: ran when the daemon ended" in mended and f"job {running}: the file is missing" in mended
    daemon.start()
    assert daemon.wait_for(running) == "error"
    assert daemon.stop() == 0
    assert mended_at_start(fsck(daemon)[1]) == []


def test_after_a_repair_the_daemon_starts_and_has_the_jobs_from_before_the_damage(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon().start()
    done = daemon.submit(DONE, name="done")
    daemon.wait_for(done)
    queued = daemon.submit(QUEUED, name="queued")
    daemon.wait_for(queued, "waiting")
    begun = daemon.submit({"OP_ID": "OP_TEST_DELAY", "duration": 600}, {"OP_ID": "OP_TEST_DUMMY"})
    daemon.wait_for(begun, "running")
    [segment] = (daemon.state / "journal").glob("*.seg")
    spoiled = used(segment) + 10
    lost = [daemon.submit(QUEUED, name="lost"), daemon.submit(QUEUED, name="lost too")]
    daemon.call("ChangeJobPriority", queued, 10)
    wait_until(lambda: (daemon.state / f"job-{lost[-1]}").exists(), "the job file")
    daemon.kill()
    data = bytearray(segment.read_bytes())
    data[spoiled] ^= 1
    segment.write_bytes(data)
    assert daemon.refused()[0] == 1
    status, answer = fsck(daemon)
    assert status == 1
    assert answer["repair"]["vanished"] == lost
    assert answer["repair"]["held"] == [queued]
    assert os.fspath(segment) in {each["path"] for each in answer["findings"] if each["level"] == "damaged"}
    status, answer = fsck(daemon, "--repair", "--yes")
    assert status == 0
    daemon.start()
    rows = daemon.call("QueryJobs", None, ["id", "name", "status", "paused"], None)
    assert [row[:2] for row in rows] == [[done, "done"], [queued, "queued"], [begun, None]]
    assert daemon.status(done) == "success"
    assert daemon.wait_for(begun) == "error", "it ran when the daemon died"
    assert [row[3] for row in rows] == [False, True, False], "what the lost records spoke of waits for a look"
    assert {path.name for path in Path(answer["aside"]).iterdir()} >= {segment.name, *(f"job-{each}" for each in lost)}
    assert daemon.submit(QUEUED) > max(lost), "no id is given out twice"
    status, answer = fsck(daemon, "--repair", "--yes") if daemon.stop() == 0 else (1, {})
    assert status == 0 and answer["damaged"] == 0


def test_a_repair_is_refused_while_the_daemon_runs(daemon: Daemon) -> None:
    done = subprocess.run(
        [sys.executable, str(TOOL), "fsck", str(daemon.state), "--repair", "--yes"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert f"process {daemon.pid} " in done.stderr
