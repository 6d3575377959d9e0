"""`doctor`: how it shows the checks, and exits; the checks are in test/unit/client/test_doctor.py."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from jqueue.client import doctor
from jqueue.client.checks import FAIL, OK, WARN, Check

if TYPE_CHECKING:
    from test.unit.cli.conftest import Shell

FINE = Check(OK, "socket", "the daemon answers")
SO_SO = Check(WARN, "drained", "new jobs are refused", "`jqueue drain off` opens the queue again")
BAD = Check(FAIL, "journal", "the disk is full", "free some space")


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Check]:
    checks: list[Check] = []

    def examine(*_: Any) -> Iterator[Check]:
        yield from checks

    monkeypatch.setattr(doctor, "examine", examine)
    return checks


def test_each_check_is_a_line_with_its_advice(shell: Shell, found: list[Check]) -> None:
    found += [FINE, SO_SO]
    assert shell("doctor") == (
        0,
        "ok    socket     the daemon answers\n"
        "warn  drained    new jobs are refused; `jqueue drain off` opens the queue again\n",
        "0 failures, 1 warning\n",
    )


def test_only_a_failure_is_status_1(shell: Shell, found: list[Check]) -> None:
    found.append(FINE)
    assert shell("doctor")[::2] == (0, "all is well\n")
    found.append(BAD)
    assert shell("doctor")[::2] == (1, "1 failure, 0 warnings\n")
    assert shell("doctor", "--quiet").err == ""


def test_on_a_terminal_the_level_is_coloured_and_spelled(shell: Shell, found: list[Check]) -> None:
    found.append(BAD)
    assert shell("doctor", tty=True).out.startswith("\x1b[31mfail\x1b[0m  journal")


def test_in_json_it_has_the_documented_keys(shell: Shell, found: list[Check]) -> None:
    found += [SO_SO, BAD]
    assert json.loads(shell("doctor", "--json").out) == {
        "failed": 1,
        "warned": 1,
        "checks": [
            {"level": "warn", "part": "drained", "text": SO_SO.text, "advice": SO_SO.advice},
            {"level": "fail", "part": "journal", "text": BAD.text, "advice": BAD.advice},
        ],
    }


def test_an_unreachable_daemon_is_a_check_that_failed(shell: Shell, gone: Exception) -> None:
    shell.daemon.refuse.append(gone)
    result = shell("doctor", "--state-dir", "/nowhere")
    assert result.status == 1
    assert result.out.startswith("fail  socket     The daemon cannot be reached")
    assert "directory" in result.out
