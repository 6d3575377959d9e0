"""The rows of a recorded session, and the cases in it: one for each process that was recorded."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LAUNCH = "launch"
"""The text of the note that stands where a process was started."""


@dataclass(frozen=True)
class Row:
    """One row; what a kind of rows does not have is empty."""

    number: int
    """Its line in the file, from 1."""
    kind: str
    """One of: note, send, reply, event, greeting, raw-send, eof, exit."""
    conn: str = ""
    message: Any = None
    raw: bytes = b""
    text: str = ""
    status: int = 0
    """How the process ended."""


@dataclass(frozen=True)
class Case:
    """All rows of one process."""

    name: str
    rows: Sequence[Row]


def read(path: Path) -> list[Row]:
    """Reads a file, as it was recorded or condensed."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [row(number, json.loads(line)) for number, line in enumerate(lines, 1)]


def row(number: int, record: Mapping[str, Any]) -> Row:
    """Reads one row."""
    return Row(
        number,
        record["kind"],
        record.get("conn", ""),
        record.get("msg"),
        record.get("bytes", "").encode("latin-1"),
        record.get("text", ""),
        record.get("rc", 0),
    )


def cases(rows: Iterable[Row]) -> list[Case]:
    """Cuts a file into cases; a note between two processes belongs to the second."""
    parts: list[list[Row]] = [[]]
    ended = launched = False
    for each in rows:
        if ended or (launched and each.text == LAUNCH):
            parts.append([])
            launched = False
        ended = each.kind == "exit"
        launched = launched or each.text == LAUNCH
        parts[-1].append(each)
    return [Case(_name(part), part) for part in parts if any(each.kind != "note" for each in part)]


def _name(rows: Sequence[Row]) -> str:
    notes = [each.text for each in rows if each.kind == "note" and each.text != LAUNCH]
    titles = [note for note in notes if note.startswith("====")]
    return (titles or notes or [""])[0].strip("= ")
