"""Descriptions dropped into `incoming/` of a running, stopped or killed daemon: each is submitted once."""

from __future__ import annotations

import json
import os
import random
import signal
import statistics
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from ..conftest import MakeDaemon
from .daemon import Daemon, wait_until
from .notes import NOTING, Notes

HOUR: dict[str, object] = {"rescan": "1h"}


def write(directory: Path, names: Iterable[str]) -> list[Path]:
    """Writes one description a name beside the directory that takes them."""
    directory.mkdir(exist_ok=True)
    paths = []
    for name in names:
        path = directory / name
        path.write_text(json.dumps({"name": name, "ops": [{"OP_ID": "OP_TEST_DUMMY"}]}))
        paths.append(path)
    return paths


def drop(daemon: Daemon, paths: Iterable[Path]) -> None:
    for path in paths:
        path.rename(daemon.state / "incoming" / path.name)


def names(daemon: Daemon) -> Counter[str]:
    return Counter(name for (name,) in daemon.call("QueryJobs", None, ["name"], None))


def dropped(daemon: Daemon) -> list[str]:
    return os.listdir(daemon.state / "incoming")


def test_a_file_renamed_in_is_submitted_within_100_ms_without_a_scan(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    daemon = make_daemon({"incoming": HOUR}).start()
    client = daemon.connect()
    client.call("Subscribe", {"jobs": None, "log": False, "changes": True})
    seconds = []
    for path in write(tmp_path / "drops", [f"drop{number}" for number in range(9)]):
        before = time.monotonic()
        drop(daemon, [path])
        next(client.notifications(timeout=10))
        seconds.append(time.monotonic() - before)
        wait_until(lambda: "success" in daemon.call("QueryStatus")["jobs"], "the job to run")
        for _ in client.notifications(timeout=0.2):
            pass
    # One of them may meet a busy machine; what waited for a scan would take them all an hour.
    assert statistics.median(seconds) < 0.1, seconds
    assert len(names(daemon)) == 9


def test_twenty_thousand_at_once_are_each_submitted_once(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    config: dict[str, dict[str, object]] = {"incoming": HOUR, "opcodes": NOTING, "workers": {"size": 1}}
    daemon = make_daemon(config).start()
    blocker = daemon.submit(Notes(tmp_path / "notes").op(hold=1000, again=True))
    daemon.wait_for(blocker, "running")
    paths = write(tmp_path / "drops", [f"drop{number}" for number in range(20_000)])
    daemon.signal(signal.SIGSTOP)  # so that the kernel's queue of 16,384 events overflows, whatever the machine
    drop(daemon, paths)
    daemon.signal(signal.SIGCONT)
    wait_until(lambda: not dropped(daemon), "all drops to be taken", timeout=60, every=0.2)
    found = names(daemon)
    del found[""]
    assert sum(found.values()) == 20_001 and {found[path.name] for path in paths} == {1}


def test_what_was_dropped_while_the_daemon_was_down_is_submitted_once(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    daemon = make_daemon({"incoming": HOUR}).start()
    for turn in range(2):
        assert daemon.stop() == 0
        drop(daemon, write(tmp_path / "drops", [f"drop{turn}"]))
        daemon.start()
        wait_until(lambda: not dropped(daemon), "the drop to be taken")
    daemon.restart()
    assert names(daemon) == {"drop0": 1, "drop1": 1}


def test_kills_at_any_point_lose_no_drop_and_double_none(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    chance = random.Random(3)
    daemon = make_daemon({"incoming": HOUR}).start()
    expected: Counter[str] = Counter()
    for turn in range(5):
        paths = write(tmp_path / "drops", [f"drop{turn}-{number}" for number in range(150)])
        expected.update(path.name for path in paths)
        drop(daemon, paths)
        time.sleep(chance.uniform(0, 0.15))
        daemon.kill()
        daemon.start()
    wait_until(lambda: not dropped(daemon), "all drops to be taken")
    assert names(daemon) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ops: [{OP_ID: OP_TEST_DUMY}]", "OP_TEST_DUMMY"),
        ("ops: [{OP_ID: OP_TEST_DELAY}]", "needs duration"),
        ("{", "not YAML"),
        ("", "no job in it"),
    ],
)
def test_a_bad_one_is_rejected_with_the_reason(daemon: Daemon, tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    drop(daemon, [path])
    rejected = daemon.state / "rejected"
    wait_until((rejected / "bad.yaml.error").exists, "the bad file to be rejected")
    assert reason in (rejected / "bad.yaml.error").read_text()
    assert (rejected / "bad.yaml").read_text() == text
    assert dropped(daemon) == []
    assert daemon.call("QueryStatus")["last_id"] == 0


def test_while_drained_they_stay_and_are_taken_afterwards(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    daemon = make_daemon({"incoming": HOUR}).start()
    daemon.call("SetDrainFlag", True, "maintenance")
    drop(daemon, write(tmp_path / "drops", ["one", "two"]))
    wait_until(lambda: "dropped files stay" in daemon.said(), "the daemon to leave them there")
    daemon.restart()
    wait_until(lambda: daemon.said().count("dropped files stay") == 2, "the daemon to leave them there again")
    assert sorted(dropped(daemon)) == ["one", "two"] and not names(daemon)
    daemon.call("SetDrainFlag", False)
    wait_until(lambda: not dropped(daemon), "both to be taken")
    assert names(daemon) == {"one": 1, "two": 1}
