"""`Query` and `QueryFields`: tables with their column definitions, in Ganeti's form.

A cell is `[0, value]`, `[1, null]` in a column nobody knows, or `[3, null]` where there is no value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed

from jqueue.errors import OpPrereqError
from jqueue.jobs import fields as job_fields
from jqueue.jobs.filters import compile_filter
from jqueue.jobs.rows import Row, RowStream
from jqueue.rpc.api import QueueApi
from jqueue.rpc.parameters import JobId

NORMAL = 0
UNKNOWN = 1
UNAVAILABLE = 3

Definition = dict[str, str]


class Column(Protocol):
    """What there is to say about a column."""

    @property
    def name(self) -> str:
        """As it is asked for."""
        ...

    @property
    def title(self) -> str:
        """The head of the column."""
        ...

    @property
    def kind(self) -> str:
        """One of Ganeti's words for how it is shown."""
        ...

    @property
    def doc(self) -> str:
        """A sentence about it, without its full stop."""
        ...


_LOCK_COLUMNS: dict[str, Definition] = {
    name: {"name": name, "title": title, "kind": kind, "doc": doc}
    for name, title, kind, doc in (
        ("name", "Name", "text", "Level and name of the lock"),
        ("mode", "Mode", "text", "How it is held, null if it is free"),
        ("owner", "Owner", "other", "The jobs that hold it"),
        ("pending", "Pending", "other", "Mode and jobs of those who wait for it"),
    )
}


def _definitions(columns: Mapping[str, Column]) -> dict[str, Definition]:
    return {
        name: {"name": name, "title": column.title, "kind": column.kind, "doc": column.doc}
        for name, column in columns.items()
    }


def _table(what: str) -> dict[str, Definition]:
    if what == "job":
        return _definitions(job_fields.FIELDS)
    if what == "lock":
        return _LOCK_COLUMNS
    raise OpPrereqError(f"there is nothing called '{what}' to query; it is 'job' or 'lock'")


def _select(known: Mapping[str, Definition], names: list[str]) -> list[Definition]:
    """Gives the definitions in the order asked for; an unknown one is told as such, not refused."""
    return [
        known.get(name) or {"name": name, "title": name, "kind": "unknown", "doc": f"Unknown field '{name}'"}
        for name in names
    ]


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def query_fields(what: str, names: list[str] | None) -> dict[str, list[Definition]]:
    """Answers `QueryFields`.

    @param names: the columns asked for; None for all, by name
    @raise OpPrereqError: there is no such table
    """
    known = _table(what)
    return {"fields": _select(known, sorted(known, key=_natural) if names is None else names)}


def query(queue: QueueApi, what: str, names: list[str], qfilter: object) -> Deferred[dict[str, Any]]:
    """Answers `Query`.

    @param qfilter: Ganeti's filter lists, null for all rows
    @return: fires with `fields` and `data`
    @raise OpPrereqError: there is no such table
    """
    definitions = _select(_table(what), names)
    known = [field["name"] for field in definitions if field["kind"] != "unknown"]
    positions = [known.index(name) if name in known else None for name in names]

    def cells(row: Row) -> Row:
        return [
            [UNKNOWN, None] if at is None else [UNAVAILABLE, None] if row[at] is None else [NORMAL, row[at]]
            for at in positions
        ]

    def answer(rows: RowStream | list[Any]) -> dict[str, Any]:
        data = rows.map(cells) if isinstance(rows, RowStream) else [cells(row) for row in rows]
        return {"fields": definitions, "data": data}

    if what == "lock":
        return succeed(answer(_lock_rows(queue, known, qfilter)))
    ids = _ids_only(qfilter)
    return queue.query_jobs(ids, known, None if ids else qfilter).addCallback(answer)


def _ids_only(qfilter: object) -> list[int] | None:
    """Reads a filter that names jobs and nothing else; then even a job that does not exist gets its row."""
    match qfilter:
        case ["==" | "=", "id", value] if JobId().fits(value):
            return [JobId().check(value, "qfilter: id")]
        case ["|", *parts] if parts:
            ids = [_ids_only(part) for part in parts]
            named = [each for each in ids if each is not None]
            return [job_id for each in named for job_id in each] if len(named) == len(parts) else None
    return None


def _lock_rows(queue: QueueApi, names: list[str], qfilter: object) -> list[Row]:
    locks = [
        {"name": lock["name"], "mode": lock["mode"], "owner": lock["owners"] or None, "pending": lock["pending"]}
        for lock in queue.query_locks()
    ]
    matches = compile_filter(qfilter, {name: column["kind"] for name, column in _LOCK_COLUMNS.items()})
    return [[lock[name] for name in names] for lock in locks if matches(lock.__getitem__)]
