"""`fsck`: what it says and exits with; what it finds is in test/unit/client/test_fsck.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import jqueue
from jqueue.store.statedir import DirectoryLock

from ...client.queuedir import QueueDirectory, flip, healthy, snapshot_of

if TYPE_CHECKING:
    from test.unit.cli.conftest import Shell


@pytest.fixture
def damaged(tmp_path: Path) -> QueueDirectory:
    made = healthy(tmp_path / "q")
    flip(next(made.state.journal.glob("*.seg")), made.offsets[1] + 40)
    return made


def test_a_healthy_directory_is_a_list_of_lines_and_status_0(shell: Shell, tmp_path: Path) -> None:
    healthy(tmp_path)
    result = shell("fsck", str(tmp_path))
    assert (result.status, result.err) == (0, "nothing is damaged\n")
    lines = result.out.splitlines()
    assert lines[0] == "ok          version     layout 1"
    assert "next start  jobs        job 2: ran when the daemon ended; queued again if restartable, else error" in lines
    assert shell.daemon.connections == []
    assert shell("fsck", "--state-dir", str(tmp_path)).out == result.out


def test_damage_is_status_1_and_says_what_to_do(shell: Shell, damaged: QueueDirectory) -> None:
    result = shell("fsck", str(damaged.state.path))
    assert result.status == 1
    [line] = [line for line in result.out.splitlines() if line.startswith("damaged")]
    assert f"byte {damaged.offsets[1]}: the batch of record 3 is damaged" in line
    assert result.err == (
        f"1 finding of damage\n`jqueue fsck {damaged.state.path} --repair --yes` does this; copy the directory first\n"
    )
    assert [line.split(None, 2)[2] for line in result.out.splitlines() if line.startswith("repair")] == [
        "keeps everything before the damage, and sets aside 4 records behind record 2 (2 of them unreadable)",
        "job 3: forgotten; the files are set aside, the ids not used again",
        "jobs 1-2: again as before the damage",
        "jobs 1-2: may have run, and paused for that reason; look, then `jqueue resume` or `jqueue cancel` each",
    ]


def test_in_json_it_has_the_documented_keys(shell: Shell, damaged: QueueDirectory) -> None:
    answer = json.loads(shell("fsck", str(damaged.state.path), "--json").out)
    assert set(answer) == {"directory", "daemon", "damaged", "findings", "repair", "aside"}
    assert (answer["directory"], answer["daemon"], answer["damaged"]) == (str(damaged.state.path), None, 1)
    assert all(set(each) == {"level", "part", "text", "path", "offset"} for each in answer["findings"])
    assert answer["repair"] == {
        "kept": 2,
        "readable": 2,
        "unreadable": 2,
        "vanished": [3],
        "older": [1, 2],
        "held": [1, 2],
        "last_id": 3,
    }


def test_a_repair_has_to_be_confirmed(shell: Shell, damaged: QueueDirectory) -> None:
    before = snapshot_of(damaged.state.path)
    result = shell("fsck", str(damaged.state.path), "--repair")
    assert result.status == 1
    assert "nothing was changed; copy the directory first, then add --yes" in result.err
    assert snapshot_of(damaged.state.path) == before
    assert shell("fsck", str(damaged.state.path), "--yes").status == 2


def test_a_repair_says_where_the_rest_is(shell: Shell, damaged: QueueDirectory) -> None:
    result = shell("fsck", str(damaged.state.path), "--repair", "--yes")
    assert result.status == 0
    [aside] = damaged.state.journal.glob("damaged-*")
    assert f"repaired: the rest of the journal is in {aside};" in result.err
    assert shell("fsck", str(damaged.state.path)).status == 0
    again = shell("fsck", str(damaged.state.path), "--repair", "--yes")
    assert (again.status, again.err) == (0, "nothing is damaged; there is nothing to repair\n")


def test_damage_that_no_repair_mends_stays_status_1(shell: Shell, tmp_path: Path) -> None:
    made = healthy(tmp_path)
    made.state.version.write_text("7\n")
    result = shell("fsck", str(tmp_path), "--repair", "--yes")
    assert result.status == 1
    assert "there is none that it can mend" in result.err


def test_a_repair_beside_a_daemon_is_refused(shell: Shell, damaged: QueueDirectory) -> None:
    lock = DirectoryLock(damaged.state)
    lock.acquire()
    before = snapshot_of(damaged.state.path)
    try:
        result = shell("fsck", str(damaged.state.path), "--repair", "--yes")
    finally:
        lock.release()
    assert (result.status, result.out) == (1, "")
    assert "stop it first; nothing was changed" in result.err
    assert snapshot_of(damaged.state.path) == before


def test_a_directory_is_named_once(shell: Shell, tmp_path: Path) -> None:
    assert shell("fsck", str(tmp_path), "--state-dir", str(tmp_path)).status == 2
    result = shell("fsck", str(tmp_path / "none"))
    assert (result.status, result.out) == (1, "")
    assert str(tmp_path / "none") in result.err


@pytest.mark.parametrize("verb", ["fsck", "doctor"])
def test_they_load_no_twisted(tmp_path: Path, verb: str) -> None:
    healthy(tmp_path)
    code = (
        "import sys\n"
        "from jqueue.cli.main import main\n"
        "status = main(sys.argv[1:])\n"
        "print(status, [name for name in ('twisted', 'asyncio', 'pyinotify', 'yaml') if name in sys.modules])\n"
    )
    words = [verb, "--state-dir", str(tmp_path), "--socket", str(tmp_path / "none.sock")]
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        env={**os.environ, "PYTHONPATH": str(Path(jqueue.__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.splitlines()[-1] == f"{0 if verb == 'fsck' else 1} []"
