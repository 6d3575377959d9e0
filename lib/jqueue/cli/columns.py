"""The columns of a table of jobs, and the keys of a job in JSON: which fields each needs, and how it is shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jqueue.cli.output import Column
from jqueue.cli.rates import rate_text
from jqueue.cli.stages import DETAILS, ids_text, stage_text
from jqueue.cli.times import duration_text, iso, seconds_of
from jqueue.cli.words import progress_text

Row = Mapping[str, Any]
Compute = Callable[[Row, float], Any]

USUAL = ("id", "status", "priority", "age", "stage", "job")
USUAL_JSON = (
    *("id", "name", "status", "lifecycle", "priority", "summary", "owner"),
    *("received_ts", "start_ts", "end_ts", "progress"),
)


@dataclass(frozen=True)
class JobColumn:
    """One column: its table side, the job fields it is made of, and its value from them and the wall time."""

    column: Column
    fields: tuple[str, ...]
    value: Compute
    details: tuple[str, ...] = ()
    """More fields, of jobs that have not ended; of others they would have to be read from the disk, one by one."""


def column(name: str) -> JobColumn:
    """Gives the column of that name; another name is a field of the job, which the daemon knows or refuses."""
    return _COLUMNS.get(name) or JobColumn(Column(name.upper()), (name,), lambda row, now: row[name])


def fields_of(names: Sequence[str]) -> list[str]:
    """Gives the job fields that these columns need, each once."""
    return list(dict.fromkeys(field for name in names for field in column(name).fields))


def details_of(names: Sequence[str]) -> list[str]:
    """Gives the fields that these columns need of jobs that have not ended, beside `fields_of`."""
    return list(dict.fromkeys(field for name in names for field in column(name).details))


def text_of(name: str, value: Any, now: float) -> str:
    """Shows a value to people: times relative, "-" for none."""
    if value is None:
        return "-"
    if name in ("age", "took"):
        return duration_text(value)
    if name == "progress":
        return progress_text(value)
    if name == "speed":
        return rate_text(value) if value else "-"
    if name == "members":
        return ids_text(value)
    if name.endswith("_ts"):
        return duration_text(now - (seconds_of(value) or now)) + " ago"
    if name in _TIMES_OF_OPCODES:
        return ", ".join(
            "-" if one is None else duration_text(now - (seconds_of(one) or now)) + " ago" for one in value
        )
    if isinstance(value, list) and all(isinstance(part, (str, int)) for part in value):
        return ", ".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)


def json_of(name: str, value: Any) -> Any:
    """Gives a value as a program wants it: times in ISO 8601 with zone, durations in seconds."""
    if name.endswith("_ts"):
        return iso(value)
    if name in _TIMES_OF_OPCODES and value is not None:
        return [iso(one) for one in value]
    if name == "progress" and value is not None:
        return dict(zip(("done", "total", "text"), value, strict=False))
    return value


def job_text(row: Row) -> str:
    """Says in a few words which job it is: its name, and what it does."""
    steps = ", ".join(row.get("summary") or [])
    return f"{row['name']}: {steps}" if row.get("name") else steps


def took(row: Row, now: float) -> float | None:
    """Gives how long a job has run, up to now if it has not ended, in seconds."""
    start, end = seconds_of(row["start_ts"]), seconds_of(row["end_ts"])
    return None if start is None else max((end if end is not None else now) - start, 0.0)


def _age(row: Row, now: float) -> float | None:
    received = seconds_of(row["received_ts"])
    return None if received is None else max(now - received, 0.0)


_TIMES_OF_OPCODES = frozenset({"opstart", "opexec", "opend"})


def _plain(name: str, title: str, right: bool = False, elastic: bool = False) -> JobColumn:
    return JobColumn(Column(title, right, elastic), (name,), lambda row, now: row[name])


_COLUMNS = {
    "id": _plain("id", "ID", right=True),
    "status": _plain("status", "STATUS"),
    "lifecycle": _plain("lifecycle", "LIFECYCLE"),
    "priority": _plain("priority", "PRIO", right=True),
    "name": _plain("name", "NAME", elastic=True),
    "summary": _plain("summary", "SUMMARY", elastic=True),
    "progress": _plain("progress", "PROGRESS", elastic=True),
    "received_ts": _plain("received_ts", "RECEIVED"),
    "start_ts": _plain("start_ts", "STARTED"),
    "end_ts": _plain("end_ts", "ENDED"),
    "stage": JobColumn(
        Column("STAGE", elastic=True),
        ("id", "status", "lifecycle", "progress"),
        lambda row, now: stage_text(row),
        DETAILS,
    ),
    "speed": _plain("speed", "SPEED", right=True),
    "group": _plain("group", "GROUP", elastic=True),
    "members": _plain("members", "MEMBERS"),
    "age": JobColumn(Column("AGE", right=True), ("received_ts",), _age),
    "took": JobColumn(Column("TOOK", right=True), ("start_ts", "end_ts"), took),
    "job": JobColumn(Column("JOB", elastic=True), ("name", "summary"), lambda row, now: job_text(row)),
}
OWN = tuple(_COLUMNS)
"""Names of the columns that are known here."""
