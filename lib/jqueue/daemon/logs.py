"""The daemon's own log: one line an event, on stderr.

For systemd's journal with its priorities, else with the time; as text for people or as JSON for programs.
The logs of jobs do not live here, see `jqueue.events`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import TextIO

from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
    globalLogBeginner,
)
from twisted.python.failure import Failure
from zope.interface import implementer

_PRIORITIES = {"debug": 7, "info": 6, "warn": 4, "error": 3, "critical": 2}
_LEGACY_FIELDS = {"format", "isError", "message", "system", "time", "failure", "why"}
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {10: "\\n", 9: "\\t", 13: "\\r"}


def start(log_format: str, log_level: str) -> None:
    """Sends everything that the process logs to stderr; what was logged before is not lost.

    @param log_format: text or json
    @param log_level: the least level that is told: debug, info, warn, error or critical
    """
    globalLogBeginner.beginLoggingTo([observer(sys.stderr, log_format, log_level)], redirectStandardIO=False)


def observer(stream: TextIO, log_format: str, log_level: str) -> ILogObserver:
    """Makes what writes each event that is important enough as a line.

    @param stream: where to; flushed with every line
    """
    journal = _is_journal(stream, os.environ)
    render: Callable[[LogEvent], str]
    render = render_json if log_format == "json" else _render_plain if journal else render_text
    if journal:
        render = _with_priority(render)
    predicate = LogLevelFilterPredicate(LogLevel.levelWithName(log_level))
    return FilteringLogObserver(_LineObserver(stream, render), [predicate])


@implementer(ILogObserver)
class _LineObserver:
    def __init__(self, stream: TextIO, render: Callable[[LogEvent], str]) -> None:
        self._stream = stream
        self._render = render

    def __call__(self, event: LogEvent) -> None:
        self._stream.write(self._render(event) + "\n")
        self._stream.flush()


def render_text(event: LogEvent) -> str:
    """Renders an event for people, with the time."""
    return f"{_time(event)} {_level(event):8} {_render_plain(event)}"


def render_json(event: LogEvent) -> str:
    """Renders an event for programs: time, level, system, text, and the fields of the event that JSON can hold."""
    fields = {
        name: value
        for name, value in event.items()
        if not name.startswith("log_")
        and name not in _LEGACY_FIELDS
        and (value is None or isinstance(value, (bool, int, float, str)))
    }
    line = {"time": _time(event), "level": _level(event), "system": _system(event), "text": formatEvent(event)}
    if traceback := _traceback(event):
        line["traceback"] = traceback
    return json.dumps({**fields, **line})


def _render_plain(event: LogEvent) -> str:
    parts = [formatEvent(event), _traceback(event)]
    return f"{_system(event)}: {chr(10).join(part for part in parts if part)}".translate(_CONTROL)


def _with_priority(render: Callable[[LogEvent], str]) -> Callable[[LogEvent], str]:
    return lambda event: f"<{_PRIORITIES[_level(event)]}>{render(event)}"


def _is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Compares device and inode, as systemd.exec(5) asks: the variable is also inherited where stderr is another."""
    named = environ.get("JOURNAL_STREAM")
    if not named:
        return False
    try:
        status = os.fstat(stream.fileno())
    except OSError:
        return False
    return named == f"{status.st_dev}:{status.st_ino}"


def _level(event: LogEvent) -> str:
    level = event.get("log_level", LogLevel.info)
    return str(level.name)


def _system(event: LogEvent) -> str:
    return str(event.get("log_namespace", "-"))


def _time(event: LogEvent) -> str:
    moment = datetime.fromtimestamp(event.get("log_time", 0.0), timezone.utc)
    return moment.astimezone().isoformat(timespec="milliseconds")


def _traceback(event: LogEvent) -> str:
    failure = event.get("log_failure")
    return failure.getTraceback().rstrip() if isinstance(failure, Failure) else ""
