"""Short recordings, made up for tests of the replay."""

from __future__ import annotations

from typing import Any

from .replay.recording import Recording
from .replay.rows import LAUNCH, Case, Row

BACKUP = "blockdev-backup"


def note(text: str = LAUNCH) -> Row:
    return Row(0, "note", text=text)


def send(command: str, conn: str = "A", **arguments: Any) -> Row:
    named = {name.replace("_", "-"): value for name, value in arguments.items()}
    return Row(0, "send", conn, {"execute": command, "arguments": named})


def ok(value: object = None, conn: str = "A") -> Row:
    return Row(0, "reply", conn, {"return": {} if value is None else value})


def error(text: str, error_class: str = "GenericError", conn: str = "A") -> Row:
    return Row(0, "reply", conn, {"error": {"class": error_class, "desc": text}})


def status(job: str, word: str, conn: str = "A") -> Row:
    return event("JOB_STATUS_CHANGE", conn, id=job, status=word)


def event(name: str, conn: str = "A", **data: object) -> Row:
    return Row(0, "event", conn, {"event": name, "data": data})


def statuses(job: str, *words: str) -> list[Row]:
    """Gives events: those in capitals are of a block job."""
    return [event(word, device=job) if word.isupper() else status(job, word) for word in words]


def made(job: str, command: str = BACKUP, **arguments: Any) -> list[Row]:
    """Gives what shows that a job was made and runs."""
    return [send(command, job_id=job, **arguments), *statuses(job, "created", "running"), ok()]


def case(*rows: Row | list[Row]) -> Case:
    """Numbers the rows from 1."""
    flat = [each for part in rows for each in (part if isinstance(part, list) else [part])]
    numbered = [
        Row(number, each.kind, each.conn, each.message, each.raw, each.text, each.status)
        for number, each in enumerate(flat, 1)
    ]
    return Case("made up", numbered)


def recording(*rows: Row | list[Row]) -> Recording:
    return Recording(case(*rows))
