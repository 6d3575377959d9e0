"""Sessions that were recorded of QEMU's monitor (7.2, also of its storage daemon), replayed with equivalent jobs.

Each must give the same answer to the same command in the same state, and the same sequence of states for each job;
what may differ stands in `replay.differences`. Further recordings are added with `condense.py`; as they were recorded,
they are read as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ..conftest import MakeDaemon
from .replay.player import Player
from .replay.recording import Recording
from .replay.rows import Case, Row, cases, read
from .replay.script import Script

TRACES = Path(__file__).with_name("traces")
# Code that nothing stops is to be given up soon after SIGTERM.
CONFIG: dict[str, dict[str, object]] = {"stop": {"grace": 0.1}}


def _all() -> list[object]:
    return [
        pytest.param(path.name, case, id=f"{path.stem}: {case.name}")
        for path in sorted(TRACES.glob("*.jsonl"))
        for case in cases(read(path))
    ]


@pytest.mark.parametrize("name, case", _all())
def test_a_recorded_session_goes_as_it_went(name: str, case: Case, make_daemon: MakeDaemon, tmp_path: Path) -> None:
    daemon = make_daemon(CONFIG).start()
    problems = Player(Script(Recording(case)), daemon, tmp_path / "notes").play()
    assert not problems, "\n".join(f"{name}, row {row}: {text}" for row, text in problems)


# A replay that finds nothing wrong is worth something only if it finds what is.


def another_status(rows: list[Row], at: int) -> None:
    rows[at] = replace(rows[at], message={"event": "JOB_STATUS_CHANGE", "data": {"status": "null", "id": "c1"}})


def no_event(rows: list[Row], at: int) -> None:
    rows[at] = replace(rows[at], kind="note")


def another_text(rows: list[Row], at: int) -> None:
    error = {"class": "GenericError", "desc": "Job 'c1' in state 'pending' cannot accept command verb 'pause'"}
    rows[at] = replace(rows[at], message={**rows[at].message, "error": error})


@pytest.mark.parametrize(
    "change, kind, text, complaint",
    [
        (another_status, "event", "concluded", "null expected, got concluded"),
        (no_event, "event", "pending", "concluded expected, got pending"),
        (another_text, "reply", "verb 'pause'", "'pending' cannot accept command verb 'pause'"),
    ],
)
def test_a_session_that_goes_another_way_is_told_with_the_row(
    change: Callable[[list[Row], int], None],
    kind: str,
    text: str,
    complaint: str,
    make_daemon: MakeDaemon,
    tmp_path: Path,
) -> None:
    rows = list(cases(read(TRACES / "a_create.jsonl"))[0].rows)
    at = next(index for index, row in enumerate(rows) if row.kind == kind and text in str(row.message))
    change(rows, at)
    daemon = make_daemon(CONFIG).start()
    problems = Player(Script(Recording(Case("changed", rows))), daemon, tmp_path / "notes").play()
    row, told = problems[0]
    assert complaint in told
    assert row in (rows[at].number, rows[at].number + 1)
