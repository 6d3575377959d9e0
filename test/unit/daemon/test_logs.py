"""The daemon's log: a line an event, in the form of whoever reads it."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest
from twisted.logger import Logger, LogLevel, LogPublisher

from jqueue.daemon.logs import observer


class Log:
    """A logger whose lines a test can read."""

    def __init__(self, log_format: str = "text", log_level: str = "debug") -> None:
        self.stream = io.StringIO()
        publisher = LogPublisher(observer(self.stream, log_format, log_level))
        self.logger = Logger("jqueue.store", observer=publisher)

    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()


def test_text_has_time_level_and_system() -> None:
    log = Log()
    log.logger.info("job {job}: started", job=42)
    [line] = log.lines()
    moment, rest = line.split(" ", 1)
    assert rest == "info     jqueue.store: job 42: started"
    assert "T" in moment
    assert moment[-6] in "+-"


def test_an_event_is_one_line_and_cannot_drive_a_terminal() -> None:
    log = Log()
    log.logger.warn("{text}", text="a\nb\x1b[31m\tc\x9b")
    [line] = log.lines()
    assert line.endswith("jqueue.store: a\\nb\\x1b[31m\\tc\\x9b")


def test_a_failure_brings_its_traceback_in_the_same_line() -> None:
    log = Log()
    try:
        raise ValueError("broken")
    except ValueError:
        log.logger.failure("job {job}: failed", job=7)
    [line] = log.lines()
    assert "critical jqueue.store: job 7: failed\\nTraceback" in line
    assert line.endswith("ValueError: broken")


def test_json_has_the_fields_of_the_event() -> None:
    log = Log("json")
    log.logger.error("job {job}: {what}", job=42, what="lost", where=Path("/x"))
    [line] = log.lines()
    event = json.loads(line)
    assert event.pop("time")[10] == "T"
    assert event == {
        "level": "error",
        "system": "jqueue.store",
        "text": "job 42: lost",
        "job": 42,
        "what": "lost",
    }


def test_json_has_the_traceback() -> None:
    log = Log("json")
    try:
        raise ValueError("broken")
    except ValueError:
        log.logger.failure("failed")
    [line] = log.lines()
    assert json.loads(line)["traceback"].endswith("ValueError: broken")


def test_less_than_the_level_is_not_told() -> None:
    log = Log(log_level="warn")
    for level in LogLevel.iterconstants():
        log.logger.emit(level, "{name}", name=level.name)
    assert [line.rsplit(" ", 1)[1] for line in log.lines()] == ["warn", "error", "critical"]


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_journal_gets_priorities(log_format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "stderr"
    with path.open("w") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        logger = Logger("jqueue", observer=LogPublisher(observer(stream, log_format, "debug")))
        for level in LogLevel.iterconstants():
            logger.emit(level, "x")
    lines = path.read_text().splitlines()
    assert [line[:3] for line in lines] == ["<7>", "<6>", "<4>", "<3>", "<2>"]
    assert lines[0] == "<7>jqueue: x" or json.loads(lines[0][3:])["text"] == "x"


def test_an_inherited_journal_of_another_stderr_does_not_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "1:1")
    log = Log()
    log.logger.info("x")
    assert not log.lines()[0].startswith("<")
    with (tmp_path / "stderr").open("w") as stream:
        Logger("jqueue", observer=LogPublisher(observer(stream, "text", "info"))).info("x")
    assert not (tmp_path / "stderr").read_text().startswith("<")
