"""Clients that put a daemon under load, and remember what they asked for and what they were told.

Each has jobs of its own, so that it knows in which order its verbs on them took effect. What must follow from it after
a crash is checked in `test_daemon_kill.py`.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jqueue.client.blocking import Connection
from jqueue.client.messages import Response
from jqueue.errors import DaemonUnreachable, ShuttingDown
from jqueue.jobs.status import FINALIZED

from ..integration.daemon import Pipeline
from ..integration.notes import Notes

PRIORITIES = (-10, 0, 10)
_VERBS = ("submit", "submit", "submit", "cancel", "priority", "archive")
_WINDOW = 30
_JOBS = 80


@dataclass(eq=False)
class Wish:
    """A priority that was asked for."""

    priority: int


@dataclass
class Told:
    """One submission, and what its client knows of it."""

    request_id: str
    ops: list[dict[str, object]]
    job_id: int | None = None
    canceled: bool = False
    archived: bool = False
    archive_sent: bool = False
    priorities: list[Wish] = field(default_factory=lambda: [Wish(0)])
    """Those that the last opcode may have: the one acknowledged last, and those sent since, in order."""


class Client:
    """One pipelining client over all lives of the daemon."""

    def __init__(self, name: str, path: Path, notes: Notes, chance: random.Random) -> None:
        self.name = name
        self.told: list[Told] = []
        self._path = path
        self._notes = notes
        self._chance = chance
        self._waiting: dict[int, Callable[[Response], None]] = {}

    def live(self) -> None:
        """Works until the daemon is gone, or for a number of jobs."""
        pipeline = Pipeline(self._path)
        self._waiting.clear()
        enough = len(self.told) + _JOBS
        try:
            while len(self.told) < enough or self._waiting:
                while len(self._waiting) < _WINDOW and len(self.told) < enough:
                    self._ask(pipeline)
                pipeline.flush()
                answers = pipeline.receive()
                if not answers:
                    return
                for number, answer in answers.items():
                    taken = self._waiting.pop(number)
                    if not isinstance(answer.error, ShuttingDown):  # else it is as if it had not been answered
                        taken(answer)
        except (BrokenPipeError, ConnectionResetError):
            return
        finally:
            pipeline.close()

    def _ask(self, pipeline: Pipeline) -> None:
        mine = [told for told in self.told[-60:] if told.job_id is not None and not told.archive_sent]
        verb = self._chance.choice(_VERBS) if mine else "submit"
        if verb == "submit":
            self._submit(pipeline)
            return
        told = self._chance.choice(mine)
        if verb == "cancel":
            self._waiting[pipeline.request("CancelJob", told.job_id)] = lambda answer: self._canceled(told, answer)
        elif verb == "priority":
            wish = Wish(self._chance.choice(PRIORITIES))
            told.priorities.append(wish)
            number = pipeline.request("ChangeJobPriority", told.job_id, wish.priority)
            self._waiting[number] = lambda answer: self._prioritised(told, wish, answer)
        else:
            told.archive_sent = True
            self._waiting[pipeline.request("ArchiveJob", told.job_id)] = lambda answer: self._archived(told, answer)

    def _submit(self, pipeline: Pipeline) -> None:
        told = Told(f"{self.name}-{len(self.told)}", [self._op() for _ in range(self._chance.randint(1, 3))])
        self.told.append(told)
        number = pipeline.request("SubmitJob", told.ops, {"name": told.request_id, "request_id": told.request_id})
        self._waiting[number] = lambda answer: self._submitted(told, answer)

    def _op(self) -> dict[str, object]:
        return self._notes.op(
            again=self._chance.random() < 0.3, hold=self._chance.choice((0.0, 0.0, 0.0, 0.0, 0.02, 0.1))
        )

    def _submitted(self, told: Told, answer: Response) -> None:
        told.job_id = answer.result

    def _canceled(self, told: Told, answer: Response) -> None:
        told.canceled = told.canceled or answer.result[0]

    def _prioritised(self, told: Told, wish: Wish, answer: Response) -> None:
        if answer.result[0]:
            del told.priorities[: told.priorities.index(wish)]
        else:
            told.priorities.remove(wish)

    def _archived(self, told: Told, answer: Response) -> None:
        told.archived = answer.result
        told.archive_sent = answer.result


class Observer:
    """Watches all jobs, by events and by queries, and remembers what it was shown last."""

    def __init__(self, path: Path) -> None:
        self.statuses: dict[int, list[str]] = {}
        """By job: the statuses of its opcodes."""
        self.ends: dict[int, str] = {}
        """By job: the final status."""
        self.lines: dict[tuple[int, int], str] = {}
        """Log lines by job and serial."""
        self._path = path

    def live(self) -> None:
        """Watches until the daemon is gone."""
        try:
            with Connection(self._path, timeout=20) as connection:
                connection.call("Subscribe", {"jobs": None, "log": True, "changes": True})
                for name, arguments in connection.notifications():
                    if name == "JobLog":
                        job_id, entries = arguments
                        for entry in entries:
                            self._logged(job_id, entry)
                    elif (status := arguments[0]["status"]) in FINALIZED:
                        assert self.ends.setdefault(arguments[0]["id"], status) == status, arguments
        except DaemonUnreachable:
            return

    def poll(self) -> None:
        """Asks again and again until the daemon is gone."""
        try:
            with Connection(self._path, timeout=20) as connection:
                while True:
                    newest = connection.call("QueryStatus")["last_id"]
                    ids = list(range(max(1, newest - 100), newest + 1))
                    for job_id, statuses in connection.call("QueryJobs", ids, ["id", "opstatus"], None):
                        if statuses is not None:
                            self.statuses[job_id] = statuses
        except DaemonUnreachable:
            return

    def _logged(self, job_id: int, entry: list[Any]) -> None:
        _op, serial, _time, _kind, message = entry
        assert self.lines.setdefault((job_id, serial), message) == message, f"job {job_id} used serial {serial} twice"


def at_once(*lives: Callable[[], None]) -> list[threading.Thread]:
    """Starts each in a thread of its own."""
    threads = [threading.Thread(target=live) for live in lives]
    for thread in threads:
        thread.start()
    return threads
